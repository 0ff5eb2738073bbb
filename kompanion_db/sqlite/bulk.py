"""The turn of a bulk merge on an engine with one writer: it is made when it is asked for, so always in order."""

from __future__ import annotations

from collections.abc import Callable

from ..requests import Merge, Row


class Turn:
    """A merge that runs at its turn."""

    def __init__(self, merge: Merge, run: Callable[[Merge], list[Row]]) -> None:
        self._merge = merge
        self._run = run

    def keep(self) -> None:
        """It runs at ``rows`` and is kept there."""

    def abandon(self) -> None:
        """Nothing of it has begun."""

    def done(self) -> bool:
        """Nothing is gained by waiting with it."""
        return True

    def rows(self) -> list[Row]:
        """Run it; the number of items by status."""
        return self._run(self._merge)
