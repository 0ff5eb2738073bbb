"""JSON documents as they are stored, and when two of them are the same."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from ..arguments import characters
from ..errors import BadArgument
from .functions.checks import check_metadata, dumped

_MAX_DEPTH = 1000
"""SQLite reads no JSON that is nested deeper."""


class _RepeatedName(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedName
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_PLAIN = json.JSONDecoder(parse_constant=_no_constant)
_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
_EXACT = json.JSONDecoder(parse_float=Decimal)
_KINDS = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def metadata_text(metadata: str | None, argument: str = "metadata") -> str:
    """Metadata as it is stored, none as an empty object. Raises BadArgument, TooLarge."""
    if metadata is None or metadata == "{}":
        return "{}"
    check_metadata(metadata, argument)
    return object_text(metadata, argument)


def object_text(text: str, argument: str) -> str:
    """The text of a JSON object as SQLite may store it: each name once, the last one counts. Raises BadArgument."""
    try:
        try:
            value = _PLAIN.decode(text)
            check_escapes(text, value, argument)
            # A flat object with a colon for each of its names has none twice. So most are; looking closer takes longer.
            if type(value) is dict and len(value) == text.count(":") and text.count("{") + text.count("[") <= 1:
                return text
            value = _STRICT.decode(text)
        except _RepeatedName:  # SQLite would keep both, and filters find the first
            value = json.loads(text)
            text = dumped(value)
        deep = text.count("{") + text.count("[") > _MAX_DEPTH and _depth(value) > _MAX_DEPTH
    except RecursionError:
        deep = True
    except ValueError as exc:
        raise BadArgument(f"{argument}: is no JSON: {exc}", hint='Give an object, such as {"topic": "x"}.') from None
    if deep:
        raise BadArgument(f"{argument}: is nested too deep", hint="Keep a few levels, or a reference.")
    if not isinstance(value, dict):
        raise BadArgument(
            f"{argument}: is a JSON {_KINDS.get(type(value), 'null')}, not an object",
            hint='Give an object, such as {"topic": "x"}.',
        )
    return text


def check_escapes(text: str, value: Any, argument: str) -> None:
    r"""Of JSON text and what it says: no \u0000, no half of a pair, as in PostgreSQL. Raises BadArgument."""
    if "\\u" in text:
        characters(argument, dumped(value))


def same_document(one: str, other: str) -> bool:
    """Whether two JSON texts mean the same, as jsonb compares: 1 is 1.0 but not true, the order of names is nothing."""
    return one == other or _same(_EXACT.decode(one), _EXACT.decode(other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_same(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _depth(value: Any) -> int:
    """How many lists and objects are inside each other, itself included."""
    depth, level = 0, [value]
    while level := [node for node in level if isinstance(node, dict | list)]:
        depth += 1
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
    return depth
