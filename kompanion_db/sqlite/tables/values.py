"""Arguments and results as SQL has them, in the forms of the tables.

An id is a blob of 16 bytes, a time microseconds since 1970 UTC, JSON is text, a vector is a blob of float32,
little-endian. Arguments may come in the forms people write as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from ... import arguments as check
from ...errors import BadArgument, BadVector
from ...types import Vector
from .. import values as stored
from .virtual import Value

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PART = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:ours?)?|d(?:ays?)?|w(?:eeks?)?)\b", re.I
)


def to_sql(value: Any) -> Value:
    """A result as SQL has it."""
    if value is None or isinstance(value, (str, int, float, bytes)):
        return value
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, datetime):
        return stored.from_time(value)
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, dtype="<f4").tobytes()
    if isinstance(value, np.generic):
        return to_sql(value.item())
    if isinstance(value, Decimal):  # in metadata, more digits than Python makes an int of
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=to_sql)


def read(kind: str, name: str, value: Value) -> Any:
    """An argument as Python has it; ``kind`` is its annotation. Raises BadArgument, BadVector."""
    return READERS[kind][1](name, value)


def _text(name: str, value: Value) -> str | None:
    if isinstance(value, bytes):
        raise BadArgument(
            f"{name}: is a blob, not text", hint="json(...) makes text of JSONB, cast(... as text) of other blobs."
        )
    if value is not None and not isinstance(value, str):
        raise BadArgument(f"{name}: is a number, not text", hint="Put it in quotes.")
    return check.text(name, value)


def _boolean(name: str, value: Value) -> bool:
    if value not in (0, 1):
        raise BadArgument(f"{name}: {value!r} is neither true nor false", hint="Give true or false.")
    return bool(value)


def _whole(name: str, value: Value) -> int:
    if not isinstance(value, int):
        raise BadArgument(f"{name}: {value!r} is no whole number", hint="Give an integer.")
    if not -(2**63) <= value < 2**63:
        raise BadArgument(f"{name}: is out of range", hint="Give a whole number of 64 bits.")
    return value


def _uuid(name: str, value: Value) -> UUID:
    try:
        if isinstance(value, bytes):
            return UUID(bytes=value)
        return UUID(value)  # type: ignore[arg-type]  # whatever else it is, it is refused
    except (ValueError, AttributeError, TypeError):
        raise BadArgument(f"{name}: is no id", hint="Give the blob of 16 bytes, or its text form.") from None


def _moment(name: str, value: Value) -> datetime | None:
    try:
        if isinstance(value, int):
            return stored.to_time(value)
        found = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value))  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        raise BadArgument(
            f"{name}: {value!r} is no time", hint="Give microseconds since 1970, or text such as 2030-01-31T12:00:00Z."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)  # as datetime('now') writes it


def _duration(name: str, value: Value) -> timedelta:
    try:
        if isinstance(value, (int, float)):
            return timedelta(seconds=value)
        if isinstance(value, str) and value.strip() and not _PART.sub("", value).strip():
            parts = ((float(number), _UNITS[unit[0].lower()]) for number, unit in _PART.findall(value))
            return sum((timedelta(**{unit: number}) for number, unit in parts), timedelta())
    except (OverflowError, ValueError):
        pass
    raise BadArgument(f"{name}: {value!r} is no duration", hint="Give seconds, or text such as '30 days' or '12h'.")


def _vector(name: str, value: Any) -> Vector:
    if isinstance(value, bytes):
        if not value or len(value) % 4:
            raise BadVector(
                f"{name}: has {len(value)} bytes, which are no float32", hint="Give float32, little-endian."
            )
        return check.vector(name, np.frombuffer(value, dtype="<f4"))
    elements = _json(name, value)
    if not isinstance(elements, list) or any(isinstance(e, bool) or not isinstance(e, (int, float)) for e in elements):
        raise BadVector(f"{name}: is neither a blob nor an array of numbers", hint="Give [0.1, 0.2] or float32 bytes.")
    return check.vector(name, elements)


def _vectors(name: str, value: Value) -> list[Vector | None]:
    if isinstance(value, bytes):
        return [_vector(name, value)]
    return [
        None if each is None else _vector(f"{name}[{n}]", json.dumps(each))
        for n, each in enumerate(_list(name, value), 1)
    ]


def _json(name: str, value: Value) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    raise BadArgument(f"{name}: is no JSON", hint='Give a JSON array, such as ["a", "b"].')


def _list(name: str, value: Value) -> list[Any]:
    found = _json(name, value)
    if not isinstance(found, list):
        raise BadArgument(f"{name}: is no JSON array", hint='Give a JSON array, such as ["a", "b"].')
    return found


def _each(element: Callable[[str, Any], Any]) -> Callable[[str, Value], list[Any]]:
    def read_list(name: str, value: Value) -> list[Any]:
        return [None if each is None else element(f"{name}[{n}]", each) for n, each in enumerate(_list(name, value), 1)]

    return read_list


READERS: dict[str, tuple[str, Callable[[str, Value], Any]]] = {
    "str": ("text", _text),
    "int": ("integer", check.integer),
    "float": ("real", check.number),
    "bool": ("boolean", _boolean),
    "datetime": ("time", _moment),
    "timedelta": ("duration", _duration),
    "UUID": ("uuid", _uuid),
    "Vector": ("vector", _vector),
    "list[str]": ("text array", _each(_text)),
    "list[int]": ("integer array", _each(_whole)),
    "list[UUID]": ("uuid array", _each(_uuid)),
    "list[Vector]": ("vector array", _vectors),
}
"""By annotation: the name of the type, and what reads an argument of it."""


def kind_of(annotation: str) -> str:
    """The kind of an argument by its annotation, which ``from __future__ import annotations`` keeps as text."""
    return annotation.replace(" | None", "").replace("Sequence[", "list[")
