"""What a search of a file relies on: what a look around has seen, as far as it was measured, and what was found before."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import clusters
import numpy as np
import pytest
from clusters import DIM, QUERIES

import kompanion_db
from kompanion_db.arguments import json_filter
from kompanion_db.sqlite import candidates
from kompanion_db.sqlite.candidates import Question, memory_of
from kompanion_db.sqlite.curves import TARGETS, Cell, reach
from kompanion_db.sqlite.store import SqliteStore

_numbers = count()
ENOUGH = "what a look around has seen is enough"
ROWS = 4000
_rng = np.random.default_rng(11)
VECTORS = _rng.standard_normal((ROWS, DIM), dtype=np.float32)
STREWN = _rng.standard_normal((40, DIM), dtype=np.float32)
"""Queries among vectors that lie anywhere: the nearest are in many lists of an index."""
PARTS = {"sixth": _rng.random(ROWS) < 1 / 6, "third": _rng.random(ROWS) < 1 / 3, "half": _rng.random(ROWS) < 1 / 2}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Vectors with an index, calibrated; exact search is made to look dear, so that the index is used."""
    with kompanion_db.connect(f"sqlite:///{tmp_path_factory.mktemp('planning') / 'x.db'}") as store:
        assert isinstance(store, SqliteStore)
        store.register_model("m", DIM)
        store.upsert_items(
            {"namespace": "acme:ann", "key": str(n), "content": "text", "vectors": [v],
             "tags": [name for name, held in PARTS.items() if held[n]]}
            for n, v in enumerate(VECTORS)
        )  # fmt: skip
        store.ensure_index("m", lists=200)
        assert store.calibrate("m", sample=100)
        with store.database.session(write=True) as session:
            session.run("""
                update embedding_models set calibration =
                    jsonb_set(calibration, '$.knobs.exact_rows', 10, '$.knobs.row_us', 1000)
            """)
        yield store


ASKED: list[dict[str, Any]] = [{"scope": "*"}, {"scope": "acme"}, *({"scope": "acme", "tags_all": [p]} for p in PARTS)]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_target_beyond_all_that_was_measured_is_reached_by_looking_at_everything(
    calibrated: SqliteStore, asked: dict[str, Any]
) -> None:
    told = calibrated.explain_search(query=STREWN[0], target_recall=0.9999, **asked)
    assert (told["path"], told["expected_recall"]) == ("exact", 1.0)


def test_no_answer_is_expected_to_have_less_than_was_asked_for(calibrated: SqliteStore) -> None:
    reasons = set()
    for target in (0.5, *TARGETS, 0.9999):
        for asked in ASKED:
            for query in STREWN[:5]:
                _commit(calibrated)
                told = calibrated.explain_search(query=query, target_recall=target, **asked)
                assert told["expected_recall"] >= target
                assert told["expected_recall_from"] == ("exact search" if told["path"] == "exact" else "calibration")
                reasons.add(told["reason"])
    assert ENOUGH in reasons


@pytest.mark.parametrize("target", [0.9, 0.95, 0.98])
@pytest.mark.parametrize("part", PARTS)
def test_what_a_look_around_has_seen_reaches_the_target_though_only_a_part_of_it_matches(
    calibrated: SqliteStore, part: str, target: float
) -> None:
    matches, recalls = np.flatnonzero(PARTS[part]), []
    for query in STREWN:
        _commit(calibrated)
        found = {int(hit.key) for hit in calibrated.search("acme", query, tags_all=[part], target_recall=target)}
        far = -(VECTORS[matches] @ query) / np.linalg.norm(VECTORS[matches], axis=1)
        recalls.append(len(found & set(matches[np.argsort(far)[:10]].tolist())) / 10)
    assert np.mean(recalls) >= target - 0.01


@pytest.mark.parametrize("k", [30, 100, 300])
@pytest.mark.parametrize("part", [None, "half", "sixth"])
def test_more_than_ten_are_found_as_surely_as_ten_and_no_more_is_expected_than_is_found(
    calibrated: SqliteStore, part: str | None, k: int
) -> None:
    asked: dict[str, Any] = {"scope": "*"} if part is None else {"scope": "acme", "tags_all": [part]}
    matches = np.arange(ROWS) if part is None else np.flatnonzero(PARTS[part])
    for target in (0.8, 0.9, 0.95):
        recalls, expected = [], []
        for query in STREWN:
            _commit(calibrated)
            found = {int(hit.key) for hit in calibrated.search(query=query, k=k, target_recall=target, **asked)}
            far = -(VECTORS[matches] @ query) / np.linalg.norm(VECTORS[matches], axis=1)
            recalls.append(len(found & set(matches[np.argsort(far)[:k]].tolist())) / k)
            _commit(calibrated)
            told = calibrated.explain_search(query=query, k=k, target_recall=target, **asked)
            expected.append(told["expected_recall"])
        assert np.mean(recalls) >= target - 0.01
        assert np.mean(recalls) >= np.mean(expected) - 0.02


def test_the_fewer_queries_were_asked_the_more_recall_they_must_have_shown() -> None:
    def needed(queries: int, target: float = 0.95) -> float:
        shown = ((1, 0.9), (2, 0.96), (4, 1.0))
        reached = reach(
            [
                Cell([queries * mean], [queries * (mean**2 + 0.01)], [queries], queries * 1.0, queries * effort)
                for effort, mean in shown
            ],
            target,
        )
        assert reached is not None
        return reached[1]

    few, usual, many = needed(50), needed(400), needed(100_000)
    assert 0.95 + 0.2 * 0.05 < many < usual < few <= 0.95 + 0.6 * 0.05 + 1e-9
    assert usual - many == pytest.approx(2.33 * 0.1 / 400**0.5, abs=0.004)


def _commit(store: SqliteStore) -> None:
    """Something is committed, so that what matches is not known."""
    store.upsert_item("other", f"k{next(_numbers)}", "text")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as opened:
        assert isinstance(opened, SqliteStore)
        opened.register_model("m", DIM)
        opened.upsert_items(clusters.items(range(300)))
        yield opened


def test_what_was_found_before_keeps_no_file_and_no_block_of_the_log_that_is_gone(store: SqliteStore) -> None:
    held = []
    for _ in range(2):
        store.search("acme:main", QUERIES[0], filter={"third": 1})
        with store.database.session(write=False) as session:
            held += [weakref.ref(part) for part in session.vectors.parts(1, DIM)]
        store.checkpoint(compact=True)
        store.upsert_item("acme:main", "new", "text", vectors=[QUERIES[1]])
    store.search("acme:side", QUERIES[0])
    gc.collect()
    assert len(held) >= 2
    assert [part for part in held if part() is not None] == []


def test_what_is_remembered_stays_within_its_bounds_and_the_latest_is_known(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "KEPT_BYTES", 3000)
    for n in range(50):
        asked = {"topic": n % 4, "third": n % 3, "n": {"$gte": 5 * (n % 13)}}
        hits = store.search("acme", QUERIES[n], filter=asked)
        assert [hit.key for hit in hits] == [hit.key for hit in store.search("acme", QUERIES[n], filter=asked)]
        with store.database.session(write=False) as session:
            kept = memory_of(session)._kept
            assert sum(each.candidates.bytes for each in kept.values()) <= 3000
            latest = next(reversed(kept))[1]
        assert latest == Question("acme", filter=json_filter("filter", asked)).digest


def test_in_few_dimensions_an_index_decides_nothing_before_it_is_calibrated(tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).random((12_000, 2), dtype=np.float32)
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as store:
        store.register_model("m", 2, metric="l2")
        store.upsert_items(
            {"namespace": "acme", "key": str(n), "content": "text", "vectors": [v]} for n, v in enumerate(vectors)
        )
        store.ensure_index("m", lists=40)
        for query in vectors[:20] + np.float32(0.001):
            near = np.argsort(((vectors - query) ** 2).sum(axis=1))[:10]
            assert [hit.key for hit in store.search("*", query)] == [str(n) for n in near]
        store.calibrate("m", sample=100)
        assert "no calibration" not in store.explain_search("*", vectors[0])["reason"]


def test_large_filters_are_not_kept_in_memory(store: SqliteStore) -> None:
    def ask(n: int) -> None:
        store.search("acme", QUERIES[0], filter={"topic": {"$in": [f"{n} {m:0800}" for m in range(1000)]}})

    ask(0)
    gc.collect()
    tracemalloc.start()
    try:
        for n in range(1, 11):
            ask(n)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
