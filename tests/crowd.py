"""Many at once: threads that start together, each with a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import servers

T = TypeVar("T")


def together(db: servers.Database, count: int, work: Callable[[psycopg.Connection[Any], int], T]) -> list[T]:
    """What each of ``count`` threads returned, by number; all are connected before any begins."""
    barrier = threading.Barrier(count)

    def one(number: int) -> T:
        with db.connect(prepare_threshold=1) as conn:
            barrier.wait()
            return work(conn, number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
