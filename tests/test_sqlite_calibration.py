"""A calibration of a file holds for the queries it was asked with and the indexes it was made on, however those grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusters
import numpy as np
import pytest

import kompanion_db
from kompanion_db.sqlite import open_sql
from kompanion_db.sqlite.models import find_model
from kompanion_db.sqlite.sampling import live, sample_queries
from kompanion_db.sqlite.store import SqliteStore

FEW = range(600)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as opened:
        assert isinstance(opened, SqliteStore)
        opened.register_model("m", clusters.DIM)
        yield opened


def _sql(store: SqliteStore, statement: str) -> list[Any]:
    with store.database.session(write=True) as session:
        return session.all(statement)


def test_a_calibration_that_broke_off_goes_on_with_the_queries_it_began_with_and_begins_anew_with_others(
    store: SqliteStore,
) -> None:
    def asked(queries: Any, seconds: float = 60) -> tuple[int, bool]:
        runs = max(point.runs for point in store.calibrate("m", queries=queries, seconds=seconds))
        ((complete,),) = _sql(store, "select calibration ->> 'complete' from embedding_models")
        return runs, bool(complete)

    store.upsert_items(clusters.items(FEW))
    store.ensure_index("m", lists=20)
    assert asked(clusters.QUERIES[:14], seconds=0.001) == (10, False)
    assert asked(clusters.QUERIES[20:25]) == (5, True)
    assert asked(clusters.QUERIES[:14], seconds=0.001) == (10, False)
    assert asked(clusters.QUERIES[:14]) == (14, True)
    broken_off = "update embedding_models set calibration = jsonb_set(calibration, '$.complete', jsonb('false'))"
    _sql(store, broken_off)
    assert asked(clusters.QUERIES[:14], seconds=0.001) == (14, True), "nothing was left to ask"
    _sql(store, broken_off.replace("(calibration", "(jsonb_remove(calibration, '$.of_queries')"))
    assert asked(clusters.QUERIES[:14], seconds=0.001) == (10, False), "of queries that nothing is known of"


def test_a_calibration_is_believed_while_an_index_grows_and_not_of_other_lists(store: SqliteStore) -> None:
    def told() -> str:
        _sql(store, """
            update embedding_models set calibration =
                jsonb_set(calibration, '$.knobs.exact_rows', 10, '$.knobs.row_us', 1000)
        """)  # fmt: skip
        found = store.explain_search("*", clusters.QUERIES[0], target_recall=0.8)
        assert found["path"] == "index"
        return str(found["expected_recall_from"])

    _sql(store, "update settings set value = jsonb('10') where name = 'exact_threshold'")
    store.upsert_items(clusters.items(FEW))
    store.ensure_index("m", lists=40)
    store.calibrate("m", sample=20)
    assert told() == "calibration"
    store.upsert_items(clusters.items(range(600, 1100)))
    store.ensure_index("m", kind="ivfpq")
    assert store.list_models()[0].index_rows == 1100
    assert (told(), store.index_advice("m")) == ("calibration", [])
    store.ensure_index("m", lists=20)
    assert told() == "the calibration is of an index of other rows or lists: safe defaults are used; run calibrate"
    (advice,) = store.index_advice("m")
    assert advice.advice == "the calibration is of an index with other lists: it is not believed any more"
    conn = open_sql(store.database.place.path)
    assert conn.execute(advice.statement or "").fetchall()
    conn.close()
    assert (told(), store.index_advice("m")) == ("calibration", [])


def test_a_calibration_mixes_every_other_query_and_tuning_asks_with_stored_vectors_as_they_are(
    store: SqliteStore,
) -> None:
    store.upsert_items(clusters.items(FEW))
    stored = {vector.tobytes() for vector in clusters.VECTORS[: len(FEW)]}
    with store.database.session(write=False) as session:
        alive = live(session, find_model(session, "m"))
        for mix in (True, False):
            asked = sample_queries(alive, 40, np.random.default_rng(1), mix=mix)
            assert asked.mixed == [mix and n % 2 == 1 for n in range(40)]
            assert [query.tobytes() not in stored for query in asked.queries] == asked.mixed
