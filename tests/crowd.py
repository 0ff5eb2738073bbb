"""Many at once: threads that start together, each with a store or a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import engines
import psycopg
import servers

import kompanion_db

C = TypeVar("C")
T = TypeVar("T")


def together(home: engines.Home, count: int, work: Callable[[kompanion_db.Store, int], T]) -> list[T]:
    """What each of ``count`` threads returned, by number; all have opened the store before any begins."""
    return _together(lambda: kompanion_db.connect(home.url, max_size=1), count, work)


def together_in_sql(db: servers.Database, count: int, work: Callable[[psycopg.Connection[Any], int], T]) -> list[T]:
    """``together`` with a connection of PostgreSQL each."""
    return _together(lambda: db.connect(prepare_threshold=1), count, work)


def _together(begin: Callable[[], AbstractContextManager[C]], count: int, work: Callable[[C, int], T]) -> list[T]:
    barrier = threading.Barrier(count)

    def one(number: int) -> T:
        with begin() as opened:
            barrier.wait()
            return work(opened, number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
