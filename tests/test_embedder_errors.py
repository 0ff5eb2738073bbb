"""What an embedder raises, and what it is: errors of ours, the same on every engine, sync and async."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import engines
import numpy as np
import pytest

import kompanion_db
from kompanion_db import HashEmbedder, NewItem
from kompanion_db.errors import BadArgument, BadVector, EmbedderError, KompanionError

DIM = 16


class Broken(HashEmbedder):
    """An embedder that raises what it is told to."""

    problem: BaseException | None = None

    def embed_documents(self, texts: Sequence[str]) -> Any:
        if self.problem is not None:
            raise self.problem
        return super().embed_documents(texts)

    def embed_query(self, text: str) -> Any:
        return self.embed_documents([text])[0]


CALLS: dict[str, Any] = {
    "upsert_item": lambda s: s.upsert_item("acme", "k", "tea"),
    "upsert_items": lambda s: s.upsert_items([{"namespace": "acme", "content": "tea"}]),
    "search": lambda s: s.search("acme", "tea"),
    "revert_item": lambda s: s.revert_item("acme", "old", 1),
    "embed_pending": lambda s: s.embed_pending(),
    "measure_recall": lambda s: s.measure_recall(queries=["tea"]),
}


def fill(url: str) -> None:
    """What the calls need: an item with two revisions, and chunks that wait."""
    with kompanion_db.connect(url, embedder=HashEmbedder(DIM)) as store:
        store.upsert_item("acme", "old", "tea")
        store.upsert_item("acme", "old", "milk")
    with kompanion_db.connect(url) as store:
        store.upsert_item("acme", "waits", "sugar")


async def broken_in(url: str, problem: BaseException, call: Any, waits: bool) -> None:
    """A call of a store, sync or async, whose embedder breaks."""
    embedder = Broken(DIM)
    if waits:
        async with await kompanion_db.connect_async(url, embedder=embedder) as astore:
            embedder.problem = problem
            await call(astore)
    else:
        with kompanion_db.connect(url, embedder=embedder) as store:
            embedder.problem = problem
            call(store)


@pytest.mark.parametrize("waits", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_what_an_embedder_raises_comes_out_as_embeddererror_with_its_words_and_itself_as_the_cause(
    one_home: engines.Home, call: Any, waits: bool
) -> None:
    fill(one_home.url)
    problem = RuntimeError("CUDA out of memory")
    with pytest.raises(EmbedderError, match=r"^Embedder 'hash-16-v1' failed: RuntimeError: CUDA out of mem") as caught:
        await broken_in(one_home.url, problem, call, waits)
    assert caught.value.__cause__ is problem
    assert caught.value.hint
    with kompanion_db.connect(one_home.url) as store:
        assert {item.key for item in store.list_items("acme")} == {"old", "waits"}


@pytest.mark.parametrize("problem", [BadArgument("texts[0] is empty."), EmbedderError("no"), KeyboardInterrupt()])
def test_errors_of_ours_and_what_is_no_error_pass_as_they_are(one_home: engines.Home, problem: BaseException) -> None:
    embedder = Broken(DIM)
    with kompanion_db.connect(one_home.url, embedder=embedder) as store:
        embedder.problem = problem
        with pytest.raises(type(problem)) as caught:
            store.upsert_item("acme", "k", "tea")
        assert caught.value is problem


class Remote(Broken):
    """An embedder that asks a server for its name and its dimension too."""

    wants = "dim"

    def asks(self, what: str) -> None:
        if self.problem is not None and what == self.wants:
            raise self.problem

    @property
    def name(self) -> str:
        self.asks("name")
        return "remote"

    @property
    def dim(self) -> int:
        self.asks("dim")
        return DIM

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return np.ones((len(texts), DIM))


@pytest.mark.parametrize(("wants", "called"), [("name", "Remote"), ("dim", "remote")])
async def test_an_embedder_that_cannot_tell_its_name_or_its_dimension_has_failed_too(
    one_home: engines.Home, wants: str, called: str
) -> None:
    fill(one_home.url)
    embedder, problem = Remote(DIM), OSError("no route to host")
    embedder.wants = wants
    with kompanion_db.connect(one_home.url, embedder=embedder) as store:
        store.upsert_item("acme", "waits", "salt")
        embedder.problem = problem
        calls = {"connect": lambda _: kompanion_db.connect(one_home.url, embedder=embedder), **CALLS}
        for call in calls.values():
            with pytest.raises(EmbedderError, match=rf"^Embedder '{called}' failed: OSError: no route") as caught:
                call(store)
            assert caught.value.__cause__ is problem
        with pytest.raises(EmbedderError):
            await kompanion_db.connect_async(one_home.url, embedder=embedder)


class Picky(HashEmbedder):
    """An embedder that refuses some texts, and tells what it was asked."""

    def __init__(self, problem: Exception, bad: str = "bad") -> None:
        super().__init__(DIM)
        self.problem, self.bad, self.asked = problem, bad, list[Sequence[str]]()

    def embed_documents(self, texts: Sequence[str]) -> Any:
        self.asked.append(texts)
        if any(self.bad in text for text in texts):
            raise self.problem
        return super().embed_documents(texts)


@pytest.mark.parametrize(
    "problem", [BadArgument("texts[0] is empty."), EmbedderError("too long"), ValueError("token 7 is out of range")]
)
async def test_a_text_that_the_embedder_refuses_keeps_no_other_of_its_batch_from_its_vector(
    one_home: engines.Home, problem: Exception
) -> None:
    with kompanion_db.connect(one_home.url) as store:
        for n, text in enumerate(["a", "bad 1", "b", "bad 2", "c"]):
            store.upsert_item("acme", f"k{n}", text)
    async with await kompanion_db.connect_async(one_home.url, embedder=Picky(problem)) as store:
        with pytest.raises(KompanionError) as caught:
            await store.embed_pending(worker="w")
        assert problem in (caught.value, caught.value.__cause__)
        assert sum(model.queued for model in await store.list_models()) == 2
        assert {hit.key for hit in await store.search("acme", "a")} == {"k0", "k2", "k4"}


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_a_text_that_was_refused_is_in_nobodys_way_until_its_content_changes_or_a_lease_ends(
    one_home: engines.Home, batch: int
) -> None:
    with kompanion_db.connect(one_home.url) as store:
        for n, text in enumerate(["bad 1", "bad 2", "a", "b", "c", "bad 3"]):
            store.upsert_item("acme", f"k{n}", text)
    embedder = Picky(EmbedderError("too long"))
    with kompanion_db.connect(one_home.url, embedder=embedder) as store:
        refused = 0
        while True:
            try:
                if not store.embed_pending(batch=batch):
                    break
            except EmbedderError:
                refused += 1
        assert refused <= 3
        assert {hit.key for hit in store.search("acme", "a")} == {"k2", "k3", "k4"}
        assert store.embed_pending() == 0
    with kompanion_db.connect(one_home.url) as store:
        store.upsert_item("acme", "k0", "good")
        assert [c.content for c in store.pending_embeddings("hash-16-v1")] == ["good"]


def test_a_vector_that_the_store_refuses_keeps_no_other_of_its_batch_from_being_stored(one_home: engines.Home) -> None:
    class Faint(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Any:
            lengths = np.array([[1e-30 if text == "bad" else 1.0] for text in texts])
            return super().embed_documents(texts) * lengths

    with kompanion_db.connect(one_home.url) as store:
        store.upsert_items({"namespace": "acme", "key": text, "content": text} for text in ("a", "bad", "b"))
    with kompanion_db.connect(one_home.url, embedder=Faint(DIM)) as store:
        with pytest.raises(BadVector):
            store.embed_pending()
        assert {hit.key for hit in store.search("acme", "a")} == {"a", "b"}
        assert sum(model.queued for model in store.list_models()) == 1


def test_a_batch_that_is_too_much_at_once_is_embedded_one_by_one_without_an_error(one_home: engines.Home) -> None:
    class Small(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Any:
            if len(texts) > 1:
                raise RuntimeError("out of memory")
            return super().embed_documents(texts)

    with kompanion_db.connect(one_home.url) as store:
        store.upsert_items({"namespace": "acme", "content": str(n)} for n in range(5))
    with kompanion_db.connect(one_home.url, embedder=Small(DIM)) as store:
        assert (store.embed_pending(), store.embed_pending()) == (5, 0)


def test_an_embedder_that_is_down_is_not_asked_for_each_text_and_what_it_had_is_free_again(
    one_home: engines.Home,
) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.upsert_items({"namespace": "acme", "content": f"note {n}"} for n in range(50))
    embedder = Picky(RuntimeError("no route to host"), bad="")
    with kompanion_db.connect(one_home.url, embedder=embedder) as store:
        with pytest.raises(EmbedderError, match="no route to host"):
            store.embed_pending(worker="w")
        assert len(embedder.asked) == 2
        embedder.bad = "nothing at all"
        assert (store.embed_pending(worker="v"), store.embed_pending()) == (50, 0)


def test_a_foreign_array_that_will_not_become_one_of_numpy_is_an_error_of_the_embedder(one_home: engines.Home) -> None:
    class Tensor:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")

    class Torch(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Any:
            return Tensor()

        def embed_query(self, text: str) -> Any:
            return Tensor()

    with kompanion_db.connect(one_home.url, embedder=Torch(DIM)) as store:
        for call in (CALLS["upsert_item"], CALLS["search"]):
            with pytest.raises(EmbedderError, match=r"'hash-16-v1' returned .*tensor\.detach\(\)"):
                call(store)


class Given:
    """An embedder in a few lines, of whatever name and dimension."""

    def __init__(self, name: Any, dim: Any) -> None:
        self.name, self.dim = name, dim

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return np.ones((len(texts), 3))

    def embed_query(self, text: str) -> Any:
        return np.ones(3)


@pytest.mark.parametrize(
    ("embedder", "problem"),
    [
        *[(Given(name, 3), "embedder.name: ") for name in (5, None, "", "a\0", "\ud800", "x" * 600, b"m")],
        *[(Given("m", dim), "embedder.dim: ") for dim in ("3", None, 3.0, True, 0, -1, 20_000, 10**30)],
        (HashEmbedder, "embedder: is the class HashEmbedder, not an embedder"),
        ("hash", "embedder: is str, which has no name"),
        (object(), "embedder: is object, which has no name"),
    ],
)
async def test_what_is_no_embedder_or_has_no_name_or_dimension_of_a_model_is_refused_when_the_store_is_opened(
    one_home: engines.Home, embedder: Any, problem: str
) -> None:
    for _ in range(2):
        with pytest.raises(BadArgument, match=f"^{problem}") as caught:
            kompanion_db.connect(one_home.url, embedder=embedder)
        assert caught.value.hint
    with pytest.raises(BadArgument, match=f"^{problem}"):
        await kompanion_db.connect_async(one_home.url, embedder=embedder)
    with kompanion_db.connect(one_home.url) as store:
        assert store.list_models() == []


def test_a_dimension_that_numpy_counted_is_one(one_home: engines.Home) -> None:
    for _ in range(2):
        with kompanion_db.connect(one_home.url, embedder=Given("m", np.int64(3))) as store:
            store.upsert_item("acme", "k", "tea")
            assert [hit.key for hit in store.search("acme", "tea")] == ["k"]
            assert [(model.model, model.dim) for model in store.list_models()] == [("m", 3)]


def test_an_embedder_may_take_apart_the_list_it_is_given(one_home: engines.Home) -> None:
    class Takes(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Any:
            assert isinstance(texts, list)
            return super().embed_documents([texts.pop(0) for _ in range(len(texts))])

    with kompanion_db.connect(one_home.url, embedder=Takes(8)) as store:
        assert store.upsert_item("acme", "k", "The sun is up.").status == "inserted"
        assert store.upsert_items([NewItem("acme", f"Text {n}.", key=str(n)) for n in range(3)]).inserted == 3
