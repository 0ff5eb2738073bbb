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


@dataclass
class Visits:
    """What a search by index has looked at: rows whose codes were compared, about, and vectors that were compared."""

    lists: int = 0
    probes: int = 0
    codes: int = 0
    vectors: int = 0


def probes_of(ann: AnnFile, effort: float, candidates: Candidates | None, part: Part, rows: Rows | None) -> int:
    """Into how many lists to look: ``effort`` times what is right by default."""
    if candidates is None or rows is None:
        return max(1, min(ann.lists, round(effort * ann.default_probes)))
    lists = candidates.allowed(part, rows).lists
    usual = max(SCANNED * lists / max(1, len(rows)), ann.default_probes * lists / ann.lists)
    return max(1, min(lists, round(effort * usual)))


def depth_of(ann: AnnFile, k: int) -> int:
    """How many rows an index proposes so that the ``k`` nearest are among them."""
    return math.ceil(ann.depth * max(1.0, math.pow(k / 10, 0.75)))


class IndexRanking:
    """The rows that indexes propose, and all of parts that have none, in the order of their distance."""

    def __init__(
        self, query: Query, parts: Sequence[Part], candidates: Candidates | None, k: int, effort: float, wide: int = 1
    ) -> None:
        chosen: list[tuple[Part, Rows | None]] = []
        self.visits = Visits()
        within = [(part, None) for part in parts] if candidates is None else (candidates.rows or [])
        for part, rows in within:
            ann = part.ann
            depth = 0 if ann is None else wide * depth_of(ann, k)
            if ann is None or depth >= (len(part.ids) if rows is None else len(rows)):
                chosen.append((part, rows))
                continue
            allowed = None if candidates is None or rows is None else candidates.allowed(part, rows)
            probes = probes_of(ann, effort, candidates, part, rows)
            found = ann.nearest(query.vector, depth, probes, allowed)
            chosen.append((part, np.sort(found)))
            lists = ann.lists if allowed is None else allowed.lists
            self.visits.lists += lists
            self.visits.probes += probes
            self.visits.codes += round((len(part.ids) if rows is None else len(rows)) * probes / max(1, lists))
        self._ranking = Ranking(query, chosen)
        self.visits.vectors = self._ranking.rows

    def nearest(self, n: int) -> tuple[Rows, Doubles]:
        """As Ranking.nearest, of what the indexes propose."""
        return self._ranking.nearest(n)
