"""A block ends after those inside it, and where it was begun; else nothing of it is kept, and its end says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import engines
import pytest
from sharing import Undone

from kompanion_db import AsyncStore, KompanionError, Store, connect, connect_async, errors

T = TypeVar("T")


def _load(store: Store, name: str, count: int) -> Generator[int, None, None]:
    """A generator that holds a block while it gives something."""
    with store.transaction():
        for n in range(count):
            store.upsert_item("acme", f"{name} {n}", "text")
            yield n


async def _aload(store: AsyncStore, name: str, count: int) -> AsyncGenerator[int, None]:
    async with store.transaction():
        for n in range(count):
            await store.upsert_item("acme", f"{name} {n}", "text")
            yield n


def _still_works(store: Store) -> None:
    """The store has its connection, and nobody else has the lock of the file."""
    store.upsert_item("acme", "after", "text")
    assert [item.key for item in store.list_items("acme")] == ["after"]


async def _astill_works(store: AsyncStore) -> None:
    await store.upsert_item("acme", "after", "text")
    assert [item.key for item in await store.list_items("acme")] == ["after"]


def test_a_block_that_ends_before_one_inside_it_is_undone_with_it_and_both_say_so(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store:
        for count in (1, 2):
            outer, inner = _load(store, "outer", 1), _load(store, "inner", count)
            next(outer)
            next(inner)
            with pytest.raises(KompanionError, match="a block inside it was still open at its end"):
                next(outer)
            with pytest.raises(errors.ConnectionFailed, match="was given up"):
                next(inner)  # which ends, or writes more
            assert store.list_items("acme") == []
        _still_works(store)


async def test_a_block_of_tasks_that_ends_before_one_inside_it_is_undone_with_it_and_both_say_so(
    one_home: engines.Home,
) -> None:
    async with await connect_async(one_home.url, max_size=1, timeout=5) as store:
        for count in (1, 2):
            outer, inner = _aload(store, "outer", 1), _aload(store, "inner", count)
            await anext(outer)
            await anext(inner)
            with pytest.raises(KompanionError, match="a block inside it was still open at its end"):
                await anext(outer)
            with pytest.raises(errors.ConnectionFailed, match="was given up"):
                await anext(inner)
            assert await store.list_items("acme") == []
        await _astill_works(store)


def test_of_generators_that_are_read_side_by_side_and_hold_a_block_each_nothing_is_kept_in_part(
    one_home: engines.Home,
) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store:
        with pytest.raises(KompanionError, match="a block inside it was still open at its end"):
            list(zip(_load(store, "outer", 1), _load(store, "inner", 3), strict=False))
        _still_works(store)


def test_a_block_that_raises_with_another_open_inside_undoes_both(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store:
        inner = _load(store, "inner", 1)
        with pytest.raises(Undone), store.transaction():  # noqa: PT012 - the block is what raises
            store.upsert_item("acme", "outer", "text")
            next(inner)
            raise Undone
        with pytest.raises(errors.ConnectionFailed, match="was given up"):
            next(inner)
        _still_works(store)


async def test_a_block_of_tasks_that_raises_with_another_open_inside_undoes_both(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url, max_size=1, timeout=5) as store:
        inner = _aload(store, "inner", 1)
        with pytest.raises(Undone):  # noqa: PT012
            async with store.transaction():
                await store.upsert_item("acme", "outer", "text")
                await anext(inner)
                raise Undone
        with pytest.raises(errors.ConnectionFailed, match="was given up"):
            await anext(inner)
        await _astill_works(store)


def test_a_block_around_those_that_ended_in_the_wrong_order_keeps_nothing_and_says_so(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store:
        with pytest.raises(errors.ConnectionFailed, match="was given up"), store.transaction():  # noqa: PT012
            store.upsert_item("acme", "around", "text")
            outer, inner = _load(store, "outer", 1), _load(store, "inner", 1)
            next(outer)
            next(inner)
            with pytest.raises(KompanionError, match="a block inside it was still open at its end"):
                next(outer)
            inner.close()
        _still_works(store)


def test_a_block_that_another_context_of_the_thread_has_open_takes_nothing_along(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store:
        inner = _load(store, "inner", 1)
        with store.transaction():
            context = copy_context()
            context.run(next, inner)
            with pytest.raises(errors.ConnectionFailed, match="another task or context is in a block inside"):
                store.upsert_item("acme", "outer", "text")
            context.run(inner.close)
            store.upsert_item("acme", "after", "text")
        assert [item.key for item in store.list_items("acme")] == ["after"]


def test_a_block_left_open_in_another_context_of_the_thread_is_undone_with_the_one_around_it(
    one_home: engines.Home,
) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store:
        inner = _load(store, "inner", 1)
        with pytest.raises(KompanionError, match="a block inside it was still open at its end"), store.transaction():  # noqa: PT012
            context = copy_context()
            context.run(next, inner)
        with pytest.raises(errors.ConnectionFailed, match="was given up"):
            context.run(next, inner)
        _still_works(store)


def _elsewhere(pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object) -> T:
    """Do it as a pool of threads does: each call in another copy of the context."""
    return pool.submit(copy_context().run, work, *arguments).result(60)


def test_a_block_ended_in_another_thread_or_context_is_undone_and_says_so(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store, ThreadPoolExecutor(1) as pool:
        for end in (lambda work: _elsewhere(pool, work), copy_context().run):
            block, context = store.transaction(), copy_context()
            context.run(block.__enter__)
            context.run(store.upsert_item, "acme", "k", "text")
            with pytest.raises(KompanionError, match="ended in another task, thread or context") as told:
                end(lambda block=block: block.__exit__(None, None, None))
            assert "one with statement" in (told.value.hint or "")
            assert store.list_items("acme") == []
        _still_works(store)
        with connect(one_home.url) as other:
            other.upsert_item("acme", "of another", "text")


def test_a_nested_block_ended_in_another_thread_undoes_nothing_of_the_one_around_it(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=5) as store, ThreadPoolExecutor(1) as pool:
        with store.transaction():
            store.upsert_item("acme", "before", "text")
            block = store.transaction()
            block.__enter__()
            store.upsert_item("acme", "inner", "text")
            with pytest.raises(KompanionError, match="ended in another task, thread or context"):
                _elsewhere(pool, block.__exit__, None, None, None)
            store.upsert_item("acme", "here", "text")
            _elsewhere(pool, store.upsert_item, "acme", "there", "text")
        assert {item.key for item in store.list_items("acme")} == {"before", "here", "there"}


async def test_a_block_of_tasks_ended_in_another_task_is_undone_and_says_so(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url, max_size=1, timeout=5) as store:
        block = store.transaction()
        await block.__aenter__()
        await store.upsert_item("acme", "k", "text")
        with pytest.raises(KompanionError, match="ended in another task, thread or context"):
            await asyncio.gather(block.__aexit__(None, None, None))
        await _astill_works(store)


async def test_a_generator_closed_in_another_task_or_thread_leaves_its_block_and_raises_nothing(
    one_home: engines.Home,
) -> None:
    async with await connect_async(one_home.url, max_size=1, timeout=5) as tasks:
        items = _aload(tasks, "undone", 2)
        await anext(items)
        await asyncio.gather(items.aclose())
        assert await tasks.list_items("acme") == []
    with connect(one_home.url, max_size=1, timeout=5) as store:
        held = _load(store, "undone", 2)
        next(held)
        await asyncio.to_thread(held.close)
        _still_works(store)
