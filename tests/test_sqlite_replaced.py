"""A store whose files were replaced while somebody had it open: he is told, and what was put there stays whole."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kompanion_db
from kompanion_db.errors import ConnectionFailed
from kompanion_db.sidecar.doctor import examine
from kompanion_db.sidecar.rounds import rounds
from kompanion_db.sqlite.files import Place

DIM, ROWS = 12, 50
PARTS = ("", "-wal", "-shm", ".vec")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows moves no file that somebody has open")


def _filled(path: Path, seed: int) -> kompanion_db.Store:
    """A store whose vectors are in a file."""
    store = kompanion_db.connect(f"sqlite:///{path}")
    store.register_model("m", DIM)
    vectors = np.random.default_rng(seed).standard_normal((ROWS, DIM), dtype=np.float32)
    store.upsert_items(
        {"namespace": "a", "key": f"{seed} {n}", "content": "c", "vectors": [v]} for n, v in enumerate(vectors)
    )
    with rounds(Place(path), 60) as work:
        assert work is not None
        work.fold(everything=True)
    return store


def _removed(path: Path, parts: tuple[str, ...] = PARTS) -> None:
    for part in parts:
        there = Path(f"{path}{part}")
        if there.is_dir():
            shutil.rmtree(there)
        else:
            there.unlink(missing_ok=True)


def _put_back(copy: Path, path: Path, parts: tuple[str, ...] = PARTS) -> None:
    """A copy in the place of a store, as one does who does not know that it is open."""
    _removed(path, parts)
    for part in parts:
        if Path(f"{copy}{part}").exists():
            os.rename(f"{copy}{part}", f"{path}{part}")


def _keys(store: kompanion_db.Store) -> set[str]:
    return {hit.key or "" for hit in store.search("a", np.ones(DIM), ROWS)}


@pytest.mark.parametrize("reads_first", [True, False])
def test_a_backup_put_back_under_an_open_store_stays_whole_and_who_has_it_open_is_told(
    tmp_path: Path, reads_first: bool
) -> None:
    with _filled(tmp_path / "b.db", 2) as other:
        other.backup(tmp_path / "copy.db")
    path = tmp_path / "a.db"
    with _filled(path, 1) as store:
        _put_back(tmp_path / "copy.db", path)
        calls: list[Callable[[], object]] = [
            lambda: _keys(store),
            lambda: store.upsert_item("a", "new", "not to be lost"),
        ]
        for call in calls if reads_first else calls[::-1]:
            with pytest.raises(ConnectionFailed, match=r"a\.db was moved, removed or replaced") as told:
                call()
            assert told.value.hint
    assert examine(Place(path)) == []
    with kompanion_db.connect(f"sqlite:///{path}") as opened:
        assert _keys(opened) == {f"2 {n}" for n in range(ROWS)}


def test_a_folder_that_is_put_back_before_its_file_stays_whole(tmp_path: Path) -> None:
    with _filled(tmp_path / "b.db", 2) as other:
        other.backup(tmp_path / "copy.db")
    path = tmp_path / "a.db"
    with _filled(path, 1):
        _put_back(tmp_path / "copy.db", path, (".vec",))
    _put_back(tmp_path / "copy.db", path, ("", "-wal", "-shm"))
    with kompanion_db.connect(f"sqlite:///{path}") as opened:
        assert _keys(opened) == {f"2 {n}" for n in range(ROWS)}


def test_a_store_reads_and_writes_one_file_though_another_is_put_there_amid_a_transaction(tmp_path: Path) -> None:
    with _filled(tmp_path / "b.db", 2) as other:
        other.backup(tmp_path / "copy.db")
    raised: list[Exception] = []
    told = pytest.raises(ConnectionFailed, match="was moved, removed or replaced")
    with _filled(tmp_path / "a.db", 1) as store, told, store.transaction():
        store.upsert_item("a", "new", "not to be lost")
        _put_back(tmp_path / "copy.db", tmp_path / "a.db")

        def ask() -> None:
            try:
                store.list_items("a")
            except Exception as exc:
                raised.append(exc)

        thread = threading.Thread(target=ask)  # which takes a connection of its own
        thread.start()
        thread.join()
    assert [type(exc) for exc in raised] == [ConnectionFailed]
    assert "was moved, removed or replaced" in str(raised[0])


@pytest.mark.parametrize("moved", [True, False])
def test_nothing_is_written_into_a_file_that_was_moved_away_or_removed(tmp_path: Path, moved: bool) -> None:
    path = tmp_path / "a.db"
    with _filled(path, 1) as store:
        if moved:
            os.rename(path, tmp_path / "elsewhere.db")
        else:
            _removed(path)
        with pytest.raises(ConnectionFailed, match="was moved, removed or replaced"):
            store.upsert_item("a", "new", "not to be lost")
