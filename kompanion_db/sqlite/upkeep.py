"""What an operator does with the files of a store: checkpoint, backup, doctor."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from .. import arguments as check
from ..errors import BadArgument, ConnectionFailed
from ..keeping import only_outside
from ..sidecar.backup import copy_store
from ..sidecar.doctor import examine
from ..sidecar.rounds import Rounds, rounds
from ..sidecar.transactions import one
from ..types import Finding
from .errors import translated
from .files import Place, place_of

if TYPE_CHECKING:
    from .database import Database

__all__ = ["Finding", "backup", "checkpoint", "doctor"]

LOCK_SECONDS = 120.0
"""How long to wait for another process that works on the files."""


def checkpoint(database: Database, *, compact: bool = False) -> dict[str, int]:
    """Do now what otherwise happens in the background: fold the log, merge files, index them, remove old ones.

    With ``compact`` the vectors of each model become one file without any that no row has, and the database file gives
    back what room it can. Counts: folded (vectors), merged, indexed, removed (files), and what is there now: segments,
    log (vectors that were written meanwhile).
    Raises BadArgument inside a transaction, ConnectionFailed while another process is at it, DamagedStore, StorageFull,
    PermissionDenied; what could be done is done then.
    """
    check.flag("compact", compact)
    outside(database, "checkpoint")
    with translated(), rounds(database.place, LOCK_SECONDS) as found:
        work = _alone(database.place, found)
        done = {
            "folded": work.fold(everything=True),
            "merged": work.merge() + work.compact(whole=compact) + work.settle(),
            "indexed": work.derive(),
            "removed": work.collect(),
            "segments": len(work.entries()),
            "log": one(work.conn, "select count(*) from vec_log"),
        }
        if compact:
            # It makes a second database first, which is not to be in memory.
            work.conn.execute("pragma temp_store = file; vacuum")
        work.conn.set_busy_timeout(1000)
        with suppress(apsw.BusyError):  # somebody reads what is in the WAL; the next one does it
            work.conn.execute("pragma wal_checkpoint(truncate)")
        database.files_changed(work.conn)
        if work.trouble:
            raise work.trouble[0]
    return done


def backup(database: Database, path: str | Path) -> dict[str, int]:
    """Copy a store, as it is at this moment, to ``path`` and the folder ``path.vec``, while others go on with it.

    Files of vectors never change, so they are linked where the file system can, and copied elsewhere. The database
    comes to its name last: when it is there the copy is whole. Counts: files, linked, bytes.
    Raises BadArgument when something is there already, ConnectionFailed, StorageFull, PermissionDenied, DamagedStore.
    """
    outside(database, "backup")
    target = _named(path)
    with translated(), rounds(database.place, LOCK_SECONDS) as found:
        return copy_store(_alone(database.place, found).conn, database.place, Place(target))


def doctor(store: str | Place, repair: bool = False) -> list[Finding]:
    """Examine a store, named by URL or place: the database, every file against its checksum, every row for its vector.

    It need not open for that. With ``repair`` what can be is set right: derived files, strays. All is well: no finding.
    Raises NotInstalled when there is no store, BadArgument.
    """
    place = place_of(store) if isinstance(store, str) else store
    return examine(place, repair)


def _named(path: str | Path) -> Path:
    try:
        if isinstance(path, (str, Path)) and b"\0" not in os.fsencode(path) and str(path):
            return Path(path).expanduser()
    except (UnicodeEncodeError, RuntimeError):  # no home to expand
        pass
    raise BadArgument(f"path: {path!r} names no file", hint="Give the name of a file that is not there yet.")


def outside(database: Database, what: str) -> None:
    """Raises BadArgument inside a transaction, ConnectionFailed when the store is closed."""
    database.check_open()
    if database.in_transaction:
        raise only_outside(what)


def _alone(place: Place, work: Rounds | None) -> Rounds:
    if work is None:
        raise ConnectionFailed(
            f"{place.folder}: another process has worked on the files for {LOCK_SECONDS:g} s", hint="Try again later."
        )
    return work
