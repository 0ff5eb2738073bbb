"""The classic sweep of ivfflat, lists x probes x share, and the tuner's choice measured among it.

For each value of lists an index is built; a plain hand-written statement (the index, the filter applied to what it
returns) is run over a ladder of probes at shares of 100, 10 and 1 %. Then tune_index chooses for the target recall, its
choice is built, and it is measured with the same statement and queries, as are the cheapest points of the sweep that
reach the target: those are built again, one index after the other and in the other order each round, so that all are
measured within the same minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg

import kompanion_db

from . import cases as scopes
from . import common, data, plans
from .cases import LEAST_QUERIES, Case
from .plans import Hand, K
from .promises import TUNER_RATIO, TUNER_RECALL
from .ways import by_hand, in_turn, run, warm

NAME = "ivfflat_lists"
FACTORS = (0.25, 0.5, 1, 2, 4)
SHARES = (0.1, 0.01)


def grid(rows: int, factors: tuple[float, ...] = FACTORS) -> list[int]:
    """Values of lists around the square root of the rows."""
    return sorted({max(1, round(factor * rows**0.5)) for factor in factors})


def point(source: data.Dataset, case: Case, hand: Hand, probes: int, times: int = 1) -> dict[str, Any]:
    """Recall and p50 of one setting."""
    way = by_hand(hand, case, "post-filter", probes)
    warm(way, source, case)
    for _ in range(times):
        run(way, source, case, range(len(case.asks)))
    return {"lists": hand.lists, "probes": probes} | way.result()


def line_of(source: data.Dataset, case: Case, hand: Hand) -> list[dict[str, Any]]:
    """The points of one index, measured in turn, from 1 probe to where recall is 0.999."""
    ways = []
    for probes in hand.knobs():
        ways.append(by_hand(hand, case, "post-filter", probes))
        warm(ways[-1], source, case)
        run(ways[-1], source, case, range(0, len(case.asks), max(1, len(case.asks) // 100)))
        if all(np.mean(way.recalls) >= 0.999 for way in ways[-2:]):  # twice: this was only a part of the queries
            break
    for way in ways:
        way.clear()
    in_turn(ways, source, case)
    return [{"lists": hand.lists, "probes": way.knob} | way.result() for way in ways]


def sweep(
    source: data.Dataset, planned: list[Case], store: kompanion_db.Store, hand: Hand, lists: list[int]
) -> list[dict[str, Any]]:
    """Every point of the sweep. A ladder ends where recall is 0.999."""
    points = []
    with common.progress(len(lists) * len(planned), "sweep", " lines") as bar:
        for value in lists:
            start = time.perf_counter()
            plans.build(store, "ivfflat", value)
            seconds = time.perf_counter() - start
            hand.refresh()
            for case in planned:
                bar.set_postfix_str(f"{value} lists, {100 * case.share:g} %")
                points += [{"share": case.share, "build_s": seconds} | p for p in line_of(source, case, hand)]
                bar.update()
    return points


def cheapest(points: list[dict[str, Any]], target: float, most: int = 3) -> dict[str, tuple[int, int]]:
    """For the values of lists that reach the target soonest, their cheapest probes: lists and probes by name.

    Several, because the very cheapest of a sweep has been lucky, and may miss the target when it is measured again.
    """
    reach = sorted((p for p in points if p["share"] == 1.0 and p["recall"] >= target), key=lambda p: p["p50_ms"])
    by_lists: dict[int, int] = {}
    for p in reach:
        by_lists.setdefault(p["lists"], p["probes"])
    return {f"sweep {n}": pair for n, pair in enumerate(list(by_lists.items())[:most])}


def duel(
    source: data.Dataset,
    case: Case,
    store: kompanion_db.Store,
    hand: Hand,
    sides: dict[str, tuple[int, int]],
    rounds: int,
) -> dict[str, dict[str, Any]]:
    """Each side (lists, probes) built and measured, ``rounds`` times, in the other order each time; medians, and the mean recall.

    Sides cannot be asked in turn, as each needs an index of its own: in one order, one would always have the later minutes.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for n in range(rounds):
        for name, (lists, probes) in list(sides.items())[:: 1 if n % 2 == 0 else -1]:
            # A new index each time: k-means starts from a random sample, so recall differs from build to build.
            plans.build(store, "none")
            plans.build(store, "ivfflat", lists)
            hand.refresh()
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


def one_set(url: str, source: data.Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """The record of one data set on one server."""
    asked, source = halves(source) if args.tune_with_queries else (None, source)
    namespaces, found = scopes.of(source, args.query_count, K, args.seed, shares=SHARES)
    scopes.tell_misread(source, found[0])
    narrow = [c for c in found if c.group in ("independent", "foreign namespace") and c.share >= SHARES[-1]]
    planned = [found[0], *narrow]
    with common.database(url, NAME) as target:
        plans.load(target, source, namespaces)
        with (
            psycopg.connect(target, autocommit=True) as conn,
            kompanion_db.connect(target, max_size=1) as store,
        ):
            lists = args.lists or grid(len(source.vectors), (0.5, 1, 2) if args.small else FACTORS)
            with Hand(target, source, namespaces) as hand:
                points = sweep(source, planned, store, hand, lists)
                record = {
                    "about": common.machine(conn), "data": source.name, "rows": len(source.vectors), "dim": source.dim,
                    "metric": source.metric, "queries": len(found[0].asks), "points": points,
                }  # fmt: skip
                if args.no_tuner:
                    return record
                return record | judged(source, found[0], store, hand, points, asked, args)


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
    rivals = cheapest(points, args.target)
    choice = tuned(store, args.target, args.tuner_seconds, asked) if rivals else None
    if choice is None:
        why = "tune_index chooses no index" if rivals else "no point of the sweep reaches the target"
        print(f"{source.name}: {why}, so only the sweep is shown")
        return {}
    found = duel(source, case, store, hand, {"tuner": (choice["lists"], choice["probes"])} | rivals, args.duels)
    tuner = found.pop("tuner")
    kept = [side for side in found.values() if side["recall"] >= args.target - TUNER_RECALL]
    best = min(kept, key=lambda s: s["p50_ms"]) if kept else max(found.values(), key=lambda s: s["recall"])
    ratio = tuner["p50_ms"] / best["p50_ms"]
    return {
        "choice": choice, "duel": {"tuner": tuner, "best": best, "tried": list(found.values())},
        "ratio": ratio, "near": tuner["recall"] >= args.target - TUNER_RECALL, "fast": ratio <= TUNER_RATIO,
    }  # fmt: skip


def show(record: dict[str, Any]) -> str:
    """The tables for people."""
    parts = []
    for one in record["runs"]:
        lines = []
        for lists in sorted({p["lists"] for p in one["points"]}):
            mine = [p for p in one["points"] if p["lists"] == lists]
            line = [str(lists), f"{mine[0]['build_s']:.1f}"]
            for share in sorted({p["share"] for p in one["points"]}, reverse=True):
                there = [p for p in mine if p["share"] == share]
                reach = [p for p in there if p["recall"] >= record["target"]]
                best = min(reach, key=lambda p: p["p50_ms"]) if reach else max(there, key=lambda p: p["recall"])
                line += [f"{best['probes']}", f"{best['recall']:.3f}", f"{best['p50_ms']:.2f}"]
            lines.append(line)
        shares = sorted({p["share"] for p in one["points"]}, reverse=True)
        headers = ["lists", "build s"] + [h for s in shares for h in (f"{100 * s:g} %: probes", "recall", "p50 ms")]
        parts.append(
            f"\n{common.versions(one['about'])}: {one['data']}, {one['rows']:,} x {one['dim']}; "
            f"the cheapest probes that reach {record['target']:g}\n{common.table(headers, lines)}"
        )
        if "duel" not in one:
            continue
        tuner, best, choice = one["duel"]["tuner"], one["duel"]["best"], one["choice"]
        parts.append(
            f"tune_index took {choice['seconds']:.0f} s and chose {tuner['lists']} lists, probes {tuner['probes']}: "
            f"recall {tuner['recall']:.3f}, p50 {tuner['p50_ms']:.2f} ms\n"
            f"best of the sweep beside it: {best['lists']} lists, probes {best['probes']}: recall {best['recall']:.3f}, "
            f"p50 {best['p50_ms']:.2f} ms\n"
            f"tuner / best {one['ratio']:.2f} (promised {TUNER_RATIO}): {'ok' if one['fast'] else 'MISSED'}; "
            f"recall within {TUNER_RECALL} of {record['target']:g}: {'ok' if one['near'] else 'MISSED'}"
        )
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Run for each data set on each server, print tables, write JSON and PNG."""
    from . import pictures_lists

    common.end_on_sigterm()
    parser = argparse.ArgumentParser(prog=f"python -m bench.{NAME}", description=__doc__)
    common.add_server_arguments(parser)
    data.add_arguments(parser, rows=100_000)
    parser.add_argument(
        "--lists",
        type=common.positive,
        nargs="+",
        help="values to sweep; default: 1/4 to 4 x the square root of the rows",
    )
    parser.add_argument("--target", type=float, default=0.95, help="target recall; default %(default)s")
    parser.add_argument("--tuner-seconds", type=float, default=300, help="time tune_index gets; default %(default)s")
    parser.add_argument(
        "--duels",
        type=common.positive,
        default=2,
        help="how often the tuner's choice and the best are built and measured; default %(default)s",
    )
    parser.add_argument(
        "--tune-with-queries",
        action="store_true",
        help="tune_index is given every other query to measure with, and the rest are asked: for queries that are not "
        "like the rows",
    )
    parser.add_argument("--no-tuner", action="store_true", help="only the sweep")
    parser.add_argument("--only-data", action="store_true", help="only --data, without the two generated sets")
    args = parser.parse_args(argv)
    if args.draw:
        print(*pictures_lists.draw(common.read(args.draw, NAME)))
        return
    if args.only_data and not args.data:
        parser.error("--only-data needs --data")
    if not 0.01 <= args.target <= 0.999 or args.tuner_seconds <= 0:
        parser.error("--target must be 0.01 to 0.999, and --tuner-seconds above 0")
    if args.small:
        args.rows, args.dim, args.query_count = args.rows or 20_000, min(args.dim, 64), min(args.query_count, 50)
        args.tuner_seconds, args.duels = min(args.tuner_seconds, 30), 1
    data.check_arguments(args)
    rows = data.rows_of(args)
    sets = [] if args.only_data else [
        data.generated(rows, args.dim, args.query_count, args.seed, args.spread),
        data.generated(rows, args.dim, args.query_count, args.seed + 1, 2 * args.spread, clusters=max(16, rows // 1000)),
    ]  # fmt: skip
    if args.data:
        sets.append(data.chosen(args))
    record: dict[str, Any] = common.settings_of(args) | {"k": K, "runs": []}
    name = common.record_name(NAME, args)
    for key, url in common.servers(args):
        for source in sets:
            record["runs"].append({"server": key} | one_set(url, source, args))
            common.save(name, record)  # what is measured is kept, whatever becomes of the next one
    print(show(record))
    print(common.save(name, record), *pictures_lists.draw(record))


if __name__ == "__main__":
    main()
