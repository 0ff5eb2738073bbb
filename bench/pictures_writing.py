"""The pictures of writing: bulk load beside COPY, single upserts beside a statement written by hand."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from . import picture
from .picture import BLACK, COLOURS, GREY
from .promises import COPY_DIM, COPY_ITEMS, COPY_SHARE, UPSERT_RATIO
from .upsert_rows import of_data

HAND = "#888888"


def ingest(record: dict[str, Any], folder: Path) -> list[Path]:
    """Rows a second of a bare COPY and of upsert_items: the median as a bar, every round as a dot; one picture a server."""
    return [_ingest(record, run, folder) for run in record["runs"]]


def _ingest(record: dict[str, Any], run: dict[str, Any], folder: Path) -> Path:
    bars = {"upsert_items: item, chunk and vector,\nall indexes, all checks": "upsert_items",
            "bare binary COPY of the vectors\ninto one table, no index": "bare_copy"}  # fmt: skip
    figure, axis = plt.subplots(figsize=(9.2, 3.1))
    most = max(run["bare_copy"])
    promised = record["dim"] == COPY_DIM and record["items"] >= COPY_ITEMS
    aim = COPY_SHARE * statistics.median(run["bare_copy"]) if promised else 0.0
    for place, (label, name) in enumerate(bars.items()):
        median = statistics.median(run[name])
        axis.barh(place, median, color=COLOURS["ours"] if name == "upsert_items" else HAND, height=0.55)
        axis.plot(run[name], [place] * len(run[name]), "o", color=BLACK, markersize=4)
        axis.text(max(*run[name], aim) + 0.02 * most, place, f"{median:,.0f} / s   {label}", va="center", fontsize=9)
    if promised:
        axis.plot([aim, aim], [-0.42, 0.42], color="#444444", linewidth=0.9, linestyle=(0, (5, 3)))
        told = f"promised: {COPY_SHARE} of COPY, {aim:,.0f} / s"
        axis.text(aim, -0.44, told, va="top", ha="left", fontsize=8, color="#444444")
    axis.set_xlim(0, 1.65 * most)
    axis.set_ylim(-0.75, 1.5)
    axis.set_yticks([])
    axis.xaxis.set_major_formatter(picture.FuncFormatter(picture.plain))
    axis.set_xlabel("rows a second; bars are medians, dots are rounds")
    axis.spines["left"].set_visible(False)
    axis.grid(visible=False, axis="y")
    ratio = statistics.median(a / b for a, b in zip(run["upsert_items"], run["bare_copy"], strict=True))
    picture.titled(
        figure, f"Bulk load of {record['items']:,} x {record['dim']}, {record.get('data', 'clustered')}: {ratio:.2f} of a bare COPY", run["about"],
        f"batches of {record['batch']:,}",
    )  # fmt: skip
    picture.layout(figure)
    return picture.write(figure, folder, f"{record['name']}_{run['server']}")


def upsert(record: dict[str, Any], folder: Path) -> list[Path]:
    """Upserts a second over clients, by case, and the ratio of the two ways; one picture a server."""
    return [_upsert(record, run, folder) for run in record["runs"]]


def _upsert(record: dict[str, Any], run: dict[str, Any], folder: Path) -> Path:
    cases = list(dict.fromkeys(p["case"] for p in run["points"]))
    figure, axes = plt.subplots(1, len(cases) + 1, figsize=(12.4, 4.2))
    clients = sorted({p["clients"] for p in run["points"]})
    most = max(max(p["ours"], p["by_hand"]) for p in run["points"])
    ends: list[list[tuple[float, float, str, str]]] = [[] for _ in axes]
    for axis, case, labels in zip(axes, cases, ends, strict=False):
        points = [p for p in run["points"] if p["case"] == case]
        for way, name, colour, marker in (
            ("by_hand", "by hand", HAND, "s"),
            ("ours", "upsert_item", COLOURS["ours"], "o"),
        ):
            axis.plot([p["clients"] for p in points], [p[way] for p in points], color=colour, marker=marker,
                      linewidth=3 if way == "ours" else 1.5, markersize=7 if way == "ours" else 5)  # fmt: skip
            labels.append((points[-1]["clients"], points[-1][way], name, colour if way == "ours" else GREY))
        axis.set_ylim(0, 1.1 * most)
        axis.yaxis.set_major_formatter(picture.FuncFormatter(picture.plain))
        axis.set_title(
            {"new keys": "new keys: an insert each", "hot keys": f"{record['hot_keys']:,} hot keys: a revision each"}[
                case
            ]
        )
    axes[0].set_ylabel("upserts a second")
    last = axes[-1]
    for case, colour, marker in zip(cases, (COLOURS["ours"], picture.BLUE), ("o", "^"), strict=False):
        points = [p for p in run["points"] if p["case"] == case]
        last.plot(
            [p["clients"] for p in points], [p["ratio"] for p in points], color=colour, marker=marker, linewidth=2
        )
        ends[-1].append((points[-1]["clients"], points[-1]["ratio"], case, colour))
    last.axhspan(0, UPSERT_RATIO, color="#000000", alpha=0.05, linewidth=0)
    picture.target_line(last, UPSERT_RATIO, f"promised at 1 and 8 clients: {UPSERT_RATIO}")
    last.set_ylim(0, max(1.2, 1.1 * max(p["ratio"] for p in run["points"])))
    last.set_ylabel("upsert_item / by hand")
    last.set_title("ratio, median of the rounds")
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(clients, [str(c) for c in clients])
        axis.minorticks_off()
        axis.set_xlim(0.85 * clients[0], 1.18 * clients[-1])
        axis.set_xlabel("clients (pgbench)")
    picture.titled(
        figure, f"Single upserts{of_data(record)} through the function, and by a statement written by hand", run["about"],
        f"{record['seconds']} s, {record['rounds']} rounds",
    )  # fmt: skip
    picture.layout(figure)
    for axis in axes:
        place = axis.get_position()
        axis.set_position([place.x0, place.y0, place.width - 0.07, place.height])
    for axis, labels in zip(axes, ends, strict=True):
        picture.end_labels(axis, labels)
    return picture.write(figure, folder, f"{record['name']}_{run['server']}")
