"""A target holds where what lay near the query is gone, and however long the query is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import servers
from numpy.typing import NDArray

import kompanion_db

DIM, ROWS = 24, 6000
Floats = NDArray[np.float32]


def _recall(store: kompanion_db.Store, vectors: Floats, alive: Any, queries: Floats, target: float) -> float:
    """Of ten items by inner product or, vectors being of length 1, by cosine."""
    places = np.flatnonzero(alive)
    found = 0
    for query in queries:
        nearest = places[np.argsort(-(vectors[places] @ query), kind="stable")[:10]]
        hits = store.search("*", query, 10, target_recall=target)
        found += len({int(h.key) for h in hits} & {int(n) for n in nearest})
    return found / (10 * len(queries))


def _fill(store: kompanion_db.Store, vectors: Floats, kinds: Any, metric: str) -> None:
    store.register_model("m", DIM, metric=metric)
    store.upsert_items(
        {"namespace": f"acme:{kinds[n]}", "key": str(n), "content": "x", "vectors": vectors[n : n + 1]}
        for n in range(len(vectors))
    )
    store.ensure_index("m", kind="ivfflat", lists=60)
    store.calibrate("m", sample=200)


def _unit(vectors: Any) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("how", ["delete", "expire"])
def test_a_target_holds_where_all_that_lay_near_the_query_is_gone(
    pg_store: kompanion_db.Store, db: servers.Database, how: str
) -> None:
    rng = np.random.default_rng(3)
    old = np.arange(ROWS) % 5 < 2
    vectors = rng.normal(scale=0.35, size=(ROWS, DIM))
    vectors[:, 0] = np.where(old, 2.0, -0.4)
    vectors = _unit(vectors)
    _fill(pg_store, vectors, np.where(old, "old", "new"), "cosine")
    with db.connect() as conn:
        conn.execute("""update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'""")
        conn.execute(
            "update kompanion.memory_items set deleted_at = now() where namespace_id = kompanion.namespace_id('acme:old')"
            if how == "delete"
            else "update kompanion.memory_items set expires_at = now() - interval '1 s' "
            "where namespace_id = kompanion.namespace_id('acme:old')"
        )
    told = pg_store.explain_search("*", vectors[0], 10, target_recall=0.9)
    assert told["reason"] == "hardly a match lies near the query"
    for target in (0.9, 0.99):
        assert _recall(pg_store, vectors, ~old, vectors[old][:30], target) >= target
    # What lies near those is there; how the lists were cut decides about a single one.
    ways = [pg_store.explain_search("*", vector, 10, target_recall=0.9)["path"] for vector in vectors[~old][:20]]
    assert ways.count("index") >= 10


def test_by_inner_product_a_longer_query_finds_what_the_same_one_finds_at_length_1(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    rng = np.random.default_rng(4)
    strewn = np.arange(ROWS) % 5 < 2
    centres = rng.normal(size=(40, DIM))
    vectors = centres[rng.integers(40, size=ROWS)] + 0.1 * rng.normal(size=(ROWS, DIM))
    vectors[strewn] = rng.normal(size=(int(strewn.sum()), DIM))
    vectors = _unit(vectors)
    _fill(pg_store, vectors, np.where(strewn, "strewn", "dense"), "inner_product")
    with db.connect() as conn:
        conn.execute("""update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'""")
    for query in (vectors[0], vectors[2], vectors[3]):
        once, again = (pg_store.explain_search("*", query * times, 10, target_recall=0.9) for times in (1, 8))
        # No probes where none was measured to reach the target: then neither has any.
        told = [(e["path"], e["difficulty"], e.get("probes")) for e in (once, again)]
        assert told[0] == told[1]
        short, long = (pg_store.search("*", query * np.float32(times), 10, target_recall=0.9) for times in (1, 8))
        assert [h.key for h in long] == [h.key for h in short]
    # Of queries as they come: the target is that of all of them, the difficult ones alone may have less. 0.02: of 150.
    assert _recall(pg_store, vectors, strewn | True, 8 * vectors[:150], 0.95) >= 0.93
