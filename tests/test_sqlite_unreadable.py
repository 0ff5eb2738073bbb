"""Files of vectors that the system does not read, though nothing is wrong with them: what is said, and what comes after."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kill_store
import numpy as np
import pytest
from rights import as_user

import kompanion_db
from kompanion_db.errors import ConnectionFailed, PermissionDenied
from kompanion_db.sidecar import part
from kompanion_db.sqlite.files import place_of

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
def no_more_files() -> Iterator[None]:
    """For the block this process may open none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_fd = os.dup(0)
    os.close(next_fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
