"""Install, upgrade and roll back the schema of either engine; say what is applied.

The SQL is in ``sql/migrations`` and ``sqlite/migrations``; yoyo-migrations runs it through
:mod:`kompanion_db.yoyo_postgres` and :mod:`kompanion_db.yoyo_sqlite`.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
from yoyo import exceptions as yoyo_exceptions
from yoyo import read_migrations
from yoyo.connections import DatabaseURI
from yoyo.migrations import default_migration_table

from . import arguments as check
from .errors import BadArgument, KompanionError, NotInstalled, PermissionDenied
from .forking import ProcessLock
from .pg_errors import translated
from .sqlite.errors import translated as sqlite_translated
from .sqlite.files import is_sqlite, place_of
from .urls import connection_args, display_url
from .yoyo_postgres import HISTORY_EXISTS_SQL, KompanionPostgresBackend
from .yoyo_sqlite import KompanionSqliteBackend, applied_in_file

__all__ = ["MigrationStatus", "migrate", "migrations_folder", "require_installed", "rollback", "status"]

logger = logging.getLogger("kompanion_db.migrate")

_APPLIED_SQL = "select migration_id, applied_at_utc from kompanion._yoyo_migration"
# yoyo keeps the migrations it has read in one registry per process; two threads must not mix theirs.
_registry_lock = ProcessLock()


@dataclass(frozen=True)
class MigrationStatus:
    """One migration: its id, whether this database has it, and since when (UTC, aware).

    ``in_package`` is False for one that the database has and this version of the package does not know.
    """

    id: str
    applied: bool
    applied_at: datetime | None
    in_package: bool = True


def migrations_folder(engine: str = "sql") -> Path:
    """The folder of the migrations of ``sql`` (PostgreSQL) or ``sqlite``: in the wheel, or beside the package.

    Raises NotInstalled when neither is there: the package itself is broken.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / f"_{engine}" / "migrations", package.parent / engine / "migrations"):
        if folder.is_dir():
            return folder
    raise NotInstalled("the package lacks its SQL files", hint="Install it again: pip install kompanion-db")


def migration_ids(folder: Path | None = None) -> tuple[str, ...]:
    """The ids of the migrations in ``folder`` (default: the package's), in the order they are applied."""
    files = (folder or migrations_folder()).glob("*.sql")
    return tuple(sorted(f.stem for f in files if not f.name.endswith(".rollback.sql")))


def migrate(
    url: str, target: str | None = None, lock_timeout: float = 60.0, *, folder: Path | None = None
) -> list[str]:
    """Apply what is missing, up to and with ``target`` (an id or its unique start); return the ids applied.

    Safe to call from many processes at once: one applies, the others wait up to ``lock_timeout``
    seconds and find nothing to do. Each migration is one transaction together with its record.

    Raises MigrationLocked, UnsupportedServer, PermissionDenied, ConnectionFailed, NotInstalled (the
    database is newer than this package), BadArgument (URL or target), KompanionError.
    """
    folder = folder or _folder_of(url)
    wanted = _up_to(migration_ids(folder), target)
    done: list[str] = []
    with _locked_backend(url, lock_timeout) as backend:
        applied = backend.applied()
        refuse_newer(applied, migration_ids(folder))
        pending = [name for name in wanted if name not in applied]
        for migration in _load(folder, pending):
            backend.apply_one(migration)
            done.append(migration.id)
            logger.info("applied %s", migration.id)
    return done


def rollback(
    url: str,
    count: int | None = None,
    to: str | None = None,
    lock_timeout: float = 60.0,
    *,
    folder: Path | None = None,
) -> list[str]:
    """Undo the last ``count`` migrations (1), or all after ``to`` (``"zero"``: all); return the ids undone.

    The data in the tables of an undone migration is dropped with them. Raises what :func:`migrate`
    raises, and KompanionError when a migration has no rollback file.
    """
    count = check.integer("count", count)
    if count is not None and (count < 0 or to is not None):
        raise BadArgument(f"count: {count} is negative" if count < 0 else "count: is given beside to", hint="Give one.")
    folder = folder or _folder_of(url)
    known = migration_ids(folder)
    kept = () if to in (None, "zero") else _up_to(known, to)
    done: list[str] = []
    with _locked_backend(url, lock_timeout) as backend:
        applied = backend.applied()
        refuse_newer(applied, known)
        undo = [name for name in reversed(known) if name in applied and name not in kept]
        if to is None:
            undo = undo[: 1 if count is None else count]
        for migration in _load(folder, undo):
            # yoyo would drop the record and leave the objects.
            if not Path(migration.path).with_suffix(".rollback.sql").exists():
                raise KompanionError(f"{migration.id} has no rollback file; nothing of it was undone")
            backend.rollback_one(migration)
            done.append(migration.id)
            logger.info("rolled back %s", migration.id)
    return done


def status(url: str, *, folder: Path | None = None) -> list[MigrationStatus]:
    """Every migration of the package, and those only the database knows; takes no lock.

    Needs CONNECT and, once installed, SELECT on ``kompanion._yoyo_migration``; before installation
    everything is unapplied. Raises ConnectionFailed, PermissionDenied, BadArgument.
    """
    known = migration_ids(folder or _folder_of(url))
    if is_sqlite(url):
        applied = applied_in_file(place_of(url))
    else:
        with translated(), psycopg.connect(autocommit=True, **_args(url)) as conn:
            applied = applied_in(conn)
    rows = [MigrationStatus(name, name in applied, applied.get(name)) for name in known]
    rows += [
        MigrationStatus(name, True, at, in_package=False) for name, at in sorted(applied.items()) if name not in known
    ]
    return rows


def require_installed(conn: psycopg.Connection[Any]) -> None:
    """Return when the schema in this database is the one this package was made for.

    Raises NotInstalled with the command to run when it is missing, older or newer, and
    PermissionDenied when the role may not read the history. Outside autocommit it leaves a
    transaction open, as any statement does.
    """
    with translated():
        row = conn.execute(HISTORY_EXISTS_SQL).fetchone()
        names: list[Any] | None = None
        if row and row[0]:
            names = [r[0] for r in _read_history(conn.execute)]
    _judge(names, conn.info)


async def require_installed_async(conn: psycopg.AsyncConnection[Any]) -> None:
    """:func:`require_installed` for an async connection; raises the same."""
    with translated():
        row = await (await conn.execute(HISTORY_EXISTS_SQL)).fetchone()
        names: list[Any] | None = None
        if row and row[0]:
            with _history_rights():
                names = [r[0] for r in await (await conn.execute(_APPLIED_SQL)).fetchall()]
    _judge(names, conn.info)


def _judge(names: Iterable[str] | None, info: psycopg.ConnectionInfo) -> None:
    known = migration_ids()
    applied = set(names) if names is not None else set()
    place = {"host": info.host, "port": str(info.port), "user": info.user, "dbname": info.dbname}
    command = f"Run: kompanion-db migrate {shlex.quote(display_url(place))}"
    missing = [name for name in known if name not in applied]
    if not applied:
        raise NotInstalled(f"kompanion_db is not installed in database {info.dbname}", hint=command)
    refuse_newer(applied, known)
    if missing:
        raise NotInstalled(
            f"the schema in database {info.dbname} is older than this package",
            detail=f"Not applied: {', '.join(missing)}.",
            hint=command,
        )


def refuse_newer(applied: Iterable[str], known: tuple[str, ...]) -> None:
    """Raise NotInstalled when a database has migrations that this package does not know."""
    unknown = sorted(set(applied) - set(known))
    if unknown:
        raise NotInstalled(
            "the schema in this database is newer than this package",
            detail=f"Applied, and unknown here: {', '.join(unknown)}.",
            hint="Upgrade the package: pip install --upgrade kompanion-db",
        )


def _up_to(known: tuple[str, ...], target: str | None) -> tuple[str, ...]:
    if target is None:
        return known
    found = [i for i, name in enumerate(known) if name == target]
    found = found or [i for i, name in enumerate(known) if name.startswith(target)]
    if len(found) != 1:
        raise BadArgument(
            f"target: {target!r} names {'no migration' if not found else 'more than one migration'}",
            hint=f"Known are: {', '.join(known)}.",
        )
    return known[: found[0] + 1]


def applied_in(conn: psycopg.Connection[Any]) -> dict[str, datetime]:
    """The migrations a database has, and since when (UTC)."""
    row = conn.execute(HISTORY_EXISTS_SQL).fetchone()
    if not row or not row[0]:
        return {}
    return {name: at.replace(tzinfo=timezone.utc) for name, at in _read_history(conn.execute)}


def _read_history(execute: Any) -> list[tuple[Any, Any]]:
    with _history_rights():
        rows: list[tuple[Any, Any]] = execute(_APPLIED_SQL).fetchall()
    return rows


@contextmanager
def _history_rights() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as exc:
        raise PermissionDenied(
            "this role may not read the history of migrations",
            detail=exc.diag.message_primary,
            hint="Grant it kompanion_reader, kompanion_writer or kompanion_admin.",
        ) from exc


def _load(folder: Path, ids: list[str]) -> list[Any]:
    """The yoyo migrations of these ids, in this order, read and split."""
    with _registry_lock.held():
        by_id = {m.id: m for m in read_migrations(str(folder))}
        migrations = [by_id[name] for name in ids]
        for migration in migrations:
            try:
                migration.load()
            except yoyo_exceptions.BadMigration as exc:
                raise KompanionError(f"bad migration: {exc}") from exc
    return migrations


def _args(url: str) -> dict[str, Any]:
    # In SQL_ASCII, which a database or PGCLIENTENCODING may ask for, the names of migrations would come as bytes.
    return {"fallback_application_name": "kompanion-db", **connection_args(url), "client_encoding": "utf8"}


def _folder_of(url: str) -> Path:
    return migrations_folder("sqlite" if is_sqlite(url) else "sql")


@contextmanager
def _locked_backend(url: str, lock_timeout: float) -> Iterator[KompanionPostgresBackend | KompanionSqliteBackend]:
    seconds = check.number("lock_timeout", lock_timeout)
    if seconds is None or seconds < 0:
        raise BadArgument(f"lock_timeout: {lock_timeout} is no time", hint="Give seconds from 0 on, such as 60.")
    if is_sqlite(url):
        file = DatabaseURI("kompanion+sqlite", None, None, None, None, str(place_of(url).path), {})
        with (
            sqlite_translated(),
            KompanionSqliteBackend(file, default_migration_table) as sqlite_backend,
            sqlite_backend.lock(lock_timeout),
        ):
            sqlite_backend.ensure_internal_schema_updated()
            yield sqlite_backend
        return
    args = _args(url)
    uri = DatabaseURI(
        scheme="kompanion+postgresql",
        username=args.pop("user", None),
        password=args.pop("password", None),
        hostname=args.pop("host", None),
        port=args.pop("port", None),
        database=args.pop("dbname", None),
        args=args,
    )
    with (
        translated(),
        KompanionPostgresBackend(uri, default_migration_table) as backend,
        backend.lock(lock_timeout),
    ):
        backend.ensure_internal_schema_updated()
        yield backend
