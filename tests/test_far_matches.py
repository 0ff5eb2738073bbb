"""The nearest matches are found also where none lies near the query, or all lie nearer to each other than half precision tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import servers

import kompanion_db

DIM, ROWS = 16, 2000


def _vectors(scale: float) -> Any:
    """Half lie about the first axis, half about the second."""
    rng = np.random.default_rng(4)
    centres = np.zeros((ROWS, DIM))
    centres[np.arange(ROWS), np.arange(ROWS) % 2] = 1
    return (centres + scale * rng.normal(size=(ROWS, DIM))).astype(np.float32)


def _fill(store: kompanion_db.Store, vectors: Any, **index: Any) -> None:
    store.register_model("m", DIM)
    store.upsert_items(
        {
            "namespace": f"acme:{n % 2}",
            "key": str(n),
            "content": "text",
            "metadata": {"far": n % 2},
            "vectors": vectors[n : n + 1],
        }
        for n in range(ROWS)
    )
    store.ensure_index("m", **index)
    store.calibrate("m", sample=30)


def _nearest(vectors: Any, query: Any, among: range, k: int) -> list[int]:
    far = 1 - (vectors @ query) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return sorted(among, key=lambda n: far[n])[:k]


def test_of_far_matches_more_than_are_counted_the_nearest_of_all_are_found(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    vectors = _vectors(0.1)
    _fill(pg_store, vectors, kind="ivfflat", lists=20)
    with db.connect() as conn:
        conn.execute("vacuum analyze")
        # An item costs as much as forty vectors: so few matches are counted before the vectors are gone through instead.
        conn.execute(
            "update kompanion.embedding_models set knobs = knobs || "
            "jsonb_build_object('exact_rows', 10, 'rare_items', 10, 'row_us', 1, 'item_us', 40)"
        )
    query = np.eye(DIM, dtype=np.float32)[0]
    told = pg_store.explain_search("acme", query, 10, filter={"far": 1})
    assert (told["path"], told["expected_recall"]) == ("exact", 1)
    assert told["reason"] == "hardly a match lies near the query"
    found = [int(h.key) for h in pg_store.search("acme", query, 10, filter={"far": 1})]
    assert found == _nearest(vectors, query, range(1, ROWS, 2), 10)


@pytest.mark.parametrize("scope", ["acme:0", "acme"])
def test_in_half_precision_what_is_near_comes_in_its_true_order(
    pg_store: kompanion_db.Store, db: servers.Database, scope: str
) -> None:
    with db.connect() as conn:
        if conn.execute("select kompanion._vector_version() < 7").fetchone() == (True,):
            pytest.skip("needs halfvec of pgvector 0.7")
    vectors = _vectors(0.02)
    _fill(pg_store, vectors, kind="hnsw", half=True)
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        conn.execute("""update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'""")
    reasons, itself = set(), 0
    for n in range(0, 60, 2):
        query = vectors[n]
        reasons.add(pg_store.explain_search(scope, query, 10, target_recall=0.5)["reason"])
        hits = pg_store.search(scope, query, 10, target_recall=0.5)
        assert [h.distance for h in hits] == sorted(h.distance for h in hits)
        itself += hits[0].key == str(n)
    assert itself >= 28, "of 30; a graph may miss one"
    assert "what a look around has seen is enough" in reasons


@pytest.mark.parametrize("length", [1e6, 1e-6])
def test_a_query_beyond_half_precision_is_answered_exactly(
    pg_store: kompanion_db.Store, db: servers.Database, length: float
) -> None:
    with db.connect() as conn:
        if conn.execute("select kompanion._vector_version() < 7").fetchone() == (True,):
            pytest.skip("needs halfvec of pgvector 0.7")
    vectors = _vectors(0.1)
    _fill(pg_store, vectors, kind="hnsw", half=True)
    query = vectors[0] * np.float32(length)
    for calibrated in (True, False):
        with db.connect() as conn:
            conn.execute("select kompanion.set_setting('exact_threshold', '10')")
            conn.execute(
                """update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'"""
            )
            if not calibrated:
                conn.execute("update kompanion.embedding_models set knobs = null")
        told = pg_store.explain_search("acme", query, 10)
        assert told["reason"] == "the query is too long or too short for the half precision of the index"
        assert [int(h.key) for h in pg_store.search("acme", query, 10)] == _nearest(vectors, query, range(ROWS), 10)
