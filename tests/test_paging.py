"""Pages: together they are the whole list, once each, in one order, whatever happens between them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any

import engines
import pytest
from by_hand import ByHand

import kompanion_db
from kompanion_db.errors import BadArgument

SAME = datetime(2026, 1, 1, tzinfo=timezone.utc)


def _all(call: Any, size: int, **rest: Any) -> list[Any]:
    found: list[Any] = []
    after = None
    while page := call(page_size=size, after=after, **rest):
        assert len(page) <= size
        found += page
        before, after = after, getattr(page[-1], "cursor", None) or page[-1].namespace
        assert after != before, "the same page again"
    return found


def _fill(store: kompanion_db.Store, count: int = 60) -> None:
    """Three namespaces; many items were made at the very same time."""
    store.upsert_items(
        {
            "namespace": ["acme", "acme:ann", "acme:bob"][n % 3],
            "key": str(n),
            "content": "text",
            "metadata": {"n": n},
            "tags": [f"t{n % 2}"],
            "created_at": SAME + timedelta(days=n // 25),
        }
        for n in range(count)
    )


@pytest.mark.parametrize("size", [1, 7, 20, 60, 1000])
def test_pages_are_complete_and_without_doubles_though_times_are_equal(store: kompanion_db.Store, size: int) -> None:
    _fill(store)
    found = _all(lambda **a: store.list_items("acme", **a), size)
    assert sorted(int(i.key) for i in found) == list(range(60))
    assert [i.created_at for i in found] == sorted((i.created_at for i in found), reverse=True)
    assert found == _all(lambda **a: store.list_items("*", **a), 1000)


def test_pages_are_complete_whatever_the_years_to_the_microsecond(store: kompanion_db.Store, by_hand: ByHand) -> None:
    rng = random.Random(3)
    first, last = datetime(1, 1, 4, tzinfo=timezone.utc), datetime(9999, 12, 28, tzinfo=timezone.utc)
    moments = {first, last}
    for _ in range(40):
        moment = first + timedelta(microseconds=rng.randrange((last - first) // timedelta(microseconds=1)))
        moments |= {moment, moment + timedelta(microseconds=1)}
    given = sorted(moments, reverse=True)
    store.upsert_items(
        {"namespace": "acme", "key": str(n), "content": "text", "created_at": moment} for n, moment in enumerate(given)
    )
    for n, moment in enumerate(given):
        store.ensure_thread("acme", str(n))
        by_hand.update("threads", {"key": str(n)}, created_at=moment)
    for size in (1, 7):
        assert [i.created_at for i in _all(lambda **a: store.list_items("acme", **a), size)] == given
        assert [t.created_at for t in _all(lambda **a: store.list_threads("acme", **a), size)] == given


def test_pages_of_a_condition_are_the_pages_of_what_matches(store: kompanion_db.Store) -> None:
    _fill(store)
    found = _all(lambda **a: store.list_items("acme", **a), 4, filter={"n": {"$gte": 30}}, tags_any=["t0"])
    assert sorted(int(i.key) for i in found) == list(range(30, 60, 2))


def test_pages_go_on_where_they_were_though_items_come_and_go(store: kompanion_db.Store) -> None:
    _fill(store)
    first = store.list_items("acme", page_size=20)
    store.upsert_item("acme", "newer", "text")
    store.delete_item(first[-1].namespace, first[-1].key)
    rest = _all(lambda **a: store.list_items("acme", **{**a, "after": a["after"] or first[-1].cursor}), 20)
    assert sorted(int(i.key) for i in [*first, *rest]) == list(range(60))


def test_namespaces_and_threads_come_in_pages_too(store: kompanion_db.Store) -> None:
    for n in range(25):
        store.ensure_thread(f"acme:{n % 5}", str(n))
    paths = _all(store.list_namespaces, 2)
    assert [n.namespace for n in paths] == [f"acme:{n}" for n in range(5)]
    threads = _all(lambda **a: store.list_threads("acme", **a), 4)
    assert sorted(int(t.thread) for t in threads) == list(range(25))
    store.delete_namespace("acme:3")
    assert len(_all(store.list_namespaces, 2)) == 4
    assert len(_all(store.list_namespaces, 2, include_deleted=True)) == 5
    assert len(_all(lambda **a: store.list_threads("acme", **a), 4)) == 20


@pytest.mark.parametrize("wrong", ["", "x", "1/x", "x/1", "1/", "99999999999999999999/" + "0" * 32])
def test_what_is_no_cursor_is_refused(store: kompanion_db.Store, wrong: str) -> None:
    for call in (store.list_items, store.list_threads, store.export_items):
        with pytest.raises(BadArgument, match="after"):
            call("*", after=wrong)


@pytest.mark.parametrize("size", [0, -1, 10_001])
def test_a_page_has_one_to_ten_thousand_rows(store: kompanion_db.Store, size: int) -> None:
    for call in (store.list_items, store.list_threads, store.list_namespaces):
        with pytest.raises(BadArgument, match="page_size"):
            call("*", page_size=size)


@pytest.mark.parametrize("size", [4, 1000])
def test_what_is_loaded_together_is_listed_in_the_order_it_was_given(store: kompanion_db.Store, size: int) -> None:
    before = store.upsert_item("acme", "before", "x")
    given = [f"turn {n:03}" for n in random.Random(1).sample(range(200), 200)]
    store.upsert_items(({"namespace": "acme", "key": key, "content": "x"} for key in given), batch_size=size)
    store.upsert_item("acme", "after", "x")
    listed = _all(lambda **a: store.list_items("acme", **a), 7)
    assert before.status == "inserted"
    assert [item.key for item in listed] == ["after", *reversed(given), "before"]
    assert all(item.created_at <= item.updated_at for item in listed)


async def test_what_a_task_loads_is_listed_in_the_order_it_was_given_too(one_home: engines.Home) -> None:
    given = [f"turn {n:03}" for n in random.Random(2).sample(range(200), 200)]
    async with await kompanion_db.connect_async(one_home.url) as store:
        await store.upsert_items(({"namespace": "acme", "key": key, "content": "x"} for key in given), batch_size=4)
        assert [item.key for item in await store.list_items("acme", page_size=1000)] == given[::-1]
