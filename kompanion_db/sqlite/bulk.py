"""The turn of a bulk merge on an engine with one writer: it is kept as soon as it is made, so always in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from ..requests import Row


class Turn:
    """A merge that was made at once: the block it is in may be over when its rows are asked for."""

    def __init__(self, merge: Callable[[], list[Row]]) -> None:
        self._made: Future[list[Row]] = Future()
        try:
            self._made.set_result(merge())
        except Exception as exc:
            self._made.set_exception(exc)  # told where its rows are asked for, as of one that is under way

    def keep(self) -> None:
        """It is kept, or has failed."""

    def abandon(self) -> None:
        """It is kept, or has failed."""

    def done(self) -> bool:
        """Nothing is gained by waiting with it."""
        return True

    def rows(self) -> list[Row]:
        """The number of items by status."""
        return self._made.result()
