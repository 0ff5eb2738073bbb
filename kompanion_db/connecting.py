"""From a URL to a store."""

from __future__ import annotations

from .embedders import Embedder
from .operations.embedding import Context
from .postgres import PostgresStore
from .postgres_async import AsyncPostgresStore


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
) -> PostgresStore:
    """Open a store: ``postgresql://user@host/database`` or ``embedded:<folder>``.

    ``embedded:`` starts or joins a PostgreSQL server of its own in the folder and stops it with its last user.
    ``embedder`` makes text searchable: content is cut into chunks of at most ``chunk_characters`` sharing up to
    ``chunk_overlap``, and embedded. ``migrate`` installs or upgrades the schema first; by default only an embedded
    server is. ``min_size`` and ``max_size`` bound the connection pool, ``timeout`` (seconds) the wait for a
    connection. ``prepare=False`` sends no prepared statements, for poolers in transaction mode.

    Raises ConnectionFailed, NotInstalled, UnsupportedServer, MissingExtra, ModelConflict, BadArgument.
    """
    context = Context(embedder, chunk_characters, chunk_overlap)
    return PostgresStore(
        url, context, migrate=migrate, min_size=min_size, max_size=max_size, prepare=prepare, timeout=timeout
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
) -> AsyncPostgresStore:
    """:func:`connect` for asyncio: ``async with await connect_async(url) as store: ...``; raises the same."""
    context = Context(embedder, chunk_characters, chunk_overlap)
    return await AsyncPostgresStore(context).open(
        url, migrate=migrate, min_size=min_size, max_size=max_size, prepare=prepare, timeout=timeout
    )
