"""Search: the nearest min(k, matches) live items of a scope, by what was asked for."""

from __future__ import annotations

import math
from typing import Any

import engines
import numpy as np
import pytest
from sharing import Undone

import kompanion_db
from kompanion_db.chunking import Chunk
from kompanion_db.errors import BadArgument, BadVector


def _keys(hits: list[kompanion_db.Hit]) -> list[str]:
    return [h.key for h in hits]


@pytest.fixture
def zoo(store: kompanion_db.Store) -> kompanion_db.Store:
    """Items on a circle: the key is the angle in degrees, so the order around any angle is plain to see."""
    store.register_model("m", 2)
    for angle in range(0, 180, 10):
        store.upsert_item(
            "acme:even" if angle % 20 == 0 else "acme:odd", str(angle), f"at {angle}",
            metadata={"angle": angle, "half": "low" if angle < 90 else "high"},
            tags=[f"t{angle % 30}", "all"], thread="low" if angle < 90 else None, user_key="ann",
            vectors=[[math.cos(math.radians(angle)), math.sin(math.radians(angle))]],
        )  # fmt: skip
    return store


EAST = [1.0, 0.0]


def test_the_nearest_come_first_and_each_hit_tells_all_of_its_item(zoo: kompanion_db.Store) -> None:
    hits = zoo.search("acme", EAST, 3)
    assert _keys(hits) == ["0", "10", "20"]
    assert [h.rank for h in hits] == [1, 2, 3]
    hit, item = hits[1], zoo.get_item("acme:odd", "10")
    assert item is not None
    assert hit.distance == pytest.approx(1 - math.cos(math.radians(10)), abs=1e-6)
    assert hit.score == pytest.approx(1 - hit.distance)
    assert (hit.namespace, hit.item_id, hit.chunk, hit.metadata, hit.tags, hit.thread, hit.revision) == (
        "acme:odd", item.item_id, "at 10", item.metadata, item.tags, "low", 1
    )  # fmt: skip
    assert (hit.created_at, hit.updated_at, hit.expires_at) == (item.created_at, item.updated_at, None)


@pytest.mark.parametrize(("asked", "wanted"), [
    ({}, range(0, 180, 10)),
    ({"tags_any": ["t0", "t20"]}, [a for a in range(0, 180, 10) if a % 30 in (0, 20)]),
    ({"tags_any": []}, []),
    ({"tags_all": ["all", "t10"]}, range(10, 180, 30)),
    ({"tags_all": ["t0", "t10"]}, []),
    ({"tags_all": []}, range(0, 180, 10)),
    ({"tags_none": ["t0"]}, [a for a in range(0, 180, 10) if a % 30]),
    ({"tags_none": []}, range(0, 180, 10)),
    ({"tags_any": ["t0"], "tags_none": ["t0"]}, []),
    ({"thread": "low"}, range(0, 90, 10)),
    ({"thread": "nobody"}, []),
    ({"filter": {"angle": {"$gte": 50, "$lt": 70}}}, [50, 60]),
    ({"filter": {"half": "high"}, "tags_any": ["t10"]}, [100, 130, 160]),
    ({"filter": {"half": "low"}, "thread": "low", "tags_all": ["t20"], "tags_none": ["t0"]}, [20, 50, 80]),
])  # fmt: skip
def test_search_and_list_items_understand_the_same_conditions(
    zoo: kompanion_db.Store, asked: dict[str, Any], wanted: list[int]
) -> None:
    expected = [str(a) for a in wanted]
    assert _keys(zoo.search("acme", EAST, 100, **asked)) == expected
    assert sorted(i.key for i in zoo.list_items("acme", **asked)) == sorted(expected)
    assert _keys(zoo.search("acme", EAST, 2, **asked)) == expected[:2]


def test_an_answer_has_exactly_k_hits_or_all_that_match(zoo: kompanion_db.Store) -> None:
    for k in (1, 5, 9, 10, 100, 10_000):
        assert len(zoo.search("acme:odd", EAST, k)) == min(k, 9)
    assert zoo.search("nobody", EAST) == []
    for wrong in (0, -1, 10_001):
        with pytest.raises(BadArgument, match="k"):
            zoo.search("acme", EAST, wrong)


def test_many_chunks_of_one_item_take_one_place_and_never_shorten_the_answer(store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    words = [f"w{n}" for n in range(100)]
    text = " ".join(words)
    chunks = [Chunk(n, w, text.index(w), text.index(w) + len(w)) for n, w in enumerate(words)]
    store.upsert_item("acme", "many", text, chunks=chunks, vectors=[[1.0, n / 1000] for n in range(100)])
    for n in range(12):
        store.upsert_item("acme", str(n), "text", vectors=[[0.0, 1.0 + n]])
    hits = store.search("acme", EAST, 10)
    assert len(hits) == 10
    assert (hits[0].key, hits[0].chunk, hits[0].ordinal) == ("many", "w0", 0)
    assert "many" not in _keys(hits[1:])
    assert len(store.search("acme", EAST, 50)) == 13
    by_chunk = store.search("acme", EAST, 50, per_chunk=True)
    assert [h.chunk for h in by_chunk] == words[:50]
    assert len(store.search("acme", EAST, 1000, per_chunk=True)) == 112


def test_an_item_stands_for_its_best_chunk(store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    text = "far near"
    chunks = [Chunk(0, "far", 0, 3), Chunk(1, "near", 4, 8)]
    store.upsert_item("acme", "two", text, chunks=chunks, vectors=[[0.0, 1.0], [1.0, 0.0]])
    (hit,) = store.search("acme", EAST)
    assert (hit.chunk, hit.ordinal, hit.distance) == ("near", 1, 0.0)


def test_equal_distances_come_in_a_fixed_order(store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    for n in range(20):
        store.upsert_item("acme", str(n), "text", vectors=[[1.0, 1.0]])
    first = [h.chunk_id for h in store.search("acme", EAST, 20)]
    assert first == sorted(first)
    assert [h.chunk_id for h in store.search("acme", EAST, 7)] == first[:7]


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_every_metric_has_its_distance_and_a_score_that_grows_with_nearness(
    store: kompanion_db.Store, metric: str
) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    query = rng.normal(size=8).astype(np.float32)
    store.register_model("m", 8, metric=metric)
    for n, vector in enumerate(vectors):
        store.upsert_item("acme", str(n), "text", vectors=[vector])
    products = vectors @ query
    distances = {
        "cosine": 1 - products / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query),
        "l2": np.linalg.norm(vectors - query, axis=1),
        "inner_product": -products,
    }[metric]
    scores = {"cosine": 1 - distances, "l2": 1 / (1 + distances), "inner_product": -distances}[metric]
    hits = store.search("acme", query, 10)
    assert [int(h.key) for h in hits] == list(np.argsort(distances)[:10])
    assert [h.distance for h in hits] == pytest.approx([distances[int(h.key)] for h in hits], abs=1e-5)
    assert [h.score for h in hits] == pytest.approx([scores[int(h.key)] for h in hits], abs=1e-5)


def test_the_zero_vector_has_no_direction_but_it_has_a_place(store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    with pytest.raises(BadVector, match="zero"):
        store.search("acme", [0.0, 0.0])
    store.register_model("l2", 2, metric="l2")
    store.upsert_item("acme", "k", "text", vectors=[[0.0, 0.0]], model="l2")
    assert store.search("acme", [0.0, 0.0], model="l2")[0].score == 1.0


def test_inside_a_transaction_a_search_sees_its_own_writes_and_a_rollback_undoes_them(
    zoo: kompanion_db.Store, home: engines.Home
) -> None:
    def write_and_look() -> None:
        with zoo.transaction():
            zoo.upsert_item("acme", "new", "text", vectors=[[1.0, 0.001]])
            zoo.delete_item("acme:even", "0")
            assert _keys(zoo.search("acme", EAST, 2)) == ["new", "10"]
            with kompanion_db.connect(home.url) as other:
                assert _keys(other.search("acme", EAST, 2)) == ["0", "10"]
            raise Undone

    with pytest.raises(Undone):
        write_and_look()
    assert _keys(zoo.search("acme", EAST, 2)) == ["0", "10"]


def test_explain_search_tells_what_was_counted_and_which_path_was_taken(zoo: kompanion_db.Store) -> None:
    told = zoo.explain_search("acme:odd", EAST, 3, tags_all=["all"])
    assert (told["path"], told["matches"], told["returned"], told["namespaces"]) == ("exact", 9, 3, 1)
    assert (told["expected_recall"], told["model"], told["metric"], told["k"]) == (1.0, "m", "cosine", 3)
