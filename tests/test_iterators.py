"""What an iterator of items may do beside giving items: hold a transaction, load others, take its time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import engines
import pytest
from sharing import started

from kompanion_db import BulkResult, NewItem, Store, connect, connect_async, errors


def _items() -> list[NewItem]:
    return [NewItem("acme", "text", key="1"), NewItem("acme", "text", key=""), NewItem("acme", "text", key="3")]


def test_a_load_that_fails_leaves_the_transaction_its_iterator_holds(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store:

        def items() -> Iterator[NewItem]:
            with store.transaction():
                yield from _items()

        held = items()  # the caller may keep it: it is over all the same
        with pytest.raises(errors.BadArgument, match="key"):
            store.upsert_items(held, batch_size=1)
        store.upsert_item("acme", "later", "text")
        with connect(one_home.url) as other:
            assert [item.key for item in other.list_items("acme")] == ["later"]


async def test_a_load_of_tasks_that_fails_leaves_the_transaction_its_iterator_holds(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url, max_size=1, timeout=5) as store:

        async def items() -> AsyncIterator[NewItem]:
            async with store.transaction():
                for item in _items():
                    yield item

        held = items()
        with pytest.raises(errors.BadArgument, match="key"):
            await store.upsert_items(held, batch_size=1)
        await store.upsert_item("acme", "later", "text")
        async with await connect_async(one_home.url) as other:
            assert [item.key for item in await other.list_items("acme")] == ["later"]


async def test_an_iterator_that_is_not_async_may_hold_a_transaction_of_another_store(
    one_home: engines.Home, tmp_path: Path
) -> None:
    with connect(f"sqlite:///{tmp_path / 'there.db'}", max_size=1, timeout=5) as there:

        def items() -> Iterator[NewItem]:
            with there.transaction():
                for item in _items():
                    there.list_items("acme")  # would wait for a connection outside of the block
                    yield item

        async with await connect_async(one_home.url) as store:
            with pytest.raises(errors.BadArgument, match="key"):
                await store.upsert_items(items(), batch_size=2)
        there.list_items("acme")


class Rows:
    """A double of a file of items, which is its owner's to close."""

    closed = False

    def __init__(self) -> None:
        self._rows = iter(_items())

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> NewItem:
        return next(self._rows)

    def close(self) -> None:
        self.closed = True


def test_a_load_that_fails_closes_no_file_it_is_given(one_home: engines.Home) -> None:
    rows = Rows()
    with connect(one_home.url) as store, pytest.raises(errors.BadArgument, match="key"):
        store.upsert_items(rows, batch_size=1)
    assert not rows.closed


async def test_the_loop_goes_on_while_an_iterator_takes_its_time(one_home: engines.Home) -> None:
    ticks, begun, threads = [0], asyncio.Event(), set()
    seen = []

    def items() -> Iterator[NewItem]:
        for n in range(6):
            threads.add(threading.get_ident())
            seen.append(ticks[0])
            time.sleep(0.2)
            yield NewItem("acme", f"text {n}")

    async def tick() -> None:
        while True:
            begun.set()
            await asyncio.sleep(0.01)
            ticks[0] += 1

    async with await connect_async(one_home.url) as store:
        ticking = asyncio.create_task(tick())
        await begun.wait()
        assert (await store.upsert_items(items(), batch_size=6)).inserted == 6
        ticking.cancel()
    assert seen[-1] - seen[0] >= 3, "the loop stood still meanwhile"
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def _batches(name: str, count: int) -> list[NewItem]:
    return [NewItem("acme", "text", key=f"{name} {n}") for n in range(count)]


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_an_iterator_may_load_other_items_meanwhile_with_few_connections(
    one_home: engines.Home, connections: int
) -> None:
    with connect(one_home.url, max_size=connections) as store:

        def items() -> Iterator[NewItem]:
            yield from _batches("first", 40)
            assert store.upsert_items(_batches("beside", 40), batch_size=10).inserted == 40
            yield from _batches("last", 20)

        done: list[BulkResult] = []
        loading = started(lambda: done.append(store.upsert_items(items(), batch_size=10)))
        loading.join(60)
        assert [result.inserted for result in done] == [60]


def test_loads_whose_iterators_take_their_time_hold_up_no_other(one_home: engines.Home) -> None:
    go = threading.Event()

    def items(name: str) -> Iterator[NewItem]:
        yield from _batches(name, 40)
        go.wait(60)

    with connect(one_home.url) as store:
        slow = [started(lambda name=name: store.upsert_items(items(name), batch_size=10)) for name in "abc"]
        time.sleep(0.3)
        quick = started(lambda: store.upsert_items(_batches("quick", 40), batch_size=10))
        quick.join(20)
        late = quick.is_alive()
        go.set()
        for thread in (quick, *slow):
            thread.join(60)
        assert not late
        assert len(store.list_items("acme", page_size=1000)) == 160


def test_a_store_that_is_not_async_refuses_an_async_iterator_and_says_what_takes_it(store: Store) -> None:
    async def items() -> AsyncIterator[NewItem]:
        yield NewItem("acme", "text")

    with pytest.raises(errors.BadArgument, match=r"^items: is an async iterator") as told:
        store.upsert_items(items())
    assert "connect_async" in (told.value.hint or "")


@pytest.mark.parametrize("kind", [dict, NewItem])
def test_an_item_that_is_changed_and_given_again_is_refused_as_what_it_was_is_lost(
    one_home: engines.Home, kind: type
) -> None:
    def items() -> Iterator[object]:
        item = kind(namespace="acme", content="text", key="0")
        for n in range(3):
            if kind is dict:
                item["key"] = str(n)
            else:
                item.key = str(n)
            yield item

    with connect(one_home.url) as store:
        with pytest.raises(errors.BadArgument, match=r"^items\[1\]: is the same object as items\[0\]"):
            store.upsert_items(items())  # type: ignore[arg-type]
        with pytest.raises(errors.BadArgument, match=r"^items\[0\]: is "):  # what is wrong with each comes first
            store.upsert_items(iter([None, None]))  # type: ignore[list-item]
        assert store.list_items("acme") == []
        # Written one by one, it may be used again; and a list holds what it holds.
        assert store.upsert_items(items(), batch_size=1).inserted == 3  # type: ignore[arg-type]
        assert store.upsert_items([NewItem("acme", "text", key="9")] * 2).unchanged == 1
