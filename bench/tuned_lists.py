"""What tune_index chooses, measured beside the best of a sweep: of the indexes that reach its target, is its the fastest?

The rivals are those values of lists that reach the target soonest. Each has the probes that just reach it, and those that
reach what the tuner may miss it by: neither side is to have the other's margin as its advantage.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

import kompanion_db

from . import data, plans
from .cases import LEAST_QUERIES, Case
from .plans import Hand
from .promises import TUNER_RATIO, TUNER_RECALL
from .ways import by_hand, run, warm


def point(source: data.Dataset, case: Case, hand: Hand, probes: int, times: int = 1) -> dict[str, Any]:
    """Recall and p50 of one setting."""
    way = by_hand(hand, case, "post-filter", probes)
    warm(way, source, case)
    for _ in range(times):
        run(way, source, case, range(len(case.asks)))
    return {"lists": hand.lists, "probes": probes} | way.result()


def rivals(points: list[dict[str, Any]], target: float, most: int = 3) -> dict[str, tuple[int, int]]:
    """For the values of lists that reach the target soonest, lists and probes by name.

    Several, because the very cheapest of a sweep has been lucky, and may miss the target when it is measured again. What
    misses the target by no more than the tuner may is admitted too.
    """
    allowed = target - TUNER_RECALL
    reach = sorted((p for p in points if p["share"] == 1.0 and p["recall"] >= allowed), key=lambda p: p["p50_ms"])
    found = []
    for lists in list(dict.fromkeys(p["lists"] for p in reach))[:most]:
        mine = [p for p in reach if p["lists"] == lists]
        bold = min(p["probes"] for p in mine)
        safe = min((p["probes"] for p in mine if p["recall"] >= target), default=bold)
        found += [(lists, probes) for probes in sorted({bold, safe})]
    return {f"sweep {n}": pair for n, pair in enumerate(found)}


def duel(
    source: data.Dataset,
    case: Case,
    store: kompanion_db.Store,
    hand: Hand,
    sides: dict[str, tuple[int, int]],
    rounds: int,
) -> dict[str, dict[str, Any]]:
    """Each side (lists, probes) measured, ``rounds`` times, in the other order each time; medians, and the mean recall.

    Sides cannot be asked in turn, as each value of lists needs an index of its own: in one order, one would always have the
    later minutes. Those of the same value share an index.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    values = list(dict.fromkeys(lists for lists, _ in sides.values()))
    for n in range(rounds):
        step = 1 if n % 2 == 0 else -1
        for value in values[::step]:
            # A new index each time: k-means starts from a random sample, so recall differs from build to build.
            plans.build(store, "none")
            plans.build(store, "ivfflat", value)
            hand.refresh()
            for name, (lists, probes) in list(sides.items())[::step]:
                if lists == value:
                    found[name].append(point(source, case, hand, probes, times=2))
    return {
        name: {"lists": sides[name][0], "probes": sides[name][1], "recall": float(np.mean([p["recall"] for p in points])),
               "p50_ms": statistics.median(p["p50_ms"] for p in points), "rounds": points}
        for name, points in found.items()
    }  # fmt: skip


def tuned(store: kompanion_db.Store, target: float, seconds: float, asked: data.Floats | None) -> dict[str, Any] | None:
    """What tune_index chooses for unfiltered search, and how long it takes; None where it chooses nothing.

    ``asked``: what it measures with, if given.
    """
    start = time.perf_counter()
    rows = store.tune_index(
        plans.MODEL, target_recall=target, seconds=seconds, kinds=["ivfflat"], share=1.0, queries=asked, apply=False
    )
    chosen = next((row for row in rows if row.chosen), None)
    if chosen is None:
        return None
    return {
        "lists": chosen.lists, "probes": chosen.knob, "tuner_recall": chosen.recall, "tuner_ms": chosen.milliseconds,
        "candidates": len(rows), "seconds": time.perf_counter() - start, "own_queries": asked is not None,
    }  # fmt: skip


def halves(source: data.Dataset) -> tuple[data.Floats, data.Dataset]:
    """Every other query, and the data set that is asked the others alone. Exits when there are too few for both."""
    if len(source.queries) < 2 * LEAST_QUERIES:
        sys.exit(
            f"--tune-with-queries: {len(source.queries)} queries are too few to be halved, {2 * LEAST_QUERIES} are needed"
        )
    filters = {level: asks[1::2] for level, asks in source.filters.items()}
    neighbors = None if source.neighbors is None else source.neighbors[1::2]
    return source.queries[::2], replace(source, queries=source.queries[1::2], filters=filters, neighbors=neighbors)


def judged(
    source: data.Dataset,
    case: Case,
    store: kompanion_db.Store,
    hand: Hand,
    points: list[dict[str, Any]],
    asked: data.Floats | None,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """What tune_index chooses, beside the best of the sweep; nothing, and it is said why, where one of them is missing."""
    others = rivals(points, args.target)
    choice = tuned(store, args.target, args.tuner_seconds, asked) if others else None
    if choice is None:
        why = "tune_index chooses no index" if others else "no point of the sweep reaches the target"
        print(f"{source.name}: {why}, so only the sweep is shown")
        return {}
    found = duel(source, case, store, hand, {"tuner": (choice["lists"], choice["probes"])} | others, args.duels)
    tuner = found.pop("tuner")
    kept = [side for side in found.values() if side["recall"] >= args.target - TUNER_RECALL]
    best = min(kept, key=lambda s: s["p50_ms"]) if kept else max(found.values(), key=lambda s: s["recall"])
    ratio = tuner["p50_ms"] / best["p50_ms"]
    return {
        "choice": choice, "duel": {"tuner": tuner, "best": best, "tried": list(found.values())},
        "ratio": ratio, "near": tuner["recall"] >= args.target - TUNER_RECALL, "fast": ratio <= TUNER_RATIO,
    }  # fmt: skip
