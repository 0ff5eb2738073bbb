"""Embedding workers: each waiting chunk goes to one of them, and comes back when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta

import engines
import numpy as np
import pytest
from by_hand import ByHand, an_hour_ago
from crowd import together

import kompanion_db
from kompanion_db.chunking import Chunk

WORKER = """
import contextlib, sys, kompanion_db
from datetime import timedelta
with kompanion_db.connect(sys.argv[1]) as store:
    with contextlib.nullcontext() if sys.argv[2] == "committed" else store.transaction():
        print(len(store.pending_embeddings("m", worker="doomed", lease=timedelta(hours=1))), flush=True)
        sys.stdin.read()
"""


def _fill(store: kompanion_db.Store, count: int) -> None:
    store.register_model("m", 2)
    store.upsert_items({"namespace": "acme", "key": str(n), "content": f"text {n}"} for n in range(count))


def test_several_workers_never_get_the_same_chunk_and_together_get_all(
    home: engines.Home, store: kompanion_db.Store
) -> None:
    _fill(store, 500)

    def work(own: kompanion_db.Store, number: int) -> list[int]:
        taken: list[int] = []
        while chunks := own.pending_embeddings("m", batch=7, worker=str(number)):
            taken += [chunk.chunk_id for chunk in chunks]
        return taken

    counts = Counter(chunk for taken in together(home, 8, work) for chunk in taken)
    # A worker skips what another one is just taking, so one may leave early; nothing is lost by it.
    counts.update(c.chunk_id for c in store.pending_embeddings("m", batch=500))
    assert set(counts.values()) == {1}
    assert len(counts) == 500


@pytest.mark.parametrize("claim", ["committed", "uncommitted"])
def test_a_killed_worker_gives_its_chunks_back(
    home: engines.Home, store: kompanion_db.Store, by_hand: ByHand, claim: str
) -> None:
    _fill(store, 20)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, home.url, claim], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "20\n"
        assert store.pending_embeddings("m") == []
        os.kill(worker.pid, signal.SIGKILL)
    if claim == "committed":
        assert store.pending_embeddings("m") == []
        by_hand.update("embedding_queue", leased_until=an_hour_ago())
    deadline = time.monotonic() + 30
    back: list[kompanion_db.PendingChunk] = []
    while len(back) < 20 and time.monotonic() < deadline:
        back += store.pending_embeddings("m")
        time.sleep(0.05)
    assert sorted(c.content for c in back) == sorted(f"text {n}" for n in range(20))
    results = store.put_embeddings(back, np.ones((20, 2), np.float32))
    assert {r.status for r in results} == {"stored"}


def test_a_lease_that_is_over_lets_both_workers_store_and_the_last_one_stands(store: kompanion_db.Store) -> None:
    _fill(store, 1)
    slow = store.pending_embeddings("m", lease=timedelta(0))
    quick = store.pending_embeddings("m", lease=timedelta(minutes=1))
    assert [c.chunk_id for c in slow] == [c.chunk_id for c in quick]
    assert store.put_embeddings(quick, [[1.0, 0.0]])[0].status == "stored"
    assert store.put_embeddings(slow, [[0.0, 1.0]])[0].status == "stored"
    assert store.search("acme", [0.0, 1.0])[0].distance == pytest.approx(0.0)


def test_a_vector_that_comes_after_its_chunk_has_changed_is_stale_and_left_out(store: kompanion_db.Store) -> None:
    _fill(store, 3)
    claimed = {c.content: c for c in store.pending_embeddings("m")}
    store.upsert_item("acme", "0", "another text")
    store.put_chunks("acme", "1", [Chunk(0, "text", 0, 4), Chunk(1, "1", 5, 6)])
    chunks = [claimed[f"text {n}"] for n in range(3)]
    results = store.put_embeddings(chunks, np.ones((3, 2), np.float32))
    assert [r.status for r in results] == ["stale", "stale", "stored"]
    assert [h.key for h in store.search("acme", [1.0, 1.0])] == ["2"]
    waiting = store.pending_embeddings("m")
    assert sorted(c.content for c in waiting) == ["1", "another text", "text"]


def test_a_vector_that_comes_after_a_plain_update_of_its_chunk_is_stale(
    by_hand: ByHand, store: kompanion_db.Store
) -> None:
    _fill(store, 1)
    claimed = store.pending_embeddings("m", lease=timedelta(0))
    by_hand.update("memory_chunks", content="edited")
    assert [r.status for r in store.put_embeddings(claimed, [[1.0, 1.0]])] == ["stale"]
    again = store.pending_embeddings("m")
    assert [(c.content, c.chunk_revision) for c in again] == [("edited", claimed[0].chunk_revision + 1)]


def test_writers_and_workers_at_once_leave_no_chunk_with_a_vector_of_another_text(
    home: engines.Home, store: kompanion_db.Store
) -> None:
    """Vectors say which text they are of: one with the wrong number is of a former text."""
    _fill(store, 10)

    def write(own: kompanion_db.Store, number: int) -> None:
        for n in range(60):
            own.upsert_item("acme", str(n % 10), f"text {number * 1000 + n}")

    def work(own: kompanion_db.Store) -> None:
        for _ in range(60):
            chunks = own.pending_embeddings("m", batch=5)
            if chunks:
                own.put_embeddings(chunks, [[1.0, float(c.content.split()[1])] for c in chunks])

    together(home, 8, lambda own, n: write(own, n) if n < 4 else work(own))
    for key in range(10):
        (chunk,) = store.get_chunks("acme", str(key))
        assert chunk.vector is None or chunk.vector.tolist() == [1.0, float(chunk.content.split()[1])]
    assert store.enqueue_missing("m") == 0, "a chunk has neither a vector nor a place in the queue"
