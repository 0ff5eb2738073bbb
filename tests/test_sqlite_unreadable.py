"""Files that the system does not read or write, though nothing is wrong with them: what is said, and what comes after."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import kill_store
import numpy as np
import pytest
from rights import as_user

import kompanion_db
from kompanion_db.errors import ConnectionFailed, PermissionDenied
from kompanion_db.sidecar import part
from kompanion_db.sidecar.transactions import keeper, reading
from kompanion_db.sqlite.files import place_of
from kompanion_db.sqlite.upkeep import doctor

resource = pytest.importorskip("resource", reason="Windows sets no such limits")

DIM = 8
ROWS = 2000


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store whose vectors are all in one file, with an index."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with kompanion_db.connect(url) as store:
        store.register_model("m", DIM, metric="l2")
        vectors = np.random.default_rng(1).standard_normal((ROWS, DIM), dtype=np.float32)
        store.upsert_items(
            {"namespace": "acme", "key": f"k{n}", "content": f"text {n}", "vectors": [v]} for n, v in enumerate(vectors)
        )
        store.checkpoint()
        with kill_store.hastened():
            assert store.checkpoint()["indexed"] == 1
    return url


@contextmanager
def limited(what: int, most: int) -> Iterator[None]:
    """For the block this process may have no more."""
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


@contextmanager
def no_more_files() -> Iterator[None]:
    """For the block this process may open none."""
    next_fd = os.dup(0)
    os.close(next_fd)
    with limited(resource.RLIMIT_NOFILE, next_fd):
        yield


def _reason(store: kompanion_db.Store) -> str:
    return str(store.explain_search("*", np.ones(DIM), k=1)["reason"])


def test_an_index_that_could_not_be_opened_for_want_of_descriptors_is_used_when_there_are_some(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "AGAIN", 0.0)
    with kompanion_db.connect(url) as store:
        expected = _reason(store)
    with kompanion_db.connect(url) as store:
        store.get_chunks("acme", "k1")  # which maps the vectors, and leaves the index
        with no_more_files():
            assert _reason(store) == "the model has no vector index"
        assert _reason(store) == expected


def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_not_called_damaged(url: str) -> None:
    with kompanion_db.connect(url) as store:
        store.list_models()
        with no_more_files(), pytest.raises(ConnectionFailed, match=r"Too many open files.*ulimit"):
            store.get_chunks("acme", "k1")
        assert len(store.get_chunks("acme", "k1")) == 1


def test_a_file_that_one_may_not_read_is_said_as_such_and_nothing_is_called_lost(url: str) -> None:
    place = place_of(url)
    (segment,) = place.folder.glob("seg-*")
    (index,) = place.folder.glob("ann-*")
    for path in (segment, index):
        path.chmod(0)
    searched = as_user("search", "acme", "--vector", str([1.0] * DIM), "--url", url)
    assert (searched.returncode, PermissionDenied.sqlstate in searched.stderr) == (1, True)
    assert f"{segment}: Permission denied" in searched.stderr
    found = [json.loads(line) for line in as_user("doctor", url, "--json").stdout.splitlines()]
    assert [(row["file"], row["what"]) for row in found] == [
        (str(segment), "cannot be read: Permission denied"),
        (str(index), "cannot be read: Permission denied: its segment is searched row by row"),
    ]
    assert {row["advice"] for row in found} == {"Make the folder and its files readable and writable."}


def test_the_doctor_tells_nobody_to_restore_a_backup_of_a_store_that_only_cannot_be_opened(url: str) -> None:
    assert doctor(url) == []
    with no_more_files():
        (found,) = doctor(url)
    assert found.what == "cannot be read: unable to open database file"
    assert "may be read and written" in found.advice
    place_of(url).path.chmod(0)
    (told,) = map(json.loads, as_user("doctor", url, "--json").stdout.splitlines())
    assert (told["what"], told["advice"]) == (found.what, found.advice)


def test_a_backup_that_finds_no_room_says_what_failed(url: str, tmp_path: Path) -> None:
    with kompanion_db.connect(url) as store:
        with limited(resource.RLIMIT_FSIZE, 100_000), pytest.raises(ConnectionFailed, match=r"IOERR_WRITE.*ulimit -f"):
            store.backup(tmp_path / "copy.db")
        assert sorted(path.name for path in tmp_path.glob("copy*")) == []
        assert store.backup(tmp_path / "copy.db")["files"] == 2


def test_a_store_that_one_may_only_read_is_backed_up(url: str, tmp_path: Path) -> None:
    place_of(url).path.chmod(0o400)
    done = as_user("backup", url, str(tmp_path / "copy.db"))
    assert (done.returncode, done.stderr) == (0, "")
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        assert copy.doctor() == []
        assert copy.upsert_item("acme", "new", "text").status == "inserted"


def test_an_error_that_has_ended_a_transaction_is_told_as_it_was(url: str) -> None:
    def fail() -> None:
        with keeper(place_of(url)) as conn, reading(conn):
            conn.execute("rollback")  # as SQLite does then
            raise apsw.NoMemError("out of memory")

    with pytest.raises(ConnectionFailed, match=r"out of memory.*ulimit -v"):
        fail()


def test_a_store_that_is_moved_while_it_is_open_says_so_when_it_folds(url: str, tmp_path: Path) -> None:
    with kompanion_db.connect(url) as store:
        (tmp_path / "moved").mkdir()
        for path in tmp_path.glob("x.db*"):
            path.rename(tmp_path / "moved" / path.name)
        with pytest.raises(ConnectionFailed, match="moved or removed"):
            store.checkpoint()
