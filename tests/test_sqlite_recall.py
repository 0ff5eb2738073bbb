"""Recall is a contract on SQLite too: searches reach their target, what is measured is true, advice repairs what it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusters
import numpy as np
import pytest
from clusters import DIM, QUERIES

import kompanion_db
from kompanion_db import errors
from kompanion_db.sidecar import derive
from kompanion_db.sqlite import open_sql
from kompanion_db.sqlite.store import SqliteStore

FEW = range(600)


def _open(path: Path) -> SqliteStore:
    store = kompanion_db.connect(f"sqlite:///{path}")
    assert isinstance(store, SqliteStore)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with _open(tmp_path / "x.db") as opened:
        opened.register_model("m", DIM)
        yield opened


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Clustered vectors with an index, calibrated; exact search is made to look dear, so that the index is used."""
    with _open(tmp_path_factory.mktemp("recall") / "x.db") as opened:
        opened.register_model("m", DIM)
        opened.upsert_items(clusters.items())
        opened.ensure_index("m", lists=40)
        assert opened.calibrate("m", sample=60)
        _sql(opened, """
            update embedding_models set calibration =
                jsonb_set(calibration, '$.knobs.exact_rows', 10, '$.knobs.row_us', 1000)
        """)  # fmt: skip
        yield opened


def _sql(store: SqliteStore, statement: str) -> list[Any]:
    with store.database.session(write=True) as session:
        return session.all(statement)


def _advice(store: SqliteStore) -> list[str]:
    return [advice.advice for advice in store.index_advice("m")]


ASKED: dict[str, dict[str, Any]] = {
    "everything": {"scope": "*"},
    "most": {"scope": "acme:main"},
    "own_scope": {"scope": "own"},
    "foreign_scope": {"scope": "foreign"},
    "tags": {"tags_all": ["even"]},
    "tags_of_a_topic": {"tags_none": ["topic-1"]},
    "thread": {"thread": "daily"},
    "metadata": {"filter": {"third": 1}},
    "metadata_of_a_topic": {"filter": {"topic": 2}},
    "all_at_once": {"scope": "acme:main", "tags_all": ["odd"], "filter": {"third": 1}},
}


def _asked(asked: dict[str, Any], number: int) -> dict[str, Any]:
    place = {"own": number % clusters.CLUSTERS, "foreign": number % clusters.CLUSTERS + 1}.get(asked.get("scope", ""))
    return {"scope": "acme", **asked} if place is None else {**asked, "scope": clusters.namespace(place)}


@pytest.mark.parametrize("target", [0.9, 0.95, 0.99])
def test_searches_of_every_kind_come_near_their_target_and_are_never_short(
    calibrated: SqliteStore, target: float
) -> None:
    reached = {}
    for name, asked in ASKED.items():
        recalls = []
        for number, query in enumerate(QUERIES):
            where = _asked(asked, number)
            matches = clusters.matching({k: v for k, v in where.items() if (k, v) != ("scope", "*")})
            found = [int(hit.key) for hit in calibrated.search(query=query, target_recall=target, **where)]
            assert len(set(found)) == len(found) == 10
            assert set(found) <= set(matches)
            recalls.append(len(set(found) & set(clusters.nearest(query, matches, 10))) / 10)
        reached[name] = float(np.mean(recalls))
    assert {name: recall for name, recall in reached.items() if recall < target - min(0.03, 2 * (1 - target))} == {}


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e6, 0), (1e-9, 0), (1, 1000)])
def test_an_index_finds_vectors_of_any_size(tmp_path: Path, metric: str, scale: float, offset: float) -> None:
    vectors, queries = (np.float32(scale) * v + np.float32(offset) for v in (clusters.VECTORS, QUERIES))
    with _open(tmp_path / "x.db") as store:
        store.register_model("m", DIM, metric=metric)
        items = ({"namespace": "acme", "key": str(n), "content": "text", "vectors": [v]} for n, v in enumerate(vectors))
        store.upsert_items(items)
        store.ensure_index("m", lists=40)
        _sql(store, "update settings set value = jsonb('10') where name = 'exact_threshold'")
        assert store.explain_search("*", queries[0])["path"] == "index"
        found = 0
        for query in queries:
            exact = {hit.key for hit in store.search("*", query, target_recall=1)}
            found += len(exact & {hit.key for hit in store.search("*", query)})
    assert found >= 0.95 * 10 * len(queries)


def test_a_scope_searched_by_index_never_shows_a_neighbour(calibrated: SqliteStore) -> None:
    told = calibrated.explain_search("acme:main", QUERIES[0])
    assert told["path"] == "index"
    for query in QUERIES[:20]:
        for hit in calibrated.search("acme:main", query, 50):
            assert hit.namespace.startswith("acme:main:")


def test_measured_recall_is_what_searches_reach_and_its_interval_holds_it(calibrated: SqliteStore) -> None:
    for target in (0.8, 0.95):
        measured = calibrated.measure_recall("m", queries=QUERIES, target_recall=target)
        assert measured.by_index > 90
        everything = range(clusters.ROWS)
        true = np.mean(
            [
                len(
                    {int(hit.key) for hit in calibrated.search("*", query, 11, target_recall=target)[:10]}
                    & set(clusters.nearest(query, everything, 10))
                )
                / 10
                for query in QUERIES
            ]
        )
        assert measured.low is not None
        assert measured.high is not None
        assert measured.low <= true <= measured.high
    exact = calibrated.measure_recall("m", scope="acme:side", sample=20, target_recall=1)
    assert (exact.asked, exact.recall, exact.by_index) == (20, 1, 0)


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_every_metric_is_measured(store: SqliteStore, metric: str) -> None:
    store.register_model(metric, DIM, metric=metric)
    store.upsert_items(clusters.items(FEW), model=metric)
    store.ensure_index(metric, lists=20)
    points = [point for point in store.calibrate(metric, sample=20) if point.share == 1]
    assert points[0].recall < points[-1].recall
    assert points[-1].recall > 0.95


def test_dead_and_deleted_vectors_are_neither_asked_nor_right(store: SqliteStore) -> None:
    store.upsert_items(clusters.items(FEW))
    store.ensure_index("m", lists=20)
    for n in range(0, 500):
        store.delete_item(clusters.where(n)["namespace"], str(n))
    assert store.calibrate("m", sample=20)
    measured = store.measure_recall("m", sample=30)
    assert measured.asked == 30
    assert measured.recall is not None
    assert measured.recall >= 0.95


def test_advice_names_what_is_missing_and_its_statement_repairs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "ANN_ROWS", 500)
    monkeypatch.setattr(derive, "PART_ROWS", 100)
    path = tmp_path / "x.db"
    with _open(path) as store:
        store.register_model("m", DIM)
        _sql(store, "update settings set value = jsonb('500') where name = 'index_min_rows'")
        store.upsert_items(clusters.items(FEW))
        seen = []
        while advice := store.index_advice("m"):
            seen.append(advice[0].advice)
            conn = open_sql(path)
            conn.execute(advice[0].statement or "").fetchall()
            conn.close()
            assert len(seen) < 5
        assert seen[0] == "600 vectors are still in the log: searches look at all of these"
        assert seen[-1] == "the index was never calibrated: searches use safe, slow defaults"
        assert store.list_models()[0].index_rows == 600
        store.upsert_items(clusters.items(range(600, clusters.ROWS)))
        store.ensure_index("m", concurrently=False)
        (drifted,) = store.index_advice("m")
        assert drifted.advice.startswith("the calibration is of 600 rows, ")
        assert store.explain_search("*", QUERIES[0]).get("expected_recall_from") != "calibration"


def test_lists_that_are_asked_for_are_built_and_kept_in_proportion(store: SqliteStore) -> None:
    store.upsert_items(clusters.items(FEW))
    (step,) = store.ensure_index("m", lists=12)
    assert (step.statement, step.reason) == ("select * from ensure_index('m', null, 12)", "asked for")
    assert store.list_models()[0].index_lists == 12
    assert store.ensure_index("m", lists=12) == []
    assert store.ensure_index("m") == []


def test_what_tuning_found_best_is_what_is_built(store: SqliteStore) -> None:
    store.upsert_items(clusters.items(range(1200)))
    store.checkpoint()
    told: list[str] = []
    tried = store.tune_index("m", target_recall=0.9, sample=20, apply=False, progress=told.append)
    assert len(tried) == len(told) - 1 == 4
    (best,) = [candidate for candidate in tried if candidate.chosen]
    assert best == tried[0]
    assert best.recall is not None
    assert best.recall >= 0.9
    assert "ensure_index(model, 'ivfpq')" in told[-1]
    store.ensure_index("m", kind="ivfpq")
    assert store.list_models()[0].index_lists == best.lists


def test_candidates_are_measured_with_the_least_effort_that_reaches_the_target(store: SqliteStore) -> None:
    vectors = np.random.default_rng(3).standard_normal((1200, DIM), dtype=np.float32)
    store.upsert_items(
        {"namespace": "acme", "key": str(n), "content": "text", "vectors": [v]} for n, v in enumerate(vectors)
    )
    store.checkpoint()
    knobs: dict[int | None, list[int]] = {}
    for target in (0.8, 0.85, 0.9, 0.95):
        for candidate in store.tune_index("m", target_recall=target, sample=30, apply=False):
            assert candidate.recall is not None
            assert candidate.knob is not None
            assert target - 0.01 <= candidate.recall <= target + 0.04
            knobs.setdefault(candidate.lists, []).append(candidate.knob)
    assert [found for found in knobs.values() if found != sorted(found)] == []


def test_tuning_goes_by_what_lives_though_the_largest_file_is_of_the_dead(store: SqliteStore) -> None:
    items = [{"namespace": "acme", "content": "text", "vectors": [v]} for v in clusters.VECTORS]
    store.upsert_items({**item, "key": f"dead {n}"} for n, item in enumerate(items[:1100]))
    store.checkpoint()
    for n in range(1100):
        store.delete_item("acme", f"dead {n}")
    store.upsert_items({**item, "key": f"{n}"} for n, item in enumerate(items[:1000]))
    tried = store.tune_index("m", target_recall=0.9, sample=20, apply=False)
    assert [candidate.recall >= 0.9 for candidate in tried if candidate.chosen and candidate.recall] == [True]


@pytest.mark.parametrize(
    ("call", "given", "word"),
    [
        ("ensure_index", {"kind": "hnsw"}, "hnsw"),
        ("ensure_index", {"kind": "none"}, "none"),
        ("ensure_index", {"half": True}, "half"),
        ("ensure_index", {"lists": 0}, "lists"),
        ("tune_index", {"kinds": ["hnsw"]}, "hnsw"),
        ("tune_index", {"kinds": ["ivfflat", "btree"]}, "btree"),
        ("tune_index", {"kinds": []}, "kinds"),
        ("tune_index", {"share": 2}, "share"),
        ("calibrate", {"sample": 0}, "sample"),
        ("calibrate", {"queries": []}, "queries"),
        ("measure_recall", {"k": 0}, "k:"),
        ("measure_recall", {"target_recall": 5}, "target_recall"),
    ],
)
def test_what_cannot_be_done_here_is_refused_with_the_way_out(
    store: SqliteStore, call: str, given: dict[str, Any], word: str
) -> None:
    with pytest.raises(errors.BadArgument, match=word) as caught:
        getattr(store, call)("m", **given)
    assert caught.value.hint


def test_an_index_is_not_built_inside_a_transaction(store: SqliteStore) -> None:
    store.upsert_items(clusters.items(FEW))
    with pytest.raises(errors.BadArgument, match="inside a transaction"), store.transaction():
        store.ensure_index("m", lists=12, concurrently=False)
