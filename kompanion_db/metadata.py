"""Metadata as both engines take it: how deep it may be nested, and how large it may be, as PostgreSQL measures it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from .errors import BadArgument, TooLarge

MAX_BYTES = 1 << 20
"""Limit of metadata, in the form PostgreSQL keeps it in (jsonb); as in _check_metadata."""

MAX_DEPTH = 100
"""So many objects and lists may be inside each other: more than filters ask for, and no reader of JSON has trouble."""

_MAX_CHARACTERS = 8 * MAX_BYTES
"""No text so long is metadata: one byte of it takes six characters at most, as in \\u001f."""

_EXACT = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
_SHORT_SCALE, _SHORT_WEIGHTS = 63, range(-64, 64)


def deeper_than(levels: int, value: Any) -> bool:
    """Whether more than so many objects and lists are inside each other, the outermost counted too."""
    level = [value]
    for _ in range(levels):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, Mapping) else node)
            if isinstance(child, (Mapping, list, tuple))
        ]
        if not level:
            return False
    return True


def too_deep(name: str) -> BadArgument:
    """The error for metadata that is nested too deep."""
    return BadArgument(f"{name}: is nested deeper than {MAX_DEPTH} levels", hint="Keep a few levels, or a reference.")


def check_depth(name: str, text: str, value: Any) -> None:
    """What JSON text says, an object or a list, is nested at most MAX_DEPTH levels deep; BadArgument otherwise."""
    if text.count("{") + text.count("[") > MAX_DEPTH and deeper_than(MAX_DEPTH, value):
        raise too_deep(name)


def check_size(name: str, text: str) -> None:
    """JSON text of at most MAX_DEPTH levels has at most MAX_BYTES as jsonb; TooLarge otherwise."""
    if len(text) <= MAX_BYTES // 8:  # a number of one digit takes two characters at least, and twelve bytes
        return
    problem = f"has {len(text)} characters, at most {MAX_BYTES} bytes are allowed"
    if len(text) <= _MAX_CHARACTERS:
        size = _end(_EXACT.decode(text), 4)
        if size <= MAX_BYTES:
            return
        problem = f"has {size} bytes, at most {MAX_BYTES} are allowed"
    raise TooLarge(f"{name}: {problem}", hint="Put long text into content and keep in metadata what filters ask about.")


def _end(value: Any, start: int) -> int:
    """Where a value ends in jsonb that starts there: a header and a word for each name and value, names, values."""
    if isinstance(value, str):
        return start + len(value.encode())
    if isinstance(value, Decimal):
        return _aligned(start) + _numeric(value)
    if isinstance(value, dict):
        named = sorted(((name.encode(), part) for name, part in value.items()), key=lambda n: (len(n[0]), n[0]))
        end = _aligned(start) + 4 + sum(8 + len(name) for name, _ in named)
        parts = [part for _, part in named]
    elif isinstance(value, list):
        end = _aligned(start) + 4 + 4 * len(value)
        parts = value
    else:
        return start  # true, false and null are in their word
    for part in parts:
        end = _end(part, end)
    return end


def _aligned(place: int) -> int:
    return (place + 3) // 4 * 4


def _numeric(value: Decimal) -> int:
    """The bytes of a numeric: a header, and two for each four decimal places from the first digit to the last."""
    _, digits, scale = value.as_tuple()
    assert isinstance(scale, int)
    shown = "".join(map(str, digits)).lstrip("0")
    written = shown.rstrip("0")
    first, last = (scale + len(shown) - 1) // 4, (scale + len(shown) - len(written)) // 4
    groups, weight = (first - last + 1, first) if written else (0, 0)
    short = -scale <= _SHORT_SCALE and weight in _SHORT_WEIGHTS
    return (6 if short else 8) + 2 * groups


def decoded(text: str) -> Any:
    """What JSON text that was stored says; TooLarge where it is nested deeper than Python reads.

    A whole number of more digits than Python makes an int of (4,300) is a Decimal: SQL and other tools may write one.
    A number too great for a float is what its digits say, such an int or Decimal: infinity is no JSON.
    """
    try:
        try:
            return DECODER.decode(text)
        except ValueError:
            return _LONG.decode(text)
    except RecursionError:
        raise unreadable() from None


def _whole(text: str) -> int | Decimal:
    try:
        return int(text)
    except ValueError:
        return Decimal(text)


def _fraction(text: str) -> float | int | Decimal | str:
    value = float(text)
    if isfinite(value):
        return value
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent of 19 digits, which only another tool can have written
        return text
    return _whole(f"{exact:f}") if exact.adjusted() < _DIGITS else exact


_DIGITS = 4300  # not sys.int_info: the first releases of Python 3.10 have no such limit, nor the name
DECODER = json.JSONDecoder(parse_float=_fraction)
"""Slower by a call for each number with a point or an exponent, of which most metadata has few."""

_LONG = json.JSONDecoder(parse_float=_fraction, parse_int=_whole)
"""Slower by a call for each number."""


def unreadable() -> TooLarge:
    """The error for stored JSON that is nested deeper than Python reads."""
    return TooLarge(
        "a JSON document is nested too deep to be read",
        hint=f"Write it again with at most {MAX_DEPTH} levels: only a statement on the tables can have written more.",
    )
