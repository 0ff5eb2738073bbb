"""SQLite's errors as the classes of :mod:`kompanion_db.errors`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from ..errors import (
    BY_SQLSTATE,
    BadArgument,
    ConnectionFailed,
    DamagedStore,
    KompanionError,
    PermissionDenied,
    StorageFull,
    TooLarge,
)
from ..sidecar.durable import NO_MEMORY

# Triggers raise "KM007 what is wrong"; functions add what to do.
_OURS = re.compile(r"(KM\d{3}) (.+?)(?: Hint: (.+))?$", re.DOTALL)

# Readers too keep the index of the log beside the file.
_NOT_WRITABLE = (
    "Make the file and its folder writable; to read, the folder is enough. Or read a copy in another folder, "
    "of the file and of all beside it whose name begins as its does."
)

_READS_THE_PAST = "Somebody has written since this transaction began to read: roll back, then begin immediate."

_CLASSES: tuple[tuple[type[apsw.Error], type[KompanionError], str], ...] = (
    (apsw.BusyError, ConnectionFailed, "Another process has been writing for long: look what it does, then try again."),
    (apsw.LockedError, ConnectionFailed, "Another connection has been writing for long; try again."),
    (apsw.ConnectionClosedError, ConnectionFailed, "Its transaction was given up, or the store closed; begin again."),
    (apsw.CursorClosedError, ConnectionFailed, "Its transaction was given up; begin again."),
    (apsw.InterruptError, ConnectionFailed, "Its transaction was given up; begin again."),
    (apsw.FullError, StorageFull, "Make room on the disk, then write again."),
    (apsw.ReadOnlyError, PermissionDenied, _NOT_WRITABLE),
    (apsw.PermissionsError, PermissionDenied, "Make the file and its folder readable and writable."),
    (apsw.CantOpenError, ConnectionFailed, "See whether the folder is there, and may be read and written."),
    (apsw.CorruptError, DamagedStore, "Run: kompanion-db doctor URL; then restore a backup."),
    (apsw.NotADBError, DamagedStore, "Name a database that kompanion_db made, or a file that is not there yet."),
    (apsw.NoMemError, ConnectionFailed, NO_MEMORY),
    (apsw.IOError, ConnectionFailed, "See the system's log for errors of the disk; and ulimit -f, the longest file."),
    (apsw.TooBigError, TooLarge, "SQLite holds values of up to a gigabyte."),
    (apsw.ConstraintError, BadArgument, "See sqlite/schema.sql for the rule that was broken."),
)


def translate(exc: apsw.Error) -> KompanionError:
    """The KompanionError that ``exc`` stands for; raises nothing."""
    message = str(exc)
    if message == "not an error":  # of a copy of SQLite's, which has a code alone
        code = getattr(exc, "extendedresult", 0)
        message = str(apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code))
    ours = _OURS.search(message)
    if ours is not None and ours[1] in BY_SQLSTATE:
        return BY_SQLSTATE[ours[1]](ours[2], hint=ours[3])
    # A server's 40001, which has no class of its own either. In this transaction no later try will do.
    if getattr(exc, "extendedresult", None) == apsw.SQLITE_BUSY_SNAPSHOT:
        return KompanionError(f"SQLite: {message}", hint=_READS_THE_PAST)
    for theirs, cls, hint in _CLASSES:
        if isinstance(exc, theirs):
            return cls(f"SQLite: {message}", hint=hint)
    return KompanionError(f"SQLite: {message}")


@contextmanager
def translated() -> Iterator[None]:
    """Let errors of apsw out of the block as KompanionError, chained to the original."""
    try:
        yield
    except apsw.Error as exc:
        raise translate(exc) from exc
