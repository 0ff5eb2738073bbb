"""JSON documents as they are stored, and when two of them are the same."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import Any

from ..arguments import characters
from ..errors import BadArgument
from ..metadata import check_depth, check_size, too_deep
from .functions.checks import dumped


class _RepeatedName(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedName
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _number(text: str) -> float:
    value = float(text)
    if isinf(value) and not _in_range(text):
        raise ValueError(f"a number has more than {_DIGITS} digits")
    return value


def _in_range(text: str) -> bool:
    try:
        return Decimal(text).adjusted() < _DIGITS
    except InvalidOperation:  # an exponent of 19 digits
        return False


_DIGITS = 131_072
"""So many digits before the point has a number in PostgreSQL at most."""

PLAIN = json.JSONDecoder(parse_float=_number, parse_constant=_no_constant)
"""As json.loads, but NaN and Infinity are no JSON, nor is a number that PostgreSQL has no room for."""

_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_float=_number, parse_constant=_no_constant)
_EXACT = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
_KINDS = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def metadata_text(metadata: str | None, argument: str = "metadata") -> str:
    """Metadata as it is stored, none as an empty object. Raises BadArgument, TooLarge."""
    if metadata is None or metadata == "{}":
        return "{}"
    text = object_text(metadata, argument)
    check_size(argument, text)
    return text


def object_text(text: str, argument: str) -> str:
    """The text of a JSON object as SQLite may store it: each name once, the last one counts. Raises BadArgument."""
    try:
        try:
            value = PLAIN.decode(text)
            check_escapes(text, value, argument)
            # A flat object with a colon for each of its names has none twice. So most are; looking closer takes longer.
            if type(value) is dict and len(value) == text.count(":") and text.count("{") + text.count("[") <= 1:
                return text
            value = _STRICT.decode(text)
        except _RepeatedName:  # SQLite would keep both, and filters find the first
            value = json.loads(text)
            text = dumped(value)
    except RecursionError:
        raise too_deep(argument) from None
    except ValueError as exc:
        raise BadArgument(f"{argument}: is no JSON: {exc}", hint='Give an object, such as {"topic": "x"}.') from None
    if not isinstance(value, dict):
        raise BadArgument(
            f"{argument}: is a JSON {_KINDS.get(type(value), 'null')}, not an object",
            hint='Give an object, such as {"topic": "x"}.',
        )
    check_depth(argument, text, value)
    return text


def check_escapes(text: str, value: Any, argument: str) -> None:
    r"""Of JSON text and what it says: no \u0000, no half of a pair, as in PostgreSQL. Raises BadArgument."""
    if "\\u" in text:
        characters(argument, dumped(value))


def same_document(one: str, other: str) -> bool:
    """Whether two JSON texts mean the same, as jsonb compares: 1 is 1.0 but not true, the order of names is nothing."""
    if one == other:
        return True
    try:
        pairs = [(_EXACT.decode(one), _EXACT.decode(other))]
    except RecursionError:
        return False  # another tool wrote one of them, and no function takes what is nested so deep
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, dict):
            if not isinstance(right, dict) or left.keys() != right.keys():
                return False
            pairs += ((value, right[name]) for name, value in left.items())
        elif isinstance(left, list):
            if not isinstance(right, list) or len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif isinstance(left, bool) or isinstance(right, bool):
            if left is not right:
                return False
        elif left != right:
            return False
    return True
