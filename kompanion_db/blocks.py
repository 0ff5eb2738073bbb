"""The open blocks of transactions: which calls belong to them, and whose turn it is on their connection.

A task has a copy of the context that it was started in, and so has a thread of ``asyncio.to_thread``. What is started
inside a block belongs to it, but only while it is open: afterwards its connection is somebody else's. In a block one
works at a time: a call, or a whole block inside it, whose savepoint would take along what others write meanwhile.

Blocks nest. One that is ended before a block inside it, as two generators may do that each hold one, is undone whole:
neither could be kept or undone for itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .cancelling import in_time, to_its_end
from .errors import ConnectionFailed, KompanionError

C = TypeVar("C")

Who = tuple[int, asyncio.Task[Any] | None]
"""A thread and, where a loop runs in it, a task."""


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


def _me() -> Who:
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return threading.get_ident(), None


@dataclass(eq=False)
class Block(Generic[C]):
    """A block of a transaction: its connection, the block around it, and the lock of whoever works in it."""

    conn: C
    outer: Block[C] | None
    lock: Any
    begun_by: Who = field(default_factory=_me)
    open: bool = True
    inner: Block[C] | None = None
    """The one that is open inside it."""
    turns: int = 0
    """How many there were. As long as others get theirs, whoever waits goes on waiting."""
    holders: list[Who] = field(default_factory=list)
    """Who has each turn that is taken, where a thread takes several."""


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
        """Let the caller, and what it starts, be in a block. At its end nobody is waited for.

        Raises KompanionError when it ends elsewhere than it began, unless it is undone as something else is raised.
        """
        block = Block(conn, self.innermost, self._new_lock())
        token = self._entered.set(block)
        if block.outer is not None:
            block.outer.inner = block
        try:
            yield block
        except BaseException:
            self._left(block, token)
            raise
        if not self._left(block, token):
            raise KompanionError(
                "the transaction is undone, as its block ended in another task, thread or context than it began in",
                hint="Begin and end it by one with statement, in a function that one task or thread runs to its end.",
            )

    def _left(self, block: Block[C], token: Token[Block[C] | None]) -> bool:
        """The block is over; whether it ended where it began: nobody else can take the caller out of it."""
        block.open = False
        if block.outer is not None:
            block.outer.inner = None
        innermost = self.innermost  # one inside it may still be open: whoever is in that stays in it
        try:
            self._entered.reset(token)
        except ValueError:
            return False
        self._entered.set(innermost)
        return True

    @staticmethod
    def _check_last(block: Block[C], me: Who) -> None:
        """At its end: to wait for a block inside that the caller itself began would be to wait for ever."""
        if block.inner is not None and block.inner.begun_by == me:
            raise KompanionError(
                "the transaction is undone, as a block inside it was still open at its end",
                hint="End the block that was begun last first; close a generator that holds one.",
            )

    def _late(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"no turn in the transaction in {self.timeout:g} s",
            hint="Await what was started inside a block before its end; wait inside it for nothing started outside.",
        )


class Blocks(_Blocks[C]):
    """Blocks of threads. A thread that has the turn may take it again, but not in another task: none could wait."""

    _new_lock = staticmethod(threading.Lock)  # not RLock: a block inside may end in another thread, and with it a turn

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

        Raises ConnectionFailed when they do not come to an end, KompanionError when the caller left a block open inside
        it; ``give_up`` is to take the connection from them. What was raised in the block comes out all the same.
        """
        with self.entered(conn) as block:
            try:
                yield
            except BaseException:
                with suppress(KompanionError):
                    self._end(block, give_up)
                raise
            self._end(block, give_up)

    def _end(self, block: Block[C], give_up: Callable[[], object]) -> None:
        try:
            self._check_last(block, _me())
            self._take(block)
        except KompanionError:
            give_up()
            raise
        block.open = False
        self._leave(block)

    def _take(self, block: Block[C]) -> None:
        me = _me()
        holder = block.holders[-1:]
        if holder and holder[0][0] == me[0]:
            if holder[0] != me or block.inner is not None:
                raise ConnectionFailed(
                    "another task or context is in a block inside the transaction",
                    hint="End that block first, or use connect_async, where others wait for its end.",
                )
        else:
            seen = block.turns
            while not block.lock.acquire(timeout=self.timeout):
                if block.turns == seen:
                    raise self._late()
                seen = block.turns
        block.holders.append(me)
        block.turns += 1

    def _leave(self, block: Block[C]) -> None:
        block.holders.pop()
        if not block.holders:
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
            except BaseException:
                with suppress(KompanionError):
                    await self._over(block, give_up)
                raise
            await self._over(block, give_up)

    async def _over(self, block: Block[C], give_up: Callable[[], Awaitable[object]]) -> None:
        if block.lock.locked():
            await to_its_end(self._end(block, give_up, _me()))

    async def _end(self, block: Block[C], give_up: Callable[[], Awaitable[object]], me: Who) -> None:
        try:
            self._check_last(block, me)
            await self._take(block)
        except KompanionError:
            await give_up()
            raise
        block.open = False
        block.lock.release()

    async def _take(self, block: Block[C]) -> None:
        if not await in_time(block.lock, self.timeout, lambda: block.turns):
            raise self._late()
        block.turns += 1
