"""Where the system lets no more threads start, calls say so or do without, and a store is as whole as before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import engines
import pytest
import servers

import kompanion_db
from kompanion_db.errors import KompanionError
from kompanion_db.sidecar.fold import FOLD_ROWS


@pytest.fixture
def threads_left(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let only so many more threads of ours start."""
    start = threading.Thread.start
    left = 0

    def limited(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name.startswith("kompanion"):
            left -= 1
            if left < 0:
                raise RuntimeError("can't start new thread")
        start(thread)

    def limit(count: int) -> None:
        nonlocal left
        left = count
        monkeypatch.setattr(threading.Thread, "start", limited)

    return limit


def _batches(count: int) -> list[dict[str, str]]:
    return [{"namespace": "acme", "key": f"{n:03}", "content": f"text {n}"} for n in range(20 * count)]


def _ends_at_once(call: Callable[[], object]) -> bool:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun < 10


@pytest.mark.parametrize("started", [0, 1, 2])
def test_a_load_whose_next_batch_gets_no_thread_says_so_and_keeps_those_before(
    one_db: servers.Database, threads_left: Callable[[int], None], started: int
) -> None:
    with kompanion_db.connect(one_db.url) as store:
        threads_left(started)
        with pytest.raises(KompanionError, match="no thread for a batch: can't start new thread"):
            store.upsert_items(_batches(4), batch_size=20)
        assert len(store.list_items("acme", page_size=1000)) == 20 * started
        threads_left(9)
        assert store.upsert_items(_batches(4), batch_size=20).items == 80
        threads_left(0)
        with pytest.raises(KompanionError, match="no thread"):
            store.upsert_items(_batches(4), batch_size=20)
        assert _ends_at_once(store.close)


def test_what_is_written_stands_and_the_store_closes_though_no_thread_can_start(
    one_home: engines.Home, threads_left: Callable[[int], None]
) -> None:
    with kompanion_db.connect(one_home.url) as store:
        threads_left(0)
        store.register_model("m", 3)
        for n in range(3):
            assert store.upsert_item("acme", f"k{n}", "text", vectors=[[1, 2, n]]).revision == 1
        assert _ends_at_once(store.close)
    with kompanion_db.connect(one_home.url) as store:
        assert len(store.search("acme", [1, 2, 0], 5)) == 3


def test_files_are_kept_as_soon_as_a_thread_can_start(
    tmp_path: Path, threads_left: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as store:
        threads_left(0)
        store.register_model("m", 3)
        store.upsert_items(
            {"namespace": "acme", "key": f"k{n}", "content": "text", "vectors": [[1, 2, n]]} for n in range(FOLD_ROWS)
        )
        assert "can't start new thread" in caplog.text
        assert not list((tmp_path / "x.db.vec").glob("seg-*"))
        threads_left(1)
        store.upsert_item("acme", "next", "text", vectors=[[1, 2, 3]])
        end = time.monotonic() + 60
        while not list((tmp_path / "x.db.vec").glob("seg-*")) and time.monotonic() < end:
            time.sleep(0.05)
        assert list((tmp_path / "x.db.vec").glob("seg-*"))
