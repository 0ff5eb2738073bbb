"""Many writers at once lose nothing, and none of them deadlocks."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import servers
from crowd import together

import kompanion_db

WRITERS = 16
UPSERT = "select revision, status from kompanion.upsert_item('acme', %s, %s)"
EXPECTING = "select revision from kompanion.upsert_item('acme', 'k', %s, expected_revision => %s)"


def test_sixteen_writers_of_one_key_leave_a_gapless_history(
    db: servers.Database, figure: Callable[[str], None]
) -> None:
    each = 500

    def write(conn: psycopg.Connection[Any], writer: int) -> list[int]:
        return [
            conn.execute(UPSERT, ("k", f"{writer}/{n}")).fetchone()[0]  # type: ignore[index]
            for n in range(each)
        ]

    told = together(db, WRITERS, write)
    total = WRITERS * each
    assert sorted(r for one in told for r in one) == list(range(1, total + 1))
    assert all(one == sorted(one) for one in told)
    with db.connect() as conn:
        history = conn.execute(
            "select revision, content, updated_at, superseded_at from kompanion.item_history('acme', 'k')"
        ).fetchall()
        chunks = conn.execute("select content from kompanion.live_chunks").fetchall()
    assert [row[0] for row in history] == list(range(1, total + 1))
    assert {row[1] for row in history} == {f"{w}/{n}" for w in range(WRITERS) for n in range(each)}
    assert [row[2] for row in history[1:]] == [row[3] for row in history[:-1]]
    assert chunks == [(history[-1][1],)]
    figure(f"{db.server.key}: {WRITERS} writers x {each} upserts of one key, final revision {history[-1][0]}, no gap")


def test_of_writers_who_expect_the_same_revision_exactly_one_wins_each_round(
    db: servers.Database, figure: Callable[[str], None]
) -> None:
    rounds = 50
    start = threading.Barrier(WRITERS)

    def write(conn: psycopg.Connection[Any], writer: int) -> list[str]:
        outcomes = []
        for expected in range(rounds):
            start.wait()
            try:
                conn.execute(EXPECTING, (f"{writer}/{expected}", expected))
                outcomes.append("won")
            except psycopg.Error as exc:
                outcomes.append(exc.sqlstate or "")
        return outcomes

    told = together(db, WRITERS, write)
    for outcomes in zip(*told, strict=True):
        assert Counter(outcomes) == {"won": 1, "KM001": WRITERS - 1}
    with db.connect() as conn:
        found = conn.execute("select revision from kompanion.get_item('acme', 'k')").fetchone()
    assert found == (rounds,)
    figure(f"{db.server.key}: {WRITERS} writers, {rounds} rounds with expected_revision, one winner in each")


def test_of_first_writers_of_a_new_key_one_inserts_and_the_others_revise(db: servers.Database) -> None:
    start = threading.Barrier(WRITERS)

    def write(conn: psycopg.Connection[Any], writer: int) -> list[tuple[int, str]]:
        outcomes = []
        for key in range(30):
            start.wait()
            text = "same" if key % 2 else str(writer)
            outcomes.append(conn.execute(UPSERT, (str(key), text)).fetchone())
        return outcomes  # type: ignore[return-value]

    for key, outcomes in enumerate(zip(*together(db, WRITERS, write), strict=True)):
        others = "unchanged" if key % 2 else "revised"
        assert Counter(status for _, status in outcomes) == {"inserted": 1, others: WRITERS - 1}
        assert max(revision for revision, _ in outcomes) == (1 if key % 2 else WRITERS)


def test_a_namespace_a_thread_and_a_user_named_first_by_many_at_once_are_one(db: servers.Database) -> None:
    call = "select kompanion.upsert_item('acme:u1', %s, 'text', thread => 'today', user_key => 'ann')"
    together(db, WRITERS, lambda conn, writer: conn.execute(call, (str(writer),)).fetchone())
    with db.connect() as conn:
        for table in ("namespaces", "threads", "users"):
            assert conn.execute(f"select count(*) from kompanion.{table}").fetchone() == (1,)


def test_bulk_loads_with_overlapping_keys_neither_deadlock_nor_lose(db: servers.Database) -> None:
    keys, loads, rounds = 60, 8, 6
    with db.connect() as conn:
        conn.execute("select kompanion.register_model('m', 2)")

    def load(conn: psycopg.Connection[Any], number: int) -> int:
        rng = random.Random(number)
        for turn in range(rounds):
            chosen = rng.sample(range(keys), keys // 2)
            items = [
                {
                    "namespace": f"acme:{key % 5}",
                    "key": str(key),
                    "content": f"{number}/{turn}/{key}",
                    "thread": str(rng.randrange(4)),
                    "user_key": str(rng.randrange(4)),
                    "vectors": [[1.0, 2.0]],
                }
                for key in chosen
            ]
            conn.execute("select * from kompanion.upsert_items(%s::jsonb)", (json.dumps(items),))
        return rounds * (keys // 2)

    def embed(conn: psycopg.Connection[Any], number: int) -> int:
        """Stores late vectors meanwhile, which lock the same items."""
        for _ in range(rounds * 4):
            conn.execute(
                """select * from kompanion.put_embeddings(
                       (select array_agg(namespace_id order by chunk_id) from kompanion.live_chunks),
                       (select array_agg(chunk_id order by chunk_id) from kompanion.live_chunks),
                       (select array_agg(revision order by chunk_id) from kompanion.live_chunks),
                       (select array_agg(array[3, 4]::real[]::vector order by chunk_id) from kompanion.live_chunks))
                   where exists (select 1 from kompanion.live_chunks)"""
            )
        return 0

    with db.connect() as conn:
        conn.execute("select * from kompanion.upsert_item('acme:0', '0', 'first')")
    written = sum(together(db, loads + 2, lambda c, n: load(c, n) if n < loads else embed(c, n)))
    with db.connect() as conn:
        revisions = conn.execute("select sum(revision) from kompanion.live_items").fetchone()
        history = conn.execute("select count(*) from kompanion.memory_item_revisions").fetchone()
        items = conn.execute("select count(*) from kompanion.live_items").fetchone()
    assert revisions == (written + 1,)
    assert (history[0] + items[0],) == revisions  # type: ignore[index]


def test_a_namespace_deleted_while_many_write_below_it_shows_nothing(db: servers.Database) -> None:
    stop = threading.Event()

    def write(conn: psycopg.Connection[Any], writer: int) -> set[str]:
        refused = set()
        n = 0
        while not stop.is_set() or n == 0:
            n += 1
            try:
                conn.execute("select kompanion.upsert_item(%s, 'k', 'text')", (f"acme:{writer}:{n}",))
            except psycopg.Error as exc:
                refused.add(exc.sqlstate or "")
        return refused

    def delete(conn: psycopg.Connection[Any]) -> set[str]:
        try:
            for _ in range(20):
                conn.execute("select kompanion.ensure_namespace('acme')")
                conn.execute("select kompanion.delete_namespace('acme')")
                assert conn.execute("select namespace from kompanion.live_items").fetchall() == []
                conn.execute("select kompanion.restore_namespace('acme')")
            conn.execute("select kompanion.delete_namespace('acme')")
        finally:
            stop.set()
        return set()

    told = together(db, 9, lambda conn, n: delete(conn) if n == 0 else write(conn, n))
    assert set().union(*told) <= {"KM009"}
    with db.connect() as conn:
        assert conn.execute("select namespace from kompanion.live_items").fetchall() == []
        assert conn.execute("select path from kompanion.live_namespaces").fetchall() == []


def test_models_registered_by_many_at_once_are_one_each_and_one_is_the_default(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        store.upsert_item("acme", "k", "text")
        together(
            db, 12, lambda conn, n: conn.execute("select kompanion.register_model(%s, 3)", (f"m{n % 3}",)).fetchone()
        )
        models = store.list_models()
        assert sorted(m.model for m in models) == ["m0", "m1", "m2"]
        assert sum(m.is_default for m in models) == 1
        assert [m.queued for m in models] == [1, 1, 1]


def test_many_purges_at_once_remove_everything_past_its_retention_once(db: servers.Database) -> None:
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('retention_deleted', '\"0 seconds\"')")
        conn.execute("select kompanion.upsert_item('acme', n::text, 'text') from generate_series(1, 400) n")
        conn.execute("select kompanion.upsert_item('acme2', 'k', 'text')")
        conn.execute("select kompanion.delete_item('acme', n::text) from generate_series(1, 300) n")
        conn.execute("select kompanion.delete_namespace('acme')")

    def purge(conn: psycopg.Connection[Any], _: int) -> tuple[int, int]:
        items = namespaces = 0
        for _ in range(40):
            row = conn.execute("select items, namespaces from kompanion.purge(20)").fetchone()
            assert row is not None
            items, namespaces = items + row[0], namespaces + row[1]
        return items, namespaces

    told = together(db, 8, purge)
    assert (sum(t[0] for t in told), sum(t[1] for t in told)) == (400, 1)
    with db.connect() as conn:
        assert conn.execute("select namespace from kompanion.live_items").fetchall() == [("acme2",)]
