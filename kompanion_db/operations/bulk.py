"""Writing many items: an iterator of any length, in batches, in bounded memory."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np

from .. import arguments as check
from ..chunking import Chunk
from ..errors import BadArgument, BadVector, KompanionError
from ..namespaces import hash_path
from ..requests import Join, Merge, Pull, Steps, Turn
from ..types import BulkResult, NewItem, Vector
from .embedding import Context, chunk_arguments, cut_and_embed

_FIELDS = frozenset(f.name for f in dataclasses.fields(NewItem))

_SIDE_BY_SIDE = 2
"""Batches that are merged at the same time."""


def upsert_items(
    context: Context,
    items: Iterable[NewItem | Mapping[str, Any]] | AsyncIterable[NewItem | Mapping[str, Any]],
    *,
    model: str | None = None,
    batch_size: int = 1000,
    progress: Callable[[int], None] | None = None,
) -> Steps[BulkResult]:
    """Write items as ``upsert_item`` would, streamed by COPY: NewItem, or dicts with its fields, any number of them.

    Each batch is one transaction; ``progress`` is called after each with the number of items written so far. The server
    works on two batches at a time, where the pool has a connection for each (``max_size`` 3 or more), but keeps them in
    their order: what stands is always what came first. When it is broken off, run it again with the same items: those
    with a key that are written already are unchanged.
    With an embedder, content that comes without vectors is cut and embedded. ``AsyncStore`` takes async iterables too.

    Raises what ``upsert_item`` raises, naming the item by its place in the batch; the batch then leaves nothing.
    """
    if (check.integer("batch_size", batch_size) or 0) < 1:
        raise BadArgument(f"batch_size: {batch_size} is less than 1", hint="Give 1 or more, such as 1000.")
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, (Iterable, AsyncIterable)):
        raise BadArgument(f"items: is {type(items).__name__}, not a list or iterator of items", hint="Give a list.")
    if context.embedder is not None and model is None:
        model = context.embedder.name
    counts: Counter[str] = Counter()
    under_way: list[tuple[Turn, set[int]]] = []  # merges, oldest first, and the hashes of the names in them

    def finish(left: int = 0) -> Steps[None]:
        while len(under_way) > left:
            rows = yield Join(under_way.pop(0)[0])
            counts.update({row["status"]: row["items"] for row in rows})
            if progress is not None:
                progress(counts.total())
            if under_way:
                under_way[0][0].keep()

    source: Any = items
    try:
        while True:
            try:
                source, batch = yield Pull(source, batch_size)
                if not batch:
                    break
                fresh = [_item(n, item) for n, item in enumerate(batch)]
                if context.embedder is not None:
                    yield from finish()  # what has a vector by now need not be embedded
                cut = yield from _cut(context, fresh)
                item_rows = [_item_row(n, item) for n, item in enumerate(fresh)]
                # In the order of namespaces, so that what is searched together lies together.
                order = sorted(range(len(fresh)), key=lambda n: fresh[n].namespace or "")
                item_rows = [item_rows[n] for n in order]
                chunk_rows = [row for n in order if n in cut for row in _chunk_rows(n, fresh[n], *cut[n])]
            except Exception:
                yield from finish()  # the batches before the bad one stand
                raise
            # Two at a time, unless the server is done already, or they write the same item and would only wait.
            names = {hash((item.namespace, item.key)) for item in fresh if item.key is not None}
            while under_way and (under_way[0][0].done() or not names.isdisjoint(under_way[-1][1])):
                yield from finish(len(under_way) - 1)
            yield from finish(_SIDE_BY_SIDE - 1)
            turn = yield Merge(item_rows, chunk_rows, check.text("model", model), first=not under_way)
            under_way.append((turn, names))
        yield from finish()
    finally:
        for turn, _ in under_way:
            turn.abandon()
    return BulkResult(counts.total(), counts["inserted"], counts["revised"], counts["unchanged"])


Pieces = tuple[list[Chunk] | None, list[Vector | None] | None]


def _item(n: int, item: NewItem | Mapping[str, Any]) -> NewItem:
    if isinstance(item, NewItem):
        return item
    if not isinstance(item, Mapping):
        raise BadArgument(
            f"items[{n}]: is {type(item).__name__}, neither NewItem nor a dict",
            hint="Give a NewItem or a dict.",
        )
    unknown = sorted(set(item) - _FIELDS)
    if unknown or "namespace" not in item or "content" not in item:
        raise BadArgument(
            f"items[{n}]: " + (f"has no field {unknown[0]!r}" if unknown else "needs namespace and content"),
            hint=f"The fields are: {', '.join(sorted(_FIELDS))}.",
        )
    return NewItem(**item)


def _cut(context: Context, items: list[NewItem]) -> Steps[dict[int, Pieces]]:
    """Chunks and vectors of the items that have any, by place; content without vectors goes to the embedder."""
    cut: dict[int, Pieces] = {}
    for n, item in enumerate(items):
        if item.vectors is not None:
            cut[n] = (item.chunks, _vectors(n, item.vectors))
        elif item.chunks is not None:
            cut[n] = (item.chunks, None)
    if context.embedder is not None:
        places = [n for n, item in enumerate(items) if item.vectors is None and check.text("content", item.content)]
        given = [(items[n].namespace, items[n].key, items[n].content, items[n].chunks) for n in places]
        embedded = yield from cut_and_embed(context, given)
        cut.update(zip(places, embedded, strict=True))
    return cut


def _vectors(n: int, given: Any) -> list[Vector | None]:
    # The common case without its checks one by one: a square that is finite has finite elements.
    if (
        type(given) is np.ndarray
        and given.dtype == np.float32
        and given.ndim == 2
        and given.shape[1] > 0
        and math.isfinite(np.vdot(given, given))
    ):
        return list(given)
    return check.vectors(f"items[{n}].vectors", given)


def _item_row(n: int, item: NewItem) -> tuple[Any, ...]:
    try:
        return _named_item_row(n, item, "")
    except KompanionError:
        return _named_item_row(n, item, f"items[{n}].")  # raises it again, with the place


def _named_item_row(n: int, item: NewItem, where: str) -> tuple[Any, ...]:
    namespace = check.text(where + "namespace", item.namespace)
    return (
        n,
        namespace,
        _namespace_id(namespace) if namespace else None,
        check.text(where + "key", item.key),
        check.text(where + "content", item.content),
        check.json_object(where + "metadata", item.metadata),
        check.texts(where + "tags", item.tags),
        check.text(where + "thread", item.thread),
        check.text(where + "user_key", item.user_key),
        check.moment(where + "expires_at", item.expires_at),
        check.integer(where + "expected_revision", item.expected_revision),
        check.text(where + "actor", item.actor),
        check.moment(where + "created_at", item.created_at),
    )


def _chunk_rows(
    n: int, item: NewItem, chunks: list[Chunk] | None, vectors: list[Vector | None] | None
) -> list[tuple[Any, ...]]:
    if chunks is None:
        # Without chunks the whole content is one; NULL stands for it, so it is not sent twice.
        if vectors is not None and len(vectors) != 1:
            raise BadVector(
                f"items[{n}].vectors: {len(vectors)} vectors for content that is not cut into chunks",
                hint="Give one vector, or the chunks too.",
            )
        return [(n, 0, None, None, None, vectors[0] if vectors else None)]
    chunk_arguments("chunks", "starts", "ends", chunks)
    if vectors is not None and len(vectors) != len(chunks):
        raise BadVector(
            f"items[{n}].vectors: {len(vectors)} vectors for {len(chunks)} chunks",
            hint="Give one vector for each chunk.",
        )
    if len(chunks) == 1 and chunks[0].text == item.content:
        return [(n, 0, None, None, None, vectors[0] if vectors else None)]
    found = vectors or [None] * len(chunks)
    return [(n, m, c.text, c.start, c.end, v) for m, (c, v) in enumerate(zip(chunks, found, strict=True))]


@lru_cache(maxsize=65536)
def _namespace_id(path: str) -> UUID:
    return hash_path(path)
