"""Roles and row security, with real logins: each may what is declared, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import samples
import servers
from logins import login

import kompanion_db
from kompanion_db import embedded
from kompanion_db.errors import PermissionDenied
from kompanion_db.migrate import migrate, migration_ids, rollback
from kompanion_db.urls import connection_args


@pytest.fixture
def filled(db: servers.Database) -> servers.Database:
    with kompanion_db.connect(db.url) as store:
        samples.fill(store)
    return db


READS: dict[str, Any] = {
    "search": lambda s: s.search("acme", [1, 0, 0], model="small"),
    "explain_search": lambda s: s.explain_search("acme", [1, 0, 0], model="small", filter={"n": 1}),
    "list_items": lambda s: s.list_items("acme", filter={"n": {"$gte": 3}}, tags_any=["note"]),
    "get_item": lambda s: s.get_item("acme:ann", "note-1"),
    "item_history": lambda s: s.item_history("acme:ann", "note-1"),
    "list_namespaces": lambda s: s.list_namespaces(),
    "list_threads": lambda s: s.list_threads("acme"),
    "list_models": lambda s: s.list_models(),
    "stats": lambda s: s.stats(),
    "index_advice": lambda s: s.index_advice() or True,
    "measure_recall": lambda s: s.measure_recall("small", sample=2),
    "export_registry": lambda s: s.export_registry(),
    "export_items": lambda s: s.export_items()[0],
}
WRITES: dict[str, Any] = {
    "upsert_item": lambda s: s.upsert_item("new:space", "k", "c", vectors=[[1, 0, 0]], thread="t", user_key="u"),
    "revise_item": lambda s: s.upsert_item("acme:ann", "note-1", "changed"),
    "upsert_items": lambda s: s.upsert_items([samples.bulk_item(1), samples.bulk_item(2)]),
    "upsert_items_again": lambda s: s.upsert_items([samples.bulk_item(1), samples.bulk_item(3)]),
    "delete_item": lambda s: s.delete_item("acme:ann", "note-3"),
    "restore_item": lambda s: s.restore_item("acme:bob", "note-2"),
    "revert_item": lambda s: s.revert_item("acme:ann", "note-1", 1),
    "ensure_namespace": lambda s: s.ensure_namespace("new:other"),
    "ensure_user": lambda s: s.ensure_user("acme:ann", "new", metadata={}),
    "ensure_thread": lambda s: s.ensure_thread("acme:ann", "new"),
    "close_thread": lambda s: s.close_thread("acme:ann", "daily"),
    "put_chunks": lambda s: s.put_chunks("acme:ann", "note-5", []) == [],
    "pending_embeddings": lambda s: s.pending_embeddings("large", batch=1),
    "put_embeddings": lambda s: s.put_embeddings(s.pending_embeddings("large", batch=1), [[1, 1, 1, 1]], model="large"),
}
ADMINISTERS: dict[str, Any] = {
    "register_model": lambda s: s.register_model("third", 5).model,
    "set_default_model": lambda s: s.set_default_model("third", require_complete=False),
    "retire_model": lambda s: s.retire_model("small", delete_vectors=True),
    "enqueue_missing": lambda s: s.enqueue_missing("third") == 0,
    "calibrate": lambda s: s.calibrate("large") == [],
    "delete_namespace": lambda s: s.delete_namespace("acme"),
    "restore_namespace": lambda s: s.restore_namespace("acme"),
    "trim_history": lambda s: s.trim_history() == 0,
    "purge": lambda s: s.purge(),
    "import_documents": lambda s: s.import_documents(
        [{"kind": "namespace", "path": "x", "created_at": "2020-01-01T00:00:00Z"}]
    ),
}
OWNS: dict[str, Any] = {
    "ensure_index": lambda s: s.ensure_index("large", kind="hnsw"),
    "ensure_index_at_once": lambda s: s.ensure_index("large", kind="hnsw", concurrently=False),
    "index_metadata_key": lambda s: s.index_metadata_key("n", type="number"),
    "tune_index": lambda s: s.tune_index("large"),
}


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("kompanion_reader", READS),
        ("kompanion_writer", READS | WRITES),
        ("kompanion_admin", READS | WRITES | ADMINISTERS),
    ],
)
def test_a_login_may_do_what_its_role_says_and_is_refused_the_rest(
    filled: servers.Database, role: str, may: dict[str, Any]
) -> None:
    everything = READS | WRITES | ADMINISTERS | OWNS
    with login(filled, role) as url, kompanion_db.connect(url) as store:
        for name in [name for name in everything if name not in may]:
            with filled.connect() as conn:
                before = samples.contents(conn)
                with pytest.raises(PermissionDenied):
                    everything[name](store)
                assert samples.contents(conn) == before, name
        for name, call in may.items():
            assert call(store), name


@pytest.mark.parametrize("role", ["kompanion_reader", "kompanion_writer"])
def test_settings_are_the_admins_to_change(one_db: servers.Database, role: str) -> None:
    change = "select kompanion.set_setting('target_recall', '0.9')"
    direct = "update kompanion.settings set value = '0.1'"
    with login(one_db, role) as url, psycopg.connect(url, autocommit=True) as conn:
        for sql in (change, direct, "drop table kompanion.users", "truncate kompanion.memory_items"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(sql)
    with login(one_db, "kompanion_admin") as url, psycopg.connect(url, autocommit=True) as conn:
        conn.execute(change)


@pytest.mark.parametrize(
    "sql",
    [
        "delete from kompanion.namespaces where path = 'acme:ann'",
        "update kompanion.namespaces set deleted_at = now() where path = 'acme:ann'",
        "update kompanion.memory_item_revisions set content = 'forged'",
        "delete from kompanion.memory_item_revisions",
        "insert into kompanion.memory_item_revisions (namespace_id, item_id, revision, key, content, metadata, tags, "
        "updated_at, superseded_at) select namespace_id, item_id, revision, key, 'forged', '{}', '{}', '2020-01-01', "
        "'2020-01-02' from kompanion.memory_items",
    ],
)
def test_a_writer_neither_removes_a_namespace_nor_rewrites_history_by_hand(filled: servers.Database, sql: str) -> None:
    with login(filled, "kompanion_writer") as url, psycopg.connect(url, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(sql)
        conn.execute("update kompanion.memory_items set content = 'by hand' where key = 'note-1'")
        conn.execute("delete from kompanion.memory_items where key = 'note-1'")


def test_a_writer_with_a_trigger_of_its_own_forges_no_history_either(filled: servers.Database) -> None:
    with login(filled, "kompanion_writer") as url, psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create temporary table mine (n integer)")
        conn.execute(
            """create function pg_temp.forge() returns trigger language plpgsql as $$ begin
                   insert into kompanion.memory_item_revisions (namespace_id, item_id, revision, key, content, metadata,
                                                                tags, updated_at, superseded_at)
                   select namespace_id, item_id, new.n, key, 'forged', '{}', '{}', '2020-01-01', '2020-01-02'
                   from kompanion.memory_items;
                   return null;
               end $$"""
        )
        conn.execute("create trigger forge before insert on mine for each row execute function pg_temp.forge()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="history is written by changing items"):
            conn.execute("insert into mine values (100)")


def test_where_a_server_lets_no_more_in_the_error_says_where_the_reason_is(
    one_db: servers.Database, caplog: pytest.LogCaptureFixture
) -> None:
    with login(one_db, "kompanion_reader") as url:
        one_db.server.run(f"alter role {connection_args(url)['user']} connection limit 1")
        with kompanion_db.connect(url, timeout=3) as store, ThreadPoolExecutor(1) as others, store.transaction():
            refused = others.submit(store.get_item, "acme", "k").exception(20)
    assert "lets so many in: the logger psycopg.pool says why" in str(refused)
    assert "too many connections for role" in caplog.text


def test_a_login_without_a_role_sees_nothing(one_db: servers.Database) -> None:
    with login(one_db, None) as url:
        with psycopg.connect(url) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select kompanion.namespace_id('a')")
        with pytest.raises(PermissionDenied):
            kompanion_db.connect(url)


def test_roles_that_were_missing_at_installation_are_granted_later(tmp_path: Path) -> None:
    # A cluster of its own: the roles are shared by all databases of the test servers.
    with embedded.start(tmp_path / "data") as own:
        base = {"user": "postgres", "host": own.url().split("host=", 1)[1]}
        server = servers.Server("own", own.bin_dir, base)
        server.run("create role plain login")
        db = server.create(options="owner plain")
        with db.connect() as conn:
            conn.execute("create extension vector")
        plain = server.url(db.name, user="plain")
        assert migrate(plain) == list(migration_ids())
        with kompanion_db.connect(plain) as store:  # the owner needs no role
            samples.fill(store)
        server.run("create role kompanion_reader; create role kompanion_writer; create role kompanion_admin")
        with psycopg.connect(plain, autocommit=True) as conn:
            assert conn.execute("select kompanion.grant_roles()").fetchone() == (3,)
        with login(db, "kompanion_writer") as url, kompanion_db.connect(url) as store:
            for call in (READS | WRITES).values():
                assert call(store)
            with pytest.raises(PermissionDenied):
                store.register_model("m", 3)
        rollback(plain, to="zero")


def test_row_security_by_namespace_can_be_added_without_touching_a_function(filled: servers.Database) -> None:
    if filled.server.connect().info.server_version < 150000:
        pytest.skip("views see the caller from PostgreSQL 15 on")
    tables = (
        "namespaces",
        "users",
        "threads",
        "memory_items",
        "memory_item_revisions",
        "memory_chunks",
        "embeddings",
        "embedding_queue",
    )
    with filled.connect() as conn, login(filled, "kompanion_writer") as url:
        for table in tables:
            conn.execute(f"alter table kompanion.{table} enable row level security")
            conn.execute(
                f"""create policy own_namespace on kompanion.{table} to kompanion_writer
                    using (namespace_id = kompanion.namespace_id('acme:ann'))"""
            )
        with kompanion_db.connect(url) as store:
            everything = store.list_items("*")
            assert {item.namespace for item in everything} == {"acme:ann"}
            assert [item.key for item in store.list_items("acme")] == [item.key for item in everything]
            assert store.list_items("acme:bob") == []
            hits = store.search("*", [1, 0, 0], 100, model="small")
            assert {hit.namespace for hit in hits} == {"acme:ann"}
            assert {row.namespace for row in store.stats()} == {"acme:ann"}
            assert store.explain_search("*", [1, 0, 0], model="small")["matches"] == len(
                store.search("*", [1, 0, 0], 100, model="small", per_chunk=True)
            )
            assert store.get_item("acme:bob", "note-4") is None
            assert store.item_history("acme:bob", "note-2") == []
            assert store.upsert_item("acme:ann", "note-1", "mine").status == "revised"
            for call in (
                lambda: store.upsert_item("acme:bob", "note-4", "theirs"),
                lambda: store.upsert_item("other", "k", "c"),
                lambda: store.upsert_items([samples.bulk_item(1)]),
            ):
                with pytest.raises(PermissionDenied):
                    call()
            assert {document["namespace"] for document in store.export_items()[0]} == {"acme:ann"}
        with psycopg.connect(url) as mine:
            for view in ("live_items", "live_chunks", "live_embeddings", "live_namespaces"):
                column = "path" if view == "live_namespaces" else "namespace"
                assert mine.execute(f"select distinct {column} from kompanion.{view}").fetchall() == [("acme:ann",)]


def test_a_role_that_row_security_leaves_a_part_decides_nothing_about_models_that_all_share(
    filled: servers.Database,
) -> None:
    with filled.connect() as conn, login(filled, "kompanion_admin") as url:
        conn.execute("alter table kompanion.memory_chunks enable row level security")
        conn.execute("create policy nothing on kompanion.memory_chunks to kompanion_admin using (false)")
        with kompanion_db.connect(url) as store:
            for call in (
                lambda: store.register_model("new", 3),
                lambda: store.set_default_model("small"),
                lambda: store.retire_model("large", delete_vectors=True),
            ):
                with pytest.raises(PermissionDenied, match="row security hides rows from this role"):
                    call()
            assert store.register_model("small", 3).queued == 0  # again: it changes nothing
        conn.execute("select kompanion.ensure_index('small', kind => 'ivfflat', lists => 1)")
        with kompanion_db.connect(url) as store, pytest.raises(PermissionDenied, match=r"^calibrate: row security"):
            store.calibrate("small")


def test_a_function_that_fits_better_is_not_called_in_place_of_the_servers_own(db: servers.Database) -> None:
    with db.connect() as conn, kompanion_db.connect(db.url) as store:
        conn.execute(
            """create function public.convert_to(text, text) returns bytea language plpgsql
               as $$ begin raise exception 'called as %', current_user; end $$"""
        )
        assert store.upsert_item("acme:ann", "k", "text").status == "inserted"
        assert store.index_metadata_key("n", type="number")
