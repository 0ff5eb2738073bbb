"""Vectors from files: numpy's .npy, and the .fvecs, .bvecs and .ivecs that data sets for nearest neighbours come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ELEMENTS: dict[str, np.dtype[Any]] = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1"), ".ivecs": np.dtype("<i4")}

KINDS = (".npy", *_ELEMENTS)


def read_vectors(path: Path, rows: int | None = None) -> NDArray[np.float32]:
    """The first rows of a file of vectors, all by default, shape (n, dim). A ValueError says what is wrong."""
    if path.suffix == ".npy":
        return _npy(path, rows)
    if path.suffix in _ELEMENTS:
        return _vecs(path, rows)
    raise ValueError(f"{path.name}: its kind is none of {', '.join(KINDS)}")


def _npy(path: Path, rows: int | None) -> NDArray[np.float32]:
    array = open_npy(path)
    if array.ndim != 2:
        raise ValueError(f"{path.name}: an array of shape (rows, dim) is needed, not {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path.name}: real numbers are needed, not elements of type {array.dtype}")
    return single(array[:rows])


def open_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file, mapped and not read. Raises ValueError where it holds none, or Python objects."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as exc:  # numpy takes other content for a pickle or an archive, and raises what their readers do
        raise ValueError(f"{path.name}: holds no array of numbers as numpy.save writes it: {exc}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path.name}: is an archive of several arrays, save one with numpy.save")
    return array


def single(array: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers as float32; what is too large for it becomes infinite, without a warning."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _vecs(path: Path, rows: int | None) -> NDArray[np.float32]:
    """Each row is its dimension as int32, then the elements: float32 (f), uint8 (b) or int32 (i)."""
    element = _ELEMENTS[path.suffix]
    try:
        size = path.stat().st_size
        if size < 4:
            raise ValueError(f"{path.name}: has {size} bytes, which are no row")
        raw = np.memmap(path, dtype="u1", mode="r")
    except OSError as exc:
        raise ValueError(f"{path.name}: cannot be read: {exc.strerror}") from None
    dim = int(raw[:4].view("<i4")[0])
    width = 4 + dim * element.itemsize
    if dim < 1 or size % width:
        raise ValueError(f"{path.name}: {size} bytes are not rows of {dim} elements")
    table = raw.reshape(-1, width)[:rows]
    dims = np.ascontiguousarray(table[:, :4]).view("<i4")[:, 0]
    other = np.flatnonzero(dims != dim)
    if len(other):
        raise ValueError(f"{path.name}: row {other[0] + 1} has {dims[other[0]]} elements, the first {dim}")
    return single(np.ascontiguousarray(table[:, 4:]).view(element))
