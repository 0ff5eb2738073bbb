"""The care of the files: what is damaged or gone does not stop it for the rest, and what counts no longer is removed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import kill_store
import numpy as np
import pytest

import kompanion_db
from kompanion_db.errors import ConnectionFailed, DamagedStore
from kompanion_db.sidecar import manifest
from kompanion_db.sidecar.durable import NewFile
from kompanion_db.sidecar.maintenance import TIDY, Maintenance
from kompanion_db.sidecar.manifest import SegmentEntry
from kompanion_db.sidecar.rounds import Rounds, rounds
from kompanion_db.sidecar.transactions import keeper, one
from kompanion_db.sqlite.database import open_connection
from kompanion_db.sqlite.files import Place
from kompanion_db.sqlite.upkeep import doctor

DIM = 12
ROWS = 30
MODELS = ("first", "second")


def put(store: kompanion_db.Store, model: str, count: int) -> None:
    """Items with a vector of one model each, in one transaction."""
    vectors = np.random.default_rng(1).standard_normal((count, DIM), dtype=np.float32)
    rows: list[dict[str, Any]] = [{"content": f"{model} {n}", "vectors": [v]} for n, v in enumerate(vectors)]
    store.upsert_items(({"namespace": "acme", **row} for row in rows), model=model)


@contextmanager
def at_work(place: Place) -> Iterator[Rounds]:
    """The work on the files; what runs in the background is kept from it."""
    with rounds(place, 60) as work:
        assert work is not None
        yield work


def segments(work: Rounds, model: int) -> list[SegmentEntry]:
    return [entry for entry in work.entries() if entry.model_id == model]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A store of two models with four files each, which are to be merged."""
    place = Place(tmp_path / "x.db")
    with kompanion_db.connect(place.url) as store:
        for model in MODELS:
            store.register_model(model, DIM, metric="l2")
        with at_work(place) as work:
            for _ in range(4):
                for model in MODELS:
                    put(store, model, ROWS)
                work.fold(everything=True)
            store.close()
    return place


def test_a_damaged_file_stops_the_merging_of_no_other_model(place: Place) -> None:
    with at_work(place) as work:
        damaged = segments(work, 1)[0]
        flip(place.folder / damaged.file)
        assert work.merge() == 4
        assert [e.rows for e in segments(work, 2)] == [4 * ROWS]
        assert len(segments(work, 1)) == 4
        assert [type(exc) for exc in work.trouble] == [DamagedStore]
        assert damaged.file in str(work.trouble[0])


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_the_background_tells_once_of_a_file_it_cannot_merge_and_goes_on_with_what_comes(
    place: Place, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with at_work(place) as work:
        path = place.folder / segments(work, 1)[0].file
    maintenance = Maintenance(place)

    def look() -> dict[int, list[int]]:
        """The rows of the segments of each model after a look of the background."""
        with keeper(place) as conn:
            maintenance._round(conn, quiet=True, tidy=False)
            entries = manifest.segments(conn)
        return {model: sorted(e.rows for e in entries if e.model_id == model) for model in (1, 2)}

    store = kompanion_db.connect(place.url)
    flip(path) if how == "damaged" else path.unlink()
    assert look() == {1: [ROWS] * 4, 2: [4 * ROWS]}
    with at_work(place) as work:
        for _ in range(4):
            put(store, "first", ROWS + 1)
            work.fold(everything=True)
        store.close()
    assert look() == {1: [*[ROWS] * 4, 4 * (ROWS + 1)], 2: [4 * ROWS]}
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == 1
    assert path.name in told[0]


def test_a_checkpoint_says_what_is_damaged_when_it_has_done_the_rest(place: Place) -> None:
    with kompanion_db.connect(place.url) as store:
        with at_work(place) as work:
            flip(place.folder / segments(work, 1)[0].file)
        with pytest.raises(DamagedStore, match=r"checksum .*doctor"):
            store.checkpoint()
        with at_work(place) as work:
            assert len(segments(work, 2)) == 1


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_the_doctor_repairs_what_is_whole_and_still_says_what_is_lost(place: Place, how: str) -> None:
    with at_work(place) as work:
        path = place.folder / segments(work, 1)[0].file
    flip(path) if how == "damaged" else path.unlink()
    with kill_store.hastened():
        before = doctor(place)
        assert sum("no vector index" in f.what for f in before) == 8
        after = doctor(place, repair=True)
        lost = [f for f in before if f.severity == "error"]
        assert [f for f in after if f.severity == "error"] == lost
        assert lost
        repaired = [f for f in after if f.severity == "repaired"]
        assert len(repaired) == 7
        assert [f for f in after if f not in lost and f not in repaired and str(path) != f.file] == []
        assert [f for f in doctor(place) if f.file != str(path)] == [f for f in lost if f.file != str(path)]


def _supersede(place: Place) -> list[Path]:
    """Files that are merged into another, since a time longer than any reader has."""
    with at_work(place) as work:
        former = [place.folder / entry.file for entry in work.entries()]
        work.compact(whole=True)
        work.conn.execute("update vec_retired set retired_at = 0")
    return former


def test_a_process_that_writes_once_removes_the_files_that_were_superseded(place: Place) -> None:
    former = _supersede(place)
    with kompanion_db.connect(place.url) as store:
        put(store, "first", 1)
    assert [path.name for path in former if path.exists()] == []
    assert doctor(place) == []


def until(seen: Callable[[], bool]) -> bool:
    """Whether it is so within half a minute."""
    end = time.monotonic() + 30
    while not seen() and time.monotonic() < end:
        time.sleep(0.05)
    return seen()


def test_files_that_were_superseded_are_removed_though_the_process_only_reads_from_then_on(place: Place) -> None:
    with (
        kill_store.hastened(),
        kompanion_db.connect(place.url) as store,
        closing(open_connection(place)) as other,
    ):
        put(store, "first", 1)
        assert until(lambda: one(other, "select count(*) from vec_retired") > 0)
        time.sleep(1)  # nothing is left to do but that
        former = [place.folder / name for (name,) in other.execute("select file from vec_retired").fetchall()]
        assert all(path.exists() for path in former)
        other.execute("update vec_retired set retired_at = 0")
        assert until(lambda: not any(path.exists() for path in former))
        assert len(store.search("acme", np.zeros(DIM), 1000, model="first")) == 4 * ROWS + 1


def test_the_background_looks_again_only_while_there_are_superseded_files(place: Place) -> None:
    maintenance = Maintenance(place)
    with keeper(place) as conn:
        assert maintenance._round(conn, quiet=True, tidy=False) == TIDY
        conn.execute("update vec_retired set retired_at = 0")
        assert maintenance._round(conn, quiet=True, tidy=True) is None


def test_a_file_that_was_superseded_just_now_is_left_to_its_readers_when_a_store_is_closed(place: Place) -> None:
    with at_work(place) as work:
        former = [place.folder / entry.file for entry in work.entries()]
        work.compact(whole=True)
    with kompanion_db.connect(place.url) as store:
        put(store, "first", 1)
    assert all(path.exists() for path in former)


def test_a_store_is_closed_without_waiting_for_a_writer_who_is_at_it(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    former = _supersede(place)
    store = kompanion_db.connect(place.url)
    put(store, "first", 1)
    with closing(open_connection(place)) as other:
        other.execute("begin immediate")
        store.close()
        other.execute("rollback")
    assert all(path.exists() for path in former)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_file_that_is_gone_before_it_is_adopted_is_an_error_that_closes_nothing_of_others(tmp_path: Path) -> None:
    def adopt() -> None:
        nonlocal other
        with NewFile(tmp_path, "seg", "fold") as file:
            file.temporary.unlink()
            try:
                file.adopt()
            finally:
                other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)  # under the number that has become free

    other = -1
    with pytest.raises(ConnectionFailed, match="seg-"):
        adopt()
    os.close(other)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_ensure_index_says_what_is_damaged_when_it_has_done_the_rest_and_indexes_nothing_of_it(
    place: Place, how: str
) -> None:
    with at_work(place) as work:
        work.merge()
        path = place.folder / segments(work, 1)[0].file
    with kompanion_db.connect(place.url) as store:
        flip(path) if how == "damaged" else path.unlink()
        assert len(store.ensure_index("second", kind="ivfpq")) == 1
        with pytest.raises(DamagedStore if how == "damaged" else ConnectionFailed, match=path.name):
            store.ensure_index("first", kind="ivfpq")
    with at_work(place) as work:
        assert [e.ann is not None for model in (1, 2) for e in segments(work, model)] == [False, True]


def test_ensure_index_says_which_file_could_not_be_merged(place: Place) -> None:
    with at_work(place) as work:
        path = place.folder / segments(work, 1)[0].file
    flip(path)
    with kompanion_db.connect(place.url) as store, pytest.raises(DamagedStore, match=path.name):
        store.ensure_index("second", lists=2)
    with at_work(place) as work:
        assert [(e.rows, e.ann is not None) for e in segments(work, 2)] == [(4 * ROWS, True)]
