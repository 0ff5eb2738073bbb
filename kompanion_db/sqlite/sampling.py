"""Stored vectors to measure with, and how near the true nearest of them are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadArgument
from ..sidecar.part import Part
from ..types import Vector
from .candidates import Candidates, Question, find
from .exact import Doubles, Rows
from .models import Model, check_vectors
from .session import Session

NOBODY = -1
"""In place of a vec_id: the query is no stored vector."""


@dataclass(frozen=True)
class Sample:
    """Queries of shape (dim,), each with the vec_id that is left out of its answers, and whether it was mixed."""

    queries: list[Vector]
    own: list[int]
    mixed: list[bool]

    def __len__(self) -> int:
        return len(self.queries)


def check_queries(queries: Any, model: Model) -> None:
    """Queries of one's own fit the model. Raises BadArgument, BadVector."""
    if queries is not None:
        if not len(queries):
            raise BadArgument(
                "queries: is an empty array", hint="Give vectors to ask with, or leave queries out to use stored ones."
            )
        check_vectors("queries", queries, model)


def live(session: Session, model: Model, scope: str = "*") -> Candidates:
    """The live vectors of a scope, all of them. Raises BadNamespace."""
    return find(session, model, Question(scope), ())


def sample_queries(live: Candidates, n: int, rng: np.random.Generator, queries: Any = None, mix: bool = True) -> Sample:
    """``queries``, or stored vectors in random order.

    With ``mix`` every other one of these is mixed with three tenths of another, since what users ask resembles stored
    text less than stored texts resemble each other.
    """
    if queries is not None:
        return Sample(
            [np.asarray(query, dtype=np.float32) for query in queries], [NOBODY] * len(queries), [False] * len(queries)
        )
    chosen = rng.permutation(live.count)[: n + 1]
    drawn = [_at(live, int(place)) for place in chosen]
    vectors, own = [], []
    for i in range(min(n, len(drawn))):
        part, row = drawn[i]
        vector = part.vectors[row]
        if mix and i % 2:
            other, at = drawn[(i + 1) % len(drawn)]
            mixed = np.float32(0.7) * vector + np.float32(0.3) * other.vectors[at]
            vector = mixed if mixed.any() else vector
        vectors.append(np.array(vector, dtype=np.float32))
        own.append(int(part.ids[row]))
    return Sample(vectors, own, [mix and bool(i % 2) for i in range(len(vectors))])


def share_found(ids: Rows, distances: Doubles, own: int, truth: Doubles) -> float:
    """The share of the true nearest, at these distances, that an answer has; ``own`` does not count.

    By distance: of vectors equally near, as duplicates are, one is as right as the other.
    """
    if not len(truth):
        return 1.0
    kth = truth[-1]
    # The kernels add up in another order for many rows than for few: equal vectors may differ in the last digits.
    near = distances[ids != own] <= kth + 1e-6 * max(1.0, abs(kth))
    return min(1.0, int(np.count_nonzero(near)) / len(truth))


def _at(live: Candidates, place: int) -> tuple[Part, int]:
    for part, rows in live.rows or ():
        if place < len(rows):
            return part, int(rows[place])
        place -= len(rows)
    raise IndexError(place)
