"""What a store must do to take part in bench.embedded."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import apsw

from kompanion_db.sqlite.database import BULK_CACHE_KB, CACHE_KB, MAPPED_BYTES

from .cases import Ask
from .data import Dataset, Floats

BATCH = 5000


class Peer:
    """A store in a folder. ``rounds``: how often its load is measured; ``most``: rows up to which it takes part.

    ``by_metadata``: a namespace and a metadata value are found in different ways, so that it is asked in both.
    """

    package = ""
    rounds = 3
    most = 10**9
    by_metadata = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def version(cls) -> str | None:
        """The version of what it is made of; None where that is not installed."""
        try:
            return importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        """Write all rows."""

    def prepare(self) -> None:
        """What an operator does after a load, which is not counted."""

    def open(self) -> None:
        """Make it ready to be asked."""

    def ask(self, query: Floats, where: Ask) -> list[int]:
        """The rows nearest to a query, in a namespace unless that is '*'; none where it only takes part in the load."""
        return []

    def ask_metadata(self, query: Floats, where: Ask) -> list[int]:
        """As ask, the namespace being a metadata value; for those of ``by_metadata``."""
        return self.ask(query, where)

    def close(self) -> None:
        """Let go of it."""


def as_ours(conn: apsw.Connection, loads: bool = False) -> None:
    """Set a connection to SQLite as those of ours are: with its own cache of 2 MB another store is slower than it need be.

    One at a time: of several in one statement those after the first that returns a row would not be run.
    """
    cache = BULK_CACHE_KB if loads else CACHE_KB
    settings = {"foreign_keys": "on", "journal_mode": "wal", "synchronous": "full", "cache_size": -cache}
    for name, value in (settings | {"mmap_size": MAPPED_BYTES}).items():
        conn.pragma(name, value)


def blocks(data: Dataset) -> Iterator[range]:
    """The rows in batches."""
    return (range(first, min(first + BATCH, len(data.vectors))) for first in range(0, len(data.vectors), BATCH))
