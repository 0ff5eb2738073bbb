"""Items: written whole under a name, read back as they are, gone when they are deleted or expired."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from by_hand import ByHand, an_hour_ago

import kompanion_db
from kompanion_db.errors import (
    BadArgument,
    NamespaceDeleted,
    NotFound,
    RevisionConflict,
    ThreadClosed,
)

DAY = timedelta(days=1)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def test_what_is_written_is_read_back(store: kompanion_db.Store) -> None:
    expires = _now() + DAY
    written = store.upsert_item(
        "acme:ann", "k", "  Naïve text\nwith lines \U0001f600", metadata={"n": 1.5, "list": [1, None, "x"]},
        tags=["b", "a", "b"], thread="today", user_key="ann", expires_at=expires, actor="importer",
    )  # fmt: skip
    item = store.get_item("acme:ann", "k")
    assert item is not None
    assert (written.status, written.revision, written.item_id) == ("inserted", 1, item.item_id)
    assert item.content == "  Naïve text\nwith lines \U0001f600"
    assert item.metadata == {"n": 1.5, "list": [1, None, "x"]}
    assert (item.tags, item.thread, item.user_key, item.actor) == (["a", "b"], "today", "ann", "importer")
    assert (item.expires_at, item.revision) == (expires, 1)
    assert item.namespace_id == kompanion_db.namespace_id("acme:ann")
    assert store.list_items("acme") == [
        kompanion_db.Item(**{**vars(item), "cursor": store.list_items("acme")[0].cursor})
    ]


def test_of_names_that_are_the_same_in_json_the_last_counts(store: kompanion_db.Store) -> None:
    twice: dict[object, object] = {1: "first", "1": "last", "at": "12:30"}
    store.upsert_item("acme", "one", "text", metadata=twice)  # type: ignore[arg-type]
    store.upsert_items([{"namespace": "acme", "key": "many", "content": "text", "metadata": twice}])
    for key in ("one", "many"):
        item = store.get_item("acme", key)
        assert item is not None
        assert item.metadata == {"1": "last", "at": "12:30"}
    assert {item.key for item in store.list_items("acme", filter={"1": "last"})} == {"one", "many"}
    assert store.list_items("acme", filter={"1": "first"}) == []


def test_what_is_left_out_of_a_second_write_is_empty_not_kept(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "a", metadata={"n": 1}, tags=["t"], thread="today", user_key="ann", ttl=DAY)
    assert store.upsert_item("acme", "k", "a").status == "revised"
    item = store.get_item("acme", "k")
    assert item is not None
    assert (item.metadata, item.tags, item.thread, item.user_key, item.expires_at) == ({}, [], None, None, None)


def test_the_same_again_is_unchanged_whoever_writes_it(store: kompanion_db.Store) -> None:
    expires = _now() + DAY
    store.upsert_item("acme", "k", "a", metadata={"n": 1, "m": 2}, tags=["x", "y"], expires_at=expires, actor="ann")
    again = store.upsert_item(
        "acme", "k", "a", metadata={"m": 2.0, "n": 1}, tags=["y", "x", "x"], expires_at=expires, actor="bob"
    )
    assert (again.status, again.revision) == ("unchanged", 1)
    assert store.item_history("acme", "k")[0].actor == "ann"


@pytest.mark.parametrize(
    "change",
    [{"content": "b"}, {"metadata": {"n": 2}}, {"tags": ["y"]}, {"thread": "later"}, {"user_key": "bob"}, {"ttl": DAY}],
    ids=lambda change: next(iter(change)),
)
def test_every_change_is_the_next_revision(store: kompanion_db.Store, change: dict[str, object]) -> None:
    first = {"content": "a", "metadata": {"n": 1}, "tags": ["x"], "thread": "today", "user_key": "ann"}
    store.upsert_item("acme", "k", **first)  # type: ignore[arg-type]
    result = store.upsert_item("acme", "k", **{**first, **change})  # type: ignore[arg-type]
    assert (result.status, result.revision) == ("revised", 2)


def test_without_a_key_every_write_is_an_item_of_its_own_named_by_its_id(store: kompanion_db.Store) -> None:
    results = [store.upsert_item("acme", None, "a") for _ in range(2)]
    assert [r.status for r in results] == ["inserted", "inserted"]
    assert {i.key for i in store.list_items("acme")} == {str(r.item_id) for r in results}
    assert all(isinstance(r.item_id, UUID) for r in results)


def test_keys_differ_by_case_and_are_private_to_their_namespace(store: kompanion_db.Store) -> None:
    for namespace, key in [("acme", "k"), ("acme", "K"), ("acme2", "k"), ("acme:k", "k")]:
        assert store.upsert_item(namespace, key, namespace + key).status == "inserted"
    assert [i.content for i in (store.get_item("acme", "K"), store.get_item("acme2", "k")) if i] == ["acmeK", "acme2k"]


def test_a_writer_who_expects_another_revision_is_refused_and_told_both(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "a")
    store.upsert_item("acme", "k", "b", expected_revision=1)
    with pytest.raises(RevisionConflict, match=r"at revision 2, not 1"):
        store.upsert_item("acme", "k", "c", expected_revision=1)
    with pytest.raises(RevisionConflict, match=r"at revision 2, not 0"):
        store.upsert_item("acme", "k", "c", expected_revision=0)
    with pytest.raises(RevisionConflict, match=r"at revision 0, not 3"):
        store.upsert_item("acme", "new", "c", expected_revision=3)
    with pytest.raises(RevisionConflict):
        store.delete_item("acme", "k", expected_revision=1)
    with pytest.raises(RevisionConflict):
        store.revert_item("acme", "k", 1, expected_revision=1)
    item = store.get_item("acme", "k")
    assert item is not None
    assert (item.content, item.revision) == ("b", 2)


def test_expecting_zero_means_no_live_item_of_that_name(store: kompanion_db.Store) -> None:
    assert store.upsert_item("acme", "k", "a", expected_revision=0).revision == 1
    store.delete_item("acme", "k")
    assert store.upsert_item("acme", "k", "b", expected_revision=0).revision == 3


def test_deleting_hides_and_writing_again_goes_on_with_the_revisions(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "a")
    deleted = store.delete_item("acme", "k", actor="ann")
    assert (deleted.status, deleted.revision) == ("deleted", 2)
    assert store.get_item("acme", "k") is None
    assert store.list_items("acme") == []
    assert (store.delete_item("acme", "k").status, store.delete_item("acme", "k").revision) == ("unchanged", 2)
    again = store.upsert_item("acme", "k", "a")
    assert (again.status, again.revision, again.item_id) == ("revised", 3, deleted.item_id)


def test_restoring_brings_back_what_was_deleted_as_it_was(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "a", tags=["t"], ttl=DAY)
    before = store.get_item("acme", "k")
    assert store.restore_item("acme", "k").status == "unchanged"
    store.delete_item("acme", "k")
    restored = store.restore_item("acme", "k")
    assert (restored.status, restored.revision) == ("restored", 3)
    after = store.get_item("acme", "k")
    assert before is not None
    assert after is not None
    assert (after.tags, after.expires_at) == (["t"], before.expires_at)
    for missing in ("none", "other"):
        with pytest.raises(NotFound):
            store.restore_item("acme", missing)


def test_an_item_is_gone_at_its_expiry_without_any_sweep(by_hand: ByHand, store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    store.upsert_item("acme", "k", "a", ttl=DAY, vectors=[[1.0, 1.0]])
    assert store.get_item("acme", "k") is not None
    by_hand.update("memory_items", expires_at=an_hour_ago())
    assert store.get_item("acme", "k") is None
    assert store.list_items("acme") == []
    assert store.search("acme", [1.0, 1.0]) == []
    assert store.item_history("acme", "k")[0].revision == 1
    assert [(s.items, s.live, s.expired) for s in store.stats("acme")] == [(1, 0, 1)]


def test_restoring_what_expired_lifts_the_expiry_or_sets_a_new_one(by_hand: ByHand, store: kompanion_db.Store) -> None:
    later = _now() + DAY
    for key in ("k", "l"):
        store.upsert_item("acme", key, "a")
    by_hand.update("memory_items", expires_at=an_hour_ago())
    assert store.restore_item("acme", "k").status == "restored"
    assert store.restore_item("acme", "l", expires_at=later).status == "restored"
    assert {i.key: i.expires_at for i in store.list_items("acme")} == {"k": None, "l": later}


def test_touching_extends_a_life_and_never_shortens_it(store: kompanion_db.Store) -> None:
    soon, late = _now() + DAY, _now() + 3 * DAY
    store.upsert_item("acme", "k", "a", expires_at=soon)
    assert store.touch_item("acme", "k", expires_at=late).status == "revised"
    assert store.touch_item("acme", "k", expires_at=soon).status == "unchanged"
    assert store.touch_item("acme", "k", ttl=DAY).revision == 2
    item = store.get_item("acme", "k")
    assert item is not None
    assert item.expires_at == late
    store.upsert_item("acme", "for ever", "a")
    assert store.touch_item("acme", "for ever", ttl=DAY).status == "unchanged"
    store.delete_item("acme", "k")
    with pytest.raises(NotFound):
        store.touch_item("acme", "k", ttl=DAY)
    with pytest.raises(BadArgument, match="neither"):
        store.touch_item("acme", "for ever")


def test_a_closed_thread_takes_no_new_memories_but_can_be_read(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "a", thread="today")
    closed = store.close_thread("acme", "today")
    assert store.close_thread("acme", "today") == closed
    with pytest.raises(ThreadClosed, match="today"):
        store.upsert_item("acme", "l", "b", thread="today")
    with pytest.raises(ThreadClosed):
        store.upsert_items([{"namespace": "acme", "key": "l", "content": "b", "thread": "today"}])
    assert [i.key for i in store.list_items("acme", thread="today")] == ["k"]
    assert [(t.thread, t.closed_at) for t in store.list_threads("acme")] == [("today", closed)]
    store.ensure_thread("acme", "today", title="Today")
    with pytest.raises(ThreadClosed):
        store.upsert_item("acme", "l", "b", thread="today")
    store.ensure_thread("acme", "today", reopen=True)
    assert store.upsert_item("acme", "l", "b", thread="today").status == "inserted"
    with pytest.raises(NotFound):
        store.close_thread("acme", "tomorrow")


def test_ensuring_a_user_or_a_thread_updates_only_what_is_given(by_hand: ByHand, store: kompanion_db.Store) -> None:
    first = store.ensure_user("acme", "ann", display_name="Ann", metadata={"n": 1})
    assert store.ensure_user("acme", "ann", display_name="Ann B.") == first
    store.ensure_thread("acme", "today", title="Today", metadata={"m": 1})
    store.ensure_thread("acme", "today", metadata={"m": 2})
    (thread,) = store.list_threads("acme")
    assert (thread.title, thread.metadata) == ("Today", {"m": 2})
    assert by_hand.rows("users", "display_name", "metadata") == [("Ann B.", {"n": 1})]


def test_a_deleted_namespace_hides_all_below_it_and_comes_back_whole(store: kompanion_db.Store) -> None:
    for namespace in ("acme", "acme:ann", "acme:ann:today", "acme:bob", "acme2"):
        store.upsert_item(namespace, "k", "a", thread="t")
    assert store.delete_namespace("acme:bob") == 1
    assert store.delete_namespace("acme") == 3
    assert [i.namespace for i in store.list_items("*")] == ["acme2"]
    assert [t.namespace for t in store.list_threads("*")] == ["acme2"]
    for namespace in ("acme", "acme:ann", "acme:new", "acme:bob"):
        with pytest.raises(NamespaceDeleted):
            store.upsert_item(namespace, "k", "a")
    with pytest.raises(NamespaceDeleted, match="namespace 'acme', above it, is deleted"):
        store.restore_namespace("acme:bob")
    assert store.restore_namespace("acme") == 3
    assert {i.namespace for i in store.list_items("acme")} == {"acme", "acme:ann", "acme:ann:today"}
    assert store.restore_namespace("acme:bob") == 1
    for call in (store.delete_namespace, store.restore_namespace):
        with pytest.raises(NotFound):
            call("nobody")


def test_a_batch_that_names_an_item_twice_writes_it_in_order(store: kompanion_db.Store) -> None:
    def write(content: str, expected_revision: int | None = None) -> dict[str, object]:
        return {"namespace": "acme", "key": "k", "content": content, "expected_revision": expected_revision}

    with pytest.raises(RevisionConflict):
        store.upsert_items([write("a", 1), write("b")])
    assert store.get_item("acme", "k") is None
    told = store.upsert_items([write("a", 0), write("b", 1), write("b"), write("c")])
    assert (told.inserted, told.revised, told.unchanged) == (1, 2, 1)
    assert [r.content for r in store.item_history("acme", "k")] == ["a", "b", "c"]


def test_inside_a_transaction_the_moment_it_began_says_what_has_expired(store: kompanion_db.Store) -> None:
    with store.transaction():
        store.upsert_item("acme", "k", "brief", ttl=timedelta(milliseconds=50))
        time.sleep(0.1)
        assert store.get_item("acme", "k") is not None
        assert [item.key for item in store.list_items("acme")] == ["k"]
    assert store.get_item("acme", "k") is None
