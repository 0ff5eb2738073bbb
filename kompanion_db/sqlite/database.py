"""The connections of one store to its file: opened as needed, lent out, kept for the next call."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import apsw

from ..around import around
from ..blocks import Block, Blocks
from ..errors import BadArgument, ConnectionFailed, NotInstalled
from ..forking import check_process
from ..sidecar.durable import exists, is_folder, named_errors
from ..sidecar.folder import VectorFolder
from .candidates import let_go
from .errors import translated
from .files import Place
from .inherited import Identity, identity, opened, refuse_inherited
from .replaced import refuse_log_of_another, replaced
from .session import Session
from .surface import install_surface

BUSY_SECONDS = 120
"""How long a writer waits for the writers before it. SQLite queues nobody: under load the unlucky one waits long."""

CACHE_KB = 16384
"""Pages that a connection keeps in memory, KiB; the system has them too."""

BULK_CACHE_KB = 65536
"""Of one that has written many items at once: where those of the indexes do not fit, each row reads some again."""

MAPPED_BYTES = 1 << 30
"""Of the file, from its start: read where the system has it, neither copied nor counted as memory of the process."""

PAGE_SIZE = 8192
"""Bytes. A vector of 384 floats leaves a quarter of a page of 4096 empty."""


C = TypeVar("C", bound=apsw.Connection)


def open_connection(place: Place, *, create: bool = False, as_it_is: bool = False) -> apsw.Connection:
    """A connection with the settings every connection of ours has. Raises errors of apsw, and KompanionError for a file
    that must not be opened: of another process, or beside the log of another database.

    ``as_it_is``: only to look, as the file may be somebody else's. Not read-only: what a crash left of a transaction
    could not be undone then, and a reader's empty log would stay.
    """
    return open_as(apsw.Connection, place, create=create, as_it_is=as_it_is)


def open_as(kind: type[C], place: Place, *, create: bool = False, as_it_is: bool = False) -> C:
    """``open_connection`` for a class of connections."""
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    if is_folder(place.path):
        raise BadArgument(f"url: {place.path} is a folder", hint="Name a file in it, such as notes.db.")
    exists(place.path.with_name(f"{place.path.name}-journal"))  # the longest name that SQLite makes of it: may it be?
    refuse_inherited(place.path)
    refuse_log_of_another(place.path)
    conn = kind(str(place.path), flags=flags)
    opened(conn, place.path)
    try:
        conn.set_busy_timeout(BUSY_SECONDS * 1000)
        if create:
            conn.execute(f"pragma page_size = {PAGE_SIZE}")
        conn.execute("pragma foreign_keys = on; pragma recursive_triggers = on; pragma temp_store = memory")
        if not as_it_is:
            conn.execute("pragma journal_mode = wal")
        conn.execute(f"pragma synchronous = {place.synchronous}; pragma cache_size = -{CACHE_KB}")
        conn.execute(f"pragma mmap_size = {MAPPED_BYTES}")
    except BaseException:
        conn.close()
        raise
    return conn


class Database:
    """The file of a store and its connections, for any number of threads of one process.

    ``session`` lends a connection in a transaction. Inside ``bound`` all sessions of the same context (thread or task)
    are the one of the block.
    """

    def __init__(self, place: Place, size: int = 4, timeout: float = 30.0) -> None:
        self.place = place
        self.folder = VectorFolder(place, weakref.WeakMethod(self.files_changed))
        self._timeout = timeout
        self._free: list[Session] = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(size)
        self._size = size
        self._pid = os.getpid()
        self._closed = False
        self._file: Identity | None = None
        self._blocks: Blocks[Session] = Blocks("kompanion_sqlite_transaction", timeout)

    @property
    def in_transaction(self) -> bool:
        """Whether the caller is inside ``bound``."""
        return self._blocks.innermost is not None

    @property
    def current(self) -> Session | None:
        """The session the caller's context is bound to."""
        block = self._blocks.innermost
        return None if block is None else block.conn

    def bind(self, session: Session) -> AbstractContextManager[Block[Session]]:
        """As ``bound``, for a session that is in a transaction already and whose users take turns elsewhere."""
        return self._blocks.entered(session)

    @property
    def ours(self) -> bool:
        """Whether this process is the one that opened the store, not a fork of it."""
        return self._pid == os.getpid()

    def check_process(self) -> None:
        """Raises ConnectionFailed after a fork."""
        check_process(self._pid)

    def check_open(self) -> None:
        """Raises ConnectionFailed when it is closed, and after a fork."""
        if self._closed:
            raise ConnectionFailed("the store is closed", hint="connect(url) again.")
        self.check_process()

    def take(self, beside: bool = False) -> Session:
        """A connection for the caller alone, to be given back. Raises ConnectionFailed, NotInstalled.

        ``beside``: for one who has a connection in use already. To wait for a second place may be to wait for oneself.
        """
        self.check_open()
        if not beside and not self._places.acquire(timeout=self._timeout):
            raise ConnectionFailed(f"no connection in {self._timeout:g} s", hint="Raise max_size.")
        try:
            with self._lock:
                if self._free:
                    return self._free.pop()
            with translated():
                if not exists(self.place.path):
                    raise NotInstalled(f"{self.place.path} is gone", hint="connect(url) again.")
                session = Session(self, self._open())
            install_surface(session)
            return session
        except BaseException:
            if not beside:
                self._places.release()
            raise

    def _open(self) -> apsw.Connection:
        """A connection to the very file that the first one has open."""
        conn = open_connection(self.place)
        with named_errors(self.place.path):
            found = identity(self.place.path)
        self._file = self._file or found
        if self._file != found:
            conn.close()
            raise replaced(self.place.path)
        return conn

    def give_back(self, session: Session, beside: bool = False) -> None:
        """Give a connection back for the next; one that is still in a transaction is closed, which undoes it."""
        session.progress = None
        with self._lock:
            # After a fork, the other process is still at it.
            unfit = self._closed or session.given_up or session.conn.in_transaction or len(self._free) >= self._size
            keep = not (self.ours and unfit)
            if keep:
                self._free.append(session)
                self._let_go()
        try:
            if not keep:
                self._end(session)
        finally:
            if not beside:
                self._places.release()

    @contextmanager
    def lent(self, beside: bool = False) -> Iterator[Session]:
        """A connection outside of any transaction, or the one this context is bound to; ``beside`` as in ``take``."""
        self.check_process()
        with self._blocks.turn() as block:
            if block is not None:
                yield block.conn
                return
            session = self.take(beside)
            try:
                yield session
            finally:
                self.give_back(session, beside)

    @contextmanager
    def session(self, write: bool, beside: bool = False) -> Iterator[Session]:
        """A connection in a transaction of its own, or in a savepoint of the transaction this context is bound to."""
        with self.lent(beside) as session, translated(), session.transaction(write):
            yield session

    @contextmanager
    def bound(self) -> Iterator[None]:
        """One transaction for all calls of this context; nests as savepoints."""
        with (
            self.lent() as session,
            around(session.transaction(write=True), translated),
            self._blocks.inside(session, session.give_up),
        ):
            yield

    def files_changed(self, conn: apsw.Connection) -> None:
        """Other files may count now, as ``conn`` sees: what is mapped of those that do not is let go of."""
        self.folder.look(conn)
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        for session in self._free:
            let_go(session, self.folder.generation)

    def close(self) -> None:
        """Close the connections that are free, and each other one when it is given back."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        if self.ours:
            for session in free:
                self._end(session)

    def _end(self, session: Session) -> None:
        session.conn.close()
        let_go(session, self.folder.generation + 1)
