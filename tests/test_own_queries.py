"""Queries of one's own, as users ask them: calibrate, measure_recall and tune_index ask just those."""

from __future__ import annotations

from typing import Any

import clusters
import engines
import numpy as np
import pytest
from by_hand import ByHand
from clusters import DIM, QUERIES

import kompanion_db
from kompanion_db import HashEmbedder, connect, errors


@pytest.fixture
def indexed(store: kompanion_db.Store) -> kompanion_db.Store:
    store.register_model("m", DIM)
    store.upsert_items(clusters.items(range(600)))
    store.ensure_index("m", kind="ivfflat", lists=20)
    return store


def _state(by_hand: ByHand) -> dict[str, Any]:
    """What calibrate has kept of the one model."""
    ((found,),) = by_hand.rows("embedding_models", "calibration")
    return found  # type: ignore[no-any-return]


def test_a_calibration_that_broke_off_begins_anew_with_other_queries(
    indexed: kompanion_db.Store, by_hand: ByHand
) -> None:
    indexed.calibrate("m", seconds=0.001, queries=QUERIES[:60])
    assert (_state(by_hand)["queries"] >= 10, _state(by_hand)["complete"]) == (True, False)
    points = indexed.calibrate("m", queries=QUERIES[60:65])
    assert _state(by_hand)["complete"]
    assert max(p.runs for p in points) == 5


def _at_least_effort(points: list[kompanion_db.CalibrationPoint]) -> float:
    """The recall of searches of all rows that take the least trouble."""
    return min((p.knob, p.recall) for p in points if p.share == 1)[1]


def test_queries_of_ones_own_are_what_is_asked(indexed: kompanion_db.Store, by_hand: ByHand) -> None:
    # Around queries that point anywhere, what is nearest lies in far more lists than around stored vectors.
    hard = np.random.default_rng(3).normal(size=(40, DIM))
    for queries in (QUERIES[:40], list(hard)):
        points = indexed.calibrate("m", queries=queries)
        assert _state(by_hand)["complete"]
        assert max(p.runs for p in points) == 40
    assert _at_least_effort(points) < _at_least_effort(indexed.calibrate("m", sample=40))
    assert indexed.measure_recall("m", queries=hard[:5]).asked == 5


def test_texts_are_asked_with_through_the_embedder(home: engines.Home) -> None:
    texts = ["where is the key", "who has the boat", "when is high water"]
    with connect(home.url, embedder=HashEmbedder(32)) as store:
        for n in range(100):
            store.upsert_item("acme", str(n), f"note {n} on the boat, the key and the water of day {n % 7}")
        store.ensure_index(kind="ivfflat")
        assert max(p.runs for p in store.calibrate(queries=texts)) == 3
        assert store.measure_recall(queries=texts).asked == 3
        with pytest.raises(errors.BadArgument, match="embeds the queries, not 'other'"):
            store.measure_recall("other", queries=texts)
    with connect(home.url) as plain, pytest.raises(errors.BadArgument, match="no embedder"):
        plain.calibrate(queries=texts)


@pytest.mark.parametrize(
    ("error", "word", "given"),
    [
        (errors.BadVector, "queries", {"queries": [[1.0] * 3]}),
        (errors.BadVector, "queries", {"queries": [[0.0] * DIM]}),
        (errors.BadVector, "queries", {"queries": [[float("nan")] * DIM]}),
        (errors.BadVector, "queries", {"queries": np.ones(DIM)}),
        (errors.BadVector, "queries", {"queries": 5}),
        (errors.BadVector, "queries", {"queries": [None]}),
        (errors.BadArgument, "queries", {"queries": []}),
        (errors.BadArgument, "queries", {"queries": ["text", 5]}),
        (errors.BadArgument, "sample", {"sample": 0}),
    ],
    ids=str,
)
def test_bad_queries_are_refused_by_name(
    one_home: engines.Home, error: type[errors.KompanionError], word: str, given: dict[str, Any]
) -> None:
    with connect(one_home.url, embedder=HashEmbedder(DIM)) as store:
        for call in (store.calibrate, store.measure_recall, store.tune_index):
            with pytest.raises(error, match=word):
                call(**given)


def test_what_own_queries_measured_is_not_replaced_by_what_stored_vectors_say(
    home: engines.Home, by_hand: ByHand
) -> None:
    with connect(home.url) as store:
        store.register_model("m", DIM)
        by_hand.set_setting("index_min_rows", 100)
        store.upsert_items(clusters.items(range(700)))
        store.ensure_index("m", kind="ivfflat", lists=20)
        store.calibrate("m", queries=QUERIES)
        store.upsert_items(clusters.items(range(700, 1800)))
        store.ensure_index("m", kind="ivfflat")
        assert _state(by_hand)["queries"] == 100
        assert any("give them again" in told.advice for told in store.index_advice("m"))
        store.calibrate("m", queries=QUERIES)
        assert store.index_advice("m") == []


def test_an_index_tuned_for_own_queries_is_calibrated_by_them(home: engines.Home, by_hand: ByHand) -> None:
    with connect(home.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(clusters.items(range(1500)))
        assert store.tune_index("m", queries=QUERIES[:30], kinds=["ivfflat"], seconds=30)
        if _state(by_hand) is not None:  # SQLite builds none for so few
            assert _state(by_hand)["queries"] == 30
