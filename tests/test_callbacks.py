"""What a caller's own code raises inside a call: it comes out of the call, or is logged, and holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engines
import pytest

from kompanion_db import HashEmbedder, connect, connect_async, errors
from kompanion_db.copying import copy

DIM = 8


class Spent(HashEmbedder):
    """A double that has given all its answers."""

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return next(iter(()))

    def embed_query(self, text: str) -> Any:
        return next(iter(()))


def _spent(_: int) -> None:
    raise StopIteration


async def test_an_iterator_at_its_end_in_an_embedder_or_a_callback_ends_the_call_that_awaits_it(
    one_home: engines.Home,
) -> None:
    with connect(one_home.url) as sync:
        sync.upsert_item("acme", "k", "text")
    async with await connect_async(one_home.url, embedder=Spent(DIM)) as store:
        for call in (
            store.search("acme", "text"),
            store.upsert_item("acme", "new", "text"),
            store.upsert_items([{"namespace": "acme", "content": "text"}]),
            store.digest(progress=_spent),
        ):
            with pytest.raises((errors.EmbedderError, RuntimeError), match="StopIteration"):
                await asyncio.wait_for(call, 60)
        assert [item.key for item in await store.list_items("acme")] == ["k"]


def test_an_exception_in_progress_is_logged_and_the_call_goes_on(
    one_home: engines.Home, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def progress(text: str) -> None:
        told.append(text)
        raise ZeroDivisionError

    with connect(one_home.url, embedder=HashEmbedder(DIM)) as store:
        store.upsert_items([{"namespace": "acme", "content": f"text {n}"} for n in range(100)])
        assert store.tune_index(progress=progress) == []
        assert [step.reason for step in store.ensure_index(kind="ivfflat", progress=progress)][:1] == ["asked for"]
    assert told[0].endswith("vectors are searched exactly faster than by any index")
    assert [record.exc_info[0] for record in caplog.records if record.exc_info][:1] == [ZeroDivisionError]


def test_a_progress_that_uses_the_store_in_the_transaction_of_its_call_gets_an_answer_or_is_told_why_not(
    one_home: engines.Home,
) -> None:
    got: list[Any] = []

    def progress(_: str) -> None:
        for call in (lambda: store.list_items("acme"), inside):
            try:
                got.append([item.key for item in call()])
            except errors.BadArgument as exc:
                got.append(str(exc))

    def inside() -> list[Any]:
        with store.transaction():
            return store.list_items("acme")

    with connect(one_home.url, embedder=HashEmbedder(DIM)) as store:
        store.upsert_item("acme", "k", "text")
        assert store.tune_index(apply=False, progress=progress) == []
        assert got == [["k"], ["k"]]
        with store.transaction():
            store.upsert_item("acme", "l", "text")
            assert store.tune_index(apply=False, progress=progress) == []
            assert len(store.list_items("acme")) == 2
        assert len(store.list_items("acme")) == 2
    if one_home.key == "sqlite":
        assert sorted(got[2]) == sorted(got[3]) == ["k", "l"]
    else:
        assert ["progress: cannot use the store" in said for said in got[2:]] == [True, True]


async def test_a_task_that_progress_starts_in_a_transaction_gets_its_turn(one_home: engines.Home) -> None:
    tasks: list[asyncio.Task[Any]] = []
    async with await connect_async(one_home.url, embedder=HashEmbedder(DIM)) as store:
        await store.upsert_item("acme", "k", "text")
        loop = asyncio.get_running_loop()

        def progress(_: str) -> None:
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(listing())))

        async def listing() -> list[str | None]:
            return [item.key for item in await store.list_items("acme")]

        async with store.transaction():
            assert await store.tune_index(apply=False, progress=progress) == []
            await asyncio.sleep(0)
            assert await asyncio.wait_for(asyncio.gather(*tasks), 60) == [["k"]]


async def test_a_progress_that_cannot_be_called_is_refused_before_anything_is_done(
    one_home: engines.Home, tmp_path: Path
) -> None:
    wrong: Any = 5
    with connect(one_home.url) as store, connect(f"sqlite:///{tmp_path}/a.db") as target:
        for call in (
            lambda: store.digest(progress=wrong),
            lambda: store.upsert_items([{"namespace": "acme", "content": "text"}], progress=wrong),
            lambda: copy(store, target, progress=wrong),
        ):
            with pytest.raises(errors.BadArgument, match=r"^progress: is int, not a function"):
                call()
        assert store.list_items("acme") == []
    async with await connect_async(one_home.url) as opened:
        with pytest.raises(errors.BadArgument, match=r"^progress: is int, not a function"):
            await opened.digest(progress=wrong)
