"""For the tests of transactions: those that are undone, and those that tasks and threads share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, cast

import kompanion_db
from kompanion_db import AsyncStore


class Undone(Exception):
    """What a block raises that is to be undone."""


def started(work: Callable[[], object]) -> threading.Thread:
    """A thread that works in a copy of the caller's context, as those of asyncio.to_thread do."""
    thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
    thread.start()
    return thread


def hurry(store: kompanion_db.Store | AsyncStore, seconds: float = 0.5) -> None:
    """Let a store wait only so long for turns; for the connections of its pool it may still take its time."""
    found = cast(Any, store)
    for holder in (getattr(found, "database", found), getattr(found, "turns", found)):
        if hasattr(holder, "_blocks"):
            holder._blocks.timeout = seconds
