"""Figures of a scope, as stats in pg_0032_retention."""

from __future__ import annotations

import json

from ...requests import Row
from ..conditions import LIVE
from ..registry import function
from ..session import Session
from .namespaces import scope_nos


@function("read")
def stats(session: Session, scope: str = "*") -> list[Row]:
    """Per namespace and model in use: items by state, chunks of live items with and without a vector, and bytes.

    ``bytes``: of the texts, documents and vectors. A namespace without a model has one row.
    """
    namespaces = scope_nos(session, scope)
    within = "select namespace_no from namespaces where deleted_at is null"
    if namespaces is not None:
        within = "select value as namespace_no from json_each(:namespaces)"
    texts = "octet_length({0}.content) + octet_length({0}.metadata) + octet_length({0}.tags) + octet_length({0}.key)"
    return session.rows(
        f"""
        with scope (namespace_no) as materialized ({within}),
        items as (
            select i.namespace_no, count(*) as items, count(*) filter (where {LIVE}) as live,
                   count(*) filter (where i.deleted_at is null and i.expires_at <= :now) as expired,
                   count(*) filter (where i.deleted_at is not null) as deleted, sum({texts.format("i")}) as bytes
            from memory_items i where i.namespace_no in (select namespace_no from scope) group by i.namespace_no
        ), history as (
            select i.namespace_no, count(*) as revisions, sum({texts.format("r")}) as bytes
            from memory_items i join memory_item_revisions r on r.item_no = i.item_no
            where i.namespace_no in (select namespace_no from scope) group by i.namespace_no
        ), chunks as (
            select c.namespace_no, count(*) filter (where {LIVE}) as live, sum(octet_length(c.content)) as bytes
            from memory_chunks c join memory_items i on i.item_no = c.item_no
            where c.namespace_no in (select namespace_no from scope) group by c.namespace_no
        ), vectors as (
            select i.namespace_no, i.model_id, count(*) filter (where {LIVE}) as live, count(*) as vectors
            from embeddings i
            where i.namespace_no in (select namespace_no from scope) group by i.namespace_no, i.model_id
        )
        select n.path as namespace, m.name as model, coalesce(i.items, 0) as items, coalesce(i.live, 0) as live,
               coalesce(i.expired, 0) as expired, coalesce(i.deleted, 0) as deleted,
               coalesce(i.items, 0) + coalesce(h.revisions, 0) as revisions, coalesce(c.live, 0) as chunks,
               coalesce(e.live, 0) as embedded, coalesce(c.live, 0) - coalesce(e.live, 0) as unembedded,
               coalesce(i.bytes, 0) + coalesce(h.bytes, 0) + coalesce(c.bytes, 0) + coalesce(4 * m.dim * e.vectors, 0)
                   as bytes
        from namespaces n
        left join embedding_models m on m.retired_at is null
        left join items i on i.namespace_no = n.namespace_no
        left join history h on h.namespace_no = n.namespace_no
        left join chunks c on c.namespace_no = n.namespace_no
        left join vectors e on e.namespace_no = n.namespace_no and e.model_id = m.model_id
        where n.namespace_no in (select namespace_no from scope)
        order by n.sort_path, m.model_id
        """,
        {"now": session.now} | ({} if namespaces is None else {"namespaces": json.dumps(namespaces)}),
    )
