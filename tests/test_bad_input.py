"""Bad input through Python: the error names the argument and the way out, and the database is as before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import bad_input
import engines
import pytest
import samples
from by_hand import ByHand

import kompanion_db
from kompanion_db import Chunk, NewItem, errors


@dataclass
class Memory:
    store: Any
    by_hand: ByHand
    before: dict[str, list[str]]


@pytest.fixture(scope="module")
def memory(engine: engines.Engine) -> Iterator[Memory]:
    """A filled store that no case may change, so all share it."""
    home = engine.home()
    with kompanion_db.connect(home.url) as store, home.by_hand() as hand:
        samples.fill(store)
        yield Memory(store, hand, hand.contents())
    home.drop()


@pytest.mark.parametrize(("call", "error", "word"), bad_input.CASES)
def test_bad_input_is_refused_by_name_with_the_way_out_and_changes_nothing(
    memory: Memory, call: bad_input.Call, error: type[errors.KompanionError], word: str
) -> None:
    with pytest.raises(errors.KompanionError) as caught:
        call(memory.store)
    assert type(caught.value) is error, caught.value
    assert word in caught.value.message
    assert caught.value.hint
    assert memory.by_hand.contents() == memory.before


def test_a_refused_item_leaves_nothing_of_its_batch_and_everything_of_those_before(
    store: kompanion_db.Store, by_hand: ByHand
) -> None:
    items = [samples.bulk_item(n) for n in range(25)]
    store.register_model("small", 3)
    with pytest.raises(errors.BadArgument, match=r"items\[5\]"):
        store.upsert_items([*items, NewItem("a", "c", key="")], batch_size=10)
    assert by_hand.count("memory_items") == 20


def test_metadata_of_100_mb_is_refused(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store, pytest.raises(errors.TooLarge, match="metadata"):
        store.upsert_item("a", "k", "c", metadata={"a": "x" * 100_000_000})


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "k" * 600},
        {"content": None},
        {"thread": ""},
        {"user_key": "u" * 600},
        {"tags": [""]},
        {"metadata": {"a": "x" * 2_000_000}},
        {"expires_at": bad_input.LONG_AGO},
        {"created_at": datetime.min.replace(tzinfo=timezone.utc)},
        {"chunks": [Chunk(0, "x", 5, 9)]},
        {"vectors": [[1, 0]]},
        {"vectors": [[0, 0, 0]]},
        {"vectors": [[1, 0, 0], [0, 1, 0]]},
        {"content": " ", "vectors": [[1, 0, 0]]},
    ],
)
def test_a_bad_item_among_many_is_named_by_its_place(one_home: engines.Home, fields: dict[str, Any]) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("small", 3)
        items = [samples.bulk_item(n) for n in range(9)]
        items.insert(7, NewItem(**{"namespace": "a", "content": "c", **fields}))
        with pytest.raises(errors.KompanionError, match=r"^items\[7\]\.") as caught:
            store.upsert_items(items)
        assert caught.value.hint
