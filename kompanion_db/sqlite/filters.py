"""Metadata filters as SQL over ``i.metadata``; the grammar and the messages are those of pg_0016_filters.

Numbers compare as Python compares int and float: whole numbers of 64 bits exactly, all others as doubles. PostgreSQL
compares decimals of any length; the two differ only where a number is beyond 2^53 and not such a whole number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import apsw

from ..arguments import check_filter_size
from ..errors import BadFilter
from ..metadata import deeper_than
from .documents import PLAIN, check_escapes

MAX_DEPTH = 32
MAX_PARTS = 5000
MAX_VALUES = 1000
MAX_NAME = 512
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Filter:
    """A compiled filter: a boolean over ``i``, which may be unknown for what does not match, and what it binds.

    ``keys``: by field and type (number, text), tests that are part of it and bind the same: what an index of the field
    can be asked for. In ``sql`` a unary + keeps them from it: which index to use is chosen where both are put together.
    """

    sql: str
    parameters: dict[str, Any]
    keys: dict[tuple[str, str], list[str]]


def compile_filter(filter: str | None) -> Filter | None:
    """A filter, JSON text, as SQL; None when it asks for nothing. Raises BadFilter, TooLarge, BadArgument."""
    if filter is None:
        return None
    check_filter_size("filter", filter)
    try:
        found = PLAIN.decode(filter)
        check_escapes(filter, found, "filter")
    except RecursionError:
        raise bad_filter(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as exc:
        raise bad_filter(f"it is no JSON: {exc}") from None
    if found == {}:
        return None
    if deeper_than(2 * MAX_DEPTH + 1, found):  # a level of the grammar is at most an object in a list
        raise bad_filter(f"it is nested deeper than {MAX_DEPTH} levels")
    if _parts(found) > MAX_PARTS:
        raise bad_filter(f"it has more than {MAX_PARTS} parts")
    compiler = _Compiler()
    sql = compiler.filter(found, negated=False, depth=1)
    return Filter(sql, compiler.parameters, compiler.keys)


def typed_value(name: str, type: str, row: str = "i.") -> str:
    """SQL: the number or text at a dotted name of metadata, NULL where there is none; what an index of it holds."""
    path = _path(name)
    kinds = "in ('integer', 'real')" if type == "number" else "= 'text'"
    return f"case when json_type({row}metadata, {path}) {kinds} then json_extract({row}metadata, {path}) end"


def check_field(name: str) -> list[str]:
    """The parts of a dotted name. Raises BadFilter when one is empty, or the name too long."""
    if len(name) > MAX_NAME:
        raise bad_filter(f"field {quoted(name)} has {len(name)} characters, at most {MAX_NAME} are allowed")
    parts = name.split(".")
    if "" in parts:
        raise bad_filter(f"field {quoted(name)} has an empty part")
    return parts


def joined(parts: list[str], glue: str) -> str:
    """The parts with ``and`` or ``or`` between, as a balanced tree: SQLite limits how deep an expression may be."""
    if not parts:
        return "true" if glue == "and" else "false"
    if len(parts) == 1:
        return f"({parts[0]})"
    if len(parts) <= 8:
        return f"({f' {glue} '.join(parts)})"
    middle = len(parts) // 2
    return f"({joined(parts[:middle], glue)} {glue} {joined(parts[middle:], glue)})"


def bad_filter(problem: str) -> BadFilter:
    """The one wording for a filter that is not of the grammar."""
    return BadFilter(
        f"filter: {problem}",
        hint='Filters are objects such as {"topic": "x", "n": {"$gte": 3}}; operators: $eq $ne $gt $gte $lt $lte $in '
        '$nin $exists $contains $and $or $not; a dotted name such as "a.b" goes into an object.',
    )


class _Compiler:
    """Gathers what is bound while it writes SQL. Negation is pushed down to the operators, where unknown is false."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.keys: dict[tuple[str, str], list[str]] = {}

    def filter(self, filter: Any, negated: bool, depth: int, must: bool = True) -> str:
        """A filter; ``must``: what it says holds for every match of the whole."""
        if depth > MAX_DEPTH:
            raise bad_filter(f"it is nested deeper than {MAX_DEPTH} levels")
        if not isinstance(filter, dict):
            raise bad_filter(f"expected an object, found {_kind(filter)}")
        parts = []
        for name, value in _in_order(filter):
            if name in ("$and", "$or"):
                parts.append(self._group(name, value, negated, depth, must))
            elif name == "$not":
                parts.append(self.filter(value, not negated, depth + 1, must=False))
            elif name.startswith("$"):
                raise bad_filter(f"unknown operator {quoted(name)}")
            else:
                parts.append(self._field(name, value, negated, depth, must and not negated))
        return joined(parts, "or" if negated else "and")

    def _group(self, name: str, value: Any, negated: bool, depth: int, must: bool) -> str:
        if not isinstance(value, list) or not value:
            raise bad_filter(f"{name} takes a list of one or more filters")
        must = must and (name == "$and" or len(value) == 1)
        parts = [self.filter(each, negated, depth + 1, must) for each in value]
        return joined(parts, "or" if (name == "$and") == negated else "and")

    def _field(self, name: str, value: Any, negated: bool, depth: int, must: bool) -> str:
        check_field(name)
        if isinstance(value, list):
            raise bad_filter(f"field {quoted(name)} is compared with a list; use $in or $contains")
        if not isinstance(value, dict):
            return self._operator(name, "$eq", value, negated, must)
        if not value:
            raise bad_filter(f"field {quoted(name)} has no operator")
        parts = [
            self.filter({name: operand}, not negated, depth + 1, must=False)
            if operator == "$not" and isinstance(operand, dict)
            else self._operator(name, operator, operand, negated, must)
            for operator, operand in _in_order(value)
        ]
        return joined(parts, "or" if negated else "and")

    def _operator(self, name: str, operator: str, operand: Any, negated: bool, must: bool) -> str:
        if operator in ("$ne", "$nin"):
            return self._operator(name, "$eq" if operator == "$ne" else "$in", operand, not negated, False)
        if operator == "$exists":
            if not isinstance(operand, bool):
                raise bad_filter("$exists takes true or false")
            return f"{_type(name)} {'is' if negated == operand else 'is not'} null"
        test = self._test(name, operator, operand, must)
        # Unknown is what a value of another type, or none at all, gives: the negation holds for it.
        return f"({test}) is not true" if negated else test

    def _test(self, name: str, operator: str, operand: Any, must: bool) -> str:
        kind = _kind(operand)
        if operator == "$eq":
            if kind in ("object", "array"):
                raise bad_filter(f"$eq compares with text, a number, true, false or null, not with an {kind}")
            return self._equal(name, operand, must)
        if operator in _COMPARISONS:
            if kind not in ("number", "string"):
                raise bad_filter(f"{operator} compares with a number or text, not with {kind}")
            return self._compare(name, _COMPARISONS[operator], operand, must)
        if operator == "$in":
            return self._in(name, operand, must)
        if operator == "$contains":
            return self._contains(name, operand)
        raise bad_filter(f"unknown operator {quoted(operator)}")

    def _equal(self, name: str, operand: Any, must: bool) -> str:
        kind = _kind(operand)
        if kind in ("number", "string"):
            return self._compare(name, "=", operand, must)
        return f"{_type(name)} = {self._bind(json.dumps(operand))}"

    def _in(self, name: str, operand: Any, must: bool) -> str:
        if not isinstance(operand, list) or any(isinstance(each, (dict, list)) for each in operand):
            raise bad_filter("$in and $nin take a list of texts, numbers, true, false or null")
        if len(operand) > MAX_VALUES:
            raise bad_filter(f"$in has {len(operand)} values, at most {MAX_VALUES} are allowed")
        by_kind: dict[str, list[Any]] = {}
        for each in operand:
            by_kind.setdefault(_kind(each), []).append(each)
        must = must and len(by_kind) == 1
        tests = [
            self._ranged(name, kind, f"in (select value from json_each({self._bind(_dumped(found))}))", must)
            for kind, found in by_kind.items()
            if kind in ("number", "string")
        ]
        tests += [self._equal(name, each, False) for kind in ("boolean", "null") for each in set(by_kind.get(kind, ()))]
        return joined(tests, "or") if tests else "false"

    def _contains(self, name: str, operand: Any) -> str:
        wanted = operand if isinstance(operand, list) else [operand]
        if any(isinstance(each, (dict, list)) for each in wanted):
            raise bad_filter("$contains takes one value or a list of values that the list must hold")
        kinds = "replace(e.type, 'real', 'integer') = replace(w.type, 'real', 'integer')"
        return (
            f"{_type(name)} = 'array' and not exists (select 1 from json_each({self._bind(_dumped(wanted))}) w "
            f"where not exists (select 1 from json_each(i.metadata, {_path(name)}) e "
            f"where e.atom is w.atom and {kinds}))"
        )

    def _compare(self, name: str, sign: str, operand: Any, must: bool) -> str:
        return self._ranged(name, _kind(operand), f"{sign} {self._bind(operand)}", must)

    def _ranged(self, name: str, kind: str, comparison: str, must: bool) -> str:
        type = "number" if kind == "number" else "text"
        test = f"{typed_value(name, type)} {comparison}"
        if not must:
            return test
        self.keys.setdefault((name, type), []).append(test)
        return f"+{test}"

    def _bind(self, value: Any) -> str:
        if isinstance(value, int) and value not in _INT64:
            value = float(json.dumps(value))  # as SQLite reads such a number in metadata; infinite when it is too great
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"


def _path(name: str) -> str:
    # An index on an expression is used only where its text is written alike, so that a path cannot be bound.
    return apsw.format_sql_value("$" + "".join(f".{_dumped(part)}" for part in name.split(".")))


def _type(name: str) -> str:
    return f"json_type(i.metadata, {_path(name)})"


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _in_order(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    """Fields in the order of jsonb, so that the same error is the first, and the same filter is the same statement."""
    return sorted(fields.items(), key=lambda field: (len(found := field[0].encode()), found))


def _kind(value: Any) -> str:
    """What jsonb_typeof says."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _parts(filter: Any) -> int:
    """How many values there are in a document, itself included."""
    count, level = 0, [filter]
    while level:
        count += len(level)
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return count


def quoted(name: str) -> str:
    """The beginning of a name in quotes, as messages have it."""
    return "'" + name[:100].replace("'", "''") + "'"
