"""Distances of many vectors where they lie, by FAISS's kernels, in single precision as pgvector has them.

On one thread and without BLAS: threads cost a single query more than they spare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..sidecar.kernels import faiss, threads
from ..sidecar.part import Part

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

Chosen = Sequence[tuple[Part, Rows | None]]
"""Parts with the rows of them that are looked at; None: all."""


class Query:
    """A vector to ask with, and the metric; ``vector``: float32, shape (dim,), of length one under cosine."""

    def __init__(self, vector: Floats, metric: str) -> None:
        self.metric = metric
        if metric == "cosine":
            double = vector.astype(np.float64)
            vector = (double / math.sqrt(np.vdot(double, double))).astype(np.float32)
        self.vector: Floats = np.ascontiguousarray(vector)
        self._pointer = faiss.swig_ptr(self.vector)

    def keys(self, part: Part, rows: Rows | None) -> Floats:
        """How near rows of a part are, shape (n,) float32: the less, the nearer; not the distance itself."""
        count, dim = part.vectors.shape if rows is None else (len(rows), part.vectors.shape[1])
        found = np.empty(count, dtype=np.float32)
        if not count:
            return found
        out, vectors = faiss.swig_ptr(found), faiss.swig_ptr(part.vectors)
        if self.metric == "l2":
            if rows is None:
                faiss.fvec_L2sqr_ny(out, self._pointer, vectors, dim, count)
            else:
                faiss.fvec_L2sqr_by_idx(out, self._pointer, vectors, faiss.swig_ptr(rows), dim, 1, count)
            return found
        if rows is None:
            faiss.fvec_inner_products_ny(out, self._pointer, vectors, dim, count)
        else:
            faiss.fvec_inner_products_by_idx(out, self._pointer, vectors, faiss.swig_ptr(rows), dim, 1, count)
        if self.metric == "cosine":
            lengths = part.norms if rows is None else part.norms[rows]
            if lengths.min() > 0 and lengths.max() < np.inf:
                found /= lengths
            else:  # too small or too great for single precision; rare, and to say so is slow
                with np.errstate(divide="ignore", invalid="ignore"):
                    found /= lengths
        return np.negative(found, out=found)

    def distances(self, keys: Floats) -> Doubles:
        """Keys as distances of the metric, float64."""
        found: Doubles = keys.astype(np.float64)
        if self.metric == "l2":
            return np.sqrt(found, out=found)
        if self.metric == "cosine":
            found += 1
            np.maximum(found, 0, out=found)
            return np.minimum(found, 2, out=found)
        return found


class Ranking:
    """Rows of parts in the order of their distance from a query, by their ids."""

    def __init__(self, query: Query, chosen: Chosen) -> None:
        self._query = query
        self._chosen = [(part, rows) for part, rows in chosen if len(part.ids if rows is None else rows)]
        with threads(1):
            keys = [query.keys(part, rows) for part, rows in self._chosen]
        self._keys = keys[0] if len(keys) == 1 else np.concatenate(keys) if keys else np.empty(0, dtype=np.float32)
        self.rows = len(self._keys)

    def nearest(self, n: int) -> tuple[Rows, Doubles]:
        """Ids and distances of the ``n`` nearest and of all as near as the last; fewer when there are no more."""
        keys = self._keys
        if n < self.rows:
            places = np.argpartition(keys, n - 1)[:n]
            last = keys[places[n - 1]]
            if np.count_nonzero(keys <= last) > n:
                places = np.flatnonzero(keys <= last)
        else:
            places = np.arange(self.rows)
        ids, near = self._ids(places), keys[places]
        order = np.lexsort((ids, near))
        return ids[order], self._query.distances(near[order])

    def _ids(self, places: Rows) -> Rows:
        ids = np.empty(len(places), dtype=np.int64)
        start = 0
        for part, rows in self._chosen:
            count = len(part.ids) if rows is None else len(rows)
            here = slice(None) if count == self.rows else (places >= start) & (places < start + count)
            at = places[here] - start
            ids[here] = part.ids[at if rows is None else rows[at]]
            start += count
        return ids


def rows_of(part: Part, ids: Rows) -> Rows:
    """Where these ids, ascending, are in a part: the rows of those it has."""
    low, high = int(part.ids[0]), int(part.ids[-1])
    first, last = np.searchsorted(ids, (low, high + 1))
    inside = ids[first:last]
    if high - low + 1 == len(part.ids):  # without gaps, as a bulk load leaves it
        return inside - low
    at = np.searchsorted(part.ids, inside)
    found: Rows = at[part.ids[at] == inside]
    return found
