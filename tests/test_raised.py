"""Each error that a call raises is named in what help() says of the call."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import engines
import pytest

import kompanion_db
from kompanion_db import Chunk, errors
from kompanion_db.errors import KompanionError

HOUR = timedelta(hours=1)
NO_PATH, DELETED, NOWHERE = "a::b", "gone", "none"
ON_AN_ITEM: dict[str, Callable[[kompanion_db.Store, str], object]] = {
    "get_item": lambda store, namespace: store.get_item(namespace, "k"),
    "item_history": lambda store, namespace: store.item_history(namespace, "k"),
    "get_chunks": lambda store, namespace: store.get_chunks(namespace, "k"),
    "upsert_item": lambda store, namespace: store.upsert_item(namespace, "k", "text"),
    "delete_item": lambda store, namespace: store.delete_item(namespace, "k"),
    "restore_item": lambda store, namespace: store.restore_item(namespace, "k"),
    "touch_item": lambda store, namespace: store.touch_item(namespace, "k", ttl=HOUR),
    "revert_item": lambda store, namespace: store.revert_item(namespace, "k", 1),
    "put_chunks": lambda store, namespace: store.put_chunks(namespace, "k", [Chunk(0, "first", 0, 5)]),
}


def _raised(call: Callable[[], object]) -> set[str]:
    try:
        call()
    except KompanionError as exc:
        return {type(exc).__name__}
    return set()


def _named(call: str) -> set[str]:
    """The errors of which the docstring of a call speaks."""
    said = inspect.getdoc(getattr(kompanion_db.Store, call)) or ""
    return {name for name in vars(errors) if name in said}


@pytest.mark.parametrize("call", ON_AN_ITEM)
def test_what_a_call_on_an_item_raises_is_named_by_it(one_home: engines.Home, call: str) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("m", 3)
        for content in ("first", "second"):
            store.upsert_item(DELETED, "k", content, ttl=HOUR)
        store.delete_namespace(DELETED)
        raised: set[str] = set()
        for namespace in (NO_PATH, DELETED, NOWHERE):
            raised |= _raised(lambda namespace=namespace: ON_AN_ITEM[call](store, namespace))  # type: ignore[misc]
    assert "BadNamespace" in raised
    assert raised <= _named(call)


@pytest.mark.parametrize("call", ["search", "list_items"])
def test_that_a_filter_is_too_large_is_named_by_what_takes_one(one_home: engines.Home, call: str) -> None:
    large = {"$and": [{"a": n} for n in range(100_000)]}
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("m", 3)
        asks = {
            "search": lambda: store.search("acme", [1, 2, 3], filter=large),
            "list_items": lambda: store.list_items("acme", filter=large),
        }
        assert _raised(asks[call]) == {"TooLarge"} <= _named(call)


@pytest.mark.parametrize("call", ["search", "get_chunks"])
def test_that_files_are_damaged_is_named_by_what_reads_vectors(tmp_path: Path, call: str) -> None:
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as store:
        store.register_model("m", 3)
        store.upsert_item("acme", "k", "text", vectors=[[1, 2, 3]])
        store.checkpoint()
        shutil.rmtree(tmp_path / "x.db.vec")
        asks = {"search": lambda: store.search("acme", [1, 2, 3]), "get_chunks": lambda: store.get_chunks("acme", "k")}
        assert _raised(asks[call]) == {"DamagedStore"} <= _named(call)


def test_the_kind_of_an_index_is_one_that_its_description_names(tmp_path: Path) -> None:
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as store:
        store.register_model("m", 3)
        store.upsert_items(
            {"namespace": "acme", "key": str(n), "content": "text", "vectors": [[1, 2, n]]} for n in range(100)
        )
        store.ensure_index("m", kind="ivfpq")
        assert store.list_models()[0].index_kind in (inspect.getdoc(kompanion_db.Model) or "")
