"""The turns of a bulk load: batches are merged side by side, and kept one after the other.

A merge is started before the one before it has ended, and its transaction stays open until its turn has come. So what
stands after a failure is what batch after batch would have left. A merge that is ready holds locks while it waits;
somebody the batch before it waits for may want them, and no server sees such a circle. It therefore waits only a
moment, rolls back, and is made again when it is its turn; so it is, too, when it fails before its turn.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import Any

from .errors import KompanionError
from .requests import Row

PATIENCE = 1.0
"""Seconds a merge that is ready keeps its locks while it is not its turn; as PostgreSQL's deadlock_timeout."""

BREATH = 0.00005
"""Seconds in which a thread that waits for the interpreter wakes up. Asked for it, Python gives it only every 5 ms."""


class _Turn:
    _decided: Any
    kept: bool
    staged: Any
    """Set when it was staged, or has failed: what the next one writes is younger."""
    conn: Any = None
    """The connection it was last made on."""
    since: datetime | None = None
    """When it was first staged, by the server's clock; what it writes is as old, though it be made again."""

    def stage(self, at: datetime) -> None:
        """It is being staged."""
        self.since = self.since or at
        self.staged.set()

    def keep(self) -> None:
        """It is this one's turn: it may commit."""
        self.kept = True
        self._decided.set()

    def abandon(self) -> None:
        """It is to be rolled back, unless it was kept already."""
        self._decided.set()


class Merging(_Turn):
    """A merge in the hands of a thread.

    Each has a thread of its own: of a number of them, loads whose iterators take their time could have all, and wait.
    """

    def __init__(self, before: Merging | None) -> None:
        self.kept = before is None
        self.staged = threading.Event()
        self._before_staged = None if before is None else before.staged
        self._decided = threading.Event()
        self.future: Future[list[Row]] = Future()

    def start(self, merge: Callable[[], list[Row]]) -> None:
        """Make the merge, once the one before it is staged. ``future`` has what it raises, or that no thread starts."""
        try:
            threading.Thread(target=self._run, args=(merge,), name="kompanion-merge").start()
        except RuntimeError as exc:
            self.staged.set()
            error = KompanionError(f"no thread for a batch: {exc}", hint="Raise the limit of processes and threads.")
            error.__cause__ = exc
            self.future.set_exception(error)

    def _run(self, merge: Callable[[], list[Row]]) -> None:
        if self._before_staged is not None:
            self._before_staged.wait()
        try:
            self.future.set_result(merge())
        except BaseException as exc:
            self.future.set_exception(exc)
        finally:
            self.staged.set()

    def done(self) -> bool:
        """Whether it was kept, or has failed."""
        return self.future.done()

    def come(self, patience: float | None = None) -> bool:
        """Wait for the turn; whether it came."""
        self._decided.wait(patience)
        return self.kept


class AsyncMerging(_Turn):
    """A merge in the hands of a task."""

    def __init__(self, before: AsyncMerging | None) -> None:
        self.kept = before is None
        self.staged = asyncio.Event()
        self._before_staged = None if before is None else before.staged
        self._decided = asyncio.Event()
        self.task: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()

    async def run(self, merge: Callable[[], Awaitable[list[Row]]]) -> list[Row]:
        """Make the merge, once the one before it is staged."""
        try:
            if self._before_staged is not None:
                await self._before_staged.wait()
            return await merge()
        finally:
            self.staged.set()

    def done(self) -> bool:
        """Whether it was kept, or has failed."""
        return self.task.done()

    def abandon(self) -> None:
        """It is to be rolled back, unless it was kept already."""
        super().abandon()
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody asks for it any more

    async def come(self, patience: float | None = None) -> bool:
        """Wait for the turn; whether it came."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._decided.wait(), patience)
        return self.kept
