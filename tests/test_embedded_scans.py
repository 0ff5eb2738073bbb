"""What a load with an embedder asks for, which texts have their vectors, is looked up item by item, also where the statistics know nothing of them."""

from __future__ import annotations

import servers
from test_upkeep_scans import read_by

import kompanion_db
from kompanion_db import HashEmbedder

ITEMS = 600
ASKED = "select * from kompanion.embedded_chunks(%s, %s, 'hash-8-v1')"


def test_the_vectors_of_the_items_of_a_load_are_looked_up_item_by_item(db: servers.Database) -> None:
    with kompanion_db.connect(db.url, embedder=HashEmbedder(dim=4)) as store, db.connect() as conn:
        for table in ("namespaces", "memory_items", "memory_chunks", "embeddings"):
            conn.execute(f"alter table kompanion.{table} set (autovacuum_enabled = false)")
        store.upsert_items({"namespace": "other", "key": f"{n}", "content": f"text {n}"} for n in range(100))
        conn.execute("analyze")  # of another namespace and model alone
    with kompanion_db.connect(db.url, embedder=HashEmbedder(dim=8)) as store:
        store.upsert_items({"namespace": "acme", "key": f"{n}", "content": f"text {n}"} for n in range(ITEMS))
    with db.connect(autocommit=False) as conn:
        read, found = read_by(conn, ASKED, ["acme"] * ITEMS, [f"{n}" for n in range(ITEMS)])
    assert found == [(n + 1, f"text {n}") for n in range(ITEMS)]
    assert read < 40 * ITEMS
