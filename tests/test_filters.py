"""Metadata filters: one grammar, whose laws a corpus states by example and oracle_filters.py in general."""

from __future__ import annotations

import json
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import engines
import oracle_filters
import pytest
import servers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kompanion_db
from kompanion_db.errors import BadFilter

CORPUS = json.loads((Path(__file__).parent / "filter_corpus.json").read_text(encoding="utf-8"))
DOCUMENTS: dict[str, Any] = CORPUS["documents"]
CASES: list[dict[str, Any]] = CORPUS["cases"]

FIELDS = ("a", "b", "a.b", "a.b.c")
texts = st.sampled_from(["", "a", "A", "b", "10", "9", "é", "z", "ab", "\U0001f600", "\uffff", "\\", '"'])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([10, 9.5, -0.0, 1e22, 10**22, 2**53 + 1, 0.1]), texts
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from("abc"), v, max_size=2), max_leaves=4
)
documents = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
lists = st.lists(scalars, max_size=3)
comparisons = st.one_of(
    *[st.tuples(st.just(name), scalars) for name in ("$eq", "$ne", "$contains")],
    *[st.tuples(st.just(name), st.integers(-3, 10) | texts) for name in ("$gt", "$gte", "$lt", "$lte")],
    *[st.tuples(st.just(name), lists) for name in ("$in", "$nin", "$contains")],
    st.tuples(st.just("$exists"), st.booleans()),
)
tests_of_a_field = st.recursive(
    st.lists(comparisons, min_size=1, max_size=2).map(dict), lambda t: st.fixed_dictionaries({"$not": t}), max_leaves=2
)
fields = st.dictionaries(st.sampled_from(FIELDS), scalars | tests_of_a_field, max_size=2)
filters = st.recursive(
    fields,
    lambda f: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(f, min_size=1, max_size=3)).map(lambda p: {p[0]: p[1]}),
        f.map(lambda each: {"$not": each}),
        st.tuples(fields, f).map(lambda p: {**p[0], "$not": p[1]}),
    ),
    max_leaves=5,
)

ALL_PAIRS = """
    select f.n - 1, d.n - 1
    from unnest(%s::jsonb[]) with ordinality f (filter, n)
    cross join lateral (select kompanion.compile_filter(f.filter)) c (path)
    cross join unnest(%s::jsonb[]) with ordinality d (document, n)
    where c.path is null or d.document @@ c.path"""


Library = tuple[kompanion_db.Store, engines.Home]


@pytest.fixture(scope="module")
def library(engine: engines.Engine) -> Iterator[Library]:
    """A store that holds the documents of the corpus, each with a vector."""
    home = engine.home()
    with kompanion_db.connect(home.url) as store:
        store.register_model("m", 2)
        for name, document in DOCUMENTS.items():
            store.upsert_item("acme", name, "text", metadata=document, vectors=[[1.0, 1.0]])
        yield store, home
    home.drop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_the_oracle_and_the_corpus_agree(case: dict[str, Any]) -> None:
    found = [name for name, document in DOCUMENTS.items() if oracle_filters.matches(case["filter"], document)]
    assert sorted(found) == case["matches"]


def test_list_items_and_search_answer_every_case_of_the_corpus(library: Library) -> None:
    store, _ = library
    for case in CASES:
        listed = sorted(i.key for i in store.list_items("acme", filter=case["filter"], page_size=1000))
        hits = sorted(h.key for h in store.search("acme", [1.0, 0.0], 1000, filter=case["filter"]))
        assert (listed, hits) == (case["matches"], case["matches"]), case["why"]


def test_an_index_on_a_key_changes_no_answer(library: Library) -> None:
    store, home = library
    try:
        for key, type in (("n", "number"), ("topic", "text"), ("a.b.c", "number")):
            statements = store.index_metadata_key(key, type=type)
            assert store.index_metadata_key(key, type=type) == statements
        test_list_items_and_search_answer_every_case_of_the_corpus(library)
    finally:
        with home.by_hand() as hand:
            hand.set_setting("indexed_metadata", {})


@pytest.mark.parametrize("kind", [MappingProxyType, UserDict, OrderedDict])
def test_a_filter_may_be_any_mapping(library: Library, kind: Callable[[Any], Any]) -> None:
    store, _ = library
    for case in CASES[:20]:
        listed = store.list_items("acme", filter=kind(case["filter"]), page_size=1000)
        assert sorted(i.key for i in listed) == case["matches"], case["why"]


def test_null_is_no_tag_that_any_item_could_have(one_home: engines.Home) -> None:
    """Only SQL can ask so: Python refuses it."""
    call = "list_items('acme', {} => array['a', null])"
    if one_home.key == "sqlite":
        call = """list_items where scope = 'acme' and {} = '["a", null]'"""
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        store.upsert_item("acme", "tagged", "text", tags=["a"])
        store.upsert_item("acme", "plain", "text")
        found = {asked: hand.rows(call.format(asked), "key") for asked in ("tags_any", "tags_all", "tags_none")}
    assert found == {"tags_any": [("tagged",)], "tags_all": [], "tags_none": [("plain",)]}


def test_any_filter_and_any_document_agree_with_the_laws(db: servers.Database, figure: Callable[[str], None]) -> None:
    count = {"pairs": 0, "matches": 0}
    with db.connect() as conn:

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
        @given(st.lists(filters, min_size=5, max_size=12), st.lists(documents, min_size=5, max_size=12))
        def check(asked: list[Any], given_documents: list[Any]) -> None:
            dumped = [[json.dumps(each) for each in group] for group in (asked, given_documents)]
            got = set(conn.execute(ALL_PAIRS, dumped).fetchall())
            wanted = {
                (f, d)
                for f, filter in enumerate(asked)
                for d, document in enumerate(given_documents)
                if oracle_filters.matches(filter, document)
            }
            wrong = [(asked[f], given_documents[d], (f, d) in wanted) for f, d in got ^ wanted]
            assert wrong == []
            count["pairs"] += len(asked) * len(given_documents)
            count["matches"] += len(wanted)

        check()
    figure(f"{db.key}: filter and document pairs {count['pairs']}, matching {count['matches']}")


@pytest.mark.parametrize("case", CORPUS["bad"], ids=lambda case: json.dumps(case["filter"]))
def test_a_filter_out_of_grammar_is_refused_with_its_operator_named(library: Library, case: dict[str, Any]) -> None:
    store, _ = library
    for call in (store.list_items, lambda scope, filter: store.search(scope, [1.0, 0.0], filter=filter)):
        with pytest.raises(BadFilter) as caught:
            call("acme", filter=case["filter"])
        assert case["names"] in caught.value.message
        assert "$exists" in (caught.value.hint or "")


def _nested(levels: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        filter = {"$not": filter}
    return filter


def test_thirty_two_levels_of_nesting_are_understood(library: Library) -> None:
    store, _ = library
    assert len(store.list_items("acme", filter=_nested(32))) == len(DOCUMENTS)
    assert store.list_items("acme", filter=_nested(31)) == []


@pytest.mark.parametrize("levels", [33, 100, 1000])
def test_deeper_nesting_is_refused(library: Library, levels: int) -> None:
    store, _ = library
    with pytest.raises(BadFilter, match="deeper than 32"):
        store.list_items("acme", filter=_nested(levels))


@pytest.mark.parametrize("levels", [33, 100, 1000])
def test_deeper_nesting_is_refused_by_sql_too(db: servers.Database, levels: int) -> None:
    text = '{"$not": ' * (levels - 1) + '{"a": 1}' + "}" * (levels - 1)
    with db.connect() as conn, pytest.raises(Exception, match="deeper than 32") as caught:
        conn.execute("select kompanion.compile_filter(%s::jsonb)", (text,))
    assert getattr(caught.value, "sqlstate", None) == "KM006"


def test_five_hundred_and_twelve_characters_are_the_longest_name(library: Library) -> None:
    store, _ = library
    assert store.list_items("acme", filter={"n" * 512: {"$in": list(range(1000))}}) == []
    with pytest.raises(BadFilter, match=r"field 'n+' has 513 characters, at most 512 are allowed"):
        store.list_items("acme", filter={"a": 1, "$not": {"n" * 513: 1}})


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (f"{'[' * 4000}1{']' * 4000}", "KM006"),
        (f"[{','.join(['1e130000'] * 100)}]", "KM008"),
        (f'["{"x" * 2_000_000}"]', "KM008"),
    ],
    ids=["deep", "digits", "long"],
)
def test_a_filter_that_would_be_much_larger_written_down_is_refused_by_sql(
    db: servers.Database, values: str, state: str
) -> None:
    with db.connect() as conn, pytest.raises(Exception, match=r"deeper than 32|at most 1048576") as caught:
        conn.execute("select kompanion.compile_filter(%s::jsonb)", (f'{{"a": {{"$in": {values}}}}}',))
    assert getattr(caught.value, "sqlstate", None) == state


def test_a_thousand_values_in_a_list_are_the_most(library: Library) -> None:
    store, _ = library
    found = store.list_items("acme", filter={"n": {"$in": list(range(1000))}})
    assert {i.key for i in found} == {"n2", "n10", "n10.0", "n0", "both"}
    with pytest.raises(BadFilter, match=r"\$in has 1001 values"):
        store.list_items("acme", filter={"n": {"$nin": list(range(1001))}})


def test_any_number_of_tags_may_be_asked_for_at_once(one_home: engines.Home) -> None:
    tags = [f"t{n:05}" for n in range(40_000)]
    lists: tuple[tuple[list[str], list[str]], ...] = (
        (tags[:64], ["many", "more"]),
        (tags[:65] + tags[:10], ["many", "more"]),
        (tags[:100], ["many", "more"]),
        (tags[:101], ["more"]),
        ([*tags[:99], "x"], []),
        (["a", *tags[:200]], []),
        (tags, []),
    )
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("m", 3)
        with one_home.by_hand() as hand:
            for key, count in (("few", 10), ("many", 100), ("more", 200)):
                store.upsert_item("acme", key, "text", vectors=[[1, 2, 3]])
                hand.update("memory_items", {"key": key}, tags=tags[:count])  # a store itself gives no more than 64
        for asked, found in lists:
            for scope in ("*", "acme"):
                assert sorted(hit.key or "" for hit in store.search(scope, [1, 2, 3], tags_all=asked)) == found
            assert sorted(item.key or "" for item in store.list_items("acme", tags_all=asked)) == found
            assert [hit.key for hit in store.search("acme", [1, 2, 3], tags_all=asked, tags_any=["t00150"])] == [
                key for key in found if key == "more"
            ]
        assert len(store.search("acme", [1, 2, 3], tags_any=tags)) == 3
        assert len(store.search("acme", [1, 2, 3], tags_none=tags[150:])) == 2
