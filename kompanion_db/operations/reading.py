"""Reading items: one, a page of a scope, the history of one, one as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .. import arguments as check
from ..requests import Row, Steps, rows_of
from ..types import Item, ItemChunk, Revision, Stats


def get_item(namespace: str, key: str) -> Steps[Item | None]:
    """Read one live item, or None. Reading never writes: ``touch_item`` extends a life. Raises BadNamespace."""
    names: dict[str, Any] = {"namespace": check.text("namespace", namespace), "key": check.text("key", key)}
    rows = yield from rows_of("get_item", **names)
    return Item(**names, **rows[0]) if rows else None


def get_chunks(namespace: str, key: str, *, model: str | None = None) -> Steps[list[ItemChunk]]:
    """The chunks of a live item in order, with their vectors of a model (None: the default one) as float32 arrays.

    Raises BadNamespace, UnknownModel, DamagedStore.
    """
    rows = yield from rows_of(
        "get_chunks",
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        model=check.text("model", model),
    )
    return [ItemChunk(**row) for row in rows]


def list_items(
    scope: str,
    *,
    filter: Mapping[str, Any] | None = None,
    tags_any: Sequence[str] | None = None,
    tags_all: Sequence[str] | None = None,
    tags_none: Sequence[str] | None = None,
    thread: str | None = None,
    page_size: int = 50,
    after: str | None = None,
) -> Steps[list[Item]]:
    """One page of the live items of a scope, newest first; ``after``: the cursor of the last one before.

    Raises BadNamespace, BadFilter, BadArgument, TooLarge.
    """
    rows = yield from rows_of(
        "list_items",
        scope=check.text("scope", scope),
        **conditions(filter, tags_any, tags_all, tags_none, thread),
        page_size=check.integer("page_size", page_size),
        after=check.text("after", after),
    )
    return [Item(**with_thread(row)) for row in rows]


def item_history(namespace: str, key: str) -> Steps[list[Revision]]:
    """Every kept revision, the oldest first, also of a deleted item. Raises BadNamespace.

    Empty when it never was, was purged, or its namespace is deleted.
    """
    rows = yield from rows_of("item_history", namespace=check.text("namespace", namespace), key=check.text("key", key))
    return [Revision(**row) for row in rows]


def item_as_of(namespace: str, key: str, at: datetime) -> Steps[Revision | None]:
    """The item as a reader saw it at a moment (aware datetime), or None when it was not there, deleted or expired.

    Raises BadNamespace, BadArgument.
    """
    rows = yield from rows_of(
        "item_as_of",
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        at=check.moment("at", at),
    )
    return Revision(**rows[0]) if rows else None


def stats(scope: str = "*") -> Steps[list[Stats]]:
    """Figures per namespace and model in use; reads every row of the scope. Raises BadNamespace."""
    rows = yield from rows_of("stats", scope=check.text("scope", scope))
    return [Stats(**row) for row in rows]


def conditions(
    filter: Mapping[str, Any] | None,
    tags_any: Sequence[str] | None,
    tags_all: Sequence[str] | None,
    tags_none: Sequence[str] | None,
    thread: str | None,
) -> dict[str, Any]:
    """The conditions that list_items and search share, as arguments of their SQL functions."""
    return {
        "filter": check.json_filter("filter", filter),
        "tags_any": check.texts("tags_any", tags_any),
        "tags_all": check.texts("tags_all", tags_all),
        "tags_none": check.texts("tags_none", tags_none),
        "thread": check.text("thread", thread),
    }


def with_thread(row: Row) -> Row:
    """``item_thread`` as ``thread``: in SQL that name is taken by the argument."""
    row["thread"] = row.pop("item_thread")
    return row
