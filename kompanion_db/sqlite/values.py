"""Between Python's values and SQLite's: ids are 16 bytes, times microseconds since 1970 UTC, JSON is JSONB."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, SafeUUID

from ..metadata import decoded

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def clock() -> int:
    """The time now."""
    return time.time_ns() // 1000


def to_time(value: int | None) -> datetime | None:
    """A moment as Python has it, in UTC."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def from_time(value: datetime | None) -> int | None:
    """A moment with a time zone as SQLite has it."""
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def to_uuid(value: bytes) -> UUID:
    """An id as Python has it."""
    # As UUID(bytes=value), which looks at six arguments first: it would be a tenth of the time of a search.
    found = object.__new__(UUID)
    object.__setattr__(found, "int", int.from_bytes(value, "big"))
    object.__setattr__(found, "is_safe", SafeUUID.unknown)
    return found


def to_json(value: str | None) -> Any:
    """JSON text, as ``json(column)`` gives it, as Python has it."""
    return None if value is None else decoded(value)


def shown(number: float) -> str:
    """A number as PostgreSQL writes it in a message: with all its digits, a whole one without a point."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))
