"""The layout of a segment: vectors of one model in a file that never changes, read where it lies.

A page of header, then ids (int64, ascending), norms (float32) and vectors (float32, one row each), little-endian, each
from a page on. Ids ascend, rather than go by namespace: a row is found by bisection without a second array, a merge
streams, and rows written together lie together, as a bulk load has them in the order of namespaces.
"""

from __future__ import annotations

import errno
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedStore, KompanionError
from .durable import NewFile, checksum, named

PAGE = 4096
ID = np.dtype("<i8")
FLOAT = np.dtype("<f4")
_MAGIC = b"KMPVEC\r\n"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQqqq")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Layout:
    """What a header says, and where in the file the arrays begin."""

    model_id: int
    dim: int
    rows: int
    low: int
    high: int

    @property
    def ids_at(self) -> int:
        """Offset of the ids, bytes."""
        return PAGE

    @property
    def norms_at(self) -> int:
        """Offset of the norms, bytes."""
        return _paged(self.ids_at + ID.itemsize * self.rows)

    @property
    def vectors_at(self) -> int:
        """Offset of the vectors, bytes."""
        return _paged(self.norms_at + FLOAT.itemsize * self.rows)

    @property
    def size(self) -> int:
        """Size of the file, bytes."""
        return self.vectors_at + self.row_bytes * self.rows

    @property
    def row_bytes(self) -> int:
        """Size of a vector."""
        return FLOAT.itemsize * self.dim

    def header(self) -> bytes:
        """The first page of the file."""
        head = _HEADER.pack(_MAGIC, _VERSION, self.dim, self.rows, self.model_id, self.low, self.high)
        return (head + _CRC.pack(zlib.crc32(head))).ljust(PAGE, b"\0")


def read_layout(path: Path) -> Layout:
    """The header of a file, checked against its own sum and the file's size. Raises DamagedStore, OSError."""
    with path.open("rb", buffering=0) as file:
        head = file.read(PAGE)
    if len(head) < PAGE or head[:8] != _MAGIC:
        raise damaged(path, "is not a segment of vectors")
    body = head[: _HEADER.size]
    if _CRC.unpack_from(head, _HEADER.size)[0] != zlib.crc32(body):
        raise damaged(path, "has a damaged header")
    _, version, dim, rows, model_id, low, high = _HEADER.unpack(body)
    if version != _VERSION:
        raise DamagedStore(
            f"{path}: is of layout {version}, this package reads {_VERSION}", hint="Upgrade kompanion-db."
        )
    layout = Layout(model_id, dim, rows, low, high)
    if path.stat().st_size != layout.size:
        raise damaged(path, f"has {path.stat().st_size} bytes of {layout.size}")
    return layout


def write_segment(
    file: NewFile,
    layout: Layout,
    ids: NDArray[np.int64],
    norms: Iterable[NDArray[np.float32]],
    vectors: Iterable[NDArray[np.float32]],
) -> None:
    """Write a segment; ``norms`` and ``vectors`` come in blocks, in the order of ``ids``, and are not kept."""
    file.write(layout.header())
    file.write(np.ascontiguousarray(ids, dtype=ID))
    _pad(file)
    for block in norms:
        file.write(np.ascontiguousarray(block, dtype=FLOAT))
    _pad(file)
    for block in vectors:
        file.write(np.ascontiguousarray(block, dtype=FLOAT))


def mapped(path: Path, layout: Layout) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Ids, vectors and norms of a segment where they lie in the file; nothing is read yet. Raises OSError."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    ids = data[layout.ids_at :][: ID.itemsize * layout.rows].view(ID)
    norms = data[layout.norms_at :][: FLOAT.itemsize * layout.rows].view(FLOAT)
    vectors = data[layout.vectors_at :].view(FLOAT).reshape(layout.rows, layout.dim)
    return np.asarray(ids), np.asarray(vectors), np.asarray(norms)


def check_sum(path: Path, crc: int) -> None:
    """The file still is what was written. Raises DamagedStore, OSError."""
    if checksum(path) != crc:
        raise damaged(path, "has changed since it was written: its checksum is another")


def lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The norms of vectors of shape (n, dim): float32, shape (n,)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), dtype=np.float32)


def damaged(path: Path, what: str) -> DamagedStore:
    """The error for a file that must not be read from."""
    return DamagedStore(f"{path}: {what}", hint="Run: kompanion-db doctor URL; then restore a backup.")


def unreadable(path: Path, exc: OSError) -> KompanionError:
    """The error for a file that the system does not read: it is damaged only where what it held is gone."""
    if exc.errno in (errno.ENOENT, errno.EIO):
        return damaged(path, f"cannot be read: {exc.strerror}")
    return named(path, exc)


def _paged(offset: int) -> int:
    return -(-offset // PAGE) * PAGE


def _pad(file: NewFile) -> None:
    file.write(bytes(_paged(file.bytes) - file.bytes))
