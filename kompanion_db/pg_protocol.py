"""What the sync and the async PostgreSQL stores share: statements, types, settings. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from pgvector.psycopg.vector import register_vector_info
from psycopg import BaseConnection
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

from .errors import NotInstalled
from .requests import Call
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


@lru_cache(maxsize=256)
def _statement(function: str, names: tuple[str, ...]) -> str:
    arguments = ", ".join(f"{n} => %({n})s" + (f"::{_CASTS[n]}" if n in _CASTS else "") for n in names)
    return f"select * from kompanion.{function}({arguments})"


def statement(call: Call) -> tuple[str, Mapping[str, Any]]:
    """The one statement of a call, every argument by name, and its parameters."""
    return _statement(call.function, tuple(call.arguments)), call.arguments


class _JsonTextDumper(Dumper):
    """JSON that is text already, in the binary form of jsonb: a version byte and the text."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        data: bytes = obj.encode()
        return b"\x01" + data


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
    dumper = type("_VectorDumper", (_ArrayDumper,), {"oid": vector.oid})
    conn.adapters.register_dumper("numpy.ndarray", dumper)
    conn.adapters.register_loader(vector.oid, _ArrayLoader)


def staging_types(conn: BaseConnection[Any], vector: TypeInfo) -> tuple[list[int | str], list[int | str]]:
    """Column types of the two staging COPYs; registers the dumper for JSON that is text already."""
    oid = conn.adapters.types["jsonb"].oid
    conn.adapters.register_dumper(None, type("_StagedJson", (_JsonTextDumper,), {"oid": oid}))
    items: list[int | str] = list(STAGE_ITEMS_TYPES)
    chunks: list[int | str] = ["int4", "int4", "text", "int4", "int4", vector.oid]
    return items, chunks


def connection_kwargs(url: str, prepare: bool) -> dict[str, Any]:
    """Arguments of ``psycopg.connect`` for a URL: autocommit, so that every call is a transaction of its own."""
    kwargs: dict[str, Any] = dict(connection_args(url))
    kwargs.setdefault("fallback_application_name", "kompanion_db")
    kwargs["autocommit"] = True
    # None: never prepare, for poolers that hand each transaction to another server connection.
    kwargs["prepare_threshold"] = 5 if prepare else None
    return kwargs
