"""A store's file for other programs: a connection of apsw on which SQL can do what psql does."""

from __future__ import annotations

from pathlib import Path

import apsw

from ..errors import BadArgument
from .candidates import let_go
from .database import Database, open_as
from .errors import translated
from .files import Place, is_sqlite, place_of
from .opening import prepare
from .session import Session
from .surface import install_surface


class SqlConnection(apsw.Connection):
    """A connection with the SQL functions of :mod:`kompanion_db.sqlite.surface`. Made by ``open_sql``."""

    database: Database | None = None
    session: Session | None = None

    def close(self, force: bool = False) -> None:
        """Close it, and what its functions wrote with."""
        if self.database is not None:
            self.database.folder.close()
            self.database.close()
        super().close(force)
        if self.session is not None:
            let_go(self.session, self.session.database.folder.generation + 1)


def open_sql(path: str | Path) -> apsw.Connection:
    """Open the file of a store, named by path or URL, for SQL; close() ends it.

    Raises NotInstalled when it is not there or its schema is older than this package, DamagedStore, ConnectionFailed.
    """
    try:
        place = place_of(path) if isinstance(path, str) and is_sqlite(path) else Place(Path(path).expanduser())
    except RuntimeError:  # of ~somebody, who has no home here
        raise BadArgument(f"path: {str(path)!r} names no file", hint="Give the name of the file of a store.") from None
    prepare(place, migrate=False)
    database = Database(place, size=1)
    database.folder.open()
    with translated():
        conn = open_as(SqlConnection, place)
    conn.database = database
    conn.session = Session(database, conn)
    install_surface(conn.session)
    return conn
