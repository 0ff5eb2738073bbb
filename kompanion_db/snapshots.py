"""One state of a store, read page by page as the documents of an export, in text: no digit of a number is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from .around import around
from .forking import cut_off_by_fork
from .pg_errors import translated
from .pg_protocol import connection_kwargs

if TYPE_CHECKING:
    from .sqlite.database import Database
    from .sqlite.session import Session
    from .store import Store

Mark = tuple[Any, ...]
"""Cursor, revision and time of an item."""

# The database reads a batch as one JSON text, which may not be larger than 256 MB.
BATCH_DOCUMENTS, BATCH_CHARACTERS = 500, 8 << 20

# A page is whole in memory, here and on a server, and an item may be anything from a line to 256 MB.
FIRST_PAGE, PAGE_CHARACTERS = 20, 64 << 20


class Snapshot(Protocol):
    """What a store held when this was opened; nothing that is written meanwhile. Methods raise BadNamespace."""

    def registry(self, scope: str) -> Iterator[str]:
        """The documents of export_registry."""

    def items(self, scope: str, page_size: int, after: str | None) -> list[tuple[str, str]]:
        """One page of export_items: document and cursor."""

    def marks(self, scope: str, page_size: int, after: str | None) -> list[Mark]:
        """One page of export_marks."""


def snapshot_of(store: Store) -> AbstractContextManager[Snapshot]:
    """What a store holds at this moment."""
    return store._snapshot()


class Pages:
    """Items of a scope by pages of at most ``page_size``, and of as many as PAGE_CHARACTERS hold of those just read."""

    def __init__(self, found: Snapshot, scope: str, page_size: int) -> None:
        self._found, self._scope, self._most = found, scope, page_size
        self._size = min(FIRST_PAGE, page_size)

    def read(self, after: str | None = None, count: int = sys.maxsize) -> Iterator[list[str]]:
        """The next ``count`` items, or all there are."""
        while count and (page := self._found.items(self._scope, min(self._size, count), after)):
            documents = [document for document, _ in page]
            mean = sum(map(len, documents)) // len(documents)
            self._size = max(1, min(PAGE_CHARACTERS // mean, self._most))
            after, count = page[-1][1], count - len(page)
            yield documents


def every_item(found: Snapshot, scope: str, page_size: int) -> Iterator[list[str]]:
    """The items of a scope, a page of at most ``page_size`` at a time, fewer when they are large."""
    return Pages(found, scope, page_size).read()


def batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Documents, as many at a time as import_documents takes at once."""
    batch: list[str] = []
    size = 0
    for document in documents:
        if batch and (len(batch) == BATCH_DOCUMENTS or size + len(document) > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document)
    if batch:
        yield batch


class PostgresSnapshot:
    """A snapshot on a connection that is in a transaction of its own."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.conn = conn

    def registry(self, scope: str) -> Iterator[str]:
        for (document,) in self._rows("select document::text from kompanion.export_registry(%s)", (scope,)):
            yield document

    def items(self, scope: str, page_size: int, after: str | None) -> list[tuple[str, str]]:
        return self._rows(
            "select document::text, cursor from kompanion.export_items(%s, %s, %s)", (scope, page_size, after)
        )

    def marks(self, scope: str, page_size: int, after: str | None) -> list[Mark]:
        return self._rows("select * from kompanion.export_marks(%s, %s, %s)", (scope, page_size, after))

    def _rows(self, sql: Any, arguments: Sequence[Any]) -> list[Any]:
        with translated():
            return self.conn.execute(sql, arguments).fetchall()


class _SqliteSnapshot:
    def __init__(self, session: Session) -> None:
        self._session = session

    def registry(self, scope: str) -> Iterator[str]:
        return (row["document"] for row in self._call("export_registry", scope))

    def items(self, scope: str, page_size: int, after: str | None) -> list[tuple[str, str]]:
        return [(row["document"], row["cursor"]) for row in self._call("export_items", scope, page_size, after)]

    def marks(self, scope: str, page_size: int, after: str | None) -> list[Mark]:
        return [tuple(row.values()) for row in self._call("export_marks", scope, page_size, after)]

    def _call(self, name: str, *arguments: Any) -> list[dict[str, Any]]:
        from .sqlite.registry import functions

        return functions()[name].body(self._session, *arguments)


@contextmanager
def postgres_snapshot(url: str, prepare: bool) -> Iterator[Snapshot]:
    """A snapshot of a PostgreSQL store, on a connection of its own: it does not see a transaction that is open.

    Nothing of it outlasts its transaction, after which a pooler gives the server connection to others.
    """
    with translated():
        conn = psycopg.connect(**connection_kwargs(url, prepare))
        cut_off_by_fork(conn)
    with conn:
        with translated():
            conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            conn.read_only = True
        with around(conn.transaction(), translated):
            with translated():
                conn.execute("set local timezone to 'UTC'")
            yield PostgresSnapshot(conn)


@contextmanager
def sqlite_snapshot(database: Database) -> Iterator[Snapshot]:
    """A snapshot of a SQLite store."""
    with database.session(write=False) as session:
        yield _SqliteSnapshot(session)
