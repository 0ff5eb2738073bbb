"""What happens before a store opens: its file is found, made, brought up to date, or refused."""

from __future__ import annotations

import shlex
from contextlib import closing
from datetime import datetime

from ..errors import ConnectionFailed, NotInstalled
from ..migrate import migrate as run_migrations
from ..migrate import migration_ids, migrations_folder, refuse_newer
from ..sidecar.durable import exists, is_folder
from ..sidecar.transactions import one, reading
from ..yoyo_sqlite import applied as applied_on
from .database import open_connection
from .errors import translated
from .files import Place

_THEIRS_SQL = """
select exists (
    select 1 from sqlite_schema where name not like 'sqlite@_%' escape '@' and tbl_name not like '@_yoyo@_%' escape '@')
"""


def prepare(place: Place, migrate: bool | None) -> None:
    """See that the file has the schema of this package; it is made or upgraded unless ``migrate`` is False.

    A file with tables of somebody else is given ours only when ``migrate`` is True.
    Raises NotInstalled, ConnectionFailed, PermissionDenied, DamagedStore, BadArgument.
    """
    known = migration_ids(migrations_folder("sqlite"))
    if not is_folder(place.path.parent):
        raise ConnectionFailed(f"url: there is no folder {place.path.parent}", hint="Make the folder first.")
    applied, theirs = _look(place) if exists(place.path) else ({}, False)
    refuse_newer(applied, known)
    missing = [name for name in known if name not in applied]
    if not missing:
        return
    command = f"Run: kompanion-db migrate {shlex.quote(place.url)}"
    if migrate is False:
        raise NotInstalled(
            f"the schema in {place.path} is older than this package"
            if applied
            else f"there is no store at {place.path}",
            detail=f"Not applied: {', '.join(missing)}." if applied else None,
            hint=f"{command}, or connect without migrate=False.",
        )
    if theirs and migrate is None:
        raise NotInstalled(
            f"{place.path} is a SQLite file without kompanion_db in it",
            hint=f"{command} to add its tables to that file, or name another file.",
        )
    run_migrations(place.url)


def _look(place: Place) -> tuple[dict[str, datetime], bool]:
    """The migrations a file has, and whether, without any, it has tables of somebody else.

    Seen at one moment, as another process may be making the store. Before it commits, and for good when it is killed
    there, the file has a page and no table: that is nobody's, and the schema is made under the write lock.
    """
    with translated(), closing(open_connection(place, as_it_is=True)) as conn, reading(conn):
        applied = applied_on(conn)
        return applied, not applied and bool(one(conn, _THEIRS_SQL))
