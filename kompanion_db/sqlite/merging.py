"""Many items at once, as in pg_0034_merge: new ones in a few statements, the others one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from ..errors import BadArgument
from ..ids import new_ids
from ..requests import Row
from ..types import Vector
from . import values
from .chunks import check_chunks, is_visible
from .documents import metadata_text
from .functions.checks import check_content, check_moment, check_name, dumped, expiry, normalize_tags
from .functions.namespaces import namespace_no
from .functions.scopes import thread_no, user_no
from .functions.writing import upsert_item
from .models import Model, check_vector, find_model, fit
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


class Ready(NamedTuple):
    """An item that was checked: what is stored of it; times are microseconds."""

    item: Staged
    metadata: str
    tags: str
    expires: int | None
    created: int | None


def merge(
    session: Session, items: Sequence[Sequence[Any]], chunks: Sequence[Sequence[Any]], model: str | None
) -> list[Row]:
    """Write items with their chunks and vectors, all or none; rows: status, items. Raises what upsert_item raises."""
    fresh, _, others = _merged(session, items, chunks, model)
    counts = Counter(row["status"] for row in others)
    counts["inserted"] += len(fresh)
    return [{"status": status, "items": number} for status, number in counts.items() if number]


def merge_each(
    session: Session, items: Sequence[Sequence[Any]], chunks: Sequence[Sequence[Any]], model: str | None
) -> list[Row]:
    """As ``merge``; a row an item: ord, item_id, revision, status."""
    fresh, ids, others = _merged(session, items, chunks, model)
    return others + [
        {"ord": ready.item.ord, "item_id": values.to_uuid(item_id), "revision": 1, "status": "inserted"}
        for ready, item_id in zip(fresh, ids, strict=True)
    ]


def _merged(
    session: Session, items: Sequence[Sequence[Any]], chunks: Sequence[Sequence[Any]], model: str | None
) -> tuple[list[Ready], list[bytes], list[Row]]:
    """Write them: the items of new names with their ids, and a row for each other one."""
    pieces: defaultdict[int, list[Piece]] = defaultdict(list)
    embedded = False
    for n, *piece in chunks:
        pieces[n].append(tuple(piece))
        embedded = embedded or piece[-1] is not None
    found = find_model(session, model) if embedded or model is not None else None
    staged = [Staged._make(row) for row in items]
    spaces = {path: namespace_no(session, path) for path in dict.fromkeys(item.namespace for item in staged)}
    doubtful = None if found is None or _all_fit([row[-1] for row in chunks], found) else found
    checked = [_checked(item, pieces.get(item.ord, []), doubtful, session.now) for item in staged]
    fresh, others = _sorted_out(session, checked, spaces)
    ids = _insert(session, fresh, spaces, pieces, found)
    others.sort(key=lambda item: (item.namespace_id.bytes, item.key or "", item.ord))
    rows = [{"ord": item.ord, **_upsert(session, item, pieces.get(item.ord, []), found)} for item in others]
    return fresh, ids, rows


def _all_fit(given: list[Vector | None], model: Model) -> bool:
    """Whether check_vector would let all of these pass, asked at once."""
    vectors = [vector for vector in given if vector is not None]
    if any(vector.shape != (model.dim,) for vector in vectors):
        return False
    return not vectors or bool(fit(np.stack(vectors), model.metric).all())


def _checked(item: Staged, pieces: list[Piece], model: Model | None, now: int) -> Ready:
    """The rules of upsert_item, named by the place of the item; with a model also those of its vectors."""
    place = f"items[{item.ord}]."
    for name, value in (("key", item.key), ("thread", item.thread), ("user_key", item.user_key)):
        if value is not None:
            check_name(place + name, value)
    tags = dumped(normalize_tags(item.tags, place)) if item.tags else "[]"
    check_content(item.content, place + "content")
    metadata = metadata_text(item.metadata, place + "metadata")
    expires = None if item.expires_at is None else expiry(item.expires_at, None, now, place)
    created = values.from_time(item.created_at)
    check_moment(place + "created_at", created)
    if pieces:
        _check_pieces(item, pieces, model, place)
    return Ready(item, metadata, tags, expires, created)


def _check_pieces(item: Staged, pieces: list[Piece], model: Model | None, place: str) -> None:
    if pieces[0][1] is not None:
        _, texts, starts, ends, _ = zip(*pieces, strict=True)
        check_chunks(item.content, texts, starts, ends, place)
    elif len(pieces) > 1 or not is_visible(item.content):
        raise BadArgument(
            f"{place}vectors: there are more vectors or offsets than chunks",
            hint="Give one start, one end and at most one vector for each chunk; "
            "content without chunks given is one chunk.",
        )
    if model is not None:
        for ordinal, _, _, _, vector in pieces:
            if vector is not None:
                check_vector(f"{place}vectors[{ordinal + 1}]", vector, model)


def _sorted_out(session: Session, checked: list[Ready], spaces: dict[str, int]) -> tuple[list[Ready], list[Staged]]:
    """The items of new names, each name once, and all others."""
    staged = [ready.item for ready in checked]
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
    for ready in checked:
        item = ready.item
        name = (item.namespace, item.key)
        if name in taken or item.expected_revision:
            others.append(item)
        else:
            fresh.append(ready)
            if item.key is not None:
                taken.add((item.namespace, item.key))
    return fresh, others


def _insert(
    session: Session,
    fresh: list[Ready],
    spaces: dict[str, int],
    pieces: dict[int, list[Piece]],
    model: Model | None,
) -> list[bytes]:
    """Store items of new names: a statement a table, its rows numbered here; their ids."""
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
    ids = new_ids(len(fresh))
    items: list[tuple[Any, ...]] = []
    cuts: list[tuple[Any, ...]] = []
    carried, vectors = [], []
    # Each is older than the next by a microsecond, so that lists have them in the order in which they were given.
    for item_no, (item, metadata, tags, expires, created), item_id in zip(count(first_item), fresh, ids):
        space = spaces[item.namespace]
        thread = number(thread_no, item.namespace, item.thread)
        user = number(user_no, item.namespace, item.user_key)
        made = now - len(fresh) + item_no - first_item
        items.append(
            (
                item_no, space, item_id, str(UUID(bytes=item_id)) if item.key is None else item.key, item.content,
                metadata, tags, thread, user, item.actor, expires, made if created is None else created, now,
            )
        )  # fmt: skip
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
    session.insert(
        "insert into memory_items (item_no, namespace_no, item_id, key, content, metadata, tags, thread_no, user_no, "
        "actor, expires_at, created_at, updated_at)",
        "(?, ?, ?, ?, ?, jsonb(?), jsonb(?), ?, ?, ?, ?, ?, ?)",
        items,
    )
    session.insert(
        "insert into memory_chunks (chunk_id, namespace_no, item_no, ordinal, content, start_offset, end_offset, "
        "content_revision, created_at)",
        "(?, ?, ?, ?, ?, ?, ?, 1, ?)",
        cuts,
    )
    if model is not None and vectors:
        first = append_vectors(session, model.model_id, np.stack(vectors))
        session.insert(
            "insert into embeddings (vec_id, model_id, created_at, chunk_id, namespace_no, item_no, thread_no, "
            "expires_at)",
            "(?, ?, ?, ?, ?, ?, ?, ?)",
            [(first + n, model.model_id, session.now, *row) for n, row in enumerate(carried)],
        )
    return ids


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
