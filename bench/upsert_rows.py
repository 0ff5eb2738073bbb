"""Single upserts of rows of one's own: each brings its vector, in the namespace and with the tags of its row.

pgbench has no vectors to send: the rows stand in a table beside the store, from which both ways read them alike.
"""

from __future__ import annotations

from typing import Any

import psycopg
from pgvector.psycopg import register_vector

import kompanion_db

from . import common
from .data import Dataset

ROWS = 10_000
"""So many are drawn from: their table stays in the memory of the server, whatever the size of the file."""
METADATA = """'{"topic": "t1", "importance": 3}'"""
# At the start of a script, which has drawn k of so many hot keys. A hot key is always of the same row.
DRAW = {"new keys": "\\set r random(1, {rows})", "hot keys": "\\set r 1 + (:k - 1) % {rows}"}
FUNCTION = f"""
select u.* from bench_rows d cross join lateral
    kompanion.upsert_item(d.namespace, {{key}}, {{content}}, {METADATA}, d.tags, vectors => array[d.vector], model => 'bench') u
where d.n = :r;
"""
# The chunk is there before the trigger of the item looks for one: it takes away those of the old content, and cuts and queues nothing.
BY_HAND = f"""
with item as (
    insert into kompanion.memory_items as i (namespace_id, key, content, metadata, tags)
    select d.namespace_id, {{key}}, {{content}}, {METADATA}, d.tags from bench_rows d where d.n = :r
    on conflict on constraint memory_items_namespace_key_uq do update
        set content = excluded.content, metadata = excluded.metadata, tags = excluded.tags, thread_id = excluded.thread_id,
            user_id = excluded.user_id, actor = excluded.actor, expires_at = excluded.expires_at, deleted_at = null
    returning i.namespace_id, i.item_id, i.revision, i.content, i.content_revision, i.tags
), chunk as (
    insert into kompanion.memory_chunks (namespace_id, item_id, ordinal, content, start_offset, end_offset, content_revision)
    select i.namespace_id, i.item_id, 0, i.content, 0, length(i.content), i.content_revision from item i
    returning namespace_id, chunk_id
), vector as (
    insert into kompanion.embeddings (namespace_id, chunk_id, model_id, item_id, tags, vector)
    select c.namespace_id, c.chunk_id, m.model_id, i.item_id, i.tags, d.vector
    from chunk c cross join item i cross join bench_rows d cross join kompanion.embedding_models m
    where d.n = :r and m.name = 'bench'
)
select i.item_id, i.revision, case when i.revision = 1 then 'inserted' else 'revised' end as status from item i;
"""
WAYS = {"upsert_item": FUNCTION, "by hand": BY_HAND}


def fill(url: str, store: kompanion_db.Store, source: Dataset, namespace: str, hot_keys: int) -> None:
    """The table of the rows, with the ids of their namespaces for the statement by hand; and an item of each hot key."""
    paths = source.namespaces or [namespace] * len(source.vectors)
    tags = [sorted(set(some)) for some in source.tags] if source.tags else [["tag1"]] * len(paths)
    ids = {path: store.ensure_namespace(path) for path in dict.fromkeys(paths)}
    with psycopg.connect(url) as conn, common.progress(len(paths), "rows") as bar:
        register_vector(conn)
        conn.execute(
            f"""create table bench_rows (n int primary key, namespace text not null, namespace_id uuid not null,
                tags text[] not null, vector vector({source.dim}) not null)"""
        )
        found = conn.execute("select 'vector'::regtype::oid").fetchone()
        assert found is not None
        with conn.cursor().copy("copy bench_rows from stdin (format binary)") as copy:
            copy.set_types(["int4", "text", "uuid", "text[]", found[0]])
            for n, path in enumerate(paths):
                copy.write_row((n + 1, path, ids[path], tags[n], source.vectors[n]))
                bar.update()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("vacuum analyze bench_rows")
    places = ((k, (k - 1) % len(paths)) for k in range(1, hot_keys + 1))
    store.upsert_items(
        (kompanion_db.NewItem(paths[n], "x", f"hot-{k}", tags=tags[n], vectors=source.vectors[n : n + 1])
         for k, n in places), model="bench",
    )  # fmt: skip


def of_data(record: dict[str, Any]) -> str:
    """Whose vectors they bring, if any, as titles have it."""
    return f" with vectors of {record['data']}" if record.get("data") else ""
