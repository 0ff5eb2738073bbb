"""Files that were open in the process this one was forked from.

SQLite accounts for the locks of a file once a process. A forked child has a copy of that account, of locks it does not
hold (https://www.sqlite.org/howtocorrupt.html, section 2.6): the last commit of the parent, or its end, could take the
log away under the child, and with it what the child has written.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import apsw

from ..errors import ConnectionFailed

Identity = tuple[int, int]

_opened: WeakKeyDictionary[apsw.Connection, Identity] = WeakKeyDictionary()
_inherited: set[Identity] = set()


def refuse_inherited(path: Path) -> None:
    """Raises ConnectionFailed when the file was open at the fork that made this process."""
    with suppress(OSError):
        if identity(path) in _inherited:
            raise ConnectionFailed(
                f"url: {path} was open in the process that this one was forked from",
                hint="Fork before you connect, or start processes by spawn: multiprocessing.get_context('spawn').",
            )


def opened(conn: apsw.Connection, path: Path) -> None:
    """Remember that a connection has the file open, until it is closed."""
    with suppress(OSError):
        _opened[conn] = identity(path)


def identity(path: Path) -> Identity:
    """What tells one file from another that is put in its place. Raises OSError."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _after_fork() -> None:
    for conn, identity in _opened.items():
        try:
            conn.filename  # noqa: B018 - asked only whether it is closed
        except apsw.ConnectionClosedError:
            continue
        except apsw.Error:  # it is in use
            pass
        _inherited.add(identity)
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
