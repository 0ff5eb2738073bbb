"""The laws of metadata filters in plain Python: what a filter must answer for one document, on any engine.

Laws: a value of another type than the operand never matches, and never fails; a negation matches whatever its
operand does not, missing fields included; ``$exists`` asks for the field, null is a value; numbers compare as decimal
numbers and text by code point; a list is one value, only ``$contains`` looks into it; a dotted name goes into objects.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

MISSING = object()

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(filter: Mapping[str, Any] | None, document: Mapping[str, Any]) -> bool:
    """Whether a document passes a filter of the grammar; None and {} pass everything."""
    return all(_term(name, value, document) for name, value in (filter or {}).items())


def _term(name: str, value: Any, document: Mapping[str, Any]) -> bool:
    if name == "$and":
        return all(matches(each, document) for each in value)
    if name == "$or":
        return any(matches(each, document) for each in value)
    if name == "$not":
        return not matches(value, document)
    return _field(_at(document, name.split(".")), value)


def _field(found: Any, test: Any) -> bool:
    if not isinstance(test, Mapping):
        return _equal(found, test)
    return all(_operator(found, name, operand) for name, operand in test.items())


def _operator(found: Any, name: str, operand: Any) -> bool:
    if name == "$not":
        return not _field(found, operand)
    if name == "$ne":
        return not _equal(found, operand)
    if name == "$nin":
        return not any(_equal(found, each) for each in operand)
    if name == "$eq":
        return _equal(found, operand)
    if name == "$in":
        return any(_equal(found, each) for each in operand)
    if name == "$exists":
        return (found is not MISSING) == operand
    if name == "$contains":
        wanted = operand if isinstance(operand, list) else [operand]
        return isinstance(found, list) and all(any(_equal(f, w) for f in found) for w in wanted)
    return _comparable(found, operand) and _ORDER[name](_value(found), _value(operand))


def _at(document: Any, path: list[str]) -> Any:
    for part in path:
        if not isinstance(document, Mapping) or part not in document:
            return MISSING
        document = document[part]
    return document


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "literal"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _value(value: Any) -> Any:
    """A number as the decimal its JSON text writes; Python orders text by code point as it is."""
    return Decimal(json.dumps(value)) if _kind(value) == "number" else value


def _comparable(found: Any, operand: Any) -> bool:
    return _kind(found) == _kind(operand) and _kind(found) in ("number", "text")


def _equal(found: Any, operand: Any) -> bool:
    if _kind(found) == "literal":
        return found is operand
    return _comparable(found, operand) and bool(_value(found) == _value(operand))
