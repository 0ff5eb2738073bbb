"""Vector indexes of large segments: files that may be lost, and are made again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from .durable import NewFile, checksum, named_errors
from .manifest import AnnEntry, SegmentEntry
from .part import Part
from .segment import Layout, check_sum, damaged, mapped, read_layout, unreadable
from .transactions import writing

if TYPE_CHECKING:
    from ..sqlite.files import Place
    from .ann import AnnFile

ANN_ROWS = 20_000
"""Rows of a model from which it is searched by indexes; looking at fewer is as quick."""

PART_ROWS = 3000
"""Rows of a segment from which it has one then."""

beside_others: ContextVar[bool] = ContextVar("kompanion_beside_others", default=False)
"""Whether indexes are made while something else is waited for: then half of the processors are left to it.

With all of them, FAISS's threads wait for each other as soon as one has to give way, and take twice the time."""


@dataclass(frozen=True)
class Derived:
    """An index file that is written, and how it was made."""

    path: Path
    params: str
    bytes: int
    crc: int


def build(folder: Path, segment: NewFile, layout: Layout, like: SegmentEntry) -> Derived | None:
    """Write the index of a segment file; None when it is too small to need one. The lock is held."""
    return _build(folder, segment.path, layout, like, PART_ROWS)


def lacking(entries: list[SegmentEntry]) -> list[SegmentEntry]:
    """The segments that have no index, and should."""
    rows: dict[int, int] = {}
    for entry in entries:
        rows[entry.model_id] = rows.get(entry.model_id, 0) + entry.rows
    return [e for e in entries if e.ann is None and e.rows >= PART_ROWS and rows[e.model_id] >= ANN_ROWS]


def derive(conn: apsw.Connection, folder: Path, entry: SegmentEntry, least: int | None = None) -> bool:
    """Give a listed segment of ``least`` rows its index; whether it has one now. The lock is held.

    Raises DamagedStore for a segment that is not as it was written: its index would be sound, and hide that.
    """
    path = folder / entry.file
    with named_errors(path):
        check_sum(path, entry.crc)
        derived = _build(folder, path, read_layout(path), entry, PART_ROWS if least is None else least)
    if derived is None:
        return False
    with writing(conn, "ann"):
        conn.execute("delete from vec_ann where segment_no = ?", (entry.segment_no,))
        list_derived(conn, entry.segment_no, derived)
    return True


def list_derived(conn: apsw.Connection, segment_no: int, derived: Derived) -> None:
    """Let an index count, if its segment does."""
    conn.execute(
        """
        insert into vec_ann (segment_no, file, params, bytes, crc)
        select segment_no, ?, jsonb(?), ?, ? from vec_segments where segment_no = ?
        """,
        (derived.path.name, derived.params, derived.bytes, derived.crc, segment_no),
    )


def open_listed(place: Place, entry: SegmentEntry) -> AnnFile:
    """Open the index of a segment if it is whole: a damaged one could take the process down.

    Raises DamagedStore, and other KompanionError where it may be whole, but the system does not read it.
    """
    from .ann import open_ann

    assert entry.ann is not None
    path = place.folder / entry.ann.file
    try:
        if not as_written(place.folder, entry.ann):
            raise damaged(path, "has changed since it was written")
        return open_ann(path)
    except OSError as exc:
        raise unreadable(path, exc) from exc


def sound(folder: Path, entry: SegmentEntry) -> bool:
    """Whether the index of a segment is there as it was written; also when there is none."""
    if entry.ann is None:
        return True
    try:
        return as_written(folder, entry.ann)
    except OSError:
        return False


def as_written(folder: Path, ann: AnnEntry) -> bool:
    """Whether the file of an index is what was written. Raises OSError."""
    path = folder / ann.file
    return path.stat().st_size == ann.bytes and checksum(path) == ann.crc


def lists_of(entry: SegmentEntry, rows: int) -> int | None:
    """The lists that the index of so many rows of a model is to have, where that was chosen."""
    return None if entry.density is None else max(1, round(entry.density * math.sqrt(rows)))


def near(lists: float, wanted: float) -> bool:
    """Whether so many lists are about as many as these."""
    return 0.67 <= lists / wanted <= 1.5


def lists_per_root(indexes: Iterable[tuple[int, int]]) -> float:
    """Lists over the root of the rows, of indexes with so many lists and rows: the mean over all rows, 0 of none.

    However rows come to be in other files, it stays about what it was, unless other lists are chosen.
    """
    lists, total = 0.0, 0
    for each, rows in indexes:
        lists += each * math.sqrt(rows)
        total += rows
    return lists / max(1, total)


def _build(folder: Path, path: Path, layout: Layout, like: SegmentEntry, least: int) -> Derived | None:
    if layout.rows < least:
        return None
    from .ann import build_ann

    with named_errors(path):
        part = Part(*mapped(path, layout))
    with NewFile(folder, "ann", "ann") as file:
        with named_errors(file.temporary):
            params = build_ann(part, like.metric, file.temporary, lists_of(like, layout.rows), _cores())
        file.adopt()
    return Derived(file.path, json.dumps(params or {}), file.bytes, file.crc)


def _cores() -> int:
    every = os.cpu_count() or 1
    return max(1, every // 2) if beside_others.get() else every
