"""What a store must do to take part in bench.embedded."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from .cases import Ask
from .data import Dataset, Floats

BATCH = 5000


class Peer:
    """A store in a folder. ``rounds``: how often its load is measured; ``most``: rows up to which it takes part."""

    package = ""
    rounds = 3
    most = 10**9

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

    def close(self) -> None:
        """Let go of it."""


def blocks(data: Dataset) -> Iterator[range]:
    """The rows in batches."""
    return (range(first, min(first + BATCH, len(data.vectors))) for first in range(0, len(data.vectors), BATCH))
