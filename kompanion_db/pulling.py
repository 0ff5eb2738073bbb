"""The iterator an operation takes elements from. It may hold a block open from one pull to the next.

Whoever pulls from a generator is inside its block too. So where the operation fails the generator is closed at once, in
the same context: left to the garbage collector, its block would take in what the caller writes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from .cancelling import for_a_future, to_its_end
from .errors import BadArgument
from .requests import Pull

T = TypeVar("T")


class Source:
    """What a sync operation pulls from."""

    def __init__(self) -> None:
        self._iterator: Any = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None:
            self.close()

    def pull(self, request: Pull) -> tuple[Any, list[Any]]:
        """Carry out a Pull; its answer. BadArgument for what only an async store can wait for."""
        if not isinstance(request.source, Iterable):
            raise BadArgument(
                "items: is an async iterator, which a store that is not async cannot wait for",
                hint="connect_async(url), or give a list.",
            )
        self._iterator = iter(request.source)
        return self._iterator, list(islice(self._iterator, request.size))

    def close(self) -> None:
        """Let a generator leave the blocks it is in."""
        if isinstance(self._iterator, Generator):  # a file or a cursor is its owner's to close
            self._iterator.close()


class AsyncSource:
    """What an async operation pulls from.

    An async iterator is asked in the caller's own context. One that is not async may take its time: it runs on a thread
    of its own, the same for all its elements, in one context.
    """

    def __init__(self) -> None:
        self._iterator: Any = None
        self._source = Source()
        self._thread: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> AsyncSource:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is not None and not issubclass(kind, GeneratorExit):  # then there is no loop any more to wait on
                await self._close()
        finally:
            if self._thread is not None:
                self._thread.shutdown(wait=False)

    async def pull(self, request: Pull) -> tuple[Any, list[Any]]:
        """Carry out a Pull; its answer."""
        if not isinstance(request.source, AsyncIterable):
            return await self._beside(partial(self._source.pull, request))
        self._iterator = aiter(request.source)
        batch: list[Any] = []
        async for element in self._iterator:
            batch.append(element)
            if len(batch) == request.size:
                break
        return self._iterator, batch

    async def _close(self) -> None:
        if isinstance(self._iterator, AsyncGenerator):
            await self._iterator.aclose()
        elif self._thread is not None:
            await self._beside(self._source.close)

    async def _beside(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="kompanion-items")
            self._context = copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._context.run, for_a_future, work)
        return await to_its_end(future)
