"""Checks of arguments that several functions share, with the messages of pg_0003_arguments."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from uuid import UUID

from ...errors import BadArgument, NotFound, TooLarge
from .. import values

CONTENT_MAX_BYTES = 16 << 20
_FIRST = values.from_time(datetime.fromisoformat("0001-01-03T00:00:00+00:00")) or 0
_LONGEST = timedelta(days=7000 * 360)  # PostgreSQL refuses an interval of more than 7000 years, and counts them so
_NEVER = 1 << 62
_LAST = values.from_time(datetime.fromisoformat("9999-12-29T00:00:00+00:00")) or 0


def quoted(text: str | None) -> str:
    """Text in quotes, as messages have it; NULL for none."""
    return "NULL" if text is None else "'" + text[:200].replace("'", "''") + "'"


def literal(text: str) -> str:
    """Text as SQL has it, whole."""
    return "'" + text.replace("'", "''") + "'"


def check_name(argument: str, value: str | None) -> None:
    """A key or name has 1 to 512 characters; BadArgument otherwise."""
    if value is None or not 1 <= len(value) <= 512:
        problem = (
            "is null"
            if value is None
            else "is empty"
            if not value
            else f"has {len(value)} characters, at most 512 are allowed"
        )
        raise BadArgument(f"{argument}: {problem}", hint=f"Give {argument} 1 to 512 characters.")


def check_content(content: str | None, argument: str = "content") -> None:
    """Content is text of at most 16 MiB; BadArgument, TooLarge otherwise."""
    if content is None:
        raise BadArgument(f"{argument}: is null", hint="Give the text to remember; to end an item, call delete_item.")
    if len(content) > CONTENT_MAX_BYTES // 4 and (size := len(content.encode())) > CONTENT_MAX_BYTES:
        raise TooLarge(
            f"{argument}: has {size} bytes, at most {CONTENT_MAX_BYTES} are allowed",
            hint="Split it into several items, or remember where it is kept.",
        )


def check_page(page_size: int | None) -> None:
    """A page has 1 to 10,000 rows; BadArgument otherwise."""
    if page_size is None or not 1 <= page_size <= 10000:
        raise BadArgument(
            f"page_size: {'NULL' if page_size is None else page_size} is not between 1 and 10000",
            hint="Read page by page: pass the last row's cursor as after.",
        )


def check_moment(argument: str, value: int | None) -> None:
    """A moment (microseconds) lies between the years 1 and 9999; BadArgument otherwise."""
    if value is not None and not _FIRST <= value <= _LAST:
        raise BadArgument(
            f"{argument}: is not between the years 1 and 9999: {_shown(value)}",
            hint=f"Give a moment in that range, or leave {argument} out.",
        )


def _shown(moment: int) -> str:
    """A moment as text, also one that Python has no date for."""
    try:
        return str(values.to_time(moment))
    except OverflowError:
        return "infinity" if moment > 0 else "-infinity"


def expiry(expires_at: datetime | None, ttl: timedelta | None, now: int, place: str = "") -> int | None:
    """The moment of expiry from either form; BadArgument when both are given or it is past."""
    if expires_at is not None and ttl is not None:
        raise BadArgument(
            f"{place}expires_at and ttl are both given",
            hint="Give one: expires_at is a moment, ttl a duration from now.",
        )
    moment = values.from_time(expires_at) if ttl is None else now + ttl // timedelta(microseconds=1)
    if moment is None:
        return None
    argument = place + ("expires_at" if ttl is None else "ttl")
    if moment <= now:
        raise BadArgument(
            f"{argument} is in the past: {expires_at if ttl is None else ttl}",
            hint="Give a moment after now; to end an item, call delete_item.",
        )
    check_moment(argument, moment if ttl is None or ttl <= _LONGEST else _NEVER)
    return moment


def normalize_tags(tags: list[str] | None, place: str = "") -> list[str]:
    """Tags as a set: sorted by code point, each once; BadArgument for a null, empty or over-long one."""
    if not tags:
        return []
    found = sorted({tag for tag in tags if tag is not None})
    if len(found) > 64 or any(tag is None or not 1 <= len(tag) <= 128 for tag in tags):
        raise BadArgument(
            f"{place}tags: a tag is null, empty or longer than 128 characters, or there are more than 64",
            hint="Give at most 64 tags of 1 to 128 characters.",
        )
    return found


def write_cursor(at: int, item_id: bytes) -> str:
    """The place of a row in a list, as text to hand back as ``after``."""
    return f"{at}/{UUID(bytes=item_id)}"


def read_cursor(cursor: str | None) -> tuple[int, bytes] | None:
    """The place a cursor names; None for no cursor. Raises BadArgument."""
    if cursor is None:
        return None
    try:
        at, _, name = cursor.partition("/")
        moment = int(at)
        if not -(2**63) <= moment < 2**63:
            raise ValueError(at)
        return moment, UUID(name).bytes
    except ValueError:
        raise BadArgument(
            f"after: {quoted(cursor[:100])} is no cursor",
            hint="Pass the cursor of the last row of the page before, as it is.",
        ) from None


def no_item(namespace: str | None, key: str | None) -> NotFound:
    """The one wording for an item that is not there."""
    return NotFound(
        f"there is no item {quoted(key)} in namespace {quoted(namespace)}",
        hint="See list_items(scope); deleted and expired items are hidden, restore_item brings them back.",
    )


def dumped(value: object) -> str:
    """JSON text of a value that came from SQLite."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
