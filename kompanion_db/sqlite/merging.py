"""Many items at once, as in pg_0032_upsert_items: new ones in a few statements, the others one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from ..errors import BadArgument
from ..requests import Row
from ..types import Vector
from . import values
from .chunks import check_chunks, is_visible
from .documents import metadata_text
from .functions.checks import check_content, check_moment, check_name, dumped, expiry, normalize_tags
from .functions.namespaces import namespace_no
from .functions.scopes import thread_no, user_no
from .functions.writing import upsert_item
from .models import Model, check_vector, find_model
from .session import Session
from .vectors import append_vectors

Piece = tuple[int, str | None, int | None, int | None, Vector | None]
"""A chunk: place, text (None is the whole content), start, end, vector."""


class Staged(NamedTuple):
    """An item of a bulk load, as operations/bulk.py makes its rows."""

    ord: int
    namespace: str
    namespace_id: Any
    key: str | None
    content: str
    metadata: str | None
    tags: list[str] | None
    thread: str | None
    user_key: str | None
    expires_at: Any
    expected_revision: int | None
    actor: str | None
    created_at: Any


def merge(
    session: Session, items: Sequence[Sequence[Any]], chunks: Sequence[Sequence[Any]], model: str | None
) -> list[Row]:
    """Write items with their chunks and vectors, all or none; rows: status, items. Raises what upsert_item raises."""
    counts = Counter(row["status"] for row in merge_each(session, items, chunks, model))
    return [{"status": status, "items": number} for status, number in counts.items()]


def merge_each(
    session: Session, items: Sequence[Sequence[Any]], chunks: Sequence[Sequence[Any]], model: str | None
) -> list[Row]:
    """As ``merge``; a row an item: ord, item_id, revision, status."""
    pieces: defaultdict[int, list[Piece]] = defaultdict(list)
    embedded = False
    for n, *piece in chunks:
        pieces[n].append(tuple(piece))
        embedded = embedded or piece[-1] is not None
    found = find_model(session, model) if embedded or model is not None else None
    staged = [Staged._make(row) for row in items]
    spaces = {path: namespace_no(session, path) for path in dict.fromkeys(item.namespace for item in staged)}
    for item in staged:
        _check(item, pieces.get(item.ord, []), found, session.now)
    fresh, others = _sorted_out(session, staged, spaces)
    done = _insert(session, fresh, spaces, pieces, found)
    for item in sorted(others, key=lambda item: (item.namespace_id.bytes, item.key or "", item.ord)):
        done.append({"ord": item.ord, **_upsert(session, item, pieces.get(item.ord, []), found)})
    return done


def _check(item: Staged, pieces: list[Piece], model: Model | None, now: int) -> None:
    """The rules of upsert_item, named by the place of the item."""
    place = f"items[{item.ord}]."
    for name, value in (("key", item.key), ("thread", item.thread), ("user_key", item.user_key)):
        if value is not None:
            check_name(place + name, value)
    normalize_tags(item.tags, place)
    check_content(item.content, place + "content")
    metadata_text(item.metadata, place + "metadata")
    expiry(item.expires_at, None, now, place)
    check_moment(place + "created_at", values.from_time(item.created_at))
    if not pieces:
        return
    if pieces[0][1] is not None:
        _, texts, starts, ends, _ = zip(*pieces, strict=True)
        check_chunks(item.content, texts, starts, ends, place)
    elif len(pieces) > 1 or not is_visible(item.content):
        raise BadArgument(
            f"{place}vectors: there are more vectors or offsets than chunks",
            hint="Give one start, one end and at most one vector for each chunk; "
            "content without chunks given is one chunk.",
        )
    for ordinal, _, _, _, vector in pieces:
        if vector is not None and model is not None:
            check_vector(f"{place}vectors[{ordinal + 1}]", vector, model)


def _sorted_out(session: Session, staged: list[Staged], spaces: dict[str, int]) -> tuple[list[Staged], list[Staged]]:
    """The items of new names, each name once, and all others."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for item in staged:
        if item.key is not None:
            keys[item.namespace].append(item.key)
    taken = {
        (namespace, key)
        for namespace, named in keys.items()
        for (key,) in session.all(
            "select i.key from json_each(?) j cross join memory_items i on i.namespace_no = ? and i.key = j.value",
            (dumped(named), spaces[namespace]),
        )
    }
    # A name that is also to be found at a revision goes through upsert_item, in its order from the first on.
    taken |= {(item.namespace, item.key) for item in staged if item.expected_revision and item.key is not None}
    fresh, others = [], []
    for item in staged:
        name = (item.namespace, item.key)
        if name in taken or item.expected_revision:
            others.append(item)
        else:
            fresh.append(item)
            if item.key is not None:
                taken.add((item.namespace, item.key))
    return fresh, others


def _insert(
    session: Session,
    fresh: list[Staged],
    spaces: dict[str, int],
    pieces: dict[int, list[Piece]],
    model: Model | None,
) -> list[Row]:
    """Store items of new names: a statement a table, its rows numbered here."""
    named: dict[tuple[Any, ...], int | None] = {}

    def number(find: Any, namespace: str, key: str | None) -> int | None:
        if key is None:
            return None
        name = (find, namespace, key)
        if name not in named:
            named[name] = find(session, spaces[namespace], key)
        return named[name]

    now = values.clock()
    first_item, first_chunk = next_number(session, "memory_items"), next_number(session, "memory_chunks")
    items: list[tuple[Any, ...]] = []
    cuts: list[tuple[Any, ...]] = []
    carried, vectors, done = [], [], []
    for item_no, item in enumerate(fresh, first_item):
        space, item_id = spaces[item.namespace], uuid4()
        thread = number(thread_no, item.namespace, item.thread)
        user = number(user_no, item.namespace, item.user_key)
        expires = values.from_time(item.expires_at)
        created = now if item.created_at is None else values.from_time(item.created_at)
        items.append(
            (
                item_no, space, item_id.bytes, str(item_id) if item.key is None else item.key, item.content,
                item.metadata or "{}", dumped(normalize_tags(item.tags)) if item.tags else "[]",
                thread, user, item.actor, expires, created, now,
            )
        )  # fmt: skip
        done.append({"ord": item.ord, "item_id": item_id, "revision": 1, "status": "inserted"})
        for ordinal, text, start, end, vector in pieces.get(item.ord) or _whole(item):
            chunk_id = first_chunk + len(cuts)
            whole = text is None
            cuts.append(
                (chunk_id, space, item_no, ordinal, item.content if whole else text, 0 if whole else start,
                 len(item.content) if whole else end, session.now)
            )  # fmt: skip
            if vector is not None:
                vectors.append(vector)
                carried.append((chunk_id, space, item_no, thread, expires))
    session.many(
        """
        insert into memory_items (item_no, namespace_no, item_id, key, content, metadata, tags, thread_no, user_no,
                                  actor, expires_at, created_at, updated_at)
        values (?, ?, ?, ?, ?, jsonb(?), jsonb(?), ?, ?, ?, ?, ?, ?)
        """,
        items,
    )
    session.many(
        """
        insert into memory_chunks (chunk_id, namespace_no, item_no, ordinal, content, start_offset, end_offset,
                                   content_revision, created_at)
        values (?, ?, ?, ?, ?, ?, ?, 1, ?)
        """,
        cuts,
    )
    if model is not None and vectors:
        first = append_vectors(session, model.model_id, np.stack(vectors))
        session.many(
            """
            insert into embeddings (vec_id, model_id, created_at, chunk_id, namespace_no, item_no, thread_no,
                                    expires_at)
            values (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            ((first + n, model.model_id, session.now, *row) for n, row in enumerate(carried)),
        )
    return done


def _whole(item: Staged) -> Iterator[Piece]:
    if is_visible(item.content):
        yield (0, None, None, None, None)


def next_number(session: Session, table: str) -> int:
    """The number its next row would get, which stays true while this transaction is the writer."""
    return int(session.value("select seq from sqlite_sequence where name = ?", (table,)) or 0) + 1


def _upsert(session: Session, item: Staged, pieces: list[Piece], model: Model | None) -> Row:
    cut = [piece for piece in pieces if piece[1] is not None]
    vectors = [piece[4] for piece in pieces] if any(piece[4] is not None for piece in pieces) else None
    return upsert_item(
        session,
        item.namespace, item.key, item.content, item.metadata, item.tags, item.thread, item.user_key,
        item.expires_at, None, item.expected_revision, item.actor, item.created_at,
        [str(piece[1]) for piece in cut] or None,
        [int(piece[2] or 0) for piece in cut] or None,
        [int(piece[3] or 0) for piece in cut] or None,
        vectors,
        None if model is None else model.name,
    )[0]  # fmt: skip
