"""Pictures of filtered_search: what each plan gives over the share in scope, and whether ours keeps its promise."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from . import picture
from .picture import BLACK, BLUE, COLOURS, GREEN, MARKERS, ORANGE, PURPLE, VERMILLION
from .promises import SEARCH_MS, SEARCH_RATIO

TITLES = {
    "independent": "filter independent of the topic",
    "own topic": "queries about the topic of the scope",
    "foreign topic": "queries about other topics",
    "own namespace": "the namespace the query is about",
    "foreign namespace": "another namespace",
    "tags": "tags",
}
SHOWN = 0.95
GROUP_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, BLACK)


def draw(record: dict[str, Any], folder: Path) -> list[Path]:
    """Two pictures of each server, written into a folder."""
    return [path for run in record["runs"] for path in (over_share(record, run, folder), promises(record, run, folder))]


def groups_of(run: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The cells of each kind of filter, from all rows to the narrowest scope."""
    everything = [cell for cell in run["cells"] if cell["group"] == "all"]
    names = list(dict.fromkeys(cell["group"] for cell in run["cells"] if cell["group"] != "all"))
    ordered = [g for g in TITLES if g in names] + [g for g in names if g not in TITLES]
    return {
        name: everything + sorted((c for c in run["cells"] if c["group"] == name), key=lambda c: -c["share"])
        for name in ordered
    } or {"all": everything}


def at(cell: dict[str, Any], target: float) -> dict[str, Any]:
    """The figures of a cell at a target recall."""
    return next(t for t in cell["targets"] if t["target"] == target)  # type: ignore[no-any-return]


def series(cells: list[dict[str, Any]], figure: str) -> dict[str, list[tuple[float, float]]]:
    """Points (share in percent, value) of each line; figure is recall or p50_ms."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        found = {"ours": at(cell, SHOWN)["ours"]} | {way["way"]: way for way in cell["usual"]}
        if figure == "p50_ms":
            if at(cell, SHOWN).get("reached", True):
                found |= {"best by hand": at(cell, SHOWN)["best"]}
            found |= {"exact": next(w for w in cell["by_hand"] if w["way"] == "exact")}
        for way, values in found.items():
            lines.setdefault(way, []).append((100 * cell["share"], values[figure]))
    return lines


def style(way: str) -> dict[str, Any]:
    """How the line of a way looks."""
    wide = {"ours": 4.0, "best by hand": 1.4, "exact": 1.0}.get(
        way, 1.5
    )  # wide and below: what lies on it stays visible
    return {
        "color": COLOURS[way], "marker": MARKERS[way], "linewidth": wide, "markersize": 8 if way == "ours" else 4.5,
        "linestyle": (0, (4, 2)) if way == "best by hand" else "-", "zorder": 2 if way == "ours" else 4 if way == "best by hand" else 3,
        "markerfacecolor": "white" if way == "best by hand" else COLOURS[way],
    }  # fmt: skip


def over_share(record: dict[str, Any], run: dict[str, Any], folder: Path) -> Path:
    """Recall and p50 over the share of a scope, a column for each kind of filter."""
    groups = groups_of(run)
    figure, axes = plt.subplots(
        2, len(groups), figsize=(max(3.7 * len(groups) + 1.6, 9.0), 6.6), sharex="col", sharey="row", squeeze=False
    )
    knobs = " and ".join(sorted({str(k) for k in run["usual_knobs"].values()}))
    named = {
        "ours": "kompanion.search,\ntarget 0.95", "post-filter": "filter after\nthe index*", "iterative scan": "iterative scan*",
        "best by hand": "best by hand for 0.95", "exact": "exact by hand",
    }  # fmt: skip
    last: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for column, (group, cells) in enumerate(groups.items()):
        for row, value in ((0, "recall"), (1, "p50_ms")):
            axis, lines = axes[row][column], series(cells, value)
            for way, points in lines.items():
                axis.plot(*zip(*points, strict=True), **style(way))
            last[row] = lines
        shares = [100 * c["share"] for c in cells]
        band = [at(c, SHOWN)["best"]["p50_ms"] for c in cells], [at(c, SHOWN)["allowed_ms"] for c in cells]
        there = [at(c, SHOWN).get("reached", True) for c in cells]
        axes[1][column].fill_between(shares, *band, where=there, color="#000000", alpha=0.09, linewidth=0, zorder=1)
        axes[0][column].set_title(TITLES.get(group, group))
        picture.share_axis(axes[0][column], [c["share"] for c in cells], label=False)
        picture.share_axis(axes[1][column], [c["share"] for c in cells])
        picture.target_line(axes[0][column], SHOWN)
    axes[0][0].set_ylim(0, 1.04)
    axes[0][0].set_ylabel(f"recall@{record['k']}, mean of the queries")
    values = [v for cells in groups.values() for points in series(cells, "p50_ms").values() for _, v in points]
    picture.log_axis(axes[1][0], "y", 0.7 * min(values), 1.5 * max(values))
    axes[1][0].set_ylabel("p50 of a search (ms)")
    lists = f", {run['lists']} lists" if run["lists"] else ""
    knob = "ef_search" if run["index"] == "hnsw" else "probes"
    picture.titled(
        figure,
        f"Scoped search: {record['rows']:,} x {record['dim']}, {record['data']}",
        run["about"],
        f"{run['index']}{lists}, {max(c['queries'] for c in run['cells'])} queries",
    )
    usual = f"* {knob} {knobs}: the fewest that gave 0.95 without a filter; at most 4 s a point.   " if knobs else ""
    picture.note(figure, f"{usual}Grey band: up to {SEARCH_RATIO} x the best hand-written plan + {SEARCH_MS} ms.")
    picture.layout(figure, right=1.45, below=0.25)
    for axis in axes[0]:
        picture.fit(axis.title, axis.get_position().x1)
    for row, lines in last.items():
        ends = [
            (*points[-1], named[way], COLOURS[way] if way != "exact" else picture.GREY) for way, points in lines.items()
        ]
        picture.end_labels(axes[row][-1], ends + ([(1, SHOWN, "target 0.95", "#444444")] if row == 0 else []))
    return picture.write(figure, folder, f"{record['name']}_{run['server']}")


def promises(record: dict[str, Any], run: dict[str, Any], folder: Path) -> Path:
    """What each target gave: recall, and p50 beside what is allowed; a column for each target."""
    groups = groups_of(run)
    looks = {group: picture.look(n, GROUP_COLOURS, "os^DvP") for n, group in enumerate(groups)}
    targets = [t["target"] for t in run["cells"][0]["targets"]]
    figure, axes = plt.subplots(
        2, len(targets), figsize=(3.7 * len(targets) + 1.5, 6.0), sharex="all", sharey="row", squeeze=False
    )
    shares = {c["share"] for c in run["cells"]}
    lowest = min(min(at(c, t)["ours"]["recall"] for c in run["cells"]) for t in targets)
    highest = max(at(c, t)["ours"]["p50_ms"] / at(c, t)["allowed_ms"] for c in run["cells"] for t in targets)
    for column, target in enumerate(targets):
        for (group, cells), aside in zip(
            groups.items(), cycle((1.1, 1, 0.9, 1.2, 0.8, 1.3)), strict=False
        ):  # side by side
            colour, shape = looks[group]
            look = {"color": colour, "marker": shape, "linewidth": 1.6, "markersize": 5}
            x = [100 * c["share"] * aside for c in cells]
            axes[0][column].plot(x, [at(c, target)["ours"]["recall"] for c in cells], **look)
            axes[1][column].plot(
                x, [at(c, target)["ours"]["p50_ms"] / at(c, target)["allowed_ms"] for c in cells], **look
            )
        axes[0][column].axhspan(0, target, color="#000000", alpha=0.05, linewidth=0)
        axes[1][column].axhspan(1, 100, color="#000000", alpha=0.05, linewidth=0)
        picture.target_line(axes[0][column], target)
        picture.target_line(axes[1][column], 1.0)
        axes[0][column].set_title(f"target recall {target:.2f}")
        picture.share_axis(axes[0][column], shares, label=False)
        picture.share_axis(axes[1][column], shares)
    least = min(lowest, *targets) - 0.02
    axes[0][0].set_ylim(least, 1 + 0.03 * (1 - least))
    axes[1][0].set_ylim(0, max(1.25, 1.08 * highest))
    axes[0][0].set_ylabel(f"recall@{record['k']} of kompanion.search")
    axes[1][0].set_ylabel("its p50 / what is allowed")
    picture.titled(
        figure, f"Recall as a contract: {record['rows']:,} x {record['dim']}, {record['data']}", run["about"]
    )
    picture.layout(figure, right=1.3)
    for row in (0, 1):
        ends = []
        for group, cells in groups.items():
            t = at(cells[-1], targets[-1])
            value = t["ours"]["recall"] if row == 0 else t["ours"]["p50_ms"] / t["allowed_ms"]
            ends.append((100 * cells[-1]["share"], value, group, looks[group][0]))
        line = (targets[-1], "target") if row == 0 else (1.0, f"{SEARCH_RATIO} x best by hand\n+ {SEARCH_MS} ms")
        picture.end_labels(axes[row][-1], [*ends, (1, *line, "#444444")])
    return picture.write(figure, folder, f"{record['name']}_{run['server']}_targets")
