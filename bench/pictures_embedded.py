"""The picture of bench.embedded: time and recall over the share in scope, load, opening and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from . import picture
from .embedded_tables import OURS, fresh_of, ready_of
from .picture import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

COLOURS = {
    OURS: VERMILLION, "plain tables": "#888888", "FAISS": BLUE, "sqlite-vec": SKY, "hnswlib": GREEN, "Chroma": PURPLE,
    "LanceDB": ORANGE,
}  # fmt: skip
MARKERS = {OURS: "o", "FAISS": "s", "sqlite-vec": "^", "hnswlib": "D", "Chroma": "v", "LanceDB": "P"}
GROUPS = {
    "independent": "filter independent of the topic",
    "foreign topic": "queries about topics out of scope",
}


def draw(record: dict[str, Any], folder: Path) -> list[Path]:
    """A picture for each size, written into a folder."""
    return [_one(record, run, folder) for run in record["runs"]]


def _one(record: dict[str, Any], run: dict[str, Any], folder: Path) -> Path:
    figure, axes = plt.subplots(2, 3, figsize=(13.2, 7.2), width_ratios=(1.25, 1.25, 1))
    names = [name for name in run["loads"] if name in run["fresh"]]
    ends = []
    for column, (group, title) in enumerate(GROUPS.items()):
        for row, figure_name in enumerate(("recall", "p50_ms")):
            axis = axes[row, column]
            labels = _lines(axis, run, group, figure_name, names)
            picture.share_axis(axis, [1.0, 0.1, 0.01, 0.001, 0.0001], label=row == 1)
            if row == 0:
                axis.set_title(title)
                axis.set_ylim(-0.03, 1.04)
                # Named below, where no line is: above, markers and falling lines would cover it.
                picture.target_line(axis, record["target"])
                name = f"dashed: target {record['target']:g}"
                axis.text(0.02, 0.04, name, transform=axis.transAxes, fontsize=8, color="#444444")
            else:
                values = [value for _, value, _, _ in _points(run, names)]
                picture.log_axis(axis, "y", 0.6 * min(values), 1.6 * max(values))
            ends.append((axis, labels))
    axes[0, 0].set_ylabel(f"recall@{record['k']}")
    axes[1, 0].set_ylabel("p50 of a search (ms)")
    _bars(axes[0, 2], {n: ready_of(run, n) for n in run["loads"]}, "load till indexed (rows / s)")
    figures = {n: fresh_of(run, n, "open_ms") + fresh_of(run, n, "first_ms") for n in names}
    memory = {n: fresh_of(run, n, "anonymous_mb") for n in names}
    _bars(
        axes[1, 2], figures, "open and first query (ms); anonymous memory", {n: f"{memory[n]:,.0f} MB" for n in names}
    )
    picture.titled(
        figure, f"Embedded stores, {run['rows']:,} x {record['dim']}: one run, each asked in turn", record["about"],
        f"{record['query_count']} queries, seed {record['seed']}",
    )  # fmt: skip
    picture.layout(figure, right=0.1)
    for column in (0, 1):
        for row in (0, 1):
            place = axes[row, column].get_position()
            axes[row, column].set_position([place.x0, place.y0, place.width - 0.055, place.height])
    for axis, labels in ends:
        picture.end_labels(axis, labels)
    return picture.write(figure, folder, f"{record['name']}_{run['rows']}")


def _points(run: dict[str, Any], names: list[str]) -> list[tuple[float, float, str, str]]:
    """Share in percent, p50, store and group of all that is drawn."""
    return [
        (100 * cell["share"], way["p50_ms"], way["way"], cell["group"])
        for cell in run["cells"] for way in cell["ways"]
        if cell["setting"] == "calibrated" and way["way"] in names
    ]  # fmt: skip


def _lines(axis: Any, run: dict[str, Any], group: str, figure: str, names: list[str]) -> list[tuple[Any, ...]]:
    labels = []
    for name in reversed(names):
        found = sorted(
            (
                (100 * cell["share"], way[figure])
                for cell in run["cells"] for way in cell["ways"]
                if cell["setting"] == "calibrated" and cell["group"] in ("all", group) and way["way"] == name
            ),
            reverse=True,
        )  # fmt: skip
        ours = name == OURS
        axis.plot([x for x, _ in found], [y for _, y in found], color=COLOURS[name], marker=MARKERS[name],
                  linewidth=3 if ours else 1.4, markersize=7 if ours else 5)  # fmt: skip
        labels.append((*found[-1], name, COLOURS[name]))
    return labels


def _bars(axis: Any, values: dict[str, float], title: str, notes: dict[str, str] | None = None) -> None:
    ordered = list(reversed(values.items()))
    most = max(values.values())
    for place, (name, value) in enumerate(ordered):
        axis.barh(place, value, color=COLOURS[name], height=0.62)
        text = f"{value:,.0f}" + (f"   {notes[name]}" if notes else "")
        axis.text(value + 0.02 * most, place, text, va="center", fontsize=8.5, color=GREY)
    axis.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axis.set_xlim(0, 1.5 * most)
    axis.locator_params(axis="x", nbins=4)
    axis.xaxis.set_major_formatter(picture.FuncFormatter(picture.plain))
    axis.set_title(title)
    axis.grid(visible=False, axis="y")
