"""Items of many chunks: what is asked for is items, and the target holds for those."""

from __future__ import annotations

from collections.abc import Iterator

import engines
import numpy as np
import pytest

import kompanion_db
from kompanion_db import Chunk, NewItem

ITEMS, CHUNKS, DIM = 300, 20, 16
RNG = np.random.default_rng(11)
MIDDLES = RNG.normal(size=(ITEMS, DIM)).astype(np.float32)
VECTORS = MIDDLES[:, None, :] + 0.35 * RNG.normal(size=(ITEMS, CHUNKS, DIM)).astype(np.float32)
QUERIES = MIDDLES[:100] + 0.35 * RNG.normal(size=(100, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def filled(one_engine: engines.Engine) -> Iterator[kompanion_db.Store]:
    """Each item's chunks lie together, many of them nearer than the next item's."""
    pieces = [Chunk(n, str(n % 10), n, n + 1) for n in range(CHUNKS)]
    text = "".join(piece.text for piece in pieces)
    home = one_engine.home()
    with kompanion_db.connect(home.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(
            (NewItem("a", text, str(n), chunks=pieces, vectors=list(vectors)) for n, vectors in enumerate(VECTORS)),
            model="m",
        )
        store.ensure_index("m", kind="ivfflat", lists=70)
        store.calibrate("m", sample=400)
        yield store
    home.drop()


@pytest.mark.parametrize("k", [1, 5, 10])
def test_of_the_nearest_items_as_many_are_found_as_was_asked_for(filled: kompanion_db.Store, k: int) -> None:
    found = 0
    for query in QUERIES:
        true = {hit.key for hit in filled.search("*", query, k, target_recall=1)}
        hits = filled.search("*", query, k, target_recall=0.95)
        assert len({hit.key for hit in hits}) == k
        found += len(true & {hit.key for hit in hits})
    assert found / (k * len(QUERIES)) >= 0.94


@pytest.mark.parametrize("target", [0.3, 0.6, 0.95])
def test_recall_is_measured_in_items_as_users_get_them(filled: kompanion_db.Store, target: float) -> None:
    found = 0
    for query in QUERIES:
        true = {hit.key for hit in filled.search("*", query, target_recall=1)}
        found += len(true & {hit.key for hit in filled.search("*", query, target_recall=target)})
    measured = filled.measure_recall("m", queries=QUERIES, target_recall=target)
    assert measured.recall == pytest.approx(found / (10 * len(QUERIES)), abs=0.04)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_recall_of_exact_searches_is_1_however_many_chunks_an_item_has(filled: kompanion_db.Store, k: int) -> None:
    # Twice k chunks, which a search counts on at first, are those of fewer items than k where each has twenty.
    pieces = [Chunk(n, str(n % 10), n, n + 1) for n in range(CHUNKS)]
    text = "".join(piece.text for piece in pieces)
    small = (NewItem(f"small{k}", text, str(n), chunks=pieces, vectors=list(VECTORS[n])) for n in range(12))
    filled.upsert_items(small, model="m")
    for queries in (None, QUERIES[:12]):
        measured = filled.measure_recall("m", scope=f"small{k}", k=k, queries=queries)
        assert (measured.recall, measured.by_index) == (1, 0)
    assert filled.delete_namespace(f"small{k}")
