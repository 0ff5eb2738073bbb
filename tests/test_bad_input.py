"""Bad input through Python: the error names the argument and the way out, and the database is as before."""

from __future__ import annotations

import math
import re
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


@pytest.mark.parametrize("paths", [{"scope": "a b"}, {"after": "a b"}])
def test_of_a_bad_path_and_a_bad_page_either_engine_names_the_path(
    store: kompanion_db.Store, paths: dict[str, str]
) -> None:
    with pytest.raises(errors.BadNamespace):
        store.list_namespaces(**paths, page_size=-1)


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


def test_text_longer_than_can_be_sent_is_refused_by_name(one_home: engines.Home) -> None:
    text = "x" * 70_000_000
    with kompanion_db.connect(one_home.url) as store:
        with pytest.raises(errors.TooLarge, match=r"^content: "):
            store.upsert_item("a", "k", text)
        with pytest.raises(errors.TooLarge, match=r"^items\[1\]\.content: "):
            store.upsert_items([NewItem("a", "c", "good"), NewItem("a", text, "k")])
        assert store.list_items("*") == []


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


WORDED_BY_PYTHON = ("_path_", "ttl_", "expiry_", "lease_", "created_first", "write_closed", "bulk_closed")
"""Cases whose message shows a path or a moment: each engine writes those as its language does."""

OF_THE_ENGINE = ("kind", "lists")
"""Cases about kinds of vector indexes, of which each engine has its own."""


@pytest.mark.parametrize("target", [1.0000001, 0.0099999999, 1234567.5])
def test_a_target_just_out_of_bounds_is_told_as_it_is(memory: Memory, target: float) -> None:
    told = f"target_recall: {target} is not between 0.01 and 1"
    for call in (memory.store.search, memory.store.explain_search):
        with pytest.raises(errors.BadArgument, match=re.escape(told)):
            call("*", [1, 0, 0], model="small", target_recall=target)
    with pytest.raises(errors.BadArgument, match=re.escape(told)):
        memory.store.measure_recall("small", target_recall=target)


def test_both_engines_refuse_in_the_same_words() -> None:
    cases = [c for c in bad_input.CASES if engines.why_not(f"test_bad_input.py::test_bad_input[sqlite-{c.id}]") is None]
    told: list[dict[str, tuple[str, str | None]]] = []
    for key in engines.one_of_each():
        home = engines.get(key).home()
        with kompanion_db.connect(home.url) as store:
            samples.fill(store)
            told.append({case.id: _refusal(case.values[0], store) for case in cases})
        home.drop()
    for case in (case for case in cases if case.id not in OF_THE_ENGINE):
        refusals = [one[case.id] for one in told]
        if any(part in case.id for part in WORDED_BY_PYTHON):
            refusals = [(message.partition(" ")[0], None) for message, _ in refusals]
        assert len(set(refusals)) == 1, case.id


def _refusal(call: bad_input.Call, store: kompanion_db.Store) -> tuple[str, str | None]:
    """The message of an error, and its detail."""
    with pytest.raises(errors.KompanionError) as caught:
        call(store)
    return caught.value.message, caught.value.detail


GOOD: list[float] = [1, 0, 0]
TWO_CHUNKS = [Chunk(0, "c", 0, 1), Chunk(1, "d", 1, 2)]


@pytest.mark.parametrize("bad", [[math.nan, 0, 0], [1, 0], [0, 0, 0]], ids=["nan", "wrong_dimension", "zero"])
@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("vectors[1]", lambda s, v: s.upsert_item("acme:ann", "k", "cd", chunks=TWO_CHUNKS, vectors=v, model="small")),
        (
            "items[0].vectors[1]",
            lambda s, v: s.upsert_items([NewItem("acme:ann", "cd", "k", chunks=TWO_CHUNKS, vectors=v)], model="small"),
        ),
        ("queries[1]", lambda s, v: s.calibrate("small", queries=v)),
        ("queries[1]", lambda s, v: s.measure_recall("small", queries=v)),
        ("queries[1]", lambda s, v: s.tune_index("small", queries=v)),
    ],
)
def test_a_vector_among_others_is_named_by_its_place_counted_from_0(
    memory: Memory, bad: list[float], place: str, call: Any
) -> None:
    with pytest.raises(errors.BadVector) as refused:
        call(memory.store, [GOOD, bad])
    assert refused.value.message.startswith(f"{place}: ")
    assert str(refused.value).startswith(f"{place}: ")


def test_so_is_one_of_a_load_inside_a_transaction(memory: Memory) -> None:
    item = NewItem("acme:ann", "cd", "k", chunks=TWO_CHUNKS, vectors=[GOOD, [1, 0]])
    with pytest.raises(errors.BadVector, match=r"^items\[0\]\.vectors\[1\]: "), memory.store.transaction():
        memory.store.upsert_items([item], model="small")
