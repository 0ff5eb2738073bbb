"""The folder of vector files of one store, as one process has it open."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

import apsw

from ..errors import ConnectionFailed, DamagedStore, KompanionError
from . import manifest
from .durable import make_folder, named_errors
from .maintenance import Changed, Maintenance, nobody
from .manifest import SegmentEntry
from .part import Part
from .reader import VectorReader
from .segment import damaged, mapped, read_layout, unreadable
from .tail import SharedTail
from .transactions import one, reading

if TYPE_CHECKING:
    from ..sqlite.files import Place
    from ..sqlite.session import Session
    from .ann import AnnFile

_log = logging.getLogger("kompanion_db")


class VectorFolder:
    """The vector files of a store, for any number of threads of one process: each is mapped once."""

    def __init__(self, place: Place, changed: Changed = nobody) -> None:
        self.place = place
        self.tail = SharedTail()
        self._lock = threading.Lock()
        self._parts: dict[str, Part] = {}
        self._generation = -1
        self._maintenance = Maintenance(place, changed)
        # A store that is dropped without close() is closed with what it leaves; its thread knows nothing of the store.
        weakref.finalize(self, self._maintenance.end).atexit = False
        self._pid = os.getpid()

    def open(self) -> None:
        """See that the files the database lists are there, in their size. Raises DamagedStore, PermissionDenied."""
        from ..sqlite.database import open_connection
        from ..sqlite.errors import translated

        with translated(), closing(open_connection(self.place)) as conn:
            entries = manifest.segments(conn)
        if not entries:
            with named_errors(self.place.folder):
                make_folder(self.place.folder)
        for entry in entries:
            path = self.place.folder / entry.file
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                error = self._missing(entry)
                if isinstance(error, ConnectionFailed):  # merged since the list was read: there is another one
                    self.open()
                    return
                raise error from None
            except OSError as exc:
                raise unreadable(path, exc) from exc
            if size != entry.bytes:
                raise damaged(path, f"has {size} bytes of {entry.bytes}")

    def reader(self, session: Session) -> VectorReader:
        """The vectors as the transactions of a session see them."""
        return VectorReader(session, self)

    def part(self, entry: SegmentEntry) -> Part:
        """The vectors of a listed segment, mapped. Raises DamagedStore, ConnectionFailed, PermissionDenied."""
        key = _key(entry)
        with self._lock:
            part = self._parts.get(key)
            if part is None:
                part = self._parts[key] = self._map(entry)
            return part

    @property
    def generation(self) -> int:
        """Of the latest state of the database that was seen."""
        return self._generation

    def only(self, generation: int, entries: Iterable[SegmentEntry]) -> None:
        """Keep only these of the files that are mapped, unless a later state of the database was seen already."""
        listed = {_key(entry) for entry in entries}
        with self._lock:
            if generation >= self._generation:
                self._generation = generation
                self._parts = {key: part for key, part in self._parts.items() if key in listed}

    def look(self, conn: apsw.Connection) -> None:
        """See by a connection outside of any transaction which files count now, and keep only those."""
        with reading(conn):
            self.only(one(conn, "select generation from vec_state"), manifest.segments(conn))

    def wrote(self) -> None:
        """Something was committed: fold when it is worth it, in the background."""
        self._maintenance.wake()

    def close(self) -> None:
        """End what runs in the background, and let go of the files. Much that is not folded yet is folded first."""
        if self._pid == os.getpid():
            self._maintenance.close()
            with self._lock:
                self._parts = {}

    def _map(self, entry: SegmentEntry) -> Part:
        path = self.place.folder / entry.file
        try:
            layout = read_layout(path)
            arrays = mapped(path, layout)
        except FileNotFoundError:
            raise self._missing(entry) from None
        except OSError as exc:
            raise unreadable(path, exc) from exc
        if (layout.model_id, layout.dim, layout.rows) != (entry.model_id, entry.dim, entry.rows):
            raise damaged(path, "is not the file the database lists under this name")
        return Part(*arrays, open_ann=(lambda: self._open_ann(entry)) if entry.ann else None)

    def _open_ann(self, entry: SegmentEntry) -> AnnFile | None:
        """The index of a segment; None, and exact search, when its file is damaged: it is made anew in time.

        Raises KompanionError where the file may be whole, as when no more can be opened: a later search asks again.
        """
        from .derive import open_listed

        try:
            return open_listed(self.place, entry)
        except KompanionError as exc:
            _log.warning("%s: searched without it", exc.message)
            self._maintenance.doubt(entry.segment_no)
            if isinstance(exc, DamagedStore):
                return None
            raise

    def _missing(self, entry: SegmentEntry) -> KompanionError:
        from ..sqlite.database import open_connection
        from ..sqlite.errors import translated

        path = self.place.folder / entry.file
        with translated(), closing(open_connection(self.place)) as conn:
            listed = conn.execute("select 1 from vec_segments where file = ?", (entry.file,)).fetchone()
        if listed is None:
            return ConnectionFailed(
                f"{path} was merged into another file, and removed, since this transaction began",
                hint="End the transaction and begin again.",
            )
        return DamagedStore(
            f"{path} is missing"
            if os.path.isdir(self.place.folder)
            else f"{self.place.folder} is missing, with {entry.file}",
            hint="A store is its file and its folder .vec: copy both with `kompanion-db backup`, or restore a backup.",
        )


def _key(entry: SegmentEntry) -> str:
    """Stands for a segment together with its index."""
    return f"{entry.file} {entry.ann.file if entry.ann else ''}"
