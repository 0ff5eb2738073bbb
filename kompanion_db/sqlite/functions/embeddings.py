"""Chunks and their vectors, as in pg_0013_embeddings: replaced, claimed by workers, accepted for their text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import zip_longest
from uuid import UUID

import numpy as np

from ...errors import BadArgument, StaleChunk
from ...namespaces import namespace_segments
from ...requests import Row
from ...types import Vector
from .. import values
from ..chunks import check_chunks, enqueue_item, replace_chunks
from ..conditions import LIVE
from ..models import check_vectors, find_model
from ..registry import function, one_value
from ..session import Session
from ..vectors import store_vectors
from .checks import no_item, quoted

_LONGEST_LEASE = timedelta(days=360_000)
"""A thousand years, as PostgreSQL compares them."""


@function("write")
def put_chunks(
    session: Session,
    namespace: str,
    key: str,
    texts: list[str] | None,
    starts: list[int] | None,
    ends: list[int] | None,
    content_revision: int | None = None,
) -> list[Row]:
    """Replace the chunks of an item in one step; unchanged texts keep their vectors, the others wait for new ones."""
    namespace_segments(namespace)
    item = session.one(
        """
        select i.item_no, i.namespace_no, i.content, i.content_revision
        from namespaces n join memory_items i on i.namespace_no = n.namespace_no
        where n.path = ? and i.key = ?
        """,
        (namespace, key),
    )
    if item is None:
        raise no_item(namespace, key)
    item_no, namespace_no, content, current = item
    if content_revision is not None and content_revision != current:
        raise StaleChunk(
            f"content_revision: the chunks were cut from revision {content_revision} of {quoted(key)}, "
            f"its content is now of revision {current}",
            hint="Read the item again and cut it anew.",
        )
    check_chunks(content, texts or [], starts, ends)
    replace_chunks(session, item_no, namespace_no, current, texts or [], starts or [], ends or [])
    enqueue_item(session, item_no)
    rows = session.rows(
        """
        select c.chunk_id, c.ordinal, c.revision as chunk_revision,
               (select json_group_array(m.name order by m.model_id)
                from embeddings e join embedding_models m on m.model_id = e.model_id
                where e.chunk_id = c.chunk_id) as embedded
        from memory_chunks c where c.item_no = ? order by c.ordinal
        """,
        (item_no,),
    )
    for row in rows:
        row["embedded"] = values.to_json(row["embedded"])
    return rows


@function("write")
def put_embeddings(
    session: Session,
    namespace_ids: Sequence[UUID] | None,
    chunk_ids: Sequence[int] | None,
    chunk_revisions: Sequence[int] | None,
    vectors: Sequence[Vector | None] | None,
    model: str | None = None,
) -> list[Row]:
    """Store vectors for chunks that are still at the revision they were made from; the others are stale."""
    found = find_model(session, model)
    if len({None if c is None else len(c) for c in (namespace_ids, chunk_ids, chunk_revisions, vectors)}) > 1:
        raise BadArgument(
            "namespace_ids, chunk_ids, chunk_revisions, vectors: differ in length",
            hint="Give one of each for every chunk, as pending_embeddings returned them.",
        )
    check_vectors("vectors", vectors or (), found)
    latest: dict[tuple[UUID, int], tuple[int, Vector | None]] = {}
    given = zip(namespace_ids or (), chunk_ids or (), chunk_revisions or (), vectors or (), strict=True)
    for namespace_id, chunk_id, revision, vector in given:
        latest.pop((namespace_id, chunk_id), None)  # given twice, the last one stands, at its place
        latest[namespace_id, chunk_id] = revision, vector
    current = {pair: vector for pair, (revision, vector) in latest.items() if _is_current(session, *pair, revision)}
    if current:
        store_vectors(
            session,
            found,
            [chunk_id for _, chunk_id in current],
            np.stack([v for v in current.values() if v is not None]),
        )
    return [
        {"namespace_id": pair[0], "chunk_id": pair[1], "status": "stored" if pair in current else "stale"}
        for pair in latest
    ]


@function("write")
def pending_embeddings(
    session: Session,
    model: str | None = None,
    batch: int = 100,
    worker: str | None = None,
    lease: timedelta | None = None,
) -> list[Row]:
    """Hand out chunks that need a vector, each to one worker until its lease ends."""
    found = find_model(session, model)
    if batch is None or not 1 <= batch <= 10000:
        raise BadArgument(
            f"batch: {'NULL' if batch is None else batch} is not between 1 and 10000",
            hint="Ask for as many chunks as one call to the embedder takes.",
        )
    if lease is None:
        lease = timedelta(seconds=session.setting("embedding_lease"))
    elif not timedelta(0) <= lease <= _LONGEST_LEASE:
        raise BadArgument(
            f"lease: {lease} is negative or too long",
            hint="Give the time one batch takes to embed, such as interval '10 minutes'.",
        )
    now = values.clock()  # a lease runs from here, not from when a long transaction began
    rows = session.rows(
        f"""
        select n.path as namespace, n.namespace_id, q.chunk_id, c.revision as chunk_revision, c.content
        from embedding_queue q
        join memory_chunks c on c.chunk_id = q.chunk_id
        join memory_items i on i.item_no = c.item_no
        join namespaces n on n.namespace_no = c.namespace_no and n.deleted_at is null
        where q.model_id = :model and (q.leased_until is null or q.leased_until <= :clock) and {LIVE}
        order by q.created_at, q.chunk_id
        limit :batch
        """,
        {"model": found.model_id, "clock": now, "now": session.now, "batch": batch},
    )
    session.many(
        "update embedding_queue set leased_until = ?, worker = ? where chunk_id = ? and model_id = ?",
        [(now + lease // timedelta(microseconds=1), worker, row["chunk_id"], found.model_id) for row in rows],
    )
    for row in rows:
        row["namespace_id"] = values.to_uuid(row["namespace_id"])
    return rows


@function("write")
def release_embeddings(
    session: Session,
    namespace_ids: Sequence[UUID] | None,
    chunk_ids: Sequence[int] | None,
    model: str | None = None,
    worker: str | None = None,
) -> list[Row]:
    """Give back what a worker has claimed and cannot embed, for the next to claim; how many there were."""
    model_id = find_model(session, model).model_id
    if len({None if c is None else len(c) for c in (namespace_ids, chunk_ids)}) > 1:
        raise BadArgument(
            "namespace_ids, chunk_ids: differ in length",
            hint="Give one of each for every chunk, as pending_embeddings returned them.",
        )
    released = 0
    for namespace_id, chunk_id in zip(namespace_ids or (), chunk_ids or (), strict=True):
        released += session.run(
            """
            update embedding_queue set leased_until = null, worker = null
            where chunk_id = ? and model_id = ? and leased_until is not null and worker is ?
              and exists (select 1 from memory_chunks c join namespaces n on n.namespace_no = c.namespace_no
                          where c.chunk_id = embedding_queue.chunk_id and n.namespace_id = ?)
            """,
            (chunk_id, model_id, worker, None if namespace_id is None else namespace_id.bytes),
        )
    return one_value("release_embeddings", released)


@function("read")
def embedded_chunks(
    session: Session,
    namespaces: Sequence[str] | None,
    keys: Sequence[str | None] | None,
    model: str | None = None,
) -> list[Row]:
    """The chunk texts of these items that have a vector already: what a writer need not embed again."""
    model_id = find_model(session, model).model_id
    pairs = list(zip_longest(namespaces or (), keys or ()))
    for namespace in {namespace for namespace, _ in pairs}:
        namespace_segments(namespace)
    return [
        {"ord": n, "content": content}
        for n, (namespace, key) in enumerate(pairs, 1)
        for (content,) in session.all(
            f"""
            select c.content
            from namespaces n
            join memory_items i on i.namespace_no = n.namespace_no
            join memory_chunks c on c.item_no = i.item_no
            join embeddings e on e.chunk_id = c.chunk_id and e.model_id = :model
            where n.path = :namespace and n.deleted_at is null and i.key = :key and {LIVE}
            order by c.ordinal
            """,
            {"model": model_id, "namespace": namespace, "key": key, "now": session.now},
        )
    ]


def _is_current(session: Session, namespace_id: UUID, chunk_id: int, revision: int) -> bool:
    found = session.one(
        """
        select 1 from memory_chunks c join namespaces n on n.namespace_no = c.namespace_no
        where c.chunk_id = ? and c.revision = ? and n.namespace_id = ?
        """,
        (chunk_id, revision, namespace_id.bytes),
    )
    return found is not None
