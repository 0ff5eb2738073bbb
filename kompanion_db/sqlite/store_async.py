"""The SQLite store for asyncio: each operation runs whole, on a worker thread, while the loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConnectionFailed
from ..operations.embedding import Context
from ..requests import Pull, Request, Steps, drive
from ..store import AsyncStore
from ..types import Finding
from .errors import translated
from .store import SqliteStore

T = TypeVar("T")


class AsyncSqliteStore(AsyncStore):
    """:class:`SqliteStore` for asyncio. Made by :func:`kompanion_db.connect_async`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.url = ""
        self._store: SqliteStore | None = None

    async def open(
        self, url: str, *, migrate: bool | None = None, max_size: int = 4, timeout: float = 30.0
    ) -> AsyncSqliteStore:
        """Open the file, as :func:`kompanion_db.connect_async` says."""
        self._store = await _in_thread(
            lambda: SqliteStore(url, self.context, migrate=migrate, max_size=max_size, timeout=timeout)
        )
        self.url = self._store.url
        return self

    @property
    def store(self) -> SqliteStore:
        """The store that does the work. Raises ConnectionFailed before ``open``."""
        if self._store is None:
            raise ConnectionFailed("the store is not open", hint="await connect_async(url).")
        return self._store

    async def close(self) -> None:
        """Close the connections. Closing twice does nothing."""
        if self._store is not None:
            await _in_thread(self._store.close)

    async def run(self, operation: Steps[T]) -> T:
        """Drive an operation to its end on a worker thread; its result."""
        store, loop = self.store, asyncio.get_running_loop()

        def answer(request: Request) -> Any:
            if isinstance(request, Pull) and isinstance(request.source, AsyncIterable):
                return asyncio.run_coroutine_threadsafe(_pull(request), loop).result()
            return store.answer(request)

        return await _in_thread(lambda: drive(operation, answer))

    async def answer(self, request: Request) -> Any:
        """Carry out one request of an operation; its answer."""
        return await _in_thread(lambda: self.store.answer(request))

    async def digest(self, scope: str = "*", *, progress: Callable[[int], None] | None = None) -> str:
        """As :meth:`Store.digest`, in a thread."""
        return await _in_thread(lambda: self.store.digest(scope, progress=progress))

    async def checkpoint(self, *, compact: bool = False) -> dict[str, int]:
        """As :meth:`SqliteStore.checkpoint`, in a thread."""
        return await _in_thread(lambda: self.store.checkpoint(compact=compact))

    async def backup(self, path: str | Path) -> dict[str, int]:
        """As :meth:`SqliteStore.backup`, in a thread."""
        return await _in_thread(lambda: self.store.backup(path))

    async def doctor(self, *, repair: bool = False) -> list[Finding]:
        """As :meth:`SqliteStore.doctor`, in a thread."""
        return await _in_thread(lambda: self.store.doctor(repair=repair))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSqliteStore]:
        """Make the calls inside one transaction, as in the sync store; per task, nests as savepoints."""
        database = self.store.database
        outer = database.current
        session = await _in_thread(database.take) if outer is None else outer
        block = session.transaction(write=True)
        try:
            with translated():
                await _in_thread(block.__enter__)
            token = database.bind(session)
            try:
                yield self
            except BaseException as exc:
                failed = exc  # gone at the end of its clause, and the thread needs it
                with translated():
                    await _in_thread(lambda: block.__exit__(type(failed), failed, failed.__traceback__))
                raise
            else:
                with translated():
                    await _in_thread(lambda: block.__exit__(None, None, None))
            finally:
                database.unbind(token)
        finally:
            if outer is None:
                database.give_back(session)
        self.store.wrote()


async def _in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread to its end, also when the task is cancelled meanwhile: its connection is in use."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody asks for it any more
        raise


async def _pull(request: Pull) -> tuple[Any, list[Any]]:
    source = aiter(request.source)
    batch: list[Any] = []
    async for element in source:
        batch.append(element)
        if len(batch) == request.size:
            break
    return source, batch
