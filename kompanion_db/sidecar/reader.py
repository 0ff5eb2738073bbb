"""The vectors a transaction sees, in the log and in files together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedStore
from . import manifest
from .part import Part
from .tail import Rows
from .transactions import one

if TYPE_CHECKING:
    from ..sqlite.session import Session
    from .folder import VectorFolder

__all__ = ["Part", "VectorReader"]


@dataclass
class _View:
    """What one state of the database holds: the parts of its files by model, and the rows of its log."""

    generation: int
    files: dict[int, list[Part]]
    log: list[Rows]
    found: dict[int, list[Part]] = field(default_factory=dict)

    def parts(self, model_id: int) -> list[Part]:
        """All parts of a model, disjoint."""
        found = self.found.get(model_id)
        if found is None:
            found = list(self.files.get(model_id, ()))
            for rows in self.log:
                found += rows.parts(model_id)
            self.found[model_id] = found
        return found


class VectorReader:
    """The vectors as the transaction of a session sees them, its own uncommitted ones included.

    Each call looks whether anything was committed since the last, which takes microseconds when nothing was, and then
    reads only what is new. Raises DamagedStore when a file that counts is missing or cut short.
    """

    def __init__(self, session: Session, folder: VectorFolder) -> None:
        self._session = session
        self._folder = folder
        self._key: tuple[int, ...] = ()
        self._view = _View(-1, {}, [])

    def parts(self, model_id: int, dim: int) -> list[Part]:
        """The vectors of a model of dimension ``dim``, in parts that share no id."""
        parts = self._now().parts(model_id)
        if any(part.vectors.shape[1] != dim for part in parts):
            raise DamagedStore(
                f"{self._folder.place.path}: vectors of model {model_id} are not of dimension {dim}",
                hint="Run: kompanion-db doctor URL; then restore a backup.",
            )
        return parts

    def fetch(self, model_id: int, dim: int, vec_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these ids in their order: float32, shape (n, dim), bit for bit as written."""
        wanted = np.ascontiguousarray(vec_ids, dtype=np.int64)
        out = np.empty((len(wanted), dim), dtype=np.float32)
        missing = len(wanted)
        for part in self.parts(model_id, dim):
            if not missing:
                break
            at = np.searchsorted(part.ids, wanted)
            at[at == len(part.ids)] = 0
            found = np.flatnonzero(part.ids[at] == wanted)
            out[found] = part.vectors[at[found]]
            missing -= len(found)
        if missing:
            raise DamagedStore(
                f"{self._folder.place.path}: {missing} vectors of model {model_id} are in no file and not in the log",
                hint="Run: kompanion-db doctor URL; then restore a backup.",
            )
        return out

    @property
    def state(self) -> tuple[int, ...]:
        """Stands for the state of the database that was last looked at; empty for none that is of any more use."""
        return self._key

    def let_go(self, generation: int) -> None:
        """Forget what no later transaction sees: the files before ``generation``, and what one that wrote has seen."""
        if len(self._key) != 2 or self._view.generation < generation:
            self._key, self._view = (), _View(-1, {}, [])

    def _now(self) -> _View:
        session = self._session
        if not session.conn.in_transaction and session.conn.txn_state("main") == apsw.SQLITE_TXN_NONE:
            with session.transaction(write=False):
                return self._look()
        return self._look()

    def _look(self) -> _View:
        conn = self._session.conn
        key: tuple[int, ...] = one(conn, "pragma data_version"), conn.total_changes()
        writing = conn.txn_state("main") == apsw.SQLITE_TXN_WRITE
        if writing:
            # What a transaction that writes sees is nobody else's, and not its own any more once that is rolled back:
            # as a part of it, which the session counts, or by a program in SQL, which changes the generation.
            generation = one(conn, "select generation from vec_state")
            key = (*key, self._session.now, self._session.undone, generation)
        if key != self._key:
            self._view = self._refreshed(conn, writing)
            self._key = key
        return self._view

    def _refreshed(self, conn: apsw.Connection, writing: bool) -> _View:
        state: tuple[Any, ...] = conn.execute(
            "select generation, (select min(seq) from vec_log), (select max(seq) from vec_log) from vec_state"
        ).fetchall()[0]
        generation, low, high = state
        if not writing and len(self._key) == 2 and generation == self._view.generation:
            files = self._view.files
        else:
            files = {}
            entries = manifest.segments(conn)
            for entry in entries:
                files.setdefault(entry.model_id, []).append(self._folder.part(entry))
            if not writing:
                self._folder.only(generation, entries)
        log = [] if low is None else self._folder.tail.of(conn, generation, low, high, writing)
        return _View(generation, files, log)
