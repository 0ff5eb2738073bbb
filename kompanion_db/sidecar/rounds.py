"""What keeping the files takes, step by step, each left whole when it is broken off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import numpy as np

from ..errors import KompanionError
from . import derive, manifest
from .collect import GRACE, collect
from .durable import alone, named_errors
from .fold import due, fold, pending
from .manifest import SegmentEntry
from .merge import DEAD_SHARE, choose, leftover, living, merge
from .segment import mapped, read_layout
from .transactions import keeper, one, reading

if TYPE_CHECKING:
    from ..sqlite.files import Place

Stop = Callable[[], bool]


def never() -> bool:
    """Work to the end."""
    return False


@dataclass
class Rounds:
    """The work on the files of a store, by whoever holds its lock. ``stop`` is asked between steps.

    Segments that cannot be merged or indexed, as one is damaged or gone, are ``spared`` from then on, with the reason
    in ``trouble``: the others are gone on with. Raises KompanionError, apsw.Error; what was done before stands.
    """

    conn: apsw.Connection
    folder: Path
    stop: Stop = never
    spared: set[int] = field(default_factory=set)
    trouble: list[KompanionError] = field(default_factory=list)

    def fold(self, everything: bool = False) -> int:
        """Fold while it is worth it, or all there is; how many vectors were taken off the log."""
        last = one(self.conn, "select max(seq) from vec_log")
        taken = 0
        while not self.stop() and (self._any_up_to(last) if everything else due(self.conn)):
            taken += fold(self.conn, self.folder)
        return taken

    def merge(self) -> int:
        """Merge segments of like size until there are few; how many were merged."""
        merged = 0
        while not self.stop():
            chosen = next(filter(None, map(choose, self._by_model())), None)
            if chosen is None:
                break
            merged += self._merge(chosen)
        return merged

    def settle(self) -> int:
        """Leave as few segments as is worth it while nothing is written; how many were merged."""
        merged = 0
        for chosen in filter(None, map(leftover, self._by_model())):
            if self.stop():
                break
            merged += self._merge(chosen)
        return merged

    def unsettled(self) -> bool:
        """Whether ``settle`` would do anything."""
        return any(map(leftover, self._by_model()))

    def compact(self, dead_share: float = DEAD_SHARE, whole: bool = False) -> int:
        """Write anew each segment of which more than ``dead_share`` is dead, or with ``whole`` all as one; how many."""
        merged = 0
        for entries in self._by_model():
            if self.stop():
                break
            if not whole and self._dead_at_most(entries[0].model_id) <= dead_share * sum(e.rows for e in entries):
                continue
            dead = self._dead(entries)
            known = [e for e in entries if e.segment_no in dead]
            if not whole:
                merged += sum(self._merge([e]) for e in known if dead[e.segment_no] > dead_share * e.rows)
            elif len(known) > 1 or any(dead.values()):
                merged += self._merge(known)
        return merged

    def derive(self, doubted: frozenset[int] = frozenset(), least: int = 0) -> int:
        """Give each large segment its index, where it is missing or not as it was written; how many were made.

        Where it is missing, only to segments of ``least`` rows.
        """
        made = 0
        for entry in self.lacking(doubted):
            if self.stop():
                break
            if entry.rows >= least or entry.segment_no in doubted:
                with self.caring([entry]):
                    made += derive.derive(self.conn, self.folder, entry)
        return made

    def lacking(self, doubted: frozenset[int] = frozenset()) -> list[SegmentEntry]:
        """The segments that should have an index and have none, and those of the doubted whose index is not sound."""
        entries = self.entries()
        lacking = [e for e in derive.lacking(entries) if e.segment_no not in self.spared]
        doubted -= self.spared
        return lacking + [e for e in entries if e.segment_no in doubted and not derive.sound(self.folder, e)]

    def collect(self, grace: float = GRACE) -> int:
        """Remove files that count no longer; how many."""
        return collect(self.conn, self.folder, grace)

    def entries(self) -> list[SegmentEntry]:
        """The segments there are."""
        with reading(self.conn):
            return manifest.segments(self.conn)

    @contextmanager
    def caring(self, entries: list[SegmentEntry]) -> Iterator[None]:
        """For a block that works on these segments: when it fails they are spared, and it is gone on after it."""
        try:
            yield
        except KompanionError as exc:
            self.trouble.append(exc)
            self.spared.update(e.segment_no for e in entries)

    def _any_up_to(self, last: int | None) -> bool:
        low = one(self.conn, "select min(seq) from vec_log")
        return low is not None and last is not None and low <= last

    def _merge(self, entries: list[SegmentEntry]) -> int:
        """Merge these; how many were merged."""
        with self.caring(entries):
            merge(self.conn, self.folder, entries)
            return len(entries)
        return 0

    def _by_model(self) -> list[list[SegmentEntry]]:
        cared = [e for e in self.entries() if e.segment_no not in self.spared]
        entries = sorted(cared, key=lambda e: (e.model_id, e.segment_no))
        return [list(group) for _, group in groupby(entries, key=lambda e: e.model_id)]

    def _dead_at_most(self, model_id: int) -> int:
        """How many rows of the files are dead, but for those that live in the log: a count, no look into the files."""
        rows = sum(e.rows for e in self.entries() if e.model_id == model_id)
        living_rows = one(self.conn, "select count(*) from embeddings where model_id = ?", (model_id,))
        return int(rows - living_rows + pending(self.conn))

    def _dead(self, entries: list[SegmentEntry]) -> dict[int, int]:
        """How many rows of each are dead, by segment; one whose file cannot be looked at is left out."""
        with reading(self.conn):
            wanted = living(self.conn, entries)
        dead = {}
        for entry in entries:
            path = self.folder / entry.file
            with self.caring([entry]):
                with named_errors(path):
                    ids, _, _ = mapped(path, read_layout(path))
                dead[entry.segment_no] = entry.rows - int(np.isin(ids, wanted, assume_unique=True).sum())
        return dead


@contextmanager
def rounds(place: Place, wait: float, stop: Stop = never) -> Iterator[Rounds | None]:
    """The work on the files of a store, under its lock; None when another holds that for ``wait`` seconds."""
    with alone(place.folder, wait) as mine:
        if not mine:
            yield None
            return
        with keeper(place) as conn:
            yield Rounds(conn, place.folder, stop)
