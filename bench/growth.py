"""A scope of 1,000 rows inside a store that grows from 10,000 to 1,000,000 rows: does its search get slower?

One store grows; at each size the scope is searched by Store.search, and by hand exactly and with the vector index and a
filter after it (probes as pgvector's README advises: the square root of the lists). A second store, which stays at
the first size, is searched in turn with it: the ratio of the two is free of the machine's moods.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psycopg

import kompanion_db

from . import command, common, cores, data, plans, records
from .cases import Ask, Case, case
from .plans import Hand, K
from .promises import GROWTH, GROWTH_RATIO
from .ways import by_hand, by_search, in_turn, warm

if TYPE_CHECKING:
    from tqdm import tqdm

NAME = "growth"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
FEW = (1_000, 3_000)
"""Where the store begins in a file that has fewer rows than the second size."""
SCOPE = "project:mine"
BLOCK_ROWS = 10_000


class Rows(Protocol):
    """What gives rows, each only once."""

    def rows(self, n: int) -> tuple[data.Floats, data.Ints]:
        """The next n vectors, and what they are of."""


class Drawn:
    """The rows of a file in an order that is drawn: it may be sorted, and its first rows be all of one kind."""

    def __init__(self, vectors: data.Floats, seed: int) -> None:
        self.vectors, self.given = vectors, 0
        self.order = np.random.default_rng(seed).permutation(len(vectors))

    def rows(self, n: int) -> tuple[data.Floats, data.Ints]:
        """The next n vectors, and their places in the file."""
        some = self.order[self.given : self.given + n]
        self.given += n
        return self.vectors[some], some


@dataclass
class Subject:
    """What the stores are filled with, up to which sizes, and what is asked. ``begin``: the rows, from the first on."""

    name: str
    metric: str
    queries: data.Floats
    sizes: list[int]
    begin: Callable[[], Rows]


def generated(args: argparse.Namespace) -> Subject:
    """Clustered vectors, as many as the last size."""
    sizes = [size for size in SIZES if size <= args.max_rows]
    clusters = max(16, sizes[-1] // 100)

    def begin() -> data.Clusters:
        return data.Clusters(clusters, args.dim, args.seed)

    rng = np.random.default_rng(args.seed + 1)
    queries = begin().draw(rng.integers(0, clusters, args.query_count), rng)
    return Subject(f"clustered, seed {args.seed}", "cosine", queries, sizes, begin)


def of_file(args: argparse.Namespace) -> Subject:
    """The vectors of --data and its queries; the last size is all there are."""
    found = data.of_file(args, "max-rows", args.max_rows, args.query_count)
    rows = len(found.vectors)
    if rows <= args.scope_rows:
        raise SystemExit(f"--scope-rows: must be below the {rows:,} vectors that {found.name} gives")
    # From one size to the next it grows by half at least.
    sizes = [size for size in ((*FEW, *SIZES) if rows < SIZES[1] else SIZES) if args.scope_rows < size <= rows / 1.5]
    return Subject(found.name, found.metric, found.queries, [*sizes, rows], lambda: Drawn(found.vectors, args.seed))


def items(source: Rows, first: int, last: int, scope_rows: int, bar: tqdm[Any]) -> Iterator[kompanion_db.NewItem]:
    """Rows first to last of the store; the first scope_rows of all are those of the scope, a hundred others share the rest."""
    for start in range(first, last, BLOCK_ROWS):
        vectors, _ = source.rows(min(start + BLOCK_ROWS, last) - start)
        for n, vector in enumerate(vectors, start):
            namespace = SCOPE if n < scope_rows else f"project:other{n % 100}"
            yield kompanion_db.NewItem(namespace, f"row {n}", str(n), vectors=vector[None])
        bar.update(len(vectors))


class Side:
    """One of the two stores: how it is filled."""

    def __init__(self, url: str, subject: Subject, scope_rows: int) -> None:
        self.url, self.source, self.scope_rows, self.rows = url, subject.begin(), scope_rows, 0
        kompanion_db.migrate(url)
        self.store = kompanion_db.connect(url, max_size=1)
        self.store.register_model(plans.MODEL, subject.queries.shape[1], metric=subject.metric)

    def grow(self, rows: int, calibrate: float) -> list[str]:
        """Fill up to so many rows; the index follows where ensure_index says so, and is measured. What was built."""
        with common.progress(rows - self.rows, f"filling up to {rows:,}") as bar:
            self.store.upsert_items(
                items(self.source, self.rows, rows, self.scope_rows, bar), model=plans.MODEL, batch_size=5000
            )
        self.rows = rows
        done = plans.build(self.store)
        plans.analyze(self.url)
        if done and calibrate > 0:
            self.store.calibrate(plans.MODEL, seconds=calibrate)
        return done


def measure(big: Side, small: Side, found: Case, source: data.Dataset, rounds: int, target: float) -> dict[str, Any]:
    """p50 and recall of each way in the store that grew, and p50 of ours in the one that did not, asked in turn."""
    with Hand(big.url, source, [SCOPE]) as hand, cores.on_one_core(big.url, small.url) as pinned:
        ways = {"ours": by_search(big.store, found, target), "exact": by_hand(hand, found, "exact", None)}
        if hand.kind:
            ways["post-filter"] = by_hand(hand, found, "post-filter", max(1, round((hand.lists or 1) ** 0.5)))
        ways["small"] = by_search(small.store, found, target)
        for way in ways.values():
            warm(way, source, found)
        in_turn(list(ways.values()), source, found, rounds)
    result = {name: way.result() for name, way in ways.items()}
    return result | {"ratio": result["ours"]["p50_ms"] / result["small"]["p50_ms"], "pinned": pinned}


def missed(points: list[dict[str, Any]], target: float) -> list[str]:
    """Which promises are not kept: of time at the last size, of the answers at every size."""
    ours = [point["ours"] for point in points]
    found = {
        "SLOW": points[-1]["ratio"] > GROWTH_RATIO,
        "RECALL": any(one["recall"] < target for one in ours),
        "SHORT": any(one["short"] for one in ours),
        "OUT OF SCOPE": any(one["out_of_scope"] for one in ours),
    }
    return [what for what, so in found.items() if so]


def one_server(url: str, args: argparse.Namespace, subject: Subject) -> dict[str, Any]:
    """The record of one server."""
    sizes, queries = subject.sizes, subject.queries
    # The rows of the scope are the same at each size, and in both stores: the first of the source.
    first, _ = subject.begin().rows(BLOCK_ROWS)
    source = data.Dataset(subject.name, first[: args.scope_rows], queries, subject.metric)
    ask = Ask(SCOPE, None, np.arange(args.scope_rows))
    found = case(source, "scope", 1.0, queries, [ask] * len(queries), K)
    points = []
    with common.database(url, NAME) as big_url, common.database(url, f"{NAME}_small") as small_url:
        big, small = (Side(u, subject, args.scope_rows) for u in (big_url, small_url))
        with big.store, small.store:
            small.grow(sizes[0], args.calibrate)
            for size in sizes:
                start = time.perf_counter()
                done = big.grow(size, args.calibrate)
                point = {"rows": size, "filling_s": time.perf_counter() - start, "index_steps": len(done)}
                points.append(point | measure(big, small, found, source, args.rounds, args.target))
        with psycopg.connect(big_url, autocommit=True) as conn:
            return {"about": common.machine(conn), "points": points}


def show(record: dict[str, Any]) -> str:
    """The table for people."""
    parts = []
    for one in record["runs"]:
        lines = []
        for point in one["points"]:
            post = point.get("post-filter")
            lines.append((
                f"{point['rows']:,}", f"{point['ours']['p50_ms']:.2f}", f"{point['ours']['recall']:.3f}", f"{point['ours']['short']}",
                f"{point['small']['p50_ms']:.2f}", f"{point['ratio']:.2f}", f"{point['exact']['p50_ms']:.2f}",
                f"{post['p50_ms']:.2f}" if post else "", f"{post['recall']:.3f}" if post else "", f"{post['short']}" if post else "",
                f"{point['filling_s']:.0f}",
            ))  # fmt: skip
        headers = (
            "rows",
            "p50 ms",
            "recall",
            "short",
            "small store",
            "ratio",
            "exact ms",
            "post-filter ms",
            "its recall",
            "short",
            "filled in s",
        )
        last = one["points"][-1]
        plain = last["ours"]["p50_ms"] / one["points"][0]["ours"]["p50_ms"]
        grown = last["rows"] / one["points"][0]["rows"]
        promised = (
            f"promised: {GROWTH_RATIO} x" if grown >= GROWTH else f"promised of a store that grows {GROWTH} times"
        )
        parts.append(
            f"\n{common.versions(one['about'])}: a scope of {record['scope_rows']:,} rows in a growing store, {record['data']}, dim {record['dim']}, "
            f"target {record['target']:g}\n{common.table(headers, lines)}\n"
            f"p50 at {last['rows']:,} rows is {last['ratio']:.2f} x that of the small store measured beside it "
            f"({plain:.2f} x its own at {one['points'][0]['rows']:,}); {promised},\n"
            f"and at every size the target recall, no short answer and no row out of scope: {', '.join(missed(one['points'], record['target'])) or 'ok'}"
        )
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Run on each server, print tables, write JSON and PNG."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{NAME}", description=__doc__)
    common.add_server_arguments(parser)
    parser.add_argument(
        "--max-rows",
        type=common.positive,
        default=SIZES[-1],
        help="how far the store grows, of --data its first; default %(default)s",
    )
    parser.add_argument(
        "--scope-rows", type=common.positive, default=1000, help="rows of the scope; default %(default)s"
    )
    parser.add_argument("--dim", type=common.positive, default=384, help="of generated vectors; default %(default)s")
    parser.add_argument("--query-count", type=common.positive, default=200, help="queries; default %(default)s")
    parser.add_argument(
        "--rounds", type=common.positive, default=3, help="how often each query is asked at a size; default %(default)s"
    )
    parser.add_argument(
        "--calibrate",
        type=common.number,
        default=60,
        metavar="SECONDS",
        help="time for calibrate after each build; default %(default)s",
    )
    data.add_file_arguments(parser, "queries")
    parser.add_argument("--target", type=float, default=0.95, help="target recall; default %(default)s")
    records.add_arguments(parser)
    args = parser.parse_args(argv)
    records.prepare(args.out)
    from . import pictures_growth

    if args.draw:
        print(*pictures_growth.draw(records.read(args.draw, NAME), args.out))
        return
    name = records.name_of(NAME, args, parser)
    if args.small:
        records.make_small(args, parser, max_rows=100_000, dim=64, calibrate=10)
    data.check_arguments(args)
    if args.scope_rows >= SIZES[0] or (args.data is None and args.max_rows < SIZES[0]):
        parser.error(f"--scope-rows must be below {SIZES[0]:,}, and without --data --max-rows at least that")
    if not 0.01 <= args.target <= 1:
        parser.error("--target must be 0.01 to 1")
    subject = of_file(args) if args.data else generated(args)
    record: dict[str, Any] = records.settings_of(args) | {
        "data": subject.name, "max_rows": subject.sizes[-1], "dim": subject.queries.shape[1], "metric": subject.metric,
        "query_count": len(subject.queries), "k": K, "runs": [],
    }  # fmt: skip
    records.fill(record, name, args, lambda key, url: [one_server(url, args, subject)])
    records.finish(record, name, args, show, pictures_growth.draw)


if __name__ == "__main__":
    command.run(main)
