"""What list_items and searches ask of an item, as one boolean, written so that the narrowest index reads it.

SQLite does not look how many rows a tag, a thread or a hot key has before it plans. So what drives is decided here, by
counting index entries up to a bound; a unary + keeps SQLite from driving by anything else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .filters import Filter, compile_filter, joined
from .session import Session

LIVE = "i.deleted_at is null and (i.expires_at is null or i.expires_at > :now)"
"""SQL: an item is live at ``:now``. Whether its namespace is, the scope knows."""

COUNTED = 2000
"""How many entries of an index are counted at most: some 50 us."""

_TESTS = 16
"""How many tests of one key narrow the range of its index; with hundreds SQLite would plan for a second."""

_TAGS = 64
"""How many of the tags that are asked for at once may drive. The others are compared with those of an item."""


@dataclass(frozen=True)
class Conditions:
    """Conditions on ``memory_items i``, for statements of the same transaction.

    ``sql``: true for the matches, read by the narrowest index; other tables are joined after it (``from memory_items i
    cross join embeddings e on e.item_no = i.item_no``). ``in_order``: the same without the scope, for reading a
    namespace along memory_items_created_ix. ``parameters``: what both bind: now, scope, threads, tags_*, tag0...,
    f0...
    ``at_most``: no more items than this match; None when that is not known or over ``COUNTED``.
    """

    sql: str
    in_order: str
    parameters: dict[str, Any]
    at_most: int | None


@dataclass(frozen=True)
class _Term:
    """One condition: ``driving`` goes by ``entries`` of an index, all in scope; ``checked`` looks at an item."""

    driving: str
    checked: str
    entries: str


def conditions(
    session: Session,
    *,
    scope_nos: list[int] | None,
    thread: str | None = None,
    tags_any: list[str] | None = None,
    tags_all: list[str] | None = None,
    tags_none: list[str] | None = None,
    filter: str | None = None,
) -> Conditions:
    """The conditions of a call; ``scope_nos``: live namespaces, None for all of them. Raises BadFilter."""
    compiled = compile_filter(filter)
    parameters: dict[str, Any] = {"now": session.now} | (compiled.parameters if compiled else {})
    within = _within(scope_nos, parameters)
    terms: list[_Term] = []
    if thread is not None:
        parameters["threads"] = _dumped(_thread_nos(session, thread, within, parameters))
        terms.append(_thread_term(within))
    # NULL is no tag: nothing has it, as in PostgreSQL; of tags_any and tags_none it is no part.
    wanted = [None] if tags_all and None in tags_all else sorted(set(tags_all or ()))
    terms += _tag_terms(within, tags_any, wanted[:_TAGS], parameters)
    rest = [LIVE]
    if len(wanted) > _TAGS:
        parameters |= {"tags_all": _dumped(wanted[_TAGS:]), "tags_count": len(wanted) - _TAGS}
        among = "t.value in (select value from json_each(:tags_all))"
        rest.append(f"(select count(distinct t.value) from json_each(i.tags) t where {among}) = :tags_count")
    if tags_none:
        parameters["tags_none"] = _dumped(tags_none)
        rest.append(f"not {_tagged('in (select value from json_each(:tags_none))')}")
    if compiled is not None:
        rest.append(compiled.sql)
    choices = [*_key_terms(session, compiled, within), *terms]
    counts = [_count(session, term.entries, parameters) for term in choices]
    fewest = min(counts, default=COUNTED + 1)
    driver = choices[counts.index(fewest)] if choices else None
    checked = [term.checked for term in terms if term is not driver]
    return Conditions(
        sql=_all([driver.driving if driver else _whole(within), *checked, *rest]),
        in_order=_all([*(term.checked for term in terms), *rest]),
        parameters=parameters,
        at_most=fewest if fewest <= COUNTED else None,
    )


def _within(scope_nos: list[int] | None, parameters: dict[str, Any]) -> str:
    """What a namespace_no of the scope is: SQL after it; nothing where all are in scope."""
    if scope_nos is None:
        return ""
    if len(scope_nos) == 1:
        parameters["scope"] = scope_nos[0]
        return "= :scope"
    parameters["scope"] = _dumped(scope_nos)
    return "in (select value from json_each(:scope))"


def _in_scope(row: str, within: str) -> str:
    return f"{row}.namespace_no {within}" if within else ""


def _whole(within: str) -> str:
    """A scope that is read whole: in the order of creation, near that of the table, and not in that of keys."""
    return f"{_in_scope('i', within)} and i.created_at > {-(2**63)}" if within else ""


def _thread_nos(session: Session, thread: str, within: str, parameters: dict[str, Any]) -> list[int]:
    sql = f"select t.thread_no from threads t where {_all(['t.key = :thread', _in_scope('t', within)])}"
    bound = {"thread": thread} | ({"scope": parameters["scope"]} if within else {})
    return [no for (no,) in session.all(sql, bound)]


def _thread_term(within: str) -> _Term:
    test = "thread_no in (select value from json_each(:threads))"
    return _Term(_all([f"i.{test}", _in_scope("+i", within)]), f"+i.{test}", f"memory_items where {test}")


def _tag_terms(
    within: str, tags_any: list[str] | None, wanted: Sequence[str | None], parameters: dict[str, Any]
) -> list[_Term]:
    tests = []
    if tags_any is not None:
        parameters["tags_any"] = _dumped(tags_any)
        tests.append("in (select value from json_each(:tags_any))")
    for n, tag in enumerate(wanted):
        parameters[f"tag{n}"] = tag
        tests.append(f"= :tag{n}")
    terms = []
    for test in tests:
        entries = f"item_tags t where {_all([f't.tag {test}', _in_scope('t', within)])}"
        terms.append(_Term(f"i.item_no in (select t.item_no from {entries})", _tagged(test), entries))
    return terms


def _tagged(test: str) -> str:
    return (
        f"exists (select 1 from item_tags t where t.tag {test} "
        "and t.namespace_no = +i.namespace_no and t.item_no = +i.item_no)"
    )


def _key_terms(session: Session, compiled: Filter | None, within: str) -> list[_Term]:
    """What a filter asks of hot metadata keys, whose indexes begin with the namespace; all of it is in its SQL too."""
    if compiled is None or not compiled.keys:
        return []
    indexed = session.setting("indexed_metadata")
    scope = _in_scope("i", within or "in (select namespace_no from namespaces)")
    found = [
        _all([scope, *tests[:_TESTS]]) for (name, type), tests in compiled.keys.items() if indexed.get(name) == type
    ]
    return [_Term(tests, "", f"memory_items i where {tests}") for tests in found]


def _count(session: Session, entries: str, parameters: dict[str, Any]) -> int:
    return int(session.value(f"select count(*) from (select 1 from {entries} limit {COUNTED + 1})", parameters))


def _all(tests: list[str]) -> str:
    return joined([test for test in tests if test], "and")


def _dumped(found: list[Any]) -> str:
    return json.dumps(found, ensure_ascii=False)
