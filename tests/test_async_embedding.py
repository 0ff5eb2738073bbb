"""An embedder that takes its time holds up nobody: no connection is kept for it, and a cancelled call leaves it alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import engines
import pytest

from kompanion_db import AsyncStore, HashEmbedder, connect_async


class Slow(HashEmbedder):
    """An embedder that ends when it is let go, and not before."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let_go, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.let_go.set()

    def embed_documents(self, texts: Sequence[str]) -> Any:
        self.begun.set()
        self.let_go.wait(60)
        self.ended.set()
        return super().embed_documents(texts)

    def embed_query(self, text: str) -> Any:
        return self.embed_documents([text])[0]


CALLS: dict[str, Callable[[AsyncStore], Awaitable[object]]] = {
    "search": lambda s: s.search("acme", "text"),
    "upsert_item": lambda s: s.upsert_item("acme", "k", "other"),
    "upsert_items": lambda s: s.upsert_items([{"namespace": "acme", "key": "k", "content": "other"}]),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_call_does_not_wait_for_a_slow_embedder_which_holds_no_connection(
    home: engines.Home, name: str
) -> None:
    embedder = Slow()
    async with await connect_async(home.url, embedder=embedder, max_size=1, timeout=5) as store:
        await store.upsert_item("acme", "k", "text")
        for event in (embedder.begun, embedder.ended, embedder.let_go):
            event.clear()
        try:
            call = asyncio.ensure_future(CALLS[name](store))
            assert await asyncio.to_thread(embedder.begun.wait, 60)
            await asyncio.wait_for(store.list_items("acme"), 60)  # on the one connection there is
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(call, 60)
            assert not embedder.ended.is_set()
        finally:
            embedder.let_go.set()
        assert [item.content for item in await asyncio.wait_for(store.list_items("acme"), 60)] == ["text"]


class Asking:
    """An embedder that asks for its dim when it is first wanted, and is answered by what runs on the loop."""

    name = "asking"

    def __init__(self) -> None:
        self.answered = threading.Event()

    @property
    def dim(self) -> int:
        assert self.answered.wait(5)
        return 8

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return HashEmbedder(8).embed_documents(texts)

    def embed_query(self, text: str) -> Any:
        return HashEmbedder(8).embed_query(text)


async def test_an_embedder_that_has_to_ask_for_its_dim_does_not_stop_the_loop(home: engines.Home) -> None:
    embedder = Asking()
    asyncio.get_running_loop().call_later(0.1, embedder.answered.set)
    async with await connect_async(home.url, embedder=embedder) as store:
        assert [(model.model, model.dim) for model in await store.list_models()] == [("asking", 8)]
