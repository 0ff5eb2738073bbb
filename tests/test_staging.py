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


def test_a_database_that_does_not_let_writers_create_temporary_tables_says_what_to_grant(db: servers.Database) -> None:
    with db.connect() as dba, db.connect() as conn:
        dba.execute(f"revoke temporary on database {db.name} from public")
        conn.execute("set role kompanion_writer")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="temporary tables") as caught:
            conn.execute(STATUSES, (TWO,))
        assert caught.value.diag.message_hint
        dba.execute(caught.value.diag.message_hint.removeprefix("Ask a DBA to run: "))
        assert conn.execute(STATUSES, (TWO,)).fetchall() == [("inserted",)] * 2


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
