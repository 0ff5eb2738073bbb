"""The SQLite store for asyncio: operations run on worker threads, while the loop goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..cancelling import for_a_future
from ..errors import ConnectionFailed
from ..forking import Origin
from ..operations.embedding import Context
from ..pulling import AsyncSource
from ..requests import EmbedDocuments, EmbedQuery, Ended, Pull, Request, Steps, advance
from ..store import AsyncStore
from ..types import Finding
from .errors import translated
from .session import Session
from .store import SqliteStore
from .tasks import Turns

T = TypeVar("T")


class AsyncSqliteStore(AsyncStore):
    """:class:`SqliteStore` for asyncio. Made by :func:`kompanion_db.connect_async`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.url = ""
        self._store: SqliteStore | None = None
        self._origin = Origin()

    async def open(
        self, url: str, *, migrate: bool | None = None, max_size: int = 4, timeout: float = 30.0
    ) -> AsyncSqliteStore:
        """Open the file, as :func:`kompanion_db.connect_async` says."""
        turns = Turns(max_size, timeout)
        self._store = await turns.run(
            lambda: SqliteStore(url, self.context, migrate=migrate, max_size=max_size, timeout=timeout),
            undo=SqliteStore.close,
        )
        self.turns = turns
        self.url = self._store.url
        return self

    @property
    def store(self) -> SqliteStore:
        """The store that does the work. Raises ConnectionFailed before ``open``, and after a fork."""
        if self._store is None:
            raise ConnectionFailed("the store is not open", hint="await connect_async(url).")
        self._store.database.check_process()
        return self._store

    async def close(self) -> None:
        """Close the connections. Closing twice does nothing."""
        if self._store is not None and self._store.database.ours:  # a fork has no threads
            try:
                await self.turns.run(self._store.close)
            finally:
                self.turns.close()

    async def run(self, operation: Steps[T]) -> T:
        """Drive an operation to its end on worker threads; its result. Cancelled, it ends before its next request.

        While it pulls others have its turn: an async iterator may work with the store, also in a block that it holds
        open from one pull to the next. Nor does an embedder take a turn: it needs no connection, and nobody waits for
        it any more once it is cancelled.
        """
        self._origin.check()
        store = self.store
        broken_off = threading.Event()

        def answer(request: Request) -> Any:
            if broken_off.is_set():
                raise CancelledError
            return store.answer(request)

        resume: Callable[[], Request] = partial(next, operation)
        async with AsyncSource() as source:
            try:
                while True:
                    async with self.turns.mine():
                        found = await self.turns.run(
                            partial(advance, operation, resume, answer, _without_turn), stop=broken_off.set
                        )
                    if isinstance(found, Ended):
                        return found.result
                    try:
                        beside = source.pull(found) if isinstance(found, Pull) else self._beside(found)
                        resume = partial(operation.send, await beside)
                    except Exception as exc:
                        resume = partial(operation.throw, exc)
            finally:
                operation.close()  # broken off: what it has under way ends too

    async def answer(self, request: Request) -> Any:
        """Carry out one request of an operation, but for a Pull; its answer."""
        if _without_turn(request):
            return await self._beside(request)
        return await self._call(lambda: self.store.answer(request))

    async def _beside(self, request: Request) -> Any:
        """Carry out a request that needs no connection. Cancelled, it ends at once, and an embedder for itself."""
        return await asyncio.to_thread(for_a_future, partial(self.store.answer, request))

    async def _call(self, work: Callable[[], T]) -> T:
        self._origin.check()
        async with self.turns.mine():
            return await self.turns.run(work)

    async def digest(self, scope: str = "*", *, progress: Callable[[int], None] | None = None) -> str:
        """As :meth:`Store.digest`, in a thread."""
        return await self._call(lambda: self.store.digest(scope, progress=progress))

    async def checkpoint(self, *, compact: bool = False) -> dict[str, int]:
        """As :meth:`SqliteStore.checkpoint`, in a thread."""
        return await self._call(lambda: self.store.checkpoint(compact=compact))

    async def backup(self, path: str | Path) -> dict[str, int]:
        """As :meth:`SqliteStore.backup`, in a thread."""
        return await self._call(lambda: self.store.backup(path))

    async def doctor(self, *, repair: bool = False) -> list[Finding]:
        """As :meth:`SqliteStore.doctor`, in a thread."""
        return await self._call(lambda: self.store.doctor(repair=repair))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSqliteStore]:
        """Make the calls inside one transaction, as in the sync store; per task, nests as savepoints."""
        self._origin.check()
        database = self.store.database
        async with self.turns.mine(), self._session() as session, self._block(session):
            with database.bind(session):
                async with self.turns.inside(session):
                    yield self
        self.store.wrote()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """The session of the transaction that the caller is in, or one of its own."""
        database = self.store.database
        if database.current is not None:
            yield database.current
            return
        session = await self.turns.run(database.take, undo=database.give_back)
        try:
            yield session
        finally:
            database.give_back(session)

    @asynccontextmanager
    async def _block(self, session: Session) -> AsyncIterator[None]:
        """A transaction, or a savepoint inside one, begun and ended on worker threads."""
        block = session.transaction(write=True)

        def end(exc: BaseException | None = None) -> None:
            with translated():
                block.__exit__(type(exc) if exc else None, exc, exc.__traceback__ if exc else None)

        def begin() -> None:
            with translated():
                block.__enter__()

        await self.turns.run(begin, undo=lambda _: end(asyncio.CancelledError()))
        try:
            yield
        except BaseException as exc:
            failed = exc  # gone at the end of its clause, and the thread needs it
            await self.turns.run(lambda: end(failed))
            raise
        await self.turns.run(end)


def _without_turn(request: Request) -> bool:
    return isinstance(request, (EmbedDocuments, EmbedQuery, Pull))
