"""What the database says about the files: which count, which no longer do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import apsw

from ..errors import DamagedStore
from .durable import NewFile
from .segment import Layout

_NAME = re.compile(r"[\w-]+", re.ASCII)
"""The names that are looked for in the folder: of ours, as NewFile makes them, none leads out of it."""


@dataclass(frozen=True)
class AnnEntry:
    """A listed file with a vector index of a segment."""

    segment_no: int
    file: str
    bytes: int
    crc: int


@dataclass(frozen=True)
class SegmentEntry:
    """A listed segment, and its index when it has one.

    ``density``: the lists that an index of its model is to have, over the root of its rows, where that was chosen.
    """

    segment_no: int
    model_id: int
    file: str
    rows: int
    bytes: int
    crc: int
    low: int
    high: int
    dim: int
    metric: str
    density: float | None
    ann: AnnEntry | None


def segments(conn: apsw.Connection) -> list[SegmentEntry]:
    """The segments that count in this transaction, oldest first. Raises DamagedStore for a file elsewhere."""
    rows: list[tuple[Any, ...]] = conn.execute(
        """
        select s.segment_no, s.model_id, s.file, s.rows, s.bytes, s.crc, s.low, s.high, m.dim, m.metric,
               (m.index_choice ->> 'lists') / sqrt(m.index_choice ->> 'rows'), a.file, a.bytes, a.crc
        from vec_segments s
        join embedding_models m on m.model_id = s.model_id
        left join vec_ann a on a.segment_no = s.segment_no
        order by s.segment_no
        """
    ).fetchall()
    for name in {name for row in rows for name in (row[2], row[11]) if name is not None}:
        if not _NAME.fullmatch(str(name)):  # by somebody who wants it read, or written over by a backup
            raise DamagedStore(
                f"{str(name)[:200]!r}: is no name of a file of vectors, but the database lists it",
                hint="It was changed by hand: restore a backup.",
            )
    anns = [None if row[11] is None else AnnEntry(row[0], *row[11:]) for row in rows]
    return [SegmentEntry(*row[:11], *[ann]) for row, ann in zip(rows, anns, strict=True)]


def list_segment(conn: apsw.Connection, file: NewFile, layout: Layout) -> int | None:
    """Let a file count from this transaction on; its number, None when its model is gone meanwhile."""
    conn.execute(
        """
        insert into vec_segments (model_id, file, rows, bytes, crc, low, high)
        select model_id, ?, ?, ?, ?, ?, ? from embedding_models where model_id = ?
        """,
        (file.path.name, layout.rows, file.bytes, file.crc, layout.low, layout.high, layout.model_id),
    )
    return conn.last_insert_rowid() if conn.changes() else None


def known_files(conn: apsw.Connection) -> set[str]:
    """The names of all files that count, or have counted lately."""
    return {
        name
        for (name,) in conn.execute(
            "select file from vec_segments union all select file from vec_ann union all select file from vec_retired"
        )
    }
