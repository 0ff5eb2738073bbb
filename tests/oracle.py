"""A model of the rules in plain Python, without a database: what any engine must answer, call by call.

It is small enough to be read and believed. Methods have the names and the errors of the store's; a call that raises
changes nothing. Times are the engine's own and are only ordered here; expiries are absolute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oracle_items import Chunk, Item, Items, State, Vector, below

from kompanion_db import errors

__all__ = ["Chunk", "Found", "Item", "Oracle", "State", "below", "distance", "nearest"]


@dataclass
class Model:
    dim: int
    metric: str
    retired: bool = False


@dataclass(frozen=True)
class Found:
    """A chunk in reach of a search."""

    distance: float
    namespace: str
    key: str
    ordinal: int


def distance(metric: str, a: Vector, b: Vector) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    if metric == "inner_product":
        return -dot
    if metric == "l2":
        return math.dist(a, b)
    return 1 - dot / math.hypot(*a) / math.hypot(*b)


def nearest(found: Sequence[Found], per_chunk: bool = False) -> list[Found]:
    """In order of distance; one an item, by its best chunk, unless chunks are asked for."""
    ordered = sorted(found, key=lambda f: f.distance)
    if per_chunk:
        return ordered
    best: dict[tuple[str, str], Found] = {}
    for each in ordered:
        best.setdefault((each.namespace, each.key), each)
    return list(best.values())


class Oracle(Items):
    """Namespaces and items, and their chunks, vectors and models."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, Model] = {}
        self.default: str | None = None

    # Models

    def register_model(self, name: str, dim: int, metric: str) -> int:
        known = self.models.get(name)
        if known is not None and (known.dim, known.metric) != (dim, metric):
            raise errors.ModelConflict(name)
        fresh = known is None or known.retired
        self.models[name] = Model(dim, metric)
        self.default = self.default or name
        return self.enqueue_missing(name) if fresh else 0

    def enqueue_missing(self, model: str | None = None) -> int:
        name = self._model(model)
        return sum(self._enqueue(chunk, name) for item in self.items.values() for chunk in item.chunks)

    def set_default_model(self, name: str, require_complete: bool) -> str | None:
        self._model(name)
        if require_complete and any(
            name not in chunk.vectors for _, _, item in self.visible() for chunk in item.chunks
        ):
            raise errors.ModelConflict(name)
        former, self.default = self.default, name
        return None if former == name else former

    def retire_model(self, name: str, delete_vectors: bool) -> int:
        if name not in self.models:
            raise errors.UnknownModel(name)
        if name == self.default:
            raise errors.ModelConflict(name)
        self.models[name].retired = True
        deleted = 0
        for item in self.items.values():
            for chunk in item.chunks:
                chunk.waiting.pop(name, None)
                if delete_vectors and chunk.vectors.pop(name, None) is not None:
                    deleted += 1
        return deleted

    def queued(self, name: str) -> int:
        return sum(name in chunk.waiting for item in self.items.values() for chunk in item.chunks)

    # Chunks and vectors

    def put_chunks(self, namespace: str, key: str, texts: Sequence[str]) -> list[list[str]]:
        """The models each chunk has a vector of, in the order they were registered."""
        item = self.items.get((namespace, key))
        if item is None:
            raise errors.NotFound(key)
        self._cut(item, texts)
        return [[name for name in self.models if name in chunk.vectors] for chunk in item.chunks]

    def pending_embeddings(self, model: str | None) -> list[tuple[str, Chunk]]:
        """Every chunk that may be claimed, claimed; with its namespace."""
        model = self._model(model)
        claimed = [
            (namespace, chunk)
            for namespace, _, item in self.visible()
            for chunk in item.chunks
            if chunk.waiting.get(model) is False
        ]
        for _, chunk in claimed:
            chunk.waiting[model] = True
        return claimed

    def put_embeddings(self, chunks: Sequence[Chunk], vectors: Sequence[Vector], model: str | None) -> list[str]:
        model = self._model(model)
        for vector in vectors:
            self._check_vector(vector, model)
        present = {id(chunk) for item in self.items.values() for chunk in item.chunks}
        for chunk, vector in zip(chunks, vectors, strict=True):
            if id(chunk) in present:
                chunk.vectors[model] = vector
                chunk.waiting.pop(model, None)
        return ["stored" if id(chunk) in present else "stale" for chunk in chunks]

    def _cut(self, item: Item, texts: Sequence[str]) -> None:
        """A chunk whose text stays is the same chunk: the first of a text stays the first, the second the second."""
        former: dict[str, list[Chunk]] = {}
        for chunk in item.chunks:
            former.setdefault(chunk.text, []).append(chunk)
        item.chunks = [former[text].pop(0) if former.get(text) else Chunk(text) for text in texts]
        for chunk in item.chunks:
            self._enqueue(chunk)

    def _enqueue(self, chunk: Chunk, only: str | None = None) -> int:
        """Let a chunk wait for every model in use that it has no vector of."""
        wanted = [
            name
            for name, model in self.models.items()
            if not model.retired and only in (None, name) and name not in {*chunk.vectors, *chunk.waiting}
        ]
        chunk.waiting.update(dict.fromkeys(wanted, False))
        return len(wanted)

    def _model(self, name: str | None) -> str:
        name = self.default if name is None else name
        if name is None or name not in self.models or self.models[name].retired:
            raise errors.UnknownModel(str(name))
        return name

    def _check_vector(self, vector: Vector | None, model: str) -> None:
        known = self.models[model]
        if vector is not None and (len(vector) != known.dim or (known.metric == "cosine" and not any(vector))):
            raise errors.BadVector("vector")

    # Search and figures

    def search(self, scope: str, query: Vector, model: str | None, **conditions: Any) -> list[Found]:
        """Every chunk that matches, with its distance: ``nearest`` makes the answer of it."""
        model = self._model(model)
        self._check_vector(query, model)
        metric = self.models[model].metric
        return [
            Found(distance(metric, query, chunk.vectors[model]), namespace, key, ordinal)
            for namespace, key, item in self.visible(scope)
            if self.passes(item.now, **conditions)
            for ordinal, chunk in enumerate(item.chunks)
            if model in chunk.vectors
        ]

    def stats(self) -> dict[tuple[str, str | None], dict[str, int]]:
        """Figures of every live namespace and model in use."""
        in_use = [name for name, model in self.models.items() if not model.retired] or [None]
        return {
            (path, model): self._figures(path, model)
            for path, gone in self.namespaces.items()
            if gone is None
            for model in in_use
        }

    def _figures(self, path: str, model: str | None) -> dict[str, int]:
        figures = dict.fromkeys(("items", "live", "expired", "deleted", "revisions", "chunks", "embedded"), 0)
        for (namespace, _), item in self.items.items():
            if namespace == path:
                now = item.now
                figures["deleted" if now.deleted else "live" if now.live else "expired"] += 1
                figures["items"] += 1
                figures["revisions"] += item.revision
                figures["chunks"] += len(item.chunks) if now.live else 0
                figures["embedded"] += sum(model in c.vectors for c in item.chunks) if now.live else 0
        return {**figures, "unembedded": figures["chunks"] - figures["embedded"]}
