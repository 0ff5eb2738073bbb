"""Scoped search at shares from 100 % to 0.01 %: recall, short answers and p50 of ours and of the best plan by hand.

Ours is Store.search at each target recall, after calibrate. Beside it stand the plans that people write by hand
against the same tables: the vector index with a filter over what it returns (post-filter), the same with pgvector's
iterative scan, each over a ladder of probes, and an exact scan of the scope. All plans of a scope are measured
together, ten queries of one, then ten of the next, so that the machine's moods hit them alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

import kompanion_db

from . import cases as scopes
from . import command, common, cores, data, plans, records
from .cases import Case
from .plans import Hand, K
from .promises import SEARCH_MS, SEARCH_RATIO
from .ways import BLOCK, Way, by_hand, by_search, in_turn, run, warm

if TYPE_CHECKING:
    from tqdm import tqdm

TARGETS = (0.90, 0.95, 0.99)
NAME = "filtered_search"
PILOT = 40


def pilot(source: data.Dataset, case: Case, hand: Hand) -> tuple[list[dict[str, Any]], list[Way]]:
    """Try the ladder of every hand-written plan on a few queries; the figures, and the plans that may be the best.

    A plan slower than three times the exact one cannot be: its ladder ends there, or two rungs above a recall of 0.999,
    as all queries may miss what these few do not.
    """
    places = np.unique(np.linspace(0, len(case.asks) - 1, PILOT).astype(int)).tolist()
    exact = [
        by_hand(hand, case, label, None) for label in ("exact", *(["exact by items"] if case.asks[0].tags else []))
    ]
    for way in exact:
        warm(way, source, case)
        run(way, source, case, places)
    limit = min(statistics.median(way.times) for way in exact)
    tried, ways = [way.result() for way in exact], []
    for label in hand.ways():
        family: list[Way] = []
        complete = 0
        for knob in hand.knobs():
            way = by_hand(hand, case, label, knob)
            run(way, source, case, places[:3])
            slow = statistics.median(way.times) > 3 * limit
            if not slow:
                way.clear()
                run(way, source, case, places)
            family.append(way)
            tried.append(way.result())
            complete += tried[-1]["recall"] >= 0.999
            if slow or complete > 2 or tried[-1]["p50_ms"] > 3 * limit:
                break
        ways += [
            w for w in family if np.mean(w.recalls) >= TARGETS[0] - 0.04 and statistics.median(w.times) <= 1.5 * limit
        ]
    return tried, [by_hand(hand, case, w.label, w.knob) for w in exact + ways]


def unfiltered_knobs(source: data.Dataset, case: Case, hand: Hand, target: float) -> dict[str, int]:
    """For each way by index the smallest knob that reaches the target without a filter: what people set, then filter."""
    chosen = {}
    for label in hand.ways():
        for knob in hand.knobs():
            way = by_hand(hand, case, label, knob)
            run(way, source, case, range(len(case.asks)))
            chosen[label] = knob
            if np.mean(way.recalls) >= target:
                break
    return chosen


def measure(
    source: data.Dataset, case: Case, store: kompanion_db.Store, hand: Hand, usual: dict[str, int], bar: tqdm[Any]
) -> dict[str, Any]:
    """All of one scope: ours at each target, and every hand-written plan that may be the best for one of them."""
    bar.set_postfix_str(f"{case.group} {100 * case.share:g} %")
    tried, ways = pilot(source, case, hand)
    ours = [by_search(store, case, target) for target in TARGETS]
    common_ways = [by_hand(hand, case, label, knob) for label, knob in usual.items()]
    ways = [*ours, *ways]
    for way in ways:
        warm(way, source, case)
    in_turn(ways, source, case, progress=bar.update)
    for way in common_ways:  # only for the picture: what becomes of the usual settings; no more than 4 s each
        end = time.perf_counter() + 4
        for start in range(0, len(case.asks), BLOCK):
            run(way, source, case, range(start, min(start + BLOCK, len(case.asks))))
            if time.perf_counter() > end:
                break
    theirs = [way.result() for way in ways[len(ours) :]]
    cell: dict[str, Any] = {"group": case.group, "share": case.share, "rows": case.rows, "queries": len(case.asks)}
    cell |= {"tried": tried, "by_hand": theirs, "usual": [way.result() for way in common_ways], "targets": []}
    for target, way in zip(TARGETS, ours, strict=True):
        best, reached = best_of(theirs, target)
        told = [explained(store, case, n, target) for n in range(min(5, len(case.asks)))]
        mine = way.result()
        allowed = SEARCH_RATIO * best["p50_ms"] + SEARCH_MS
        cell["targets"].append({
            "target": target, "ours": mine, "best": best, "reached": reached, "path": Counter(told).most_common(1)[0][0],
            "ratio": mine["p50_ms"] / best["p50_ms"], "allowed_ms": allowed,
            "right": mine["recall"] >= target and mine["short"] == 0 and mine["out_of_scope"] == 0,
            "fast": mine["p50_ms"] <= allowed or not reached,
        })  # fmt: skip
    return cell


def best_of(ways: list[dict[str, Any]], target: float) -> tuple[dict[str, Any], bool]:
    """The fastest way that reaches the target, and True; where none does, the one with the best recall, and False."""
    reach = [way for way in ways if way["recall"] >= target]
    if reach:
        return min(reach, key=lambda way: way["p50_ms"]), True
    return max(ways, key=lambda way: way["recall"]), False


def explained(store: kompanion_db.Store, case: Case, n: int, target: float) -> str:
    """The path ours took for a query, in a word or two."""
    where = case.asks[n]
    told = store.explain_search(
        where.scope, case.queries[n], K, tags_all=list(where.tags) if where.tags else None, target_recall=target
    )
    if told["path"] == "exact":  # though it may have looked around first
        return "exact"
    if told.get("probes"):
        return f"{told['path']}, {told['probes']} of {told['lists']}"
    return str(told["path"]) + (f", ef {told['ef_search']}" if told.get("ef_search") else "")


def prepare(url: str, source: data.Dataset, namespaces: list[str], args: argparse.Namespace) -> None:
    """A store with the data in it, its index as asked for, and its curves measured."""
    plans.load(url, source, namespaces)
    with kompanion_db.connect(url) as store:
        plans.build(store, None if args.index == "auto" else args.index, args.lists)
        if args.threshold is not None:
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute("select kompanion.set_setting('exact_threshold', %s::text::jsonb)", (args.threshold,))
        plans.analyze(url)
        if args.calibrate > 0:
            store.calibrate(plans.MODEL, seconds=args.calibrate)


def one_server(url: str, source: data.Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """The record of one server."""
    namespaces, planned = scopes.of(source, args.query_count, K, args.seed)
    scopes.tell_misread(source, planned[0])
    with common.database(url, NAME) as target:
        prepare(target, source, namespaces, args)
        with (
            psycopg.connect(target, autocommit=True) as conn,
            kompanion_db.connect(target, max_size=1) as store,
            Hand(target, source, namespaces) as hand,
            cores.on_one_core(target) as pinned,
            common.progress(sum(-(-len(case.asks) // BLOCK) for case in planned), "measuring", " blocks") as bar,
        ):
            model = store.list_models()[0]
            usual = unfiltered_knobs(source, planned[0], hand, 0.95)
            cells = [measure(source, case, store, hand, usual, bar) for case in planned]
            return {
                "about": common.machine(conn), "pinned": pinned,
                "index": model.index_kind, "lists": model.index_lists, "usual_knobs": usual, "cells": cells,
            }  # fmt: skip


def show(record: dict[str, Any]) -> str:
    """The table for people."""
    parts = []
    for one in record["runs"]:
        lists = f", {one['lists']} lists" if one["lists"] else ""
        parts.append(
            f"\n{common.versions(one['about'])}: {record['data']}, {record['rows']:,} x {record['dim']}, "
            f"{one['index']}{lists}, k = {record['k']}\nallowed: {SEARCH_RATIO} x the best hand-written plan that reaches the target + {SEARCH_MS} ms\n"
        )
        lines = []
        for cell in one["cells"]:
            for t in cell["targets"]:
                best, ours = t["best"], t["ours"]
                knob = f" {best['knob']}" if best["knob"] else ""
                if not t.get("reached", True):
                    knob += f", {best['recall']:.3f}: no plan reached the target"
                verdict = (
                    "ok"
                    if t["right"] and t["fast"]
                    else " ".join(w for w, good in (("RECALL", t["right"]), ("SLOW", t["fast"])) if not good)
                )
                lines.append((
                    cell["group"], f"{100 * cell['share']:g} %", f"{cell['rows']}", f"{t['target']:.2f}", f"{ours['recall']:.3f}",
                    f"{ours['short']}", f"{ours['p50_ms']:.2f}", f"{best['p50_ms']:.2f}", f"{best['way']}{knob}",
                    f"{t['ratio']:.2f}", verdict, t["path"],
                ))  # fmt: skip
        headers = (
            "filter",
            "share",
            "rows",
            "target",
            "recall",
            "short",
            "p50 ms",
            "best ms",
            "best by hand",
            "ratio",
            "verdict",
            "our path",
        )
        parts.append(common.table(headers, lines))
        done = [t for cell in one["cells"] for t in cell["targets"]]
        furthest = min(done, key=lambda t: t["ours"]["recall"] - t["target"])
        parts.append(
            f"{sum(t['right'] for t in done)} of {len(done)} reach the target (the furthest from it: {furthest['ours']['recall']:.3f} for "
            f"{furthest['target']:.2f}), {sum(t['fast'] for t in done)} are as fast as allowed; "
            f"short answers {sum(t['ours']['short'] for t in done)}, rows out of scope {sum(t['ours']['out_of_scope'] for t in done)}"
        )
    last = record["runs"][-1]
    if last["index"] != "none":
        parts.append(plans.to_apply(last["index"], last["lists"], TARGETS[1]))
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Run on each server, print tables, write JSON and PNG."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{NAME}", description=__doc__)
    common.add_server_arguments(parser, "pg18,floor")
    data.add_arguments(parser, rows=200_000, count=400)
    parser.add_argument(
        "--index",
        default="auto",
        choices=["auto", "none", "ivfflat", "hnsw"],
        help="default: what ensure_index decides",
    )
    parser.add_argument("--lists", type=plans.lists, help="of ivfflat; default: what ensure_index decides")
    parser.add_argument(
        "--threshold", type=common.positive, help="set exact_threshold, to see the index at work in small sets"
    )
    parser.add_argument(
        "--calibrate",
        type=common.number,
        default=120,
        metavar="SECONDS",
        help="time for calibrate; 0: without; default %(default)s",
    )
    records.add_arguments(parser)
    args = parser.parse_args(argv)
    records.prepare(args.out)
    from . import pictures_search

    if args.draw:
        print(*pictures_search.draw(records.read(args.draw, NAME), args.out))
        return
    name = records.name_of(NAME, args, parser)
    if args.lists and args.index in ("none", "hnsw"):
        parser.error(f"--lists: is of ivfflat, an index of kind {args.index} has none; leave one of them out")
    if args.small:
        records.make_small(args, parser, rows=30_000, dim=64, query_count=40, calibrate=15)
    source = data.chosen(args)
    record: dict[str, Any] = records.settings_of(args) | {
        "data": source.name, "rows": len(source.vectors), "dim": source.dim, "metric": source.metric, "k": K, "runs": [],
    }  # fmt: skip
    records.fill(record, name, args, lambda key, url: [one_server(url, source, args)])
    records.finish(record, name, args, show, pictures_search.draw)


if __name__ == "__main__":
    command.run(main)
