"""One item as a writer sees it: found by name, checked against what the caller expects, revised."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from ..errors import BadArgument, RevisionConflict
from ..requests import Row
from . import values
from .documents import same_document
from .functions.checks import no_item, quoted
from .session import Session


class Body(NamedTuple):
    """What a write says about an item. ``metadata`` and ``tags`` are JSON text, ``expires_at`` microseconds."""

    content: str
    metadata: str
    tags: str
    thread_no: int | None
    user_no: int | None
    expires_at: int | None


class Stored(NamedTuple):
    """An item at its current revision; times are microseconds."""

    item_no: int
    item_id: bytes
    revision: int
    content_revision: int
    updated_at: int
    deleted_at: int | None
    content: str
    metadata: str
    tags: str
    thread_no: int | None
    user_no: int | None
    expires_at: int | None

    def is_live(self, now: int) -> bool:
        """Whether readers see it at a moment."""
        return self.deleted_at is None and (self.expires_at is None or self.expires_at > now)

    def is_at(self, body: Body) -> bool:
        """Whether it is exactly this, and not deleted: writing it again would change nothing."""
        return (
            self.deleted_at is None
            and self.content == body.content
            and (self.thread_no, self.user_no, self.expires_at) == (body.thread_no, body.user_no, body.expires_at)
            and same_document(self.tags, body.tags)
            and same_document(self.metadata, body.metadata)
        )

    def answer(self, status: str) -> Row:
        """The row of a function that writes, when it is left at this revision."""
        return written(values.to_uuid(self.item_id), self.revision, status)


def written(item_id: UUID, revision: int, status: str) -> Row:
    """The row of a function that writes."""
    return {"item_id": item_id, "revision": revision, "status": status}


def find_item(session: Session, namespace_no: int | None, key: str | None) -> Stored | None:
    """The item of a name, also when it is deleted or expired."""
    row = session.one(
        """
        select item_no, item_id, revision, content_revision, updated_at, deleted_at,
               content, json(metadata), json(tags), thread_no, user_no, expires_at
        from memory_items where namespace_no = ? and key = ?
        """,
        (namespace_no, key),
    )
    return None if row is None else Stored._make(row)


def need_item(session: Session, namespace_no: int | None, namespace: str, key: str) -> Stored:
    """The item of a name, also when it is deleted or expired. Raises NotFound."""
    found = find_item(session, namespace_no, key)
    if found is None:
        raise no_item(namespace, key)
    return found


def check_expected(found: Stored | None, namespace: str, key: str, expected: int | None, now: int) -> None:
    """An item is at the revision its writer expects; RevisionConflict, BadArgument otherwise.

    Expecting 0 means "no live item of that name"; a deleted or expired one also answers to its own revision.
    """
    if expected is None:
        return
    if expected < 0:
        raise BadArgument(
            f"expected_revision: {expected} is negative",
            hint="Give the revision you read, or 0 for an item that must not exist yet.",
        )
    current = 0 if found is None else found.revision
    live = found is not None and found.is_live(now)
    if expected == current or (expected == 0 and not live):
        return
    raise RevisionConflict(
        f"expected_revision: {quoted(key)} in {quoted(namespace)} is at revision {current}, not {expected}",
        detail="There is no such item."
        if found is None
        else f"Current: {current}. Expected: {expected}."
        if live
        else "It is deleted or expired.",
        hint="Somebody else wrote in between: read the item again and decide anew.",
    )


def revise(session: Session, found: Stored, body: Body, actor: str | None) -> int:
    """Make an item this, and not deleted, as its next revision; that revision."""
    revision = found.revision + 1
    session.run(
        """
        update memory_items
        set content = ?, metadata = jsonb(?), tags = jsonb(?), thread_no = ?, user_no = ?, expires_at = ?,
            deleted_at = null, actor = ?, revision = ?, content_revision = ?, updated_at = ?
        where item_no = ?
        """,
        (
            *body,
            actor,
            revision,
            found.content_revision if found.content == body.content else revision,
            _next_time(found),
            found.item_no,
        ),
    )
    return revision


def revise_life(
    session: Session, found: Stored, expires_at: int | None, deleted_at: int | None, actor: str | None
) -> int:
    """Give an item another expiry or deletion, as its next revision; that revision."""
    revision = found.revision + 1
    session.run(
        "update memory_items set expires_at = ?, deleted_at = ?, actor = ?, revision = ?, updated_at = ? "
        "where item_no = ?",
        (expires_at, deleted_at, actor, revision, _next_time(found), found.item_no),
    )
    return revision


def _next_time(found: Stored) -> int:
    """When a change is made: now, and after the last one also when the clock stands or was set back."""
    return max(values.clock(), found.updated_at + 1)
