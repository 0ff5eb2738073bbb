"""Who waits for whom: calls that meet take what they lock in one order, and what was deleted meanwhile is made anew."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
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
    with ThreadPoolExecutor() as pool, db.connect() as one, db.connect() as two, db.connect(autocommit=False) as holder:
        holder.execute("select from kompanion.memory_items where key = 'b' for update")
        written = pool.submit(_rows, one, "select status from kompanion.upsert_items(%s)", json.dumps(items))
        _wait_until_blocked(db, 1)
        two.execute("set lock_timeout = '20 s'")  # as the writer waits for the holder, nobody would see who else waits
        assert _rows(two, "select kompanion.enqueue_missing('m')") == [(0,)]
        holder.rollback()
        assert [status for (status,) in written.result()] == ["unchanged", "revised", "revised"]
        assert _rows(two, "select kompanion.enqueue_missing('m')") == [(0,)]
    assert {chunk.content for chunk in pg_store.pending_embeddings("m")} == {"new"}
    assert pg_store.list_models()[0].queued == 2


@pytest.mark.parametrize(
    ("kind", "named"), [("namespaces", {}), ("threads", {"thread": "t"}), ("users", {"user_key": "t"})]
)
def test_an_import_and_a_set_of_items_that_register_the_same_take_them_in_one_order(
    db: servers.Database, kind: str, named: dict[str, str]
) -> None:
    with (
        ThreadPoolExecutor() as pool,
        db.connect() as conn,
        db.connect() as other,
        db.connect(autocommit=False) as holder,
    ):
        by_id = _rows(conn, "select n from unnest(array['m', 'n', 'o']) n order by kompanion.namespace_id(n)")
        spaces = ["p-q", "p:q", "p:q:r"] if not named else [space for (space,) in by_id]
        if named:
            conn.execute("select kompanion.ensure_namespace(n) from unnest(%s::text[]) n", [spaces])
        documents = [
            {"kind": "namespace", "path": space, "created_at": "2026-01-01T00:00:00Z"}
            if not named
            else {
                "kind": kind[:-1],
                "namespace": space,
                f"{kind[:-1]}_id": f"00000000-0000-0000-0000-00000000000{n}",
                "key": "t",
                "metadata": {},
                "created_at": "2026-01-01T00:00:00Z",
            }
            for n, space in enumerate(spaces)
        ]
        items = [{"namespace": space, "key": "k", "content": "x", **named} for space in spaces]
        # The holder has the one in the middle in hand: both wait for it, with what they have registered before.
        if named:
            holder.execute(
                f"insert into kompanion.{kind} (namespace_id, key) values (kompanion.namespace_id(%s), 't')",
                [spaces[1]],
            )
        else:
            holder.execute("select kompanion.ensure_namespace(%s)", [spaces[1]])
        written = pool.submit(_rows, conn, "select status from kompanion.upsert_items(%s)", json.dumps(items))
        _wait_until_blocked(db, 1)
        imported = pool.submit(_rows, other, "select kompanion.import_documents(%s)", json.dumps(documents[::-1]))
        _wait_until_blocked(db, 2)
        holder.rollback()
        assert [status for (status,) in written.result()] == ["inserted"] * 3
        assert len(imported.result()) == 1


@pytest.mark.parametrize("kind", ["threads", "users"])
@pytest.mark.parametrize(
    "call",
    [
        "select kompanion.upsert_item('acme', 'new', 'text', thread => 't', user_key => 't')",
        "select kompanion.upsert_item('acme', 'k', 'text', thread => 't', user_key => 't')",
        """select kompanion.upsert_items('[{"namespace": "acme", "key": "new", "content": "text", "thread": "t", "user_key": "t"}]')""",
        "select kompanion.revert_item('acme', 'k', 1)",
    ],
)
def test_a_thread_or_user_that_is_deleted_in_this_moment_is_waited_for(
    pg_store: kompanion_db.Store, db: servers.Database, kind: str, call: str
) -> None:
    pg_store.upsert_item("acme", "k", "first", thread="t", user_key="t")
    pg_store.upsert_item("acme", "k", "second")
    with ThreadPoolExecutor() as pool, db.connect() as conn, db.connect(autocommit=False) as hand:
        hand.execute(f"delete from kompanion.{kind}")
        done = pool.submit(_rows, conn, call)
        _wait_until_blocked(db, 1)
        hand.commit()
        done.result()
    item = pg_store.get_item("acme", "new" if "new" in call else "k")
    assert item is not None
    gone = "t" if "upsert" in call else None  # a revert brings back what there still is
    assert (item.thread, item.user_key) == ((gone, "t") if kind == "threads" else ("t", gone))


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
