"""Reading one item: as it is, its chunks, its history, as it was. As in pg_0018_read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np

from ...errors import BadArgument
from ...namespaces import namespace_segments
from ...requests import Row
from .. import values
from ..conditions import LIVE
from ..models import find_model
from ..registry import function
from ..session import Session

_READ: dict[str, Callable[[Any], Any]] = {
    "namespace_id": values.to_uuid,
    "item_id": values.to_uuid,
    "metadata": values.to_json,
    "tags": values.to_json,
    "created_at": values.to_time,
    "updated_at": values.to_time,
    "superseded_at": values.to_time,
    "expires_at": values.to_time,
    "deleted_at": values.to_time,
}

_NAMED = "from namespaces n join memory_items i on i.namespace_no = n.namespace_no and i.key = :key"
_IN_LIVE_NAMESPACE = "where n.path = :namespace and n.deleted_at is null"


def shown(rows: list[Row]) -> list[Row]:
    """Rows of a statement, with ids, times, metadata and tags as Python has them."""
    for row in rows:
        for column in row.keys() & _READ.keys():
            row[column] = _READ[column](row[column])
    return rows


@function("read")
def get_item(session: Session, namespace: str, key: str) -> list[Row]:
    """The live item of that name, or no row."""
    namespace_segments(namespace)
    return shown(
        session.rows(
            f"""
            select n.namespace_id, i.item_id, i.content, json(i.metadata) as metadata, json(i.tags) as tags,
                   t.key as thread, u.key as user_key, i.actor, i.revision, i.content_revision, i.created_at,
                   i.updated_at, i.expires_at
            {_NAMED}
            left join threads t on t.thread_no = i.thread_no
            left join users u on u.user_no = i.user_no
            {_IN_LIVE_NAMESPACE} and {LIVE}
            """,
            {"namespace": namespace, "key": key, "now": session.now},
        )
    )


@function("read")
def get_chunks(session: Session, namespace: str, key: str, model: str | None = None) -> list[Row]:
    """The chunks of a live item in order, each with its vector of the model, None where it waits for one."""
    namespace_segments(namespace)
    some_default = session.value("select exists (select 1 from embedding_models where is_default = 1)")
    used = find_model(session, model) if model is not None or some_default else None
    rows = session.rows(
        f"""
        select c.chunk_id, c.ordinal, c.content, c.start_offset, c.end_offset, c.revision as chunk_revision,
               e.vec_id as vector
        {_NAMED}
        join memory_chunks c on c.item_no = i.item_no
        left join embeddings e on e.chunk_id = c.chunk_id and e.model_id = :model_id
        {_IN_LIVE_NAMESPACE} and {LIVE}
        order by c.ordinal
        """,
        {"namespace": namespace, "key": key, "now": session.now, "model_id": used.model_id if used else None},
    )
    embedded = [row for row in rows if row["vector"] is not None]
    if used is not None and embedded:
        vec_ids = np.array([row["vector"] for row in embedded], dtype=np.int64)
        vectors = session.vectors.fetch(used.model_id, used.dim, vec_ids)
        for row, vector in zip(embedded, vectors, strict=True):
            row["vector"] = vector.copy()  # not a view that keeps the vectors of all chunks alive
    return rows


@function("read")
def item_history(session: Session, namespace: str, key: str) -> list[Row]:
    """Every kept revision, the oldest first; the current one has no ``superseded_at``. Shows deleted items too."""
    namespace_segments(namespace)
    kept = (
        "revision, content, json(metadata) as metadata, json(tags) as tags, thread_no, user_no, actor, updated_at, "
        "{} as superseded_at, expires_at, deleted_at"
    )
    return shown(
        session.rows(
            f"""
            with item as (select i.item_no, i.item_id {_NAMED} {_IN_LIVE_NAMESPACE}),
            revisions as (
                select {kept.format("superseded_at")}
                from memory_item_revisions where item_no = (select item_no from item)
                union all
                select {kept.format("null")}
                from memory_items where item_no = (select item_no from item)
            )
            select (select item_id from item) as item_id, r.revision, r.content, r.metadata, r.tags, t.key as thread,
                   u.key as user_key, r.actor, r.updated_at, r.superseded_at, r.expires_at, r.deleted_at
            from revisions r
            left join threads t on t.thread_no = r.thread_no
            left join users u on u.user_no = r.user_no
            order by r.revision
            """,
            {"namespace": namespace, "key": key},
        )
    )


@function("read")
def item_as_of(session: Session, namespace: str, key: str, at: datetime | None) -> list[Row]:
    """The item as a reader saw it at that moment: the revision then current, unless deleted or expired by then."""
    if at is None:
        raise BadArgument("at: is null", hint="Give the moment to look back to.")
    return [
        row
        for row in item_history(session, namespace, key)
        if row["updated_at"] <= at
        and (row["superseded_at"] is None or row["superseded_at"] > at)
        and row.pop("deleted_at") is None
        and (row["expires_at"] is None or row["expires_at"] > at)
    ]
