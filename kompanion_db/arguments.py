"""Checks of arguments that would otherwise fail inside the driver, where no message could name them.

Rules about meaning (paths, filters, revisions) are the database's; here is only what cannot be sent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from . import metadata
from .errors import BadArgument, BadFilter, BadVector, TooLarge
from .types import Vector

FILTER_MAX_CHARACTERS = 1 << 20
"""Limit of the text of a filter."""

FILTER_MAX_DEPTH = 32
"""Limit of the nesting of a filter, as in compile_filter."""

# A \u0000 in JSON text: an odd number of backslashes before u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

MAX_DIM = 16_000
"""Limit of pgvector's type."""

MAX_TEXT = 1 << 26
"""So many characters PostgreSQL takes in any form: each rule says less, and this only that what comes can be sent."""

_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


def text(name: str, value: Any) -> str | None:
    """``value`` when it is text PostgreSQL can store, or None; BadArgument otherwise."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadArgument(f"{name}: is {type(value).__name__}, not text", hint="Give a str.")
    plain: str = str.__str__(value)  # a member of an enum, or numpy's, would come back as one
    if len(plain) > MAX_TEXT:
        raise TooLarge(f"{name}: has {len(plain)} characters, no text may have over {MAX_TEXT}", hint="Cut it.")
    if "\x00" in plain:
        raise BadArgument(
            f"{name}: holds a NUL character, which text cannot", hint="Remove it: value.replace('\\0', '')."
        )
    if plain.isascii():
        return plain
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise BadArgument(
            f"{name}: holds a lone surrogate, which is no character",
            hint="Decode the bytes it came from again, with errors='replace'.",
        ) from None
    return plain


def texts(name: str, values: Sequence[str] | None) -> list[str] | None:
    """A list of texts, or None; BadArgument names the element that is none."""
    if values is None:
        return None
    if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, set, frozenset)):
        raise BadArgument(
            f"{name}: is {type(values).__name__}, not a list of texts", hint='Give a list, such as ["x"].'
        )
    given = values if type(values) is list else list(values)
    if all(type(value) is str and value.isascii() and "\x00" not in value for value in given):
        return given
    return [text(f"{name}[{n}]", value) or "" for n, value in enumerate(given)]


def sequence(name: str, values: Any, of: str) -> Sequence[Any]:
    """A list or tuple; BadArgument otherwise."""
    if not isinstance(values, (list, tuple)):
        raise BadArgument(f"{name}: is {type(values).__name__}, not a list of {of}", hint="Give a list.")
    return values


def integer(name: str, value: Any, bits: int = 32) -> int | None:
    """A whole number of so many bits, or None; BadArgument otherwise."""
    if value is None:
        return None
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (int, np.integer)):
        raise BadArgument(f"{name}: {shown(value)} is no whole number", hint="Give an int.")
    found = int(value)
    if not -(2 ** (bits - 1)) <= found < 2 ** (bits - 1):
        raise BadArgument(f"{name}: is out of range", hint=f"Give a whole number of {bits} bits.")
    return found


def uuid(name: str, value: Any) -> UUID:
    """An id, given as a UUID or as its text; BadArgument otherwise."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        found = text(name, value[:100]) if isinstance(value, str) else value
        raise BadArgument(f"{name}: {found!r} is no UUID", hint="Give a uuid.UUID, or its text.") from None


def number(name: str, value: Any) -> float | None:
    """A finite number, or None; BadArgument otherwise."""
    if value is None:
        return None
    if isinstance(value, int) and abs(value) >= 1e300:
        value = math.inf  # which can be shown
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not abs(float(value)) < 1e300:
        raise BadArgument(f"{name}: {shown(value)} is no finite number", hint="Give a float, such as 0.95.")
    return float(value)


def moment(name: str, value: Any) -> datetime | None:
    """A datetime with a time zone, or None; BadArgument otherwise, since a naive one would be guessed at."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise BadArgument(
            f"{name}: {shown(value)} is no datetime with a time zone",
            hint="For example datetime.now(timezone.utc) + timedelta(days=30).",
        )
    if type(value) is not datetime:  # others, as pendulum's, reckon in their own way
        date, time = (value.year, value.month, value.day), (value.hour, value.minute, value.second, value.microsecond)
        return datetime(*date, *time, value.tzinfo, fold=value.fold)
    plain: datetime = value
    return plain


def duration(name: str, value: Any) -> timedelta | None:
    """A timedelta, or None; BadArgument otherwise."""
    if value is None or isinstance(value, timedelta):
        return value
    raise BadArgument(f"{name}: {shown(value)} is no timedelta", hint="For example timedelta(days=30).")


def flag(name: str, value: Any) -> bool:
    """True or False; BadArgument otherwise: the text "false" is true to Python, and deletes what was to be kept."""
    if not isinstance(value, (bool, np.bool_)):
        raise BadArgument(f"{name}: {shown(value)} is neither True nor False", hint="Give one of them.")
    return bool(value)


def shown(value: Any) -> str:
    """A value as an error shows it: in short, and by its type alone where it cannot be shown."""
    try:
        text = repr(value)
    except Exception:  # of a number with too many digits, say
        return f"this {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}..."


def callback(name: str, value: Any) -> None:
    """A function, or None; BadArgument otherwise, before there is anything to tell it."""
    if value is not None and not callable(value):
        raise BadArgument(f"{name}: is {type(value).__name__}, not a function", hint="Give one, or leave it out.")


def json_object(name: str, value: Any) -> str | None:
    """Metadata as text, or None; BadArgument for what is no JSON object or nested too deep, TooLarge over 1 MiB."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise BadArgument(
            f"{name}: is {type(value).__name__}, not an object", hint='Give a dict, such as {"topic": "x"}.'
        )
    try:
        dumped = _dump(name, value if type(value) is dict else dict(value))
    except RecursionError:
        raise metadata.too_deep(name) from None
    metadata.check_depth(name, dumped, value)
    metadata.check_size(name, dumped)
    return dumped


def json_list(name: str, values: Any) -> str:
    """A list as JSON text of any size; BadArgument for what is none."""
    try:
        return _dump(name, list(sequence(name, values, "JSON documents")))
    except RecursionError:
        raise BadArgument(f"{name}: one is nested too deep", hint="Give what the exports returned.") from None


def json_filter(name: str, value: Any) -> str | None:
    """A filter as JSON text, or None; BadFilter when it is nested too deep to be sent."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise BadFilter(
            f"{name}: expected an object, found {type(value).__name__}",
            hint='Give a dict, such as {"topic": "x"}.',
        )
    if metadata.deeper_than(2 * FILTER_MAX_DEPTH + 1, value):  # a level of the grammar is at most an object in a list
        raise BadFilter(
            f"{name}: it is nested deeper than {FILTER_MAX_DEPTH} levels",
            hint="Join conditions with $and or $or.",
        )
    dumped = _dump(name, value if type(value) is dict else dict(value))
    check_filter_size(name, dumped)
    return dumped


def check_filter_size(name: str, dumped: str) -> None:
    """The text of a filter has at most FILTER_MAX_CHARACTERS; TooLarge otherwise."""
    if len(dumped) > FILTER_MAX_CHARACTERS:
        raise TooLarge(
            f"{name}: has {len(dumped)} characters, at most {FILTER_MAX_CHARACTERS} are allowed",
            hint="Ask for what many items share, such as a tag.",
        )


def _dump(name: str, value: Any) -> str:
    try:
        dumped = _ENCODER.encode(value)
    except (TypeError, ValueError) as exc:
        raise BadArgument(
            f"{name}: cannot be written as JSON: {exc}", hint="Use text, finite numbers, lists and dicts."
        ) from None
    characters(name, dumped)
    return dumped


def characters(name: str, dumped: str) -> None:
    """JSON text, as ``ensure_ascii=False`` writes it, of characters that text can hold; BadArgument otherwise."""
    if "u0000" in dumped and _NUL.search(dumped):
        raise BadArgument(
            f"{name}: holds a NUL character, which text cannot", hint="Remove it: value.replace('\\0', '')."
        )
    text(name, dumped)


def vector(name: str, value: Any) -> Vector:
    """A vector as shape (dim,) float32; BadVector when it is empty, not flat, or not finite in float32."""
    return _floats(name, value, 1)


def vectors(name: str, values: Any) -> list[Vector | None]:
    """Vectors as a list of shape (dim,) float32, None where an element is None; BadVector otherwise."""
    return list(vector_rows(name, values))


def vector_rows(name: str, values: Any) -> NDArray[np.float32] | list[Vector | None]:
    """As ``vectors``, but an array stays one: to make a list of it takes longer than to look at a vector."""
    if isinstance(values, np.ndarray):
        return _floats(name, values, 2)
    if not isinstance(values, (list, tuple)):
        raise BadVector(
            f"{name}: is {type(values).__name__}, not a list of vectors or an array",
            hint="Give an array of shape (n, dim), or a list of vectors.",
        )
    return [None if v is None else vector(f"{name}[{n}]", v) for n, v in enumerate(values)]


def refuse_masked(*arrays: Any) -> None:
    """Raises TypeError for elements that an array says are missing: numpy would take what stands in their places."""
    if any(isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array) for array in arrays):
        raise TypeError("elements are masked")


def _floats(name: str, value: Any, axes: int) -> Vector:
    try:
        refuse_masked(value)
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            array = np.ascontiguousarray(value)  # as below, without its tenth of the time of a search
        else:
            given = np.asarray(value)
            if given.dtype.kind == "c":  # numpy would drop the imaginary part
                raise TypeError("the numbers are complex")
            with np.errstate(over="ignore"):
                array = np.ascontiguousarray(given, dtype=np.float32)
    except Exception as exc:  # also what a foreign array raises where it is to become one of numpy
        raise BadVector(
            f"{name}: is no array of numbers", detail=str(exc)[:200], hint="Give a list of floats or a numpy array."
        ) from exc
    if array.ndim != axes:
        raise BadVector(
            f"{name}: has {array.ndim} axes, expected {axes}",
            hint="Give shape (dim,)." if axes == 1 else "Give shape (n, dim).",
        )
    if array.shape[-1] == 0:
        raise BadVector(f"{name}: is empty", hint="Leave out what has no embedding.")
    if array.shape[-1] > MAX_DIM:
        raise BadVector(
            f"{name}: has dimension {array.shape[-1]}, models have at most {MAX_DIM}",
            hint="Embed with a smaller model.",
        )
    # What has a finite square has finite elements; to look at each takes longer.
    if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
        raise BadVector(
            f"{name}: holds NaN or infinity in float32",
            hint="Embed again, and look at what the embedder got.",
        )
    return array
