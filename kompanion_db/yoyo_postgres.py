"""The yoyo backend that makes a migration and its record one commit, under one lock.

yoyo 9 applies and records in two transactions and locks with a row that a killed process leaves
behind. Here everything happens on one connection: the lock is a session advisory lock, gone with
the connection, and the steps, the log line and the mark are one transaction. Losing the connection
therefore loses the lock and the unfinished migration together.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from psycopg.errors import Diagnostic
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend

from .errors import MigrationLocked

_log = logging.getLogger("kompanion_db.migrate")

SCHEMA = "kompanion"
LOCK_KEY = (1263488336, 1)
"""The two keys of the advisory lock ("KOMP" in ASCII, and 1 for migrations); per database."""

HISTORY_SQL = (
    "create table kompanion._yoyo_log (\n"
    '    id             varchar(36) collate "C" primary key,\n'
    "    migration_hash varchar(64),\n"
    "    migration_id   varchar(255),\n"
    "    operation      varchar(10),\n"
    "    username       varchar(255),\n"
    "    hostname       varchar(255),\n"
    "    comment        varchar(255),\n"
    "    created_at_utc timestamp\n"
    ")",
    "create table kompanion._yoyo_version (\n"
    "    version          integer not null primary key,\n"
    "    installed_at_utc timestamp\n"
    ")",
    "create table kompanion._yoyo_migration (\n"
    '    migration_hash varchar(64) collate "C" primary key,\n'
    "    migration_id   varchar(255),\n"
    "    applied_at_utc timestamp\n"
    ")",
    "comment on table kompanion._yoyo_log is\n"
    "    'Internal. Every migration applied or rolled back: when, and by which role.'",
    "comment on table kompanion._yoyo_version is\n    'Internal. The layout of the history tables (yoyo-migrations).'",
    "comment on table kompanion._yoyo_migration is\n"
    "    'Internal. The migrations applied now; the hash is the SHA-256 of the id.'",
    "insert into kompanion._yoyo_version (version, installed_at_utc)\nvalues (2, clock_timestamp() at time zone 'utc')",
)
"""yoyo's own tables at version 2 of its layout, made in one go; install.psql holds the same text."""

HISTORY_EXISTS_SQL = """
select exists (
    select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'kompanion' and c.relname = '_yoyo_migration')
"""

_NOTICE_KILL_SQL = """
do $$ begin
    perform pg_catalog.set_config('client_connection_check_interval', '1000', false);
exception when others then null;
end $$
"""

_SCHEMA_EXISTS_SQL = "select exists (select 1 from pg_catalog.pg_namespace where nspname = 'kompanion')"

_HOLDER_SQL = """
select l.pid, coalesce(nullif(a.application_name, ''), 'an unnamed program'),
       coalesce(a.usename::text, 'another role'),
       coalesce(to_char(a.backend_start at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS UTC'), 'an unknown time')
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s and l.objsubid = 2
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
"""


class KompanionPostgresBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's psycopg backend with a real lock, atomic records, and its history in schema kompanion.

    Methods raise psycopg errors as they come; ``lock`` raises MigrationLocked.
    """

    # Qualified, because a migration sets its own search_path inside the transaction that is recorded.
    migration_table_quoted = 'kompanion."_yoyo_migration"'
    log_table_quoted = 'kompanion."_yoyo_log"'
    version_table_quoted = 'kompanion."_yoyo_version"'

    _is_locked: bool = False
    _internal_schema_updated: bool = False

    def connect(self, dburi: Any) -> Any:
        """As the parent does, and let the server notice within a second that this process was killed.

        Without it a statement under way would run on to its end, and hold the lock until then. The
        block swallows the refusal of platforms that cannot do it. Warnings of migrations are logged.
        Names are looked up among the server's own: what others may create on the path would run as who migrates.
        """
        connection = super().connect(dburi)
        connection.add_notice_handler(_warn)
        connection.execute(_NOTICE_KILL_SQL)
        connection.execute("set standard_conforming_strings = on")
        connection.execute("set search_path = pg_catalog, pg_temp")
        return connection

    def init_database(self) -> None:
        """Nothing: no lock table, and no probe table to learn that PostgreSQL has transactional DDL."""

    def ensure_internal_schema_updated(self) -> None:
        """Create the schema and the history tables in it when they are missing."""
        if self._internal_schema_updated:
            return
        with self.lock():
            if not self._scalar(HISTORY_EXISTS_SQL):
                with self.transaction():
                    # "if not exists" alone would ask for CREATE on the database even when it exists.
                    if not self._scalar(_SCHEMA_EXISTS_SQL):
                        self.execute(f"create schema {SCHEMA}")
                    for statement in HISTORY_SQL:
                        self.execute(statement)
        self._internal_schema_updated = True

    @contextmanager
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Hold the migration lock of this database; MigrationLocked names the holder after ``timeout`` s.

        It asks again instead of waiting in the server: a waiting statement would hold a snapshot,
        and a holder that builds an index concurrently would wait for it.
        """
        if self._is_locked:
            yield
            return
        deadline = time.monotonic() + timeout
        while not self._scalar("select pg_catalog.pg_try_advisory_lock(%s, %s)", LOCK_KEY):
            if time.monotonic() >= deadline:
                raise self._locked(timeout)
            time.sleep(min(0.1, max(timeout, 0.01)))
        self._is_locked = True
        try:
            yield
        finally:
            self._is_locked = False
            if not self.connection.closed and not self.connection.broken:
                self._scalar("select pg_catalog.pg_advisory_unlock(%s, %s)", LOCK_KEY)

    def break_lock(self) -> None:
        """Nothing: the lock ends with its holder's connection; pg_terminate_backend ends that."""

    def apply_one(self, migration: Any, force: bool = False, mark: bool = True) -> None:
        """Apply the steps, log and mark, in one transaction."""
        self._run(migration, "apply", force, mark)

    def rollback_one(self, migration: Any, force: bool = False) -> None:
        """Run the rollback steps, log and unmark, in one transaction."""
        self._run(migration, "rollback", force, True)

    def _run(self, migration: Any, direction: str, force: bool, mark: bool) -> None:
        self.ensure_internal_schema_updated()
        migration.load()
        if not migration.use_transactions:
            # Such a file (CREATE INDEX CONCURRENTLY) cannot be atomic; yoyo runs it beside the lock.
            if direction == "apply":
                super().apply_one(migration, force=force, mark=mark)
            else:
                super().rollback_one(migration, force=force)
            return
        with self.transaction():
            migration.process_steps(self, direction, force=force)
            self.log_migration(migration, direction)
            if direction == "rollback":
                self.unmark_one(migration, log=False)
            elif mark:
                self.mark_one(migration, log=False)

    def applied(self) -> dict[str, datetime]:
        """The migrations this database has, and since when."""
        from .migrate import applied_in

        return applied_in(self.connection)

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        """The log line: the database role and the time, and nothing about the machine or the login."""
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": self.connection.info.user,
            "hostname": None,
            "created_at_utc": datetime.now(timezone.utc).replace(tzinfo=None),
            "operation": operation,
        }

    def _scalar(self, sql: str, params: tuple[Any, ...] | None = None) -> Any:
        row = self.connection.execute(sql, params).fetchone()
        return row[0]

    def _locked(self, timeout: float) -> MigrationLocked:
        holder = self.connection.execute(_HOLDER_SQL, LOCK_KEY).fetchone()
        detail = hint = None
        if holder is not None:
            detail = f"Held by pid {holder[0]} ({holder[1]}, role {holder[2]}), connected since {holder[3]}."
            hint = f"Wait for it, or end it: select pg_terminate_backend({holder[0]});"
        return MigrationLocked(
            f"another process is migrating this database and did not finish within {timeout:g} s",
            detail=detail,
            hint=hint,
        )


def _warn(notice: Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        _log.warning("%s", ". ".join(part for part in (notice.message_primary, notice.message_hint) if part))
