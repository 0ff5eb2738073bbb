"""Nothing that was committed is lost and nothing is kept by half, whatever dies in the middle."""
# ruff: noqa: F401, F811 - fixtures are imported and named again as arguments

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import samples
import servers
from own_server import OwnServer, counts, own, own_db

import kompanion_db
from kompanion_db.errors import ConnectionFailed
from kompanion_db.snapshots import postgres_snapshot

ITEMS, BATCH = 600, 50


def load(store: kompanion_db.Store, progress: object = None) -> kompanion_db.BulkResult:
    items = (samples.bulk_item(n) for n in range(ITEMS))
    return store.upsert_items(items, batch_size=BATCH, progress=progress)  # type: ignore[arg-type]


def test_a_load_cut_off_by_a_crash_of_the_server_keeps_whole_batches_and_is_simply_run_again(
    own: OwnServer, own_db: servers.Database
) -> None:
    done: list[int] = []

    def crash_once(count: int) -> None:
        done.append(count)
        if count == 4 * BATCH:
            own.crash_and_restart()

    with kompanion_db.connect(own_db.url) as store:
        with pytest.raises(ConnectionFailed) as caught:
            load(store, crash_once)
        assert caught.value.sqlstate == "KM017"
        kept = counts(own_db)
        assert kept == (4 * BATCH,) * 4 == (done[-1],) * 4
        result = load(store)  # the same store: its lost connections are replaced
    assert (result.items, result.unchanged, result.inserted, result.revised) == (ITEMS, kept[0], ITEMS - kept[0], 0)
    assert counts(own_db) == (ITEMS,) * 4


def test_a_crash_in_the_middle_of_a_batch_leaves_nothing_of_it(own: OwnServer, own_db: servers.Database) -> None:
    def items() -> Iterator[kompanion_db.NewItem]:
        for n in range(ITEMS):
            if n == 230:
                threading.Timer(0.02, own.crash_and_restart).start()
            if n >= 230:
                time.sleep(0.005)
            yield samples.bulk_item(n)

    with kompanion_db.connect(own_db.url) as store:
        with pytest.raises(ConnectionFailed):
            store.upsert_items(items(), batch_size=BATCH)
        kept = wait_for_counts(own_db)
        assert kept[0] % BATCH == 0
        assert len(set(kept)) == 1
        result = load_when_up(store)
    assert result.inserted + result.unchanged == ITEMS
    assert result.unchanged == kept[0]
    assert counts(own_db) == (ITEMS,) * 4


def wait_for_counts(db: servers.Database) -> tuple[int, ...]:
    deadline = time.monotonic() + 60
    while True:
        try:
            return counts(db)
        except psycopg.OperationalError:  # starting up
            assert time.monotonic() < deadline
            time.sleep(0.1)


def load_when_up(store: kompanion_db.Store) -> kompanion_db.BulkResult:
    for _ in range(20):
        try:
            return load(store)
        except ConnectionFailed:
            time.sleep(0.2)
    return load(store)


def test_a_read_after_a_restart_succeeds_by_itself_and_a_write_is_not_sent_twice(
    own: OwnServer, own_db: servers.Database
) -> None:
    with kompanion_db.connect(own_db.url, min_size=3) as store:
        store.upsert_item("a", "k", "c")
        own.crash_and_restart()
        item = store.get_item("a", "k")
        assert item is not None
        assert item.revision == 1
        own.crash_and_restart()
        with pytest.raises(ConnectionFailed):
            store.upsert_item("a", "k", "changed")
        item = store.get_item("a", "k")
        assert item is not None
        assert (item.content, item.revision) == ("c", 1)
        for _ in range(10):  # each lost connection fails one write at most
            try:
                result = store.upsert_item("a", "k", "changed")
                break
            except ConnectionFailed:
                continue
        assert (result.revision, result.status) == (2, "revised")


async def test_an_async_store_recovers_the_same_way(own: OwnServer, own_db: servers.Database) -> None:
    async with await kompanion_db.connect_async(own_db.url) as store:
        await store.upsert_item("a", "k", "c")
        own.crash_and_restart()
        item = await store.get_item("a", "k")
        assert item is not None
        own.crash_and_restart()
        with pytest.raises(ConnectionFailed):
            await store.upsert_item("a", "k", "changed")
        assert await store.item_history("a", "k") != []


def test_a_transaction_whose_connection_is_terminated_leaves_nothing_and_is_not_retried(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store, db.connect() as killer:
        with pytest.raises(ConnectionFailed), store.transaction():  # noqa: PT012 - the block as a whole
            store.upsert_item("a", "k1", "c")
            killer.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
                (db.name,),
            )
            store.get_item("a", "k1")  # a read too: its transaction is gone
        assert store.get_item("a", "k1") is None
        assert store.upsert_item("a", "k2", "c").status in {"inserted", "unchanged"}


def test_what_is_read_of_one_moment_says_that_its_connection_was_lost_also_after_its_last_row(
    one_db: servers.Database,
) -> None:
    with one_db.connect() as killer, pytest.raises(ConnectionFailed), postgres_snapshot(one_db.url, True) as found:  # noqa: PT012
        list(found.registry("*"))
        killer.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
            (one_db.name,),
        )


def test_a_lost_connection_is_replaced_under_a_reader(db: servers.Database) -> None:
    with kompanion_db.connect(db.url, min_size=2, max_size=2) as store, db.connect() as killer:
        store.upsert_item("a", "k", "c")
        for _ in range(3):
            killer.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
                (db.name,),
            )
            assert [item.key for item in store.list_items("a")] == ["k"]


def test_a_client_that_is_killed_in_the_middle_of_a_load_leaves_whole_batches_only(db: servers.Database) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import itertools, kompanion_db, samples\n"
        "with kompanion_db.connect(sys.argv[1]) as store:\n"
        "    store.register_model('small', 3)\n"
        "    store.upsert_items(map(samples.bulk_item, itertools.count()), batch_size=50,\n"
        "                       progress=lambda n: print(n, flush=True))\n"
    )
    here = Path(__file__).parent
    for rounds in range(1, 4):
        child = subprocess.Popen(
            [sys.executable, "-c", code, db.url, str(here)], stdout=subprocess.PIPE, text=True, cwd=here.parent
        )
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(4 * rounds)]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        wait_until_alone(db)
        kept = counts(db)
        assert kept[0] >= seen[-1]
        assert kept[0] % BATCH == 0
        assert len(set(kept)) == 1
    with kompanion_db.connect(db.url) as store:
        result = load(store)
    assert result.inserted + result.unchanged == ITEMS
    assert result.unchanged == min(kept[0], ITEMS)


def wait_until_alone(db: servers.Database) -> None:
    """Until the server has noticed that the client is gone and ended what it was doing."""
    others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    deadline = time.monotonic() + 30
    with db.connect() as conn:
        while conn.execute(others).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
