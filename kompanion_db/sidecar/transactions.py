"""The connection that keeps the files: durable commits, whatever the store is opened with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import apsw

from ..sqlite.replaced import refuse_moved
from .failpoints import reached

if TYPE_CHECKING:
    from ..sqlite.files import Place


@contextmanager
def keeper(place: Place) -> Iterator[apsw.Connection]:
    """A connection whose every commit is on the disk when it returns, and with it all commits before it.

    Files are removed only after such a commit: a power cut must not bring back a state of the database that lists them.
    """
    from ..sqlite.database import open_connection
    from ..sqlite.errors import translated

    with translated():
        conn = open_connection(place)
        try:
            conn.execute("pragma synchronous = full; pragma cache_size = -4096")
            yield conn
        finally:
            conn.close()


def one(conn: apsw.Connection, sql: str, parameters: Sequence[Any] = ()) -> Any:
    """The one value a statement gives."""
    return conn.execute(sql, parameters).fetchall()[0][0]


@contextmanager
def reading(conn: apsw.Connection) -> Iterator[None]:
    """One state of the database for all that is read in the block. Raises ConnectionFailed when its file was moved."""
    conn.execute("begin")
    try:
        refuse_moved(conn)
        yield
    finally:
        if conn.in_transaction:  # some errors of SQLite have ended it
            conn.execute("rollback")


@contextmanager
def writing(conn: apsw.Connection, step: str) -> Iterator[None]:
    """One transaction for all that is written in the block. ``step`` begins the labels of its failpoints.

    Raises ConnectionFailed when the file of the database was moved.
    """
    conn.execute("begin immediate")
    try:
        refuse_moved(conn)
        yield
        reached(f"{step}.listed")
        conn.execute("commit")
    except BaseException:
        if conn.in_transaction:
            conn.execute("rollback")
        raise
    reached(f"{step}.committed")
