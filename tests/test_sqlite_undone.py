"""Vectors in a transaction of which a part was undone: the rest of it sees what is there, neither more nor less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from sharing import Undone

import kompanion_db
from kompanion_db.sidecar.bulk import BULK_ROWS
from kompanion_db.sqlite import open_sql

DIM = 4
VECTORS = np.random.default_rng(1).standard_normal((2 * BULK_ROWS, DIM), dtype=np.float32)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.fixture
def store(url: str) -> Iterator[kompanion_db.Store]:
    """A store with two models and a vector of the first."""
    with kompanion_db.connect(url) as opened:
        for name in ("a", "b"):
            opened.register_model(name, DIM, metric="l2")
        _write(opened, "a", 1)
        yield opened


def _write(store: kompanion_db.Store, model: str, count: int) -> None:
    items = ({"namespace": model, "key": f"k{n}", "content": "text", "vectors": [VECTORS[n]]} for n in range(count))
    store.upsert_items(items, model=model)


def _retire_b_and_undo_it(store: kompanion_db.Store) -> None:
    with suppress(Undone), store.transaction():
        store.retire_model("b", delete_vectors=True)
        assert len(store.search("*", VECTORS[0], 1, model="a")) == 1
        raise Undone


@pytest.mark.parametrize("count", [3, 2 * BULK_ROWS])
@pytest.mark.parametrize("before", [True, False])
def test_vectors_whose_removal_was_undone_are_found_in_the_rest_of_the_transaction(
    store: kompanion_db.Store, count: int, before: bool
) -> None:
    if before:
        _write(store, "b", count)
        store.checkpoint()
    with store.transaction():
        if not before:
            _write(store, "b", count)
            _write(store, "a", 2)  # above those of b: the log ends as it did
        _retire_b_and_undo_it(store)
        for scope in ("*", "b"):
            assert store.search(scope, VECTORS[0], 1, model="b")[0].key == "k0"
        chunk = store.get_chunks("b", "k0", model="b")[0]
        assert chunk.vector is not None
        assert chunk.vector.tolist() == VECTORS[0].tolist()
    assert store.search("b", VECTORS[0], 1, model="b")[0].key == "k0"


def test_a_program_in_sql_reads_vectors_whose_removal_it_has_undone(store: kompanion_db.Store, url: str) -> None:
    _write(store, "b", 3)
    store.checkpoint()
    with closing(open_sql(url)) as conn:
        number = conn.execute("select min(vec_id) from embeddings where model_id = 2").fetchall()[0][0]
        conn.execute("begin immediate; savepoint s; select * from retire_model('b', true)").fetchall()
        conn.execute("select * from search('*', ?, 1, 'a')", (f"[{', '.join(map(str, VECTORS[0]))}]",)).fetchall()
        conn.execute("rollback to s")
        assert conn.execute("select vec_get(?)", (number,)).fetchall() == [(VECTORS[0].tobytes(),)]
        conn.execute("rollback")
