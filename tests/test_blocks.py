"""What tasks and threads do in a transaction that somebody else began: it is theirs while it is open, one at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import engines
import pytest
from sharing import Undone, hurry, started

import kompanion_db
from kompanion_db import AsyncStore, HashEmbedder, connect, connect_async, errors


async def _write_survives_the_next_block(store: AsyncStore, task: asyncio.Task[str], go: asyncio.Event) -> None:
    """What a task writes once it may go stands, though the block that has its former connection is undone."""
    with pytest.raises(Undone):  # noqa: PT012 - the block is what raises
        async with store.transaction():
            go.set()
            await asyncio.wait([task], timeout=0.3)
            raise Undone
    assert await asyncio.wait_for(task, 60) == "inserted"
    assert await store.get_item("acme", "later") is not None


async def test_a_task_that_outlives_its_transaction_writes_in_none_of_anybody_elses(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url, max_size=1) as store:
        go = asyncio.Event()

        async def later() -> str:
            await go.wait()
            return (await store.upsert_item("acme", "later", "text")).status

        async with store.transaction(), store.transaction():
            task = asyncio.create_task(later())
        await _write_survives_the_next_block(store, task, go)


def test_a_thread_that_outlives_its_transaction_writes_in_none_of_anybody_elses(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1) as store:
        go = threading.Event()

        def later() -> None:
            go.wait(60)
            store.upsert_item("acme", "later", "text")

        with store.transaction(), store.transaction():
            thread = started(later)
        with pytest.raises(Undone), store.transaction():  # noqa: PT012 - the block is what raises
            go.set()
            thread.join(0.3)
            raise Undone
        thread.join(60)
        assert store.get_item("acme", "later") is not None


async def test_a_task_that_outlives_a_nested_block_is_in_the_one_around_it(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url, max_size=1) as store:
        with pytest.raises(Undone):  # noqa: PT012 - the block is what raises
            async with store.transaction():
                go = asyncio.Event()

                async def later() -> str:
                    await go.wait()
                    return (await store.upsert_item("acme", "later", "text")).status

                async with store.transaction():
                    task = asyncio.create_task(later())
                go.set()
                assert await asyncio.wait_for(task, 60) == "inserted"
                raise Undone
        assert await store.get_item("acme", "later") is None


async def test_a_call_under_way_at_the_end_of_a_block_is_kept_or_undone_with_it(one_home: engines.Home) -> None:
    items = [{"namespace": "acme", "key": str(n), "content": "text"} for n in range(500)]
    async with await connect_async(one_home.url, max_size=1) as store:
        with pytest.raises(Undone):  # noqa: PT012 - the block is what raises
            async with store.transaction():
                loading = asyncio.create_task(store.upsert_items(items))
                await store.upsert_item("other", "k", "text")
                await asyncio.sleep(0.01)
                raise Undone
        assert (await loading).inserted == 500
        assert len(await store.list_items("acme", page_size=1000)) in {0, 500}
        assert await store.list_items("other") == []


async def test_nested_blocks_of_tasks_undo_nothing_of_each_other(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url) as store:

        async def kept() -> None:
            async with store.transaction():
                await store.upsert_item("acme", "kept 1", "text")
                await asyncio.sleep(0.05)
                await store.upsert_item("acme", "kept 2", "text")

        async def undone() -> None:
            async with store.transaction():
                await store.upsert_item("acme", "undone", "text")
                await asyncio.sleep(0.1)
                raise Undone

        async def alone() -> None:
            await asyncio.sleep(0.02)
            await store.upsert_item("acme", "alone", "text")

        async with store.transaction():
            told = await asyncio.gather(undone(), kept(), alone(), kept(), undone(), return_exceptions=True)
        assert list(map(type, told)) == [Undone, type(None), type(None), type(None), Undone]
        assert {item.key for item in await store.list_items("acme")} == {"kept 1", "kept 2", "alone"}


def test_nested_blocks_of_threads_undo_nothing_of_each_other(one_home: engines.Home) -> None:
    with connect(one_home.url) as store:
        wrote, looked = threading.Event(), threading.Event()

        def undone() -> None:
            with pytest.raises(Undone), store.transaction():  # noqa: PT012 - the block is what raises
                store.upsert_item("acme", "undone", "text")
                wrote.set()
                looked.wait(0.3)  # nobody gets to work meanwhile
                raise Undone

        def kept() -> None:
            wrote.wait(60)
            with store.transaction():
                store.upsert_item("acme", "kept", "text")
                looked.set()

        with store.transaction():
            for thread in [started(undone), started(kept)]:
                thread.join(60)
        assert {item.key for item in store.list_items("acme")} == {"kept"}


async def test_a_nested_block_that_waits_for_a_task_outside_of_it_is_told_so(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url) as store:
        hurry(store)

        async def write() -> None:
            await store.upsert_item("acme", "k", "text")

        with pytest.raises(errors.ConnectionFailed, match=r"no turn in the transaction in 0\.5 s") as told:  # noqa: PT012
            async with store.transaction():
                task = asyncio.create_task(write())
                async with store.transaction():
                    await task
        assert "wait inside it for nothing started outside" in (told.value.hint or "")
        assert await store.list_items("acme") == []


async def _endless(store: AsyncStore, begun: asyncio.Event, go: asyncio.Event) -> None:
    async with store.transaction():
        await store.upsert_item("acme", "endless", "text")
        begun.set()
        await go.wait()
        await store.upsert_item("acme", "endless 2", "text")


async def test_a_block_that_is_left_with_another_open_inside_is_undone_and_lends_nobody_its_connection(
    one_home: engines.Home,
) -> None:
    async with await connect_async(one_home.url, max_size=1) as store:
        hurry(store)
        begun, go = asyncio.Event(), asyncio.Event()
        with pytest.raises(errors.ConnectionFailed, match="no turn in the transaction"):  # noqa: PT012
            async with store.transaction():
                await store.upsert_item("acme", "k", "text")
                task = asyncio.create_task(_endless(store, begun, go))
                await begun.wait()
        async with store.transaction():
            go.set()
            with pytest.raises(errors.ConnectionFailed):
                await asyncio.wait_for(task, 60)
            await store.upsert_item("acme", "after", "text")
        assert [item.key for item in await store.list_items("acme")] == ["after"]


def test_a_block_of_threads_that_is_left_with_another_open_inside_is_undone(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1) as store:
        hurry(store)
        begun, go = threading.Event(), threading.Event()
        said: list[type] = []

        def endless() -> None:
            try:
                with store.transaction():
                    store.upsert_item("acme", "endless", "text")
                    begun.set()
                    go.wait(60)
                    store.upsert_item("acme", "endless 2", "text")
            except kompanion_db.KompanionError as exc:
                said.append(type(exc))

        with pytest.raises(errors.ConnectionFailed, match="no turn in the transaction"), store.transaction():  # noqa: PT012
            store.upsert_item("acme", "k", "text")
            thread = started(endless)
            begun.wait(60)
        with store.transaction():
            go.set()
            thread.join(60)
            store.upsert_item("acme", "after", "text")
        assert said == [errors.ConnectionFailed]
        assert [item.key for item in store.list_items("acme")] == ["after"]


class _Slow(HashEmbedder):
    def embed_documents(self, texts: Sequence[str]) -> Any:
        time.sleep(0.3)
        return super().embed_documents(texts)


async def test_a_queue_of_tasks_in_a_transaction_may_be_longer_than_the_limit_for_one_turn(
    one_home: engines.Home,
) -> None:
    async with await connect_async(one_home.url, embedder=_Slow()) as store:
        hurry(store, 3)
        async with store.transaction():
            await asyncio.gather(*(store.upsert_item("acme", str(n), f"text {n}") for n in range(12)))
        assert len(await store.list_items("acme")) == 12


def test_a_queue_of_threads_in_a_transaction_may_be_longer_than_the_limit_for_one_turn(one_home: engines.Home) -> None:
    with connect(one_home.url) as store:
        hurry(store, 3)

        def write() -> None:
            with store.transaction():
                store.upsert_item("acme", None, "text")
                time.sleep(0.3)

        with store.transaction():
            for thread in [started(write) for _ in range(12)]:
                thread.join(60)
        assert len(store.list_items("acme")) == 12


async def test_where_all_tasks_are_cancelled_nobody_loses_a_turn_that_it_has(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url) as store:
        go = asyncio.Event()

        async def write() -> None:
            await go.wait()
            await store.upsert_item("acme", "waiting", "text")

        async with store.transaction():
            waiting = asyncio.create_task(write())
            async with store.transaction():
                await store.upsert_item("acme", "k", "text")
                before = asyncio.all_tasks()
                go.set()
                while not (helpers := asyncio.all_tasks() - before):
                    await asyncio.sleep(0)
                for task in (*helpers, waiting):
                    task.cancel()
                await asyncio.wait([waiting], timeout=60)
        assert waiting.cancelled()
        assert [item.key for item in await store.list_items("acme")] == ["k"]


async def test_a_block_that_another_task_ends_is_over_for_the_one_that_began_it(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url, max_size=1) as store:
        stack = AsyncExitStack()
        begun, go = asyncio.Event(), asyncio.Event()

        async def begin() -> str:
            await stack.enter_async_context(store.transaction())
            begun.set()
            await go.wait()
            return (await store.upsert_item("acme", "later", "text")).status

        task = asyncio.create_task(begin())
        await begun.wait()
        with pytest.raises(kompanion_db.KompanionError, match="ended in another task, thread or context"):
            await stack.aclose()
        await _write_survives_the_next_block(store, task, go)
