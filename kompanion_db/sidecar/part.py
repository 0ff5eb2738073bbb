"""Vectors that are searched together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import KompanionError
from ..forking import ProcessLock

if TYPE_CHECKING:
    from .ann import AnnFile

AGAIN = 2.0
"""Seconds after which an index that could not be opened is asked for again: a search is not to try each time."""

_opening = ProcessLock()


class Part:
    """Vectors of one model: ``ids`` int64 ascending (n,), ``vectors`` float32 (n, dim), ``norms`` float32 (n,).

    ``ann`` is an index over its rows, None without one; it is opened when it is first asked for, and later on where
    ``open_ann`` raises KompanionError. The part of a file stays the same object as long as the file counts.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        norms: NDArray[np.float32],
        ann: AnnFile | None = None,
        open_ann: Callable[[], AnnFile | None] | None = None,
    ) -> None:
        self.ids = ids
        self.vectors = vectors
        self.norms = norms
        self._ann = ann
        self._open_ann = open_ann
        self._not_before = 0.0

    @property
    def ann(self) -> AnnFile | None:
        """The index over the rows of this part."""
        if self._may_open():
            with _opening.held():
                if self._open_ann is not None and self._may_open():
                    try:
                        self._ann = self._open_ann()
                        self._open_ann = None
                    except KompanionError:
                        self._not_before = time.monotonic() + AGAIN
        return self._ann

    def _may_open(self) -> bool:
        return self._open_ann is not None and time.monotonic() >= self._not_before
