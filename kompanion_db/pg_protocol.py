"""What the sync and the async PostgreSQL stores share: statements, types, settings. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from pgvector.psycopg.vector import register_vector_info
from psycopg import BaseConnection
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

STAGE_SQL = "select kompanion.begin_staging() as at"
MERGE_SQL = "select m.status, count(*)::integer as items from kompanion.merge_staged(%s, %s) m group by m.status"


def closed(call: str) -> ConnectionFailed:
    """The error for a store that was closed; ``call`` opens one."""
    return ConnectionFailed("the store is closed", hint=f"{call}(url) again.")


def no_connection(seconds: float) -> ConnectionFailed:
    """The error for a pool that has none to lend: all are in use, or no more can be made, of which it tells its log."""
    return ConnectionFailed(
        f"no connection in {seconds:g} s",
        hint="Raise max_size, or see whether the server is up and lets so many in: the logger psycopg.pool says why it "
        "made none.",
    )


@lru_cache(maxsize=256)
def _statement(function: str, names: tuple[str, ...]) -> str:
    arguments = ", ".join(f"{n} => %({n})s" + (f"::{_CASTS[n]}" if n in _CASTS else "") for n in names)
    return f"select * from kompanion.{function}({arguments})"


def statement(call: Call) -> tuple[str, Mapping[str, Any]]:
    """The one statement of a call, every argument by name, and its parameters."""
    return _statement(call.function, tuple(call.arguments)), call.arguments


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
    """Teach a connection numpy arrays for vectors, and to read JSON."""
    register_vector_info(conn, vector)
    set_json_loads(_loads, conn)
    conn.adapters.register_dumper("numpy.ndarray", _array_dumper(vector.oid))
    conn.adapters.register_loader(vector.oid, _ArrayLoader)


@lru_cache
def _array_dumper(oid: int) -> type[_ArrayDumper]:
    # One class for all connections: psycopg keeps what it knows of each class for ever.
    return type("_VectorDumper", (_ArrayDumper,), {"oid": oid})


def connection_kwargs(url: str, prepare: bool) -> dict[str, Any]:
    """Arguments of ``psycopg.connect`` for a URL: autocommit, so that every call is a transaction of its own."""
    kwargs: dict[str, Any] = dict(connection_args(url))
    kwargs.setdefault("fallback_application_name", "kompanion_db")
    kwargs["autocommit"] = True
    kwargs["client_encoding"] = "utf8"  # whatever the role's or PGCLIENTENCODING: staged text and JSON are made as such
    # None: never prepare, for poolers that hand each transaction to another server connection.
    kwargs["prepare_threshold"] = 5 if prepare else None
    return kwargs
