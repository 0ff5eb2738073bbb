"""The yoyo backend for SQLite through apsw: everything under the write lock, in one transaction.

yoyo's own opens the file with the SQLite of the standard library, a second one in the process: the two do not see each
other's locks, and rows were lost. Here one transaction holds the lock and all that is applied in it, with its records:
a killed process leaves nothing half-done and blocks nobody.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import apsw
from yoyo.backends.base import DatabaseBackend

from .errors import MigrationLocked
from .sidecar.durable import exists
from .sqlite.database import open_connection
from .sqlite.errors import translated
from .sqlite.files import Place

_LONGEST = 2**31 - 1
"""Milliseconds that SQLite can be told to wait: 24 days."""

paramstyle = "named"  # this module is the driver that yoyo looks for
DatabaseError = apsw.Error

HISTORY_SQL = (
    "create table _yoyo_log (\n"
    "    id             text not null primary key,\n"
    "    migration_hash text,\n"
    "    migration_id   text,\n"
    "    operation      text,\n"
    "    username       text,\n"
    "    hostname       text,\n"
    "    comment        text,\n"
    "    created_at_utc text\n"
    ") strict",
    "create table _yoyo_version (\n"
    "    version          integer not null primary key,\n"
    "    installed_at_utc text\n"
    ") strict",
    "create table _yoyo_migration (\n"
    "    migration_hash text not null primary key,\n"
    "    migration_id   text,\n"
    "    applied_at_utc text\n"
    ") strict",
    "insert into _yoyo_version (version, installed_at_utc) values (2, strftime('%Y-%m-%dT%H:%M:%S', 'now'))",
)
"""yoyo's own tables at version 2 of its layout."""


class _Cursor:
    """The part of a DB-API cursor that yoyo uses."""

    def __init__(self, conn: apsw.Connection) -> None:
        self._conn = conn
        self._rows: list[Any] = []
        self.description: list[Any] | None = None

    def execute(self, sql: str, parameters: Any = None) -> _Cursor:
        bound = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in (parameters or {}).items()
        }
        cursor = self._conn.execute(sql, bound)
        # Taken at once: apsw forgets the description with the last row.
        first = cursor.fetchone()
        self.description = None if first is None else list(cursor.getdescription())
        self._rows = [] if first is None else [first, *cursor.fetchall()]
        return self

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> None:
        self._rows = []


class _Connection:
    """The part of a DB-API connection that yoyo uses."""

    def __init__(self, conn: apsw.Connection) -> None:
        self.apsw = conn

    def cursor(self) -> _Cursor:
        return _Cursor(self.apsw)

    def commit(self) -> None:
        if self.apsw.in_transaction:
            self.apsw.execute("commit")

    def rollback(self) -> None:
        if self.apsw.in_transaction:
            self.apsw.execute("rollback")

    def close(self) -> None:
        self.apsw.close()


class KompanionSqliteBackend(DatabaseBackend):  # type: ignore[misc]
    """yoyo's backend on apsw. Methods raise apsw errors as they come; ``lock`` raises MigrationLocked."""

    driver_module = "kompanion_db.yoyo_sqlite"
    list_tables_sql = "select name from sqlite_schema where type = 'table'"
    migration_table_quoted = '"_yoyo_migration"'
    log_table_quoted = '"_yoyo_log"'
    version_table_quoted = '"_yoyo_version"'

    def connect(self, dburi: Any) -> _Connection:
        """Open the file, which is made when it is not there."""
        return _Connection(open_connection(Place(Path(dburi.database)), create=True))

    def init_database(self) -> None:
        """Nothing: no lock table, and no probe table."""

    def ensure_internal_schema_updated(self) -> None:
        """Create the history tables when they are missing."""
        with self.lock():
            if "_yoyo_migration" not in self.list_tables():
                for statement in HISTORY_SQL:
                    self.execute(statement)

    def begin(self) -> None:
        """Begin as a writer: to become one later may fail."""
        self._in_transaction = True
        self.connection.apsw.execute("begin immediate")

    @contextmanager
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Hold the write lock, and keep what is done when the block ends, all of it or nothing."""
        if self._in_transaction:
            yield
            return
        self.connection.apsw.set_busy_timeout(min(int(timeout * 1000), _LONGEST))
        try:
            self.begin()
        except apsw.BusyError as exc:
            self._in_transaction = False
            raise MigrationLocked(
                f"another process is writing to this database and did not finish within {timeout:g} s",
                hint="Wait for it, or end it.",
            ) from exc
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def break_lock(self) -> None:
        """Nothing: the lock ends with its holder."""

    def apply_one(self, migration: Any, force: bool = False, mark: bool = True) -> None:
        """Apply the steps, log and mark, in one transaction."""
        self._run(migration, "apply", force, mark)

    def rollback_one(self, migration: Any, force: bool = False) -> None:
        """Run the rollback steps, log and unmark, in one transaction."""
        self._run(migration, "rollback", force, True)

    def _run(self, migration: Any, direction: str, force: bool, mark: bool) -> None:
        with self.lock():
            self.ensure_internal_schema_updated()
            migration.load()
            migration.process_steps(self, direction, force=force)
            self.log_migration(migration, direction)
            if direction == "rollback":
                self.unmark_one(migration, log=False)
            elif mark:
                self.mark_one(migration, log=False)

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        """The log line: the time, and nothing about the machine or the login."""
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": None,
            "hostname": None,
            "created_at_utc": datetime.now(timezone.utc).replace(tzinfo=None),
            "operation": operation,
        }

    def applied(self) -> dict[str, datetime]:
        """The migrations this file has, and since when."""
        return applied(self.connection.apsw)


def applied(conn: apsw.Connection) -> dict[str, datetime]:
    """The migrations a file has, and since when (UTC)."""
    if not conn.execute("select 1 from sqlite_schema where name = '_yoyo_migration'").fetchone():
        return {}
    rows = conn.execute("select migration_id, applied_at_utc from _yoyo_migration").fetchall()
    return {str(name): datetime.fromisoformat(str(at)).replace(tzinfo=timezone.utc) for name, at in rows}


def applied_in_file(place: Place) -> dict[str, datetime]:
    """The migrations of the file of a store, none when it is not there."""
    if not exists(place.path):
        return {}
    with translated(), closing(open_connection(place, as_it_is=True)) as conn:
        return applied(conn)
