"""What is asked of a namespace or a model that the statistics do not know reads no more than it does once they do."""

from __future__ import annotations

import psycopg
import pytest
import servers
from test_upkeep_scans import read_by

ITEMS, FEW, DIM = 6000, 100, 4


def load(conn: psycopg.Connection[object], namespace: str, items: int) -> None:
    """Items of one namespace, a third of them with a tag, a tenth without a vector of the default model."""
    conn.execute(
        """select count(*) from kompanion.upsert_items((
               select jsonb_agg(jsonb_build_object('namespace', %s::text, 'key', n::text, 'content', 'text ' || n,
                   'tags', case when n %% 3 = 0 then array['third'] else '{}' end)
                   || case when n %% 10 > 0 then jsonb_build_object('vectors', jsonb_build_array(format('[%%s,1,1,1]', n)::jsonb)) else '{}' end)
               from generate_series(1, %s) n))""",
        (namespace, items),
    )


@pytest.fixture
def unknown(db: servers.Database) -> servers.Database:
    """A store that was analyzed when another namespace had a few items, and then grew."""
    with db.connect() as conn:
        for table in conn.execute(
            "select oid::regclass::text from pg_class where relnamespace = 'kompanion'::regnamespace and relkind = 'r'"
        ).fetchall():
            conn.execute(f"alter table {table[0]} set (autovacuum_enabled = false)")
        conn.execute("select kompanion.register_model('m', %s)", (DIM,))
        load(conn, "other", 20)
        conn.execute("analyze")
        load(conn, "acme", ITEMS)
    return db


def test_a_batch_of_the_queue_reads_that_batch(unknown: servers.Database) -> None:
    with unknown.connect() as conn:
        conn.execute("select kompanion.register_model('later', %s)", (DIM,))
    with unknown.connect(autocommit=False) as conn:
        for _ in range(7):
            read, found = read_by(
                conn,
                """with batch as materialized (select * from kompanion.pending_embeddings('later', %s))
                   select count(*) from (select array_agg(namespace_id) n, array_agg(chunk_id) c, array_agg(chunk_revision) r from batch) b
                   cross join lateral kompanion.put_embeddings(b.n, b.c, b.r, array_fill('[1,2,3,4]'::vector, array[%s]), 'later') p
                   where p.status = 'stored'""",
                FEW,
                FEW,
            )
            assert found == [(FEW,)]
            assert read <= 200 * FEW
        assert conn.execute(
            "select count(*) from kompanion.pending_embeddings('later', %s, 'w')", (FEW,)
        ).fetchone() == (FEW,)
        read, found = read_by(
            conn,
            """select kompanion.release_embeddings(array_agg(namespace_id), array_agg(chunk_id), 'later', 'w')
               from kompanion.embedding_queue where worker = 'w'""",
        )
        assert found == [(FEW,)]


@pytest.mark.parametrize(
    "condition", ["tags_any => '{third}'", "tags_none => '{third}'", 'filter => \'{"n": {"$gt": 1}}\'']
)
def test_a_search_by_what_items_are_starts_from_the_items_not_from_a_model_loaded_later(
    unknown: servers.Database, condition: str
) -> None:
    with unknown.connect() as conn:
        conn.execute(
            """select count(*) from kompanion.upsert_items((
                   select jsonb_agg(jsonb_build_object('namespace', 'acme:n' || mod(n, 250), 'key', n::text, 'content', 'text', 'metadata', jsonb_build_object('n', n)))
                   from generate_series(1, 2500) n))"""
        )
        conn.execute("analyze")
        conn.execute("select kompanion.register_model('later', %s)", (DIM,))
        conn.execute(
            """insert into kompanion.embeddings (namespace_id, chunk_id, model_id, item_id, tags, vector)
               select c.namespace_id, c.chunk_id, 2, c.item_id, i.tags, '[1,2,3,4]'
               from kompanion.memory_chunks c join kompanion.memory_items i using (namespace_id, item_id)"""
        )
    with unknown.connect(autocommit=False) as conn:
        conn.execute(f"select kompanion.search('acme', '[1,1,1,1]', model => 'later', {condition})")
        read = conn.execute(
            "select pg_stat_get_xact_tuples_returned('kompanion.embeddings_model_ix'::regclass)"
        ).fetchone()
    assert read == (0,)


def test_the_vectors_of_a_model_loaded_later_are_deleted_one_by_one(unknown: servers.Database) -> None:
    with unknown.connect() as conn:
        conn.execute("select kompanion.register_model('later', %s)", (DIM,))
    with unknown.connect(autocommit=False) as conn:
        read, _ = read_by(conn, "select kompanion.retire_model('later', true)")
    assert read <= 40 * ITEMS
