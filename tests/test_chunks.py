"""Chunks and vectors: unchanged text keeps its vector, changed text never does."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from by_hand import ByHand, an_hour_ago

import kompanion_db
from kompanion_db.chunking import Chunk, chunk_text
from kompanion_db.errors import BadArgument, BadVector, NotFound, StaleChunk, UnknownModel

UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}
"""Categories of characters of which some are white space."""


def _cut(content: str) -> list[Chunk]:
    """At the words; every word of the tests occurs once, or its first place will do."""
    return [
        Chunk(n, word, content.index(word), content.index(word) + len(word)) for n, word in enumerate(content.split())
    ]


def _vectors(store: kompanion_db.Store) -> dict[str, list[float]]:
    """The vector of each chunk that has one, found by asking for all of them."""
    hits = store.search("*", [1.0, 0.0], 100, per_chunk=True)
    return {h.chunk: [round(1 - h.distance, 3)] for h in hits}


def _write(store: kompanion_db.Store, content: str, **rest: object) -> None:
    store.upsert_item("acme", "k", content, **rest)  # type: ignore[arg-type]


@pytest.fixture
def one(store: kompanion_db.Store) -> kompanion_db.Store:
    """A store with a model."""
    store.register_model("m", 2)
    return store


def test_content_that_nobody_cut_is_one_chunk(one: kompanion_db.Store) -> None:
    _write(one, "all of it", vectors=[[1.0, 0.0]])
    (hit,) = one.search("acme", [1.0, 0.0])
    assert (hit.chunk, hit.ordinal, hit.distance, hit.score) == ("all of it", 0, 0.0, 1.0)


@pytest.mark.parametrize("blank", ["", "   ", "\n\t", "\u00a0\u3000\u2003\x85", "\x1c\x1d\x1e\x1f"])
def test_content_without_a_visible_character_has_no_chunk(by_hand: ByHand, one: kompanion_db.Store, blank: str) -> None:
    _write(one, blank)
    _write(one, "text")
    _write(one, blank)
    assert one.pending_embeddings() == []
    by_hand.update("memory_items", content="text")
    by_hand.update("memory_items", content=blank)
    assert one.pending_embeddings() == []
    item = one.get_item("acme", "k")
    assert item is not None
    assert item.content == blank


def test_python_and_every_way_to_write_agree_on_what_is_visible(by_hand: ByHand, one: kompanion_db.Store) -> None:
    """What has a chunk but is white space to Python would wait for ever for a vector: no embedder takes it."""
    doubtful = [c for c in map(chr, range(1, 0xFFFF)) if c.isspace() or unicodedata.category(c) in UNSEEN]
    visible = {c for c in doubtful if chunk_text(c)}
    one.upsert_items({"namespace": "acme", "key": f"many {ord(c)}", "content": c} for c in doubtful)
    assert {c.content for c in one.pending_embeddings(batch=1000)} == visible
    with one.transaction():
        for character in doubtful:
            one.upsert_item("acme", f"one {ord(character)}", character)
            one.upsert_item("acme", f"by hand {ord(character)}", "")
    assert {c.content for c in one.pending_embeddings(batch=1000)} == visible
    for character in doubtful:
        by_hand.update("memory_items", {"key": f"by hand {ord(character)}"}, content=character)
    assert {c.content for c in one.pending_embeddings(batch=1000)} == visible


def test_a_chunk_whose_text_stays_keeps_its_vector_when_the_content_changes(one: kompanion_db.Store) -> None:
    _write(one, "ant bee cat", chunks=_cut("ant bee cat"), vectors=[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    before = {h.chunk: h.chunk_id for h in one.search("acme", [1.0, 0.0], per_chunk=True)}
    _write(one, "bee dog ant", chunks=_cut("bee dog ant"))
    after = {h.chunk: (h.chunk_id, h.ordinal) for h in one.search("acme", [1.0, 0.0], per_chunk=True)}
    assert after == {"ant": (before["ant"], 2), "bee": (before["bee"], 0)}
    assert [c.content for c in one.pending_embeddings()] == ["dog"]


def test_the_same_text_twice_is_two_chunks_that_keep_their_own_vectors(one: kompanion_db.Store) -> None:
    _write(one, "ant ant", chunks=_cut("ant ant"), vectors=[[1.0, 0.0], [0.0, 1.0]])
    _write(one, "bee ant ant", chunks=_cut("bee ant ant"))
    found = [(h.ordinal, round(h.distance, 3)) for h in one.search("acme", [1.0, 0.0], per_chunk=True)]
    assert found == [(1, 0.0), (2, 1.0)]


def test_changed_content_never_keeps_an_old_vector(by_hand: ByHand, one: kompanion_db.Store) -> None:
    _write(one, "a", vectors=[[1.0, 0.0]])
    _write(one, "b")
    assert _vectors(one) == {}
    _write(one, "b", vectors=[[1.0, 0.0]])
    assert _vectors(one) == {"b": [1.0]}
    by_hand.update("memory_items", content="c")
    assert _vectors(one) == {}
    assert [c.content for c in one.pending_embeddings()] == ["c"]
    _write(one, "c", vectors=[[1.0, 0.0]])
    by_hand.update("memory_chunks", content="d")
    assert _vectors(one) == {}
    assert [c.content for c in one.pending_embeddings()] == ["d"]


def test_a_change_of_anything_else_keeps_chunks_and_vectors(one: kompanion_db.Store) -> None:
    _write(one, "ant bee", chunks=_cut("ant bee"), vectors=[[1.0, 0.0], [0.0, 1.0]])
    _write(one, "ant bee", tags=["t"], metadata={"n": 1})
    assert set(_vectors(one)) == {"ant", "bee"}


def test_put_chunks_replaces_them_and_tells_which_have_vectors(one: kompanion_db.Store) -> None:
    _write(one, "ant bee cat", chunks=_cut("ant bee cat"), vectors=[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    stored = one.put_chunks("acme", "k", [Chunk(0, "cat", 8, 11), Chunk(1, "ant bee", 0, 7)])
    assert [(c.ordinal, c.embedded) for c in stored] == [(0, ["m"]), (1, [])]
    assert set(_vectors(one)) == {"cat"}
    assert one.put_chunks("acme", "k", []) == []
    assert _vectors(one) == {}
    item = one.get_item("acme", "k")
    assert item is not None
    assert (item.content, item.revision) == ("ant bee cat", 1)


def test_chunks_cut_from_content_that_has_changed_are_refused(one: kompanion_db.Store) -> None:
    _write(one, "a")
    _write(one, "b", tags=["t"])
    _write(one, "b")
    with pytest.raises(StaleChunk, match="revision 1"):
        one.put_chunks("acme", "k", _cut("a"), content_revision=1)
    assert len(one.put_chunks("acme", "k", _cut("b"), content_revision=2)) == 1
    with pytest.raises(NotFound):
        one.put_chunks("acme", "nobody", _cut("b"))


@pytest.mark.parametrize("chunk", [Chunk(0, "", 0, 0), Chunk(0, "a", -1, 0), Chunk(0, "a", 2, 1), Chunk(0, "a", 0, 99)])
def test_chunks_outside_the_content_are_refused(one: kompanion_db.Store, chunk: Chunk) -> None:
    _write(one, "abc", vectors=[[1.0, 0.0]])
    for call in (
        lambda: one.put_chunks("acme", "k", [chunk]),
        lambda: one.upsert_item("acme", "l", "abc", chunks=[chunk]),
        lambda: one.upsert_items([{"namespace": "acme", "key": "l", "content": "abc", "chunks": [chunk]}]),
    ):
        with pytest.raises(BadArgument, match="chunks"):
            call()
    assert set(_vectors(one)) == {"abc"}


def test_one_bad_vector_and_none_is_stored(one: kompanion_db.Store) -> None:
    for key in "ab":
        one.upsert_item("acme", key, key)
    claimed = one.pending_embeddings()
    for bad in ([0.0, 0.0], [1.0, 2.0, 3.0], [float("nan"), 1.0], [float("inf"), 1.0], [1e39, 1.0], []):
        with pytest.raises(BadVector):
            one.put_embeddings(claimed, [[1.0, 0.0], bad])
        with pytest.raises(BadVector):
            one.upsert_item("acme", "new", "text", vectors=[bad])
    with pytest.raises(BadArgument):
        one.put_embeddings(claimed, [[1.0, 0.0]])
    with pytest.raises(UnknownModel):
        one.put_embeddings(claimed, [[1.0, 0.0], [1.0, 0.0]], model="nobody")
    with pytest.raises(BadArgument, match="2 vectors for 1 chunks"):
        one.upsert_item("acme", "new", "text", vectors=np.ones((2, 2), np.float32))
    for chunks in (None, [Chunk(0, "text", 0, 4)]):
        item = {"namespace": "acme", "key": "new", "content": "text", "chunks": chunks, "vectors": [[1, 0], [1, 0]]}
        with pytest.raises(BadArgument, match=r"items\[0\]\.vectors: 2 vectors for"):
            one.upsert_items([item])
    assert _vectors(one) == {}
    assert one.get_item("acme", "new") is None


def test_places_of_chunks_may_be_integers_of_numpy_in_either_way_to_write(one: kompanion_db.Store) -> None:
    chunks = [Chunk(n, text, np.int64(5 * n), np.int64(5 * n + 4)) for n, text in enumerate(("aaaa", "bbbb"))]
    one.upsert_item("acme", "one", "aaaa bbbb", chunks=chunks)
    one.upsert_items([{"namespace": "acme", "key": "many", "content": "aaaa bbbb", "chunks": chunks}])
    for key in ("one", "many"):
        assert [(c.start_offset, c.end_offset) for c in one.get_chunks("acme", key)] == [(0, 4), (5, 9)]


def test_vectors_hide_and_return_with_their_item(by_hand: ByHand, one: kompanion_db.Store) -> None:
    """What a search filters by is carried on the vector's row; it stays in step, also under a plain UPDATE."""
    _write(one, "a", vectors=[[1.0, 0.0]], tags=["x"], thread="today")
    now = datetime.now(timezone.utc)
    plain = [
        {"tags": ["q"]}, {"thread": None}, {"expires_at": an_hour_ago()}, {"expires_at": None},
        {"deleted_at": now}, {"deleted_at": None, "tags": ["r"]},
    ]  # fmt: skip
    changes = [
        lambda: one.delete_item("acme", "k"),
        lambda: one.restore_item("acme", "k"),
        lambda: _write(one, "a", tags=["y", "z"]),
        lambda: _write(one, "a", thread="later"),
        *[(lambda a=a: by_hand.update("memory_items", **a)) for a in plain],
    ]
    for change in changes:
        change()
        assert (by_hand.count("embeddings"), by_hand.out_of_step()) == (1, 0)
        visible = one.get_item("acme", "k") is not None
        assert len(one.search("acme", [1.0, 0.0])) == visible


def test_chunks_are_equal_where_their_vectors_are_too(store: kompanion_db.Store) -> None:
    store.register_model("small", 3)
    store.upsert_item("acme", "k", "tea", vectors=[[1, 0, 0]])
    store.upsert_item("acme", "waits", "tea")
    (first,), (again,), (waits,) = (store.get_chunks("acme", key) for key in ("k", "k", "waits"))
    assert first == again
    assert len({first, again, waits}) == 2
    assert first != replace(first, vector=None)
    assert first != replace(first, vector=-first.vector)  # type: ignore[operator]
    assert first != first.content


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("namespace_id", space) for space in (None, 5, b"0" * 16, "acme", "\0", "\ud800", ["a"])],
        *[("chunk_id", chunk) for chunk in (None, True, 2**63, [1], Decimal(1), "1", 1.0, np.uint64(2**63))],
        *[("chunk_revision", revision) for revision in (None, True, 0, -1, 2**31, [1], Decimal(1), "1")],
    ],
)
def test_a_chunk_made_by_hand_is_refused_by_the_name_of_its_field_and_no_vector_is_stored(
    one: kompanion_db.Store, name: str, value: object
) -> None:
    _write(one, "a b", chunks=_cut("a b"))
    good, other = one.pending_embeddings()
    with pytest.raises(BadArgument, match=rf"^chunks\[1\]\.{name}: ") as refused:
        one.put_embeddings([good, replace(other, **{name: value})], np.eye(2))
    assert refused.value.hint
    assert _vectors(one) == {}


def test_a_chunk_made_by_hand_may_have_its_id_as_text_and_its_numbers_from_numpy(one: kompanion_db.Store) -> None:
    _write(one, "a")
    (chunk,) = one.pending_embeddings()
    by_hand: Any = {"namespace_id": str(chunk.namespace_id), "chunk_id": np.int64(chunk.chunk_id)}
    (result,) = one.put_embeddings([replace(chunk, **by_hand, chunk_revision=np.int32(chunk.chunk_revision))], [[1, 0]])
    assert (result.namespace_id, result.chunk_id, result.status) == (chunk.namespace_id, chunk.chunk_id, "stored")
