"""Vectors that are too long for an index are indexed in half precision where the server can, or are searched exactly."""

from __future__ import annotations

from pathlib import Path

import clusters
import numpy as np
import pytest
import servers
from clusters import DIM, QUERIES

import kompanion_db
from kompanion_db import errors

LONG = 3000


def test_vectors_of_3000_dimensions_go_by_an_index_in_half_precision_or_are_searched_exactly(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(200, LONG)).astype(np.float32)
    pg_store.register_model("long", LONG)
    pg_store.upsert_items(
        {"namespace": "acme", "key": str(n), "content": "t", "vectors": [v]} for n, v in enumerate(vectors)
    )
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        (version,) = conn.execute("select extversion from pg_extension where extname = 'vector'").fetchone() or ("",)
    half = tuple(map(int, version.split(".")[:2])) >= (0, 7)
    steps = pg_store.ensure_index("long", kind="hnsw")
    assert bool(steps) == half
    told = pg_store.explain_search("acme", vectors[0])
    assert told["path"] == ("index" if half else "exact")
    queries = vectors[:20] + 0.5 * rng.normal(size=(20, LONG)).astype(np.float32)
    recalls = []
    for query in queries:
        far = 1 - (vectors @ query) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        hits = pg_store.search("acme", query, 10)
        assert [h.distance for h in hits] == pytest.approx([far[int(h.key)] for h in hits], abs=1e-5)
        assert [h.distance for h in hits] == sorted(h.distance for h in hits)
        recalls.append(len({int(h.key) for h in hits} & set(np.argsort(far)[:10].tolist())) / 10)
    assert np.mean(recalls) >= 0.95
    advice = {a.advice: a.statement for a in pg_store.index_advice("long")}
    if half:
        assert advice == {}
        assert pg_store.calibrate("long", sample=10)
    else:
        assert list(advice.values()) == [None]  # the server has no newer one to update to
        assert "needs pgvector 0.7" in next(iter(advice))
        with pytest.raises(kompanion_db.errors.BadArgument, match="3000 dimensions cannot be indexed here"):
            pg_store.tune_index("long")


def test_half_precision_may_be_asked_for_and_dropped_again(pg_store: kompanion_db.Store, db: servers.Database) -> None:
    pg_store.register_model("m", DIM)
    pg_store.upsert_items(clusters.items(range(300)))
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        (known,) = conn.execute("select to_regtype('halfvec') is not null").fetchone() or (False,)
    if not known:
        with pytest.raises(errors.BadArgument, match=r"half: .* cannot be for 16 dimensions with pgvector 0\.6"):
            pg_store.ensure_index("m", kind="hnsw", half=True)
        return
    for half in (True, False):
        steps = pg_store.ensure_index("m", kind="hnsw", half=half)
        assert ["halfvec" in step.statement for step in steps if "create index" in step.statement] == [half]
        assert pg_store.ensure_index("m", kind="hnsw", half=half) == []
        assert pg_store.ensure_index("m") == []  # what it was asked to be it stays
        hits = pg_store.search("acme", QUERIES[0], 10)
        far = clusters.distances(QUERIES[0])
        assert [h.distance for h in hits] == pytest.approx([far[int(h.key)] for h in hits], abs=1e-5)
        assert pg_store.explain_search("acme", QUERIES[0])["path"] == "index"


def test_what_is_in_half_precision_is_tuned_and_built_anew_in_half_precision(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.register_model("m", DIM)
    pg_store.upsert_items(clusters.items(range(1000)))
    with db.connect() as conn:
        (known,) = conn.execute("select to_regtype('halfvec') is not null").fetchone() or (False,)
    if not known:
        pytest.skip("pgvector before 0.7 has no half precision")

    def is_half() -> bool:
        with db.connect() as conn:
            found = conn.execute(
                "select pg_get_indexdef('kompanion.embeddings_ann_1'::regclass) ~ 'halfvec'"
            ).fetchone()
        return found == (True,)

    pg_store.ensure_index("m", kind="ivfflat", half=True)
    assert [found.chosen for found in pg_store.tune_index("m", kinds=["hnsw"], sample=10)] == [True]
    assert is_half()
    assert pg_store.ensure_index("m", kind="ivfflat")
    assert is_half()
    assert pg_store.ensure_index("m", kind="hnsw", half=False)
    assert pg_store.ensure_index("m") == [], "what was asked for after the tuning stays"
    assert not is_half()


def test_a_number_too_large_for_an_index_in_half_precision_is_refused_and_told_why(
    pg_store: kompanion_db.Store, db: servers.Database, tmp_path: Path
) -> None:
    with db.connect() as conn:
        (known,) = conn.execute("select to_regtype('halfvec') is not null").fetchone() or (False,)
    if not known:
        pytest.skip("pgvector before 0.7 has no half precision")
    pg_store.register_model("m", 2, metric="l2")
    pg_store.upsert_item("acme", "small", "text", vectors=[[1, 2]])
    pg_store.ensure_index("m", kind="hnsw", half=True)
    large = kompanion_db.NewItem("acme", "large", "text", vectors=[[70_000, 2]])
    with pytest.raises(
        errors.BadVector, match=r"^vectors\[0\]: has an element beyond 65504, too large for half precision"
    ) as told:
        pg_store.upsert_item(large.namespace, large.key, large.content, vectors=large.vectors)
    assert "half => false" in (told.value.hint or "")
    with pytest.raises(errors.BadVector, match=r"^items\[0\]\.vectors\[0\]: has an element beyond 65504"):
        pg_store.upsert_items([large])
    with kompanion_db.connect(f"sqlite:///{tmp_path}/x.db") as other:
        other.register_model("m", 2, metric="l2")
        other.upsert_items([large])
        documents = other.export_items("acme")[0]
    with pytest.raises(errors.BadArgument, match=r"^documents: .*70000.*halfvec") as told:
        pg_store.import_documents(documents)
    assert "drop it" in (told.value.hint or "")
    assert pg_store.get_item("acme", "large") is None
    pg_store.upsert_item("acme", "long", "text", vectors=[[60_000, 60_000]])
    pg_store.ensure_index("m", kind="hnsw", half=False)
    pg_store.upsert_item("acme", "large", "text", vectors=[[70_000, 2]])
    assert pg_store.search("acme", [70_000, 2])[0].key == "large"


def test_a_vector_too_short_for_an_index_in_half_precision_is_refused_as_it_would_not_be_found(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    with db.connect() as conn:
        (known,) = conn.execute("select to_regtype('halfvec') is not null").fetchone() or (False,)
    if not known:
        pytest.skip("pgvector before 0.7 has no half precision")
    pg_store.register_model("m", 4)
    pg_store.ensure_index("m", kind="hnsw", half=True)
    with pytest.raises(errors.BadVector, match=r"^vectors\[0\]: is too short for half precision"):
        pg_store.upsert_item("acme", "short", "text", vectors=[[1e-9, 0, 0, 0]])
    with pytest.raises(errors.BadVector, match=r"^items\[0\]\.vectors\[0\]: is too short for half precision"):
        pg_store.upsert_items([kompanion_db.NewItem("acme", "short", "text", vectors=[[1e-9, 0, 0, 0]])])
    pg_store.upsert_item("acme", "fine", "text", vectors=[[0.003, 0, 0, 0]])
    pg_store.ensure_index("m", kind="hnsw", half=False)
    pg_store.upsert_item("acme", "short", "text", vectors=[[1e-9, 0, 0, 0]])


def test_vectors_of_more_dimensions_than_any_index_takes_are_searched_exactly(store: kompanion_db.Store) -> None:
    store.register_model("m", 5000)
    store.upsert_item("acme", "k", "text", vectors=[np.ones(5000)])
    assert store.ensure_index("m", kind="ivfflat") == []
    assert store.search("acme", np.ones(5000))[0].key == "k"
    (advice,) = store.index_advice("m")
    assert advice.advice == "5000 dimensions are more than pgvector can index: search is exact"
    assert advice.statement is None
