"""Retention, as in pg_0032_retention: what is past its time is removed for good, in batches.

The vectors of what is removed are dead from then on; they leave their files when those are merged.
"""

from __future__ import annotations

from datetime import timedelta

from ...errors import BadArgument
from ...requests import Row
from ...sidecar.failpoints import reached
from ..registry import function, one_value
from ..session import Session

_SLICE = 200
"""Items removed in one transaction: other writers wait for a few milliseconds."""

_LONGEST = timedelta(days=365_250)


@function("own")
def purge(session: Session, batch: int = 1000) -> list[Row]:
    """Remove up to ``batch`` of each kind that are past their retention; the counts. Many may run at once."""
    _check_batch(batch)
    items = 0
    while items < batch:
        with session.transaction(write=True):
            removed = _purge_items(session, min(_SLICE, batch - items))
            reached("purge.removed")
        if not removed:
            break
        items += removed
    with session.transaction(write=True):
        revisions = _trim(session, session.setting("retention_revisions"), 0, batch)
        namespaces = _purge_namespaces(session, batch)
    return [{"items": items, "revisions": revisions, "namespaces": namespaces}]


@function("write")
def trim_history(
    session: Session, keep_for: timedelta | None = None, keep_last: int = 0, batch: int = 1000
) -> list[Row]:
    """Remove up to ``batch`` superseded revisions, the oldest first; how many.

    Those superseded within ``keep_for`` stay, and the last ``keep_last`` of each item, and the current one.
    """
    _check_batch(batch)
    if keep_last is None or keep_last < 0 or (keep_for is not None and not timedelta(0) <= keep_for <= _LONGEST):
        raise BadArgument(
            "keep_for, keep_last: are negative, or keep_for is over 1000 years",
            hint="Give a duration and a number from 0 up.",
        )
    seconds = session.setting("retention_revisions") if keep_for is None else keep_for.total_seconds()
    return one_value("trim_history", _trim(session, seconds, keep_last, batch))


def _purge_items(session: Session, limit: int) -> int:
    """Remove items deleted or expired long ago, or in a namespace deleted long ago, with all that hangs on them."""
    return session.run(
        """
        delete from memory_items where item_no in (
            select item_no from memory_items where deleted_at < :deleted
            union all
            select item_no from memory_items where expires_at < :expired
            union all
            select i.item_no from namespaces n cross join memory_items i on i.namespace_no = n.namespace_no
            where n.deleted_at < :deleted
            limit :limit)
        """,
        {
            "deleted": _before(session, session.setting("retention_deleted")),
            "expired": _before(session, session.setting("retention_expired")),
            "limit": limit,
        },
    )


def _purge_namespaces(session: Session, limit: int) -> int:
    """Remove namespaces that were deleted long ago, once they are empty."""
    return session.run(
        """
        delete from namespaces where namespace_no in (
            select n.namespace_no from namespaces n
            where n.deleted_at < ? and not exists (select 1 from memory_items i where i.namespace_no = n.namespace_no)
            limit ?)
        """,
        (_before(session, session.setting("retention_deleted")), limit),
    )


def _trim(session: Session, keep_for: float | None, keep_last: int, limit: int) -> int:
    """Remove superseded revisions kept for longer than ``keep_for`` seconds; None keeps them for ever."""
    return session.run(
        """
        delete from memory_item_revisions where rowid in (
            select h.rowid
            from memory_item_revisions h cross join memory_items i on i.item_no = h.item_no
            where h.superseded_at < ? and h.revision < i.revision - ?
            order by h.superseded_at
            limit ?)
        """,
        (_before(session, keep_for), keep_last, limit),
    )


def _before(session: Session, seconds: float | None) -> int | None:
    """The moment that many seconds ago (microseconds); None for what is kept for ever."""
    return None if seconds is None else session.now - round(seconds * 1_000_000)


def _check_batch(batch: int | None) -> None:
    if batch is None or not 1 <= batch <= 100_000:
        raise BadArgument(
            f"batch: {'NULL' if batch is None else batch} is not between 1 and 100000",
            hint="Take small batches and call again until nothing is left.",
        )
