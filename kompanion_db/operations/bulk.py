"""Writing many items: an iterator of any length, in batches, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from .. import arguments as check
from ..chunking import Chunk
from ..errors import BadArgument, BadVector
from ..namespaces import hash_path
from ..requests import Join, Merge, Pull, Steps
from ..types import BulkResult, NewItem, Vector
from .embedding import Context, chunk_arguments, cut_and_embed

_FIELDS = frozenset(f.name for f in dataclasses.fields(NewItem))


def upsert_items(
    context: Context,
    items: Iterable[NewItem | Mapping[str, Any]] | AsyncIterable[NewItem | Mapping[str, Any]],
    *,
    model: str | None = None,
    batch_size: int = 1000,
    progress: Callable[[int], None] | None = None,
) -> Steps[BulkResult]:
    """Write items as ``upsert_item`` would, streamed by COPY: NewItem, or dicts with its fields, any number of them.

    Each batch is one transaction; ``progress`` is called after each with the number of items written so far. When it
    is broken off, run it again with the same items: those with a key that are written already are unchanged.
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
    merging: Any = None  # the batch the server works on while the next one is made ready

    def finish() -> Steps[None]:
        nonlocal merging
        joined, merging = merging, None
        if joined is not None:
            rows = yield Join(joined)
            counts.update(row["status"] for row in rows)
            if progress is not None:
                progress(counts.total())

    source: Any = items
    try:
        while True:
            source, batch = yield Pull(source, batch_size)
            if not batch:
                break
            fresh = [_item(n, item) for n, item in enumerate(batch)]
            if context.embedder is not None:
                yield from finish()  # what has a vector by now need not be embedded
            cut = yield from _cut(context, fresh)
            merge = Merge(
                [_item_row(n, item) for n, item in enumerate(fresh)],
                [row for n, pieces in cut.items() for row in _chunk_rows(n, fresh[n], *pieces)],
                check.text("model", model),
            )
            yield from finish()
            merging = yield merge
    except Exception:
        yield from finish()  # the batch before the bad one stands
        raise
    yield from finish()
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
            cut[n] = (item.chunks, check.vectors(f"items[{n}].vectors", item.vectors))
        elif item.chunks is not None:
            cut[n] = (item.chunks, None)
    if context.embedder is not None:
        places = [n for n, item in enumerate(items) if item.vectors is None and check.text("content", item.content)]
        given = [(items[n].namespace, items[n].key, items[n].content, items[n].chunks) for n in places]
        embedded = yield from cut_and_embed(context, given)
        cut.update(zip(places, embedded, strict=True))
    return cut


def _item_row(n: int, item: NewItem) -> tuple[Any, ...]:
    where = f"items[{n}]."
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
