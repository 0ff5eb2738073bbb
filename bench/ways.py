"""Asking the queries of a case in different ways, in turn, and what came of each."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import kompanion_db

from . import data
from .cases import Case
from .plans import Hand, K

BLOCK = 10
WARM = 5
"""Queries asked without counting them before each block: the ways that share a connection find it warm, one that has its
own would not, though a server that searches all day is."""


@dataclass
class Way:
    """One way to ask the queries of a case, and what came of it."""

    label: str
    knob: int | None
    prepare: Callable[[], None]
    ask: Callable[[int], list[int]]
    most: int | None = None
    """So many queries are enough: it is slow."""
    times: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)
    short: int = 0
    outside: int = 0

    def clear(self) -> None:
        """Forget what came of it so far."""
        self.times, self.recalls, self.short, self.outside = [], [], 0, 0

    def result(self) -> dict[str, Any]:
        """Its figures as a record keeps them."""
        return {
            "way": self.label,
            "knob": self.knob,
            "queries": len(self.times),
            "recall": float(np.mean(self.recalls)),
            "short": self.short,
            "out_of_scope": self.outside,
            "p50_ms": statistics.median(self.times),
            "p95_ms": float(np.percentile(self.times, 95)),
        }


def run(way: Way, source: data.Dataset, case: Case, places: Any) -> None:
    """Ask these queries; time, recall and shortness of each are added to the way.

    Judged when all are asked: to do it between two would take the caches from the server, which is on the same machine.
    """
    way.prepare()
    answers = []
    for n in places:
        start = time.perf_counter()
        rows = way.ask(n)
        way.times.append(1000 * (time.perf_counter() - start))
        answers.append((n, rows))
    for n, rows in answers:
        recall, short, outside = case.judge(source, n, rows)
        way.recalls.append(recall)
        way.short += short
        way.outside += outside


def by_hand(hand: Hand, case: Case, label: str, knob: int | None) -> Way:
    """A hand-written plan."""
    fixed = case.fixed is not None
    made = [hand.statement(label, ask, fixed) for ask in ([case.fixed] if case.fixed else case.asks)]

    def ask(n: int) -> list[int]:
        statement, parameters = made[0 if fixed else n]
        return [int(row[0]) for row in hand.ask(label, statement, parameters, case.queries[n])]

    return Way(label, knob, lambda: hand.prepare(label, knob), ask)


def by_search(store: kompanion_db.Store, case: Case, target: float) -> Way:
    """Ours, at a target recall."""

    def ask(n: int) -> list[int]:
        where = case.asks[n]
        tags = list(where.tags) if where.tags else None
        return [int(h.key) for h in store.search(where.scope, case.queries[n], K, tags_all=tags, target_recall=target)]

    return Way(f"ours {target:g}", None, lambda: None, ask)


def warm(way: Way, source: data.Dataset, case: Case, queries: int = 8) -> None:
    """Ask a few queries without counting them: plans are cached from the sixth call on."""
    run(way, source, case, range(min(queries, len(case.asks))))
    way.clear()


def in_turn(
    ways: Sequence[Way],
    source: data.Dataset,
    case: Case,
    rounds: int = 1,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Ask all queries in every way: ten of one, the same ten of the next, in another order for each ten.

    In a fixed order one way would always find the caches as the same other way left them.
    """
    order = random.Random(0)
    blocks = [range(start, min(start + BLOCK, len(case.asks))) for start in range(0, len(case.asks), BLOCK)]
    for block in blocks * rounds:
        for way in order.sample(list(ways), len(ways)):
            if way.most is None or block.start < way.most:
                way.prepare()
                for n in range(block.start - WARM, block.start):
                    way.ask(n % len(case.asks))
                run(way, source, case, block)
        progress()
