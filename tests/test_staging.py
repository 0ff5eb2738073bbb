"""Many items are staged in tables of the session alone, whoever calls and whatever else has their names."""

from __future__ import annotations

from typing import Any

import psycopg
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
