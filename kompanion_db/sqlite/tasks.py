"""Work of asyncio tasks on threads: one at a time on a connection, and to its end once it has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from ..blocks import AsyncBlocks
from ..cancelling import for_a_future, in_time, to_its_end
from ..errors import ConnectionFailed
from .session import Session

T = TypeVar("T")


class Turns:
    """Who may work when: ``size`` tasks at a time, and inside a transaction one after the other.

    They wait on the loop, not on threads: whoever has a connection always gets a thread to go on with it.
    """

    def __init__(self, size: int, timeout: float) -> None:
        self._places = asyncio.Semaphore(size)
        self._timeout = timeout
        self._blocks: AsyncBlocks[Session] = AsyncBlocks("kompanion_sqlite_turn", timeout)
        # Threads are made as they are needed: for those at work, and those that wait for an async iterator.
        self._threads = ThreadPoolExecutor(1 << 16, thread_name_prefix="kompanion-sqlite")

    def close(self) -> None:
        """Let the threads end. They may still be asked: the store says that it is closed."""
        self._threads.shutdown(wait=False)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="kompanion-sqlite-closed")

    @asynccontextmanager
    async def mine(self) -> AsyncIterator[None]:
        """Wait for the caller's turn. Raises ConnectionFailed when none comes in time."""
        async with self._blocks.turn() as block:
            if block is not None:
                yield
                return
            if not await in_time(self._places, self._timeout):
                raise ConnectionFailed(f"no connection in {self._timeout:g} s", hint="Raise max_size.")
            try:
                yield
            finally:
                self._places.release()

    def inside(self, session: Session) -> AbstractAsyncContextManager[None]:
        """Let the caller, and the tasks it starts, take turns at its transaction; at the end they are waited for."""
        return self._blocks.inside(session, lambda: self.run(session.give_up))

    async def run(
        self, work: Callable[[], T], undo: Callable[[T], object] | None = None, stop: Callable[[], object] | None = None
    ) -> T:
        """Run ``work`` on a thread to its end, also when the task is cancelled: its connection is in use.

        Then ``stop`` asks it to hurry, and ``undo`` is run with its result, which nobody gets to see.
        """
        future = asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, for_a_future, work)
        return await to_its_end(future, undo and (lambda result: self.run(partial(undo, result))), stop)
