"""One connection in one transaction, as the functions of this engine see it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import apsw

from ..blocks import check_whole
from ..errors import BadArgument
from ..requests import Row
from ..sidecar.failpoints import reached
from . import values
from .replaced import refuse_moved

_log = logging.getLogger("kompanion_db")

_ROWS = 100
"""Rows of a statement that inserts many; with 20 columns 2,000 values, of 32,766 it may have."""

if TYPE_CHECKING:
    from ..requests import Progress
    from ..sidecar.reader import VectorReader
    from .database import Database


class Session:
    """A connection of a store. ``now`` is the time of its transaction, the same for all that is asked in it.

    ``undone`` counts the transactions and parts of them that were, which SQLite's own counts of changes do not show.
    """

    def __init__(self, database: Database, conn: apsw.Connection) -> None:
        self.database = database
        self.conn = conn
        self.now = values.clock()
        self.progress: Progress | None = None
        self.given_up = False
        self.undone = 0
        self.vectors: VectorReader = database.folder.reader(self)

    def give_up(self) -> None:
        """Take it from those who will not let go of it: closed, which undoes all, and lent to nobody any more."""
        self.given_up = True
        while True:
            try:
                self.conn.close(force=True)
            except apsw.ThreadingViolationError:  # they are inside a statement, which is to end
                self.conn.interrupt()
                time.sleep(0.001)
            else:
                return

    def all(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a statement."""
        return self.conn.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a statement, None without any."""
        return self.conn.execute(sql, parameters).fetchone()

    def value(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """The first column of the first row, None without any."""
        row = self.conn.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Every row of a statement as a dict, by its column names."""
        cursor = self.conn.execute(sql, parameters)
        found = cursor.fetchone()
        if found is None:
            return []
        names = [column[0] for column in cursor.getdescription()]
        return [dict(zip(names, row, strict=True)) for row in (found, *cursor.fetchall())]

    def run(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Run a statement that gives no rows; how many rows it changed itself, triggers not counted."""
        self.conn.execute(sql, parameters)
        return self.conn.changes()

    def many(self, sql: str, parameters: Any) -> None:
        """Run a statement for each set of parameters."""
        self.conn.executemany(sql, parameters)

    def insert(self, head: str, row: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows by few statements. ``head`` is a statement up to its values, ``row`` the values of one row.

        Where triggers run, SQLite keeps the pages as they were before each statement: with one a row, that is half of
        the work.
        """
        whole = len(rows) - len(rows) % _ROWS
        for first in range(0, whole, _ROWS):
            self.conn.execute(
                f"{head} values {', '.join([row] * _ROWS)}", list(chain.from_iterable(rows[first : first + _ROWS]))
            )
        self.conn.executemany(f"{head} values {row}", rows[whole:])

    def setting(self, name: str) -> Any:
        """The value of a setting."""
        found = self.one("select json(value) from settings where name = ?", (name,))
        if found is None:
            raise BadArgument(
                f"name: there is no setting '{name}'", hint="See: select name, description from settings;"
            )
        return values.to_json(found[0])

    def notice(self, text: str) -> None:
        """Tell the caller how a long call goes; one who fails to listen does not end it."""
        if self.progress is not None:
            try:
                self.progress(text)
            except Exception:
                _log.exception("progress could not be told: %s", text)

    @contextmanager
    def told(self, progress: Progress | None) -> Iterator[None]:
        """Let ``progress`` hear the notices of the block."""
        before, self.progress = self.progress, progress
        try:
            yield
        finally:
            self.progress = before

    @contextmanager
    def transaction(self, write: bool) -> Iterator[None]:
        """A transaction, or a savepoint inside one: kept when the block ends, undone when it raises.

        Raises ConnectionFailed, KompanionError when the one around it is no more: nothing is to begin in its place;
        ConnectionFailed when the file was moved.
        """
        if self.database.current is self:
            self._check()
        if self.conn.in_transaction:
            self.conn.execute("savepoint call")
            try:
                yield
            except BaseException:
                self._undo("rollback to call; release call")
                raise
            self._check()
            self.conn.execute("release call")
            return
        self.conn.execute("begin immediate" if write else "begin")
        self.now = values.clock()
        try:
            refuse_moved(self.conn)
            yield
            self._check()
            if write:
                refuse_moved(self.conn)
            reached("commit.ready")
            self.conn.execute("commit")
            reached("commit.done")
        except BaseException:
            self._undo("rollback")
            raise

    def _check(self) -> None:
        self.database.check_process()
        check_whole(self.given_up, not self.given_up and not self.conn.in_transaction)

    def _undo(self, sql: str) -> None:
        self.undone += 1
        # Some errors of SQLite undo the whole transaction; so does giving it up. In a fork it is the parent's.
        if self.database.ours and not self.given_up and self.conn.in_transaction:
            self.conn.execute(sql)
