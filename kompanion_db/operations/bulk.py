"""Writing many items: an iterator of any length, in batches, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from .. import arguments as check
from ..chunking import Chunk
from ..embedders.base import name_of
from ..errors import BadArgument, KompanionError
from ..namespaces import hash_path
from ..requests import Breathe, Join, Merge, Pull, Steps, Turn, answered
from ..types import BulkResult, NewItem, Vector
from .embedding import Context, chunk_arguments, cut_and_embed, embedder_model

_FIELDS = frozenset(f.name for f in dataclasses.fields(NewItem))

SIDE_BY_SIDE = 3
"""Batches that are merged at the same time: one for each of two cores, and one that waits for the disk or its turn."""

_BREATH = 250
"""Items between two breaths: about a millisecond."""

_SETTLED = 100_000
"""So many namespaces, threads and users that stand are remembered."""


class _UnderWay(NamedTuple):
    """A merge, with hashes of the names it writes and of the places that do not stand yet."""

    turn: Turn
    names: set[int]
    places: set[int]

    def meets(self, names: set[int], places: set[int]) -> bool:
        """Whether one that writes these would have to wait for it."""
        return not (self.names.isdisjoint(names) and self.places.isdisjoint(places))


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
    works on three batches at a time, where the pool has a connection for each (``max_size`` 4 or more), but keeps them
    in their order: what stands is always what came first. When it is broken off, run it again with the same items:
    those with a key that are written already are unchanged. A generator that it was taking items from is closed then;
    it gives a new item each time, not one that it has changed.
    With an embedder, content that comes without vectors is cut and embedded, and ``model`` is the embedder's.
    ``AsyncStore`` takes async iterables too.

    Raises what ``upsert_item`` raises, naming the item by its place in the batch; the batch then leaves nothing.
    """
    _check_arguments(items, batch_size)
    check.callback("progress", progress)
    if context.embedder is not None and model is None:
        model = name_of(context.embedder)
    counts: Counter[str] = Counter()
    under_way: list[_UnderWay] = []  # oldest first
    settled: set[int] = set()  # hashes of places that stand

    def finish(left: int = 0) -> Steps[None]:
        while len(under_way) > left:
            oldest = under_way.pop(0)
            rows = yield from answered(Join(oldest.turn))
            counts.update({row["status"]: row["items"] for row in rows})
            if progress is not None:
                progress(counts.total())
            if under_way:
                under_way[0].turn.keep()
            if len(settled) > _SETTLED:
                settled.clear()
            settled.update(oldest.places)

    source: Any = items
    try:
        while True:
            try:
                source, batch = yield Pull(source, batch_size)
                if not batch:
                    break
                fresh = [_item(n, item) for n, item in enumerate(batch)]
                if len(set(map(id, batch))) < len(batch) and not isinstance(items, Sequence):
                    _refuse_twice(batch)
                rows = yield from _rows(context, fresh, model, finish)
            except Exception:
                yield from finish()  # the batches before the bad one stand
                raise
            # Side by side, unless the server is done already, or two would only wait for each other: they write the
            # same item, or both make the namespace, thread or user they meet in.
            names = {hash((item.namespace, item.key)) for item in fresh if item.key is not None}
            places = _places(fresh) - settled
            while under_way and (under_way[0].turn.done() or any(merge.meets(names, places) for merge in under_way)):
                yield from finish(len(under_way) - 1)
            yield from finish(SIDE_BY_SIDE - 1)
            before = under_way[-1].turn if under_way else None
            turn = yield Merge(*rows, check.text("model", model), before)
            under_way.append(_UnderWay(turn, names, places))
            # Not to be held, nor looked at by the garbage collector, while the next are made.
            del batch, fresh, rows
        yield from finish()
    finally:
        for merge in under_way:
            merge.turn.abandon()
    return BulkResult(counts.total(), counts["inserted"], counts["revised"], counts["unchanged"])


def _check_arguments(items: Any, batch_size: Any) -> None:
    if (check.integer("batch_size", batch_size) or 0) < 1:
        raise BadArgument(f"batch_size: {batch_size} is less than 1", hint="Give 1 or more, such as 1000.")
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, (Iterable, AsyncIterable)):
        raise BadArgument(f"items: is {type(items).__name__}, not a list or iterator of items", hint="Give a list.")


def _refuse_twice(batch: list[Any]) -> None:
    """Refuse what an iterator gave twice: where it was changed in between, what it was is lost."""
    first: dict[int, int] = {}
    for n, item in enumerate(batch):
        before = first.setdefault(id(item), n)
        if before != n:
            raise BadArgument(
                f"items[{n}]: is the same object as items[{before}], which is not written yet",
                hint="Give a new item each time, not one that is changed; or give a list.",
            )


def _places(items: list[NewItem]) -> set[int]:
    """Hashes of the namespaces, threads and users the items are in: what the first batch in them makes."""
    places = {hash(item.namespace) for item in items}
    places.update(hash((item.namespace, "thread", item.thread)) for item in items if item.thread is not None)
    places.update(hash((item.namespace, "user", item.user_key)) for item in items if item.user_key is not None)
    return places


def _rows(
    context: Context, items: list[NewItem], model: str | None, finish: Callable[[], Steps[None]]
) -> Steps[tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]]:
    """What items and their chunks are as rows to be staged; ``finish`` lets the batches before them be written."""
    rows = yield from _item_rows(items)  # first: what cannot be sent is not to be embedded either
    if context.embedder is not None:
        yield from finish()  # what has a vector by now need not be embedded
    cut = yield from _cut(context, items, model)
    # In the order of namespaces, so that what is searched together lies together.
    order = sorted(range(len(items)), key=lambda n: items[n].namespace or "")
    return [rows[n] for n in order], [row for n in order if n in cut for row in _chunk_rows(n, items[n], *cut[n])]


Vectors = Sequence[Vector | None] | NDArray[np.float32]
Pieces = tuple[list[Chunk] | None, Vectors | None]


def _item(n: int, item: NewItem | Mapping[str, Any]) -> NewItem:
    if isinstance(item, NewItem):
        return item
    if not isinstance(item, Mapping):
        raise BadArgument(
            f"items[{n}]: is {type(item).__name__}, neither NewItem nor a dict",
            hint="Give a NewItem or a dict.",
        )
    unknown = sorted(set(item) - _FIELDS, key=str)
    if unknown or "namespace" not in item or "content" not in item:
        raise BadArgument(
            f"items[{n}]: " + (f"has no field {unknown[0]!r}" if unknown else "needs namespace and content"),
            hint=f"The fields are: {', '.join(sorted(_FIELDS))}.",
        )
    return NewItem(**item)


def _cut(context: Context, items: list[NewItem], model: str | None) -> Steps[dict[int, Pieces]]:
    """Chunks and vectors of the items that have any, by place; content without vectors goes to the embedder."""
    cut: dict[int, Pieces] = {}
    for n, item in enumerate(items):
        if n % _BREATH == 0:
            yield Breathe()
        if item.chunks is not None:
            chunk_arguments("chunks", "starts", "ends", item.chunks, f"items[{n}].")
        if item.vectors is not None:
            cut[n] = (item.chunks, check.vector_rows(f"items[{n}].vectors", item.vectors))
        elif item.chunks is not None:
            cut[n] = (item.chunks, None)
    if context.embedder is not None:
        places = [n for n, item in enumerate(items) if item.vectors is None and item.content]
        if places:
            embedder_model(context, f"content of items[{places[0]}]", model)
            texts = [(items[n].namespace, items[n].key, items[n].content, items[n].chunks) for n in places]
            embedded = yield from cut_and_embed(context, texts)
            cut.update(zip(places, embedded, strict=True))
    return cut


def _item_rows(items: list[NewItem]) -> Steps[list[tuple[Any, ...]]]:
    rows = []
    for n, item in enumerate(items):
        if n % _BREATH == 0:
            yield Breathe()
        rows.append(_item_row(n, item))
    return rows


def _item_row(n: int, item: NewItem) -> tuple[Any, ...]:
    try:
        return _named_item_row(n, item, "")
    except KompanionError:
        return _named_item_row(n, item, f"items[{n}].")  # raises it again, with the place


_TEXTS = ("namespace", "key", "content", "thread", "user_key", "actor")
_PLAIN = frozenset({str, type(None)})


def _named_item_row(n: int, item: NewItem, where: str) -> tuple[Any, ...]:
    texts: tuple[Any, ...] = (item.namespace, item.key, item.content, item.thread, item.user_key, item.actor)
    if not _sendable(texts):
        texts = tuple(check.text(where + name, value) for name, value in zip(_TEXTS, texts, strict=True))
    namespace, key, content, thread, user_key, actor = texts
    return (
        n,
        namespace,
        _namespace_id(namespace) if namespace else None,
        key,
        content,
        None if item.metadata is None else check.json_object(where + "metadata", item.metadata),
        None if item.tags is None else check.texts(where + "tags", item.tags),
        thread,
        user_key,
        None if item.expires_at is None else check.moment(where + "expires_at", item.expires_at),
        None if item.expected_revision is None else check.integer(where + "expected_revision", item.expected_revision),
        actor,
        None if item.created_at is None else check.moment(where + "created_at", item.created_at),
    )


def _sendable(texts: tuple[str | None, ...]) -> bool:
    """Whether check.text would let all of these pass as they are, asked at once; False also where it is not sure."""
    if not _PLAIN.issuperset(map(type, texts)):
        return False
    joined = "".join([text for text in texts if text is not None])
    return joined.isascii() and "\x00" not in joined and len(joined) <= check.MAX_TEXT


def _chunk_rows(n: int, item: NewItem, chunks: list[Chunk] | None, vectors: Vectors | None) -> list[tuple[Any, ...]]:
    if chunks is None:
        # Without chunks the whole content is one; NULL stands for it, so it is not sent twice.
        if vectors is not None and len(vectors) != 1:
            raise BadArgument(
                f"items[{n}].vectors: {len(vectors)} vectors for content that is not cut into chunks",
                hint="Give one vector, or the chunks too.",
            )
        return [(n, 0, None, None, None, None if vectors is None else vectors[0])]
    if vectors is not None and len(vectors) != len(chunks):
        raise BadArgument(
            f"items[{n}].vectors: {len(vectors)} vectors for {len(chunks)} chunks",
            hint="Give one vector for each chunk.",
        )
    first = chunks[0] if len(chunks) == 1 else None
    # With other offsets it is for the database to refuse.
    if first is not None and first.text == item.content and (first.start, first.end) == (0, len(item.content)):
        return [(n, 0, None, None, None, None if vectors is None else vectors[0])]
    found = [None] * len(chunks) if vectors is None else vectors
    # Offsets may be numpy's, which not every driver takes.
    return [
        (n, m, c.text, check.integer("chunks", c.start), check.integer("chunks", c.end), v)
        for m, (c, v) in enumerate(zip(chunks, found, strict=True))
    ]


@lru_cache(maxsize=65536)
def _namespace_id(path: str) -> UUID:
    return hash_path(path)
