"""From a URL to a store."""

from __future__ import annotations

import asyncio
from functools import partial
from numbers import Real

from . import arguments as check
from .cancelling import for_a_future
from .embedders import Embedder
from .embedders.base import check_embedder
from .errors import BadArgument
from .operations.embedding import Context
from .postgres import PostgresStore
from .postgres_async import AsyncPostgresStore
from .sqlite.files import is_sqlite
from .store import AsyncStore, Store


def _context(embedder: Embedder | None, chunk_characters: int, chunk_overlap: int) -> Context:
    characters = check.integer("chunk_characters", chunk_characters) or 0
    overlap = check.integer("chunk_overlap", chunk_overlap) or 0
    if characters < 1:
        raise BadArgument(
            f"chunk_characters: {chunk_characters} is less than 1", hint="Give some hundreds, such as 1200."
        )
    if not 0 <= overlap < characters:
        raise BadArgument(
            f"chunk_overlap: {overlap} is not between 0 and chunk_characters - 1, which is {characters - 1}",
            hint="Give a tenth or so of chunk_characters, or leave it out.",
        )
    if embedder is not None:
        check_embedder(embedder)
    return Context(embedder, characters, overlap)


def _check_options(min_size: int, max_size: int, migrate: bool | None, prepare: bool) -> None:
    """Raises BadArgument where no pool of connections can have these bounds, and for a flag that is none."""
    check.flag("prepare", prepare)
    if migrate is not None:
        check.flag("migrate", migrate)
    least, most = check.integer("min_size", min_size), check.integer("max_size", max_size)
    if most is None or most < 1:
        raise BadArgument(f"max_size: {most} is less than 1", hint="Give the number of connections to keep.")
    if least is None or not 0 <= least <= most:
        raise BadArgument(
            f"min_size: {least} is not from 0 to max_size, which is {most}", hint="Lower min_size, or raise max_size."
        )


_LONGEST = 1_000_000  # longer than anybody waits, and less than what threads cannot wait


def _seconds(timeout: float) -> float:
    """Raises BadArgument for what nobody can wait for."""
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or not 0 < timeout <= _LONGEST:
        raise BadArgument(
            f"timeout: {timeout!r} is no number above 0 and at most {_LONGEST:,}",
            hint="Give the seconds to wait for a connection, such as 30.",
        )
    return float(timeout)


def connect(
    url: str,
    *,
    embedder: Embedder | None = None,
    migrate: bool | None = None,
    min_size: int = 1,
    max_size: int = 4,
    prepare: bool = True,
    timeout: float = 30.0,
    chunk_characters: int = 1200,
    chunk_overlap: int = 0,
) -> Store:
    """Open a store: ``sqlite:///notes.db``, ``postgresql://user@host/database`` or ``embedded:<folder>``.

    ``sqlite:///`` is a file, made when it is not there, with a folder of vectors beside it; four slashes begin an
    absolute path; ``?synchronous=normal`` commits faster, and a power cut may undo the last commits.
    ``embedded:`` starts or joins a PostgreSQL server of its own in the folder and stops it with its last user.
    ``embedder`` makes text searchable: content is cut into chunks of at most ``chunk_characters`` sharing up to
    ``chunk_overlap``, and embedded. ``migrate`` installs or upgrades the schema first; by default only that
    of a file or an embedded server is. ``min_size`` and ``max_size`` bound the connection pool, ``timeout`` (seconds)
    the wait for a connection, or for the turn in a transaction that is shared. ``prepare=False`` sends no prepared
    statements, for poolers in transaction mode.

    Raises ConnectionFailed, NotInstalled, UnsupportedServer, MissingExtra, ModelConflict, DamagedStore, BadArgument.
    """
    _check_options(min_size, max_size, migrate, prepare)
    seconds = _seconds(timeout)
    context = _context(embedder, chunk_characters, chunk_overlap)
    if is_sqlite(url):
        from .sqlite.store import SqliteStore  # FAISS takes a while to load: only for those who use it

        return SqliteStore(url, context, migrate=migrate, max_size=max_size, timeout=seconds)
    return PostgresStore(
        url, context, migrate=migrate, min_size=min_size, max_size=max_size, prepare=prepare, timeout=seconds
    )


async def connect_async(
    url: str,
    *,
    embedder: Embedder | None = None,
    migrate: bool | None = None,
    min_size: int = 1,
    max_size: int = 4,
    prepare: bool = True,
    timeout: float = 30.0,
    chunk_characters: int = 1200,
    chunk_overlap: int = 0,
) -> AsyncStore:
    """:func:`connect` for asyncio: ``async with await connect_async(url) as store: ...``; raises the same."""
    _check_options(min_size, max_size, migrate, prepare)
    seconds = _seconds(timeout)
    # On a thread: an embedder may have to ask its server for dim.
    context = await asyncio.to_thread(for_a_future, partial(_context, embedder, chunk_characters, chunk_overlap))
    if is_sqlite(url):
        from .sqlite.store_async import AsyncSqliteStore

        return await AsyncSqliteStore(context).open(url, migrate=migrate, max_size=max_size, timeout=seconds)
    return await AsyncPostgresStore(context).open(
        url, migrate=migrate, min_size=min_size, max_size=max_size, prepare=prepare, timeout=seconds
    )
