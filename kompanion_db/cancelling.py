"""What must not be lost when a task is cancelled: work that is under way, and what it has in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def for_a_future(work: Callable[[], T]) -> T:
    """Do on a thread what a future gets the result of: it can take no StopIteration, and would wait for ever.

    As out of a generator, that comes out as RuntimeError.
    """
    try:
        return work()
    except StopIteration as exc:
        raise RuntimeError("a callback raised StopIteration") from exc


async def to_its_end(
    work: Awaitable[T],
    undo: Callable[[T], Awaitable[object]] | None = None,
    stop: Callable[[], object] | None = None,
) -> T:
    """Wait for ``work`` to its end, also when the task is cancelled meanwhile.

    Then ``stop`` asks it to hurry, and ``undo`` is awaited with its result, which nobody gets to see.
    """
    future = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            cancelled = exc
            if stop is not None:
                stop()
    if cancelled is None:
        return future.result()
    if not future.cancelled() and future.exception() is None and undo is not None:
        await to_its_end(undo(future.result()))
    raise cancelled


async def in_time(turn: asyncio.Lock | asyncio.Semaphore, seconds: float, turns: Callable[[], int] = lambda: 0) -> bool:
    """Acquire a turn, unless it takes too long; whether it was. A task that is cancelled meanwhile does not have it.

    While the number of ``turns`` grows, the place in the queue is kept and the time begins anew.
    """
    waiting = asyncio.ensure_future(turn.acquire())
    try:
        seen = -1
        while not waiting.done() and turns() != seen:
            seen = turns()
            await asyncio.wait([waiting], timeout=seconds)
    except asyncio.CancelledError:
        if not waiting.cancel() and not waiting.cancelled():
            turn.release()
        raise
    return not waiting.cancel() and not waiting.cancelled()  # whoever cancels all tasks of a loop cancels this one too
