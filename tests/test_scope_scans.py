"""A search of a small scope reads that scope, and not the rest of its model, whatever their sizes."""

from __future__ import annotations

import numpy as np
import pytest
import servers

import kompanion_db

LARGE, EACH, SMALL, DIM = 8, 1250, 20, 32


@pytest.fixture
def interleaved(pg_store: kompanion_db.Store, db: servers.Database) -> kompanion_db.Store:
    """Large namespaces and a small one, whose rows lie side by side on disk, as memories written at once do."""
    vectors = np.random.default_rng(1).normal(size=(LARGE * EACH, 1, DIM)).astype(np.float32)
    pg_store.register_model("m", DIM)
    pg_store.upsert_items(
        {"namespace": f"acme:{n % LARGE if n % 500 else 'small'}", "key": str(n), "content": "t", "vectors": vectors[n]}
        for n in range(len(vectors))
    )
    with db.connect() as conn:
        conn.execute("vacuum analyze")
    return pg_store


def read(db: servers.Database, scope: str) -> dict[str, int]:
    """Entries that each index of embeddings gave in a search of a scope; an exact one, as no index is calibrated."""
    counters = """select indexrelid::regclass::text, pg_stat_get_xact_tuples_returned(indexrelid)
                  from pg_index where indrelid = 'kompanion.embeddings'::regclass"""
    with db.connect(autocommit=False) as conn:
        before = dict(conn.execute(counters).fetchall())
        conn.execute("select kompanion.search(%s, array_fill(1, array[%s])::vector)", (scope, DIM))
        return {name: n - before[name] for name, n in conn.execute(counters).fetchall()}


@pytest.mark.parametrize("kind", ["none", "hnsw"])
def test_a_search_in_a_small_namespace_among_large_ones_reads_that_one(
    interleaved: kompanion_db.Store, db: servers.Database, kind: str
) -> None:
    if kind != "none":
        interleaved.ensure_index("m", kind=kind)
        interleaved.calibrate("m", sample=50)
    assert sum(read(db, "acme:small").values()) <= 5 * SMALL
