"""What upsert_items loads is what it was given, however the caller makes it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import engines
import numpy as np
import pytest
import servers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kompanion_db import Chunk, HashEmbedder, NewItem, Store, chunk_text, connect, connect_async, pg_protocol
from kompanion_db.errors import BadArgument

ROWS, BLOCK = 600, 50


def _from_one_array() -> Iterator[NewItem]:
    """Items whose vectors are views of one array, which is filled anew for each block of them."""
    block = np.zeros((BLOCK, 3), np.float32)
    for n in range(ROWS):
        if n % BLOCK == 0:
            block[:, 0], block[:, 1] = 1, np.arange(n, n + BLOCK)
        yield NewItem("acme", f"note {n}", str(n), vectors=block[n % BLOCK : n % BLOCK + 1])


def test_an_array_may_be_used_again_once_its_items_were_taken(home: engines.Home) -> None:
    with connect(home.url) as store:
        store.register_model("m", 3, metric="l2")
        store.upsert_items(_from_one_array(), model="m", batch_size=BLOCK)
        for n in range(0, ROWS, 7):
            [found] = store.search("acme", [1, n, 0], k=1, target_recall=1)
            assert (found.key, found.distance) == (str(n), 0)


@pytest.mark.parametrize("chunks", [["text"], [Chunk("text", 0, 0, 4), 1]])
def test_chunks_that_are_none_are_named_with_their_item(home: engines.Home, chunks: list[object]) -> None:
    items = [NewItem("acme", "good", "1"), NewItem("acme", "text", "2", chunks=chunks)]
    with connect(home.url) as store:
        with pytest.raises(BadArgument, match=rf"^items\[1\]\.chunks\[{len(chunks) - 1}\]: is "):
            store.upsert_items(items)
        assert store.list_items("*") == []


@pytest.mark.parametrize("chunk", [Chunk(0, None, 0, 1), Chunk(0, None, None, None), Chunk(0, "t", None, 1)])  # type: ignore[arg-type]
@pytest.mark.parametrize("embedder", [None, HashEmbedder()])
def test_a_chunk_without_text_or_place_is_refused_however_it_is_written(
    one_home: engines.Home, chunk: Chunk, embedder: HashEmbedder | None
) -> None:
    with connect(one_home.url, embedder=embedder) as store:
        with pytest.raises(BadArgument, match=r"^items\[0\]\.chunks\[0\]: has no "):
            store.upsert_items([NewItem("acme", "text", "1", chunks=[chunk])])
        with pytest.raises(BadArgument, match=r"^chunks\[0\]: has no "):
            store.upsert_item("acme", "1", "text", chunks=[chunk])
        assert store.list_items("*") == []


def test_text_is_what_it_was_whatever_encoding_the_client_is_set_to(
    home: engines.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with connect(home.url) as store:
        store.upsert_items(
            [NewItem("acme:zo\u00eb", "caf\u00e9", "na\u00efve", tags=["\u00fc"], metadata={"\u00e4": "\u20ac"})]
        )
        [item] = store.list_items("*")
        assert (item.namespace, item.key, item.content) == ("acme:zo\u00eb", "na\u00efve", "caf\u00e9")
        assert (item.tags, item.metadata) == (["\u00fc"], {"\u00e4": "\u20ac"})
        assert [hit.content for hit in store.get_chunks("acme:zo\u00eb", "na\u00efve")] == ["caf\u00e9"]


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
async def test_a_database_may_show_dates_in_any_style(one_db: servers.Database, style: str) -> None:
    one_db.server.run(f"alter database {one_db.name} set datestyle = '{style}'")
    with connect(one_db.url) as store:
        assert store.upsert_items([NewItem("acme", "text", "a")]).inserted == 1
        with store.transaction():
            assert store.upsert_items([NewItem("acme", "text", "b")]).inserted == 1
    async with await connect_async(one_db.url) as astore:
        assert (await astore.upsert_items([NewItem("acme", "text", "c")])).inserted == 1


class _Moment(datetime):
    """As pendulum's: its differences are no plain ones."""

    def __sub__(self, other: object) -> Any:
        return object()


def test_a_moment_of_a_class_of_its_own_is_one(home: engines.Home) -> None:
    moment = _Moment(2090, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    with connect(home.url) as store:
        store.upsert_items([NewItem("acme", "text", "a", expires_at=moment)])
        [item] = store.list_items("*")
        assert item.expires_at == datetime(2090, 1, 2, 1, 4, 5, 678901, tzinfo=timezone.utc)


def test_a_vector_of_one_dimension_is_loaded(home: engines.Home) -> None:
    with connect(home.url) as store:
        store.register_model("m", 1, metric="l2")
        store.upsert_items(
            [NewItem("acme", "text", str(n), vectors=np.array([[n]], "f4")) for n in range(3)], model="m"
        )
        assert [hit.key for hit in store.search("acme", [2.2])] == ["2", "1", "0"]


def test_ever_so_many_batches_leave_nothing_behind_in_the_client(home: engines.Home) -> None:
    def classes() -> int:
        gc.collect()
        return sum(isinstance(o, type) and o.__module__ == pg_protocol.__name__ for o in gc.get_objects())

    with connect(home.url) as store:
        before = classes()
        for n in range(20):
            store.upsert_items([NewItem("acme", "text", str(n), metadata={"n": n})])
        assert classes() <= before + 1


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8).map("x".__add__)
_zones = st.integers(-12 * 60, 12 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_moments = st.datetimes(datetime(2100, 1, 1), datetime(9000, 1, 1), timezones=_zones)
_numbers = st.floats(-4, 4, width=16).filter(bool)


@st.composite
def _items(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of an item with everything it may have, its content whole or in pieces, with vectors or without."""
    content = draw(_texts)
    chunks = draw(st.sampled_from([None, chunk_text(content, 3)]))
    vector = st.lists(_numbers, min_size=3, max_size=3)
    count = len(chunks or [0])
    optional: dict[str, st.SearchStrategy[Any]] = {
        "metadata": st.dictionaries(_texts, _texts | st.integers(-(10**20), 10**20) | st.booleans(), max_size=3),
        "tags": st.lists(_texts, max_size=3),
        "thread": _texts,
        "user_key": _texts,
        "actor": _texts,
        "expires_at": _moments,
        "created_at": _moments.map(lambda moment: moment - timedelta(days=365 * 200)),
        "expected_revision": st.just(0),
        "vectors": st.lists(vector if chunks is None else vector | st.none(), min_size=count, max_size=count),
    }
    return {"content": content, "chunks": chunks, **draw(st.fixed_dictionaries({}, optional=optional))}


@pytest.fixture(scope="module")
def loaded(engine: engines.Engine) -> Iterator[Store]:
    home = engine.home()
    with connect(home.url) as store:
        store.register_model("m", 3)
        yield store
    home.drop()


def written(store: Store, namespace: str, items: list[dict[str, Any]]) -> list[Any]:
    """What stands under the keys 0, 1, 2 ... of these items, but for ids and the times that nobody gave."""
    found: list[Any] = []
    for n, item in enumerate(items):
        stored = store.get_item(namespace, str(n))
        if stored is None:
            found.append(None)
            continue
        fields = asdict(stored)
        told = {name: fields[name] for name in fields.keys() - {"namespace", "namespace_id", "item_id", "updated_at"}}
        if "created_at" not in item:
            del told["created_at"]
        pieces = [
            (c.ordinal, c.content, c.start_offset, c.end_offset, None if c.vector is None else c.vector.tolist())
            for c in store.get_chunks(namespace, str(n))
        ]
        found.append((told, pieces))
    return found


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(items=st.lists(_items(), min_size=1, max_size=5))
def test_a_load_writes_what_the_same_items_one_by_one_do(loaded: Store, items: list[dict[str, Any]]) -> None:
    one_by_one, at_once = f"one:{uuid4()}", f"many:{uuid4()}"
    for n, item in enumerate(items):
        loaded.upsert_item(one_by_one, str(n), **item, model="m")
    loaded.upsert_items([NewItem(at_once, key=str(n), **item) for n, item in enumerate(items)], model="m")
    assert None not in written(loaded, at_once, items)
    assert written(loaded, at_once, items) == written(loaded, one_by_one, items)


_FIELDS = ("metadata", "tags", "thread", "user_key", "actor", "expires_at", "vectors")


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_load_onto_what_is_there_does_what_the_same_items_one_by_one_do(loaded: Store, data: st.DataObject) -> None:
    items = data.draw(st.lists(_items(), min_size=1, max_size=5))
    one_by_one, at_once = f"one:{uuid4()}", f"many:{uuid4()}"
    for namespace in (one_by_one, at_once):
        loaded.upsert_items([NewItem(namespace, key=str(n), **item) for n, item in enumerate(items)], model="m")
    if data.draw(st.booleans()):
        loaded.delete_item(one_by_one, "0")
        loaded.delete_item(at_once, "0")
    again = []
    for n in data.draw(st.lists(st.sampled_from(range(len(items))), max_size=8)):
        item = {name: value for name, value in items[n].items() if name not in ("expected_revision", "created_at")}
        for name in data.draw(st.sets(st.sampled_from(_FIELDS), max_size=1)):
            item.pop(name, None)
            if name != "vectors":
                item.update({k: v for k, v in data.draw(_items()).items() if k == name})
        if data.draw(st.integers(0, 3)) == 0:
            item = {**item, "content": data.draw(_texts), "chunks": None, "vectors": [[1.0, 2.0, 3.0]]}
        again.append((n, item))
    statuses = [loaded.upsert_item(one_by_one, str(n), **item, model="m").status for n, item in again]
    report = loaded.upsert_items([NewItem(at_once, key=str(n), **item) for n, item in again], model="m")
    counts = [statuses.count(status) for status in ("inserted", "revised", "unchanged")]
    assert [report.inserted, report.revised, report.unchanged] == counts
    assert written(loaded, at_once, items) == written(loaded, one_by_one, items)


_PIECES = [Chunk(0, "one", 0, 3), Chunk(1, "two", 4, 7)]
_THERE = {
    "content": "one two", "metadata": {"n": 1}, "tags": ["a", "b"], "thread": "t", "user_key": "u",
    "expires_at": datetime(2100, 1, 1, tzinfo=timezone.utc), "vectors": [[1.0, 2.0, 3.0]],
}  # fmt: skip
_CUT = {**_THERE, "chunks": _PIECES, "vectors": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}


@pytest.mark.parametrize(
    ("there", "change"),
    [
        *((there, {name: value}) for there in (_THERE, _CUT) for name, value in {
            "tags": ["b", "a", "b"], "metadata": {"n": 2}, "thread": "other", "user_key": None, "actor": "me",
            "expires_at": datetime(2101, 1, 1, tzinfo=timezone.utc), "created_at": datetime(2001, 1, 1, tzinfo=timezone.utc),
        }.items()),
        *((_THERE, {"content": "else", **more}) for more in ({}, {"vectors": None})),
        *((there, {**more, "vectors": None}) for there in (_THERE, _CUT) for more in ({}, {"tags": []}, {"expires_at": None})),
        (_THERE, {"vectors": [[1.0, 2.0, 4.0]]}),
        (_THERE, {"chunks": _PIECES, "vectors": [None, [4.0, 5.0, 6.0]]}),
        (_CUT, {"vectors": [None, [4.0, 5.0, 7.0]]}),
        (_CUT, {"chunks": None, "vectors": None}),
        (_CUT, {"chunks": _PIECES[:1], "vectors": _CUT["vectors"][:1]}),
        (_CUT, {"chunks": [_PIECES[0], Chunk(1, "wo", 5, 7)]}),
        (_CUT, {"chunks": [_PIECES[0], Chunk(1, "two", 3, 7)]}),
    ],
)  # fmt: skip
def test_each_difference_is_seen_in_a_load_as_in_a_single_item(
    loaded: Store, there: dict[str, Any], change: dict[str, Any]
) -> None:
    one_by_one, at_once = f"one:{uuid4()}", f"many:{uuid4()}"
    loaded.upsert_items([NewItem(namespace, key="0", **there) for namespace in (one_by_one, at_once)], model="m")
    status = loaded.upsert_item(one_by_one, "0", **{**there, **change}, model="m").status
    report = loaded.upsert_items([NewItem(at_once, key="0", **{**there, **change})], model="m")
    assert (report.revised, report.unchanged) == (int(status == "revised"), int(status == "unchanged"))
    assert written(loaded, at_once, [there]) == written(loaded, one_by_one, [there])


def test_a_load_brings_back_what_was_deleted(loaded: Store) -> None:
    namespace = f"gone:{uuid4()}"
    loaded.upsert_items([NewItem(namespace, key="0", **_CUT)], model="m")
    loaded.delete_item(namespace, "0")
    assert loaded.upsert_items([NewItem(namespace, key="0", **_CUT)], model="m").revised == 1
    assert loaded.search(namespace, [1, 2, 3], model="m")


def test_a_load_that_is_run_again_leaves_every_row_where_it_is(one_db: servers.Database) -> None:
    def rows() -> list[Any]:
        tables = ("memory_items", "memory_chunks", "embeddings", "embedding_queue", "memory_item_revisions")
        with one_db.connect() as conn:
            return [conn.execute(f"select ctid, xmin from kompanion.{name} order by 1").fetchall() for name in tables]

    items = [
        *(
            NewItem("acme", f"whole {n}", f"whole {n}", tags=["b", "a"], thread="t", vectors=[[1, n]])
            for n in range(50)
        ),
        *(NewItem("acme", "one two", f"cut {n}", chunks=_PIECES, vectors=[[1, n], None]) for n in range(50)),
        *(NewItem("acme", f"plain {n}", f"plain {n}", metadata={"n": n}, user_key="u") for n in range(50)),
    ]
    with connect(one_db.url) as store:
        store.register_model("m", 2, metric="l2")
        assert store.upsert_items(items, model="m").inserted == 150
        before = rows()
        assert store.upsert_items(items, model="m").unchanged == 150
        assert rows() == before
        # One by one as well, but for the row of an item, which is locked.
        assert (
            store.upsert_item("acme", "cut 7", "one two", chunks=_PIECES, vectors=[[1, 7], None]).status == "unchanged"
        )
        assert rows()[1:] == before[1:]
