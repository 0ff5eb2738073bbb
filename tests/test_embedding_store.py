"""A store that embeds: which model its vectors are of, and that no text is kept with the chunks of another."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from engines import Home

import kompanion_db
from kompanion_db import Chunk, HashEmbedder
from kompanion_db.errors import BadArgument, EmbedderError, RevisionConflict, StaleChunk

DIM = 16


class Interrupted(HashEmbedder):
    """An embedder during whose next work something else happens."""

    meanwhile: Callable[[], object] | None = None

    def embed_documents(self, texts: Sequence[str]) -> Any:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        return super().embed_documents(texts)


@pytest.fixture
def embedder() -> Interrupted:
    return Interrupted(DIM)


@pytest.fixture
def store(home: Home, embedder: Interrupted) -> Iterator[kompanion_db.Store]:
    with kompanion_db.connect(home.url, embedder=embedder) as store:
        yield store


def _models(store: kompanion_db.Store, key: str) -> list[str]:
    return [m.model for m in store.list_models() if store.get_chunks("acme", key, model=m.model)[0].vector is not None]


def test_no_write_takes_what_the_embedder_made_for_a_vector_of_another_model(store: kompanion_db.Store) -> None:
    store.register_model("other", DIM)
    with pytest.raises(BadArgument, match=r"^model: .* embeds the content, not 'other'"):
        store.upsert_item("acme", "k", "tea", model="other")
    with pytest.raises(BadArgument, match=r"^model: .* content of items\[1\], not 'other'"):
        store.upsert_items(
            [
                {"namespace": "acme", "key": "j", "content": "tea", "vectors": [[1.0] * DIM]},
                {"namespace": "acme", "key": "k", "content": "tea"},
            ],
            model="other",
        )
    assert store.list_items("acme") == []


def test_without_a_model_vectors_are_of_the_embedders_in_either_way_to_write(home: Home, embedder: Interrupted) -> None:
    with kompanion_db.connect(home.url) as first:
        first.register_model("default", DIM)
    with kompanion_db.connect(home.url, embedder=embedder) as store:
        store.upsert_item("acme", "one", "tea", vectors=[[1.0] * DIM])
        store.upsert_items([{"namespace": "acme", "key": "many", "content": "tea", "vectors": [[1.0] * DIM]}])
        store.upsert_item("acme", "named", "tea", vectors=[[1.0] * DIM], model="default")
        assert _models(store, "one") == _models(store, "many") == [embedder.name]
        assert _models(store, "named") == ["default"]


@pytest.mark.parametrize("expected", [None, 2])
def test_whatever_is_written_while_a_revert_embeds_content_has_its_own_chunks(
    home: Home, store: kompanion_db.Store, embedder: Interrupted, expected: int | None
) -> None:
    store.upsert_item("acme", "k", "old text")
    store.upsert_item("acme", "k", "second, longer text")
    with kompanion_db.connect(home.url) as other:
        embedder.meanwhile = lambda: other.upsert_item("acme", "k", "wholly new and longer content")
        with pytest.raises(RevisionConflict) if expected else nullcontext():
            store.revert_item("acme", "k", 1, expected_revision=expected)
    content = "wholly new and longer content" if expected else "old text"
    assert [c.content for c in store.get_chunks("acme", "k")] == [content]
    assert store.get_item("acme", "k").content == content  # type: ignore[union-attr]


def test_a_revert_whose_embedder_fails_changes_nothing_and_is_whole_when_tried_again(
    home: Home, embedder: Interrupted
) -> None:
    long = "A sentence of a few words. " * 5
    with kompanion_db.connect(home.url, embedder=embedder, chunk_characters=60) as store:
        store.upsert_item("acme", "k", long)
        pieces = [c.content for c in store.get_chunks("acme", "k")]
        store.upsert_item("acme", "k", "short")
        embedder.meanwhile = lambda: 1 / 0
        with pytest.raises(EmbedderError):
            store.revert_item("acme", "k", 1)
        assert [r.content for r in store.item_history("acme", "k")] == [long, "short"]
        assert store.revert_item("acme", "k", 1).status == "revised"
        chunks = store.get_chunks("acme", "k")
        assert [c.content for c in chunks] == pieces
        assert all(c.vector is not None for c in chunks)


def test_a_load_that_changes_a_text_and_changes_it_back_leaves_it_a_vector(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "green tea")
    store.upsert_items({"namespace": "acme", "key": "k", "content": text} for text in ("milk", "green tea"))
    assert [hit.chunk for hit in store.search("acme", "green tea")] == ["green tea"]
    assert store.pending_embeddings() == []


def test_chunks_that_are_none_at_all_are_cut_as_if_none_were_given(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "one", "tea", chunks=[])
    store.upsert_items([{"namespace": "acme", "key": "many", "content": "tea", "chunks": []}])
    assert len(store.search("acme", "tea")) == 2


def test_the_revision_of_the_content_read_guards_chunks_cut_from_it(store: kompanion_db.Store) -> None:
    store.upsert_item("acme", "k", "tea")
    store.upsert_item("acme", "k", "tea", tags=["hot"])
    read = store.get_item("acme", "k")
    assert read is not None
    assert (read.revision, read.content_revision) == (2, 1)
    assert store.list_items("acme")[0].content_revision == 1
    store.put_chunks("acme", "k", [Chunk(0, "tea", 0, 3)], content_revision=read.content_revision)
    store.upsert_item("acme", "k", "milk")
    with pytest.raises(StaleChunk):
        store.put_chunks("acme", "k", [Chunk(0, "tea", 0, 3)], content_revision=read.content_revision)


def test_what_is_wrong_is_named_before_anything_is_embedded(store: kompanion_db.Store, embedder: Interrupted) -> None:
    embedder.meanwhile = lambda: pytest.fail("embedded")
    with pytest.raises(BadArgument, match=r"^chunks\[0\]: is str, not a Chunk"):
        store.upsert_item("acme", "k", "x", chunks=["x"])  # type: ignore[list-item]
    with pytest.raises(BadArgument, match=r"^items\[1\]\.content: holds a NUL"):
        store.upsert_items([{"namespace": "acme", "content": "a"}, {"namespace": "acme", "content": "\0"}])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("key", key) for key in ("a\0b", os.fsdecode(b"caf\xe9.txt"), ["a"], 5, 10**30)],
        *[("namespace", space) for space in ({}, [], 0, "a\0b", "\ud800")],
        *[("metadata", {"a": math.nan}), ("tags", "abc"), ("expires_at", datetime(2100, 1, 1)), ("created_at", "now")],
        *[("thread", 5), ("user_key", b"x"), ("actor", "\0"), ("expected_revision", "1")],
    ],
)
def test_what_cannot_be_sent_is_named_before_anything_is_embedded(
    store: kompanion_db.Store, embedder: Interrupted, name: str, value: Any
) -> None:
    embedder.meanwhile = lambda: pytest.fail("embedded")
    bad: dict[str, Any] = {"namespace": "acme", "key": "k", "content": "tea", name: value}
    with pytest.raises(BadArgument, match=f"^{name}: "):
        store.upsert_item(**bad)
    with pytest.raises(BadArgument, match=rf"^items\[1\]\.{name}(\[\d+\])?: "):
        store.upsert_items([{"namespace": "acme", "key": "j", "content": "tea"}, bad])
    assert store.list_items("acme") == []


def test_a_batch_that_has_wholly_changed_meanwhile_does_not_end_the_loop_while_others_wait(
    home: Home, embedder: Interrupted
) -> None:
    with kompanion_db.connect(home.url) as plain:
        for n in range(3):
            plain.upsert_item("acme", f"k{n}", f"text {n}")
        with kompanion_db.connect(home.url, embedder=embedder) as store:
            embedder.meanwhile = lambda: plain.upsert_item("acme", "k0", "another text")
            while store.embed_pending(batch=1):
                pass
            assert [m.queued for m in store.list_models()] == [0]


def test_a_field_of_an_item_that_is_unknown_is_named_whatever_it_is(store: kompanion_db.Store) -> None:
    with pytest.raises(BadArgument, match=r"^items\[0\]: has no field 5"):
        store.upsert_items([{"namespace": "acme", "content": "tea", 5: 1, "x": 2}])  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "value"), [("chunk_characters", 0), ("chunk_overlap", 1200), ("chunk_overlap", -1), ("chunk_overlap", "x")]
)
def test_a_way_to_cut_that_cannot_be_is_refused_when_the_store_is_opened(home: Home, name: str, value: Any) -> None:
    with pytest.raises(BadArgument, match=f"^{name}: "):
        kompanion_db.connect(home.url, **{name: value})


def test_an_embedder_may_give_a_question_as_a_list(home: Home) -> None:
    class Lists(HashEmbedder):
        def embed_query(self, text: str) -> Any:
            return np.asarray(super().embed_query(text)).tolist()

    with kompanion_db.connect(home.url, embedder=Lists(DIM)) as store:
        store.upsert_item("acme", "k", "tea")
        assert [hit.key for hit in store.search("acme", "tea")] == ["k"]
