"""A database that was put in the place of another: whose log is still there, or while somebody has the other open.

SQLite knows the log of a file by its name alone, and would write into this one what was meant for the other
(https://www.sqlite.org/howtocorrupt.html, section 1.4): a backup that is put back after a crash would be damaged by the
first who opens it. And who has the other open goes on to write into a file that is gone, while the vectors of this one
are files that his database does not know: strays, to be removed.
"""

from __future__ import annotations

import ctypes
from contextlib import closing, suppress
from pathlib import Path

import apsw

from ..errors import ConnectionFailed, DamagedStore
from ..sidecar.durable import stat_of

LOG = "-wal"
"""The end of the name of a log, after that of its database."""

_VERSION_AT = 18  # of who may write; 2 in a database that has a log


def refuse_log_of_another(path: Path) -> None:
    """Raises DamagedStore when the log beside a database is not its own, as far as the database tells.

    One that has never had a log, as backups are made, says so, and has said otherwise before its log is begun.
    """
    log = path.with_name(path.name + LOG)
    if _filled(log) and _never_logged(path) and _filled(log):
        raise DamagedStore(
            f"{log} is the log of another database, in whose place {path.name} was put",
            hint=f"Remove it, and {path.name}-shm, while nobody has the store open; then open it again.",
        )


def refuse_moved(conn: apsw.Connection) -> None:
    """Raises ConnectionFailed when the file that a connection has open is no longer that of its name. Takes 3 us."""
    moved = ctypes.c_int()
    conn.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(moved))
    if moved.value:
        raise replaced(Path(conn.filename))


def replaced(path: Path) -> ConnectionFailed:
    """The error for a file that is not the one that was opened."""
    return ConnectionFailed(
        f"{path} was moved, removed or replaced since the store was opened",
        hint="Close the store, then connect(url) to what is there now. Before a backup is put back: close all.",
    )


def _filled(log: Path) -> bool:
    there = stat_of(log)
    return there is not None and there.st_size > 0


def _never_logged(path: Path) -> bool:
    # Through SQLite's own layer: to open and close the file past it would drop the locks this process has on it.
    with (
        suppress(apsw.Error),
        closing(_Raw("", str(path), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])) as raw,
    ):
        return raw.xRead(2, _VERSION_AT) == b"\x01\x01"
    return False


class _Raw(apsw.VFSFile):
    """A file as it is."""

    def close(self) -> None:
        self.xClose()
