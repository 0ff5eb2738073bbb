"""Embedding models: several live side by side, the default is switched online and back."""

from __future__ import annotations

import apsw
import numpy as np
import psycopg
import pytest
import servers
from by_hand import ByHand

import kompanion_db
from kompanion_db.errors import BadArgument, BadVector, ModelConflict, UnknownModel


def _fill(store: kompanion_db.Store) -> None:
    store.register_model("old", 2)
    for n, text in enumerate(["ant", "bee", "cat"]):
        store.upsert_item("acme", text, text, vectors=[[1.0, float(n)]])


def _backfill(store: kompanion_db.Store, model: str, dim: int) -> int:
    claimed = store.pending_embeddings(model)
    store.put_embeddings(claimed, np.eye(dim, dtype=np.float32)[: len(claimed)], model=model)
    return len(claimed)


def test_the_first_model_is_the_default_and_the_same_call_again_changes_nothing(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "text")
    first = store.register_model("m", 2)
    assert (first.is_default, first.queued) == (True, 1)
    again = store.register_model("m", 2)
    assert (again.model_id, again.is_default, again.queued) == (first.model_id, True, 0)
    (model,) = store.list_models()
    assert (model.model, model.dim, model.metric, model.index_kind, model.queued) == ("m", 2, "cosine", "none", 1)


def test_a_model_keeps_its_dimension_and_metric(store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    for other in ({"dim": 3}, {"dim": 2, "metric": "l2"}):
        with pytest.raises(ModelConflict):
            store.register_model("m", **other)  # type: ignore[arg-type]
    for bad in ({"dim": 0}, {"dim": 16001}, {"dim": 2, "metric": "hamming"}):
        with pytest.raises(BadArgument):
            store.register_model("n", **bad)  # type: ignore[arg-type]
    assert [m.model for m in store.list_models()] == ["m"]


def test_models_of_different_dimensions_answer_side_by_side(store: kompanion_db.Store) -> None:
    _fill(store)
    assert store.register_model("new", 3, metric="l2").queued == 3
    assert _backfill(store, "new", 3) == 3
    assert [h.key for h in store.search("acme", [1.0, 2.0], 1)] == ["cat"]
    assert [h.key for h in store.search("acme", [0.0, 0.0, 1.0], 1, model="new")] == ["cat"]
    with pytest.raises(BadVector):
        store.search("acme", [1.0, 2.0], model="new")
    assert {(s.model, s.embedded, s.unembedded) for s in store.stats("acme")} == {("old", 3, 0), ("new", 3, 0)}


def test_the_default_switches_only_when_the_backfill_is_done_and_switches_back(store: kompanion_db.Store) -> None:
    _fill(store)
    store.register_model("new", 3)
    with pytest.raises(ModelConflict, match="3 live chunks"):
        store.set_default_model("new")
    assert store.search("acme", [1.0, 0.0])[0].key == "ant"
    _backfill(store, "new", 3)
    assert store.set_default_model("new") == "old"
    assert store.search("acme", [1.0, 0.0, 0.0])[0].key == "ant"
    store.upsert_item("acme", "ant", "ant changed", vectors=[[0.0, 1.0, 1.0]])
    assert [c.content for c in store.pending_embeddings("old")] == ["ant changed"]
    with pytest.raises(ModelConflict, match="1 live chunks"):
        store.set_default_model("old")
    assert store.set_default_model("old", require_complete=False) == "new"
    assert [m.model for m in store.list_models() if m.is_default] == ["old"]
    with pytest.raises(UnknownModel):
        store.set_default_model("nobody")


def test_what_is_deleted_or_in_a_deleted_namespace_does_not_hold_up_a_switch(store: kompanion_db.Store) -> None:
    _fill(store)
    store.upsert_item("gone", "k", "text")
    store.delete_namespace("gone")
    store.delete_item("acme", "ant")
    store.register_model("new", 3)
    assert _backfill(store, "new", 3) == 2
    assert store.set_default_model("new") == "old"
    store.restore_namespace("gone")
    store.restore_item("acme", "ant")
    assert sorted(c.content for c in store.pending_embeddings("new")) == ["ant", "text"]


def test_a_retired_model_is_neither_searched_nor_embedded_for_until_it_comes_back(store: kompanion_db.Store) -> None:
    _fill(store)
    store.register_model("new", 3)
    _backfill(store, "new", 3)
    with pytest.raises(ModelConflict):
        store.retire_model("old")
    assert store.retire_model("new") == 0
    for call in (
        lambda: store.search("acme", [1.0, 0.0, 0.0], model="new"),
        lambda: store.pending_embeddings("new"),
        lambda: store.upsert_item("acme", "k", "text", vectors=[[1.0, 0.0, 0.0]], model="new"),
        lambda: store.set_default_model("new"),
        lambda: store.enqueue_missing("new"),
    ):
        with pytest.raises(UnknownModel, match="retired"):
            call()
    store.upsert_item("acme", "dog", "dog", vectors=[[1.0, 9.0]])
    back = store.register_model("new", 3)
    assert back.queued == 1
    assert [h.key for h in store.search("acme", [0.0, 1.0, 0.0], 1, model="new")] == ["bee"]
    assert store.retire_model("new", delete_vectors=True) == 3
    assert store.register_model("new", 3).queued == 4
    with pytest.raises(UnknownModel):
        store.retire_model("nobody")


def test_without_any_model_text_is_kept_and_search_says_what_is_missing(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "text")
    with pytest.raises(UnknownModel, match="none is the default"):
        store.search("acme", [1.0])
    assert [(s.model, s.items, s.chunks) for s in store.stats()] == [(None, 1, 1)]


def test_the_queue_is_repaired_after_rows_were_written_by_hand(by_hand: ByHand, store: kompanion_db.Store) -> None:
    _fill(store)
    assert store.enqueue_missing() == 0
    by_hand.delete("embeddings", chunk_id=store.get_chunks("acme", "ant")[0].chunk_id)
    assert store.pending_embeddings() == []
    assert store.enqueue_missing() == 1
    assert [c.content for c in store.pending_embeddings()] == ["ant"]
    assert store.enqueue_missing() == 0


def test_a_model_that_has_vectors_keeps_its_dimension_and_they_stay_whole(
    by_hand: ByHand, store: kompanion_db.Store
) -> None:
    store.register_model("old", 2)
    by_hand.update("embedding_models", {"name": "old"}, dim=3)
    by_hand.update("embedding_models", {"name": "old"}, dim=2)
    _fill(store)
    with pytest.raises((psycopg.Error, apsw.Error)):
        by_hand.update("embedding_models", {"name": "old"}, dim=1)
    assert [hit.key for hit in store.search("acme", [1.0, 2.0], 1)] == ["cat"]


@pytest.mark.parametrize("change", ["retire_model('new', delete_vectors => true)", "register_model('new', 3)"])
def test_writers_do_not_wait_for_one_who_retires_a_model_or_registers_it_again(
    db: servers.Database, change: str
) -> None:
    upsert = "select status from kompanion.upsert_item('acme', %s, 'text'"
    with_vector = upsert + ", vectors => array['[1, 2, 3]']::vector[], model => 'new')"
    with kompanion_db.connect(db.url) as store, db.connect(autocommit=False) as admin, db.connect() as writer:
        _fill(store)
        store.register_model("new", 3)
        writer.execute("set lock_timeout = '3s'")
        admin.execute(f"select kompanion.{change}")
        assert writer.execute(with_vector, ("dog",)).fetchone() == ("inserted",)
        assert writer.execute(upsert + ")", ("eel",)).fetchone() == ("inserted",)
        admin.commit()
        if change.startswith("retire"):
            # What was written meanwhile is harmless, and goes with the next call.
            assert [m.queued for m in store.list_models()] == [2, 1]
            assert store.retire_model("new", delete_vectors=True) == 1
            assert [m.queued for m in store.list_models()] == [2, 0]


def test_registering_a_model_again_does_not_wait_for_who_measures_or_tunes_it(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store, db.connect(autocommit=False) as tuner, db.connect() as other:
        _fill(store)
        # As calibrate and tune_index hold it, for minutes.
        tuner.execute("select kompanion._hold_models(m.model_id) from kompanion.embedding_models m")
        other.execute("set lock_timeout = '3s'")
        found = other.execute("select model, is_default, queued from kompanion.register_model('old', 2)").fetchone()
        assert found == ("old", True, 0)
