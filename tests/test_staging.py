"""Many items are staged in tables of the session alone, whoever calls and whatever else has their names."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import servers

STATUSES = "select status from kompanion.upsert_items(%s::jsonb)"
TWO = """[{"namespace": "acme", "key": "a", "content": "first", "chunks": ["fi", "rst"], "chunk_starts": [0, 2], "chunk_ends": [2, 5]},
          {"namespace": "acme", "key": "b", "content": "second"}]"""


def _written(conn: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    chunks = (
        "select i.key, c.content from kompanion.live_items i join kompanion.live_chunks c using (namespace_id, item_id)"
    )
    return conn.execute(f"{chunks} order by 1, c.ordinal").fetchall()


def test_tables_of_the_same_names_in_public_get_nothing(db: servers.Database) -> None:
    with db.connect() as conn:
        conn.execute("select kompanion.begin_staging()")
        for table in ("staged_items", "staged_chunks"):
            conn.execute(f"create table public.{table} (like pg_temp.{table} including defaults)")
            conn.execute(f"grant all on public.{table} to public")
    with db.connect() as conn:
        conn.execute("set role kompanion_writer")
        assert conn.execute(STATUSES, (TWO,)).fetchall() == [("inserted",)] * 2
        assert _written(conn) == [("a", "fi"), ("a", "rst"), ("b", "second")]
        for table in ("staged_items", "staged_chunks"):
            assert conn.execute(f"select count(*) from public.{table}").fetchone() == (0,)


def test_roles_that_take_turns_in_a_session_stage_in_the_same_tables(db: servers.Database) -> None:
    with db.connect() as conn:
        for key, role in enumerate(("kompanion_writer", "kompanion_admin", "none", "kompanion_writer")):
            conn.execute(f"set role {role}")
            item = f'[{{"namespace": "acme", "key": "{key}", "content": "text"}}]'
            assert conn.execute(STATUSES, (item,)).fetchall() == [("inserted",)]


@pytest.mark.parametrize("role", ["kompanion_writer", "kompanion_admin"])
def test_a_database_that_does_not_let_writers_create_temporary_tables_says_what_to_grant(
    db: servers.Database, role: str
) -> None:
    with db.connect() as dba, db.connect() as conn:
        dba.execute(f"revoke temporary on database {db.name} from public")
        conn.execute(f"set role {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="temporary tables") as caught:
            conn.execute(STATUSES, (TWO,))
        assert caught.value.diag.message_hint
        dba.execute(caught.value.diag.message_hint.removeprefix("Ask a DBA to run: "))
        assert conn.execute(STATUSES, (TWO,)).fetchall() == [("inserted",)] * 2


CODE = "insert into public.ran select current_user"
LEFT = {
    "a trigger": "create trigger t before insert on {0} for each row execute function public.left_t()",
    "a default": "alter table {0} alter actor set default public.left_f()",
    "a rule": "create rule r as on insert to {0} do also " + CODE,
    "a constraint": "alter table {0} add check (public.left_f() <> '') not valid",
    "an index": "create index on {0} (public.left_f(key))",
    "a policy": "alter table {0} enable row level security; create policy p on {0} using (public.left_f() <> '')",
    "a child": "create temp table child () inherits ({0})",
    "another column": "alter table {0} add x text",
    "a view": "alter table {0} rename to was; create view {0} as select w.*, public.left_f() from was w",
    "one table of two": "drop table pg_temp.staged_chunks",
}


@pytest.mark.parametrize("what", LEFT)
def test_what_a_role_left_behind_never_runs_with_the_rights_of_the_next(one_db: servers.Database, what: str) -> None:
    with one_db.connect() as conn:
        conn.execute("create table public.ran (who text); grant insert on public.ran to public")
        returned = f"language plpgsql as $$ begin {CODE}; return"
        conn.execute(f"create function public.left_f(k text default '') returns text immutable {returned} 'x'; end $$")
        conn.execute(f"create function public.left_t() returns trigger {returned} new; end $$")
        conn.execute("set role kompanion_writer")
        conn.execute("select kompanion.begin_staging()")
        conn.execute(LEFT[what].format("pg_temp.staged_items"))
        conn.execute("reset role")
        calls = ("select kompanion.begin_staging()", "select kompanion.merge_staged()", STATUSES)
        for call in calls:
            with pytest.raises(psycopg.Error, match="not as begin_staging makes them") as caught:
                conn.execute(call, (TWO,) if call == STATUSES else ())
            assert caught.value.sqlstate == "KM007"
        assert "discard temp;" in str(caught.value.diag.message_hint)
        conn.execute("discard temp")
        assert conn.execute(STATUSES, (TWO,)).fetchall() == [("inserted",)] * 2
        assert conn.execute("select count(*) from public.ran").fetchone() == (0,)


def test_a_role_puts_no_trigger_on_the_staging_tables_of_another(one_db: servers.Database) -> None:
    with one_db.connect() as conn:
        conn.execute("select kompanion.begin_staging()")
        conn.execute("set role kompanion_writer")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(
                "create trigger t before insert on pg_temp.staged_items for each row"
                " execute function suppress_redundant_updates_trigger()"
            )


@pytest.mark.parametrize(
    ("items", "chunks", "wrong"),
    [
        ([(1, "a"), (1, "b")], [], "an ord repeats"),
        ([(1, "a"), (2, "b"), (2, "c")], [(2, 0)], "an ord repeats"),
        ([(1, "a")], [(1, 0), (2, 0)], "no item"),
        ([(1, "a"), (3, "b")], [(1, 0), (2, 0)], "no item"),
        ([(-2_147_483_648, "a"), (2_147_483_647, "b")], [(0, 0)], "no item"),
        ([], [(1, 0)], "no item"),
    ],
)
def test_a_staged_row_that_would_be_lost_is_refused(
    one_db: servers.Database, items: list[tuple[int, str]], chunks: list[tuple[int, int]], wrong: str
) -> None:
    with one_db.connect() as conn:
        with pytest.raises(psycopg.Error, match=wrong) as caught:
            _merge(conn, items, chunks)
        assert caught.value.sqlstate == "KM007"
        assert caught.value.diag.message_hint
        assert _written(conn) == []


@pytest.mark.parametrize("ords", [(1, 2), (7, 3), (-2_147_483_648, 2_147_483_647)])
def test_items_are_numbered_as_one_likes(one_db: servers.Database, ords: tuple[int, int]) -> None:
    with one_db.connect() as conn:
        merged = _merge(conn, list(zip(ords, "ab", strict=True)), [(ords[0], 0)])
        assert set(merged) == {(ord, "inserted") for ord in ords}
        assert _written(conn) == [("a", "text"), ("b", "text")]


def _merge(
    conn: psycopg.Connection[Any], items: list[tuple[int, str]], chunks: list[tuple[int, int]]
) -> list[tuple[int, str]]:
    item = "insert into pg_temp.staged_items (ord, namespace, key, content) values (%s, 'acme', %s, 'text')"
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("select kompanion.begin_staging()")
        cursor.executemany(item, items)
        cursor.executemany("insert into pg_temp.staged_chunks (ord, ordinal) values (%s, %s)", chunks)
        return cursor.execute("select ord, status from kompanion.merge_staged()").fetchall()
