"""How the pictures of the benchmarks look: colours, axes, labels at the ends of lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray
from PIL import Image

from . import common, records

# Okabe and Ito's palette, which colour-blind readers can tell apart; shapes tell the same once more.
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE, BLACK = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000",
)  # fmt: skip
GREY, FAINT = "#767676", "#BBBBBB"
COLOURS = {"ours": VERMILLION, "post-filter": SKY, "iterative scan": BLUE, "exact": "#888888", "best by hand": BLACK}
MARKERS = {"ours": "o", "post-filter": "s", "iterative scan": "^", "exact": "x", "best by hand": "D"}
DPI = 110
TITLE = 0.58
"""Inches at the top of a picture for what it shows, and on what it was measured."""

plt.rcParams.update({
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#555555", "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.frameon": False, "figure.dpi": DPI,
})  # fmt: skip


def plain(value: float, _: object = None) -> str:
    """0.3, 20, 30,000: a number as people write it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def log_axis(axis: Axes, which: str, least: float | None = None, most: float | None = None) -> None:
    """A log scale from least to most with readable numbers on it."""
    if which == "x":
        axis.set_xscale("log")
        scale, limits = axis.xaxis, axis.set_xlim
    else:
        axis.set_yscale("log")
        scale, limits = axis.yaxis, axis.set_ylim
    if least and most:
        limits(least, most)
    low, high = axis.get_xlim() if which == "x" else axis.get_ylim()
    wide = max(low, high) / min(low, high) > 2000
    scale.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    scale.set_major_formatter(FuncFormatter(plain))
    scale.set_minor_locator(LogLocator(subs=(2.0, 5.0)) if wide else LogLocator(subs=(3.0, 7.0)))
    scale.set_minor_formatter(NullFormatter())
    axis.grid(which="minor", color="#F1F1F1", linewidth=0.5)


def look(n: int, colours: Sequence[str], shapes: str) -> tuple[str, str]:
    """Colour and shape of the nth line; together they come again only when each colour has had each shape."""
    return colours[n % len(colours)], shapes[(n + n // len(colours)) % len(shapes)]


def share_axis(axis: Axes, shares: Iterable[float], label: bool = True) -> None:
    """Shares in percent, from everything on the left to the narrowest scope on the right."""
    ticks = sorted({100 * s for s in shares}, reverse=True)
    axis.set_xscale("log")
    axis.set_xlim(ticks[0] * 1.5, ticks[-1] / 1.5)
    readable: list[float] = []
    for tick in ticks:  # what is next to another would be written over it
        if not readable or readable[-1] >= 2 * tick:
            readable.append(tick)
    axis.set_xticks(readable, [plain(t) for t in readable])
    axis.xaxis.set_minor_locator(LogLocator(subs=()))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if label:
        axis.set_xlabel("share of all vectors in scope (%)")


def end_labels(axis: Axes, labels: Sequence[tuple[float, float, str, str]], size: float = 8.5) -> None:
    """Texts (x, y, text, colour) right of the axes, at the height of the ends of lines, moved apart where they would cover another.

    Call it last: it needs the final limits and layout of the axes. ``size`` in points.
    """
    figure = axis.figure
    figure.canvas.draw()
    scale = figure.dpi / 72
    low, high = (axis.transAxes.transform((0, y))[1] for y in (0, 1))
    ends = [min(max(axis.transData.transform((x, y))[1], low), high) for x, y, _, _ in labels]
    order = sorted(range(len(labels)), key=lambda n: ends[n])
    top = figure.bbox.height - TITLE * figure.dpi
    lines = sum(1 + text.count("\n") for _, _, text, _ in labels)
    size = min(size, top / (1.28 * scale * lines))  # or there would be no room for all
    tall = [1.28 * size * scale * (1 + text.count("\n")) for _, _, text, _ in labels]
    heights = [ends[n] for n in order]
    for _ in range(500):
        moved = False
        for i in range(len(order) - 1):
            short = (tall[order[i]] + tall[order[i + 1]]) / 2 - (heights[i + 1] - heights[i])
            if short > 0.05:
                heights[i] -= short / 2
                heights[i + 1] += short / 2
                moved = True
        if not moved:
            break
    for i in reversed(range(len(order))):  # below the title, and none below the picture
        top = heights[i] = min(heights[i], top - tall[order[i]] / 2)
        top -= tall[order[i]] / 2
    least = 0.0
    for i, n in enumerate(order):
        least = heights[i] = max(heights[i], least + tall[n] / 2)
        least += tall[n] / 2
    for height, n in zip(heights, order, strict=True):
        _, _, text, colour = labels[n]
        label = axis.annotate(
            text, (1, (height - low) / (high - low)), xycoords="axes fraction", xytext=(5, 0), textcoords="offset points",
            va="center", ha="left", color=colour, fontsize=size, linespacing=1.05, annotation_clip=False,
        )  # fmt: skip
        fit(label)


def fit(text: Text, right: float = 0.995) -> None:
    """Leave out the middle of a text that would end right of this share of the figure: what is at its ends tells more."""
    figure = text.get_figure(root=True)
    assert figure is not None
    whole = text.get_text()
    for kept in range(len(whole), 8, -1):
        if text.get_window_extent().x1 <= right * figure.bbox.width:
            break
        text.set_text(f"{whole[: (kept + 1) // 2].rstrip()}…{whole[len(whole) - kept // 2 :].lstrip()}")


def target_line(axis: Axes, value: float, text: str = "", left: float = 0.01, above: bool = False) -> None:
    """A dashed line at a value that is promised, with its name on it."""
    axis.axhline(value, color="#444444", linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)
    if text:
        axis.annotate(
        text, (left, value), xycoords=("axes fraction", "data"), xytext=(0, 3 if above else -3), textcoords="offset points",
        va="bottom" if above else "top", fontsize=8, color="#444444",
        )  # fmt: skip


def titled(figure: Figure, title: str, about: dict[str, Any], more: str = "") -> None:
    """What the picture shows; below it, small, on what it was measured."""
    when = str(about.get("date", ""))[:10]
    cores = (
        f"{about['cores']} cores, {about['memory_gb']:.0f} GB" if about.get("memory_gb") else f"{about['cores']} cores"
    )
    if about.get("machine") == "client":  # the server is on another, of which we know nothing
        cores += ", of the client"
    height = figure.get_figheight()
    fit(figure.text(0.012, 1 - 0.10 / height, title, ha="left", va="top", fontsize=12, fontweight="bold"))
    told = "   |   ".join(s for s in [common.versions(about), about["cpu"], cores, more, when] if s)
    fit(figure.text(0.012, 1 - 0.38 / height, told, ha="left", va="top", fontsize=8, color=GREY))


def layout(figure: Figure, right: float = 0.0, below: float = 0.0) -> None:
    """Room (inches) for the title above, for labels on the right and a note below; to be called before end_labels."""
    wide, high = figure.get_size_inches()
    figure.tight_layout(rect=(0, below / high, 1 - right / wide, 1 - TITLE / high))


def note(figure: Figure, text: str) -> None:
    """A small line at the bottom, for which layout must leave room below."""
    figure.text(0.012, 0.07 / figure.get_figheight(), text, fontsize=8, color=GREY, va="bottom")


def write(figure: Figure, folder: Path, name: str) -> Path:
    """Write the picture into a folder; the path."""
    path = folder / f"{name}.png"
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    plt.close(figure)
    with records.whole(path) as written:
        _few_colours(pixels).save(written, "PNG", optimize=True, dpi=(DPI, DPI))
    return path


def _few_colours(pixels: NDArray[np.uint8]) -> Image.Image:
    """The picture in 256 colours, greys and ours paled in steps: a third of the bytes, for pictures in docs/."""
    tones = np.array(
        [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE)]
    )
    paled = [255 - (255 - tones) * step / 26 for step in range(1, 27)]
    greys = np.repeat(np.linspace(255, 0, 256 - 26 * len(tones))[:, None], 3, axis=1)
    palette = np.concatenate([greys, *paled]).round().astype(np.uint8)
    packed = (pixels.astype(np.uint32) * np.array([1, 256, 65536], dtype=np.uint32)).sum(axis=2, dtype=np.uint32)
    found, places = np.unique(packed, return_inverse=True)
    colours = np.stack([found & 255, found >> 8 & 255, found >> 16], axis=1).astype(np.int32)
    near = ((colours[:, None, :] - palette.astype(np.int32)) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    image = Image.fromarray(near[places].reshape(packed.shape), mode="P")
    image.putpalette(palette.tobytes())
    return image
