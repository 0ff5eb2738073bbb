"""What a store offers to whoever keeps it: its digest, and the care of its files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from . import arguments as check
from .digests import digest_of
from .errors import BadArgument
from .snapshots import Snapshot

if TYPE_CHECKING:
    from .types import Finding

_INSTEAD = {
    "checkpoint": "PostgreSQL does this by itself: autovacuum, and its own checkpoints.",
    "backup": "Use pg_dump or pg_basebackup; kompanion-db copy makes a SQLite store of it.",
    "doctor": "Use pg_amcheck for its files, and index_advice for vector indexes.",
}


def only_files(what: str) -> BadArgument:
    """The error for what only a store in a file of its own can do."""
    return BadArgument(f"{what}: is for stores in a SQLite file, this one is in PostgreSQL", hint=_INSTEAD[what])


def only_outside(what: str) -> BadArgument:
    """The error for what cannot be called in a block of a transaction."""
    return BadArgument(f"{what}: cannot run inside a transaction", hint="Call it after the transaction.")


class Keeping(ABC):
    """This part of :class:`kompanion_db.Store`."""

    @abstractmethod
    def _snapshot(self) -> AbstractContextManager[Snapshot]:
        """What the store holds at this moment, to be read as the documents of an export."""

    @abstractmethod
    def _check_outside(self, what: str) -> None:
        """Raises BadArgument inside a transaction, for what reads a snapshot.

        On a server that is on a connection of its own, to be of one moment; it would not see what the block has done.
        """

    def digest(self, scope: str = "*", *, progress: Callable[[int], None] | None = None) -> str:
        """The digest of all that a scope holds, the same on both engines; :mod:`kompanion_db.digests` says of what.

        ``progress`` is told the number of items read so far.
        Raises BadNamespace, BadArgument (also inside a transaction), DamagedStore.
        """
        check.callback("progress", progress)
        self._check_outside("digest")
        with self._snapshot() as found:
            return digest_of(found, check.text("scope", scope) or "", progress)

    def checkpoint(self, *, compact: bool = False) -> dict[str, int]:
        """Do now what a SQLite store does in the background: fold the log, merge files, index them, remove old ones.

        With ``compact`` the vectors of each model become one file without dead ones, and the database file shrinks.
        Counts: folded (vectors), merged, indexed, removed (files), and what is there now: segments, log (vectors).
        Raises BadArgument on a server or inside a transaction, ConnectionFailed, DamagedStore, StorageFull.
        """
        raise only_files("checkpoint")

    def backup(self, path: str | Path) -> dict[str, int]:
        """Copy a SQLite store, as it is at this moment, to the file ``path`` and the folder ``path.vec``.

        Counts: files, linked, bytes. Raises BadArgument on a server, inside a transaction, or when something is there
        already; ConnectionFailed, StorageFull, PermissionDenied, DamagedStore.
        """
        raise only_files("backup")

    def doctor(self, *, repair: bool = False) -> list[Finding]:
        """Examine a SQLite store: the database, every file against its checksum, every row for its vector.

        With ``repair`` what can be is set right. Worst first; nothing when all is well. Raises BadArgument on a server,
        and with ``repair`` inside a transaction.
        A store that does not open is examined by ``kompanion-db doctor``.
        """
        raise only_files("doctor")


class AsyncKeeping(ABC):
    """:class:`Keeping` for asyncio."""

    @abstractmethod
    async def digest(self, scope: str = "*", *, progress: Callable[[int], None] | None = None) -> str: ...

    async def checkpoint(self, *, compact: bool = False) -> dict[str, int]:
        raise only_files("checkpoint")

    async def backup(self, path: str | Path) -> dict[str, int]:
        raise only_files("backup")

    async def doctor(self, *, repair: bool = False) -> list[Finding]:
        raise only_files("doctor")

    # The same words, so that help() tells them for both.
    digest.__doc__ = Keeping.digest.__doc__
    checkpoint.__doc__ = Keeping.checkpoint.__doc__
    backup.__doc__ = Keeping.backup.__doc__
    doctor.__doc__ = Keeping.doctor.__doc__
