"""Vectors that are searched together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..forking import ProcessLock

if TYPE_CHECKING:
    from .ann import AnnFile

_opening = ProcessLock()


class Part:
    """Vectors of one model: ``ids`` int64 ascending (n,), ``vectors`` float32 (n, dim), ``norms`` float32 (n,).

    ``ann`` is an index over its rows, None without one; it is opened when it is first asked for. The part of a file
    stays the same object as long as the file counts.
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

    @property
    def ann(self) -> AnnFile | None:
        """The index over the rows of this part."""
        if self._open_ann is not None:
            with _opening.held():
                if self._open_ann is not None:
                    self._ann = self._open_ann()
                    self._open_ann = None
        return self._ann
