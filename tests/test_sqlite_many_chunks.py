"""Items of many chunks: a search by the indexes of a file goes as far as so many items take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import kompanion_db
from kompanion_db import Chunk, NewItem
from kompanion_db.sqlite import by_index
from kompanion_db.sqlite.store import SqliteStore

ITEMS, CHUNKS, DIM = 250, 40, 16
_rng = np.random.default_rng(11)
MIDDLES = _rng.normal(size=(ITEMS, DIM))
QUERIES = (MIDDLES[:100] + 0.3 * _rng.normal(size=(100, DIM))).astype("f4")

DEAR = (
    "update embedding_models set calibration = jsonb_set(calibration, '$.knobs.exact_rows', 10, '$.knobs.row_us', 1000)"
)
"""Makes an exact search look dear, so that the index is used."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Each item's chunks lie together, most of them nearer than another item's; four fifths are in one namespace."""
    pieces = [Chunk(n, "c", n, n + 1) for n in range(CHUNKS)]
    items = (
        NewItem(
            "a" if n % 5 else "b",
            "c" * CHUNKS,
            str(n),
            chunks=pieces,
            vectors=(middle + 0.3 * _rng.normal(size=(CHUNKS, DIM))).astype("f4"),
        )
        for n, middle in enumerate(MIDDLES)
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        kompanion_db.connect(f"sqlite:///{tmp_path_factory.mktemp('many') / 'x.db'}?synchronous=normal") as opened,
    ):
        patch.setattr(by_index, "SCANNED", 2500)
        assert isinstance(opened, SqliteStore)
        opened.register_model("m", DIM)
        opened.upsert_items(items, model="m")
        opened.ensure_index("m", lists=200)
        assert opened.calibrate("m", sample=100)
        with opened.database.session(write=True) as session:
            session.run(DEAR)
        yield opened


@pytest.mark.parametrize(("scope", "target"), [("*", 0.9), ("*", 0.99), ("a", 0.9), ("a", 0.95)])
def test_of_the_nearest_items_as_many_are_found_as_was_asked_for(store: SqliteStore, scope: str, target: float) -> None:
    found = 0
    for query in QUERIES:
        true = {hit.key for hit in store.search(scope, query, target_recall=1)}
        found += len(true & {hit.key for hit in store.search(scope, query, target_recall=target)})
    assert found / (10 * len(QUERIES)) >= target - 0.01


def _paths(store: SqliteStore, scope: str, target: float) -> list[str]:
    return [store.explain_search(scope, query, target_recall=target)["path"] for query in QUERIES]


@pytest.mark.parametrize("target", [0.9, 0.99])
def test_and_that_by_the_index(store: SqliteStore, target: float) -> None:
    assert _paths(store, "*", target).count("index") >= 90


@pytest.mark.parametrize("scope", ["*", "a"])
def test_recall_is_measured_as_users_search(store: SqliteStore, scope: str) -> None:
    before = _paths(store, scope, 0.9)
    stored = store.measure_recall("m", scope=scope, sample=60, target_recall=0.9)
    assert stored.recall >= 0.9 - 0.03
    asked = store.measure_recall("m", scope=scope, queries=QUERIES, target_recall=0.9)
    assert _paths(store, scope, 0.9) == before
    assert asked.by_index == before.count("index")
