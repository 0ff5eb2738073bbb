"""Models come and go, and namespaces too, while others write."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
import servers
from psycopg import IsolationLevel

import kompanion_db


def _count(conn: psycopg.Connection, query: str) -> int:
    row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _wait_until_blocked(db: servers.Database, conn: psycopg.Connection) -> None:
    """Until the statement that another thread runs on ``conn`` waits for a lock."""
    asked = f"select count(*) from pg_locks where pid = {conn.info.backend_pid} and not granted"
    with db.connect() as watching:
        for _ in range(1000):
            if _count(watching, asked):
                return
            time.sleep(0.01)
    raise AssertionError("nothing holds it up")


LACKING = """select count(*) from kompanion.live_chunks c
    where not exists (select 1 from kompanion.embedding_queue q where q.chunk_id = c.chunk_id)"""


def test_a_model_is_registered_while_a_writer_has_a_chunk_in_hand(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.upsert_items({"namespace": "acme", "key": str(n), "content": "before"} for n in range(50))
    with db.connect(autocommit=False) as writer, db.connect() as admin:
        writer.execute("select kompanion.upsert_item('acme', '7', 'after')")
        assert (
            _count(admin, "select queued from kompanion.register_model('m', 3)") == 49
        )  # at once, not when the writer is done
        writer.commit()
        assert _count(admin, "select kompanion.enqueue_missing('m')") == 1
        assert _count(admin, LACKING) == 0


def test_a_model_is_retired_while_a_writer_has_its_vectors_in_hand(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.register_model("old", 2)
    pg_store.upsert_items({"namespace": "acme", "key": str(n), "content": "x", "vectors": [[1, n]]} for n in range(20))
    pg_store.register_model("new", 2)
    pg_store.set_default_model("new", require_complete=False)
    with db.connect(autocommit=False) as writer, db.connect() as admin:
        writer.execute("select kompanion.upsert_item('acme', '7', 'after')")
        retire = "select kompanion.retire_model('old', delete_vectors => true)"
        assert _count(admin, retire) == 19
        writer.rollback()
        assert _count(admin, retire) == 1


HIGHER = pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])


@HIGHER
@pytest.mark.parametrize(
    ("there", "new"), [("acme", "acme:new"), ("acme:old", "acme:new"), ("acme:old", "acme:new:deeper")]
)
def test_a_snapshot_from_before_hides_no_new_namespace_from_the_deletion_of_one_above(
    pg_store: kompanion_db.Store, db: servers.Database, level: IsolationLevel, there: str, new: str
) -> None:
    pg_store.ensure_namespace(there)
    with db.connect(autocommit=False) as conn:
        conn.isolation_level = level
        conn.execute("select 1 from kompanion.settings")  # takes the snapshot
        pg_store.delete_namespace("acme")
        with pytest.raises(psycopg.errors.SerializationFailure):
            conn.execute("select kompanion.upsert_item(%s, 'k', 'v')", (new,))
        conn.rollback()
        with pytest.raises(psycopg.Error, match="namespace 'acme' is deleted"):
            conn.execute("select kompanion.upsert_item(%s, 'k', 'v')", (new,))
        conn.rollback()
        conn.execute("select kompanion.upsert_item('other:new', 'k', 'v')")
        conn.commit()
    assert [n.namespace for n in pg_store.list_namespaces()] == ["other:new"]


@HIGHER
def test_namespaces_are_neither_deleted_nor_restored_by_what_an_older_snapshot_shows(
    pg_store: kompanion_db.Store, db: servers.Database, level: IsolationLevel
) -> None:
    pg_store.ensure_namespace("acme")
    with db.connect(autocommit=False) as conn:
        conn.isolation_level = level
        for call in ("delete_namespace", "restore_namespace"):
            with pytest.raises(psycopg.errors.ActiveSqlTransaction, match=f"{call}: .*isolation level") as caught:
                conn.execute(f"select kompanion.{call}('acme')")
            assert "read committed" in (caught.value.diag.message_hint or "")
            conn.rollback()


def test_where_a_higher_level_is_the_default_the_hint_has_what_a_store_takes_in_its_url(
    one_db: servers.Database,
) -> None:
    one_db.server.run(f"alter database {one_db.name} set default_transaction_isolation = 'serializable'")
    with kompanion_db.connect(one_db.url) as store:
        store.ensure_namespace("acme")
        with pytest.raises(kompanion_db.KompanionError, match=r"delete_namespace: .*isolation level") as caught:
            store.delete_namespace("acme")
    option = str(caught.value.hint).split("?")[-1].rstrip(".")
    with kompanion_db.connect(one_db.url + ("&" if "?" in one_db.url else "?") + option) as store:
        assert store.delete_namespace("acme") == 1


@HIGHER
def test_a_new_namespace_registers_none_above_it(
    pg_store: kompanion_db.Store, db: servers.Database, level: IsolationLevel
) -> None:
    with db.connect(autocommit=False) as conn:
        conn.isolation_level = level
        conn.execute("select kompanion.ensure_namespace('acme:ann:new')")
        conn.commit()
    assert [n.namespace for n in pg_store.list_namespaces()] == ["acme:ann:new"]


def test_new_namespaces_side_by_side_do_not_wait_for_each_other_at_repeatable_read(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    with db.connect(autocommit=False) as one, db.connect(autocommit=False) as other:
        for conn, path in ((one, "acme:ann"), (other, "acme:bob")):
            conn.isolation_level = IsolationLevel.REPEATABLE_READ
            conn.execute("set local lock_timeout = '5 s'")
            conn.execute("select kompanion.ensure_namespace(%s)", (path,))
        other.commit()
        one.commit()
    assert [n.namespace for n in pg_store.list_namespaces()] == ["acme:ann", "acme:bob"]


@HIGHER
def test_a_role_that_row_security_keeps_below_a_namespace_can_write_there(
    pg_store: kompanion_db.Store, db: servers.Database, level: IsolationLevel
) -> None:
    with db.connect(autocommit=False) as conn:
        conn.execute("alter table kompanion.namespaces enable row level security")
        conn.execute("create policy own on kompanion.namespaces using (segments[1:2] = '{acme,ann}')")
        conn.execute("set role kompanion_writer")
        conn.commit()
        conn.isolation_level = level
        conn.execute("select kompanion.ensure_namespace('acme:ann:new')")
        conn.commit()
        conn.execute("select 1 from kompanion.settings")  # takes the snapshot
        pg_store.delete_namespace("acme:ann")
        with pytest.raises(psycopg.errors.SerializationFailure):
            conn.execute("select kompanion.ensure_namespace('acme:ann:late')")


STORE = """select kompanion.put_embeddings(array_agg(namespace_id), array_agg(chunk_id), array_agg(revision),
    array_agg('[1, 2]'::vector)) from kompanion.live_chunks"""


@HIGHER
@pytest.mark.parametrize(
    "change",
    [
        "select kompanion.delete_item('acme', 'k')",
        "select kompanion.upsert_item('acme', 'k', 'text', tags => '{secret}')",
        "select kompanion.touch_item('acme', 'k', ttl => '9 days')",
        "update kompanion.memory_items set deleted_at = now()",
        "select kompanion.put_chunks('acme', 'blank', '{x}', '{0}', '{1}')",
        "select kompanion.upsert_item('acme', 'blank', 'written')",
    ],
)
def test_a_snapshot_from_before_hides_no_vector_nor_chunk_from_a_change_of_their_item(
    pg_store: kompanion_db.Store, db: servers.Database, level: IsolationLevel, change: str
) -> None:
    pg_store.register_model("m", 2)
    pg_store.upsert_item("acme", "k", "text", ttl=timedelta(days=1))
    pg_store.upsert_item("acme", "blank", " ")
    with db.connect(autocommit=False) as conn, db.connect() as other:
        conn.isolation_level = level
        conn.execute("select 1 from kompanion.settings")  # takes the snapshot
        other.execute("select kompanion.put_chunks('acme', 'blank', '{y}', '{0}', '{1}')")
        other.execute(STORE)
        with pytest.raises(psycopg.errors.SerializationFailure):
            conn.execute(change)
        conn.rollback()
        conn.execute(change)
        conn.commit()
        apart = """select count(*) from kompanion.embeddings e
            join kompanion.memory_items i on i.namespace_id = e.namespace_id and i.item_id = e.item_id
            where (e.tags, e.expires_at, e.deleted_at) is distinct from (i.tags, i.expires_at, i.deleted_at)"""
        assert _count(other, apart) == 0


@HIGHER
def test_a_change_of_an_item_at_a_higher_level_leaves_its_chunks_and_vectors_as_they_are(
    pg_store: kompanion_db.Store, db: servers.Database, level: IsolationLevel
) -> None:
    pg_store.register_model("m", 2)
    pg_store.upsert_item("acme", "k", "text", vectors=[[1, 2]])
    pg_store.upsert_item("acme", "blank", " ")
    before = pg_store.get_chunks("acme", "k")
    with db.connect(autocommit=False) as conn:
        conn.isolation_level = level
        conn.execute("update kompanion.memory_items set tags = '{new}'")
        conn.commit()
    assert pg_store.get_chunks("acme", "k") == before
    assert pg_store.get_chunks("acme", "blank") == []
    assert [hit.key for hit in pg_store.search("acme", [1, 2], tags_all=["new"])] == ["k"]


DEFAULT_B = json.dumps([{"kind": "model", "name": "b", "dim": 2, "metric": "cosine", "is_default": True}])


@HIGHER
@pytest.mark.parametrize(
    "call",
    [
        "select kompanion.register_model('b', 2)",
        "select kompanion.set_default_model('b')",
        f"select kompanion.import_documents('{DEFAULT_B}')",
    ],
)
def test_a_snapshot_from_before_the_first_default_is_told_to_try_again(
    db: servers.Database, level: IsolationLevel, call: str
) -> None:
    with db.connect(autocommit=False) as conn, db.connect() as other:
        if "register" not in call:
            other.execute("select kompanion.register_model('b', 2)")
            other.execute("update kompanion.embedding_models set is_default = false")
        conn.isolation_level = level
        conn.execute("select 1 from kompanion.settings")  # takes the snapshot
        other.execute("select kompanion.register_model('a', 2)")
        with pytest.raises(psycopg.errors.SerializationFailure):
            conn.execute(call)
        conn.rollback()
        conn.execute(call)
        conn.commit()
        assert _count(other, "select count(*) from kompanion.embedding_models where is_default") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "select kompanion.index_metadata_key('year', 'number')",
            "select kompanion.index_metadata_key('year', 'number')",
        ),
        ("select kompanion.record_index('m', 1)", "select kompanion.grant_roles()"),
        ("select kompanion.grant_roles()", "select kompanion.grant_roles()"),
    ],
)
def test_of_two_who_set_up_the_same_one_waits_for_the_other(db: servers.Database, first: str, second: str) -> None:
    with db.connect(autocommit=False) as one, db.connect() as two, ThreadPoolExecutor() as pool:
        two.execute("select kompanion.register_model('m', 2)")
        two.execute(
            "create index embeddings_ann_1 on kompanion.embeddings using hnsw ((vector::vector(2)) vector_cosine_ops) where model_id = 1"
        )
        one.execute(first)
        done = pool.submit(two.execute, second)
        _wait_until_blocked(db, two)
        one.commit()
        done.result()


def test_a_namespace_is_not_restored_below_one_that_is_being_deleted(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    for path in ("acme", "acme:a"):
        pg_store.ensure_namespace(path)
    pg_store.delete_namespace("acme:a")
    with db.connect(autocommit=False) as admin, db.connect() as conn, ThreadPoolExecutor() as pool:
        admin.execute("select kompanion.delete_namespace('acme')")
        restored = pool.submit(conn.execute, "select kompanion.restore_namespace('acme:a')")
        _wait_until_blocked(db, conn)
        admin.commit()
        with pytest.raises(psycopg.Error, match="namespace 'acme', above it, is deleted"):
            restored.result()
    assert pg_store.list_namespaces() == []


def test_purging_a_namespace_of_many_users_looks_each_up_by_an_index(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.upsert_items({"namespace": "acme", "key": str(n), "content": "x", "user_key": str(n)} for n in range(3000))
    # What the foreign key asks for each user that goes.
    asked = (
        "explain select from only kompanion.memory_items i where i.namespace_id = %s and i.user_id = %s for key share"
    )
    with db.connect() as conn:
        plan = "".join(str(row[0]) for row in conn.execute(asked, (UUID(int=1), UUID(int=2))))
    assert "memory_items_user_ix" in plan
