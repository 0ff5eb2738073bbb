"""Opening and closing a store: what no pool can have is refused by name, what is asked for is had, a closed store says so."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import engines
import numpy as np
import pytest
import servers
from psycopg.rows import tuple_row

from kompanion_db import AsyncStore, HashEmbedder, Store, connect, connect_async, errors, migrate, status
from kompanion_db.chunking import chunk_text
from kompanion_db.postgres import PostgresStore
from kompanion_db.postgres_async import AsyncPostgresStore
from kompanion_db.snapshots import PostgresSnapshot
from kompanion_db.sqlite import open_sql

BOUNDS: list[tuple[dict[str, Any], str]] = [
    ({"max_size": 0}, "max_size: 0 is less than 1"),
    ({"max_size": -3}, "max_size: -3 is less than 1"),
    ({"max_size": None}, "max_size: None is less than 1"),
    ({"max_size": "4"}, "max_size: '4' is no whole number"),
    ({"min_size": 5}, "min_size: 5 is not from 0 to max_size, which is 4"),
    ({"min_size": -1}, "min_size: -1 is not from 0 to max_size, which is 4"),
    ({"min_size": 3, "max_size": 2}, "min_size: 3 is not from 0 to max_size, which is 2"),
    ({"min_size": 1.5}, "min_size: 1.5 is no whole number"),
    *(
        ({"timeout": timeout}, f"timeout: {timeout!r} is no number above 0 and at most 1,000,000")
        for timeout in (None, 0, -1, 1e10, "5", float("nan"), True)
    ),
]


@pytest.mark.parametrize(("bounds", "message"), BOUNDS)
async def test_bounds_that_no_pool_can_have_and_what_nobody_can_wait_are_refused(
    one_home: engines.Home, bounds: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.BadArgument) as refused:
        connect(one_home.url, **bounds)
    assert (refused.value.message, bool(refused.value.hint)) == (message, True)
    with pytest.raises(errors.BadArgument) as refused:
        await connect_async(one_home.url, **bounds)
    assert (refused.value.message, bool(refused.value.hint)) == (message, True)


@pytest.mark.parametrize(
    "url",
    [
        *(None, b"sqlite:///x.db", Path("x.db"), 5, "sqlite:///x\0.db", "postgresql:///x\0", "\ud800"),
        *("sqlite:///x%00.db", "sqlite:///~nobody-has-this-name/x.db", "postgresql:///x%00"),
    ],
)
async def test_what_is_no_url_is_refused_by_name(url: Any) -> None:
    for call in (connect, migrate, status):
        with pytest.raises(errors.BadArgument, match=r"^url: ") as refused:
            call(url)
        assert refused.value.hint
    with pytest.raises(errors.BadArgument, match=r"^url: "):
        await connect_async(url)


@pytest.mark.parametrize(
    "bounds", [{"timeout": 1_000_000}, {"min_size": 0}, {"min_size": 0, "max_size": 1}, {"min_size": 4}]
)
def test_the_bounds_themselves_are_allowed(one_home: engines.Home, bounds: dict[str, Any]) -> None:
    with connect(one_home.url, **bounds) as store:
        assert store.list_items("*") == []


ITEMS = [{"namespace": "acme", "key": "k", "content": "text"}]


def _begin(store: Store) -> None:
    with store.transaction():
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get_item("acme", "k"),
        lambda store: store.upsert_item("acme", "k", "text"),
        lambda store: store.upsert_items(ITEMS),
        lambda store: store.ensure_index(),
        lambda store: store.digest(),
        _begin,
    ],
    ids=["read", "write", "load", "index", "digest", "transaction"],
)
def test_a_closed_store_says_that_it_is_closed(one_home: engines.Home, call: Callable[[Store], object]) -> None:
    store = connect(one_home.url)
    store.close()
    store.close()
    with pytest.raises(errors.ConnectionFailed, match=r"the store is closed .*connect\(url\) again"):
        call(store)


async def test_a_closed_async_store_says_that_it_is_closed(one_home: engines.Home) -> None:
    store = await connect_async(one_home.url)
    await store.close()
    await store.close()
    for call in (lambda: store.get_item("acme", "k"), lambda: store.upsert_items(ITEMS), store.digest):
        with pytest.raises(errors.ConnectionFailed, match="the store is closed"):
            await call()


async def test_a_closed_store_in_a_file_takes_no_care_of_its_files(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    store, tasks = connect(url), await connect_async(url)
    store.close()
    await tasks.close()
    for care in (store.checkpoint, store.doctor, partial(store.backup, tmp_path / "copy.db")):
        with pytest.raises(errors.ConnectionFailed, match="the store is closed"):
            care()
    for later in (tasks.checkpoint, tasks.doctor, partial(tasks.backup, tmp_path / "copy.db")):
        with pytest.raises(errors.ConnectionFailed, match="the store is closed"):
            await later()
    assert not (tmp_path / "copy.db").exists()


def test_a_load_whose_store_is_closed_meanwhile_is_told_so_and_leaves_whole_batches(one_home: engines.Home) -> None:
    store = connect(one_home.url)
    closing = threading.Thread(target=store.close)
    endless = ({"namespace": "acme", "key": str(n), "content": "text"} for n in itertools.count())
    with pytest.raises(errors.ConnectionFailed):
        store.upsert_items(endless, batch_size=10, progress=lambda count: closing.start() if count == 20 else None)
    closing.join(60)
    with connect(one_home.url) as again:
        left = len(again.list_items("acme", page_size=1000))
    assert left >= 20
    assert left % 10 == 0


def test_a_load_that_closes_its_store_from_its_own_progress_is_told_so(one_home: engines.Home) -> None:
    store = connect(one_home.url)
    endless = ({"namespace": "acme", "key": str(n), "content": "text"} for n in itertools.count())
    told: list[errors.KompanionError] = []

    def load() -> None:
        try:
            store.upsert_items(endless, batch_size=10, progress=lambda count: store.close() if count == 20 else None)
        except errors.KompanionError as exc:
            told.append(exc)

    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    loading.join(60)
    assert list(map(type, told)) == [errors.ConnectionFailed]
    with connect(one_home.url) as again:
        left = len(again.list_items("acme", page_size=1000))
    assert left >= 20
    assert left % 10 == 0


@pytest.mark.parametrize("prepare", [True, False])
async def test_a_pooler_is_sent_no_prepared_statement_where_none_may_be(
    one_db: servers.Database, prepare: bool
) -> None:
    asked = "select count(*) > 0 from pg_prepared_statements"
    with connect(one_db.url, prepare=prepare, max_size=1) as store:
        assert isinstance(store, PostgresStore)
        for n in range(10):
            store.upsert_item("acme", "k", f"text {n}")
        with store._connection() as conn:
            assert conn.cursor(row_factory=tuple_row).execute(asked).fetchone() == (prepare,)
        with store._snapshot() as found:  # as digest and copy take
            assert isinstance(found, PostgresSnapshot)
            for _ in range(10):
                list(found.registry("*"))
            assert found.conn.execute(asked).fetchone() == (prepare,)
    async with await connect_async(one_db.url, prepare=prepare, max_size=1) as tasks:
        assert isinstance(tasks, AsyncPostgresStore)
        for n in range(10):
            await tasks.upsert_item("acme", "k", f"text {n}")
        async with tasks._connection() as conn:
            assert await (await conn.cursor(row_factory=tuple_row).execute(asked)).fetchone() == (prepare,)


WAITED = r"no connection in 0\.2 s .*Raise max_size"
# Whoever waits is given 20 s, less than the 30 that are the default.


def test_whoever_waits_longer_for_a_connection_than_the_timeout_is_told_so(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1, timeout=0.2) as store, ThreadPoolExecutor(1) as others:
        with store.transaction():
            store.upsert_item("acme", "k", "text")
            waiting = others.submit(store.get_item, "acme", "k")
            assert isinstance(waiting.exception(20), errors.ConnectionFailed)
            assert re.search(WAITED, str(waiting.exception()))
        assert others.submit(store.get_item, "acme", "k").result(60) is not None


def test_a_store_of_one_connection_builds_and_tunes_its_indexes(one_home: engines.Home) -> None:
    vectors = np.random.default_rng(1).standard_normal((2000, 8), dtype=np.float32)
    with connect(one_home.url, max_size=1, timeout=5) as store:
        store.register_model("m", 8)
        store.upsert_items({"namespace": "acme", "content": "x", "vectors": vectors[n : n + 1]} for n in range(2000))
        assert [step.step for step in store.ensure_index("m", kind="ivfflat")]
        store.index_metadata_key("topic")
        assert store.tune_index("m", kinds=["ivfflat"], seconds=60, sample=10)
        assert [model.index_kind for model in store.list_models()] != [None]


async def test_a_task_that_waits_longer_for_a_connection_than_the_timeout_is_told_so(one_home: engines.Home) -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def hold(store: AsyncStore) -> None:
        async with store.transaction():
            held.set()
            await go.wait()

    async with await connect_async(one_home.url, max_size=1, timeout=0.2) as store:
        holding = asyncio.create_task(hold(store))
        await asyncio.wait_for(held.wait(), 60)
        with pytest.raises(errors.ConnectionFailed, match=WAITED):
            await asyncio.wait_for(store.get_item("acme", "k"), 20)
        go.set()
        await holding
        assert await store.get_item("acme", "k") is None


def test_whoever_waits_for_a_connection_of_a_store_that_is_closed_is_told_so(one_home: engines.Home) -> None:
    store = connect(one_home.url, max_size=1)
    with ThreadPoolExecutor(1) as others:
        with suppress(errors.ConnectionFailed), store.transaction():
            store.upsert_item("acme", "k", "text")
            waiting = others.submit(store.get_item, "acme", "k")
            while not store._pool.get_stats().get("requests_waiting"):  # type: ignore[attr-defined]
                pass
            store.close()
        assert isinstance(waiting.exception(60), errors.ConnectionFailed)


async def test_a_task_that_waits_for_a_connection_of_a_store_that_is_closed_is_told_so(one_home: engines.Home) -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def hold(store: AsyncStore) -> None:
        with suppress(errors.ConnectionFailed):
            async with store.transaction():
                held.set()
                await go.wait()

    store = await connect_async(one_home.url, max_size=1)
    holding = asyncio.create_task(hold(store))
    await asyncio.wait_for(held.wait(), 60)
    waiting = asyncio.create_task(store.get_item("acme", "k"))
    while not store._pool.get_stats().get("requests_waiting"):  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)
    await store.close()
    with pytest.raises(errors.ConnectionFailed):
        await waiting
    go.set()
    await holding


async def test_content_is_cut_as_the_store_was_told_when_it_was_opened(one_home: engines.Home) -> None:
    text = "The sun is up. " * 100
    cut = [(chunk.text, chunk.start) for chunk in chunk_text(text, 100, 20)]
    assert cut != [(chunk.text, chunk.start) for chunk in chunk_text(text, 100)]
    options: dict[str, Any] = {"embedder": HashEmbedder(8), "chunk_characters": 100, "chunk_overlap": 20}
    with connect(one_home.url, **options) as store:
        store.upsert_item("acme", "k", text)
        assert [(chunk.content, chunk.start_offset) for chunk in store.get_chunks("acme", "k")] == cut
    async with await connect_async(one_home.url, **options) as tasks:
        await tasks.upsert_item("acme", "l", text)
        assert [(chunk.content, chunk.start_offset) for chunk in await tasks.get_chunks("acme", "l")] == cut


def test_a_folder_or_file_that_cannot_be_named_or_made_is_told_as_an_error_of_ours(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(loop)
    for folder in ("~nosuchuser/memory", str(loop), f"{tmp_path}/{'x' * 300}"):
        with pytest.raises((errors.BadArgument, errors.ConnectionFailed)) as refused:
            connect(f"embedded:{folder}")
        assert folder in refused.value.message
        assert refused.value.hint
    with pytest.raises(errors.BadArgument, match="nosuchuser"):
        open_sql("~nosuchuser/memory.db")
