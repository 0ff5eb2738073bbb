"""What is asked of a namespace or a model that the statistics do not know reads no more than it does once they do."""

from __future__ import annotations

import psycopg
import pytest
import servers
from test_upkeep_scans import read_by

ITEMS, FEW, DIM = 6000, 100, 4
KEYS = """select 'acme' as namespace, n::text as key, 'text ' || n as content
          from generate_series(%s::integer, %s::integer) n"""


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


BY_KEY = {
    "get_item": "select count(g.item_id) from keys k cross join lateral kompanion.get_item(k.namespace, k.key) g",
    "get_chunks": "select count(g.vector) from keys k cross join lateral kompanion.get_chunks(k.namespace, k.key) g",
    "item_history": "select count(g) from keys k cross join lateral kompanion.item_history(k.namespace, k.key) g",
    "upsert_item": "select count(g) from keys k cross join lateral kompanion.upsert_item(k.namespace, k.key, k.content, tags => '{x}') g",
    "upsert_item with its vector": "select count(g) from keys k cross join lateral kompanion.upsert_item(k.namespace, k.key, k.content || '!', vectors => array['[1,2,3,4]'::vector]) g",
    "upsert_items": "select count(g) from kompanion.upsert_items((select jsonb_agg(to_jsonb(k)) from keys k)) g",
    "delete_item": "select count(g) from keys k cross join lateral kompanion.delete_item(k.namespace, k.key) g",
    "touch_item": "select count(g) from keys k cross join lateral kompanion.touch_item(k.namespace, k.key, ttl => '1 day') g",
    "put_chunks": "select count(distinct k.key) from keys k cross join lateral kompanion.put_chunks(k.namespace, k.key, array['te', 'xt'], array[0, 2], array[2, 4]) g",
}


def test_items_of_a_large_namespace_are_looked_up_by_their_keys(unknown: servers.Database) -> None:
    for call, sql in BY_KEY.items():
        with unknown.connect(autocommit=False) as conn:
            # The first calls of a session, and those after: a plan may be another once it is kept.
            for first, some in [*((n, 1) for n in range(1, 8)), (101, FEW)]:
                read, found = read_by(conn, f"with keys as materialized ({KEYS}) {sql}", first, first + some - 1)
                assert found == [(some - (some // 10 if call == "get_chunks" else 0),)], call
                assert read <= ITEMS / 2 + ITEMS / 4 * some, call
            conn.rollback()


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
