"""Batches of a bulk load are merged side by side, and nobody can tell: what stands is what one after the other leaves."""

from __future__ import annotations

import threading

import engines
import pytest

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
