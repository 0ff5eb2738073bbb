"""Whatever stands in a text argument is data: stored and returned as it is, or refused; it never runs."""

from __future__ import annotations

import enum
import inspect
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import engines
import numpy as np
import psycopg
import pytest
import samples
import servers
from by_hand import PostgresByHand

import kompanion_db
from kompanion_db import Chunk, NewItem, Store, errors

FRAGMENTS = (
    "'); drop table kompanion.memory_items cascade; --",
    '"; drop schema kompanion cascade; --',
    "' or '1' = '1",
    "$$; drop role kompanion_reader; $$",
    "\\'; truncate kompanion.memory_items; --",
    "%s %L %I %1$s {} {0}",
    "$body$ $key$ $upsert_item$",
    "(select pg_sleep(0))",
    "note-1' union select usename from pg_user --",
    "../../etc/passwd\t\r\n\x1b[31m",
)

# A good value for every argument by its name; a new argument fails the test until it has one here.
GOOD: dict[str, Any] = {
    "namespace": "acme:ann", "path": "acme:ann", "scope": "acme", "key": "note-1", "content": "text", "metadata": '{"a": 1}',
    "tags": ["a"], "thread": "daily", "user_key": "ann", "actor": "me", "model": "small", "name": "small", "worker": "w",
    "filter": '{"n": 1}', "tags_any": ["note"], "tags_all": ["note"], "tags_none": ["x"], "display_name": "Ann", "title": "T",
    "query": "[1,0,0]", "k": 3, "batch": 5, "page_size": 5, "after": None, "dim": 3, "metric": "cosine", "kind": "none",
    "lists": 10, "concurrently": False, "type": "text", "value": '"1 day"', "revision": 1, "at": "2100-01-01", "ttl": "1 day",
    "expires_at": None, "created_at": None, "deleted_at": None, "expected_revision": None, "content_revision": None,
    "chunks": ["text"], "chunk_starts": [0], "chunk_ends": [4], "vectors": None, "texts": ["Note"], "starts": [0], "ends": [4],
    "namespace_ids": [], "chunk_ids": [], "chunk_revisions": [], "namespaces": ["acme:ann"], "keys": ["note-1"],
    "items": "[]", "documents": "[]", "lease": "1 minute", "keep_for": None, "keep_last": 0, "index_rows": 1, "index_chunk": 1,
    "reopen": False, "include_deleted": True, "make_default": False, "require_complete": False, "delete_vectors": False,
    "per_chunk": False, "target_recall": None, "half": None, "seconds": 0.01, "sample": 10, "queries": None,
    "kinds": ["ivfflat"], "share": 0.5,
}  # fmt: skip


def spoilt(name: str, kind: str, fragment: str) -> list[Any]:
    """The argument with the fragment in it, in each form its type has room for."""
    if kind == "text":
        return [fragment]
    if kind == "text[]":
        return [[fragment]]
    if name == "items":
        fields = ("key", "content", "thread", "user_key", "actor")
        item = {"namespace": "acme:ann", "content": "c", "metadata": {fragment: fragment}}
        return [json.dumps([item | {field: fragment}]) for field in fields] + [json.dumps([{fragment: fragment}])]
    if name == "documents":
        return [json.dumps([{"kind": fragment}]), json.dumps([{"kind": "namespace", "path": fragment}])]
    if kind == "jsonb":
        return [json.dumps(fragment), json.dumps({fragment: fragment}), json.dumps({"a": {fragment: 1}})]
    return []


def test_no_fragment_of_sql_runs_from_any_text_argument_of_any_function(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        samples.fill(store)
    tried = set()
    with db.connect() as conn:
        hand = PostgresByHand(conn)
        catalog, before = hand.objects(), hand.contents()
        for function, names, types in samples.routines(conn):
            missing = [name for name in names if name not in GOOD]
            assert not missing, f"give GOOD a value for {missing} of {function}"
            call = ", ".join(f"{n} => %({n})s::{t}" for n, t in zip(names, types, strict=True))
            for name, kind in zip(names, types, strict=True):
                for fragment in FRAGMENTS:
                    for value in spoilt(name, kind, fragment):
                        given = {n: GOOD[n] for n in names} | {name: value}
                        try_and_undo(hand, f"select * from kompanion.{function}({call})", given, catalog)
                        tried.add((function, name))
            assert hand.objects() == catalog, function
        assert hand.contents() == before
    assert len(tried) > 80


def try_and_undo(hand: PostgresByHand, sql: str, given: dict[str, Any], catalog: Any) -> None:
    with hand.conn.transaction(force_rollback=True):
        try:
            hand.conn.execute(sql, given)
        except psycopg.Error as exc:
            state = exc.sqlstate or ""
            assert state.startswith("KM") or state in {"22P02", "22007"}, f"{sql}\n{given}\n{exc}"  # noqa: PT017
        else:
            # What it made before the rollback is no more than an index for a metadata key.
            assert hand.objects() == catalog


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_what_is_stored_comes_back_as_it_was(one_home: engines.Home, fragment: str) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        before = hand.objects()
        store.register_model(fragment, 3)
        store.ensure_user("a", fragment, display_name=fragment, metadata={fragment: fragment})
        store.ensure_thread("a", fragment, title=fragment, metadata={fragment: [fragment]})
        given: dict[str, Any] = {
            "content": fragment, "metadata": {fragment: fragment}, "tags": [fragment], "thread": fragment,
            "user_key": fragment, "actor": fragment,
        }  # fmt: skip
        vector = [[1.0, 0.0, 0.0]]
        store.upsert_item("a", fragment, **given, vectors=vector, model=fragment)
        bulk = NewItem("b", key=fragment, **given, vectors=vector)
        store.upsert_items([bulk], model=fragment)
        store.put_chunks("b", fragment, [Chunk(0, fragment, 0, len(fragment))])
        for namespace in "ab":
            item = store.get_item(namespace, fragment)
            assert {name: getattr(item, name) for name in given} == given
        conditions = {"thread": fragment, "tags_any": [fragment], "filter": {fragment: fragment}}
        if "." in fragment or fragment[0] == "$":  # these mean something in the name of a field
            del conditions["filter"]
        assert [hit.chunk for hit in store.search("*", vector[0], model=fragment, **conditions)] == [fragment] * 2
        assert [item.key for item in store.list_items("*", **conditions)] == [fragment] * 2
        assert [(t.thread, t.title, t.metadata) for t in store.list_threads("a")] == [
            (fragment, fragment, {fragment: [fragment]})
        ]
        assert [model.model for model in store.list_models()] == [fragment]
        store.delete_item("a", fragment, actor=fragment)
        assert [r.actor for r in store.item_history("a", fragment)] == [fragment] * 2
        if fragment[0] != "$" and ".." not in fragment:
            store.index_metadata_key(fragment)
        assert hand.objects() == before
        assert hand.count("memory_items") == 2


PYTHON: dict[str, Any] = GOOD | {
    "metadata": {"a": 1}, "filter": {"n": 1}, "query": [1, 0, 0], "items": [], "documents": [], "vectors": None, "chunks": [],
    "ttl": timedelta(1), "lease": timedelta(minutes=1), "at": datetime.now(timezone.utc), "lists": None,
}  # fmt: skip
OWN = {"batch_size": 5, "progress": None, "apply": False, "compact": False, "repair": False}
ODD = (5, 1.5, True, b"x", [1], {"a": object()}, object(), "a\0b", "\ud800", float("nan"), 10**30, datetime(2020, 1, 1))


@pytest.fixture(scope="module")
def shared(one_engine: engines.Engine) -> Iterator[engines.Home]:
    """One filled store for all methods: what a call does to it is of no interest, only how it fails."""
    home = one_engine.home()
    with kompanion_db.connect(home.url) as store:
        samples.fill(store)
    yield home
    home.drop()


def methods() -> list[str]:
    skipped = {"answer", "close", "run"}
    return [name for name, _ in inspect.getmembers(Store, callable) if name[0] != "_" and name not in skipped]


@pytest.mark.parametrize("method", methods())
def test_no_argument_of_a_wrong_type_gets_further_than_an_error_of_ours(
    shared: engines.Home, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # text that names no file is a fine name for one
    with kompanion_db.connect(shared.url) as store, shared.by_hand() as hand:
        catalog = hand.objects()
        bound = getattr(store, method)
        names = list(inspect.signature(bound).parameters)
        for name in (n for n in names if n != "progress"):  # of which test_callbacks.py tells
            for odd in (*ODD, *FRAGMENTS[:3]):
                given = {n: (PYTHON | OWN)[n] for n in names} | {name: odd}
                try:
                    bound(**given)
                except errors.KompanionError as exc:
                    assert type(exc) is not errors.KompanionError, (name, odd, exc)  # noqa: PT017
                except Exception as exc:
                    pytest.fail(f"{method}({name}={odd!r}): {type(exc).__name__}: {exc}")
        assert hand.objects() == catalog


FLAGS = {
    "list_namespaces": "include_deleted", "ensure_thread": "reopen", "set_default_model": "require_complete",
    "retire_model": "delete_vectors", "ensure_index": "concurrently", "index_metadata_key": "concurrently",
    "tune_index": "apply", "search": "per_chunk", "explain_search": "per_chunk", "register_model": "make_default",
    "checkpoint": "compact", "doctor": "repair",
}  # fmt: skip


@pytest.mark.parametrize("method", FLAGS)
def test_a_flag_is_true_or_false_and_the_text_false_is_neither(shared: engines.Home, method: str) -> None:
    with kompanion_db.connect(shared.url) as store:
        bound = getattr(store, method)
        given = {n: (PYTHON | OWN)[n] for n in inspect.signature(bound).parameters}
        for odd in ("false", "no", 0, 1, None, np.array([True, False])):
            with pytest.raises(errors.BadArgument) as refused:
                bound(**given | {FLAGS[method]: odd})
            assert FLAGS[method] in refused.value.message or method in ("checkpoint", "doctor")  # of a file alone
        if method in ("list_namespaces", "search"):
            bound(**given | {FLAGS[method]: np.bool_(False)})


def test_what_opens_a_store_takes_no_text_for_a_flag(shared: engines.Home) -> None:
    for option in ({"migrate": "false"}, {"prepare": "no"}):
        with pytest.raises(errors.BadArgument, match=next(iter(option))):
            kompanion_db.connect(shared.url, **option)  # type: ignore[arg-type]


class Name(str, enum.Enum):
    NAMESPACE = "acme:enums"
    KEY = "key"
    MODEL = "of an enum"


def test_members_of_enums_and_texts_of_numpy_come_back_as_plain_text(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        assert type(store.register_model(Name.MODEL, 3).model) is str
        store.upsert_item(Name.NAMESPACE, Name.KEY, np.str_("content"), tags=[Name.KEY])
        item = store.get_item(Name.NAMESPACE, Name.KEY)
        assert item is not None
        assert {type(text) for text in (item.namespace, item.key, item.content, *item.tags)} == {str}
        store.delete_namespace(Name.NAMESPACE)
        with pytest.raises(errors.NamespaceDeleted, match="namespace 'acme:enums' is deleted"):
            store.upsert_items([NewItem(Name.NAMESPACE, "content", Name.KEY)])


def test_what_cannot_be_shown_is_refused_by_its_type(one_home: engines.Home) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError

    given: list[tuple[dict[str, Any], str]] = [
        ({"ttl": 10**5000}, "ttl: this int"),
        ({"expires_at": Shy()}, "expires_at: this Shy"),
        ({"expected_revision": np.timedelta64(1, "D")}, "expected_revision: "),
        ({"expected_revision": "9" * 1_000_000}, "expected_revision: "),
    ]
    with kompanion_db.connect(one_home.url) as store:
        for wrong, message in given:
            with pytest.raises(errors.BadArgument, match=message) as refused:
                store.upsert_item("acme", "k", "c", **wrong)
            assert len(refused.value.message) < 500
