"""A store that is dropped without ``close()`` leaves nothing running and nothing open."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import engines
import psutil

from kompanion_db import connect, connect_async


def _comes(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not true() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.05)
    return true()


def _nothing_more_than(threads: set[threading.Thread], files: int) -> bool:
    return set(threading.enumerate()) <= threads and psutil.Process().num_fds() <= files


def test_a_dropped_store_leaves_no_thread_and_no_open_file(one_home: engines.Home) -> None:
    gc.collect()
    threads, files = set(threading.enumerate()), psutil.Process().num_fds()
    for n in range(5):
        store = connect(one_home.url)
        store.upsert_item("acme", "k", f"text {n}")
    assert not _nothing_more_than(threads, files)
    del store
    assert _comes(lambda: _nothing_more_than(threads, files))


def test_a_dropped_async_store_in_a_file_leaves_none_either(tmp_path: Path) -> None:
    async def write() -> None:
        for n in range(5):
            store = await connect_async(f"sqlite:///{tmp_path / 'x.db'}")
            await store.upsert_item("acme", "k", f"text {n}")

    gc.collect()
    threads, files = set(threading.enumerate()), psutil.Process().num_fds()
    asyncio.run(write())
    assert _comes(lambda: _nothing_more_than(threads, files))


def test_what_a_dropped_store_has_written_stands_and_is_folded_before_the_process_ends(tmp_path: Path) -> None:
    program = """
import sys, kompanion_db
store = kompanion_db.connect(sys.argv[1])
store.register_model("m", 4)
store.upsert_items(({"namespace": "acme", "content": "text", "vectors": [[n, 1, 1, 1]]} for n in range(2500)), model="m")
del store
"""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    done = subprocess.run(
        [sys.executable, "-c", program, url], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    with connect(url) as store:
        assert store.checkpoint()["folded"] == 0
        assert store.stats("acme")[0].embedded == 2500
