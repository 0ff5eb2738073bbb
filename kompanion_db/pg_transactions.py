"""The end of a transaction on a server, where psycopg would keep silent about it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from .blocks import check_whole


def check_transaction(conn: psycopg.BaseConnection[Any]) -> None:
    """As ``check_whole``. Where a call failed the server answers COMMIT with ROLLBACK, which psycopg lets pass."""
    check_whole(conn.closed, conn.info.transaction_status == TransactionStatus.INERROR)
