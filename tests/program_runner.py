"""Carries out a random program on a store and on the oracle, and compares the two after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import pytest
from by_hand import ByHand
from compare import same_search, same_store
from oracle import Oracle, State
from programs import MODELS, PAST, Step

import kompanion_db
from kompanion_db import errors
from kompanion_db.chunking import Chunk


def pieces(content: str) -> list[Chunk]:
    """Content cut at its words, with their places."""
    found, at = [], 0
    for n, word in enumerate(content.split()):
        at = content.index(word, at)
        found.append(Chunk(n, word, at, at + len(word)))
        at += len(word)
    return found


class Runner:
    """Carries out steps on a store and on the oracle, and compares them after each."""

    def __init__(self, store: kompanion_db.Store, by_hand: ByHand) -> None:
        self.store, self.by_hand, self.oracle = store, by_hand, Oracle()
        self.held: tuple[list[Any], list[tuple[str, Any]], str] | None = None
        self.times: dict[tuple[str, str], list[datetime]] = {}

    def run(self, program: list[Step]) -> None:
        for name, arguments in program:
            getattr(self, name, lambda **a: self._plain(name, **a))(**arguments)  # noqa: B023
            same_store(self.store, self.oracle, self.times)
        self._look_back()

    def _both(self, real: Callable[[], Any], model: Callable[[], Any]) -> tuple[Any, Any]:
        """The two answers; the two must be equal or both raise the same class."""
        answers = []
        for call in (real, model):
            try:
                answers.append(call())
            except errors.KompanionError as exc:
                answers.append(type(exc))
        assert isinstance(answers[0], type) == isinstance(answers[1], type), answers
        if isinstance(answers[0], type):
            assert answers[0] is answers[1]
        return answers[0], answers[1]

    def _plain(self, method: str, name: Any = None, **arguments: Any) -> None:
        """A step whose arguments are the same for both, and whose answers can be compared as they are."""
        place = name if isinstance(name, tuple) else () if name is None else (name,)
        real, model = self._both(
            lambda: getattr(self.store, method)(*place, **arguments),
            lambda: getattr(self.oracle, method)(*place, **arguments),
        )
        if isinstance(real, kompanion_db.WriteResult):
            assert (real.revision, real.status) == model
        elif method in (
            "delete_namespace",
            "restore_namespace",
            "retire_model",
            "enqueue_missing",
            "set_default_model",
        ):
            assert real == model

    def upsert_item(self, name: Any, state: State, model: str | None, **write: Any) -> None:
        given, modelled = self._write(state, model, **write)
        real, expected = self._both(
            lambda: self.store.upsert_item(*name, **given, model=model),
            lambda: self.oracle.upsert_item(*name, state, **modelled, model=model),
        )
        if isinstance(expected, tuple):
            assert (real.revision, real.status) == expected

    def upsert_items(self, writes: list[dict[str, Any]], model: str | None) -> None:
        """A batch is all or nothing; an error may be that of any of its items."""
        rows, steps = [], []
        for write in writes:
            name, state = write["name"], write["state"]
            given, modelled = self._write(model=model, **{k: v for k, v in write.items() if k != "name"})
            if not write["cut"] or not any(modelled["vectors"] or ()):
                given["vectors"] = modelled["vectors"] = None
            rows.append({"namespace": name[0], "key": name[1], **given})
            steps.append((*name, state, modelled))

        def batch(oracle: Oracle) -> Counter[str]:
            if model is not None:
                oracle._model(model)
            return Counter(oracle.upsert_item(n, k, s, **rest, model=model)[1] for n, k, s, rest in steps)

        try:
            batch(deepcopy(self.oracle))
        except errors.KompanionError:
            with pytest.raises(errors.KompanionError):
                self.store.upsert_items(rows, model=model)
            return
        told = self.store.upsert_items(rows, model=model)
        counts = batch(self.oracle)
        assert (told.inserted, told.revised, told.unchanged) == tuple(
            counts[status] for status in ("inserted", "revised", "unchanged")
        )

    def _write(
        self, state: State, model: str | None, cut: bool, vectors: Any, **rest: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of a write as the store takes them, and as the oracle does."""
        dim = MODELS[model or self.oracle.default or "words"][0]
        chunks = pieces(state.content) if cut else None
        if vectors is not None:
            count = 1 if chunks is None else len(chunks)
            vectors = [None if v is None else v[:dim] for v in (vectors * 3)[:count]]
        if cut and not chunks:
            chunks, vectors = None, None
        given = {k: getattr(state, k) for k in ("content", "metadata", "thread", "user_key", "expires_at")}
        return (
            {**given, "tags": list(state.tags), "chunks": chunks, "vectors": vectors, **rest},
            {"chunks": chunks and [c.text for c in chunks], "vectors": vectors, **rest},
        )

    def write_by_hand(self, name: Any, state: State) -> None:
        """What a DBA may do: a plain UPDATE."""
        item = self.oracle.items.get(name)
        if item is not None:
            self._update(name, content=state.content, metadata=dict(state.metadata))
            now = item.now
            fresh = State(**{**vars(now), "content": state.content, "metadata": state.metadata})
            self.oracle.plain_update(item, fresh, item.actors[-1])

    def expire_by_hand(self, name: Any) -> None:
        item = self.oracle.items.get(name)
        if item is not None:
            self._update(name, expires_at=PAST)
            self.oracle.plain_update(item, State(**{**vars(item.now), "expires_at": PAST}), item.actors[-1])

    def _update(self, name: tuple[str, str], **changes: Any) -> None:
        self.by_hand.update("memory_items", {"namespace": name[0], "key": name[1]}, **changes)

    def put_chunks(self, name: Any, parts: list[int]) -> None:
        item = self.oracle.items.get(name)
        found = pieces(item.now.content) if item else []
        chunks = [found[n] for n in parts if n < len(found)]
        real, model = self._both(
            lambda: self.store.put_chunks(*name, chunks),
            lambda: self.oracle.put_chunks(*name, [c.text for c in chunks]),
        )
        if item is not None:
            assert [c.embedded for c in real] == model

    def embed(self, model: str | None, salt: list[int]) -> None:
        """A worker that embeds everything that waits."""
        earlier, self.held = self.held, None
        self.claim(model)
        self.deliver(salt)
        self.held = earlier

    def claim(self, model: str | None) -> None:
        """A worker takes what waits, and keeps it for a while."""
        real, claimed = self._both(
            lambda: self.store.pending_embeddings(model, batch=10000, lease=timedelta(hours=1)),
            lambda: self.oracle.pending_embeddings(model),
        )
        if isinstance(real, list):
            assert sorted((c.namespace, c.content) for c in real) == sorted((n, c.text) for n, c in claimed)
            self.held = (real, claimed, model or self.oracle.default or "")

    def deliver(self, salt: list[int]) -> None:
        """It hands in its vectors: what changed meanwhile is stale. Equal texts of a namespace get equal vectors."""
        if self.held is None:
            return
        real, claimed, model = self.held
        self.held = None
        dim = MODELS[model][0]
        results, statuses = self._both(
            lambda: self.store.put_embeddings(
                real, [_vector(c.namespace, c.content, salt)[:dim] for c in real], model=model
            ),
            lambda: self.oracle.put_embeddings(
                [c for _, c in claimed], [_vector(n, c.text, salt)[:dim] for n, c in claimed], model
            ),
        )
        if isinstance(results, list):
            told = sorted((c.namespace, c.content, r.status) for c, r in zip(real, results, strict=True))
            assert told == sorted((n, c.text, s) for (n, c), s in zip(claimed, statuses, strict=True))

    def register_model(self, name: str, twist: int) -> None:
        """``twist`` asks for another dimension than the one that is known."""
        dim, metric = MODELS[name]
        if name in self.oracle.models:
            dim += twist
        real, queued = self._both(
            lambda: self.store.register_model(name, dim, metric=metric),
            lambda: self.oracle.register_model(name, dim, metric),
        )
        if isinstance(queued, int):
            assert (real.queued, real.is_default) == (queued, self.oracle.default == name)

    def search(self, scope: str, query: list[int], k: int, model: str | None, per_chunk: bool, conditions: Any) -> None:
        query = query[: MODELS[model or self.oracle.default or "words"][0]]
        hits, found = self._both(
            lambda: self.store.search(scope, query, k, model=model, per_chunk=per_chunk, **conditions),
            lambda: self.oracle.search(scope, query, model, **conditions),
        )
        if isinstance(hits, list):
            same_search(hits, found, k, per_chunk, self.oracle)
        listed = {(i.namespace, i.key) for i in self.store.list_items(scope, page_size=1000, **conditions)}
        wanted = {(n, key) for n, key, i in self.oracle.visible(scope) if self.oracle.passes(i.now, **conditions)}
        assert listed == wanted

    def _look_back(self) -> None:
        """Every item as it was at the very moment of each revision, and just before it."""
        for name, times in self.times.items():
            if self.oracle.namespaces[name[0]] is not None:
                continue
            for at in [t - d for t in times for d in (timedelta(0), timedelta(microseconds=1))]:
                found = self.store.item_as_of(*name, at)
                assert (found and found.revision) == self.oracle.as_of(self.oracle.items[name], times, at)


def _vector(namespace: str, text: str, salt: list[int]) -> list[int]:
    """Some vector that depends on all three, never zero."""
    letters = sum(map(ord, namespace + text))
    return [3 + salt[0], (letters % 7) - 3 + salt[1], (letters % 5) - 2 + salt[2]]
