"""Logins of the roles, for the tests of what each may and sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import servers


@contextmanager
def login(db: servers.Database, group: str | None) -> Iterator[str]:
    """The URL of a new login that is a member of ``group``; it goes with the block."""
    name = f"{db.name}_{group or 'nobody'}"[:63]
    with db.connect() as conn:
        conn.execute(f"create role {name} login")
        if group:
            conn.execute(f"grant {group} to {name}")
    try:
        yield db.server.url(db.name, user=name)
    finally:
        with db.connect() as conn:
            conn.execute(f"drop owned by {name} cascade; drop role {name}")
