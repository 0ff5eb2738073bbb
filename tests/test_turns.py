"""Batches of a bulk load are merged side by side, and nobody can tell: what stands is what one after the other leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import engines
import pytest
import servers
from sharing import hurry, started

import kompanion_db
from kompanion_db import NewItem, errors


def load(store: kompanion_db.Store, items: list[NewItem]) -> kompanion_db.BulkResult:
    return store.upsert_items(items, batch_size=20)


def batch(name: str, count: int = 20) -> list[NewItem]:
    return [NewItem("acme", f"{name} number {n}", f"{name} {n:02}") for n in range(count)]


def keys(store: kompanion_db.Store) -> set[str]:
    return {item.key.split()[0] for item in store.list_items("*", page_size=1000) if item.key}


def test_what_one_batch_writes_the_next_one_finds(home: engines.Home) -> None:
    with kompanion_db.connect(home.url) as store:
        chain = [NewItem("acme", f"content {n}", "k", expected_revision=n) for n in range(30)]
        items = [item for n, link in enumerate(chain) for item in [*batch(f"b{n}", 19), link]]
        told = load(store, items)
        assert (told.inserted, told.revised) == (30 * 19 + 1, 29)
        assert [r.content for r in store.item_history("acme", "k")] == [f"content {n}" for n in range(30)]


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 5])
def test_after_a_refused_batch_nothing_later_stands_and_all_before_it_does(home: engines.Home, place: int) -> None:
    batches = [batch(f"b{n}") for n in range(6)]
    batches[place][7] = NewItem("acme", "text", "bad", expected_revision=3)
    with kompanion_db.connect(home.url) as store:
        with pytest.raises(errors.RevisionConflict):
            load(store, [item for one in batches for item in one])
        assert keys(store) == {f"b{n}" for n in range(place)}


def test_a_progress_that_raises_leaves_what_it_was_told_of(home: engines.Home) -> None:
    def stop(count: int) -> None:
        if count == 60:
            raise KeyboardInterrupt

    with kompanion_db.connect(home.url) as store:
        with pytest.raises(KeyboardInterrupt):
            store.upsert_items([item for n in range(8) for item in batch(f"b{n}")], batch_size=20, progress=stop)
        assert keys(store) == {"b0", "b1", "b2"}


def test_a_writer_between_two_batches_of_a_load_is_waited_for_and_let_through(home: engines.Home) -> None:
    # It holds what the first batch wants, and wants what the second one has written: a circle no server sees.
    with kompanion_db.connect(home.url) as store, kompanion_db.connect(home.url) as other:
        other.ensure_namespace("acme")
        done: list[kompanion_db.BulkResult] = []
        with other.transaction():
            other.upsert_item("acme", "first 00", "theirs")
            loading = threading.Thread(
                target=lambda: done.append(load(store, batch("first") + batch("second") + batch("third")))
            )
            loading.start()
            loading.join(0.4)
            other.upsert_item("acme", "second 00", "theirs")
        loading.join(60)
        assert done
        assert (done[0].inserted, done[0].revised) == (58, 2)
        assert store.get_item("acme", "second 00").content == "second number 0"  # type: ignore[union-attr]


def test_with_a_single_connection_the_batches_follow_each_other(home: engines.Home) -> None:
    with kompanion_db.connect(home.url, max_size=1) as store:
        assert load(store, [item for n in range(5) for item in batch(f"b{n}")]).inserted == 100


def two_batches() -> Iterator[NewItem]:
    """Side by side, as they are in two namespaces."""
    yield from batch("first")
    yield from (NewItem("beside", "text", f"second {n}") for n in range(20))


def broken_off() -> Iterator[NewItem]:
    yield from two_batches()
    time.sleep(0.2)
    raise KeyboardInterrupt


def test_once_a_store_is_closed_nothing_is_kept_of_a_load_that_was_broken_off(one_db: servers.Database) -> None:
    store = kompanion_db.connect(one_db.url)
    seen: list[set[str]] = []
    with kompanion_db.connect(one_db.url) as other:

        def close() -> None:
            store.close()
            seen.append(keys(other))

        with other.transaction():
            other.upsert_item("acme", "first 00", "theirs")
            with pytest.raises(KeyboardInterrupt):
                store.upsert_items(broken_off(), batch_size=20)
            closing = threading.Thread(target=close)
            closing.start()
            time.sleep(0.3)
        closing.join(60)
        time.sleep(0.3)
        assert seen == [keys(other)] == [{"first"}]


def test_a_closed_store_lets_no_batch_wait_for_a_writer_longer_than_its_timeout(one_db: servers.Database) -> None:
    store = kompanion_db.connect(one_db.url)
    hurry(store)
    with kompanion_db.connect(one_db.url) as other:
        with other.transaction():
            other.upsert_item("acme", "first 00", "theirs")
            with pytest.raises(KeyboardInterrupt):
                store.upsert_items(broken_off(), batch_size=20)
            store.close()
        time.sleep(0.3)
        assert [item.content for item in other.list_items("acme")] == ["theirs"]


def test_a_load_whose_store_is_closed_meanwhile_says_so(one_db: servers.Database) -> None:
    store = kompanion_db.connect(one_db.url)
    begun, go = threading.Event(), threading.Event()
    said: list[type] = []

    def items() -> Iterator[NewItem]:
        yield from two_batches()
        begun.set()
        go.wait(60)

    def work() -> None:
        try:
            store.upsert_items(items(), batch_size=20)
        except errors.KompanionError as exc:
            said.append(type(exc))

    loading = started(work)
    begun.wait(60)
    store.close()
    go.set()
    loading.join(60)
    assert said == [errors.ConnectionFailed]


async def test_once_a_store_is_closed_nothing_is_kept_of_a_load_that_was_cancelled(one_db: servers.Database) -> None:
    store = await kompanion_db.connect_async(one_db.url)
    with kompanion_db.connect(one_db.url) as other, kompanion_db.connect(one_db.url) as witness:

        async def items() -> AsyncIterator[NewItem]:
            for item in two_batches():
                yield item
            await asyncio.sleep(600)

        async def close() -> set[str]:
            await store.close()
            return keys(witness)

        with other.transaction():
            other.upsert_item("acme", "first 00", "theirs")
            loading = asyncio.create_task(store.upsert_items(items(), batch_size=20))
            await asyncio.sleep(0.3)
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loading
            closing = asyncio.create_task(close())
            await asyncio.sleep(0.3)
        assert await asyncio.wait_for(closing, 60) == {"first"}
        await asyncio.sleep(0.3)
        assert keys(witness) == {"first"}
        assert len(witness.list_items("acme", page_size=1000)) == 20
