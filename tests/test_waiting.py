"""Who waits for whom: calls that meet take what they lock in one order, and what was deleted meanwhile is made anew."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import servers

import kompanion_db


def _wait_until_blocked(db: servers.Database, count: int) -> None:
    """Until so many statements wait for a lock."""
    asked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with db.connect() as watching:
        for _ in range(1000):
            row = watching.execute(asked).fetchone()
            if row is not None and row[0] == count:
                return
            time.sleep(0.01)
    raise AssertionError("nothing holds it up")


def _rows(conn: psycopg.Connection[Any], query: str, *arguments: object) -> list[Any]:
    return conn.execute(query, arguments).fetchall()


def test_the_missing_are_queued_while_a_set_of_items_is_written(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.register_model("m", 2)
    pg_store.upsert_items({"namespace": "acme", "key": key, "content": "old"} for key in ("c", "a", "b"))
    items = [
        {"namespace": "acme", "key": "a", "content": "old", "vectors": [[1, 2]]},  # is taken off the queue
        {"namespace": "acme", "key": "b", "content": "new"},  # waits
        {"namespace": "acme", "key": "c", "content": "new"},  # loses the chunk that comes first
    ]
    with db.connect() as one, db.connect() as two, db.connect(autocommit=False) as holder, ThreadPoolExecutor() as pool:
        holder.execute("select from kompanion.memory_items where key = 'b' for update")
        written = pool.submit(_rows, one, "select status from kompanion.upsert_items(%s)", json.dumps(items))
        _wait_until_blocked(db, 1)
        assert _rows(two, "select kompanion.enqueue_missing('m')") == [(0,)]
        holder.rollback()
        assert [status for (status,) in written.result()] == ["unchanged", "revised", "revised"]
        assert _rows(two, "select kompanion.enqueue_missing('m')") == [(0,)]
    assert {chunk.content for chunk in pg_store.pending_embeddings("m")} == {"new"}
    assert pg_store.list_models()[0].queued == 2


def test_chunks_change_while_their_places_are_rebuilt_concurrently(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.register_model("m", 2)
    with db.connect() as conn:
        # What "reindex index concurrently" builds beside a deferrable constraint is not deferrable, and writers keep it in step.
        conn.execute("create unique index on kompanion.memory_chunks (namespace_id, item_id, ordinal)")
        for texts in ("a", "b", "abc", "xabc", "cba", "aab", "baac", "c", "dcba"):
            written = (
                "select kompanion.upsert_item('acme', 'k', %s, chunks => %s, chunk_starts => %s, chunk_ends => %s)"
            )
            conn.execute(written, [texts, list(texts), [*range(len(texts))], [*range(1, len(texts) + 1)]])
            found = _rows(conn, "select ordinal, content, start_offset from kompanion.memory_chunks order by 1")
            assert found == [(n, text, n) for n, text in enumerate(texts)]
