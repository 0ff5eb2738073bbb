"""Whatever stands in a text argument is data: stored and returned as it is, or refused; it never runs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import engines
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
LENIENT = {
    "progress",
    "apply",
    "half",
    "concurrently",
    "reopen",
    "include_deleted",
    "make_default",
    "require_complete",
    "delete_vectors",
    "per_chunk",
    "compact",
    "repair",
}


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
        for name in (n for n in names if n not in LENIENT):
            for odd in (*ODD, *FRAGMENTS[:3]):
                given = {n: (PYTHON | OWN)[n] for n in names} | {name: odd}
                try:
                    bound(**given)
                except errors.KompanionError as exc:
                    assert type(exc) is not errors.KompanionError, (name, odd, exc)  # noqa: PT017
                except Exception as exc:
                    pytest.fail(f"{method}({name}={odd!r}): {type(exc).__name__}: {exc}")
        assert hand.objects() == catalog
