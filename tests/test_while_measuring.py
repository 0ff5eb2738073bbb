"""What others may do while a model is measured or built, and what is left of either when it could not be done whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import clusters
import pytest
import servers
from clusters import DIM

import kompanion_db


@pytest.fixture
def measured(pg_store: kompanion_db.Store) -> kompanion_db.Store:
    """A model with an index, and one more."""
    pg_store.register_model("m", DIM)
    pg_store.register_model("other", 2)
    pg_store.upsert_items(clusters.items(range(600)), model="m")
    pg_store.ensure_index("m", kind="ivfflat", lists=20)
    return pg_store


@contextmanager
def _calibrating(db: servers.Database, seconds: float) -> Iterator[Future[Any]]:
    """A calibration that has begun, in a session of its own."""
    with db.connect() as conn, ThreadPoolExecutor(1) as pool:
        asked = """select count(*) from kompanion.calibrate('m', seconds => %s, queries => (
            select array_agg(e.vector) from kompanion.embeddings e cross join generate_series(1, 100)))"""  # more than it has time for
        running = pool.submit(lambda: conn.execute(asked, (seconds,)).fetchone())
        with db.connect() as watching:
            held = "select count(*) from pg_locks where pid = %s and relation = 'kompanion.embeddings'::regclass"
            while not running.done() and watching.execute(held, (conn.info.backend_pid,)).fetchone() == (0,):
                time.sleep(0.02)
        yield running
        conn.cancel()  # if it still runs


def test_models_are_registered_and_switched_while_one_is_measured(
    measured: kompanion_db.Store, db: servers.Database
) -> None:
    with _calibrating(db, 3) as running, ThreadPoolExecutor(3) as others:
        done = [
            others.submit(measured.register_model, "m", DIM),
            others.submit(measured.register_model, "third", 5),
            others.submit(measured.set_default_model, "other", require_complete=False),
        ]
        assert running.result(60)[0] > 0
        for one in done:
            one.result(60)
    assert {model.model for model in measured.list_models()} == {"m", "other", "third"}


def test_an_index_of_another_model_is_built_while_one_is_measured_and_writers_go_on(
    measured: kompanion_db.Store, db: servers.Database
) -> None:
    with _calibrating(db, 60) as running:
        measured.upsert_items([{"namespace": "a", "key": str(n), "content": "x", "vectors": [[1, n]]} for n in range(9)],
                              model="other")  # fmt: skip
        measured.ensure_index("other", kind="ivfflat", lists=2, concurrently=False)
        measured.upsert_item("a", "later", "x", vectors=[[1.0, 2.0]], model="other")
        assert not running.done()


def test_an_index_that_was_built_but_never_took_its_place_is_told_of(
    measured: kompanion_db.Store, db: servers.Database
) -> None:
    def told() -> list[str]:
        return [a.statement or "" for a in measured.index_advice("m") if "left an index" in a.advice]

    with db.connect() as conn:
        (build,) = conn.execute(
            "select statement from kompanion.index_statements('m', 'ivfflat', 30) where statement like 'create index%'"
        ).fetchall()
        conn.execute(build[0])
        (drop,) = told()
        conn.execute(drop)
        assert told() == []


def test_a_calibration_of_nothing_leaves_the_one_before(measured: kompanion_db.Store, db: servers.Database) -> None:
    measured.calibrate("m", sample=50)
    kept = "select calibration, knobs from kompanion.embedding_models where name = 'm'"
    with db.connect() as conn:
        before = conn.execute(kept).fetchone()
        conn.execute("update kompanion.memory_items set expires_at = now()")
        assert measured.calibrate("m", sample=50) == []
        assert conn.execute(kept).fetchone() == before


def test_a_calibration_that_goes_on_under_row_security_keeps_no_tag(
    measured: kompanion_db.Store, db: servers.Database
) -> None:
    tagged = "select knobs -> 'common_tags' from kompanion.embedding_models where name = 'm'"
    with db.connect() as conn:
        conn.execute("update kompanion.memory_items set tags = '{secret}'")
        conn.execute("vacuum analyze kompanion.memory_items")
        measured.calibrate("m", seconds=0.001)
        conn.execute("""update kompanion.embedding_models set calibration = calibration || '{"rare_items": 1}'""")
        measured.calibrate("m", seconds=0.001)
        assert conn.execute(tagged).fetchone() != (None,)
        conn.execute("alter table kompanion.memory_items enable row level security")
        measured.calibrate("m", seconds=0.001)
        assert conn.execute(tagged).fetchone() == (None,)
