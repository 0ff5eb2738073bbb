"""Documents of an export as they come in: read so that no digit of a number is lost, checked field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import apsw
import numpy as np

from .. import metadata
from ..errors import BadArgument
from ..types import Vector
from . import values
from .exporting import FORMAT
from .functions.checks import check_moment, dumped

Document = dict[str, Any]
T = TypeVar("T")

_KINDS = ("export", "setting", "model", "namespace", "user", "thread", "item")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d(?::\d\d(?::\d\d)?)?)")
_SAFE_DIGITS = 18


class Number(str):
    """A number as it is written."""


def _whole(text: str) -> int | Number:
    return int(text) if len(text) <= _SAFE_DIGITS else Number(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=_whole, parse_constant=_no_constant)


def read_documents(text: str | None) -> list[Document]:
    """The documents of a JSON list, each of a known kind. Raises BadArgument."""
    try:
        found = _DECODER.decode(text or "null")
    except RecursionError:
        raise BadArgument(
            "documents: one is nested too deep to be read",
            hint=f"Metadata has at most {metadata.MAX_DEPTH} levels here. What is deeper on a server, this finds: "
            f"where metadata @? '$.**{{{metadata.MAX_DEPTH + 1}}}'.",
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise BadArgument(
            "documents: is not a JSON list", hint="Give a list of what export_registry and export_items returned."
        )
    for document in found:
        if not isinstance(document, dict) or document.get("kind") not in _KINDS:
            raise BadArgument(
                "documents: one has no kind, or an unknown one",
                hint="A document has a kind of export, setting, model, namespace, user, thread or item.",
            )
        form = document.get("format")
        if document["kind"] == "export" and not (isinstance(form, int) and 0 <= form <= FORMAT):
            raise BadArgument(
                f"documents: are of a format that is not known here; the newest that is: {FORMAT}",
                hint="Upgrade kompanion_db here, or export with this version.",
            )
    return found


@contextmanager
def formed() -> Iterator[None]:
    """Let what is wrong with the form of a document out of the block as BadArgument."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, apsw.ConstraintError) as exc:
        raise BadArgument(
            f"documents: one is not of the form of an export: {exc}",
            hint="Give what export_registry and export_items returned, the registry first.",
        ) from exc


def need(value: T | None, name: str) -> T:
    """A field that must be there."""
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def text_of(document: Document, name: str) -> str | None:
    """A field of text, or None."""
    value = document.get(name)
    if value is not None and (not isinstance(value, str) or isinstance(value, Number)):
        raise ValueError(f"{name} is no text")
    if value is not None:
        value.encode()
        if "\0" in value:
            raise ValueError(f"{name} holds a NUL character")
    return value


def name_of(document: Document, name: str) -> str:
    """A field that is a name."""
    value = need(text_of(document, name), name)
    if not 1 <= len(value) <= 512:
        raise ValueError(f"{name} has {len(value)} characters, not 1 to 512")
    return value


def whole_of(document: Document, name: str) -> int:
    """A field that is a whole number."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 31:
        raise ValueError(f"{name} is no whole number")
    return value


def truth_of(document: Document, name: str) -> bool:
    """A field that is true or false; false when it is missing."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return bool(value)


def id_of(document: Document, name: str) -> bytes:
    """A field that is an id."""
    return UUID(need(text_of(document, name), name)).bytes


def time_of(document: Document, name: str) -> int | None:
    """A field that is a time, in microseconds, or None."""
    value = text_of(document, name)
    if value is None:
        return None
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError(f"{name} is no time: {value[:100]}")
    day, clock, part, zone = found.groups()
    zone = "+00:00" if zone == "Z" else zone if ":" in zone else f"{zone}:00"
    at = values.from_time(datetime.fromisoformat(f"{day}T{clock}.{(part or '0').ljust(6, '0')}{zone}"))
    check_moment("documents: a time", at)
    return at


def times_of(document: Document, *names: str) -> list[int | None]:
    """Several times."""
    return [time_of(document, name) for name in names]


def listed_in(document: Document, name: str) -> list[Any]:
    """A field that is a list."""
    value = document.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value


def object_of(document: Document, name: str) -> str:
    """A field that is a JSON object, as text in which every number stands as it was written."""
    value = document.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no JSON object")
    if metadata.deeper_than(metadata.MAX_DEPTH, value):
        raise metadata.too_deep(f"documents: {name} of {document.get('key')!r}")
    return exact(value)


def exact(value: Any) -> str:
    """JSON text of what was read here, every number as it was written."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{exact(name)}:{exact(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exact, value)) + "]"
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        value.encode()
        if "\0" in value:
            raise ValueError("a text holds a NUL character")
    return dumped(value)


def vector_of(value: Any) -> Vector:
    """A vector, written as a list of numbers or as the text of one."""
    elements = json.loads(value, parse_int=float) if isinstance(value, str) else value
    if not isinstance(elements, list):
        raise ValueError("a vector is no list of numbers")
    with np.errstate(over="ignore"):
        found = np.array([float(e) for e in elements] if not isinstance(value, str) else elements, dtype=np.float32)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError("a vector holds what is no finite number")
    return found
