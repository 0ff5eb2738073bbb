"""The SQLite engine: the functions of sql/ mirrored on one file, with its vectors in files beside it.

``functions/`` holds one function for each public SQL function, with its name, arguments and result columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

__all__ = ["open_sql"]


def open_sql(path: str | Path) -> apsw.Connection:
    """Open the file of a store, by path or URL, as a connection of apsw on which SQL can do what psql does.

    ``select * from functions()`` lists what there is to call. ``close()`` ends it.
    Raises NotInstalled when there is no store or its schema is older than this package, DamagedStore, ConnectionFailed.
    """
    from .sql_connection import open_sql as opened  # FAISS takes a while to load: only for those who use it

    return opened(path)
