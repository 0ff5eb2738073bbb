"""The vector index of a large segment: inverted lists of short codes. It proposes rows; the vectors say what is near.

IVF with product quantization, four bits a code, scanned in registers (FAISS: IVFPQFastScan), its centroids in half
precision where that tells them apart. All metrics are searched as Euclidean distance, which keeps the lists balanced:
cosine on vectors of length one, the inner product with one more coordinate that brings every vector to the same length.
"""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedStore
from .kernels import faiss, threads

if TYPE_CHECKING:
    from .part import Part

CODES_BYTES = 50 << 20
"""Memory for the codes of an index, as far as finer ones are not worth more: they are held, not mapped."""

_TRAIN_BYTES = 150 << 20
_TRAIN_PER_LIST = 64
_MOVED = 0.01  # of the way from a centroid to the next
_BLOCK = 16384


class Allowed:
    """The rows of a segment that a search may find: a bitmap of them, and one of the lists that hold any."""

    def __init__(self, rows: NDArray[np.int64], total: int, list_of_row: NDArray[np.int32], lists: int) -> None:
        flags = np.zeros(total, dtype=bool)
        flags[rows] = True
        held = np.zeros(lists, dtype=bool)
        held[list_of_row[rows]] = True
        self.lists = int(np.count_nonzero(held))
        # FAISS keeps pointers into these, not references to them.
        self._bits = np.packbits(flags, bitorder="little"), np.packbits(held, bitorder="little")
        self.rows = faiss.IDSelectorBitmap(total, faiss.swig_ptr(self._bits[0]))
        self._lists = faiss.IDSelectorBitmap(lists, faiss.swig_ptr(self._bits[1]))
        self.coarse = faiss.SearchParameters(sel=self._lists)


class AnnFile:
    """An index over the rows (0 to n - 1) of a segment. Safe for several threads at once."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.rows = int(index.ntotal)
        self.lists = int(index.nlist)
        self._width = int(index.d)
        self._list_of_row: NDArray[np.int32] | None = None
        self._free: dict[int, Any] = {}

    @property
    def depth(self) -> int:
        """How many rows to look at for the ten nearest: the coarser the codes, the more.

        As measured: with a code for two elements 200 find all that lists have, with one for four 800 nearly all.
        """
        return 50 * int(self._index.pq.dsub) ** 2

    @property
    def default_probes(self) -> int:
        """Lists to look into before anything was measured; on the safe side."""
        return min(self.lists, math.ceil(2.8 * math.sqrt(self.lists)))

    def allow(self, rows: NDArray[np.int64]) -> Allowed:
        """Restrict searches to these rows, shape (n,)."""
        if self._list_of_row is None:
            self._list_of_row = self._read_lists()
        return Allowed(rows, self.rows, self._list_of_row, self.lists)

    def nearest(
        self, query: NDArray[np.float32], n: int, probes: int, allowed: Allowed | None = None
    ) -> NDArray[np.int64]:
        """About the ``n`` rows nearest to ``query``, shape (dim,) float32, of length one under cosine: shape (<= n,).

        ``probes``: into how many lists it looks, of those that hold an allowed row. In no order to rely on.
        """
        n = min(n, self.rows)
        asked = np.zeros(self._width, dtype=np.float32)
        asked[: len(query)] = query
        if allowed is None:
            parameters = self._free.get(probes)
            if parameters is None:
                parameters = self._free[probes] = faiss.SearchParametersIVF(nprobe=min(probes, self.lists))
        elif allowed.lists == 0:
            return np.empty(0, dtype=np.int64)
        else:
            parameters = faiss.SearchParametersIVF(
                nprobe=min(probes, allowed.lists), sel=allowed.rows, quantizer_params=allowed.coarse
            )
        far, found = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.int64)
        with threads(1):
            self._index.search_c(1, faiss.swig_ptr(asked), n, faiss.swig_ptr(far), faiss.swig_ptr(found), parameters)
        return found[found >= 0]

    def _read_lists(self) -> NDArray[np.int32]:
        found = np.empty(self.rows, dtype=np.int32)
        inverted = faiss.downcast_InvertedLists(self._index.invlists)
        for number in range(self.lists):
            size = inverted.list_size(number)
            if size:
                found[faiss.rev_swig_ptr(inverted.get_ids(number), size)] = number
        return found


def build_ann(
    part: Part, metric: str, path: Path, lists: int | None = None, cores: int | None = None
) -> dict[str, Any]:
    """Write the index of a segment to ``path``; what it was made with. Holds a sample and codes, never all vectors.

    On ``cores`` processors, by default all. Raises OSError.
    """
    rows, dim = part.vectors.shape
    radius = float(part.norms.max(initial=0)) if metric == "inner_product" else 0.0
    lists = max(1, min(lists or default_lists(rows), rows // 4))
    plain = dim + (metric == "inner_product")
    step = next((s for s in (2, 4) if rows * plain / s / 2 <= CODES_BYTES), 8)
    width = -(-plain // (2 * step)) * 2 * step  # an even number of codes of `step` elements
    flat = faiss.IndexFlatL2(width)
    index = faiss.IndexIVFPQFastScan(flat, width, lists, width // step, 4, faiss.METRIC_L2)
    index.by_residual = False  # one table for all lists: looking into many of them costs less
    index.cp.niter, index.pq.cp.niter, index.cp.seed = 10, 8, 1  # with 25, as by default, codes are no better
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # few rows: no word on standard error

    sample = min(rows, max(_TRAIN_PER_LIST * lists, 4096), max(lists, _TRAIN_BYTES // (4 * width)))
    chosen = np.sort(np.random.default_rng(1).choice(rows, sample, replace=False))
    with threads(cores or os.cpu_count() or 1):
        trained = np.empty((sample, width), dtype=np.float32)
        for start in range(0, sample, _BLOCK):  # in pieces: the sample is most of what a merge holds in memory
            rows_of_block = chosen[start : start + _BLOCK]
            trained[start : start + len(rows_of_block)] = _prepared(part, rows_of_block, metric, radius, width)
        index.train(trained)
        del trained
        for start in range(0, rows, _BLOCK):
            index.add(_prepared(part, slice(start, start + _BLOCK), metric, radius, width))
        halves = _in_halves(flat)
    if halves is not None:
        index.quantizer = halves  # which keeps no reference to it
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as exc:
        raise _of_disk(exc) from exc
    return {"rows": rows, "lists": lists, "codes": width // step, "sample": sample}


def _in_halves(flat: Any) -> Any | None:
    """Centroids in half precision: a search reads every one, and half the bytes take half the time.

    None where that would move one by a hundredth of the way to the next: numbers above 65504 are infinite in it, tiny
    ones are 0, and what lies far from the origin falls together.
    """
    halves = faiss.IndexScalarQuantizer(flat.d, faiss.ScalarQuantizer.QT_fp16)
    whole = flat.reconstruct_n(0, flat.ntotal)
    halves.add(whole)
    moved = np.linalg.norm(halves.reconstruct_n(0, flat.ntotal).astype(np.float64) - whole, axis=1)
    squares, _ = flat.search(whole, 2)  # itself, and the next
    apart = np.sqrt(np.maximum(squares[:, -1], 0, dtype=np.float64))
    return halves if moved.max() <= _MOVED * np.median(apart) else None


def _of_disk(exc: RuntimeError) -> OSError:
    """What the disk said, which FAISS tells in its text alone."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EMFILE, errno.ENFILE)
    code = next((code for code in codes if os.strerror(code) in str(exc)), errno.EIO)
    return OSError(code, os.strerror(code))


def open_ann(path: Path) -> AnnFile:
    """Read an index that ``build_ann`` wrote, its checksum being right. Raises DamagedStore, OSError."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as exc:
        raise _of_disk(exc) from exc
    if not isinstance(index, faiss.IndexIVFPQFastScan):
        raise DamagedStore(f"{path}: is not a vector index of this package", hint="Run: kompanion-db doctor URL.")
    return AnnFile(index)


def default_lists(rows: int) -> int:
    """Lists of an index over so many rows."""
    return max(1, round(1.5 * math.sqrt(rows)))


def _prepared(
    part: Part, rows: slice | NDArray[np.int64], metric: str, radius: float, width: int
) -> NDArray[np.float32]:
    """Vectors of these rows as the index has them: float32, shape (n, width)."""
    vectors, norms = part.vectors[rows], part.norms[rows]
    dim = vectors.shape[1]
    out = np.zeros((len(vectors), width), dtype=np.float32)
    out[:, :dim] = vectors
    if metric == "cosine":
        out /= np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
    elif metric == "inner_product":
        out[:, dim] = np.sqrt(np.maximum(radius**2 - norms.astype(np.float64) ** 2, 0))
    return out
