"""History: every revision is kept as it was, and can be looked back to and gone back to, until its retention is over."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import apsw
import psycopg
import pytest
from by_hand import EPOCH, ByHand, an_hour_ago

import kompanion_db
from kompanion_db.errors import BadArgument, NotFound

TICK = timedelta(microseconds=1)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _write(store: kompanion_db.Store, *contents: str) -> None:
    for content in contents:
        store.upsert_item("acme", "k", content)


def test_history_tells_who_changed_what_and_when(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "a", metadata={"n": 1}, tags=["x"], thread="today", user_key="ann", actor="ann")
    store.upsert_item("acme", "k", "b", actor="bob")
    store.delete_item("acme", "k", actor="eve")
    one, two, three = store.item_history("acme", "k")
    assert (one.content, one.metadata, one.tags, one.thread, one.user_key) == ("a", {"n": 1}, ["x"], "today", "ann")
    assert [r.actor for r in (one, two, three)] == ["ann", "bob", "eve"]
    assert [r.revision for r in (one, two, three)] == [1, 2, 3]
    assert one.updated_at < two.updated_at < three.updated_at
    assert (one.superseded_at, two.superseded_at) == (two.updated_at, three.updated_at)
    assert three.superseded_at is None
    assert [r.deleted_at is not None for r in (one, two, three)] == [False, False, True]
    assert store.item_history("acme", "nobody") == []


def test_an_item_is_looked_back_at_as_it_was_at_the_very_moment(store: kompanion_db.Store) -> None:
    _write(store, "a", "b")
    store.delete_item("acme", "k")
    _write(store, "c")
    one, two, three, four = store.item_history("acme", "k")

    def at(moment: datetime) -> int | None:
        found = store.item_as_of("acme", "k", moment)
        return found.revision if found else None

    assert [at(one.updated_at - TICK), at(one.updated_at)] == [None, 1]
    assert [at(two.updated_at - TICK), at(two.updated_at)] == [1, 2]
    assert [at(three.updated_at - TICK), at(three.updated_at)] == [2, None]
    assert [at(four.updated_at - TICK), at(four.updated_at), at(_now() + timedelta(days=1))] == [None, 4, 4]
    elsewhere = one.updated_at.astimezone(timezone(timedelta(hours=9)))
    assert at(elsewhere) == 1


def test_looking_back_sees_an_item_until_the_very_moment_it_expired(store: kompanion_db.Store) -> None:
    expires = _now() + timedelta(hours=1)
    store.upsert_item("acme", "k", "a", expires_at=expires)
    assert store.item_as_of("acme", "k", expires - TICK) is not None
    assert store.item_as_of("acme", "k", expires) is None


def test_reverting_is_a_new_revision_with_the_old_state(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "a", metadata={"n": 1}, tags=["x"], thread="today", user_key="ann")
    _write(store, "b")
    reverted = store.revert_item("acme", "k", 1, actor="ann")
    assert (reverted.status, reverted.revision) == ("revised", 3)
    item = store.get_item("acme", "k")
    assert item is not None
    assert (item.content, item.metadata, item.tags, item.thread, item.user_key, item.actor) == (
        "a", {"n": 1}, ["x"], "today", "ann", "ann"
    )  # fmt: skip
    again = store.revert_item("acme", "k", 1)
    assert (again.status, again.revision) == ("unchanged", 3)


def test_reverting_brings_back_a_deleted_item_but_goes_to_no_deletion(store: kompanion_db.Store) -> None:
    _write(store, "a")
    store.delete_item("acme", "k")
    for missing in (0, 2, 3):
        with pytest.raises(NotFound):
            store.revert_item("acme", "k", missing)
    assert store.revert_item("acme", "k", 1).revision == 3
    with pytest.raises(NotFound):
        store.revert_item("acme", "nobody", 1)


def test_reverting_to_an_expiry_that_is_past_lifts_it(by_hand: ByHand, store: kompanion_db.Store) -> None:
    _write(store, "a")
    by_hand.update("memory_items", expires_at=an_hour_ago())
    _write(store, "b")
    assert store.revert_item("acme", "k", 2).status == "revised"
    item = store.get_item("acme", "k")
    assert item is not None
    assert (item.content, item.expires_at) == ("a", None)


def test_reverted_content_waits_for_vectors_of_its_own(store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    store.upsert_item("acme", "k", "a", vectors=[[1.0, 0.0]])
    store.upsert_item("acme", "k", "b", vectors=[[0.0, 1.0]])
    store.revert_item("acme", "k", 1)
    assert store.search("acme", [1.0, 0.0]) == []
    assert [c.content for c in store.pending_embeddings()] == ["a"]


def test_trimming_keeps_the_current_revision_and_as_many_before_it_as_asked(store: kompanion_db.Store) -> None:
    _write(store, *"abcde")
    assert store.trim_history() == 0
    assert store.trim_history(keep_for=timedelta(hours=1)) == 0
    assert store.trim_history(keep_for=timedelta(0), keep_last=2, batch=1) == 1
    assert store.trim_history(keep_for=timedelta(0), keep_last=2) == 1
    assert [r.revision for r in store.item_history("acme", "k")] == [3, 4, 5]
    assert store.trim_history(keep_for=timedelta(0)) == 2
    assert [r.revision for r in store.item_history("acme", "k")] == [5]
    with pytest.raises(NotFound):
        store.revert_item("acme", "k", 1)
    _write(store, "f")
    assert [r.revision for r in store.item_history("acme", "k")] == [5, 6]
    for wrong in ({"keep_last": -1}, {"keep_for": timedelta(seconds=-1)}, {"batch": 0}):
        with pytest.raises(BadArgument):
            store.trim_history(**wrong)  # type: ignore[arg-type]


def test_purge_removes_what_is_past_its_retention_and_nothing_else(by_hand: ByHand, store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    for key in ("live", "deleted", "expired"):
        store.upsert_item("acme", key, key, vectors=[[1.0, 1.0]])
    store.upsert_item("acme", "live", "changed")
    store.upsert_item("acme2:u", "k", "in a deleted namespace")
    store.delete_item("acme", "deleted")
    store.delete_namespace("acme2")
    by_hand.update("memory_items", {"key": "expired"}, expires_at=an_hour_ago())
    assert store.purge() == kompanion_db.Purged(items=0, revisions=0, namespaces=0)
    by_hand.set_setting("retention_expired", timedelta(0))
    assert store.purge() == kompanion_db.Purged(items=1, revisions=0, namespaces=0)
    by_hand.set_setting("retention_deleted", timedelta(0))
    assert store.purge() == kompanion_db.Purged(items=2, revisions=0, namespaces=2)
    by_hand.set_setting("retention_revisions", timedelta(0))
    assert store.purge() == kompanion_db.Purged(items=0, revisions=1, namespaces=0)
    assert store.purge() == kompanion_db.Purged(items=0, revisions=0, namespaces=0)
    assert [i.key for i in store.list_items("*")] == ["live"]
    with pytest.raises(NotFound):
        store.restore_item("acme", "deleted")
    assert store.upsert_item("acme2:u", "k", "anew").revision == 1
    assert by_hand.count("memory_chunks") == 2


def test_a_retention_is_1000_years_of_365_days_and_a_quarter_at_most(
    by_hand: ByHand, store: kompanion_db.Store
) -> None:
    longest = timedelta(days=365_250)
    _write(store, "a", "b")
    for name in ("retention_deleted", "retention_expired", "retention_revisions"):
        by_hand.set_setting(name, longest)
        with pytest.raises((psycopg.Error, apsw.Error), match="no value for setting"):
            by_hand.set_setting(name, longest + timedelta(seconds=1))
    assert store.purge() == kompanion_db.Purged(items=0, revisions=0, namespaces=0)
    assert store.trim_history() == store.trim_history(keep_for=longest) == 0
    with pytest.raises(BadArgument, match="keep_for"):
        store.trim_history(keep_for=longest + timedelta(seconds=1))


def test_purge_takes_no_more_than_a_batch_of_each_kind(by_hand: ByHand, store: kompanion_db.Store) -> None:
    by_hand.set_setting("retention_deleted", timedelta(0))
    for n in range(5):
        store.upsert_item("acme", str(n), "a")
        store.delete_item("acme", str(n))
    assert [store.purge(batch=2).items for _ in range(4)] == [2, 2, 1, 0]


def test_a_plain_update_is_a_revision_like_any_other(by_hand: ByHand, store: kompanion_db.Store) -> None:
    _write(store, "a")
    by_hand.update("memory_items", tags=["x"], updated_at=EPOCH)
    by_hand.update("memory_items", tags=["x"])
    by_hand.update("memory_items", deleted_at=_now())
    by_hand.update("memory_items", deleted_at=None, content="b")
    history = store.item_history("acme", "k")
    assert [(r.revision, r.content, r.tags) for r in history] == [
        (1, "a", []), (2, "a", ["x"]), (3, "a", ["x"]), (4, "b", ["x"])
    ]  # fmt: skip
    times = [r.updated_at for r in history]
    assert times == sorted(set(times))
    assert [r.superseded_at for r in history] == [*times[1:], None]


def test_a_plain_update_skips_no_revision_whatever_it_says(by_hand: ByHand, store: kompanion_db.Store) -> None:
    """PostgreSQL does not listen, SQLite refuses."""
    _write(store, "a")
    with contextlib.suppress(psycopg.Error, apsw.Error):
        by_hand.update("memory_items", tags=["x"], revision=77)
    _write(store, "b")
    revisions = [r.revision for r in store.item_history("acme", "k")]
    assert revisions == list(range(1, len(revisions) + 1))


def test_a_plain_delete_takes_chunks_vectors_and_history_along(by_hand: ByHand, store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    store.upsert_item("acme", "k", "a", vectors=[[1.0, 1.0]])
    _write(store, "b")
    by_hand.delete("memory_items")
    for table in ("memory_item_revisions", "memory_chunks", "embeddings", "embedding_queue"):
        assert by_hand.count(table) == 0


def test_the_identity_of_an_item_never_changes(by_hand: ByHand, store: kompanion_db.Store) -> None:
    _write(store, "a")
    with pytest.raises((psycopg.Error, apsw.Error), match="identity of an item never changes"):
        by_hand.update("memory_items", item_id=uuid4())
