"""Opening and closing a store: what no pool can have is refused by name, and a closed store says that it is closed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import engines
import pytest

from kompanion_db import Store, connect, connect_async, errors

BOUNDS: list[tuple[dict[str, Any], str]] = [
    ({"max_size": 0}, "max_size: 0 is less than 1"),
    ({"max_size": -3}, "max_size: -3 is less than 1"),
    ({"max_size": None}, "max_size: None is less than 1"),
    ({"max_size": "4"}, "max_size: '4' is no whole number"),
    ({"min_size": 5}, "min_size: 5 is not from 0 to max_size, which is 4"),
    ({"min_size": -1}, "min_size: -1 is not from 0 to max_size, which is 4"),
    ({"min_size": 3, "max_size": 2}, "min_size: 3 is not from 0 to max_size, which is 2"),
    ({"min_size": 1.5}, "min_size: 1.5 is no whole number"),
]


@pytest.mark.parametrize(("bounds", "message"), BOUNDS)
async def test_bounds_that_no_pool_can_have_are_refused(
    one_home: engines.Home, bounds: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.BadArgument) as refused:
        connect(one_home.url, **bounds)
    assert (refused.value.message, bool(refused.value.hint)) == (message, True)
    with pytest.raises(errors.BadArgument) as refused:
        await connect_async(one_home.url, **bounds)
    assert (refused.value.message, bool(refused.value.hint)) == (message, True)


@pytest.mark.parametrize("bounds", [{"min_size": 0}, {"min_size": 0, "max_size": 1}, {"min_size": 4}])
def test_the_bounds_themselves_are_allowed(one_home: engines.Home, bounds: dict[str, Any]) -> None:
    with connect(one_home.url, **bounds) as store:
        assert store.list_items("*") == []


ITEMS = [{"namespace": "acme", "key": "k", "content": "text"}]


def _begin(store: Store) -> None:
    with store.transaction():
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get_item("acme", "k"),
        lambda store: store.upsert_item("acme", "k", "text"),
        lambda store: store.upsert_items(ITEMS),
        _begin,
    ],
    ids=["read", "write", "load", "transaction"],
)
def test_a_closed_store_says_that_it_is_closed(one_home: engines.Home, call: Callable[[Store], object]) -> None:
    store = connect(one_home.url)
    store.close()
    store.close()
    with pytest.raises(errors.ConnectionFailed, match=r"the store is closed .*connect\(url\) again"):
        call(store)


async def test_a_closed_async_store_says_that_it_is_closed(one_home: engines.Home) -> None:
    store = await connect_async(one_home.url)
    await store.close()
    await store.close()
    for call in (lambda: store.get_item("acme", "k"), lambda: store.upsert_items(ITEMS)):
        with pytest.raises(errors.ConnectionFailed, match="the store is closed"):
            await call()


def test_a_load_whose_store_is_closed_meanwhile_is_told_so_and_leaves_whole_batches(one_home: engines.Home) -> None:
    store = connect(one_home.url)
    closing = threading.Thread(target=store.close)
    endless = ({"namespace": "acme", "key": str(n), "content": "text"} for n in itertools.count())
    with pytest.raises(errors.ConnectionFailed):
        store.upsert_items(endless, batch_size=10, progress=lambda count: closing.start() if count == 20 else None)
    closing.join(60)
    with connect(one_home.url) as again:
        left = len(again.list_items("acme", page_size=1000))
    assert left >= 20
    assert left % 10 == 0


def test_a_load_that_closes_its_store_from_its_own_progress_is_told_so(one_home: engines.Home) -> None:
    store = connect(one_home.url)
    endless = ({"namespace": "acme", "key": str(n), "content": "text"} for n in itertools.count())
    told: list[errors.KompanionError] = []

    def load() -> None:
        try:
            store.upsert_items(endless, batch_size=10, progress=lambda count: store.close() if count == 20 else None)
        except errors.KompanionError as exc:
            told.append(exc)

    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    loading.join(60)
    assert list(map(type, told)) == [errors.ConnectionFailed]
    with connect(one_home.url) as again:
        left = len(again.list_items("acme", page_size=1000))
    assert left >= 20
    assert left % 10 == 0
