"""Many items in one call of SQL, as upsert_items in pg_0035_upsert_items. Programs stream by ``Store.upsert_items``."""

from __future__ import annotations

import json
from typing import Any

from ...errors import BadArgument
from ...namespaces import hash_path
from ...requests import Row
from .. import values
from ..merging import merge_each
from ..registry import function, functions
from ..session import Session
from ..tables.values import kind_of, read
from .checks import expiry, quoted


@function("write")
def upsert_items(session: Session, items: str | None, model: str | None = None) -> list[Row]:
    """Write a JSON list of items, each an object with the names of upsert_item's arguments, all or none.

    A row an item, in their order: ord (from 1), item_id, revision, status.
    """
    try:
        listed = json.loads(items) if items is not None else None
    except (ValueError, RecursionError):
        raise _malformed("is no JSON") from None
    if not isinstance(listed, list):
        raise _malformed(f"is {'NULL' if listed is None else type(listed).__name__}, not a list")
    staged, chunks = [], []
    for n, item in enumerate(listed, 1):
        found = _fields(f"items[{n}]", item)
        staged.append(_item_row(session, n, found))
        chunks += _chunk_rows(n, found)
    return sorted(merge_each(session, staged, chunks, model), key=lambda row: row["ord"])


def _fields(place: str, item: Any) -> dict[str, Any]:
    """The arguments of upsert_item that an object gives, as it takes them."""
    if not isinstance(item, dict):
        raise _malformed(f"{place} is not an object")
    takes = {p.name: p for p in functions()["upsert_item"].takes if p.name != "model"}
    found = {}
    for name, value in item.items():
        if name not in takes:
            raise BadArgument(
                f"{place}: has no field {quoted(name)}", hint="The fields are the arguments of upsert_item."
            )
        if value is not None:
            given = json.dumps(value) if isinstance(value, (list, dict)) else value
            found[name] = read(kind_of(takes[name].annotation), f"{place}.{name}", given)
    return found


def _item_row(session: Session, n: int, found: dict[str, Any]) -> tuple[Any, ...]:
    namespace = found.get("namespace")
    expires = expiry(found.get("expires_at"), found.get("ttl"), session.now, f"items[{n}].")
    return (
        n,
        namespace,
        hash_path(namespace) if namespace else None,
        *(found.get(name) for name in ("key", "content", "metadata", "tags", "thread", "user_key")),
        None if expires is None else values.to_time(expires),
        *(found.get(name) for name in ("expected_revision", "actor", "created_at")),
    )


def _chunk_rows(n: int, found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A row for each chunk there is a text, an offset or a vector of."""
    columns = [found.get(name) or [] for name in ("chunks", "chunk_starts", "chunk_ends", "vectors")]
    longest = max(map(len, columns))
    padded = [[*column, *[None] * (longest - len(column))] for column in columns]
    return [(n, ordinal, *piece) for ordinal, piece in enumerate(zip(*padded, strict=True))]


def _malformed(problem: str) -> BadArgument:
    return BadArgument(
        f"items: {problem}", hint='Give a list of objects: [{"namespace": "a", "key": "b", "content": "c"}].'
    )
