"""What a calibration measures: recall and time of searches by index, for each effort and each kind of filter.

Filters are made here, of the vectors themselves. Some keep rows at random, as a date does; others keep a topic, as a
namespace does, or many of them that lie here and there, as a list of tags does, and then it matters whether what is
asked is about those topics or about something else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sidecar.kernels import threads
from ..sidecar.part import Part
from ..types import Vector
from .by_index import IndexRanking
from .candidates import Candidates
from .cells import CELLS, divided
from .curves import EFFORTS, SHARES, Cell, K
from .exact import Doubles, Floats, Query, Ranking, Rows
from .sampling import NOBODY, sample_queries, share_found

RANDOM, ELSEWHERE, ABOUT, OUTSIDE, RANDOM_MIXED, ELSEWHERE_MIXED = range(6)
"""Kinds of filters: at random; a topic, asked about anything; a topic, asked about itself; many topics, asked about
none of them. The first two apart for queries that are stored vectors and for mixed ones: which of them are more
difficult depends on the data."""

_KINDS = 6
_ANCHORS = 4
_CHANGED = 25
"""So many queries are asked under the same filters."""

_DIVIDED = 8
"""So many times filters are made of the same cells."""

_TIMED_ROWS = 10_000


class Field:
    """The live vectors of a model, numbered through, and parts of them as filters leave them."""

    def __init__(self, live: Candidates, parts: Sequence[Part]) -> None:
        self.live = live
        self.parts = parts
        self._within = live.rows or []
        self._starts = np.cumsum([0, *(len(rows) for _, rows in self._within)])
        self.whole = sum(len(part.ids) for part in parts) == live.count

    def keys(self, query: Query) -> Floats:
        """How near each live vector is, shape (n,) float32."""
        with threads(1):
            return np.concatenate([query.keys(part, rows) for part, rows in self._within])

    def candidates(self, places: Rows) -> Candidates:
        """The vectors of these numbers, ascending, as a search has them that finds only them."""
        found = self.within(places)
        candidates = Candidates(len(places), found, 0.0)
        for part, rows in found:
            if part.ann is not None:
                candidates.allowed(part, rows)  # a search makes it once, and keeps it
        return candidates

    def within(self, places: Rows) -> list[tuple[Part, Rows]]:
        """The vectors of these numbers, ascending, as rows of parts."""
        found = []
        for (part, rows), start in zip(self._within, self._starts[:-1], strict=True):
            first, last = np.searchsorted(places, (start, start + len(rows)))
            if last > first:
                found.append((part, np.ascontiguousarray(rows[places[first:last] - start])))
        return found

    def place(self, vec_id: int) -> int | None:
        """The number of a vector."""
        for (part, rows), start in zip(self._within, self._starts[:-1], strict=True):
            at = int(np.searchsorted(part.ids, vec_id))
            if at < len(part.ids) and part.ids[at] == vec_id:
                return int(start + np.searchsorted(rows, at))
        return None

    def alive(self, ids: Rows) -> NDArray[np.bool_]:
        """Which of the vectors with these ids live."""
        found = np.zeros(len(ids), dtype=bool)
        for part, rows in self._within:
            found |= np.isin(ids, part.ids[rows])
        return found


class _Filters:
    """For each share below 1, the rows at random, of a topic, and of many topics, the smaller within the larger."""

    def __init__(self, field: Field, metric: str, rng: np.random.Generator, cells: NDArray[np.int16]) -> None:
        mixed = rng.permutation(field.live.count)
        anchors = sample_queries(field.live, _ANCHORS, rng).queries
        near = np.min([field.keys(Query(anchor, metric)) for anchor in anchors], axis=0)
        topical = np.argsort(near, kind="stable")
        self.random = [self._of(field, mixed, share) for share in SHARES[1:]]
        self.topic = [self._of(field, topical, share) for share in SHARES[1:]]
        by_cell = np.argsort(rng.permutation(CELLS)[cells] + rng.random(len(cells)))
        self.topics = [self._of(field, by_cell, share) for share in SHARES[1:]]
        outside = np.sort(by_cell[len(self.topics[0][0]) :])
        self.outside = Candidates(len(outside), field.within(outside), 0.0)

    @staticmethod
    def _of(field: Field, order: Rows, share: float) -> tuple[Rows, Candidates]:
        places = np.sort(order[: max(2, round(share * len(order)))])
        return places, field.candidates(places)


class Measurement:
    """Sums of what was measured so far; ``cells`` by share and effort."""

    def __init__(self, field: Field, metric: str, seed: int, state: dict[str, Any] | None = None) -> None:
        self.field = field
        self.metric = metric
        self.rng = np.random.default_rng(seed)
        nothing: list[Any] = [[0.0] * _KINDS, [0.0] * _KINDS, [0] * _KINDS, 0.0, 0.0]
        stored = state["cells"] if state else [[nothing] * len(EFFORTS)] * len(SHARES)
        self.cells = [
            [Cell(list(hits), list(squares), list(runs), *sums) for hits, squares, runs, *sums in curve]
            for curve in stored
        ]
        self.row_us: float = state["row_us"] if state else 0.0
        self.queries: int = state["queries"] if state else 0
        self._filters: _Filters | None = None
        self._cells: NDArray[np.int16] | None = None
        self._asked = 0

    def ask(self, vector: Vector, own: int, mixed: bool = False) -> None:
        """Measure with one more query. Stored ones (``own``) are also asked about the topic of a filter."""
        anything, elsewhere = (RANDOM_MIXED, ELSEWHERE_MIXED) if mixed else (RANDOM, ELSEWHERE)
        filters = self._changed()
        query = Query(vector, self.metric)
        keys = self._keys(query, own)
        self._time_rows(query, filters)
        self._measure(0, anything, query, own, keys, None)
        for share in range(1, len(SHARES)):
            self._measure(share, anything, query, own, keys, filters.random[share - 1])
            self._measure(share, elsewhere, query, own, keys, filters.topic[share - 1])
        self._ask_outside(query, own, keys, filters)
        if own != NOBODY:
            query, own, keys = self._drawn(filters.topic[-1][1])
            for share in range(1, len(SHARES)):
                self._measure(share, ABOUT, query, own, keys, filters.topic[share - 1])
        self.queries += 1

    def stored(self) -> list[Any]:
        """The cells as JSON has them."""
        return [[[c.hits, c.squares, c.runs, c.milliseconds, c.efforts] for c in curve] for curve in self.cells]

    def _ask_outside(self, query: Query, own: int, keys: Floats, filters: _Filters) -> None:
        """Ask about what many topics do not hold, as a query does none of whose nearest is in one of them."""
        if own != NOBODY:
            if not filters.outside.count:
                return
            query, own, keys = self._drawn(filters.outside)
        nearest = np.argpartition(keys, min(K, len(keys)) - 1)[:K]
        for share, where in enumerate(filters.topics, 1):
            if not np.isin(nearest, where[0]).any():
                self._measure(share, OUTSIDE, query, own, keys, where)

    def _drawn(self, among: Candidates) -> tuple[Query, int, Floats]:
        """A stored vector, its id, and how near all others are."""
        sample = sample_queries(among, 1, self.rng)
        query = Query(sample.queries[0], self.metric)
        return query, sample.own[0], self._keys(query, sample.own[0])

    def _changed(self) -> _Filters:
        """The filters to ask under now."""
        if self._cells is None or self._asked % (_DIVIDED * _CHANGED) == 0:
            self._cells = divided(self.field, self.metric, self.rng)
        if self._filters is None or self._asked % _CHANGED == 0:
            self._filters = _Filters(self.field, self.metric, self.rng, self._cells)
        self._asked += 1
        return self._filters

    def _keys(self, query: Query, own: int) -> Floats:
        keys = self.field.keys(query)
        place = None if own == NOBODY else self.field.place(own)
        if place is not None:
            keys[place] = np.inf
        return keys

    def _measure(
        self, share: int, kind: int, query: Query, own: int, keys: Floats, where: tuple[Rows, Candidates] | None
    ) -> None:
        near = keys if where is None else keys[where[0]]
        near = near[np.isfinite(near)]
        truth = query.distances(np.sort(np.partition(near, K - 1)[:K] if len(near) > K else near))
        same = False
        for effort, cell in zip(EFFORTS, self.cells[share], strict=True):
            if not same:
                start = time.perf_counter()
                ranking = IndexRanking(query, self.field.parts, None if where is None else where[1], K, effort)
                found = ranking.nearest(K + 1)
                taken = (time.perf_counter() - start) * 1000
                recall = self._found(ranking, found, own, truth)
                # Once it has looked into all lists, and as deep as it ever does, more effort does the same.
                same = effort >= 1 and ranking.visits.probes == ranking.visits.lists
            cell.milliseconds += taken
            cell.efforts += ranking.effort
            cell.hits[kind] += recall
            cell.squares[kind] += recall**2
            cell.runs[kind] += 1

    def _found(self, ranking: IndexRanking, found: tuple[Rows, Doubles], own: int, truth: Doubles) -> float:
        ids, distances = found
        if not self.field.whole:
            # A search that meets dead vectors fetches on.
            ids, distances = ranking.nearest(8 * K)
            alive = self.field.alive(ids)
            ids, distances = ids[alive], distances[alive]
        return share_found(ids[: K + 1], distances[: K + 1], own, truth)

    def _time_rows(self, query: Query, filters: _Filters) -> None:
        _, some = min(filters.random, key=lambda found: abs(found[1].count - _TIMED_ROWS))
        start = time.perf_counter()
        Ranking(query, some.rows or []).nearest(K)
        taken = (time.perf_counter() - start) * 1e6 / some.count
        self.row_us = taken if not self.queries else self.row_us + (taken - self.row_us) / (self.queries + 1)
