"""A client and a server that take turns are kept on one core: to wake the other is more than some of what is compared."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg


@contextmanager
def on_one_core(*urls: str) -> Iterator[bool]:
    """Keep this thread, and the connections that these databases have now, on one core, where the system lets; whether it does.

    A client that asks and a server that answers take turns. Left to itself the system has them on one core or on two, as it
    happens for each connection, and to wake the other core takes up to 0.1 ms: more than some of what is compared.
    """
    backends = [pid for url in urls for pid in _backends(url)]
    pinned = bool(backends) and hasattr(os, "sched_setaffinity")
    before: dict[int, set[int]] = {}
    try:
        for pid in [0, *backends] if pinned else []:
            before[pid] = os.sched_getaffinity(pid)
            os.sched_setaffinity(pid, {min(before[0])})
    except OSError as exc:
        print(f"client and server are left on the cores they are on: {exc}", file=sys.stderr)
        pinned = False
        _put_back(before)  # or some of them would be on one core, and the rest not
    try:
        yield pinned
    finally:
        _put_back(before)


def _backends(url: str) -> list[int]:
    """Processes of the server, as far as it is on this machine, that serve connections to a database."""
    with psycopg.connect(url) as conn:
        found = conn.execute(
            "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            " and backend_type = 'client backend' and inet_server_addr() is null"  # by a socket: on this machine
        ).fetchall()
    return [pid for (pid,) in found]


def _put_back(cores: dict[int, set[int]]) -> None:
    """Processes to the cores they were on, but for those that are over."""
    for pid, some in cores.items():
        with suppress(OSError):
            os.sched_setaffinity(pid, some)
