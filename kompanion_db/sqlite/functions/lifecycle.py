"""The life of an item after it was written, as in pg_0015_lifecycle: each step is a forward revision."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...errors import BadArgument, NotFound
from ...namespaces import namespace_segments
from ...requests import Row
from .. import values
from ..items import Body, Stored, check_expected, find_item, need_item, revise, revise_life, written
from ..registry import function
from ..session import Session
from .checks import expiry, no_item, quoted
from .namespaces import namespace_no


@function("write")
def delete_item(
    session: Session, namespace: str, key: str, expected_revision: int | None = None, actor: str | None = None
) -> list[Row]:
    """Hide an item; its row and history stay until purge. Also in a deleted namespace."""
    namespace_segments(namespace)
    space = session.value("select namespace_no from namespaces where path = ?", (namespace,))
    found = find_item(session, space, key)
    check_expected(found, namespace, key, expected_revision, session.now)
    if found is None:
        raise no_item(namespace, key)
    if found.deleted_at is not None:
        return [found.answer("unchanged")]
    revision = revise_life(session, found, found.expires_at, values.clock(), actor)
    return [written(values.to_uuid(found.item_id), revision, "deleted")]


@function("write")
def restore_item(
    session: Session,
    namespace: str,
    key: str,
    expires_at: datetime | None = None,
    ttl: timedelta | None = None,
    actor: str | None = None,
) -> list[Row]:
    """Bring a deleted or expired item back as it was; an expiry that is past is lifted unless a new one is given."""
    space = namespace_no(session, namespace)
    expires = expiry(expires_at, ttl, session.now)
    found = need_item(session, space, namespace, key)
    if found.is_live(session.now):
        return [found.answer("unchanged")]
    if expires is None:
        expires = _unless_past(found.expires_at, session)
    revision = revise_life(session, found, expires, None, actor)
    return [written(values.to_uuid(found.item_id), revision, "restored")]


@function("write")
def touch_item(
    session: Session,
    namespace: str,
    key: str,
    expires_at: datetime | None = None,
    ttl: timedelta | None = None,
    actor: str | None = None,
) -> list[Row]:
    """Let a live item live longer; one that would live longer anyway, or for ever, is unchanged."""
    space = namespace_no(session, namespace)
    expires = expiry(expires_at, ttl, session.now)
    if expires is None:
        raise BadArgument(
            "expires_at, ttl: neither is given", hint="Say how long it is to live: ttl=timedelta(days=30)."
        )
    found = need_item(session, space, namespace, key)
    if not found.is_live(session.now):
        raise no_item(namespace, key)
    answer = found.answer("unchanged") | {"expires_at_now": values.to_time(found.expires_at)}
    if found.expires_at is not None and found.expires_at < expires:
        revision = revise_life(session, found, expires, None, actor)
        answer |= {"revision": revision, "status": "revised", "expires_at_now": values.to_time(expires)}
    return [answer]


@function("write")
def revert_item(
    session: Session,
    namespace: str,
    key: str,
    revision: int,
    expected_revision: int | None = None,
    actor: str | None = None,
) -> list[Row]:
    """Make an item again what it was at a revision. Its expiry then is taken over unless it is past by now."""
    space = namespace_no(session, namespace)
    found = find_item(session, space, key)
    check_expected(found, namespace, key, expected_revision, session.now)
    if found is None:
        raise no_item(namespace, key)
    body = _former(session, found, key, revision)
    now, status = found.revision, "unchanged"
    if not found.is_at(body):
        now, status = revise(session, found, body, actor), "revised"
    return [{"item_id": values.to_uuid(found.item_id), "revision_now": now, "status": status}]


def _former(session: Session, found: Stored, key: str, revision: int | None) -> Body:
    """What an item was at a revision. Raises NotFound."""
    former = session.one(
        """
        select h.deleted_at, h.content, json(h.metadata), json(h.tags), t.thread_no, u.user_no, h.expires_at
        from (select item_no, revision, deleted_at, content, metadata, tags, thread_no, user_no, expires_at
              from memory_item_revisions
              union all
              select item_no, revision, deleted_at, content, metadata, tags, thread_no, user_no, expires_at
              from memory_items) h
        left join threads t on t.thread_no = h.thread_no
        left join users u on u.user_no = h.user_no
        where h.item_no = ? and h.revision = ?
        """,
        (found.item_no, revision),
    )
    if former is None or former[0] is not None:
        raise NotFound(
            f"revision: {quoted(key)} has no revision {'NULL' if revision is None else revision} to go back to",
            detail="It may never have existed, or its retention is over."
            if former is None
            else "That revision is a deletion.",
            hint="See item_history(namespace, key).",
        )
    _, content, metadata, tags, thread, user, expires_at = former
    return Body(content, metadata, tags, thread, user, _unless_past(expires_at, session))


def _unless_past(expires_at: int | None, session: Session) -> int | None:
    return None if expires_at is None or expires_at <= session.now else expires_at
