"""Embedding workers: each waiting chunk goes to one of them, and comes back when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
import servers
from crowd import together

import kompanion_db
from kompanion_db.chunking import Chunk

WORKER = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=sys.argv[2] == "committed") as conn:
    rows = conn.execute("select * from kompanion.pending_embeddings('m', 100, 'doomed', interval '3 seconds')").fetchall()
    print(len(rows), flush=True)
    sys.stdin.read()
"""


def _fill(store: kompanion_db.Store, count: int) -> None:
    store.register_model("m", 2)
    store.upsert_items({"namespace": "acme", "key": str(n), "content": f"text {n}"} for n in range(count))


def test_several_workers_never_get_the_same_chunk_and_together_get_all(
    db: servers.Database, store: kompanion_db.Store
) -> None:
    _fill(store, 500)

    def work(conn: psycopg.Connection[Any], number: int) -> list[int]:
        taken: list[int] = []
        while True:
            rows = conn.execute(
                "select chunk_id from kompanion.pending_embeddings('m', 7, %s)", (str(number),)
            ).fetchall()
            if not rows:
                return taken
            taken += [row[0] for row in rows]

    counts = Counter(chunk for taken in together(db, 8, work) for chunk in taken)
    # A worker skips what another one is just taking, so one may leave early; nothing is lost by it.
    counts.update(c.chunk_id for c in store.pending_embeddings("m", batch=500))
    assert set(counts.values()) == {1}
    assert len(counts) == 500


@pytest.mark.parametrize("claim", ["committed", "uncommitted"])
def test_a_killed_worker_gives_its_chunks_back(db: servers.Database, store: kompanion_db.Store, claim: str) -> None:
    _fill(store, 20)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, db.url, claim], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "20\n"
        assert store.pending_embeddings("m") == []
        os.kill(worker.pid, signal.SIGKILL)
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
    db: servers.Database, store: kompanion_db.Store
) -> None:
    _fill(store, 1)
    claimed = store.pending_embeddings("m", lease=timedelta(0))
    with db.connect() as conn:
        conn.execute("update kompanion.memory_chunks set content = 'edited'")
    assert [r.status for r in store.put_embeddings(claimed, [[1.0, 1.0]])] == ["stale"]
    again = store.pending_embeddings("m")
    assert [(c.content, c.chunk_revision) for c in again] == [("edited", claimed[0].chunk_revision + 1)]


def test_writers_and_workers_at_once_leave_no_chunk_with_a_vector_of_another_text(
    db: servers.Database, store: kompanion_db.Store
) -> None:
    """Vectors say which text they are of: one with the wrong number is of a former text."""
    _fill(store, 10)

    def write(conn: psycopg.Connection[Any], number: int) -> None:
        for n in range(60):
            conn.execute("select kompanion.upsert_item('acme', %s, %s)", (str(n % 10), f"text {number * 1000 + n}"))

    def work(conn: psycopg.Connection[Any], _: int) -> None:
        for _ in range(60):
            rows = conn.execute(
                "select namespace_id, chunk_id, chunk_revision, content from kompanion.pending_embeddings('m', 5)"
            ).fetchall()
            if rows:
                ids, chunks, revisions, texts = zip(*rows, strict=True)
                vectors = "{" + ",".join(f'"[1,{t.split()[1]}]"' for t in texts) + "}"
                conn.execute(
                    "select * from kompanion.put_embeddings(%s::uuid[], %s::bigint[], %s::int[], %s::vector[], 'm')",
                    (list(ids), list(chunks), list(revisions), vectors),
                )

    together(db, 8, lambda conn, n: write(conn, n) if n < 4 else work(conn, n))
    with db.connect() as conn:
        rows = conn.execute(
            """select c.content, e.vector::text from kompanion.live_chunks c
               join kompanion.live_embeddings e using (namespace_id, chunk_id)"""
        ).fetchall()
        left = conn.execute(
            """select count(*) from kompanion.live_chunks c
               where not exists (select 1 from kompanion.embeddings e
                                 where e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id)
                 and not exists (select 1 from kompanion.embedding_queue q
                                 where q.namespace_id = c.namespace_id and q.chunk_id = c.chunk_id)"""
        ).fetchone()
    assert all(vector == f"[1,{content.split()[1]}]" for content, vector in rows)
    assert left == (0,)
