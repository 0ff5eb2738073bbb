"""What row security or a trigger hides from a login is refused by name, and never found by a search."""

from __future__ import annotations

import pytest
import samples
import servers
from logins import login

import kompanion_db
from kompanion_db import Chunk
from kompanion_db.errors import PermissionDenied


@pytest.mark.parametrize(
    "hides",
    [
        """alter table kompanion.memory_items enable row level security;
           create policy no_secrets on kompanion.memory_items to kompanion_writer using (not 'private' = any (tags))""",
        """create function public.skip() returns trigger language plpgsql as 'begin return null; end';
           create trigger skip before insert on kompanion.memory_items for each row execute function public.skip();
           delete from kompanion.memory_items""",
    ],
    ids=["policy", "trigger"],
)
def test_a_key_of_an_item_that_is_hidden_is_refused(db: servers.Database, hides: str) -> None:
    with db.connect() as conn, login(db, "kompanion_writer") as url:
        with kompanion_db.connect(db.url) as owner:
            owner.upsert_item("acme:ann", "diary", "Not for you.", tags=["private"])
        conn.execute(hides)
        with kompanion_db.connect(url) as store:
            for call in (
                lambda: store.upsert_item("acme:ann", "diary", "Mine."),
                lambda: store.upsert_item("acme:ann", "diary", "Mine.", chunks=[Chunk(0, "Mine.", 0, 5)]),
                lambda: store.upsert_item("acme:ann", "diary", "Mine.", expected_revision=0),
                lambda: store.upsert_items([kompanion_db.NewItem("acme:ann", "Mine.", "diary")]),
            ):
                with pytest.raises(PermissionDenied, match="'diary' in 'acme:ann' is taken") as caught:
                    call()
                assert "another key" in (caught.value.hint or "")


@pytest.mark.parametrize(("table", "argument"), [("threads", "thread"), ("users", "user_key")])
def test_the_name_of_a_thread_or_user_that_is_hidden_is_refused(
    one_db: servers.Database, table: str, argument: str
) -> None:
    with one_db.connect() as conn, login(one_db, "kompanion_writer") as url:
        with kompanion_db.connect(one_db.url) as owner:
            owner.upsert_item("acme:ann", "diary", "Not for you.", thread="secret", user_key="secret")
        conn.execute(f"alter table kompanion.{table} enable row level security")
        conn.execute(f"update kompanion.{table} set metadata = '{{\"private\": true}}'")
        conn.execute(f"create policy open on kompanion.{table} to kompanion_writer using (metadata = '{{}}')")
        with kompanion_db.connect(url) as store:
            for call in (
                lambda: store.upsert_item("acme:ann", "mine", "Mine.", **{argument: "secret"}),
                lambda: store.upsert_items([kompanion_db.NewItem("acme:ann", "Mine.", "mine", **{argument: "secret"})]),
            ):
                with pytest.raises(PermissionDenied, match=f"{argument}: 'secret' is taken"):
                    call()
            assert store.get_item("acme:ann", "mine") is None


def test_views_that_came_from_postgresql_14_see_the_caller_again_once_roles_are_granted(
    one_db: servers.Database,
) -> None:
    with one_db.connect() as conn:
        if conn.info.server_version < 150000:
            pytest.skip("views of PostgreSQL 14 see their owner")
        secured = "select count(*) from pg_class where 'security_invoker=true' = any (reloptions)"
        assert conn.execute(secured).fetchone() == (4,)
        for view in ("live_namespaces", "live_items", "live_chunks", "live_embeddings"):
            conn.execute(f"alter view kompanion.{view} reset (security_invoker)")
        conn.execute("select kompanion.grant_roles()")
        assert conn.execute(secured).fetchone() == (4,)


def test_row_security_holds_on_the_index_path(one_db: servers.Database) -> None:
    with one_db.connect() as conn, kompanion_db.connect(one_db.url) as owner, login(one_db, "kompanion_reader") as url:
        owner.register_model("small", 3)
        owner.upsert_items(samples.bulk_item(n) for n in range(2000))
        conn.execute("select kompanion.set_setting('exact_threshold', '100')")
        owner.ensure_index("small", kind="hnsw")
        conn.execute("alter table kompanion.embeddings enable row level security")
        conn.execute(
            """create policy own_namespace on kompanion.embeddings to kompanion_reader
               using (namespace_id = kompanion.namespace_id('load:3'))"""
        )
        with kompanion_db.connect(url) as store:
            assert store.explain_search("*", [1, 0, 0.5], 20)["path"].startswith("index")
            hits = store.search("*", [1, 0, 0.5], 20)
    assert [hit.namespace for hit in hits] == ["load:3"] * 20
