"""Pools that lend the connection that came back last, whose server process has all it needs at hand.

psycopg_pool lends the one that has waited longest, in turn: once a load had made four, a search of one thread took
a tenth longer. Those that are not needed now wait until the pool lets go of them. psycopg_pool has no option for it
(3.3); should a later version lend in another way, the order is its own, and tests/test_pools.py says so.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool


class _LastFirst:
    _pool: deque[Any]

    def _get_ready_connection(self, timeout: float | None) -> Any:
        """What psycopg_pool takes the first of its connections by, under its lock; those given back are at the end."""
        self._pool.rotate(1)
        return super()._get_ready_connection(timeout)  # type: ignore[misc]


class Pool(_LastFirst, ConnectionPool[psycopg.Connection[DictRow]]):
    """For threads."""


class AsyncPool(_LastFirst, AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]):
    """For tasks."""
