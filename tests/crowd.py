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


def start_line(count: int) -> threading.Barrier:
    """Where ``count`` threads wait for each other; whoever waits for one that is gone fails instead of waiting for ever."""
    return threading.Barrier(count, timeout=60)


def together(
    home: engines.Home,
    count: int,
    work: Callable[[kompanion_db.Store, int], T],
    start: threading.Barrier | None = None,
) -> list[T]:
    """What each of ``count`` threads returned, by number; all have opened the store before any begins.

    ``start`` is theirs to meet at again while they work. When one of them fails, nobody waits there any more.
    """
    return _together(lambda: kompanion_db.connect(home.url, max_size=1), count, work, start or start_line(count))


def together_in_sql(db: servers.Database, count: int, work: Callable[[psycopg.Connection[Any], int], T]) -> list[T]:
    """``together`` with a connection of PostgreSQL each."""
    return _together(lambda: db.connect(prepare_threshold=1), count, work, start_line(count))


def _together(
    begin: Callable[[], AbstractContextManager[C]],
    count: int,
    work: Callable[[C, int], T],
    start: threading.Barrier,
) -> list[T]:
    def one(number: int) -> T:
        try:
            with begin() as opened:
                start.wait()
                return work(opened, number)
        except BaseException:
            start.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        ends = [pool.submit(one, number) for number in range(count)]
    for end in sorted(ends, key=lambda end: isinstance(end.exception(), threading.BrokenBarrierError)):
        end.result()  # what failed comes before the waiting that it broke
    return [end.result() for end in ends]
