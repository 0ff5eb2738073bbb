"""Few large files instead of many small ones: segments of like size are merged, without what no row has any more.

Reading and writing go in blocks through ordinary reads, so a merge needs little memory whatever it merges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import apsw
import numpy as np
from numpy.typing import NDArray

from . import derive, manifest
from .derive import Derived, build, list_derived
from .durable import NewFile, named_errors
from .failpoints import reached
from .manifest import SegmentEntry
from .segment import FLOAT, ID, Layout, check_sum, read_layout, write_segment
from .transactions import reading, writing

FANOUT = 4
"""So many segments of like size become one."""

MOST_SEGMENTS = 8
"""Segments of a model that may stand side by side."""

LITTLE_ROWS = 150_000
"""Vectors that are written anew for little."""

REST_SHARE = 0.125
"""Share of the largest segment from which the others are merged into it while nothing is written."""

DEAD_SHARE = 0.2
"""Share of vectors that no row has any more from which a segment is written anew."""

_BLOCK_BYTES = 8 << 20
_SMALLEST = 1024


def choose(entries: list[SegmentEntry]) -> list[SegmentEntry]:
    """Segments of one model to merge next: those of like size once they are ``FANOUT``, or the smallest of too many."""
    by_size = sorted(entries, key=lambda e: e.rows)
    tiers = [int(math.log(max(e.rows / _SMALLEST, 1), FANOUT)) for e in by_size]
    for tier in sorted(set(tiers)):
        if tiers.count(tier) >= FANOUT:
            return [e for e, t in zip(by_size, tiers, strict=True) if t <= tier]
    return by_size[: len(by_size) - MOST_SEGMENTS + 1] if len(by_size) > MOST_SEGMENTS else []


def leftover(entries: list[SegmentEntry]) -> list[SegmentEntry]:
    """Segments of one model to merge while nothing is written: each search looks into all that stand side by side.

    All of them where that is little work, or the small ones have grown to some share of the largest; else these alone.
    """
    by_size = sorted(entries, key=lambda e: e.rows)
    small = sum(e.rows for e in by_size[:-1])
    rows = small + sum(e.rows for e in by_size[-1:])
    if small < derive.PART_ROWS:
        return []
    if rows <= LITTLE_ROWS or small >= REST_SHARE * by_size[-1].rows:
        return by_size
    return by_size[:-1] if len(by_size) > 2 else []


def merge(conn: apsw.Connection, folder: Path, entries: list[SegmentEntry]) -> None:
    """Write the vectors of these segments of one model into one file, in their place, but for those that no row has.

    The lock is held. The files that are replaced stay until ``collect``. Raises DamagedStore.
    """
    with named_errors(folder), ExitStack() as stack:
        for entry in entries:
            with named_errors(folder / entry.file):
                check_sum(folder / entry.file, entry.crc)
        with reading(conn):
            wanted = living(conn, entries)
        sources = [_Source.of(folder / entry.file, stack) for entry in entries]
        plan = _Plan.of(sources, wanted)
        reached("merge.read")
        written = _write(folder, entries[0], sources, plan) if len(plan.ids) else None
        # What was searched by an index still is when this counts. A few rows of many can wait for a quiet moment.
        indexed = 2 * sum(e.rows for e in entries if e.ann) >= sum(e.rows for e in entries)
        derived = build(folder, *written, entries[0]) if written and indexed else None
    _commit(conn, entries, written, derived)


def living(conn: apsw.Connection, entries: list[SegmentEntry]) -> NDArray[np.int64]:
    """The ids that rows have in the range of these segments, ascending; deleted rows have theirs until purge."""
    rows = conn.execute(
        "select vec_id from embeddings where vec_id between ? and ? and +model_id = ? order by vec_id",
        (min(e.low for e in entries), max(e.high for e in entries), entries[0].model_id),
    )
    return np.fromiter((vec_id for (vec_id,) in rows), dtype=ID)


@dataclass(frozen=True)
class _Source:
    """A segment that is merged."""

    file: FileIO
    layout: Layout
    ids: NDArray[np.int64]
    norms: NDArray[np.float32]

    @classmethod
    def of(cls, path: Path, stack: ExitStack) -> _Source:
        layout = read_layout(path)
        file = stack.enter_context(FileIO(path))
        file.seek(layout.ids_at)
        ids = np.fromfile(file, dtype=ID, count=layout.rows)
        file.seek(layout.norms_at)
        norms = np.fromfile(file, dtype=FLOAT, count=layout.rows)
        return cls(file, layout, ids, norms)


@dataclass(frozen=True)
class _Plan:
    """What a merged file holds: its ids ascending, and for each the source and the row it comes from."""

    ids: NDArray[np.int64]
    source: NDArray[np.int16]
    row: NDArray[np.int32]

    @classmethod
    def of(cls, sources: list[_Source], wanted: NDArray[np.int64]) -> _Plan:
        kept = [np.flatnonzero(_among(s.ids, wanted)).astype(np.int32) for s in sources]
        ids = np.concatenate([s.ids[rows] for s, rows in zip(sources, kept, strict=True)])
        source = np.repeat(np.arange(len(sources), dtype=np.int16), [len(rows) for rows in kept])
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], source[order], np.concatenate(kept)[order])

    def blocks(self, rows: int) -> Iterator[slice]:
        """The rows of the merged file in slices of at most so many."""
        return (slice(first, min(first + rows, len(self.ids))) for first in range(0, len(self.ids), rows))


def _among(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``ids`` are in ``wanted``; both ascend."""
    if not len(wanted):
        return np.zeros(len(ids), dtype=bool)
    at = np.searchsorted(wanted, ids)
    at[at == len(wanted)] = 0
    return np.asarray(wanted[at] == ids)


def _write(folder: Path, like: SegmentEntry, sources: list[_Source], plan: _Plan) -> tuple[NewFile, Layout]:
    layout = Layout(like.model_id, like.dim, len(plan.ids), int(plan.ids[0]), int(plan.ids[-1]))
    rows = max(1, _BLOCK_BYTES // layout.row_bytes)
    norms = np.empty(len(plan.ids), dtype=FLOAT)
    for number, source in enumerate(sources):
        of_it = plan.source == number
        norms[of_it] = source.norms[plan.row[of_it]]
    with NewFile(folder, "seg", "merge") as file:
        write_segment(file, layout, plan.ids, [norms], _vectors(sources, plan, rows, like.dim))
    return file, layout


def _vectors(sources: list[_Source], plan: _Plan, rows: int, dim: int) -> Iterator[NDArray[np.float32]]:
    buffer = np.empty((rows, dim), dtype=FLOAT)
    for block in plan.blocks(rows):
        source, row = plan.source[block], plan.row[block]
        # Rows that follow each other in one source are read at once.
        breaks = np.flatnonzero((np.diff(source) != 0) | (np.diff(row) != 1)) + 1
        starts = [0, *breaks.tolist()]
        for first, end in zip(starts, [*starts[1:], len(row)], strict=True):
            origin = sources[source[first]]
            at = origin.layout.vectors_at + int(row[first]) * origin.layout.row_bytes
            _read_into(origin.file, memoryview(buffer[first:end].data).cast("B"), at)
        yield buffer[: len(row)]


def _read_into(file: FileIO, target: memoryview, offset: int) -> None:
    file.seek(offset)
    done = 0
    while done < len(target):
        count = file.readinto(target[done:])
        if not count:
            raise OSError(f"a segment ends at byte {offset + done}")
        done += count


def _commit(
    conn: apsw.Connection,
    entries: list[SegmentEntry],
    written: tuple[NewFile, Layout] | None,
    derived: Derived | None,
) -> None:
    with writing(conn, "merge"):
        number = manifest.list_segment(conn, *written) if written else None
        if number is not None and derived is not None:
            list_derived(conn, number, derived)
        reached("merge.retiring")
        for entry in entries:
            conn.execute("delete from vec_segments where segment_no = ?", (entry.segment_no,))
