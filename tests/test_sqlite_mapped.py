"""Files of vectors that were removed are let go of by every connection of a pool, also by those that nobody uses: their room is free."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

import kompanion_db
from kompanion_db.sidecar.rounds import Rounds, rounds
from kompanion_db.sqlite import open_sql
from kompanion_db.sqlite.files import Place
from kompanion_db.sqlite.store import SqliteStore

DIM = 12
MAPS = Path("/proc/self/maps")
CONNECTIONS = 3

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what is mapped")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store with vectors in two files."""
    place = Place(tmp_path / "x.db")
    with kompanion_db.connect(place.url) as writer:
        writer.register_model("m", DIM)
        with at_work(place) as work:
            for batch in range(2):
                vectors = np.random.default_rng(batch).standard_normal((500, DIM), dtype=np.float32)
                writer.upsert_items(
                    {"namespace": "acme", "key": f"{batch} {n}", "content": "text", "tags": ["t"], "vectors": [v]}
                    for n, v in enumerate(vectors)
                )
                work.fold(everything=True)
            writer.close()
    with kompanion_db.connect(place.url) as opened:
        assert isinstance(opened, SqliteStore)
        yield opened


@contextmanager
def at_work(place: Place) -> Iterator[Rounds]:
    """The work on the files, as another process does it."""
    with rounds(place, 60) as work:
        assert work is not None
        yield work


def _ask(store: kompanion_db.Store) -> None:
    assert len(store.search("acme", np.ones(DIM), 3, tags_any=["t"])) == 3


def _ask_on_all_connections(store: SqliteStore) -> None:
    """As threads do that ask at once."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(store.database.session(write=False, beside=n > 0)) for n in range(CONNECTIONS)]
        for session in sessions:
            with store.database.bind(session):
                _ask(store)


def _mapped(store: SqliteStore, removed: bool = False) -> set[str]:
    """The files of the store that this process has mapped; or only those that are gone."""
    lines = [line for line in MAPS.read_text().splitlines() if f"{store.database.place.folder}/seg-" in line]
    return {line.split(maxsplit=5)[5] for line in lines if line.endswith("(deleted)") or not removed}


def _compact(store: SqliteStore) -> None:
    with at_work(store.database.place) as work:
        work.compact(whole=True)
        work.collect(grace=0)
    assert len(_mapped(store, removed=True)) == 2


def test_one_search_lets_every_idle_connection_let_go(store: SqliteStore) -> None:
    _ask_on_all_connections(store)
    _compact(store)
    _ask(store)
    assert len(_mapped(store)) == 1
    _ask_on_all_connections(store)
    assert len(_mapped(store)) == 1


def test_chunks_that_are_read_let_go_of_what_a_search_has_remembered(store: SqliteStore) -> None:
    _ask_on_all_connections(store)
    _compact(store)
    assert store.get_chunks("acme", "0 1")[0].vector is not None
    assert _mapped(store, removed=True) == set()


def test_a_store_lets_go_of_what_its_own_checkpoint_has_replaced(store: SqliteStore) -> None:
    _ask_on_all_connections(store)
    former = _mapped(store)
    assert store.checkpoint(compact=True)["merged"] == 2
    assert not _mapped(store) & former


def test_a_store_that_is_only_written_to_lets_go_in_the_background(store: SqliteStore) -> None:
    _ask_on_all_connections(store)
    _compact(store)
    store.upsert_item("acme", "new", "text")
    end = time.monotonic() + 60
    while _mapped(store, removed=True) and time.monotonic() < end:
        time.sleep(0.05)
    assert _mapped(store, removed=True) == set()


def test_a_store_that_is_closed_has_let_go_of_all_files_though_its_name_is_still_known(store: SqliteStore) -> None:
    _ask_on_all_connections(store)
    sql = open_sql(store.database.place.path)
    assert len(sql.execute("select key from search('acme', ?, 3)", (np.ones(DIM, "<f4").tobytes(),)).fetchall()) == 3
    assert len(_mapped(store)) == 2
    with store.database.session(write=False):  # one is in use
        store.close()
    sql.close()
    assert _mapped(store) == set()
