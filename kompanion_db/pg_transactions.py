"""Transactions on a server, where psycopg would keep silent about their end, or wait for ever."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from .blocks import check_whole
from .errors import BadArgument


def check_transaction(conn: psycopg.BaseConnection[Any]) -> None:
    """As ``check_whole``. Where a call failed the server answers COMMIT with ROLLBACK, which psycopg lets pass."""
    check_whole(conn.closed, conn.info.transaction_status == TransactionStatus.INERROR)


def refuse_listener(conn: psycopg.BaseConnection[Any]) -> None:
    """Whoever hears the notices of a statement may not use its connection: it would wait for the statement's end.

    Raises BadArgument. Nobody else comes here before that end.
    """
    if conn.info.transaction_status == TransactionStatus.ACTIVE:
        raise BadArgument(
            "progress: cannot use the store in the transaction of the call that it is told of",
            hint="Use it after the call, or another store.",
        )


def hang_up(conn: psycopg.BaseConnection[Any]) -> None:
    """Before a connection is taken from those who will not let go of it: whoever waits for an answer gets an error.

    Were it only closed they would wait for ever. The server undoes the transaction, after the statement it is at.
    """
    with suppress(psycopg.Error, OSError):  # it is lost already
        line = socket.socket(fileno=conn.fileno())
        try:
            line.shutdown(socket.SHUT_RDWR)
        finally:
            line.detach()
