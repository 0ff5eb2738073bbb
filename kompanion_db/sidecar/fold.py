"""From the log into files: one transaction lists the files with the oldest vectors and takes these off the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import apsw
import numpy as np
from numpy.typing import NDArray

from . import manifest
from .durable import NewFile
from .failpoints import reached
from .segment import FLOAT, ID, Layout, lengths, write_segment
from .transactions import one, reading, writing

FOLD_ROWS = 20_000
"""Vectors in the log from which folding is worth it."""

FOLD_BYTES = 64 << 20
"""Their size from which it is, and the most that one fold takes: it is what a fold needs of memory, twice."""


@dataclass
class _Batch:
    """Vectors of one model, to become one file."""

    ids: list[int] = field(default_factory=list)
    vectors: list[bytes] = field(default_factory=list)


def pending(conn: apsw.Connection) -> int:
    """How many vectors are in the log, at most: numbers given to vectors that went straight to a file count too."""
    low = one(conn, "select min(seq) from vec_log")
    return 0 if low is None else int(one(conn, "select max(seq) from vec_log") - low + 1)


def due(conn: apsw.Connection) -> bool:
    """Whether the log has grown so far that folding is worth it."""
    most = pending(conn)
    dim = one(conn, "select max(dim) from embedding_models") or 0
    if most < FOLD_ROWS and most * 4 * dim < FOLD_BYTES:
        return False
    rows = one(conn, "select count(*) from vec_log")
    return bool(rows >= FOLD_ROWS or one(conn, "select total(length(vector)) from vec_log") >= FOLD_BYTES)


def fold(conn: apsw.Connection, folder: Path) -> int:
    """Fold the oldest vectors of the log, as many as fit; how many rows that took off it. The lock is held.

    Vectors that no row has any more are left out. All that is read here is committed, and a number is never given to a
    second committed vector, so what comes meanwhile is behind ``last``.
    """
    with reading(conn):
        batches, last = _oldest(conn)
    reached("fold.read")
    if last is None:
        return 0
    written = [_write(folder, model_id, batch) for model_id, batch in batches.items() if batch.ids]
    return commit_fold(conn, written, last)


def commit_fold(conn: apsw.Connection, written: list[tuple[NewFile, Layout]], last: int) -> int:
    """Let the files count, and take the log up to ``last`` off, in one transaction; how many rows those were."""
    with writing(conn, "fold"):
        for file, layout in written:
            manifest.list_segment(conn, file, layout)
            reached("fold.trimming")
        conn.execute("delete from vec_log where seq <= ?", (last,))
        return conn.changes()


def _oldest(conn: apsw.Connection) -> tuple[dict[int, _Batch], int | None]:
    batches: dict[int, _Batch] = {}
    last: int | None = None
    size = 0
    for seq, model_id, vector, wanted in conn.execute(
        """
        select l.seq, l.model_id, l.vector, exists (select 1 from embeddings e where e.vec_id = l.seq)
        from vec_log l order by l.seq
        """
    ):
        last = seq
        if wanted:
            batch = batches.setdefault(model_id, _Batch())
            batch.ids.append(seq)
            batch.vectors.append(vector)
            size += len(vector)
            if size >= FOLD_BYTES:
                break
    return batches, last


def _write(folder: Path, model_id: int, batch: _Batch) -> tuple[NewFile, Layout]:
    vectors = np.frombuffer(b"".join(batch.vectors), dtype=FLOAT).reshape(len(batch.ids), -1)
    return write_vectors(folder, model_id, np.array(batch.ids, dtype=ID), vectors, "fold")


def write_vectors(
    folder: Path, model_id: int, ids: NDArray[np.int64], vectors: NDArray[np.float32], step: str
) -> tuple[NewFile, Layout]:
    """Write vectors of shape (n, dim) with their ascending ids into a new file, which does not count yet."""
    layout = Layout(model_id, vectors.shape[1], len(ids), int(ids[0]), int(ids[-1]))
    with NewFile(folder, "seg", step) as file:
        write_segment(file, layout, ids, [lengths(vectors)], [vectors])
    return file, layout
