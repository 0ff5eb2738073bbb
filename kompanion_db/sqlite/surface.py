"""What a connection brings along for SQL: every function of this engine as a table, and a few scalar ones.

A function that writes does so as it would in PostgreSQL: in the transaction of its caller, or in one of its own.
That one is made on another connection: the statement that calls has begun to read, and SQLite lets no reader become
a writer once somebody else has written. It would fail where it should wait.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple
from uuid import UUID

import apsw
import numpy as np

from ..errors import BadArgument, KompanionError
from ..namespaces import namespace_id
from ..requests import Row
from . import values
from .errors import translated
from .registry import Function, functions
from .session import Session
from .tables.columns import columns_of
from .tables.listing import LISTING, declaration, listed
from .tables.values import kind_of, read, to_sql
from .tables.virtual import TableFunction, Value


class _Declared(NamedTuple):
    function: Function
    columns: tuple[str, ...]
    arguments: tuple[str, ...]


def install_surface(session: Session) -> None:
    """Give the connection of a session its SQL functions, in some 50 us. They do not keep the session alive."""
    conn, of = session.conn, weakref.ref(session)
    for declared in _declared():
        function, columns, arguments = declared
        call = partial(_call, of, declared)
        TableFunction(columns, arguments, call, direct=function.runs != "read").register(conn, function.name)
    TableFunction(LISTING, (), lambda given: listed(), direct=False).register(conn, "functions")
    for name, body in (("namespace_id", _namespace_id), ("uuid_str", _uuid_str), ("uuid_blob", _uuid_blob)):
        conn.create_scalar_function(name, body, 1, deterministic=True)
    conn.create_scalar_function("vec_get", partial(_vec_get, of), 1)


@cache
def _declared() -> list[_Declared]:
    return [
        _Declared(function, columns_of(name), tuple(p.name for p in function.takes))
        for name, function in functions().items()
    ]


@contextmanager
def _errors_of_sql() -> Iterator[None]:
    """Let our errors out of the block as errors of SQL: code, message, detail and hint in one text."""
    try:
        with translated():
            yield
    except KompanionError as exc:
        raise apsw.SQLError(f"{exc.sqlstate} {exc}") from exc


def _session(of: weakref.ref[Session]) -> Session:
    session = of()
    assert session is not None, "the connection is used after its session is gone"
    return session


def _call(of: weakref.ref[Session], declared: _Declared, given: dict[str, Value]) -> list[tuple[Value, ...]]:
    """The rows of a function for one call in SQL."""
    session = _session(of)
    with _errors_of_sql():
        rows = _run(session, declared.function, _arguments(declared.function, given))
        return [tuple(to_sql(row[name]) for name in declared.columns) for row in rows]


def _arguments(function: Function, given: dict[str, Value]) -> dict[str, Any]:
    """The arguments as the function takes them. NULL is one left out, since SQL can only name them by their place."""
    arguments: dict[str, Any] = {}
    for parameter in function.takes:
        name, value = parameter.name, given.get(parameter.name)
        if value is not None:
            arguments[name] = read(kind_of(parameter.annotation), name, value)
        elif name in given and parameter.default is parameter.empty:
            arguments[name] = None
        elif parameter.default is parameter.empty:
            raise BadArgument(f"{name}: is not given", hint=f"Call {function.name}({declaration(function)}).")
    return arguments


def _run(session: Session, function: Function, arguments: dict[str, Any]) -> list[Row]:
    conn, database = session.conn, session.database
    session.now = values.clock()
    if function.runs == "read":
        return function.body(session, **arguments)
    if conn.in_transaction:
        with session.transaction(write=True):
            return function.body(session, **arguments)
    if conn.txn_state("main") == apsw.SQLITE_TXN_WRITE:
        raise BadArgument(
            f"{function.name}: cannot be called by a statement that writes itself",
            hint="Call it in a select; begin and commit around both make them one transaction.",
        )
    if function.runs == "own":
        with database.lent(beside=True) as other, other.told(session.progress):
            rows = function.body(other, **arguments)
    else:
        with database.session(write=True, beside=True) as other:
            rows = function.body(other, **arguments)
    database.folder.wrote()
    return rows


def _vec_get(of: weakref.ref[Session], vec_id: Value) -> bytes | None:
    session = _session(of)
    with _errors_of_sql():
        found = session.one(
            """
            select e.model_id, m.dim, l.vector
            from embeddings e join embedding_models m on m.model_id = e.model_id left join vec_log l on l.seq = e.vec_id
            where e.vec_id = ?
            """,
            (vec_id,),
        )
        if found is None:
            return None
        model_id, dim, vector = found
        if vector is None:
            vector = session.vectors.fetch(model_id, dim, np.array([vec_id], dtype=np.int64)).astype("<f4").tobytes()
        return bytes(vector)


def _one_text(body: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(value: Value) -> Any:
        if value is None:
            return None
        with _errors_of_sql():
            return body(value)

    return call


@_one_text
def _namespace_id(path: Any) -> bytes:
    return namespace_id(path).bytes


@_one_text
def _uuid_str(blob: Any) -> str:
    return str(_uuid(blob))


@_one_text
def _uuid_blob(text: Any) -> bytes:
    return _uuid(text).bytes


def _uuid(value: Any) -> UUID:
    found: UUID = read("UUID", "id", value)
    return found
