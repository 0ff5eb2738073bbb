"""Writing one item, as in pg_0014_upsert: insert, revise or leave unchanged, with its chunks and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import numpy as np

from ...errors import BadArgument
from ...ids import new_id
from ...requests import Row
from ...types import Vector
from .. import values
from ..chunks import check_chunks, insert_chunks, is_visible, replace_chunks
from ..documents import metadata_text
from ..items import Body, Stored, check_expected, find_item, revise, written
from ..models import Model, check_vectors, find_model
from ..registry import function
from ..session import Session
from ..vectors import Carried, store_first_vectors
from .checks import check_content, check_moment, check_name, dumped, expiry, normalize_tags
from .namespaces import namespace_no
from .scopes import thread_no, user_no


class Cut(NamedTuple):
    """Content cut into chunks: one text, start and end for each."""

    texts: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]


class Embedded(NamedTuple):
    """Vectors of one model, in the order of the chunks; None keeps the one a chunk has."""

    model: Model
    vectors: Sequence[Vector | None]


@function("write")
def upsert_item(
    session: Session,
    namespace: str,
    key: str | None,
    content: str,
    metadata: str | None = "{}",
    tags: list[str] | None = None,
    thread: str | None = None,
    user_key: str | None = None,
    expires_at: datetime | None = None,
    ttl: timedelta | None = None,
    expected_revision: int | None = None,
    actor: str | None = None,
    created_at: datetime | None = None,
    chunks: list[str] | None = None,
    chunk_starts: list[int] | None = None,
    chunk_ends: list[int] | None = None,
    vectors: Sequence[Vector | None] | None = None,
    model: str | None = None,
) -> list[Row]:
    """Make the item of that name exactly this; one row: item_id, revision, status."""
    space = namespace_no(session, namespace)
    item_id = values.to_uuid(new_id())
    name = str(item_id) if key is None else key
    label = normalize_tags(tags)
    expires = expiry(expires_at, ttl, session.now)
    check_name("key", name)
    check_content(content)
    document = metadata_text(metadata)
    created = values.from_time(created_at)
    check_moment("created_at", created)
    cut = _cut(content, chunks, chunk_starts, chunk_ends)
    embedded = None
    if vectors is not None:
        embedded = Embedded(find_model(session, model), vectors)
        check_vectors("vectors", vectors, embedded.model, nulls=True)
    body = Body(
        content,
        document,
        dumped(label) if label else "[]",
        thread_no(session, space, thread),
        user_no(session, space, user_key),
        expires,
    )
    found = None if key is None else find_item(session, space, name)
    check_expected(found, namespace, name, expected_revision, session.now)
    if found is None:
        _insert(session, space, item_id, name, body, actor, created, cut, embedded)
        return [written(item_id, 1, "inserted")]
    return [_write(session, space, found, body, actor, cut if chunks or vectors is not None else None, embedded)]


def _cut(content: str, texts: list[str] | None, starts: list[int] | None, ends: list[int] | None) -> Cut:
    """The chunks given; without any the content is one, or none when nothing of it is visible."""
    if texts:
        check_chunks(content, texts, starts, ends)
        return Cut(texts, starts or (), ends or ())
    return Cut((content,), (0,), (len(content),)) if is_visible(content) else Cut((), (), ())


def _insert(
    session: Session,
    space: int,
    item_id: UUID,
    key: str,
    body: Body,
    actor: str | None,
    created: int | None,
    cut: Cut,
    embedded: Embedded | None,
) -> None:
    """Store an item of a new name."""
    now = values.clock()
    session.run(
        """
        insert into memory_items (namespace_no, item_id, key, content, metadata, tags, thread_no, user_no, expires_at,
                                  actor, created_at, updated_at)
        values (?, ?, ?, ?, jsonb(?), jsonb(?), ?, ?, ?, ?, ?, ?)
        """,
        (space, item_id.bytes, key, *body, actor, now if created is None else created, now),
    )
    item_no = session.conn.last_insert_rowid()
    ids = insert_chunks(session, item_no, space, 1, list(zip(range(len(cut.texts)), *cut, strict=True)))
    if embedded is not None:
        _check_number(embedded, len(ids))
        given = [(no, v) for no, v in zip(ids, embedded.vectors, strict=True) if v is not None]
        _store(session, embedded.model, Carried(space, item_no, body.thread_no, body.expires_at), given)


def _write(
    session: Session,
    space: int,
    found: Stored,
    body: Body,
    actor: str | None,
    cut: Cut | None,
    embedded: Embedded | None,
) -> Row:
    """Bring an item that is there to what it is to be. Content that nobody cut is cut by the trigger.

    A chunk that stays keeps what it has of each model: a vector, or its place in the queue.
    """
    changed = found.content != body.content
    if cut is None and changed and _is_chunk(session, found.item_no, body.content):
        cut = Cut((body.content,), (0,), (len(body.content),))  # one chunk has this text, and keeps its vectors
    if cut is not None:
        replace_chunks(session, found.item_no, space, found.revision + 1 if changed else found.content_revision, *cut)
    answer = found.answer("unchanged")
    if not found.is_at(body):
        answer = written(values.to_uuid(found.item_id), revise(session, found, body, actor), "revised")
    if embedded is not None:
        _put_vectors(session, Carried(space, found.item_no, body.thread_no, body.expires_at), embedded)
    return answer


def _is_chunk(session: Session, item_no: int, text: str) -> bool:
    return session.one("select 1 from memory_chunks where item_no = ? and content = ?", (item_no, text)) is not None


def _put_vectors(session: Session, carried: Carried, embedded: Embedded) -> None:
    """Store the vectors of the chunks of a live item, save those that are there already."""
    model = embedded.model
    stored = session.all(
        """
        select c.chunk_id, e.vec_id
        from memory_chunks c left join embeddings e on e.chunk_id = c.chunk_id and e.model_id = ?
        where c.item_no = ? order by c.ordinal
        """,
        (model.model_id, carried.item_no),
    )
    _check_number(embedded, len(stored))
    given = [(no, at, v) for (no, at), v in zip(stored, embedded.vectors, strict=True) if v is not None]
    known = _vectors(session, model, [at for _, at, _ in given if at is not None])
    fresh = [(no, at, v) for no, at, v in given if at is None or not np.array_equal(known[at], v)]
    session.many("delete from embeddings where vec_id = ?", [(at,) for _, at, _ in fresh if at is not None])
    _store(session, model, carried, [(no, v) for no, _, v in fresh])


def _vectors(session: Session, model: Model, ids: list[int]) -> dict[int, Vector]:
    """A few vectors by id. Those of late are looked up in the log: a view of all that is in it costs a writer more."""
    known: dict[int, Vector] = {}
    for vec_id in ids:
        found = session.value("select vector from vec_log where seq = ?", (vec_id,))
        if found is not None:
            known[vec_id] = np.frombuffer(found, dtype="<f4")
    folded = [vec_id for vec_id in ids if vec_id not in known]
    if folded:
        vectors = session.vectors.fetch(model.model_id, model.dim, np.array(folded, dtype=np.int64))
        known.update(zip(folded, vectors, strict=True))
    return known


def _store(session: Session, model: Model, carried: Carried, given: list[tuple[int, Vector]]) -> None:
    if given:
        store_first_vectors(session, model, carried, [no for no, _ in given], np.stack([v for _, v in given]))


def _check_number(embedded: Embedded, chunks: int) -> None:
    if len(embedded.vectors) != chunks:
        raise BadArgument(
            f"vectors: {len(embedded.vectors)} vectors for {chunks} chunks",
            hint="Give one vector for each chunk, in their order; content without chunks given is one chunk.",
        )
