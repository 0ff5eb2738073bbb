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
