"""The open blocks of transactions: which calls belong to them, and whose turn it is on their connection.

A task has a copy of the context that it was started in, and so has a thread of ``asyncio.to_thread``. What is started
inside a block belongs to it, but only while it is open: afterwards its connection is somebody else's. In a block one
works at a time: a call, or a whole block inside it, whose savepoint would take along what others write meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .cancelling import in_time, to_its_end
from .errors import ConnectionFailed, KompanionError

C = TypeVar("C")


def check_whole(lost: bool, undone: bool) -> None:
    """A transaction that is no more takes no further call, nor does its block end as if all were kept.

    Whoever is in it may not know, having caught the error. Raises ConnectionFailed, KompanionError.
    """
    if lost:
        raise ConnectionFailed("the transaction was given up, or its connection lost", hint="Begin it again.")
    if undone:
        raise KompanionError(
            "the transaction is undone, as a call in it had failed",
            hint="Put a call that may fail in a transaction() of its own, inside.",
        )


@dataclass(eq=False)
class Block(Generic[C]):
    """A block of a transaction: its connection, the block around it, and the lock of whoever works in it."""

    conn: C
    outer: Block[C] | None
    lock: Any
    open: bool = True
    turns: int = 0
    """How many there were. As long as others get theirs, whoever waits goes on waiting."""
    holders: list[asyncio.Task[Any] | None] = field(default_factory=list)
    """The task of each turn that is taken, where a thread takes several: tasks of one thread share its lock."""


class _Blocks(Generic[C]):
    _new_lock: Callable[[], Any]

    def __init__(self, name: str, timeout: float = 30.0) -> None:
        self.timeout = timeout
        self._entered: ContextVar[Block[C] | None] = ContextVar(name, default=None)

    @property
    def innermost(self) -> Block[C] | None:
        """The innermost block that the caller is in, of those that are still open."""
        block = self._entered.get()
        while block is not None and not block.open:
            block = block.outer
        return block

    @contextmanager
    def entered(self, conn: C) -> Iterator[Block[C]]:
        """Let the caller, and what it starts, be in a block. At its end nobody is waited for."""
        block = Block(conn, self.innermost, self._new_lock())
        token = self._entered.set(block)
        try:
            yield block
        finally:
            block.open = False
            self._entered.reset(token)  # raises in another context: where a task ends the block that another began

    def _late(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"no turn in the transaction in {self.timeout:g} s",
            hint="Await what was started inside a block before its end; wait inside it for nothing started outside.",
        )


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


class Blocks(_Blocks[C]):
    """Blocks of threads. A thread that has the turn may take it again, but not in another task: none could wait."""

    _new_lock = staticmethod(threading.RLock)

    @contextmanager
    def turn(self) -> Iterator[Block[C] | None]:
        """The block that the caller is in, with nobody else at work in it; None outside. Raises ConnectionFailed."""
        while (block := self.innermost) is not None:
            self._take(block)
            if block.open:
                break
            self._leave(block)
        try:
            yield block
        finally:
            if block is not None:
                self._leave(block)

    @contextmanager
    def inside(self, conn: C, give_up: Callable[[], object]) -> Iterator[None]:
        """Let the caller, and what it starts, be in a block. At its end those who are at work in it are waited for.

        Raises ConnectionFailed when they do not come to an end; ``give_up`` is to take the connection from them.
        """
        with self.entered(conn) as block:
            try:
                yield
            finally:
                try:
                    self._take(block)
                except ConnectionFailed:
                    give_up()
                    raise
                block.open = False
                self._leave(block)

    def _take(self, block: Block[C]) -> None:
        seen = block.turns
        while not block.lock.acquire(timeout=self.timeout):
            if block.turns == seen:
                raise self._late()
            seen = block.turns
        task = _task()
        if block.holders and block.holders[-1] is not task:
            block.lock.release()
            raise ConnectionFailed("another task is in a block inside the transaction", hint="Use connect_async.")
        block.holders.append(task)
        block.turns += 1

    def _leave(self, block: Block[C]) -> None:
        block.holders.pop()
        block.lock.release()


class AsyncBlocks(_Blocks[C]):
    """Blocks of tasks."""

    _new_lock = asyncio.Lock

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Block[C] | None]:
        """As ``Blocks.turn``."""
        while (block := self.innermost) is not None:
            await self._take(block)
            if block.open:
                break
            block.lock.release()
        try:
            yield block
        finally:
            if block is not None:
                block.lock.release()

    @asynccontextmanager
    async def inside(self, conn: C, give_up: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """As ``Blocks.inside``."""
        with self.entered(conn) as block:
            try:
                yield
            finally:
                if block.lock.locked():
                    await to_its_end(self._end(block, give_up))

    async def _end(self, block: Block[C], give_up: Callable[[], Awaitable[object]]) -> None:
        try:
            await self._take(block)
        except ConnectionFailed:
            await give_up()
            raise
        block.open = False
        block.lock.release()

    async def _take(self, block: Block[C]) -> None:
        if not await in_time(block.lock, self.timeout, lambda: block.turns):
            raise self._late()
        block.turns += 1
