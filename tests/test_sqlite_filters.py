"""Metadata filters in SQLite: the laws every engine keeps, exact numbers, and the index that reads each condition."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import apsw
import oracle_filters
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_filters import DOCUMENTS, documents, filters

import kompanion_db
from kompanion_db.errors import BadArgument, BadFilter, TooLarge
from kompanion_db.migrate import migrate
from kompanion_db.sqlite.conditions import conditions
from kompanion_db.sqlite.database import Database
from kompanion_db.sqlite.files import place_of
from kompanion_db.sqlite.filters import compile_filter
from kompanion_db.sqlite.registry import functions
from kompanion_db.sqlite.session import Session

ITEMS = 4000

FILTERED = "select i.key from (select key, jsonb(value) as metadata from json_each(:documents)) i where {}"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kompanion_db.Store]:
    """A store that holds the documents of the corpus."""
    with kompanion_db.connect(f"sqlite:///{tmp_path_factory.mktemp('library') / 'x.db'}") as store:
        for name, document in DOCUMENTS.items():
            store.upsert_item("acme", name, "text", metadata=document)
        yield store


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Many items of one namespace, each with a number of its own, in a transaction."""
    url = f"sqlite:///{tmp_path_factory.mktemp('crowd') / 'x.db'}"
    migrate(url)
    database = Database(place_of(url))
    with database.session(write=True) as session:
        session.run("insert into namespaces (namespace_id, path) values (randomblob(16), 'acme')")
        session.run("insert into threads (namespace_no, key) values (1, 'today')")
        session.run(
            """
            with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < ?)
            insert into memory_items (namespace_no, key, content, metadata, tags, thread_no)
            select 1, n, 'text', jsonb_object('n', n, 'topic', 't' || (n % 10), 'size', json_object('height', n % 40)),
                   jsonb_array('all', 'tag' || (n % 20)), iif(n % 50 = 0, 1, null)
            from numbers
            """,
            (ITEMS,),
        )
        for key, type in (("n", "number"), ("size.height", "number"), ("topic", "text")):
            functions()["index_metadata_key"].body(session, key=key, type=type)
        yield session
    database.close()


def _matching(filter: Any, given_documents: list[Any]) -> set[int]:
    """The places of the documents that SQLite finds by a filter."""
    compiled = compile_filter(json.dumps(filter))
    sql, bound = (compiled.sql, compiled.parameters) if compiled else ("true", {})
    dumped = json.dumps(given_documents)
    return {key for (key,) in apsw.Connection("").execute(FILTERED.format(sql), {"documents": dumped} | bound)}


def _plan(session: Session, **asked: Any) -> tuple[str, list[str], int | None]:
    """How the matches in the one namespace are read first, their keys, and how many there are at most."""
    if "filter" in asked:
        asked["filter"] = json.dumps(asked["filter"])
    found = conditions(session, scope_nos=[1], **asked)
    sql = f"select i.key from memory_items i where {found.sql} order by i.item_no"
    plan = session.all(f"explain query plan {sql}", found.parameters)
    return plan[0][3], [key for (key,) in session.all(sql, found.parameters)], found.at_most


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.lists(filters, min_size=1, max_size=6), st.lists(documents, min_size=5, max_size=12))
def test_any_filter_and_any_document_agree_with_the_laws(asked: list[Any], given_documents: list[Any]) -> None:
    for filter in asked:
        wanted = {n for n, document in enumerate(given_documents) if oracle_filters.matches(filter, document)}
        assert _matching(filter, given_documents) == wanted, filter


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False), min_size=2))
@example([2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2.0**63, 0.1, 0.1 + 2**-56, 5e-324])
def test_numbers_compare_as_python_compares_them(numbers: list[float]) -> None:
    held = [{"n": n} for n in numbers]
    for n in numbers[:5]:
        assert _matching({"n": n}, held) == {at for at, other in enumerate(numbers) if other == n}
        assert _matching({"n": {"$lt": n}}, held) == {at for at, other in enumerate(numbers) if other < n}
        assert _matching({"n": {"$in": [n]}}, held) == {at for at, other in enumerate(numbers) if other == n}


def test_whole_numbers_of_more_than_64_bits_compare_as_doubles() -> None:
    held = [{"n": n} for n in (10**22, 10**22 + 1, -(10**400), 10**400)]
    assert _matching({"n": 1e22}, held) == {0, 1}
    assert _matching({"n": {"$gt": 10**22}}, held) == {3}
    assert _matching({"n": -(10**400)}, held) == {2}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2))
def test_text_compares_by_code_point_and_is_never_read_as_sql_or_as_a_path(texts: list[str]) -> None:
    held = [{"a": {text: text}} if text and "." not in text else {"a": text} for text in texts]
    for text in texts[:5]:
        name = f"a.{text}" if text and "." not in text else "a"
        alike = [oracle_filters.matches({name: {"$lte": text}}, each) for each in held]
        assert _matching({name: {"$lte": text}}, held) == {at for at, found in enumerate(alike) if found}


@pytest.mark.parametrize(
    "name", ["it's", 'quo"te', "per%cent", "{brace}", ":f0", "?1", "$x[0]", "a\\", "#", "\n", "[*]"]
)
def test_any_name_can_be_asked_for_and_indexed(library: kompanion_db.Store, name: str) -> None:
    asked = {f"names.{name}": 1, "$not": {f"names.{name}x": {"$exists": True}}}
    library.upsert_item("names", name, "text", metadata={"names": {name: 1}})
    for _ in range(2):
        assert [i.key for i in library.list_items("names", filter=asked)] == [name]
        library.index_metadata_key(f"names.{name}", type="number")


def test_thirty_two_levels_five_thousand_parts_and_a_thousand_values_are_the_most() -> None:
    def nested(levels: int) -> Any:
        return {"a": 1} if levels == 1 else {"$and": [{"a": 1}, {"$not": {"$not": {"a": 1}}}, nested(levels - 1)]}

    assert _matching(nested(30), [{"a": 1}, {}]) == {0}
    with pytest.raises(BadFilter, match="deeper than 32"):
        compile_filter(json.dumps(nested(33)))
    with pytest.raises(BadFilter, match="deeper than 32"):
        compile_filter('{"$not": ' * 100_000 + "{}" + "}" * 100_000)
    with pytest.raises(TooLarge, match="at most 1048576 are allowed"):
        compile_filter(json.dumps({"a": "x" * 2_000_000}))
    assert _matching({"$or": [{f"k{n}": n} for n in range(2498)]}, [{"k2497": 2497}, {"k1": 2}]) == {0}
    with pytest.raises(BadFilter, match="more than 5000 parts"):
        compile_filter(json.dumps({"$or": [{"a": n} for n in range(2500)]}))
    assert _matching({"n": {"$in": list(range(1000))}}, [{"n": 999}, {"n": 1000}]) == {0}
    with pytest.raises(BadFilter, match=r"\$in has 1001 values"):
        compile_filter(json.dumps({"n": {"$nin": list(range(1001))}}))


@pytest.mark.parametrize(("asked", "index", "count"), [
    ({"filter": {"n": 77}}, "metadata_number", 1),
    ({"filter": {"n": {"$gte": 100, "$lt": 103}}}, "metadata_number", 3),
    ({"filter": {"n": {"$in": [1, 2, 99_999]}}}, "metadata_number", 2),
    ({"filter": {"size.height": 7}}, "metadata_number", 100),
    ({"filter": {"$and": [{"topic": "t3"}, {"absent": {"$exists": False}}]}}, "metadata_text", 400),
    ({"filter": {"topic": "t3", "n": {"$lt": 3990}}}, "metadata_text", 399),
    ({"filter": {"topic": "t3", "n": {"$lt": 14}}}, "metadata_number", 2),
    ({"tags_any": ["tag3", "tag4"]}, "PRIMARY KEY (rowid=?)", 400),
    ({"tags_all": ["all", "tag3"]}, "PRIMARY KEY (rowid=?)", 200),
    ({"tags_any": ["all"], "filter": {"topic": "t3"}}, "metadata_text", 400),
    ({"tags_any": ["tag3"], "filter": {"topic": "t3"}}, "PRIMARY KEY (rowid=?)", 200),
    ({"thread": "today"}, "memory_items_thread_ix", 80),
    ({"thread": "today", "tags_none": ["tag0"]}, "memory_items_thread_ix", 40),
    ({"filter": {"absent": {"$exists": False}}}, "memory_items_created_ix", ITEMS),
])  # fmt: skip
def test_the_narrowest_index_reads_the_matches(crowd: Session, asked: dict[str, Any], index: str, count: int) -> None:
    plan, keys, at_most = _plan(crowd, **asked)
    assert index in plan
    assert len(keys) == count
    assert (at_most or math.inf) >= count


def test_conditions_of_any_number_are_understood(crowd: Session) -> None:
    ranges = [{"n": {"$gte": n}} for n in range(1000)] + [{f"k{n}": {"$exists": False}} for n in range(600)]
    assert _plan(crowd, filter={"$and": ranges, "n": 1000})[1] == ["1000"]
    assert _plan(crowd, filter={"$or": [{"n": n} for n in range(2000)]})[1][-1] == "1999"
    assert _plan(crowd, tags_all=[f"tag{n}" for n in range(2000)])[1] == []


def test_a_key_asked_for_alone_is_answered_by_its_index_alone(crowd: Session) -> None:
    found = conditions(crowd, scope_nos=[1], filter='{"topic": "t3"}')
    for scope in ([1], None):
        found = conditions(crowd, scope_nos=scope, filter='{"topic": "t3"}')
        sql = f"explain query plan select i.item_no from memory_items i where {found.sql}"
        assert "COVERING INDEX memory_items_metadata_text" in crowd.all(sql, found.parameters)[0][3]


def test_what_matches_widely_is_listed_without_reading_it_all(crowd: Session) -> None:
    assert conditions(crowd, scope_nos=[1], tags_any=["all"]).at_most is None
    assert conditions(crowd, scope_nos=[1], tags_any=["all"], filter='{"n": {"$lt": 50}}').at_most == 49


def test_no_item_has_a_tag_of_none_and_every_item_has_all_of_none(library: kompanion_db.Store) -> None:
    assert library.list_items("acme", tags_any=[]) == []
    assert len(library.list_items("acme", tags_all=[], tags_none=[])) == len(DOCUMENTS)
    assert library.list_items("acme", thread="nobody") == []


def test_a_filter_of_what_is_no_text_is_refused(library: kompanion_db.Store) -> None:
    for text in ("\\u0000", "\\ud800"):
        for filter in (f'{{"a": "{text}"}}', f'{{"{text}": 1}}'):
            with pytest.raises(BadArgument, match="filter: holds a"):
                compile_filter(filter)


def test_a_key_that_cannot_be_indexed_is_refused(library: kompanion_db.Store) -> None:
    with pytest.raises(BadArgument, match="type: 'date' is unknown"):
        library.index_metadata_key("n", type="date")
    for key in ("$n", "a..b", "."):
        with pytest.raises(BadFilter, match="no name of a field"):
            library.index_metadata_key(key)
    with pytest.raises(BadArgument, match="key: is empty"):
        library.index_metadata_key("")
