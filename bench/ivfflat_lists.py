"""The classic sweep of ivfflat, lists x probes x share, and the tuner's choice measured among it.

For each value of lists an index is built; a plain hand-written statement (the index, the filter applied to what it
returns) is run over a ladder of probes at shares of 100, 10 and 1 %. Then tune_index chooses for the target recall, its
choice is built, and it is measured with the same statement and queries, as are the cheapest points of the sweep that
reach the target: those are built again, one index after the other and in the other order each round, so that all are
measured within the same minutes. The sweep goes as far as the tuner may, and around the target as finely.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg

import kompanion_db
from kompanion_db import errors

from . import cases as scopes
from . import command, common, data, plans, records
from .cases import Case
from .plans import Hand, K
from .promises import TUNER_RATIO, TUNER_RECALL
from .tuned_lists import halves, judged
from .ways import by_hand, in_turn, run, warm

NAME = "ivfflat_lists"
FACTORS = (0.25, 0.5, 1, 2, 4, 8)
"""All that tune_index tries."""
SHARES = (0.1, 0.01)


def grid(rows: int, factors: tuple[float, ...] = FACTORS) -> list[int]:
    """Values of lists around the square root of the rows."""
    return sorted({min(plans.MOST_LISTS, max(1, round(factor * rows**0.5))) for factor in factors})


def line_of(source: data.Dataset, case: Case, hand: Hand, near: tuple[float, ...] = ()) -> list[dict[str, Any]]:
    """The points of one index, measured in turn, from 1 probe to where recall is 0.999.

    Where ``near`` a recall the ladder is too coarse, more between its two rungs, as many as tune_index would try.
    """
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
    recalls = {way.knob or 0: float(np.mean(way.recalls)) for way in ways}

    def measured(probes: int) -> float:
        ways.append(by_hand(hand, case, "post-filter", probes))
        warm(ways[-1], source, case)
        run(ways[-1], source, case, range(len(case.asks)))
        return float(np.mean(ways[-1].recalls))

    for recall in near:
        close_in(recalls, recall, measured)
    ways.sort(key=lambda way: way.knob or 0)
    return [{"lists": hand.lists, "probes": way.knob} | way.result() for way in ways]


def close_in(recalls: dict[int, float], target: float, measured: Callable[[int], float]) -> None:
    """Add to the recalls by probes what halves the step to the fewest that reach the target, as tune_index does."""
    while True:
        enough = min((probes for probes, recall in recalls.items() if recall >= target), default=0)
        below = max((probes for probes in recalls if probes < enough), default=0)
        if enough - below <= max(1, enough // 16):
            return
        between = (below + enough) // 2
        recalls[between] = measured(between)


def sweep(
    source: data.Dataset, planned: list[Case], store: kompanion_db.Store, hand: Hand, lists: list[int], target: float
) -> list[dict[str, Any]]:
    """Every point of the sweep. A ladder ends where recall is 0.999."""
    bounds = (target, target - TUNER_RECALL)
    points = []
    with common.progress(len(lists) * len(planned), "sweep", " lines") as bar:
        for value in lists:
            start = time.perf_counter()
            if not built(store, value):
                bar.update(len(planned))
                continue
            seconds = time.perf_counter() - start
            hand.refresh()
            for case in planned:
                bar.set_postfix_str(f"{value} lists, {100 * case.share:g} %")
                line = line_of(source, case, hand, bounds if case.share == 1 else ())
                points += [{"share": case.share, "build_s": seconds} | p for p in line]
                bar.update()
    if not points:
        raise SystemExit("--lists: none of these can be built, the server needs more maintenance_work_mem")
    return points


def built(store: kompanion_db.Store, lists: int) -> bool:
    """Build the index, if maintenance_work_mem is enough for it; else it is said and left out, as tune_index does."""
    try:
        plans.build(store, "ivfflat", lists)
    except errors.TooLarge as exc:
        print(f"{lists} lists are left out. {exc}", file=sys.stderr)
        return False
    return True


def narrow(found: list[Case]) -> list[Case]:
    """The cases nearest to SHARES, of the kind that has nothing to do with the query: a namespace, else tags."""
    kinds = ("independent", "foreign namespace", "tags")
    some = next((mine for kind in kinds if (mine := [c for c in found if c.group == kind])), [])
    near = [min(some, key=lambda c: abs(math.log(c.share / share))) for share in SHARES] if some else []
    return near[:1] if len({c.share for c in near}) == 1 else near


def one_set(url: str, source: data.Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """The record of one data set on one server."""
    asked, source = halves(source) if args.tune_with_queries else (None, source)
    namespaces, found = scopes.of(source, args.query_count, K, args.seed, shares=SHARES)
    scopes.tell_misread(source, found[0])
    planned = [found[0], *narrow(found)]
    with common.database(url, NAME) as target:
        plans.load(target, source, namespaces)
        with (
            psycopg.connect(target, autocommit=True) as conn,
            kompanion_db.connect(target, max_size=1) as store,
        ):
            lists = args.lists or grid(len(source.vectors), FACTORS[1:] if args.small else FACTORS)
            with Hand(target, source, namespaces) as hand:
                points = sweep(source, planned, store, hand, lists, args.target)
                record = {
                    "about": common.machine(conn), "data": source.name, "rows": len(source.vectors), "dim": source.dim,
                    "metric": source.metric, "queries": len(found[0].asks), "points": points,
                }  # fmt: skip
                if args.no_tuner:
                    return record
                return record | judged(source, found[0], store, hand, points, asked, args)


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
    parts.append(apply(record["runs"][-1], record["target"]))  # of --data, where that is given
    return "\n".join(parts)


def apply(one: dict[str, Any], target: float) -> str:
    """The statements to have the tuner's choice; the best of the sweep where that is better, or there is no other."""
    if "duel" in one:
        return plans.to_apply(
            "ivfflat", one["duel"]["tuner" if one["near"] and one["fast"] else "best"]["lists"], target
        )
    reach = [p for p in one["points"] if p["share"] == 1 and p["recall"] >= target]
    return plans.to_apply("ivfflat", min(reach, key=lambda p: p["p50_ms"])["lists"], target) if reach else ""


def main(argv: list[str] | None = None) -> None:
    """Run for each data set on each server, print tables, write JSON and PNG."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{NAME}", description=__doc__)
    common.add_server_arguments(parser)
    data.add_arguments(parser, rows=100_000)
    parser.add_argument(
        "--lists",
        type=plans.lists,
        nargs="+",
        help="values to sweep; default: 1/4 to 8 x the square root of the rows",
    )
    parser.add_argument("--target", type=float, default=0.95, help="target recall; default %(default)s")
    parser.add_argument(
        "--tuner-seconds", type=common.number, default=300, help="time tune_index gets; default %(default)s"
    )
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
    records.add_arguments(parser)
    args = parser.parse_args(argv)
    records.prepare(args.out)
    from . import pictures_lists

    if args.draw:
        print(*pictures_lists.draw(records.read(args.draw, NAME), args.out))
        return
    name = records.name_of(NAME, args, parser)
    if args.only_data and not args.data:
        parser.error("--only-data needs --data")
    if not 0.01 <= args.target <= 0.999 or args.tuner_seconds <= 0:
        parser.error("--target must be 0.01 to 0.999, and --tuner-seconds above 0")
    if args.small:
        records.make_small(args, parser, rows=20_000, dim=64, query_count=100, tuner_seconds=30, duels=1)
    data.check_arguments(args)
    rows = data.rows_of(args)
    sets = [] if args.only_data else [
        data.generated(rows, args.dim, args.query_count, args.seed, args.spread),
        data.generated(rows, args.dim, args.query_count, args.seed + 1, 2 * args.spread, clusters=max(16, rows // 1000)),
    ]  # fmt: skip
    if args.data:
        sets.append(data.chosen(args))
    record: dict[str, Any] = records.settings_of(args) | {"k": K, "runs": []}
    records.fill(record, name, args, lambda key, url: (one_set(url, source, args) for source in sets))
    records.finish(record, name, args, show, pictures_lists.draw)


if __name__ == "__main__":
    command.run(main)
