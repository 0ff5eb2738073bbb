"""The picture of growth: p50 of one scope over the rows around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from . import picture
from .picture import COLOURS, MARKERS
from .promises import GROWTH_RATIO

LABELS = {"ours": "kompanion.search", "exact": "exact by hand", "post-filter": "filter after\nthe index, by hand"}


def draw(record: dict[str, Any], folder: Path) -> list[Path]:
    """A picture of each server, written into a folder."""
    return [_one(record, run, folder) for run in record["runs"]]


def _one(record: dict[str, Any], run: dict[str, Any], folder: Path) -> Path:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.6, 4.3), width_ratios=(1.35, 1))
    points = run["points"]
    rows = [p["rows"] for p in points]
    ends, values = [], []
    for way, label in LABELS.items():
        line = [(p["rows"], p[way]["p50_ms"], p[way]["recall"]) for p in points if way in p]
        if not line:
            continue
        left.plot([x for x, _, _ in line], [y for _, y, _ in line], color=COLOURS[way], marker=MARKERS[way],
                  linewidth=3 if way == "ours" else 1.5, markersize=7 if way == "ours" else 5)  # fmt: skip
        values += [y for _, y, _ in line]
        ends.append(
            (*line[-1][:2], f"{label}\nrecall {line[-1][2]:.2f}", COLOURS[way] if way != "exact" else picture.GREY)
        )
    picture.log_axis(left, "y", 0.6 * min(values), 1.6 * max(values))
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xticks(rows, [_short(r) for r in rows])
        axis.minorticks_off()
        axis.set_xlim(0.8 * rows[0], 1.25 * rows[-1])
        axis.set_xlabel("vectors in the store")
    left.set_ylabel("p50 of a search (ms)")
    left.set_title(f"searching {record['scope_rows']:,} of its vectors")
    right.plot(rows, [p["ratio"] for p in points], color=COLOURS["ours"], marker="o", linewidth=3, markersize=7)
    right.axhspan(GROWTH_RATIO, 100, color="#000000", alpha=0.05, linewidth=0)
    picture.target_line(right, GROWTH_RATIO, f"promised: at most {GROWTH_RATIO} x", above=True)
    right.set_ylim(0, max(1.6, 1.1 * max(p["ratio"] for p in points)))
    right.set_ylabel(f"p50 / p50 with {_short(rows[0])} vectors")
    right.set_title("kompanion.search beside a store that did not grow")
    for p in points:
        right.annotate(f"{p['ratio']:.2f}", (p["rows"], p["ratio"]), xytext=(0, -13), textcoords="offset points", ha="center",
                       color=COLOURS["ours"], fontsize=8.5)  # fmt: skip
    picture.titled(
        figure, f"A scope of {record['scope_rows']:,} rows while the store grows {picture.plain(round(rows[-1] / rows[0], 1))} x: {record['data']}", run["about"],
        f"dim {record['dim']}, {record['query_count']} queries, target {record['target']:g}",
    )  # fmt: skip
    picture.layout(figure)
    left.set_position(
        [left.get_position().x0, left.get_position().y0, left.get_position().width - 0.125, left.get_position().height]
    )
    picture.end_labels(left, ends)
    return picture.write(figure, folder, f"{record['name']}_{run['server']}")


def _short(rows: int) -> str:
    """10,000 as 10k."""
    return f"{rows // 1_000_000}M" if rows % 1_000_000 == 0 else f"{rows // 1000}k" if rows % 1000 == 0 else str(rows)
