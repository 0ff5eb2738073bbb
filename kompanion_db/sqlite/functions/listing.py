"""Pages of items, as list_items in pg_0018_read."""

from __future__ import annotations

import json

from ...requests import Row
from ..conditions import Conditions, conditions
from ..registry import function
from ..session import Session
from .checks import check_page, read_cursor, write_cursor
from .namespaces import scope_nos
from .reading import shown


@function("read")
def list_items(
    session: Session,
    scope: str,
    filter: str | None = None,
    tags_any: list[str] | None = None,
    tags_all: list[str] | None = None,
    tags_none: list[str] | None = None,
    thread: str | None = None,
    page_size: int = 50,
    after: str | None = None,
) -> list[Row]:
    """One page of the live items of a scope, newest first; ``after``: the cursor of the last row before."""
    namespaces = scope_nos(session, scope)
    asked = conditions(
        session,
        scope_nos=namespaces,
        thread=thread,
        tags_any=tags_any,
        tags_all=tags_all,
        tags_none=tags_none,
        filter=filter,
    )
    check_page(page_size)
    parameters = asked.parameters | {"page_size": page_size}
    place = read_cursor(after)
    if place is not None:
        parameters |= {"at": place[0], "id": place[1]}
    page = _page(asked, namespaces, "and (i.created_at, i.item_id) < (:at, :id)" if place else "")
    if namespaces is not None:
        parameters["namespaces"] = json.dumps(namespaces)
    rows = session.rows(
        f"""
        with page (item_no) as materialized ({page})
        select n.path as namespace, n.namespace_id, i.item_id, i.key, i.content, json(i.metadata) as metadata,
               json(i.tags) as tags, t.key as item_thread, u.key as user_key, i.actor, i.revision, i.content_revision,
               i.created_at, i.updated_at, i.expires_at, i.created_at as cursor
        from page p
        cross join memory_items i on i.item_no = p.item_no
        cross join namespaces n on n.namespace_no = i.namespace_no
        left join threads t on t.thread_no = i.thread_no
        left join users u on u.user_no = i.user_no
        order by i.created_at desc, i.item_id desc
        """,
        parameters,
    )
    for row in rows:
        row["cursor"] = write_cursor(row["cursor"], row["item_id"])
    return shown(rows)


def _page(asked: Conditions, namespaces: list[int] | None, beyond: str) -> str:
    """SQL: the item_no of a page. Few matches are sorted; else each namespace is read in order, up to a page of it."""
    newest = "order by {0}.created_at desc, {0}.item_id desc limit :page_size"
    if asked.at_most is not None:
        return f"select i.item_no from memory_items i where {asked.sql} {beyond} {newest.format('+i')}"
    single = namespaces is not None and len(namespaces) == 1
    one = f"""
        select i.item_no from memory_items i indexed by memory_items_created_ix
        where i.namespace_no = {":scope" if single else "n.namespace_no"} and {asked.in_order} {beyond}
        {newest.format("i")}"""
    if single:
        return one
    each = "namespaces" if namespaces is None else "(select value as namespace_no from json_each(:namespaces))"
    return f"""
        select o.item_no from {each} n cross join memory_items o on o.item_no in ({one})
        {newest.format("o")}"""
