"""A filter of many topics that lie here and there holds its target, also for questions about none of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kompanion_db
from kompanion_db.sqlite import by_index
from kompanion_db.sqlite.store import SqliteStore

ROWS, DIM, TOPICS = 6000, 24, 50
_rng = np.random.default_rng(5)
topic_of = _rng.integers(0, TOPICS, ROWS)
VECTORS = (0.35 * _rng.standard_normal((TOPICS, DIM))[topic_of] + 0.3 * _rng.standard_normal((ROWS, DIM))).astype("f4")
ASKED = _rng.permutation(ROWS)[:200]
MODELS = {"cosine": VECTORS, "l2": VECTORS + np.float32(5)}
"""By metric. Those under l2 have much in common, as those of many embedders do."""

DEAR = (
    "update embedding_models set calibration = jsonb_set(calibration, '$.knobs.exact_rows', 10, '$.knobs.row_us', 1000)"
)
"""Makes an exact search look dear, so that the index is used."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Vectors with an index that looks as narrowly as one of ten times as many, calibrated."""
    with (
        pytest.MonkeyPatch.context() as patch,
        kompanion_db.connect(f"sqlite:///{tmp_path_factory.mktemp('topics') / 'x.db'}?synchronous=normal") as opened,
    ):
        patch.setattr(by_index, "SCANNED", 2500)
        assert isinstance(opened, SqliteStore)
        for metric, vectors in MODELS.items():
            opened.register_model(metric, DIM, metric=metric)
            items = (
                {
                    "namespace": metric,
                    "key": str(n),
                    "content": "text",
                    "tags": [f"topic-{topic_of[n]}"],
                    "vectors": [v],
                }
                for n, v in enumerate(vectors)
            )
            opened.upsert_items(items, model=metric)
            opened.ensure_index(metric, lists=200)
            assert opened.calibrate(metric, sample=100)
        _sql(opened, DEAR)
        yield opened


def _sql(store: SqliteStore, statement: str) -> None:
    with store.database.session(write=True) as session:
        session.run(statement)


@pytest.mark.parametrize("metric", MODELS)
@pytest.mark.parametrize("target", [0.9, 0.95])
@pytest.mark.parametrize(("many", "known"), [((10, 17, 25, 35), True), ((17, 35), False)])
def test_a_filter_of_many_topics_holds_its_target_also_for_questions_about_none_of_them(
    store: SqliteStore, metric: str, target: float, many: tuple[int, ...], known: bool
) -> None:
    vectors, short, indexed = MODELS[metric], {}, 0
    for topics in many:
        matches = np.flatnonzero(topic_of < topics)
        asked: dict[str, Any] = {
            "model": metric,
            "target_recall": target,
            "tags_any": [f"topic-{n}" for n in range(topics)],
        }
        recalls: dict[bool, list[float]] = {True: [], False: []}
        for place in ASKED[: None if known else 100]:
            if not known:  # it looks around first
                store.upsert_item("other", "k", f"{topics} {place}")
            hits = store.search("*", vectors[place], **asked)
            found = {hit.key for hit in hits} & _nearest(metric, vectors[place], matches)
            recalls[bool(topic_of[place] < topics)].append(len(found) / 10)
        indexed += store.explain_search("*", vectors[0], **asked)["path"] == "index"
        short |= {(topics, own): np.mean(found) for own, found in recalls.items() if np.mean(found) < target - 0.01}
    assert (short, indexed) == ({}, len(many))


def _nearest(metric: str, query: Any, matches: Any) -> set[str]:
    vectors = MODELS[metric][matches]
    far = np.linalg.norm(vectors - query, axis=1)
    if metric == "cosine":
        far = -(vectors @ query) / np.linalg.norm(vectors, axis=1)
    return {str(key) for key in matches[np.argsort(far)[:10]]}


def test_a_calibration_that_did_not_measure_such_filters_is_not_believed_and_not_gone_on_with(
    store: SqliteStore,
) -> None:
    _sql(store, "update embedding_models set calibration = jsonb_remove(calibration, '$.knobs.form')")
    told = store.explain_search("*", VECTORS[0], model="cosine").get("expected_recall_from", "")
    assert told != "calibration"
    (advice,) = store.index_advice("cosine")
    assert advice.advice == "the calibration did not measure all that one does now: it is not believed any more"
    _sql(store, "update embedding_models set calibration = jsonb_set(calibration, '$.complete', jsonb('false'))")
    assert {point.runs for point in store.calibrate("cosine", sample=12)} == {12}
