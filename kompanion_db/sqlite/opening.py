"""What happens before a store opens: its file is found, made, brought up to date, or refused."""

from __future__ import annotations

import shlex

from ..errors import ConnectionFailed, NotInstalled
from ..migrate import migrate as run_migrations
from ..migrate import migration_ids, migrations_folder, refuse_newer
from ..yoyo_sqlite import applied_in_file
from .files import Place


def prepare(place: Place, migrate: bool | None) -> None:
    """See that the file has the schema of this package; it is made or upgraded unless ``migrate`` is False.

    A file with tables of somebody else is given ours only when ``migrate`` is True.
    Raises NotInstalled, ConnectionFailed, PermissionDenied, DamagedStore.
    """
    known = migration_ids(migrations_folder("sqlite"))
    there = place.path.exists() and place.path.stat().st_size > 0
    if not place.path.parent.is_dir():
        raise ConnectionFailed(f"url: there is no folder {place.path.parent}", hint="Make the folder first.")
    applied = applied_in_file(place) if there else {}
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
    if there and not applied and migrate is None:
        raise NotInstalled(
            f"{place.path} is a SQLite file without kompanion_db in it",
            hint=f"{command} to add its tables to that file, or name another file.",
        )
    run_migrations(place.url)
