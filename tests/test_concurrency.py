"""Many writers at once lose nothing, and none of them deadlocks."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import engines
import psycopg
import servers
from by_hand import ByHand
from crowd import start_line, together, together_in_sql

import kompanion_db
from kompanion_db import errors

WRITERS = 16
LOADS, ROUNDS = 8, 6


def test_sixteen_writers_of_one_key_leave_a_gapless_history(
    home: engines.Home, store: kompanion_db.Store, figure: Callable[[str], None]
) -> None:
    each = 500

    def write(own: kompanion_db.Store, writer: int) -> list[int]:
        return [own.upsert_item("acme", "k", f"{writer}/{n}").revision for n in range(each)]

    told = together(home, WRITERS, write)
    total = WRITERS * each
    assert sorted(r for one in told for r in one) == list(range(1, total + 1))
    assert all(one == sorted(one) for one in told)
    history = store.item_history("acme", "k")
    assert [r.revision for r in history] == list(range(1, total + 1))
    assert {r.content for r in history} == {f"{w}/{n}" for w in range(WRITERS) for n in range(each)}
    assert [r.updated_at for r in history[1:]] == [r.superseded_at for r in history[:-1]]
    assert [c.content for c in store.get_chunks("acme", "k")] == [history[-1].content]
    figure(f"{home.key}: {WRITERS} writers x {each} upserts of one key, final revision {len(history)}, no gap")


def test_of_writers_who_expect_the_same_revision_exactly_one_wins_each_round(
    home: engines.Home, store: kompanion_db.Store, figure: Callable[[str], None]
) -> None:
    rounds = 50
    start = start_line(WRITERS)

    def write(own: kompanion_db.Store, writer: int) -> list[str]:
        outcomes = []
        for expected in range(rounds):
            start.wait()
            try:
                own.upsert_item("acme", "k", f"{writer}/{expected}", expected_revision=expected)
                outcomes.append("won")
            except errors.RevisionConflict:
                outcomes.append("lost")
        return outcomes

    told = together(home, WRITERS, write, start)
    for outcomes in zip(*told, strict=True):
        assert Counter(outcomes) == {"won": 1, "lost": WRITERS - 1}
    item = store.get_item("acme", "k")
    assert item is not None
    assert item.revision == rounds
    figure(f"{home.key}: {WRITERS} writers, {rounds} rounds with expected_revision, one winner in each")


def test_of_first_writers_of_a_new_key_one_inserts_and_the_others_revise(home: engines.Home) -> None:
    start = start_line(WRITERS)

    def write(own: kompanion_db.Store, writer: int) -> list[tuple[int, str]]:
        outcomes = []
        for key in range(30):
            start.wait()
            told = own.upsert_item("acme", str(key), "same" if key % 2 else str(writer))
            outcomes.append((told.revision, told.status))
        return outcomes

    for key, outcomes in enumerate(zip(*together(home, WRITERS, write, start), strict=True)):
        others = "unchanged" if key % 2 else "revised"
        assert Counter(status for _, status in outcomes) == {"inserted": 1, others: WRITERS - 1}
        assert max(revision for revision, _ in outcomes) == (1 if key % 2 else WRITERS)


def test_a_namespace_a_thread_and_a_user_named_first_by_many_at_once_are_one(
    home: engines.Home, by_hand: ByHand
) -> None:
    together(home, WRITERS, lambda own, n: own.upsert_item("acme:u1", str(n), "text", thread="today", user_key="ann"))
    for table in ("namespaces", "threads", "users"):
        assert by_hand.count(table) == 1


def _overlapping(number: int) -> Iterator[list[dict[str, Any]]]:
    """The batches of one loader: half of the keys in each, in an order of its own."""
    rng = random.Random(number)
    for turn in range(ROUNDS):
        yield [
            {
                "namespace": f"acme:{key % 5}",
                "key": str(key),
                "content": f"{number}/{turn}/{key}",
                "thread": str(rng.randrange(4)),
                "user_key": str(rng.randrange(4)),
                "vectors": [[1.0, 2.0]],
            }
            for key in rng.sample(range(60), 30)
        ]


def _nothing_is_lost(store: kompanion_db.Store, by_hand: ByHand, written: int) -> None:
    items = store.list_items("acme", page_size=1000)
    assert sum(item.revision for item in items) == written
    assert by_hand.count("memory_item_revisions") + len(items) == written


def test_bulk_loads_with_overlapping_keys_neither_deadlock_nor_lose(
    home: engines.Home, store: kompanion_db.Store, by_hand: ByHand
) -> None:
    store.register_model("m", 2)
    store.upsert_item("acme:0", "0", "first")

    def load(own: kompanion_db.Store, number: int) -> int:
        return sum(own.upsert_items(batch).items for batch in _overlapping(number))

    def embed(own: kompanion_db.Store) -> int:
        """Stores late vectors meanwhile, which lock the same items."""
        for _ in range(ROUNDS):
            there = [
                kompanion_db.PendingChunk(item.namespace, item.namespace_id, c.chunk_id, c.chunk_revision, c.content)
                for item in own.list_items("acme", page_size=1000)
                for c in own.get_chunks(item.namespace, item.key)
            ]
            own.put_embeddings(there, [[3.0, 4.0]] * len(there))
        return 0

    written = sum(together(home, LOADS + 2, lambda own, n: load(own, n) if n < LOADS else embed(own)))
    _nothing_is_lost(store, by_hand, written + 1)


def test_sets_of_items_in_sql_with_overlapping_keys_neither_deadlock_nor_lose(db: servers.Database) -> None:
    def load(conn: psycopg.Connection[Any], number: int) -> int:
        batches = list(_overlapping(number))
        for batch in batches:
            conn.execute("select * from kompanion.upsert_items(%s::jsonb)", (json.dumps(batch),))
        return sum(map(len, batches))

    def embed(conn: psycopg.Connection[Any], number: int) -> int:
        """Stores late vectors meanwhile, which lock the same items."""
        for _ in range(ROUNDS * 4):
            conn.execute(
                """select * from kompanion.put_embeddings(
                       (select array_agg(namespace_id order by chunk_id) from kompanion.live_chunks),
                       (select array_agg(chunk_id order by chunk_id) from kompanion.live_chunks),
                       (select array_agg(revision order by chunk_id) from kompanion.live_chunks),
                       (select array_agg(array[3, 4]::real[]::vector order by chunk_id) from kompanion.live_chunks))
                   where exists (select 1 from kompanion.live_chunks)"""
            )
        return 0

    with kompanion_db.connect(db.url) as store, db.by_hand() as by_hand:
        store.register_model("m", 2)
        store.upsert_item("acme:0", "0", "first")
        written = sum(together_in_sql(db, LOADS + 2, lambda c, n: load(c, n) if n < LOADS else embed(c, n)))
        _nothing_is_lost(store, by_hand, written + 1)


def test_a_namespace_deleted_while_many_write_below_it_shows_nothing(
    home: engines.Home, store: kompanion_db.Store
) -> None:
    stop = threading.Event()

    def write(own: kompanion_db.Store, writer: int) -> set[type]:
        refused: set[type] = set()
        n = 0
        while not stop.is_set() or n == 0:
            n += 1
            try:
                own.upsert_item(f"acme:{writer}:{n}", "k", "text")
            except errors.KompanionError as exc:
                refused.add(type(exc))
        return refused

    def delete(own: kompanion_db.Store) -> set[type]:
        try:
            for _ in range(20):
                own.ensure_namespace("acme")
                own.delete_namespace("acme")
                assert own.list_items("*") == []
                own.restore_namespace("acme")
            own.delete_namespace("acme")
        finally:
            stop.set()
        return set()

    told = together(home, 9, lambda own, n: delete(own) if n == 0 else write(own, n))
    assert set().union(*told) <= {errors.NamespaceDeleted}
    assert store.list_items("*") == []
    assert store.list_namespaces() == []


def test_models_registered_by_many_at_once_are_one_each_and_one_is_the_default(
    home: engines.Home, store: kompanion_db.Store
) -> None:
    store.upsert_item("acme", "k", "text")
    together(home, 12, lambda own, n: own.register_model(f"m{n % 3}", 3))
    models = store.list_models()
    assert sorted(m.model for m in models) == ["m0", "m1", "m2"]
    assert sum(m.is_default for m in models) == 1
    assert [m.queued for m in models] == [1, 1, 1]


def test_many_purges_at_once_remove_everything_past_its_retention_once(
    home: engines.Home, store: kompanion_db.Store, by_hand: ByHand
) -> None:
    by_hand.set_setting("retention_deleted", timedelta(0))
    store.upsert_items({"namespace": "acme", "key": str(n), "content": "text"} for n in range(400))
    store.upsert_item("acme2", "k", "text")
    with store.transaction():
        for n in range(300):
            store.delete_item("acme", str(n))
    store.delete_namespace("acme")

    def purge(own: kompanion_db.Store, _: int) -> tuple[int, int]:
        purged = [own.purge(batch=20) for _ in range(40)]
        return sum(p.items for p in purged), sum(p.namespaces for p in purged)

    told = together(home, 8, purge)
    assert (sum(t[0] for t in told), sum(t[1] for t in told)) == (400, 1)
    assert [item.namespace for item in store.list_items("*")] == ["acme2"]
    assert [n.namespace for n in store.list_namespaces(include_deleted=True)] == ["acme2"]


def test_a_namespace_that_is_being_restored_is_not_purged_meanwhile(one_db: servers.Database) -> None:
    with kompanion_db.connect(one_db.url) as store:
        store.upsert_item("acme", "k", "text")
        store.delete_namespace("acme")
    with one_db.connect() as conn, one_db.connect(autocommit=False) as other:
        conn.execute("select kompanion.set_setting('retention_deleted', '\"0 days\"')")
        other.execute("select kompanion.restore_namespace('acme')")
        assert conn.execute("select items, namespaces from kompanion.purge()").fetchone() == (0, 0)
        other.commit()
    with kompanion_db.connect(one_db.url) as store:
        assert [item.key for item in store.list_items("acme")] == ["k"]


def test_a_switch_of_the_default_waits_for_an_import_that_brings_one(db: servers.Database) -> None:
    document = {"kind": "model", "name": "b", "dim": 3, "metric": "cosine", "is_default": True}
    with kompanion_db.connect(db.url) as store, db.connect(autocommit=False) as importer, db.connect() as watch:
        for name in "abc":
            store.register_model(name, 3)
        importer.execute("select * from kompanion.import_documents(%s)", [json.dumps([document])])
        former: list[str | None] = []
        switch = threading.Thread(target=lambda: former.append(store.set_default_model("c")))
        switch.start()
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        while switch.is_alive() and watch.execute(waiting).fetchone() == (0,):
            time.sleep(0.01)
        importer.commit()
        switch.join()
        assert former == ["b"]
