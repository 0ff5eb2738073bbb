"""The async store: the same calls, the same answers, awaited."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

import engines
import numpy as np
import pytest

from kompanion_db import AsyncStore, HashEmbedder, NewItem, Store, WriteResult, connect, connect_async, errors

T = TypeVar("T")


def operations(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")} - {"answer", "run", "context"}


@asynccontextmanager
async def opened(home: engines.Home, **options: object) -> AsyncIterator[AsyncStore]:
    async with await connect_async(home.url, embedder=HashEmbedder(), **options) as store:  # type: ignore[arg-type]
        yield store


def test_both_stores_have_the_same_calls_with_the_same_signatures() -> None:
    assert operations(Store) == operations(AsyncStore)
    for name in operations(Store) - {"close", "transaction"}:
        assert inspect.signature(getattr(Store, name)) == inspect.signature(getattr(AsyncStore, name)), name
        assert getattr(Store, name).__doc__ == getattr(AsyncStore, name).__doc__


async def test_what_is_written_by_one_store_is_found_by_the_other(home: engines.Home) -> None:
    async with opened(home) as store:
        written = await store.upsert_item("harbor:ines", "key", "The spare key hangs behind the barometer.")
        hits = await store.search("harbor", "Where is the spare key?", k=3)
        chunks = await store.get_chunks("harbor:ines", "key")
    with connect(home.url, embedder=HashEmbedder()) as sync:
        assert sync.search("harbor", "Where is the spare key?", k=3) == hits
        assert sync.upsert_item("harbor:ines", "key", "The spare key hangs behind the barometer.").status == "unchanged"
    assert [h.item_id for h in hits] == [written.item_id]
    assert chunks[0].vector is not None
    assert chunks[0].vector.dtype == np.float32


async def test_an_async_iterator_of_items_is_loaded_in_batches_with_progress(home: engines.Home) -> None:
    async def items() -> AsyncIterator[NewItem]:
        for n in range(25):
            await asyncio.sleep(0)
            yield NewItem(namespace="acme", key=str(n), content=f"note number {n}")

    seen: list[int] = []
    async with opened(home) as store:
        result = await store.upsert_items(items(), batch_size=10, progress=seen.append)
        again = await store.upsert_items(items(), batch_size=10)
    assert (result.items, result.inserted, seen) == (25, 25, [10, 20, 25])
    assert again.unchanged == 25


async def test_a_bad_item_leaves_the_batches_before_it_and_nothing_of_its_own(home: engines.Home) -> None:
    items = [{"namespace": "acme", "key": str(n), "content": "text"} for n in range(20)]
    items[15]["namespace"] = "acme::x"
    async with opened(home) as store:
        with pytest.raises(errors.BadNamespace):
            await store.upsert_items(items, batch_size=10)
        assert {i.key for i in await store.list_items("*")} == {str(n) for n in range(10)}


async def test_a_transaction_that_raises_keeps_nothing(home: engines.Home) -> None:
    async with opened(home) as store:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what raises
            async with store.transaction():
                await store.upsert_item("acme", "a", "one")
                await store.upsert_items([{"namespace": "acme", "key": "b", "content": "two"}])
                assert len(await store.list_items("acme")) == 2
                raise ZeroDivisionError
        assert await store.list_items("acme") == []


async def test_many_tasks_write_one_item_without_a_gap(home: engines.Home) -> None:
    async with opened(home, max_size=8) as store:
        results = await asyncio.gather(*(store.upsert_item("acme", "k", f"version {n}") for n in range(40)))
        history = await store.item_history("acme", "k")
    assert sorted(r.revision for r in results) == list(range(1, 41))
    assert [h.revision for h in history] == list(range(1, 41))


async def test_errors_are_the_same_classes(home: engines.Home) -> None:
    async with opened(home) as store:
        await store.upsert_item("acme", "k", "text")
        with pytest.raises(errors.RevisionConflict):
            await store.upsert_item("acme", "k", "other", expected_revision=0)
        with pytest.raises(errors.BadVector):
            await store.search("acme", [1.0, 2.0])
    with pytest.raises(errors.ConnectionFailed):
        await store.get_item("acme", "k")


async def _soon(awaitable: Awaitable[T]) -> T:
    """What it gives; a deadlock fails the test instead of ending it never."""
    return await asyncio.wait_for(awaitable, 60)


async def test_more_transactions_than_connections_and_threads_wait_for_each_other(home: engines.Home) -> None:
    async def write(store: AsyncStore, n: int) -> None:
        async with store.transaction():
            await store.upsert_item("acme", str(n), "text")
            await asyncio.sleep(0.001)
            async with store.transaction():
                assert await store.get_item("acme", str(n)) is not None

    async with opened(home, max_size=3) as store:
        await _soon(asyncio.gather(*(write(store, n) for n in range(50))))
        assert len(await store.list_items("acme")) == 50


async def test_tasks_of_one_transaction_take_turns_and_are_undone_together(home: engines.Home) -> None:
    async with opened(home, max_size=2) as store:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what raises
            async with store.transaction():
                await _soon(asyncio.gather(*(store.upsert_item("acme", str(n), "text") for n in range(20))))
                assert len(await store.list_items("acme")) == 20
                raise ZeroDivisionError
        assert await store.list_items("acme") == []


async def test_a_cancelled_call_leaves_all_or_nothing_and_its_connection_to_the_next(home: engines.Home) -> None:
    async with opened(home, max_size=2) as store:
        for turn in range(60):
            tasks = [asyncio.create_task(store.upsert_item("acme", f"k{n}", f"text {turn}")) for n in range(4)]
            await asyncio.sleep(turn % 7 * 0.0007)
            for task in tasks[::2]:
                task.cancel()
            await _soon(asyncio.gather(*tasks, return_exceptions=True))
        for n in range(4):
            history = await _soon(store.item_history("acme", f"k{n}"))
            assert [r.revision for r in history] == list(range(1, len(history) + 1))
            assert n % 2 == 0 or len(history) == 60


async def test_a_transaction_that_is_cancelled_anywhere_keeps_nothing_and_holds_up_nobody(home: engines.Home) -> None:
    async def write(store: AsyncStore, n: int) -> None:
        async with store.transaction():
            await store.upsert_item("acme", f"cancelled {n}", "text")
            await asyncio.sleep(60)

    async with opened(home, max_size=2) as store:
        for n in range(30):  # while it waits for a connection, for the writer before it, at its work, and after
            tasks = [asyncio.create_task(write(store, n)) for _ in range(4)]
            await asyncio.sleep(n % 10 * 0.001)
            for task in tasks:
                task.cancel()
            assert set(map(type, await _soon(asyncio.gather(*tasks, return_exceptions=True)))) == {
                asyncio.CancelledError
            }
        await _soon(store.upsert_item("acme", "after", "text"))
        async with opened(home) as other:
            assert [item.key for item in await other.list_items("acme")] == ["after"]


async def test_a_close_that_is_cancelled_goes_on_to_its_end_and_leaves_nobody_waiting(one_home: engines.Home) -> None:
    for steps in range(1, 8):
        store = await connect_async(one_home.url, max_size=2)
        calls = [asyncio.create_task(store.upsert_item("acme", str(n), "text")) for n in range(6)]
        await asyncio.sleep(0.005)
        closing = asyncio.create_task(store.close())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await _soon(asyncio.gather(closing, return_exceptions=True))
        told = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
        assert {type(answer) for answer in told} <= {WriteResult, errors.ConnectionFailed}


async def test_a_load_that_is_cancelled_stops_and_leaves_whole_batches(home: engines.Home) -> None:
    async def items() -> AsyncIterator[NewItem]:
        for n in itertools.count():
            await asyncio.sleep(0.0005)
            yield NewItem(namespace="acme", key=str(n), content="text")

    async with opened(home) as store:
        loaded = asyncio.Event()
        loading = asyncio.create_task(store.upsert_items(items(), batch_size=10, progress=lambda _: loaded.set()))

        async def begun() -> None:
            while not (loaded.is_set() or loading.done()):
                await asyncio.sleep(0.01)

        await _soon(begun())
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await _soon(loading)
        # A server goes on with what it has been sent.
        await asyncio.gather(*(kept.task for kept in getattr(store, "_under_way", ())), return_exceptions=True)
        left = len(await store.list_items("acme", page_size=1000))
        assert left > 0
        assert left % 10 == 0
        await asyncio.sleep(0.1)
        assert len(await store.list_items("acme", page_size=1000)) == left


async def test_a_load_may_read_what_it_loads_from_the_same_store(home: engines.Home) -> None:
    async with opened(home, max_size=1) as store:
        await store.upsert_items([{"namespace": "here", "key": str(n), "content": f"text {n}"} for n in range(30)])

        async def moved() -> AsyncIterator[NewItem]:
            for n in range(30):
                item = await store.get_item("here", str(n))
                assert item is not None
                yield NewItem(namespace="there", key=item.key, content=item.content)

        assert (await _soon(store.upsert_items(moved(), batch_size=7))).inserted == 30
        async with store.transaction():
            assert (await _soon(store.upsert_items(moved(), batch_size=7))).unchanged == 30


async def test_a_load_from_an_iterator_that_holds_a_transaction_is_part_of_it(home: engines.Home) -> None:
    async with opened(home, max_size=1, timeout=5) as store:

        async def items() -> AsyncIterator[NewItem]:
            async with store.transaction():
                for n in range(6):
                    await store.upsert_item("acme", "count", str(n))
                    yield NewItem("acme", f"text {n}", key=str(n))

        assert (await _soon(store.upsert_items(items(), batch_size=2))).inserted == 6
        async with store.transaction():
            assert (await _soon(store.upsert_items(items(), batch_size=2))).unchanged == 6
            await store.upsert_item("acme", "after", "text")
        assert len(await store.list_items("acme")) == 8


async def test_an_iterator_that_raises_out_of_its_transaction_undoes_what_was_loaded_in_it(home: engines.Home) -> None:
    async with opened(home, max_size=1, timeout=5) as store:

        async def items() -> AsyncIterator[NewItem]:
            async with store.transaction():
                for n in range(5):
                    yield NewItem("acme", f"text {n}", key=str(n))
                raise ZeroDivisionError

        async with store.transaction():
            await store.upsert_item("acme", "before", "text")
            with pytest.raises(ZeroDivisionError):
                await _soon(store.upsert_items(items(), batch_size=2))
        assert [item.key for item in await store.list_items("acme")] == ["before"]


async def test_a_load_is_cancelled_while_its_iterator_holds_a_transaction(home: engines.Home) -> None:
    async with opened(home, max_size=2, timeout=5) as store:
        waiting = asyncio.Event()

        async def items() -> AsyncIterator[NewItem]:
            async with store.transaction():
                for n in range(3):
                    yield NewItem("acme", "text", key=str(n))
                waiting.set()
                await asyncio.sleep(600)

        async with store.transaction():
            loading = asyncio.create_task(store.upsert_items(items(), batch_size=1))
            await _soon(waiting.wait())
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await _soon(loading)
            await _soon(store.upsert_item("acme", "after", "text"))
        assert [item.key for item in await store.list_items("acme")] == ["after"]


async def test_a_store_says_in_another_event_loop_that_it_is_of_its_own_and_goes_on_there(home: engines.Home) -> None:
    async def block(store: AsyncStore) -> None:
        async with store.transaction():
            await store.upsert_item("acme", "k", "elsewhere")

    async with opened(home, max_size=1, timeout=5) as store:

        async def elsewhere() -> None:
            items = [NewItem("acme", "elsewhere", key="k")]
            for call in (block(store), store.get_item("acme", "k"), store.upsert_items(items), store.search("*", "a")):
                with pytest.raises(errors.ConnectionFailed, match="another event loop"):
                    await call

        async with store.transaction():  # its only connection is in use: who waits elsewhere is not woken
            await store.upsert_item("acme", "k", "here")
            await _soon(asyncio.to_thread(asyncio.run, elsewhere()))
        item = await _soon(store.get_item("acme", "k"))
        assert item is not None
        assert item.content == "here"
