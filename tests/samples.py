"""A small store with one of everything, and all that a database holds, to be compared."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import psycopg

from kompanion_db import Chunk, NewItem

NOW = datetime.now(timezone.utc)


def fill(store: Any) -> None:
    """Two models, users, threads, tags; items revised, deleted, expiring, in a deleted namespace; a queue."""
    store.register_model("small", 3)
    store.register_model("large", 4, metric="l2")
    store.ensure_user("acme:ann", "ann", display_name="Ann O'Hara", metadata={"team": "blue"})
    store.ensure_thread("acme:ann", "closed", title="Done; long ago")
    for n in range(12):
        store.upsert_item(
            f"acme:{'ann' if n % 2 else 'bob'}",
            f"note-{n}",
            f"Note {n}: the 'blue' team \\ meets at {n} o'clock. \u00e9\U0001f600",
            metadata={"n": n, "topic": "meeting" if n % 3 else "lunch", "deep": {"a": [n, None]}},
            tags=["note", f"t{n % 3}"],
            thread="daily" if n % 4 else None,
            user_key="ann" if n % 2 else None,
            actor="tester",
            vectors=[[n + 1.0, 0.1, -0.25]],
            model="small",
        )
    store.upsert_item(
        "acme:ann",
        "long",
        "first part, second part",
        chunks=[Chunk(0, "first part", 0, 10), Chunk(1, "second part", 12, 23)],
        vectors=np.eye(2, 3, dtype=np.float32),
        model="small",
        ttl=timedelta(days=3),
    )
    store.upsert_item("acme:ann", "note-1", "Note 1, revised", metadata={"n": 1.5}, actor="editor")
    store.delete_item("acme:bob", "note-2", actor="editor")
    store.delete_item("acme:bob", "note-4")
    store.restore_item("acme:bob", "note-4")
    store.upsert_item("acme:ann", "in closed", "said before", thread="closed")
    store.close_thread("acme:ann", "closed")
    store.upsert_item("gone:one", "x", "in a deleted namespace", vectors=[[1, 0, 0]], model="small")
    store.delete_namespace("gone")
    with store.transaction():
        store.put_embeddings(store.pending_embeddings("large", batch=3), np.ones((3, 4)), model="large")


def bulk_item(n: int, **fields: Any) -> NewItem:
    """The n-th of many plain items, always the same."""
    vector = np.array([np.cos(n), np.sin(n), 0.5], dtype=np.float32)
    return NewItem(
        f"load:{n % 7}", f"content of item {n}", key=f"item-{n:06d}", metadata={"n": n}, vectors=[vector], **fields
    )


def contents(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Every row of every table of the schema as text, by table."""
    names = conn.execute(
        """select c.relname::text from pg_class c
           where c.relnamespace = 'kompanion'::regnamespace and c.relkind = 'r' order by 1"""
    ).fetchall()
    found: dict[str, list[str]] = {name: [] for (name,) in names}
    every = " union all ".join(f"select '{name}', t::text from kompanion.{name} t" for name in found)
    for name, row in conn.execute(every):
        found[name].append(row)
    return {name: sorted(rows) for name, rows in found.items()}


def exported(store: Any, scope: str = "*") -> list[dict[str, Any]]:
    """The whole export of a scope: what another store must equal."""
    documents = store.export_registry(scope)
    after = None
    while True:
        page, after = store.export_items(scope, page_size=7, after=after)
        documents.extend(page)
        if after is None:
            return documents


def routines(conn: psycopg.Connection[Any]) -> list[tuple[str, list[str], list[str]]]:
    """The public functions: name, names of the arguments that go in, their types."""
    return conn.execute(
        """select p.proname::text, coalesce(p.proargnames[1:p.pronargs], '{}')::text[],
                  array(select format_type(t, null) from unnest(p.proargtypes) with ordinality a (t, n) order by n)
           from pg_proc p
           where p.pronamespace = 'kompanion'::regnamespace and left(p.proname, 1) <> '_' order by 1"""
    ).fetchall()
