"""The async store: the same calls, the same answers, awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import engines
import numpy as np
import pytest

from kompanion_db import AsyncStore, HashEmbedder, NewItem, Store, connect, connect_async, errors


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
