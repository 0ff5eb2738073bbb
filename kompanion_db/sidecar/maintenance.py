"""The thread that keeps the files of a store in the background: folds, merges, indexes, removes."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import apsw

from ..errors import KompanionError
from .collect import collectable
from .derive import beside_others
from .durable import alone
from .fold import due, pending
from .rounds import Rounds
from .transactions import keeper, one

if TYPE_CHECKING:
    from ..sqlite.files import Place

_log = logging.getLogger("kompanion_db")

PAUSE = 0.1
"""Seconds between two looks: however many commits there are, the thread looks ten times a second."""

QUIET = 2.0
"""Seconds without a commit after which indexes are made; while much is written, segments are soon merged again."""

LATE_ROWS = 200_000
"""Vectors without an index from which it is made even while much is written, for segments of a tenth and more."""

TIDY = 300.0
"""Seconds between two looks for dead vectors and files that count no longer; and at segments that were spared."""

PATIENCE = 5.0
"""Seconds to wait after a failure."""

DOOR = 0.005
"""Seconds a writer of this process holds back after its commit when the thread waits for its turn.

SQLite queues nobody, so a thread that writes without a break would keep it out for long.
"""

BUSY_LOOKS = 30_000
"""How often the thread looks whether it may write, each a thousandth of a second, before it begins anew."""

CLOSING_ROWS = 2_000
"""Vectors in the log that are worth folding when the store is closed: the next to open it has less to read."""


Changed = Callable[[], Callable[[apsw.Connection], object] | None]
"""A weak reference to whoever is told, by a connection, that other files may count now."""


def nobody() -> None:
    """There is nobody to be told."""


class Signal:
    """A threading.Event for one who waits, which the garbage collector may set amid whatever a thread is at.

    The Event itself has a lock, and that thread may hold it.
    """

    def __init__(self) -> None:
        self._flag = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def set(self) -> None:
        """Set it, and wake who waits."""
        self._flag = True
        with suppress(RuntimeError):  # it is open
            self._gate.release()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._flag

    def clear(self) -> None:
        """Set it no longer."""
        self._flag = False
        self._gate.acquire(blocking=False)

    def wait(self, seconds: float | None) -> bool:
        """Wait until it is set, for so long; whether it is."""
        if not self._flag:
            self._gate.acquire(timeout=-1 if seconds is None else seconds)
        return self._flag


class Maintenance:
    """Begins with the first write; one for each open store. Another process may be at it instead: one at a time is."""

    def __init__(self, place: Place, changed: Changed = nobody) -> None:
        self._place = place
        self._changed = changed
        self._lock = threading.Lock()
        self._woken = Signal()
        self._ending = Signal()
        self._thread: threading.Thread | None = None
        self._doubted: set[int] = set()
        self._spared: set[int] = set()
        self._lacking = False
        self._generation = -1
        self._tidied = time.monotonic()
        self._knocked = 0.0
        self._at_exit = partial(_close, weakref.ref(self))

    def wake(self) -> None:
        """Something was committed."""
        if time.monotonic() < self._knocked:
            time.sleep(DOOR)
        if self._woken.is_set():
            return
        self._woken.set()
        if self._thread is None:
            self._start()

    def doubt(self, segment_no: int) -> None:
        """The index of a segment cannot be used: look at it, and make it anew."""
        self._doubted.add(segment_no)
        self.wake()

    def close(self) -> None:
        """End the thread after its current step; much that is not folded is folded, and what may go is removed.

        Closing twice does nothing.
        """
        with self._lock:
            self.end()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def end(self) -> None:
        """As ``close``, without waiting: what is left to do when nobody has the store any more."""
        self._ending.set()
        self._woken.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._ending.is_set():
                return
            thread = threading.Thread(target=self._run, name="kompanion_db files", daemon=True)
            # A daemon cut off inside FAISS could abort the interpreter as it ends.
            atexit.register(self._at_exit)
            try:
                thread.start()
            except RuntimeError as exc:  # what was committed stands, and the next commit may find room for a thread
                atexit.unregister(self._at_exit)
                self._woken.clear()
                _log.warning("the vector files of %s: %s", self._place.path, exc)
                return
            self._thread = thread

    def _run(self) -> None:
        try:
            self._work()
        finally:
            atexit.unregister(self._at_exit)

    def _work(self) -> None:
        beside_others.set(True)
        while not self._ending.is_set():
            try:
                with keeper(self._place) as conn:
                    conn.set_busy_handler(self._knock)
                    self._serve(conn)
                    self._finish(conn)
            except (KompanionError, apsw.Error) as exc:
                _log.warning("the vector files of %s: %s", self._place.path, exc)
                self._ending.wait(PATIENCE)
            except Exception:  # nobody else would hear of it, and the log must not grow for ever
                _log.exception("the vector files of %s", self._place.path)
                self._ending.wait(PATIENCE)

    def _serve(self, conn: apsw.Connection) -> None:
        patience: float | None = 0
        while True:
            quiet = not self._woken.wait(patience)
            self._woken.clear()
            if self._ending.is_set():
                return
            tidy = time.monotonic() - self._tidied > TIDY
            if tidy:
                self._tidied = time.monotonic()
                self._spared.clear()
            patience = self._round(conn, quiet, tidy)
            self._ending.wait(PAUSE)

    def _round(self, conn: apsw.Connection, quiet: bool, tidy: bool) -> float | None:
        """One look and what it takes; how long to wait for the next one when nothing is written, None for ever."""
        changed = self._generation != _generation(conn)
        if not (due(conn) or changed or tidy or self._doubted or (quiet and self._lacking)):
            return self._patience(conn)
        with alone(self._place.folder, 0) as mine:
            if not mine:
                return PATIENCE
            work = Rounds(conn, self._place.folder, self._ending.is_set, self._spared)
            if tidy:
                work.collect()  # first, as it makes room
            work.fold()
            work.merge()
            if tidy:
                work.compact()
            doubted = frozenset(self._doubted)
            if quiet:
                work.settle()
            lacking = work.lacking(doubted)
            late = sum(e.rows for e in lacking) >= LATE_ROWS
            if doubted or (lacking and quiet) or late:
                work.derive(doubted, 0 if quiet else LATE_ROWS // 10)
                self._doubted -= doubted
                lacking = work.lacking()
            self._lacking = bool(lacking) or (not quiet and work.unsettled())
            self._generation = _generation(conn)
        self._tell(conn)
        for exc in work.trouble:
            _log.warning("the vector files of %s: %s", self._place.path, exc)
        return self._patience(conn)

    def _tell(self, conn: apsw.Connection) -> None:
        told = self._changed()
        if told is not None:
            told(conn)

    def _patience(self, conn: apsw.Connection) -> float | None:
        """How long to wait when nothing is written.

        What is damaged or gone is looked at again, but not for ever. Files that were replaced are removed when they may
        be, though the process only reads from then on: with them a store takes twice its room.
        """
        if self._lacking:
            return QUIET
        return TIDY if self._spared or one(conn, "select exists (select 1 from vec_retired)") else None

    def _knock(self, times: int) -> bool:
        """Somebody else writes: let those of this process know, and try again."""
        self._knocked = time.monotonic() + 2 * DOOR
        time.sleep(DOOR / 5)
        return times < BUSY_LOOKS

    def _finish(self, conn: apsw.Connection) -> None:
        """Also what a process that lives for seconds leaves to do; nobody is waited for."""
        folder = self._place.folder
        many = pending(conn) > CLOSING_ROWS and one(conn, "select count(*) from vec_log") > CLOSING_ROWS
        if not many and not (os.path.isdir(folder) and collectable(conn, folder)):
            return
        with alone(folder, 0) as mine:
            if not mine:
                return
            work = Rounds(conn, folder)
            if many:
                work.fold(everything=True)
            conn.set_busy_timeout(0)
            with suppress(apsw.BusyError):  # a stray file may be that of a writer who is at it
                work.collect()


def _generation(conn: apsw.Connection) -> int:
    return int(one(conn, "select generation from vec_state"))


def _close(reference: weakref.ref[Maintenance]) -> None:
    maintenance = reference()
    if maintenance is not None:
        maintenance.close()
