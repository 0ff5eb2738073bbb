"""The picture of ivfflat_lists: recall over p50, a line for each value of lists, and the tuner's choice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from . import picture
from .picture import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION
from .records import short

COLOURS = (SKY, BLUE, GREEN, ORANGE, PURPLE, "#767676", BLACK)
SHAPES = "os^DvPX"
SIGNS = "●■▲◆▼✚✖"
MISSES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


def draw(record: dict[str, Any], folder: Path) -> list[Path]:
    """A picture of each data set and server, written into a folder."""
    return [_one(record, run, folder) for run in record["runs"]]


def _one(record: dict[str, Any], run: dict[str, Any], folder: Path) -> Path:
    shares = sorted({p["share"] for p in run["points"]}, reverse=True)
    lists = sorted({p["lists"] for p in run["points"]})
    wide = max(4.0 * len(shares) + 1.5, 9.8)  # or the lines below would not fit
    figure, axes = plt.subplots(1, len(shares), figsize=(wide, 4.9), sharey=True, squeeze=False)
    for axis, share in zip(axes[0], shares, strict=True):
        there = [p for p in run["points"] if p["share"] == share]
        for n, value in enumerate(lists):
            line = [p for p in there if p["lists"] == value]
            colour, shape = picture.look(n, COLOURS, SHAPES)
            axis.plot([p["p50_ms"] for p in line], [_misses(p["recall"]) for p in line], color=colour,
                      marker=shape, markersize=4, linewidth=1.3, zorder=2)  # fmt: skip
        front = _front(there)
        axis.plot([p["p50_ms"] for p in front], [_misses(p["recall"]) for p in front], color=BLACK, alpha=0.13, linewidth=9,
                  solid_capstyle="round", zorder=1)  # fmt: skip
        axis.set_title("all vectors" if share == 1 else f"a filter keeps {100 * share:g} %")
        picture.log_axis(axis, "x", 0.75 * min(p["p50_ms"] for p in there), 1.35 * max(p["p50_ms"] for p in there))
        axis.set_xlabel("p50 of a search (ms)")
        picture.target_line(axis, _misses(record["target"]))
        _recall_axis(axis)
    axes[0][0].set_ylabel(f"recall@{record['k']}")
    if "duel" in run:
        _mark(axes[0][0], run)
        _told(figure, run)
    picture.titled(
        figure,
        f"ivfflat, lists x probes: {run['rows']:,} x {run['dim']}, {run['data']}",
        run["about"],
        f"{run['queries']} queries",
    )
    picture.note(
        figure, "A line is one value of lists, its points are probes 1, 2, 3, 4, 6, 8 ..., and closer ones near the target. Up and left is better; grey: the best there is."
        + ("\n★ and ○ were measured again, one after the other, in the times above. ○ stands at its time in the sweep, ★ as far from it as was measured then."
           if "duel" in run else "")
    )  # fmt: skip
    picture.layout(figure, right=0.85, below=0.62 if "duel" in run else 0.25)
    labels = []
    for n, value in enumerate(lists):
        line = [p for p in run["points"] if p["share"] == shares[-1] and p["lists"] == value]
        colour, sign = picture.look(n, COLOURS, SIGNS)
        labels.append((line[-1]["p50_ms"], _misses(line[-1]["recall"]), f"{sign} {value} lists", colour))
    labels.append((1, _misses(record["target"]), f"target {record['target']:g}", "#444444"))
    picture.end_labels(axes[0][-1], labels)
    named = re.sub(r"[^a-z0-9]+", "_", run["data"].lower()).strip("_")
    return picture.write(figure, folder, f"{record['name']}_{run['server']}_{short(named, 60)}")


def _misses(recall: float) -> float:
    """The share that is missed, no less than the scale shows."""
    return max(1 - recall, MISSES[-1])


def _recall_axis(axis: Axes) -> None:
    """Recall, with more room the nearer it is to 1: the log of what is missed, upside down."""
    axis.set_yscale("log")
    axis.set_ylim(1.05, 0.8 * MISSES[-1])
    axis.yaxis.set_major_locator(FixedLocator([1.0, *MISSES]))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{1 - v:.4g}" if v > MISSES[-1] else f"≥ {1 - v:.4g}"))
    axis.yaxis.set_minor_locator(FixedLocator([]))


def _front(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points no other beats in both recall and time."""
    front: list[dict[str, Any]] = []
    for p in sorted(points, key=lambda p: (p["p50_ms"], -p["recall"])):
        if not front or p["recall"] > front[-1]["recall"]:
            front.append(p)
    return front


def _mark(axis: Axes, run: dict[str, Any]) -> None:
    """The tuner's choice and the best of the sweep.

    They were measured again, beside each other: the best stands at its time in the sweep, the tuner's choice by its ratio to it.
    """
    tuner, best = dict(run["duel"]["tuner"]), dict(run["duel"]["best"])
    there = next(
        p for p in run["points"] if p["share"] == 1 and (p["lists"], p["probes"]) == (best["lists"], best["probes"])
    )
    tuner["p50_ms"] *= there["p50_ms"] / best["p50_ms"]
    best["p50_ms"] = there["p50_ms"]
    axis.plot(best["p50_ms"], _misses(best["recall"]), "o", markersize=13, markerfacecolor="none", markeredgecolor=BLACK,
              markeredgewidth=1.4, zorder=5)  # fmt: skip
    axis.plot(tuner["p50_ms"], _misses(tuner["recall"]), "*", markersize=17, color=VERMILLION, markeredgecolor="white",
              markeredgewidth=0.8, zorder=6)  # fmt: skip


def _told(figure: Figure, run: dict[str, Any]) -> None:
    """What the two signs are, at the bottom."""
    tuner, best = run["duel"]["tuner"], run["duel"]["best"]
    text = (
        ("★", VERMILLION, 0.012, "tune_index chose", tuner),
        ("○", BLACK, 0.5, "best of the sweep", best),
    )
    for sign, colour, x, words, side in text:
        line = f"{sign}  {words}: {side['lists']} lists, probes {side['probes']}: recall {side['recall']:.3f}, {side['p50_ms']:.2f} ms"
        figure.text(x, 0.41 / figure.get_figheight(), line, fontsize=9, color=colour, va="bottom")
