"""What the catalog promises: a comment on everything, pinned functions, nothing for PUBLIC, the declared grants."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
import servers

from kompanion_db import errors
from kompanion_db.dev.output import sql_folder
from kompanion_db.sqlite.chunks import is_visible

# yoyo makes and knows its own tables; all else is ours to explain.
NOT_OURS = "_yoyo|yoyo_lock"
READER = {
    "namespace_id", "namespace_segments", "is_live", "setting", "list_namespaces", "list_threads", "list_models", "get_item", "get_chunks",
    "list_items", "item_history", "item_as_of", "compile_filter", "metadata_number", "metadata_text", "search", "explain_search",
    "measure_recall", "stats", "index_advice", "index_statements", "export_registry", "export_items", "export_marks",
    "embedded_chunks",
}  # fmt: skip
WRITER = {
    "ensure_namespace", "ensure_user", "ensure_thread", "close_thread", "upsert_item", "upsert_items", "begin_staging",
    "merge_staged", "delete_item", "restore_item", "touch_item", "revert_item", "put_chunks", "put_embeddings",
    "pending_embeddings", "release_embeddings",
}  # fmt: skip
ADMIN = {
    "set_setting", "delete_namespace", "restore_namespace", "register_model", "set_default_model", "retire_model",
    "enqueue_missing", "record_index", "calibrate", "trim_history", "purge", "import_documents",
}  # fmt: skip
OWNER = {"ensure_index", "swap_index", "tune_index", "index_metadata_key", "grant_roles"}
# Plain expressions over their arguments: the planner inlines them only without a SET clause.
INLINABLE = {
    "_is_visible",
    "is_live",
    "metadata_number",
    "metadata_text",
    "_write_cursor",
    "_segment_letters",
    "_install_path",
    "_scope_end",
}
WRITTEN = {
    "namespaces", "users", "threads", "memory_items", "memory_item_revisions", "memory_chunks", "embeddings", "embedding_queue",
}  # fmt: skip
LASTING = {"namespaces", "memory_item_revisions"}
ROLES = ("kompanion_reader", "kompanion_writer", "kompanion_admin")

UNCOMMENTED = """
    with s as (select 'kompanion'::regnamespace as oid)
    select 'relation ' || c.relname from pg_class c, s
    where c.relnamespace = s.oid and c.relkind in ('r', 'v', 'm', 'p') and coalesce(obj_description(c.oid, 'pg_class'), '') = ''
    union all
    select 'index ' || c.relname from pg_class c, s
    where c.relnamespace = s.oid and c.relkind = 'i' and coalesce(obj_description(c.oid, 'pg_class'), '') = ''
      and not exists (select 1 from pg_constraint k where k.conindid = c.oid)  -- then the constraint explains it
    union all
    select 'column ' || c.relname || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid, s
    where c.relnamespace = s.oid and c.relkind in ('r', 'v', 'm', 'p') and a.attnum > 0 and not a.attisdropped
      and coalesce(col_description(c.oid, a.attnum), '') = ''
    union all
    select 'constraint ' || k.conname from pg_constraint k, s
    where k.connamespace = s.oid and k.contype <> 'n' and coalesce(obj_description(k.oid, 'pg_constraint'), '') = ''
    union all
    select 'trigger ' || g.tgname from pg_trigger g join pg_class c on c.oid = g.tgrelid, s
    where c.relnamespace = s.oid and not g.tgisinternal and coalesce(obj_description(g.oid, 'pg_trigger'), '') = ''
    union all
    select 'function ' || p.proname from pg_proc p, s
    where p.pronamespace = s.oid and coalesce(obj_description(p.oid, 'pg_proc'), '') = ''
    union all
    select 'type ' || t.typname from pg_type t join pg_class c on c.oid = t.typrelid, s
    where t.typnamespace = s.oid and c.relkind = 'c' and coalesce(obj_description(t.oid, 'pg_type'), '') = ''
    union all
    select 'schema' from s where coalesce(obj_description(s.oid, 'pg_namespace'), '') = ''
    order by 1"""


def rows(db: servers.Database, sql: str, *args: Any) -> list[Any]:
    with db.connect() as conn:
        return [row if len(row) > 1 else row[0] for row in conn.execute(sql, args or None).fetchall()]


def test_everything_says_what_it_is_for(db: servers.Database) -> None:
    found = rows(db, UNCOMMENTED)
    assert [name for name in found if not re.search(NOT_OURS, name)] == []


def test_functions_run_as_their_caller_on_a_pinned_path(db: servers.Database) -> None:
    assert rows(db, "select proname from pg_proc where pronamespace = 'kompanion'::regnamespace and prosecdef") == []
    loose = rows(
        db,
        """select proname::text from pg_proc where pronamespace = 'kompanion'::regnamespace
           and not exists (select 1 from unnest(coalesce(proconfig, '{}')) c where c like 'search\\_path=kompanion, %%, pg_temp')
           and %s = %s""", 1, 1,
    )  # fmt: skip
    assert set(loose) == INLINABLE


def test_nothing_that_keeps_the_planner_from_a_scan_is_compiled_for_it(db: servers.Database) -> None:
    # Before PostgreSQL 18 a forbidden scan that cannot be avoided is taken to cost 10^10, and servers with LLVM compile
    # what costs that much: 0.2 s for every search. None of the servers that the tests start has LLVM.
    with db.connect() as conn:
        compiled = conn.execute("""
            select p.proname from pg_proc p
            where p.pronamespace = 'kompanion'::regnamespace
              and exists (select 1 from unnest(p.proconfig) c where c like 'enable\\_%=off')
              and not 'jit=off' = any (p.proconfig)""")
        assert compiled.fetchall() == []


def test_nothing_is_granted_to_public(db: servers.Database) -> None:
    granted = """
        select p.proname::text from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where p.pronamespace = 'kompanion'::regnamespace and a.grantee = 0
        union all
        select c.relname::text from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
        where c.relnamespace = 'kompanion'::regnamespace and c.relkind in ('r', 'v', 'S') and a.grantee = 0
        union all
        select n.nspname::text from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'kompanion' and a.grantee = 0"""
    assert rows(db, granted) == []


@pytest.mark.parametrize(("rank", "role"), list(enumerate(ROLES)))
def test_each_role_may_run_exactly_what_is_declared(db: servers.Database, rank: int, role: str) -> None:
    public = "proname::text from pg_proc where pronamespace = 'kompanion'::regnamespace and left(proname, 1) <> '_'"
    everything = set(rows(db, f"select {public}"))
    assert everything == READER | WRITER | ADMIN | OWNER, "declare in this test who may run a new function"
    allowed = set(rows(db, f"select {public} and has_function_privilege(%s, oid, 'execute')", role))
    assert allowed == set().union(*(READER, WRITER, ADMIN)[: rank + 1])
    internal = """
        select proname::text from pg_proc where pronamespace = 'kompanion'::regnamespace and left(proname, 1) = '_'
        and prorettype <> 'trigger'::regtype and not has_function_privilege(%s, oid, 'execute')"""
    assert rows(db, internal, role) == []  # what a function of ours calls, its caller must be able to


@pytest.mark.parametrize(("rank", "role"), list(enumerate(ROLES)))
def test_each_role_may_touch_exactly_the_tables_that_are_declared(db: servers.Database, rank: int, role: str) -> None:
    sql = """
        select c.relname::text, c.relkind::text,
               array(select p from unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'trigger', 'references']) p
                     where has_table_privilege(%s, c.oid, p))
        from pg_class c where c.relnamespace = 'kompanion'::regnamespace and c.relkind in ('r', 'v')"""
    writes = ["select", "insert", "update", "delete"]
    for name, kind, rights in rows(db, sql, role):
        may_write = kind == "r" and (
            (rank > 0 and name in WRITTEN) or (rank > 1 and name in {"settings", "embedding_models"})
        )
        if rank == 1 and name in LASTING:
            assert rights == ["select", "insert"], name
        else:
            assert rights == (writes if may_write else ["select"]), name


def raised_codes() -> set[str]:
    folder = sql_folder() / "migrations"
    return {code for file in folder.glob("*.sql") for code in re.findall(r"'(KM\d{3})'", file.read_text())}


def test_every_code_that_sql_raises_has_its_class_and_the_rest_are_raised_by_python() -> None:
    ours = {code for code in errors.BY_SQLSTATE if code.startswith("KM")}
    python_only = {
        cls.sqlstate
        for cls in (
            errors.MigrationLocked, errors.EmbedderError, errors.ConnectionFailed, errors.MissingExtra,
            errors.PermissionDenied, errors.StorageFull, errors.DamagedStore,
        )
    }  # fmt: skip
    assert raised_codes() == ours - python_only


def test_every_error_that_sql_raises_has_a_hint() -> None:
    for file in (sql_folder() / "migrations").glob("*.sql"):
        for statement in re.findall(r"raise exception using.*?;\n", file.read_text(), re.DOTALL):
            assert "errcode" in statement, (file.name, statement)
            assert "hint" in statement, (file.name, statement)


def test_a_function_that_is_created_later_is_not_granted_to_public_by_ours(one_db: servers.Database) -> None:
    # grant_roles grants by name: what an operator adds to the schema stays his.
    with one_db.connect() as conn:
        conn.execute("create function kompanion.own() returns int language sql as 'select 1'")
        conn.execute("revoke all on function kompanion.own() from public")
        conn.execute("select kompanion.grant_roles()")
        for role in ROLES[:2]:
            assert conn.execute(
                "select has_function_privilege(%s, 'kompanion.own()', 'execute')", (role,)
            ).fetchone() == (False,)


def test_a_comment_cannot_be_lost_unnoticed(one_db: servers.Database) -> None:
    with one_db.connect() as conn:
        conn.execute("comment on column kompanion.users.key is null")
        conn.execute("create index stray on kompanion.users (created_at)")
        assert [row[0] for row in conn.execute(UNCOMMENTED) if not re.search(NOT_OURS, row[0])] == [
            "column users.key",
            "index stray",
        ]


def test_rows_of_an_item_cannot_be_linked_across_namespaces(one_db: servers.Database) -> None:
    with one_db.connect() as conn:
        conn.execute("select * from kompanion.upsert_item('a', 'k', 'c', thread => 't')")
        conn.execute("select * from kompanion.upsert_item('b', 'k', 'c')")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            conn.execute(
                """update kompanion.memory_items set thread_id = (select thread_id from kompanion.threads)
                   where namespace_id = kompanion.namespace_id('b')"""
            )


def test_what_white_space_is_follows_no_locale_and_is_as_on_sqlite(db: servers.Database) -> None:
    points = [n for n in range(1, 0x10000) if not 0xD800 <= n < 0xE000]
    expected = [n for n in points if not is_visible(chr(n))]
    assert 0x3000 in expected
    for name in rows(db, "select quote_ident(collname) from pg_collation where collname in ('C', 'POSIX', 'C.utf8')"):
        asked = (
            f"select n from unnest(%s::integer[]) n where not kompanion._is_visible(chr(n) collate {name}) order by 1"
        )
        assert rows(db, asked, points) == expected, name


def test_no_index_sorts_by_the_collation_of_the_database(db: servers.Database) -> None:
    # A new version of it, which comes with the operating system, would let a key be there twice.
    with db.connect() as conn:
        conn.execute("select kompanion.index_metadata_key('place', 'text')")
        sorted_by_it = conn.execute(
            """select x.indexrelid::regclass from pg_index x join pg_class c on c.oid = x.indexrelid
               where c.relnamespace = 'kompanion'::regnamespace and '"default"'::regcollation = any (x.indcollation::oid[])"""
        ).fetchall()
    assert sorted_by_it == []
