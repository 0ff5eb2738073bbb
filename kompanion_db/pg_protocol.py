"""What the sync and the async PostgreSQL stores share: statements, types, settings. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from pgvector.psycopg.vector import register_vector_info
from psycopg import BaseConnection, adapters
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.errors import Diagnostic
from psycopg.pq import Format
from psycopg.types import TypeInfo
from psycopg.types.json import set_json_loads

from . import metadata
from .errors import BadArgument, ConnectionFailed, NotInstalled
from .requests import Call, Outside, Progress
from .urls import connection_args

# Arguments whose Python values do not tell their SQL type: a list of small ints would be sent as smallint[].
_CASTS = {
    "namespaces": "text[]",
    "keys": "text[]",
    "texts": "text[]",
    "starts": "integer[]",
    "ends": "integer[]",
    "chunks": "text[]",
    "chunk_starts": "integer[]",
    "chunk_ends": "integer[]",
    "namespace_ids": "uuid[]",
    "chunk_ids": "bigint[]",
    "chunk_revisions": "integer[]",
    "tags": "text[]",
    "tags_any": "text[]",
    "tags_all": "text[]",
    "tags_none": "text[]",
    "kinds": "text[]",
}

VECTOR_TYPE_SQL = """
    select 'vector' as name, t.oid, t.typarray as array_oid, t.oid::regtype::text as regtype
    from pg_extension x
    join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = x.oid
                    and d.classid = 'pg_type'::regclass and d.deptype = 'e'
    join pg_type t on t.oid = d.objid and t.typname = 'vector'
    where x.extname = 'vector'"""
"""Finds pgvector's type in whatever schema it lives."""

STAGE_ITEMS_SQL = """copy pg_temp.staged_items (ord, namespace, namespace_id, key, content, metadata, tags, thread,
    user_key, expires_at, expected_revision, actor, created_at) from stdin (format binary)"""
STAGE_ITEMS_TYPES: list[int | str] = ["int4", "text", "uuid", "text", "text", "jsonb", "text[]"]
STAGE_ITEMS_TYPES += ["text", "text", "timestamptz", "int4", "text", "timestamptz"]
STAGE_CHUNKS_SQL = """copy pg_temp.staged_chunks (ord, ordinal, content, start_offset, end_offset, vector)
    from stdin (format binary)"""
STAGE_SQL = "select kompanion.begin_staging() as at"
MERGE_SQL = "select m.status, count(*)::integer as items from kompanion.merge_staged(%s, %s) m group by m.status"


def closed(call: str) -> ConnectionFailed:
    """The error for a store that was closed; ``call`` opens one."""
    return ConnectionFailed("the store is closed", hint=f"{call}(url) again.")


@lru_cache(maxsize=256)
def _statement(function: str, names: tuple[str, ...]) -> str:
    arguments = ", ".join(f"{n} => %({n})s" + (f"::{_CASTS[n]}" if n in _CASTS else "") for n in names)
    return f"select * from kompanion.{function}({arguments})"


def statement(call: Call) -> tuple[str, Mapping[str, Any]]:
    """The one statement of a call, every argument by name, and its parameters."""
    return _statement(call.function, tuple(call.arguments)), call.arguments


class _JsonTextDumper(Dumper):
    """JSON that is text already, in the binary form of jsonb: a version byte and the text. Only COPY asks for it."""

    format = Format.BINARY
    oid = adapters.types["jsonb"].oid

    def dump(self, obj: Any) -> Buffer | None:
        data: bytes = obj.encode()
        return b"\x01" + data


def _loads(data: bytes | str) -> Any:
    # The server sends UTF-8: json.loads would look for the encoding first, which takes longer than most metadata.
    return metadata.decoded(data if isinstance(data, str) else str(data, "utf-8"))


class _ArrayDumper(Dumper):
    """A float32 array in pgvector's binary form: dimension and zero as int16, then the floats, big-endian."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        array: np.ndarray[Any, Any] = obj if isinstance(obj, np.ndarray) else obj.to_numpy()
        return len(array).to_bytes(2, "big") + b"\x00\x00" + array.astype(">f4").tobytes()


class _ArrayLoader(Loader):
    """pgvector's binary form as a float32 array of our own, shape (dim,)."""

    format = Format.BINARY

    def load(self, data: Buffer) -> Any:
        return np.frombuffer(data, dtype=">f4", offset=4).astype(np.float32)


@contextmanager
def told(conn: BaseConnection[Any], progress: Progress | None) -> Iterator[None]:
    """Hand the server's notices to ``progress`` for as long as the block lasts."""
    if progress is None:
        yield
        return

    def handler(notice: Diagnostic) -> None:
        progress(notice.message_primary or "")

    conn.add_notice_handler(handler)
    try:
        yield
    finally:
        conn.remove_notice_handler(handler)


def inside(request: Outside) -> BadArgument:
    """The error for what cannot be asked for inside a transaction."""
    return BadArgument(
        f"{request.argument}: {request.function} cannot build without blocking writers inside a transaction",
        hint=f"Call it after the transaction, or with {request.argument}=False.",
    )


def vector_type(row: Mapping[str, Any] | None) -> TypeInfo:
    """What VECTOR_TYPE_SQL found; NotInstalled when pgvector is not in the database."""
    if row is None:
        raise NotInstalled(
            "the extension vector is not in this database",
            hint="Run: kompanion-db migrate URL, or ask a DBA to.",
        )
    return TypeInfo(row["name"], row["oid"], row["array_oid"], regtype=row["regtype"])


def register_types(conn: BaseConnection[Any], vector: TypeInfo) -> None:
    """Teach a connection numpy arrays for vectors, and JSON text for staging."""
    register_vector_info(conn, vector)
    set_json_loads(_loads, conn)
    conn.adapters.register_dumper("numpy.ndarray", _array_dumper(vector.oid))
    conn.adapters.register_dumper(None, _JsonTextDumper)
    conn.adapters.register_loader(vector.oid, _ArrayLoader)


@lru_cache
def _array_dumper(oid: int) -> type[_ArrayDumper]:
    # One class for all connections: psycopg keeps what it knows of each class for ever.
    return type("_VectorDumper", (_ArrayDumper,), {"oid": oid})


def staged_chunk_types(vector: TypeInfo) -> list[int | str]:
    """Column types of the COPY of staged chunks."""
    return ["int4", "int4", "text", "int4", "int4", vector.oid]


def whole_contents(rows: Sequence[Sequence[Any]]) -> Iterator[bytes] | None:
    """The data of the COPY of staged chunks, many rows at once; None unless each is a whole content with its vector."""
    dim = len(rows[0][5]) if rows and rows[0][5] is not None else 0
    if not 0 < dim < 1 << 15 or any(row[2:5] != _WHOLE or row[5] is None or len(row[5]) != dim for row in rows):
        return None
    return _whole_contents(rows, dim)


_WHOLE = (None, None, None)  # content, start_offset, end_offset
_BLOCK = 256  # rows, so that no piece of memory is so large that it comes fresh from the system


def _whole_contents(rows: Sequence[Sequence[Any]], dim: int) -> Iterator[bytes]:
    integers = ["fields:2", "ord_length:4", "ord:4", "ordinal_length:4", "ordinal:4", "null_1:4", "null_2:4"]
    integers += ["null_3:4", "vector_length:4", "dim:2", "unused:2"]
    layout: list[Any] = [(name, f">i{size}") for name, size in (integer.split(":") for integer in integers)]
    data = np.zeros(_BLOCK, np.dtype([*layout, ("vector", ">f4", dim)]))
    data["fields"], data["ord_length"], data["ordinal_length"] = 6, 4, 4
    data["null_1"] = data["null_2"] = data["null_3"] = -1
    data["vector_length"], data["dim"] = 4 + 4 * dim, dim
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        used = data[: len(block)]
        used["ord"], used["ordinal"] = [row[0] for row in block], [row[1] for row in block]
        used["vector"] = [row[5] for row in block]
        yield used.tobytes()
    yield b"\xff\xff"


def connection_kwargs(url: str, prepare: bool) -> dict[str, Any]:
    """Arguments of ``psycopg.connect`` for a URL: autocommit, so that every call is a transaction of its own."""
    kwargs: dict[str, Any] = dict(connection_args(url))
    kwargs.setdefault("fallback_application_name", "kompanion_db")
    kwargs["autocommit"] = True
    # None: never prepare, for poolers that hand each transaction to another server connection.
    kwargs["prepare_threshold"] = 5 if prepare else None
    return kwargs
