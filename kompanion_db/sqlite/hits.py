"""From numbers of vectors to rows: only what lives, in scope, at the time of the transaction, is a hit."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from ..metadata import DECODER, decoded, unreadable
from ..requests import Row
from . import values
from .candidates import Question
from .conditions import Conditions
from .exact import Doubles, Rows
from .functions.namespaces import BELOW
from .session import Session

SHOWN_AT_ONCE = 200
"""Of so many vectors all columns are read at once; of more, first only whether they are hits."""

_COLUMNS = """
    n.path, n.namespace_id, i.item_id, i.key, c.ordinal, c.content, json(i.metadata), json(i.tags), t.key, i.revision,
    i.created_at, i.updated_at, i.expires_at
"""

_JOINS = """
    cross join memory_items i on i.item_no = e.item_no
    cross join memory_chunks c on c.chunk_id = e.chunk_id
    left join threads t on t.thread_no = i.thread_no
"""


def _live(columns: str, joins: str) -> str:
    return f"""
        select j.key, e.chunk_id, e.item_no {columns}
        from json_each(:ids) j
        cross join embeddings e on e.vec_id = j.value
        cross join namespaces n on n.namespace_no = e.namespace_no and n.deleted_at is null
        {joins}
        where e.deleted_at is null and (e.expires_at is null or e.expires_at > :now)
        """


_LIVE, _LIVE_SHOWN = _live("", ""), _live("," + _COLUMNS, _JOINS)

_scan: Any = DECODER.scan_once  # type: ignore[attr-defined] # what SQLite writes has no white space around it


class Hit(NamedTuple):
    """A chunk found; ``columns``: what is shown of it, where it was read."""

    distance: float
    chunk_id: int
    item_no: int
    columns: tuple[Any, ...] = ()


def live_hits(session: Session, ids: Rows, distances: Doubles) -> list[Hit]:
    """The vectors of these that live, in order of distance, then chunk. That they match is known."""
    found = session.all(_LIVE_SHOWN if len(ids) <= SHOWN_AT_ONCE else _LIVE, {"ids": _dumped(ids), "now": session.now})
    measured = distances.tolist()
    return _ordered([Hit(measured[row[0]], row[1], row[2], row[3:]) for row in found])


def matching_hits(
    session: Session, ids: Rows, distances: Doubles, question: Question, asked: Conditions | None
) -> list[Hit]:
    """The vectors of these that live and match a question, ``asked`` being its conditions; likewise."""
    parameters = {"ids": _dumped(ids), "now": session.now, "path": question.scope}
    below = "" if question.scope == "*" else f"and {BELOW.replace(':scope', ':path')}"
    items = ""
    if asked is not None:
        parameters |= asked.parameters
        items = f"cross join memory_items i on i.item_no = e.item_no and {asked.in_order}"
    found = session.all(
        f"""
        select j.place, e.chunk_id, e.item_no
        from (select key as place, value as vec_id from json_each(:ids)) j
        cross join embeddings e on e.vec_id = j.vec_id
        cross join namespaces n on n.namespace_no = e.namespace_no and n.deleted_at is null {below}
        {items}
        where e.deleted_at is null and (e.expires_at is null or e.expires_at > :now)
        """,
        parameters,
    )
    measured = distances.tolist()
    return _ordered([Hit(measured[place], chunk_id, item_no) for place, chunk_id, item_no in found])


def best_of_items(hits: list[Hit]) -> list[Hit]:
    """Of each item the first of its hits."""
    best: dict[int, Hit] = {}
    for hit in hits:
        best.setdefault(hit.item_no, hit)
    return hits if len(best) == len(hits) else list(best.values())


def chunks_for(hits: list[Hit], k: int) -> int:
    """How many hits it takes to see ``k`` items; of fewer items, to see them all."""
    seen: set[int] = set()
    for place, hit in enumerate(hits):
        if len(seen) == k:
            return place
        seen.add(hit.item_no)
    return len(hits)


def shown(session: Session, hits: list[Hit], metric: str) -> list[Row]:
    """Hits as search returns them."""
    if hits and not hits[0].columns:
        found = session.all(
            f"""
            select {_COLUMNS}
            from json_each(?) j
            cross join memory_chunks c on c.chunk_id = j.value
            cross join memory_items i on i.item_no = c.item_no
            cross join namespaces n on n.namespace_no = i.namespace_no
            left join threads t on t.thread_no = i.thread_no
            """,
            ("[" + ",".join(str(hit.chunk_id) for hit in hits) + "]",),
        )
        hits = [hit._replace(columns=row) for hit, row in zip(hits, found, strict=True)]
    spaces: dict[bytes, UUID] = {}  # most hits are in one namespace, or few
    try:
        return [_row(rank, hit, metric, spaces) for rank, hit in enumerate(hits, 1)]
    except RecursionError:  # of JSON that another tool wrote
        raise unreadable() from None


def _row(rank: int, hit: Hit, metric: str, spaces: dict[bytes, UUID]) -> Row:
    distance = hit.distance
    (
        path, namespace_id, item_id, key, ordinal, chunk, metadata, tags, thread, revision,
        created_at, updated_at, expires_at,
    ) = hit.columns  # fmt: skip
    space = spaces.get(namespace_id)
    if space is None:
        space = spaces[namespace_id] = values.to_uuid(namespace_id)
    created = values.to_time(created_at)
    try:
        described = {} if metadata == "{}" else _scan(metadata, 0)[0]
    except ValueError:  # of a number with thousands of digits
        described = decoded(metadata)
    return {
        "rank": rank,
        "namespace": path,
        "namespace_id": space,
        "item_id": values.to_uuid(item_id),
        "key": key,
        "chunk_id": hit.chunk_id,
        "ordinal": ordinal,
        "chunk": chunk,
        "metadata": described,
        "tags": [] if tags == "[]" else _scan(tags, 0)[0],
        "item_thread": thread,
        "revision": revision,
        "distance": distance,
        "score": 1 - distance if metric == "cosine" else 1 / (1 + distance) if metric == "l2" else -distance,
        "created_at": created,
        "updated_at": created if updated_at == created_at else values.to_time(updated_at),
        "expires_at": None if expires_at is None else values.to_time(expires_at),
    }


def _ordered(hits: list[Hit]) -> list[Hit]:
    # They come by distance, and equally near ones by number of vector: seldom is there anything to sort.
    hits.sort(key=_by_chunk)
    return hits


def _by_chunk(hit: Hit) -> tuple[float, int]:
    return hit.distance, hit.chunk_id


def _dumped(ids: Rows) -> str:
    return str(ids.tolist())
