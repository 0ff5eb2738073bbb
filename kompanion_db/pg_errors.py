"""The server's errors as the classes of :mod:`kompanion_db.errors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from .errors import (
    BY_SQLSTATE,
    BadArgument,
    ConnectionFailed,
    KompanionError,
    PermissionDenied,
    StorageFull,
    TooLarge,
)

# 08: connection exceptions; 28: login refused; the others: server shutting down, starting up or crashed, or without
# that database, too many connections, a session ended as it was idle (also in a transaction), or took too long.
_CONNECTION_CLASSES = ("08", "28")
# 22: a value its type cannot hold; 54: beyond a limit of the server.
_CLASSES: dict[str, type[KompanionError]] = {"22": BadArgument, "54": TooLarge}
_CONNECTION_STATES = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04", "3D000", "53300"}


# The way out where the server names none.
_HINTS: dict[type[KompanionError], str] = {
    PermissionDenied: "Ask the owner of schema kompanion to grant the role kompanion_reader, kompanion_writer or "
    "kompanion_admin to the one that logs in; building indexes takes the owner.",
    StorageFull: "Make room on the server's disk, then write again.",
    ConnectionFailed: "See whether the server is up and the URL is right. "
    "A write that was not answered may have been kept: look before writing it again.",
}

_POOLER_HINT = "A pooler in transaction mode may be between: connect(url, prepare=False) sends no prepared statements."

_STATE_HINTS = {
    "23503": "What this belongs to was removed in this moment: try again.",
    "25006": "Write on the primary, in a transaction that may write.",
    "26000": _POOLER_HINT,
    "40001": "Try the transaction again.",
    "40P01": "Try the transaction again.",  # the server's own sends users to its log
    "42P05": _POOLER_HINT,
    "55P03": "Another session has what this call needs: try again when it is done, or raise lock_timeout.",
    "57014": "Where it was not cancelled by hand: raise statement_timeout, or ask for less at once.",
}

_MEMORY_HINT = (
    "Set it higher: for the role (alter role ... set maintenance_work_mem = '1GB'), or for the connections of a store, "
    "by its URL: ?options=-cmaintenance_work_mem%3D1GB."
)
"""For pgvector, which says how much memory building an index takes, and no more."""

_HALF_HINT = (
    "An index of the model is in half precision, which holds numbers up to 65504: scale the vectors, or up to 2000 "
    "dimensions give it one in single precision: ensure_index(model, half=False)."
)
"""For pgvector, which says what a number is too large for, not why it is to go there."""


def translate(exc: psycopg.Error) -> KompanionError:
    """The KompanionError that ``exc`` stands for, by its SQLSTATE; raises nothing.

    A state without a class of its own becomes a plain KompanionError with the server's message and state;
    ``__cause__``, set by :func:`translated`, keeps the psycopg error.
    """
    state = exc.sqlstate
    message = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
    cls = BY_SQLSTATE.get(state or "", KompanionError)
    if state is None:
        lost = isinstance(exc, (psycopg.OperationalError, psycopg.InterfaceError))
    else:
        lost = state.startswith(_CONNECTION_CLASSES) or state in _CONNECTION_STATES
    if lost:
        cls = ConnectionFailed
    elif cls is KompanionError and state is not None and state[:2] in _CLASSES:
        cls = _CLASSES[state[:2]]
    hint = _HINTS.get(cls) or _STATE_HINTS.get(state or "")
    if "maintenance_work_mem is" in message:
        hint = _MEMORY_HINT
    elif message.endswith("out of range for type halfvec"):
        hint = _HALF_HINT
    error = cls(
        message, detail=exc.diag.message_detail, hint=hint if state == "40P01" else exc.diag.message_hint or hint
    )
    if cls is KompanionError and state is not None:
        error.sqlstate = state
    return error


@contextmanager
def translated() -> Iterator[None]:
    """Let errors of psycopg out of the block as KompanionError, chained to the original."""
    try:
        yield
    except psycopg.Error as exc:
        raise translate(exc) from exc
