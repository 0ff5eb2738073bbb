"""After a fork: a child has copies of its parent's connections, and the server would hear what it says on them.

A copy in a child leads nowhere, so that neither the end of a block, nor an exit, nor a farewell of libpq is heard. It
also has copies of locks whose holders it has not.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import psycopg

from .errors import ConnectionFailed

_connections: WeakSet[psycopg.BaseConnection[Any]] = WeakSet()
_locks: WeakSet[ProcessLock] = WeakSet()


class ProcessLock:
    """A lock of the threads of one process. A forked child gets it free: who held it at the fork is not there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it, and wait for it before."""
        with self._lock:
            yield

    def renew(self) -> None:
        """Take another in its place, which nobody holds."""
        self._lock = threading.Lock()


def cut_off_by_fork(conn: psycopg.BaseConnection[Any]) -> None:
    """Let the copy of a connection that a forked child gets lead nowhere."""
    _connections.add(conn)


def check_process(opener: int) -> None:
    """A connection is of use in the process alone that opened it. Raises ConnectionFailed after a fork."""
    if opener != os.getpid():
        raise ConnectionFailed("the store was opened in another process", hint="connect(url) after the fork.")


class Origin:
    """The process and the event loop that a store of tasks was opened in. No other can wait for its connections."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()

    @property
    def of_this_process(self) -> bool:
        """False in a forked child."""
        return self._pid == os.getpid()

    def check(self) -> None:
        """Raises ConnectionFailed after a fork, and in another loop: what wakes its tasks wakes none of this one."""
        check_process(self._pid)
        if self._loop is not asyncio.get_running_loop():
            raise ConnectionFailed(
                "the store was opened in another event loop",
                hint="connect_async(url) in each loop, or connect(url) for a store that threads may share.",
            )


def _after_fork() -> None:
    for lock in _locks:
        lock.renew()
    nowhere, other = socket.socketpair()
    other.close()
    for conn in _connections:
        with suppress(psycopg.Error):  # it was closed already
            os.dup2(nowhere.fileno(), conn.fileno(), inheritable=False)
    nowhere.close()
    _connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
