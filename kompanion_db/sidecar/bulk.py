"""Many vectors of one transaction go straight to a file, which counts from the commit of their rows."""

from __future__ import annotations

from pathlib import Path

import apsw
import numpy as np
from numpy.typing import NDArray

from . import manifest
from .fold import write_vectors
from .segment import FLOAT, ID

BULK_ROWS = 4000
"""Vectors from which a file of their own is quicker than the log."""


def append_file(conn: apsw.Connection, folder: Path, model_id: int, vectors: NDArray[np.float32]) -> int:
    """Append vectors of shape (n, dim), float32, in the write transaction of ``conn``; the number of the first.

    When it is rolled back, the file never counted and is removed as a stray one. Nobody removes it before: that needs
    the write lock, which this transaction holds.
    """
    first = _reserve(conn, len(vectors))
    ids = np.arange(first, first + len(vectors), dtype=ID)
    file, layout = write_vectors(folder, model_id, ids, np.ascontiguousarray(vectors, dtype=FLOAT), "bulk")
    manifest.list_segment(conn, file, layout)
    return first


def _reserve(conn: apsw.Connection, count: int) -> int:
    """Take the next ``count`` numbers of the log, as rows in it would have."""
    found = conn.execute("select seq from sqlite_sequence where name = 'vec_log'").fetchone()
    if found is None:
        conn.execute("insert into sqlite_sequence (name, seq) values ('vec_log', ?)", (count,))
        return 1
    conn.execute("update sqlite_sequence set seq = seq + ? where name = 'vec_log'", (count,))
    return int(found[0]) + 1
