"""The tables of bench.embedded, and whether what is promised was reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from . import common

OURS = "kompanion_db"


def way_of(cell: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The figures of a store in a cell."""
    return next((way for way in cell["ways"] if way["way"] == name), None)


def cell_of(run: dict[str, Any], setting: str, group: str, share: float) -> dict[str, Any]:
    """A cell of a run."""
    return next(c for c in run["cells"] if (c["setting"], c["group"], c["share"]) == (setting, group, share))


def load_of(run: dict[str, Any], name: str) -> float:
    """Rows a second, the median of its rounds."""
    return statistics.median(load["rows_s"] for load in run["loads"][name])


def ready_of(run: dict[str, Any], name: str) -> float:
    """Rows a second of a load until all is indexed, as some stores do in the load and others after it."""
    return run["rows"] / (run["rows"] / load_of(run, name) + run.get("prepared", {}).get(name, 0))


def fresh_of(run: dict[str, Any], name: str, figure: str) -> float:
    """A figure of fresh processes, their median."""
    return statistics.median(one[figure] for one in run["fresh"][name])


def show(record: dict[str, Any]) -> str:
    """The tables for people."""
    parts = []
    for run in record["runs"]:
        parts.append(f"\n{run['rows']:,} x {record['dim']}, k = {record['k']}, target {record['target']:g}\n")
        lines = []
        for name in run["loads"]:
            line = [
                name,
                f"{load_of(run, name):,.0f}",
                f"{ready_of(run, name):,.0f}",
                f"{run['disk'][name] / run['rows']:,.0f}",
            ]
            figures = ("open_ms", "first_ms", "alone_ms", "anonymous_mb", "rss_mb")
            line += [f"{fresh_of(run, name, f):,.2f}" if name in run["fresh"] else "" for f in figures]
            lines.append(line)
        heads = (
            "",
            "load rows / s",
            "till indexed",
            "bytes / row",
            "open ms",
            "first query ms",
            "p50 alone ms",
            "anonymous MB more",
            "RSS MB",
        )
        parts.append(common.table(heads, lines) + "\n")
        lines = []
        for cell in run["cells"]:
            for way in cell["ways"]:
                lines.append((
                    cell["setting"], cell["group"], f"{100 * cell['share']:g} %", way["way"], f"{way['recall']:.4f}",
                    f"{way['short']}", f"{way['p50_ms']:.3f}", f"{way['p95_ms']:.3f}", f"{way['queries']}",
                ))  # fmt: skip
        heads = ("setting", "filter", "share", "store", "recall", "short", "p50 ms", "p95 ms", "queries")
        parts.append(common.table(heads, lines))
    promises = [(what, said, found, "ok" if kept else "MISSED") for what, said, found, kept in kept_of(record)]
    parts.append("\n" + common.table(("promised", "", "measured", ""), promises))
    return "\n".join(parts)


def kept_of(record: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """What is promised, the figure, what was measured, and whether that is enough."""
    ours = [w for run in record["runs"] for c in run["cells"] for w in c["ways"] if w["way"].startswith(OURS)]
    for setting in ("default", "calibrated"):
        recalls = [
            w["recall"]
            for run in record["runs"] for c in run["cells"] if c["setting"] == setting
            for w in c["ways"] if w["way"].startswith(OURS)
        ]  # fmt: skip
        yield (
            f"recall, median, {setting}",
            ">= 0.99",
            f"{statistics.median(recalls):.4f}",
            statistics.median(recalls) >= 0.99,
        )
        yield f"recall, worst, {setting}", ">= 0.95", f"{min(recalls):.4f}", min(recalls) >= 0.95
    short, outside = (sum(w[what] for w in ours) for what in ("short", "out_of_scope"))
    yield "short answers; rows out of scope", "0; 0", f"{short}; {outside}", short == outside == 0
    for run in record["runs"]:
        rows, load = f"{run['rows']:,}", load_of(run, OURS)
        if "plain tables" in run["loads"]:
            ratio = load / load_of(run, "plain tables")
            yield f"{rows}: load / plain tables", ">= 0.5", f"{ratio:.2f}", ratio >= 0.5
        if record["dim"] != 384:
            continue
        yield f"{rows}: load, rows / s", ">= 20,000", f"{load:,.0f}", load >= 20_000
        if run["rows"] == 100_000:
            yield from _hundred_thousand(run)
        if run["rows"] in (100_000, 1_000_000):
            yield from _scoped(run)
        if run["rows"] == 1_000_000:
            for what, most in (("open_ms", 300), ("first_ms", 150), ("anonymous_mb", 80)):
                found = fresh_of(run, OURS, what)
                yield f"{rows}: {what}", f"<= {most}", f"{found:.0f}", found <= most
            more = run["merge"]["peak_rss_mb"] - run["merge"]["segment_mb"]
            yield f"{rows}: a merge, MB over one segment", "<= 500", f"{more:.0f}", more <= 500


def _hundred_thousand(run: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    everything = way_of(cell_of(run, "calibrated", "all", 1.0), OURS)
    assert everything is not None
    alone = fresh_of(run, OURS, "alone_ms")
    yield "100,000: unfiltered p50 ms, alone in its process", "<= 0.5", f"{alone:.3f}", alone <= 0.5
    yield (
        "100,000: the same in turn with the others",
        "<= 0.5",
        f"{everything['p50_ms']:.3f}",
        everything["p50_ms"] <= 0.5,
    )
    yield "100,000: its recall", ">= 0.99", f"{everything['recall']:.4f}", everything["recall"] >= 0.99


def _scoped(run: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    rows = f"{run['rows']:,}"
    cell = cell_of(run, "calibrated", "independent", 0.01)
    for kind, suffix in (("namespace", ""), ("metadata", ", metadata")):
        way = way_of(cell, OURS + suffix)
        assert way is not None
        yield f"{rows}: 1 % {kind} p50 ms", "<= 0.7", f"{way['p50_ms']:.3f}", way["p50_ms"] <= 0.7
        yield f"{rows}: its recall", ">= 0.995", f"{way['recall']:.4f}", way["recall"] >= 0.995
        other = way_of(cell, "sqlite-vec" + suffix)
        if other is not None:
            ratio = way["p50_ms"] / other["p50_ms"]
            yield f"{rows}: 1 % {kind} / sqlite-vec", "<= 0.05", f"{ratio:.4f}", ratio <= 0.05
