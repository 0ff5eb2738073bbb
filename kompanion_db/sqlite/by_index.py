"""The nearest by the vector indexes of the segments: they propose rows, the vectors themselves decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..sidecar.ann import AnnFile
from ..sidecar.part import Part
from .candidates import Candidates
from .exact import Doubles, Query, Ranking, Rows

SCANNED = 30_000
"""Codes compared before anything was measured, where only some rows may be found: those are not where the query is."""

_ROUNDING = 1e-6
"""An effort that came of whole lists may, times what is usual, be a hair more than whole."""


@dataclass
class Visits:
    """What a search by index has looked at: rows whose codes were compared, about, and vectors that were compared.

    ``usual``: the lists it would have looked into by default.
    """

    lists: int = 0
    probes: int = 0
    usual: float = 0.0
    codes: int = 0
    vectors: int = 0


def usual_probes(ann: AnnFile, lists: int | None, rows: float) -> float:
    """Into how many lists to look before anything was measured, where ``rows`` rows, in ``lists``, may be found."""
    if lists is None:
        return ann.default_probes
    return max(SCANNED * lists / max(1, rows), ann.default_probes * lists / ann.lists)


def usual_share(indexes: Sequence[AnnFile], share: float | None) -> float:
    """The same as a share of the lists, of all that hold a row that may be found: of this share of all rows, or any."""
    usual = sum(usual_probes(ann, None if share is None else ann.lists, (share or 1) * ann.rows) for ann in indexes)
    return usual / sum(ann.lists for ann in indexes)


def depth_of(ann: AnnFile, k: int, effort: float) -> int:
    """How many rows an index proposes so that the ``k`` nearest are among them.

    With little effort fewer, down to three fifths: of few lists the rest seldom holds what the first lack, and to
    compare it takes a tenth of the search.
    """
    return math.ceil(ann.depth * max(1.0, math.pow(k / 10, 0.75)) * min(1.0, max(0.6, math.pow(effort, 0.25))))


class IndexRanking:
    """The rows that indexes propose, and all of parts that have none, in the order of their distance.

    ``effort`` is a multiple of what is usual, and as an attribute what that came to with whole lists.
    """

    def __init__(
        self, query: Query, parts: Sequence[Part], candidates: Candidates | None, k: int, effort: float, wide: float = 1
    ) -> None:
        chosen: list[tuple[Part, Rows | None]] = []
        self.visits = Visits()
        within = [(part, None) for part in parts] if candidates is None else (candidates.rows or [])
        for part, rows in within:
            ann = part.ann
            depth = 0 if ann is None else math.ceil(wide * depth_of(ann, k, effort))
            if ann is None or depth >= (len(part.ids) if rows is None else len(rows)):
                chosen.append((part, rows))
                continue
            allowed = None if candidates is None or rows is None else candidates.allowed(part, rows)
            lists, count = (ann.lists, len(part.ids)) if rows is None or allowed is None else (allowed.lists, len(rows))
            usual = usual_probes(ann, None if allowed is None else lists, count)
            probes = max(1, min(lists, math.ceil(effort * usual - _ROUNDING)))
            found = ann.nearest(query.vector, depth, probes, allowed)
            chosen.append((part, np.sort(found)))
            self.visits.lists += lists
            self.visits.probes += probes
            self.visits.usual += usual
            self.visits.codes += round(count * probes / max(1, lists))
        self.effort = self.visits.probes / self.visits.usual if self.visits.usual else effort
        self._ranking = Ranking(query, chosen)
        self.visits.vectors = self._ranking.rows

    def nearest(self, n: int) -> tuple[Rows, Doubles]:
        """As Ranking.nearest, of what the indexes propose."""
        return self._ranking.nearest(n)
