"""What a batch stages, as the data of a binary COPY: a block of rows at a time, in half the time of row by row.

The layout is that of "COPY, Binary Format" in PostgreSQL's manual; each value is what the receive function of its type
reads. Text is UTF-8, as all connections of a store are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from struct import Struct
from typing import Any
from uuid import UUID

import numpy as np
from psycopg.adapt import Buffer

from .ids import new_ids

ITEMS_SQL = """copy pg_temp.staged_items (ord, item_id, namespace, namespace_id, key, content, metadata, tags, thread,
    user_key, expires_at, expected_revision, actor, created_at) from stdin (format binary)"""
CHUNKS_SQL = """copy pg_temp.staged_chunks (ord, ordinal, content, start_offset, end_offset, vector)
    from stdin (format binary)"""

Row = Sequence[Any]


@dataclass(frozen=True)
class Batch:
    """The COPY data of staged items and of their chunks, and the model of the vectors."""

    items: list[Buffer]
    chunks: list[Buffer]
    model: str | None


_BEGIN, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"  # a length of -1
_BLOCK = 256  # rows, so that no piece of memory is so large that it comes fresh from the system
_TEXT_OID = 25
_EPOCH, _MICROSECOND = datetime(2000, 1, 1, tzinfo=timezone.utc), timedelta(microseconds=1)

_length = Struct(">i").pack
_int4, _int8 = Struct(">ii").pack, Struct(">iq").pack  # length and value
_item_start = Struct(">hiii16s").pack  # number of fields; ord and item_id, each after its length
_chunk_start = Struct(">hiiii").pack  # number of fields; ord and ordinal, each after its length
_array_start = Struct(">iiiiii").pack  # length; axes, whether any element is NULL, type; elements, first subscript
_vector_start = Struct(">ihh").pack  # length; dimension, unused
_NO_TEXTS = Struct(">iiii").pack(12, 0, 0, _TEXT_OID)


def items(rows: Sequence[Row]) -> Iterator[bytes]:
    """The COPY of staged items, in blocks.

    A row has ord, namespace, namespace_id, key, content, metadata as JSON text, tags, thread, user_key, expires_at,
    expected_revision, actor, created_at. Their ids are made here: as in SQLite, they begin with the time, so that what
    is written together stands together in the indexes.
    """
    yield _BEGIN
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        yield b"".join([_item(row, item_id) for row, item_id in zip(block, new_ids(len(block)), strict=True)])
    yield _END


def _item(row: Row, item_id: bytes) -> bytes:
    ord_, namespace, namespace_id, key, content, metadata, tags, *rest = row
    return b"".join(
        (
            _item_start(14, 4, ord_, 16, item_id),
            _namespace(namespace, namespace_id),
            _text(key),
            _text(content),
            _NULL if metadata is None else _jsonb(metadata),
            _NULL if tags is None else _few_texts(tuple(tags)) if len(tags) <= _FEW else _texts(tags),
            _NO_REST if rest == _NONE else _rest(*rest),
        )
    )


_NONE = [None] * 6
_NO_REST = _NULL * 6


def _rest(
    thread: str | None,
    user_key: str | None,
    expires_at: datetime | None,
    expected_revision: int | None,
    actor: str | None,
    created_at: datetime | None,
) -> bytes:
    revision = _NULL if expected_revision is None else _int4(4, expected_revision)
    return b"".join((_text(thread), _text(user_key), _moment(expires_at), revision, _text(actor), _moment(created_at)))


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    data = value.encode()
    return _length(len(data)) + data


@lru_cache(maxsize=4096)
def _namespace(path: str | None, namespace_id: UUID | None) -> bytes:
    return _text(path) + (_NULL if namespace_id is None else _length(16) + namespace_id.bytes)


def _jsonb(value: str) -> bytes:
    data = value.encode()
    return _length(1 + len(data)) + b"\x01" + data  # a version, and the text


def _texts(values: Collection[str]) -> bytes:
    if not values:
        return _NO_TEXTS
    data = b"".join(map(_text, values))
    return _array_start(20 + len(data), 1, 0, _TEXT_OID, len(values), 1) + data


_FEW = 4  # tags: what is kept of longer lists would seldom be asked for again
_few_texts = lru_cache(maxsize=1024)(_texts)


def _moment(value: datetime | None) -> bytes:
    return _NULL if value is None else _int8(8, (value - _EPOCH) // _MICROSECOND)


def chunks(rows: Sequence[Row]) -> Iterator[Buffer]:
    """The COPY of staged chunks, in blocks. A row has ord, ordinal, content, start_offset, end_offset, vector."""
    yield _BEGIN
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        yield _whole_contents(block) if _are_whole(block) else b"".join([_chunk(*row) for row in block])
    yield _END


def _are_whole(rows: Sequence[Row]) -> bool:
    """Whether each is a whole content with its vector, all of one length: what nearly every load has."""
    if rows[0][5] is None:
        return False
    dim = len(rows[0][5])
    return all(row[2:5] == _WHOLE and row[5] is not None and len(row[5]) == dim for row in rows)


_WHOLE = (None, None, None)  # content, start_offset, end_offset


def _whole_contents(rows: Sequence[Row]) -> Buffer:
    dim = len(rows[0][5])
    data = _blank(dim)[: len(rows)].copy()
    data["ord"], data["ordinal"] = [row[0] for row in rows], [row[1] for row in rows]
    data["vector"] = [row[5] for row in rows]
    return memoryview(data.view(np.uint8))


@lru_cache(maxsize=2)
def _blank(dim: int) -> np.ndarray[Any, Any]:
    integers = ["fields:2", "ord_length:4", "ord:4", "ordinal_length:4", "ordinal:4", "null_1:4", "null_2:4"]
    integers += ["null_3:4", "vector_length:4", "dim:2", "unused:2"]
    layout: list[Any] = [(name, f">i{size}") for name, size in (integer.split(":") for integer in integers)]
    data = np.zeros(_BLOCK, np.dtype([*layout, ("vector", ">f4", (dim,))]))
    data["fields"], data["ord_length"], data["ordinal_length"] = 6, 4, 4
    data["null_1"] = data["null_2"] = data["null_3"] = -1
    data["vector_length"], data["dim"] = 4 + 4 * dim, dim
    return data


def _chunk(
    ord_: int, ordinal: int, content: str | None, start: int | None, end: int | None, vector: Any | None
) -> bytes:
    return b"".join(
        (
            _chunk_start(6, 4, ord_, 4, ordinal),
            _text(content),
            _NULL if start is None else _int4(4, start),
            _NULL if end is None else _int4(4, end),
            _NULL if vector is None else _vector(vector),
        )
    )


def _vector(value: np.ndarray[Any, Any]) -> bytes:
    """pgvector's form: dimension and zero as int16, then the floats."""
    return _vector_start(4 + 4 * len(value), len(value), 0) + value.astype(">f4").tobytes()
