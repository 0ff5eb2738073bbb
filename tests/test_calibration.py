"""Calibration: it stops in time and goes on, holds for one index, disturbs nobody, and asks what users ask."""

from __future__ import annotations

import threading
from typing import Any

import clusters
import engines
import pytest
import servers
from by_hand import ByHand
from clusters import DIM, QUERIES

import kompanion_db
from kompanion_db import connect, connect_async

FEW = range(600)


def _fill(store: kompanion_db.Store, numbers: range = FEW) -> None:
    store.register_model("m", DIM)
    store.upsert_items(clusters.items(numbers))


def _state(by_hand: ByHand) -> dict[str, Any]:
    """What calibrate has kept of the one model."""
    ((found,),) = by_hand.rows("embedding_models", "calibration")
    return found  # type: ignore[no-any-return]


def _source(store: kompanion_db.Store) -> str:
    """Where the expected recall of a search by the index comes from."""
    told = store.explain_search("acme", QUERIES[0], target_recall=0.8)  # a few queries cannot vouch for more
    return str(told["expected_recall_from"])


def _advice(store: kompanion_db.Store) -> list[str]:
    return [a.advice for a in store.index_advice("m")]


def _use_the_index(db: servers.Database) -> None:
    """Make exact search look dear, with and without a calibration."""
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        conn.execute("""update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'""")


def test_it_stops_when_its_time_is_over_and_goes_on_when_called_again(
    store: kompanion_db.Store, by_hand: ByHand
) -> None:
    _fill(store)
    store.ensure_index("m", kind="ivfflat", lists=20)
    first = store.calibrate("m", seconds=0.001, sample=30)
    stopped = _state(by_hand)
    assert 10 <= stopped["queries"] < 30
    assert not stopped["complete"]
    assert {p.share for p in first} >= {1.0, 0.3, 0.1, 0.03, 0.01}  # and, in a file, 0.6
    assert all(0 <= p.recall <= 1 and p.milliseconds > 0 and p.runs > 0 for p in first)
    assert any("stopped after" in advice for advice in _advice(store))
    second = store.calibrate("m", seconds=60, sample=100)
    done = _state(by_hand)
    assert (done["queries"], done["complete"]) == (100, True)
    assert max(p.runs for p in second) == 100 > max(p.runs for p in first)
    assert _advice(store) == []
    store.calibrate("m", seconds=60, sample=10)
    assert _state(by_hand)["queries"] == 10, "a complete one begins anew"


def test_recall_never_falls_with_the_knob(store: kompanion_db.Store) -> None:
    _fill(store)
    store.ensure_index("m", kind="ivfflat", lists=20)
    points = store.calibrate("m", sample=20)
    for share in {p.share for p in points}:
        curve = [(p.knob, p.recall) for p in points if p.share == share]
        assert curve == sorted(curve)
        assert len({knob for knob, _ in curve}) == len(curve)
        assert [recall for _, recall in curve] == sorted(recall for _, recall in curve)


def test_a_new_index_makes_a_calibration_void(pg_store: kompanion_db.Store, db: servers.Database) -> None:
    _fill(pg_store)
    pg_store.ensure_index("m", kind="ivfflat", lists=20)
    pg_store.calibrate("m", sample=100)
    _use_the_index(db)
    assert _source(pg_store) == "calibration"
    for kind, lists in (("ivfflat", 30), ("hnsw", None)):
        pg_store.ensure_index("m", kind=kind, lists=lists)
        assert _source(pg_store).startswith("not measured yet: safe defaults are used")
        assert _advice(pg_store) == ["the calibration is that of another index: searches use safe, slow defaults"]
        assert [a.statement for a in pg_store.index_advice("m")] == ["select * from kompanion.calibrate('m');"]
        pg_store.calibrate("m", sample=100)
        _use_the_index(db)
        assert _source(pg_store) == "calibration"
        assert _advice(pg_store) == []


def test_an_index_that_has_vectors_enough_is_calibrated_when_it_is_built(
    home: engines.Home, store: kompanion_db.Store, by_hand: ByHand
) -> None:
    _fill(store, range(100))
    by_hand.set_setting("index_min_rows", 50)
    # A file of so few vectors has an index where one is asked for.
    steps = store.ensure_index("m", kind="ivfflat" if home.key == "sqlite" else None)
    assert "calibrate('m')" in steps[-1].statement
    assert _state(by_hand)["complete"]
    assert store.ensure_index("m") == []
    assert _advice(store) == []


def test_without_an_index_there_is_nothing_to_measure_and_progress_says_so(
    store: kompanion_db.Store, by_hand: ByHand
) -> None:
    _fill(store, range(20))
    told: list[str] = []
    assert store.calibrate("m", progress=told.append) == []
    assert "no valid vector index" in told[0]
    assert _state(by_hand) is None


@pytest.mark.parametrize("kind", ["ivfflat", "hnsw"])
def test_an_index_that_has_almost_nothing_in_it_is_no_hindrance(store: kompanion_db.Store, kind: str) -> None:
    _fill(store, range(3))
    store.ensure_index("m", kind=kind)
    for left in (3, 2, 1, 0):
        assert bool(store.calibrate("m", sample=10)) == (left > 1)
        assert len(store.search("acme", QUERIES[0])) == left
        measured = store.measure_recall("m")
        assert (measured.asked, measured.recall) == (left, 1 if left else None)
        if left:
            store.delete_item(clusters.namespace(left - 1), str(left - 1))


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_every_metric_is_measured(one_db: servers.Database, metric: str) -> None:
    with connect(one_db.url) as store:
        store.register_model("m", DIM, metric=metric)
        store.upsert_items(clusters.items(range(400)))
        store.ensure_index("m", kind="ivfflat", lists=20)
        points = [p for p in store.calibrate("m", sample=20) if p.share == 1]
        assert points[0].recall < points[-1].recall
        _use_the_index(one_db)
        measured = store.measure_recall("m", sample=30, target_recall=0.8)
    assert measured.recall is not None
    assert measured.recall >= 0.7  # of 30 queries
    assert measured.by_index >= 20  # a query that meets a list of next to nothing is answered exactly


def test_others_write_and_search_meanwhile(store: kompanion_db.Store, home: engines.Home, by_hand: ByHand) -> None:
    _fill(store)
    store.ensure_index("m", kind="ivfflat", lists=20)
    done, begun = threading.Event(), [threading.Event(), threading.Event()]
    written = [0, 0]
    failed: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            with connect(home.url) as own:
                while not done.is_set():
                    n = written[writer]
                    own.upsert_item("acme:new", f"{writer}/{n}", "text", vectors=[QUERIES[n % 100]], model="m")
                    old = 2 * n + writer
                    own.delete_item(clusters.where(old)["namespace"], str(old)) if n < 50 else None
                    assert len(own.search("acme", QUERIES[n % 100], 10)) == 10
                    written[writer] += 1
                    begun[writer].set()
        except BaseException as exc:
            failed.append(exc)
        finally:
            begun[writer].set()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        assert all(one.wait(60) for one in begun)
        before = list(written)
        points = store.calibrate("m", sample=100)
        meanwhile = [after - earlier for after, earlier in zip(written, before, strict=True)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert min(meanwhile) > 2, "a writer waited for the calibration"
    assert len(store.list_items("acme:new", page_size=1000)) == min(1000, sum(written))
    assert _state(by_hand)["complete"]
    assert max(p.runs for p in points) == 100
    measured = store.measure_recall("m", sample=30)
    assert measured.recall is not None
    assert measured.recall >= 0.9


async def test_the_same_for_asyncio(one_home: engines.Home) -> None:
    told: list[str] = []
    async with await connect_async(one_home.url) as store:
        await store.register_model("m", DIM)
        await store.upsert_items(clusters.items(range(1000)))
        assert await store.calibrate("m", progress=told.append) == []
        assert await store.ensure_index("m", kind="ivfflat", lists=4)
        assert await store.calibrate("m", sample=10)
        measured = await store.measure_recall("m", sample=5, target_recall=1)
        assert (measured.asked, measured.recall) == (5, 1)
        tried = await store.tune_index("m", kinds=["ivfflat"], target_recall=0.8, sample=10, progress=told.append)
        assert [candidate.chosen for candidate in tried].count(True) == 1
        assert (await store.list_models())[0].index_lists == tried[0].lists
    assert {line.split(":")[0] for line in told} >= {"calibrate", "tune_index"}


def test_of_duplicates_one_is_as_right_as_the_other(home: engines.Home, store: kompanion_db.Store) -> None:
    store.register_model("m", DIM)
    copies = (
        {"namespace": "acme", "key": str(n), "content": "text", "vectors": [clusters.VECTORS[n % 20]]}
        for n in range(600)
    )
    store.upsert_items(copies, model="m")
    store.ensure_index(kind="ivfflat", lists=4)
    # By id it would be a third: ten of thirty copies. pgvector may put a few copies into a list that is not looked into.
    least = 1.0 if home.key == "sqlite" else 0.9
    assert max(p.recall for p in store.calibrate(sample=20)) >= least
    assert store.measure_recall(sample=20, target_recall=1).recall == 1.0


def test_a_calibration_whose_index_has_become_another_is_not_believed(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    _fill(pg_store)
    pg_store.ensure_index(kind="ivfflat", lists=10)
    pg_store.calibrate(sample=20)
    _use_the_index(db)
    assert _source(pg_store) == "calibration"
    with db.connect() as conn:  # as after a restore, when oids are given out anew
        conn.execute(
            "update kompanion.embedding_models set "
            "knobs = jsonb_set(knobs, '{index,oid}', to_jsonb('kompanion.embeddings_pk'::regclass::oid::bigint))"
        )
    assert _source(pg_store).startswith("not measured yet")
