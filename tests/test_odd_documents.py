"""Documents that no export writes: what an import lets in obeys the rules of what is written here, on either engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engines
import pytest
import samples

import kompanion_db
from kompanion_db.copying import copy
from kompanion_db.errors import BadArgument, BadNamespace, KompanionError

CREATED = "2024-01-01T00:00:00+00:00"

FIRST = {"revision": 1, "key": "k", "content": "before", "metadata": {}, "tags": [], "updated_at": CREATED,
         "superseded_at": "2026-02-01T00:00:00+00:00"}  # fmt: skip
ITEM = {"kind": "item", "namespace": "a", "item_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "key": "k", "content": "now",
        "metadata": {}, "tags": [], "revision": 2, "content_revision": 2, "created_at": CREATED,
        "updated_at": "2026-02-01T00:00:00+00:00", "revisions": [FIRST], "chunks": []}  # fmt: skip
REGISTRY = [{"kind": "export", "format": 2}, {"kind": "namespace", "path": "a", "created_at": CREATED}]


@pytest.mark.parametrize("kind", ["thread", "user"])
def test_of_two_threads_or_users_of_one_id_the_first_is_kept(one_home: engines.Home, kind: str) -> None:
    own_id = {f"{kind}_id": "00000000-0000-0000-0000-000000000001"}
    place: dict[str, Any] = {"kind": "namespace", "path": "acme", "created_at": CREATED}
    first = {"kind": kind, "namespace": "acme", "key": "first", "metadata": {}, "created_at": CREATED, **own_id}
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        assert store.import_documents([place, first, first | {"key": "second"}]).registry == 2
        assert store.import_documents([place, first | {"key": "third"}]).registry == 0
        assert hand.rows(f"{kind}s", "key") == [("first",)]


@pytest.mark.parametrize("value", ["maybe", 5.5, [], {}])
def test_a_model_is_the_default_or_not_and_nothing_else(one_home: engines.Home, value: Any) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("first", 2)
        model = {"kind": "model", "name": "second", "dim": 2, "metric": "cosine", "is_default": value}
        with pytest.raises(BadArgument, match="documents"):
            store.import_documents([model])
        assert store.import_documents([model | {"is_default": False}, model | {"is_default": None}]).registry == 2
        assert [m.model for m in store.list_models() if m.is_default] == ["first"]


def test_a_default_as_text_switches_no_default_of_a_file(tmp_path: Path) -> None:
    with kompanion_db.connect(f"sqlite:///{tmp_path}/a.db") as store:
        store.register_model("first", 2)
        for value in ("false", "true", "", 0, 1):
            model = {"kind": "model", "name": "second", "dim": 2, "metric": "cosine", "is_default": value}
            with pytest.raises(BadArgument, match="is_default is neither true nor false"):
                store.import_documents([model])
        assert [m.model for m in store.list_models()] == ["first"]


@pytest.mark.parametrize(("seconds", "kept"), [(86400 / 7, 12342.857143), (0.1, 0.1), (4e-7, 0), (90_061, 90_061)])
def test_a_retention_is_kept_to_the_microsecond_so_that_copies_of_it_are_equal(
    one_home: engines.Home, tmp_path: Path, seconds: float, kept: float
) -> None:
    setting = {"kind": "setting", "name": "retention_deleted", "value": seconds}
    with kompanion_db.connect(one_home.url) as store, kompanion_db.connect(f"sqlite:///{tmp_path}/a.db") as source:
        source.import_documents([setting])
        assert copy(source, store).digest == source.digest()
        store.import_documents([setting])
        assert {"kind": "setting", "name": "retention_deleted", "value": kept} in store.export_registry()
        assert store.digest() == source.digest()


def test_a_revision_that_obeys_the_rules_comes_in_and_can_be_gone_back_to(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        assert store.import_documents([*REGISTRY, ITEM]).items == 1
        assert store.revert_item("a", "k", 1).revision == 3
        found = store.get_item("a", "k")
        assert found is not None
        assert found.content == "before"


@pytest.mark.parametrize("change", [{"metadata": "text"}, {"metadata": [1]}, {"key": ""}, {"key": "k" * 513}], ids=str)
def test_a_revision_that_no_item_could_be_is_refused(one_home: engines.Home, change: dict[str, Any]) -> None:
    with kompanion_db.connect(one_home.url) as store:
        with pytest.raises(BadArgument, match="documents"):
            store.import_documents([*REGISTRY, ITEM | {"revisions": [FIRST | change]}])
        assert store.get_item("a", "k") is None


@pytest.mark.parametrize("key", ["", "k" * 513])
@pytest.mark.parametrize("kind", ["thread", "user"])
def test_a_thread_or_user_of_a_name_that_cannot_be_is_refused(one_home: engines.Home, kind: str, key: str) -> None:
    one = {
        "kind": kind,
        "namespace": "a",
        f"{kind}_id": ITEM["item_id"],
        "key": key,
        "metadata": {},
        "created_at": CREATED,
    }
    with kompanion_db.connect(one_home.url) as store, pytest.raises(BadArgument, match="documents"):
        store.import_documents([*REGISTRY, one])


@pytest.mark.parametrize("at", ["infinity", "yesterday", "2020-01-01"])
@pytest.mark.parametrize("part", [(), ("vectors", 0), ("queued", 0)])
def test_a_chunk_of_a_time_that_is_none_is_refused(one_home: engines.Home, part: tuple[Any, ...], at: str) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        samples.fill(store)
        document = next(d for d in store.export_items()[0] if d["key"] == "long")
        hand.delete("memory_items", key="long")
        within = document["chunks"][0] | {"queued": [{"model": "small"}]}
        document["chunks"][0] = within
        for step in part:
            within = within[step]
        within["created_at"] = at
        with pytest.raises(BadArgument, match=f"^documents: .*created_at is no time: .*{at}"):
            store.import_documents([document])


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "model", "name": "m", "dim": 3, "metric": "cosine", "retired_at": "infinity"},
        {"kind": "model", "name": "m", "dim": 3, "metric": "cosine", "created_at": "-infinity"},
        {"kind": "model", "name": 5, "dim": 3, "metric": "cosine"},
        {"kind": "namespace", "path": 5, "created_at": "2026-01-01T00:00:00Z"},
        {"kind": "setting", "name": "target_recall"},
    ],
)
def test_a_registry_of_the_wrong_form_is_refused(one_home: engines.Home, document: dict[str, Any]) -> None:
    with kompanion_db.connect(one_home.url) as store:
        with pytest.raises(BadArgument):
            store.import_documents([document])
        assert store.list_models() == []


def test_a_thread_and_a_user_that_are_null_are_none(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        store.upsert_item("acme", "k", "text")
        (document,) = store.export_items()[0]
        hand.delete("memory_items", key="k")
        assert store.import_documents([document | {"thread": None, "user_key": None}]).items == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kind": "horse"}, BadArgument),
        ({"kind": None}, BadArgument),
        ({"namespace": "a b"}, BadNamespace),
        ({"namespace": None}, BadNamespace),
        ({"item_id": None}, BadArgument),
        ({"item_id": "x"}, BadArgument),
        ({"key": ""}, BadArgument),
        ({"key": "k" * 10_000}, BadArgument),
        ({"content": None}, BadArgument),
        ({"content": "a\0b"}, BadArgument),
        ({"content": "\ud800"}, BadArgument),
        ({"metadata": []}, BadArgument),
        ({"tags": [""]}, BadArgument),
        ({"tags": "x"}, BadArgument),
        ({"revision": 0}, BadArgument),
        ({"revision": "many"}, BadArgument),
        ({"content_revision": 99}, BadArgument),
        ({"created_at": "yesterday at noon"}, BadArgument),
        ({"thread": "no such"}, BadArgument),
        ({"user_key": "no such"}, BadArgument),
        ({"chunks": {}}, BadArgument),
        ({"chunks": 5}, BadArgument),
        ({"revisions": 5}, BadArgument),
        ({"revisions": [{"revision": 1}]}, BadArgument),
        ({"created_at": "infinity"}, BadArgument),
        ({"expires_at": "infinity"}, BadArgument),
        ({"namespace": ["acme"]}, BadArgument),
        ({"key": 5}, BadArgument),
        ({"content": ["x"]}, BadArgument),
        ({"actor": {}}, BadArgument),
        ({"tags": ["a", 5]}, BadArgument),
        ({"tags": None}, BadArgument),
        ({"revisions": None}, BadArgument),
        ({"chunks": None}, BadArgument),
        ({"created_at": "yesterday"}, BadArgument),
        ({"created_at": "2020-01-01"}, BadArgument),
    ],
)
def test_a_document_of_the_wrong_form_is_refused(
    one_home: engines.Home, change: dict[str, Any], error: type[KompanionError]
) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        samples.fill(store)
        document = next(d for d in store.export_items()[0] if d["key"] == "long")
        hand.delete("memory_items", key="long")
        before = hand.contents()
        with pytest.raises(KompanionError) as caught:
            store.import_documents([document | change])
        assert type(caught.value) is error, caught.value
        assert caught.value.hint
        assert hand.contents() == before
