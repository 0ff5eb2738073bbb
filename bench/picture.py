"""Pictures of the records that benchmarks write."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from . import common

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = {"ours": "#D55E00", "post-filter": "#56B4E9", "iterative scan": "#0072B2", "exact": "#888888"}
MARKERS = {"ours": "o", "post-filter": "s", "iterative scan": "^", "exact": "d"}


def filtered_search(record: dict[str, Any]) -> Path:
    """Recall and p50 over the share of a scope, a column for each server and kind of filter."""
    runs = record["runs"]
    figure, axes = plt.subplots(2, len(runs), figsize=(4.4 * len(runs), 7.2), sharex=True, sharey="row", squeeze=False)
    for column, run in enumerate(runs):
        cells = sorted(run["table"].values(), key=lambda c: c["share"])
        shares = [100 * c["share"] for c in cells]
        for way, colour in COLOURS.items():
            if way not in cells[0]:
                continue
            style = {
                "color": colour,
                "marker": MARKERS[way],
                "linewidth": 2.4 if way == "ours" else 1.4,
                "zorder": 3 if way == "ours" else 2,
            }
            axes[0][column].plot(shares, [c[way]["recall"] for c in cells], label=way, **style)
            axes[1][column].plot(shares, [c[way]["p50_ms"] for c in cells], label=way, **style)
        axes[0][column].axhline(0.95, color="#444444", linewidth=0.8, linestyle="--", zorder=1)
        about = run["about"]
        kind = "filter follows the topic" if run["correlated"] else "filter independent of topic"
        axes[0][column].set_title(
            f"PostgreSQL {about['postgresql']} / pgvector {about['pgvector']}\n{kind}", fontsize=10
        )
        axes[1][column].set_xscale("log")
        axes[1][column].set_yscale("log")
        axes[1][column].set_xlabel("share of all vectors that is in scope (%)")
        axes[1][column].set_xticks(shares, [f"{s:g}" for s in shares])
        for row in (0, 1):
            axes[row][column].grid(alpha=0.25)
            axes[row][column].spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylim(0, 1.03)
    axes[0][0].set_ylabel(f"recall@{record['k']}")
    axes[0][0].text(0.5, 0.94, "target 0.95", fontsize=8, ha="center", va="top", color="#444444")
    axes[1][0].set_ylabel("p50 of a search (ms), log scale")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncol=4, frameon=False)
    figure.suptitle(
        f"Scoped search, {record['rows']:,} x {record['dim']} clustered vectors, {record['queries']} queries, seed {record['seed']}"
    )
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    path = common.RESULTS / "filtered_search.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def ingest(record: dict[str, Any]) -> Path:
    """Rows a second of a bare COPY and of upsert_items: the median as a bar, every round as a dot."""
    bars = {"upsert_items: item, chunk, vector,\nall indexes and checks": "upsert_items",
            "bare binary COPY of the vectors,\none table, no index": "bare_copy"}  # fmt: skip
    figure, axis = plt.subplots(figsize=(8.4, 2.9))
    for place, (label, name) in enumerate(bars.items()):
        median = statistics.median(record[name])
        colour = COLOURS["ours" if name == "upsert_items" else "exact"]
        axis.barh(place, median, color=colour, height=0.55)
        axis.plot(record[name], [place] * len(record[name]), "o", color="#222222", markersize=4)
        axis.text(
            max(record[name]) + 0.03 * max(record["bare_copy"]),
            place,
            f"{median:,.0f} / s   {label}",
            va="center",
            fontsize=9,
        )
    axis.set_xlim(0, 1.9 * max(record["bare_copy"]))
    axis.set_yticks([])
    axis.set_xlabel("rows a second; bars are medians, dots are rounds")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_title(
        f"Bulk load, {record['items']:,} x {record['dim']}, PostgreSQL {record['postgresql']} / pgvector {record['pgvector']}",
        fontsize=10,
    )
    figure.tight_layout()
    path = common.RESULTS / "ingest.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
