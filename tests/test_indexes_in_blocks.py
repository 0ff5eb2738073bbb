"""Building an index inside a transaction: refused before anything is done where it cannot be, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import clusters
import engines
import pytest

import kompanion_db
from kompanion_db import connect, connect_async
from kompanion_db.errors import BadArgument

AFTER = "Call it after the transaction"


def _refused(call: Callable[..., Any], argument: str, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(BadArgument, match=rf"^({argument}: )?{call.__name__}") as told:
        call(*args, **kwargs)
    assert (told.value.hint or "").startswith(AFTER)


def _filled(store: kompanion_db.Store) -> None:
    store.register_model("m", clusters.DIM)
    store.upsert_items(clusters.items(range(1200)))


def test_an_index_cannot_be_built_or_tuned_inside_a_transaction_which_is_told_at_once(one_home: engines.Home) -> None:
    told: list[str] = []
    with connect(one_home.url) as store:
        _filled(store)
        with store.transaction():
            _refused(store.tune_index, "apply", "m", progress=told.append)
            _refused(store.ensure_index, "concurrently")
            _refused(store.ensure_index, "concurrently", "m", kind="ivfflat", lists=10)
            _refused(store.ensure_index, "concurrently", "m", kind="none")
            store.upsert_item("acme", "after", "text")
        assert told == []
        assert store.get_item("acme", "after") is not None


def test_on_a_server_an_index_can_be_built_inside_a_transaction_that_blocks_writers(one_home: engines.Home) -> None:
    with connect(one_home.url) as store:
        _filled(store)
        with store.transaction():
            if one_home.key == "sqlite":
                _refused(store.ensure_index, "", "m", kind="ivfflat", concurrently=False)
            else:
                assert store.ensure_index("m", kind="ivfflat", concurrently=False)
                assert store.ensure_index("m", kind="none", concurrently=False)
                assert store.tune_index("m", kinds=["ivfflat"], sample=20, seconds=5, apply=False)


def test_a_metadata_key_is_indexed_inside_a_transaction_unless_writers_are_not_to_wait(one_home: engines.Home) -> None:
    with connect(one_home.url) as store, store.transaction():
        if one_home.key == "sqlite":
            assert store.index_metadata_key("year", type="number")
        else:
            _refused(store.index_metadata_key, "concurrently", "year", type="number")
        assert store.index_metadata_key("month", concurrently=False)


async def test_the_async_store_refuses_it_too(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url) as store, store.transaction():
        await store.register_model("m", 3)
        with pytest.raises(BadArgument, match="tune_index"):
            await store.tune_index("m")
        with pytest.raises(BadArgument, match="ensure_index"):
            await store.ensure_index("m", kind="none")
        assert [model.model for model in await store.list_models()] == ["m"]
