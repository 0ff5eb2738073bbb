"""A store moves whole: what comes out of one database goes into another as it was."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import engines
import pytest
import samples

import kompanion_db
from kompanion_db.errors import (
    BadArgument,
    ModelConflict,
    NamespaceDeleted,
    ThreadClosed,
)


@pytest.fixture
def other(engine: engines.Engine) -> Iterator[engines.Home]:
    """A second, empty store on the same engine."""
    made = engine.home()
    yield made
    made.drop()


@pytest.fixture
def one_other(one_engine: engines.Engine) -> Iterator[engines.Home]:
    """Like ``other``, beside ``one_home``."""
    made = one_engine.home()
    yield made
    made.drop()


def by_name(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        documents, key=lambda d: (d["kind"], d.get("namespace", ""), d.get("key", d.get("name", d.get("path", ""))))
    )


def move(source: Any, target: Any, scope: str = "*", page_size: int = 5) -> kompanion_db.Imported:
    total = target.import_documents(source.export_registry(scope))
    after = None
    while True:
        page, after = source.export_items(scope, page_size=page_size, after=after)
        done = target.import_documents(page)
        total = kompanion_db.Imported(
            total.registry + done.registry, total.items + done.items, total.skipped + done.skipped
        )
        if after is None:
            return total


def test_an_imported_store_equals_the_exported_one(home: engines.Home, other: engines.Home) -> None:
    with kompanion_db.connect(home.url) as source, kompanion_db.connect(other.url) as target:
        samples.fill(source)
        result = move(source, target)
        assert result.skipped == 0
        assert by_name(samples.exported(target)) == by_name(samples.exported(source))
        query = [1.0, 0.3, -0.2]
        there, here = (store.search("acme", query, 50, model="small", per_chunk=True) for store in (target, source))
        assert [(h.key, h.ordinal, h.distance, h.revision) for h in there] == [
            (h.key, h.ordinal, h.distance, h.revision) for h in here
        ]
        assert [item.key for item in target.list_items("acme")] == [item.key for item in source.list_items("acme")]
        assert target.item_history("acme:ann", "note-1") == source.item_history("acme:ann", "note-1")
        # What waits for a vector here waits there; that some of it was in the hands of a worker is not carried.
        waiting = {model.model: model.queued for model in source.list_models()}
        assert {model.model: model.queued for model in target.list_models()} == waiting


def test_an_imported_store_goes_on_living_by_the_same_rules(home: engines.Home, other: engines.Home) -> None:
    with kompanion_db.connect(home.url) as source, kompanion_db.connect(other.url) as target:
        samples.fill(source)
        move(source, target)
        assert target.upsert_item("acme:ann", "note-1", "again").revision == 3
        assert target.upsert_item("acme:ann", "fresh", "new", vectors=[[0, 0, 1]], model="small").status == "inserted"
        assert target.search("acme", [0, 0, 1], 1, model="small")[0].key == "fresh"
        with pytest.raises(ThreadClosed):
            target.upsert_item("acme:ann", "x", "c", thread="closed")
        with pytest.raises(NamespaceDeleted):
            target.upsert_item("gone:one", "x", "c")
        target.restore_namespace("gone")
        assert target.get_item("gone:one", "x") is not None


def test_a_broken_off_import_is_simply_run_again(one_home: engines.Home, one_other: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(one_other.url) as target:
        samples.fill(source)
        target.import_documents(source.export_registry())
        page, _ = source.export_items(page_size=6)
        assert target.import_documents(page).items == 6
        result = move(source, target)
        assert (result.items, result.skipped) == (9, 6)
        assert by_name(samples.exported(target)) == by_name(samples.exported(source))
        assert move(source, target).items == 0
        assert by_name(samples.exported(target)) == by_name(samples.exported(source))


def test_a_document_that_is_refused_takes_its_whole_page_with_it(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        samples.fill(store)
        page, _ = store.export_items(page_size=3)
        broken = copy.deepcopy(page)
        hand.delete("memory_items")
        before = hand.contents()
        broken[2]["content"] = None
        with pytest.raises(BadArgument, match="documents"):
            store.import_documents(broken)
        assert hand.contents() == before
        assert store.import_documents(page).items == 3


def test_of_a_document_that_comes_twice_the_first_is_kept(one_home: engines.Home, one_other: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(one_other.url) as target:
        samples.fill(source)
        registry, (page, _) = source.export_registry(), source.export_items()
        again = [document | {"content": "another"} for document in page]
        namesakes = [document | {"item_id": str(uuid.uuid4())} for document in again]
        done = target.import_documents([*registry, *page, *again, *namesakes])
        assert (done.items, done.skipped) == (len(page), 2 * len(page))
        assert by_name(samples.exported(target)) == by_name(samples.exported(source))


def test_an_export_of_a_scope_holds_that_scope_and_nothing_else(
    one_home: engines.Home, one_other: engines.Home
) -> None:
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(one_other.url) as target:
        samples.fill(source)
        source.upsert_item("acme2", "look-alike", "c")
        move(source, target, "acme:ann")
        assert {n.namespace for n in target.list_namespaces(include_deleted=True)} == {"acme:ann"}
        here, there = samples.exported(source, "acme:ann"), samples.exported(target, "acme:ann")
        assert by_name(there) == by_name(here)
        assert {d["namespace"] for d in samples.exported(target) if d["kind"] == "item"} == {"acme:ann"}


def test_an_export_reads_one_page_at_a_time_and_misses_nothing(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        samples.fill(store)
        whole, end = store.export_items(page_size=10_000)
        assert end is None
        paged: list[dict[str, Any]] = []
        after = None
        while True:
            page, after = store.export_items(page_size=1, after=after)
            paged += page
            if after is None:
                break
        assert paged == whole


def test_an_export_goes_on_past_any_number_of_empty_namespaces(store: kompanion_db.Store) -> None:
    with store.transaction():
        for n in range(300):
            store.ensure_namespace(f"acme:{n}")
    for n in range(0, 300, 100):
        store.upsert_item(f"acme:{n}", "k", "text")
    found, after = store.export_items("acme", page_size=1)
    while after is not None:
        page, after = store.export_items("acme", page_size=1, after=after)
        found += page
    assert {document["namespace"] for document in found} == {"acme:0", "acme:100", "acme:200"}


@pytest.mark.parametrize(
    ("written", "offset"),
    [
        ("1890-01-01T00:00:00.25+00:19:32", timedelta(minutes=19, seconds=32)),
        ("1880-06-01 12:00:00-00:01:15", -timedelta(minutes=1, seconds=15)),
        ("1999-06-01T12:00:00+05:30", timedelta(hours=5, minutes=30)),
        ("1999-06-01 12:00:00-03", -timedelta(hours=3)),
    ],
)
def test_a_time_is_what_it_was_whatever_offset_it_is_written_with(
    one_home: engines.Home, written: str, offset: timedelta
) -> None:
    """A server in Amsterdam writes moments before 1937 with seconds in the offset."""
    day = datetime.fromisoformat(written.replace("T", " ")[:19]).replace(tzinfo=timezone.utc)
    part = timedelta(seconds=0.25) if ".25" in written else timedelta()
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        samples.fill(store)
        document = next(d for d in store.export_items()[0] if d["key"] == "long")
        hand.delete("memory_items", key="long")
        store.import_documents([document | {"created_at": written}])
        item = store.get_item("acme:ann", "long")
        assert item is not None
        assert item.created_at == day + part - offset


@pytest.mark.parametrize("vector", [[1, 0], [0, 0, 0], [], "x", None, [1, "a", 0], [1e60, 0, 0], "[1e20,0,0]", [3e38, 3e38, 0], [1e-20, 1e-20, 0], "[1e-40,0,0]"])  # fmt: skip
def test_a_document_with_a_bad_vector_is_refused(one_home: engines.Home, vector: Any) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        samples.fill(store)
        document = next(d for d in store.export_items()[0] if d["key"] == "long")
        hand.delete("memory_items", key="long")
        document["chunks"][1]["vectors"][0]["vector"] = vector
        with pytest.raises(BadArgument, match="documents"):
            store.import_documents([document])
        assert store.get_item("acme:ann", "long") is None


def test_a_model_that_is_known_with_another_dimension_is_refused(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("small", 3)
        with pytest.raises(ModelConflict):
            store.import_documents([{"kind": "model", "name": "small", "dim": 4, "metric": "cosine"}])


def test_a_model_in_use_stays_in_use_though_the_export_says_it_is_retired(
    one_home: engines.Home, one_other: engines.Home
) -> None:
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(one_other.url) as target:
        for store in (source, target):
            store.register_model("default", 3)
            store.register_model("second", 2)
        source.register_model("third", 2)
        source.retire_model("second")
        source.retire_model("third")
        target.upsert_item("acme", "k", "text", vectors=[[1, 0]], model="second")
        target.import_documents(source.export_registry())
        assert {m.model: m.retired_at is None for m in target.list_models()} == {
            "default": True, "second": True, "third": False,
        }  # fmt: skip
        assert [hit.key for hit in target.search("acme", [1, 0], model="second")] == ["k"]


def test_documents_that_are_no_list_are_refused(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        for documents in (5, "x", {"kind": "item"}, None, [5], ["x"], [None], [[]], [object()]):
            with pytest.raises(BadArgument, match="documents"):
                store.import_documents(documents)  # type: ignore[arg-type]


def test_an_import_finds_the_threads_and_users_that_are_there_already_by_name(
    one_home: engines.Home, one_other: engines.Home
) -> None:
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(one_other.url) as target:
        samples.fill(source)
        target.upsert_item("acme:ann", "mine", "was here before", thread="daily", user_key="ann")
        move(source, target)
        assert target.get_item("acme:ann", "mine") is not None
        item = target.get_item("acme:ann", "note-3")
        assert item is not None
        assert (item.thread, item.user_key) == ("daily", "ann")
