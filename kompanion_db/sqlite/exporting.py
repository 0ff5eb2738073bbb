"""Documents of an export as text, in the form of pg_0036_export: numbers of metadata stand as they were written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from ..errors import BadArgument
from ..namespaces import namespace_segments
from . import values
from .functions.checks import dumped, quoted
from .functions.namespaces import BELOW
from .session import Session

FORMAT = 2
"""As _export_format in pg_0036_export."""

SETTINGS = ("retention_deleted", "retention_expired", "retention_revisions", "target_recall")
"""Settings that say what is kept and found."""


class Json(str):
    """Text that is JSON already."""


class Space(NamedTuple):
    """A namespace whose items are read."""

    number: int
    id: bytes
    path: str


def written(**fields: Any) -> Json:
    """A JSON object of these fields, in their order; what is Json stands as it is."""
    parts = (f'"{name}": {value if isinstance(value, Json) else dumped(value)}' for name, value in fields.items())
    return Json("{" + ", ".join(parts) + "}")


def moment(value: int | None) -> str | None:
    """A time in ISO 8601, as PostgreSQL writes it into JSON."""
    if value is None:
        return None
    found = values.to_time(value)
    assert found is not None
    text = found.isoformat()
    return text[:-6].rstrip("0") + text[-6:] if found.microsecond else text


def uuid_text(value: bytes) -> str:
    """An id as text."""
    return str(UUID(bytes=value))


def spaces_from(session: Session, scope: str, first: bytes = b"") -> Iterator[Space]:
    """The namespaces at or below a scope, deleted ones too, in the order of their ids. Raises BadNamespace."""
    if scope != "*":
        namespace_segments(scope)
    where = "" if scope == "*" else f" and {BELOW}"
    found = session.conn.execute(
        f"select namespace_no, namespace_id, path from namespaces where namespace_id >= :first{where} "
        "order by namespace_id",
        {"first": first} | ({} if scope == "*" else {"scope": scope}),
    )
    return (Space(*row) for row in found)


def item_places(session: Session, scope: str, page_size: int, after: str | None) -> Iterator[tuple[Space, list[Any]]]:
    """The items of one page by namespace, as rows of number, id, revision and time, in the order of their ids."""
    space_id, item_id = _read_cursor(after)
    left = page_size
    for space in spaces_from(session, scope, space_id):
        rows = session.all(
            "select item_no, item_id, revision, updated_at from memory_items where namespace_no = ? and item_id > ? "
            "order by item_id limit ?",
            (space.number, item_id if space.id == space_id else b"", left),
        )
        if rows:
            yield space, rows
        left -= len(rows)
        if not left:
            return


def item_documents(session: Session, space: Space, numbers: Sequence[int]) -> Iterator[str]:
    """Items of a namespace whole, in the order of their numbers given."""
    given = dumped(list(numbers))
    revisions = _by_item(_revisions(session, given))
    chunks = _by_item(_chunks(session, given))
    rows = session.conn.execute(
        """
        select i.item_no, i.item_id, i.key, i.content, json(i.metadata), json(i.tags), t.key, u.key, i.actor,
               i.revision, i.content_revision, i.created_at, i.updated_at, i.expires_at, i.deleted_at
        from json_each(?) j
        cross join memory_items i on i.item_no = j.value
        left join threads t on t.thread_no = i.thread_no
        left join users u on u.user_no = i.user_no
        order by j.key
        """,
        (given,),
    )
    for number, item_id, key, content, metadata, tags, thread, user, actor, revision, content_revision, *times in rows:
        names = ("created_at", "updated_at", "expires_at", "deleted_at")
        yield written(
            kind="item",
            namespace=space.path,
            item_id=uuid_text(item_id),
            **_present(key=key, content=content, thread=thread, user_key=user, actor=actor),
            metadata=Json(metadata),
            tags=Json(tags),
            revision=revision,
            content_revision=content_revision,
            **_present(**{name: moment(value) for name, value in zip(names, times, strict=True)}),
            revisions=Json(f"[{', '.join(revisions[number])}]"),
            chunks=Json(f"[{', '.join(chunks[number])}]"),
        )


def _by_item(rows: Iterable[tuple[int, str]]) -> defaultdict[int, list[str]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for number, text in rows:
        found[number].append(text)
    return found


def _revisions(session: Session, given: str) -> Iterator[tuple[int, str]]:
    rows = session.conn.execute(
        """
        select h.item_no, h.revision, h.key, h.content, json(h.metadata), json(h.tags), t.key, u.key, h.actor,
               h.updated_at, h.superseded_at, h.expires_at, h.deleted_at
        from json_each(?) j
        cross join memory_item_revisions h on h.item_no = j.value
        left join threads t on t.thread_no = h.thread_no
        left join users u on u.user_no = h.user_no
        order by h.item_no, h.revision
        """,
        (given,),
    )
    for number, revision, key, content, metadata, tags, thread, user, actor, *times in rows:
        names = ("updated_at", "superseded_at", "expires_at", "deleted_at")
        yield (
            number,
            written(
                revision=revision,
                **_present(key=key, content=content, thread=thread, user_key=user, actor=actor),
                metadata=Json(metadata),
                tags=Json(tags),
                **_present(**{name: moment(value) for name, value in zip(names, times, strict=True)}),
            ),
        )


def _chunks(session: Session, given: str) -> Iterator[tuple[int, str]]:
    vectors = _vectors(session, given)
    queued = defaultdict(list)
    for chunk_id, model, created in session.conn.execute(
        """
        select c.chunk_id, m.name, q.created_at
        from json_each(?) j
        cross join memory_chunks c on c.item_no = j.value
        cross join embedding_queue q on q.chunk_id = c.chunk_id
        cross join embedding_models m on m.model_id = q.model_id
        order by m.name
        """,
        (given,),
    ):
        queued[chunk_id].append(written(model=model, created_at=moment(created)))
    for number, chunk_id, created, *fields in session.conn.execute(
        """
        select c.item_no, c.chunk_id, c.created_at, c.ordinal, c.content, c.start_offset, c.end_offset, c.revision,
               c.content_revision
        from json_each(?) j
        cross join memory_chunks c on c.item_no = j.value
        order by c.item_no, c.ordinal
        """,
        (given,),
    ):
        names = ("ordinal", "content", "start_offset", "end_offset", "revision", "content_revision")
        yield (
            number,
            written(
                **dict(zip(names, fields, strict=True)),
                created_at=moment(created),
                vectors=Json(f"[{', '.join(vectors[chunk_id])}]"),
                queued=Json(f"[{', '.join(queued[chunk_id])}]"),
            ),
        )


def _vectors(session: Session, given: str) -> defaultdict[int, list[str]]:
    """The vectors of the chunks of items, by chunk, in the order of the names of their models."""
    by_model: dict[tuple[str, int, int], list[Any]] = {}
    for name, model_id, dim, *row in session.conn.execute(
        """
        select m.name, m.model_id, m.dim, e.chunk_id, e.vec_id, e.created_at
        from json_each(?) j
        cross join embeddings e indexed by embeddings_item_ix on e.item_no = j.value
        cross join embedding_models m on m.model_id = e.model_id
        """,
        (given,),
    ):
        by_model.setdefault((name, model_id, dim), []).append(row)
    found: defaultdict[int, list[str]] = defaultdict(list)
    for (name, model_id, dim), rows in sorted(by_model.items()):
        # Nine digits give a float32 back, bit for bit.
        form = "[" + ",".join(["%.9g"] * dim) + "]"
        vectors = session.vectors.fetch(model_id, dim, np.array([vec_id for _, vec_id, _ in rows], dtype=np.int64))
        for (chunk_id, _, created), vector in zip(rows, vectors.tolist(), strict=True):
            text = written(model=name, vector=form % tuple(vector), created_at=moment(created))
            found[chunk_id].append(text)
    return found


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _read_cursor(after: str | None) -> tuple[bytes, bytes]:
    if after is None:
        return b"", b""
    try:
        space, item = (UUID(part).bytes for part in after.split("/"))
    except ValueError:
        raise BadArgument(
            f"after: {quoted(after[:100])} is no cursor",
            hint="Pass the cursor of the last row of the page before, as it is.",
        ) from None
    return space, item
