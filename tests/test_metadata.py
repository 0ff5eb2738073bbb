"""Metadata: the same documents are taken, and the same refused, on every engine and whoever wrote them."""

from __future__ import annotations

import json
import random
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import engines
import psycopg
import pytest
import servers
from by_hand import ByHand
from hypothesis import given, settings
from hypothesis import strategies as st

import kompanion_db
from kompanion_db import NewItem, copying, metadata
from kompanion_db.errors import BadArgument, KompanionError, TooLarge
from kompanion_db.sqlite import open_sql


def nested(levels: int) -> dict[str, Any]:
    """So many objects and lists inside each other."""
    found: Any = {}
    for n in range(levels - 1, 0, -1):
        found = [found] if n % 2 == 0 else {"a": found}
    return found  # type: ignore[no-any-return]


def deep_down(frames: int, call: Any) -> Any:
    """A call from so many frames further down, as out of somebody's framework."""
    return call() if frames == 0 else deep_down(frames - 1, call)


def test_metadata_of_100_levels_is_kept_and_read_from_anywhere(store: kompanion_db.Store) -> None:
    wanted = nested(100)
    for _ in range(2):
        deep_down(400, lambda: store.upsert_item("acme", "one", "x", metadata=wanted))
        store.upsert_items([NewItem("acme", "y", key="many", metadata=wanted)])
    assert [item.metadata for item in deep_down(400, lambda: store.list_items("acme"))] == [wanted, wanted]
    assert [r.revision for r in deep_down(400, lambda: store.item_history("acme", "one"))] == [1]


@pytest.mark.parametrize("levels", [101, 350, 900, 5000])
def test_metadata_of_more_levels_is_refused_by_name(store: kompanion_db.Store, levels: int) -> None:
    with pytest.raises(BadArgument) as one:
        store.upsert_item("acme", "k", "x", metadata=nested(levels))
    with pytest.raises(BadArgument) as many:
        store.upsert_items([NewItem("acme", "x"), NewItem("acme", "x", metadata=nested(levels))])
    with pytest.raises(BadArgument) as user:
        store.ensure_user("acme", "u", metadata=nested(levels))
    assert [e.value.message for e in (one, many, user)] == [
        f"{place}metadata: is nested deeper than 100 levels" for place in ("", "items[1].", "")
    ]
    assert store.list_items("acme") == []


def test_metadata_of_more_levels_is_refused_from_psql_too_and_of_100_taken(one_db: servers.Database) -> None:
    def document(levels: int, inside: str) -> str:
        return '{"a":' * (levels - 1) + inside + "}" * (levels - 1)

    with one_db.connect() as conn:
        write = "select status from kompanion.upsert_item('acme', 'k', 'x', metadata => %s::jsonb)"
        wide = '{"a": "' + "x" * 3000 + '"}'
        for inside in ("{}", "[]", "[1, null]", wide):
            conn.execute(write, (document(100, inside),))
            with pytest.raises(psycopg.Error, match=r"^metadata: is nested deeper than 100 levels") as caught:
                conn.execute(write, (document(101, inside),))
            assert caught.value.sqlstate == "KM007"
            with pytest.raises(psycopg.Error, match=r"^metadata: is nested deeper than 100 levels"):
                conn.execute("select kompanion.ensure_thread('acme', 't', metadata => %s)", (document(101, inside),))
        with (
            conn.transaction(),
            pytest.raises(psycopg.Error, match=r"^items\[1\]\.metadata: is nested deeper than 100"),
        ):
            conn.execute(
                "select kompanion.begin_staging();"
                "insert into staged_items (ord, namespace, content, metadata) "
                f"values (0, 'acme', 'x', '{{}}'), (1, 'acme', 'x', '{document(101, '[]')}');"
                "select * from kompanion.merge_staged()"
            )


@pytest.mark.parametrize(("levels", "error"), [(101, BadArgument), (350, BadArgument), (980, KompanionError)])
def test_what_a_statement_on_the_tables_nested_deeper_is_copied_into_a_file_or_refused_by_name(
    one_db: servers.Database, tmp_path: Path, levels: int, error: type[KompanionError]
) -> None:
    with one_db.connect() as conn:
        document = '{"a":' * levels + "1" + "}" * levels
        conn.execute("select kompanion.upsert_item('acme', 'abyss', 'x')")
        conn.execute("update kompanion.memory_items set metadata = %s::jsonb", (document,))
    with kompanion_db.connect(one_db.url) as source, kompanion_db.connect(f"sqlite:///{tmp_path}/x.db") as target:
        with pytest.raises(error) as caught:
            copying.copy(source, target)
        assert "abyss" in str(caught.value) or "where metadata @? '$.**{101}'" in str(caught.value)
        assert target.list_items("*") == []
        if levels > 900:
            with pytest.raises(TooLarge, match="too deep to be read"):
                deep_down(100, lambda: source.list_items("acme"))


def test_an_item_that_another_tool_nested_deeper_is_written_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with kompanion_db.connect(url) as store:
        store.register_model("small", 1)
        store.upsert_item("acme", "k", "x", metadata={"a": 1}, vectors=[[1.0]])
        conn = open_sql(url)
        conn.execute("update memory_items set metadata = jsonb(?)", ('{"a":' * 990 + "1" + "}" * 990,))
        conn.close()
        with pytest.raises(TooLarge, match="too deep to be read"):
            deep_down(100, lambda: store.get_item("acme", "k"))
        with pytest.raises(TooLarge, match="too deep to be read"):
            deep_down(100, lambda: store.search("acme", [1.0]))
        assert store.upsert_item("acme", "k", "x", metadata={"a": 1}, vectors=[[1.0]]).status == "revised"
        item = store.get_item("acme", "k")
        assert item is not None
        assert item.metadata == {"a": 1}


DIGITS = "1" * 5000
"""More than Python makes an int of by itself, and a number to both engines."""


def test_a_number_of_thousands_of_digits_that_another_tool_wrote_hides_no_item_and_loses_no_digit(
    store: kompanion_db.Store, by_hand: ByHand, tmp_path: Path
) -> None:
    store.register_model("small", 1)
    for key in ("k", "other"):
        store.upsert_item("acme", key, "x", metadata={"n": 1}, vectors=[[1.0]])
    by_hand.update("memory_items", {"key": "k"}, metadata=f'{{"n": {DIGITS}, "small": 7}}')
    wanted = {"n": Decimal(DIGITS), "small": 7}
    item = store.get_item("acme", "k")
    assert item is not None
    assert repr(item.metadata) == repr(wanted)
    assert {i.key: i.metadata for i in store.list_items("acme")} == {"k": wanted, "other": {"n": 1}}
    assert {hit.key: hit.metadata for hit in store.search("acme", [1.0])} == {"k": wanted, "other": {"n": 1}}
    assert wanted in [revision.metadata for revision in store.item_history("acme", "k")]
    assert wanted in [document["metadata"] for document in store.export_items("acme")[0]]
    with kompanion_db.connect(f"sqlite:///{tmp_path}/copy.db") as target:
        assert copying.copy(store, target).items == 2
        assert target.digest() == store.digest()
        assert wanted in [i.metadata for i in target.list_items("acme")]
    assert store.upsert_item("acme", "k", "x", metadata={"n": 1}, vectors=[[1.0]]).status == "revised"


def test_a_number_beyond_floats_is_read_in_full_and_taken_back(store: kompanion_db.Store, by_hand: ByHand) -> None:
    store.register_model("small", 1)
    store.upsert_item("acme", "k", "x", vectors=[[1.0]])
    part = "1" * 400 + ".5"
    for text, wanted in [("[1e400, -2.5E+400]", [10**400, -25 * 10**399]), (part, Decimal(part))]:
        by_hand.update("memory_items", {"key": "k"}, metadata=f'{{"n": {text}}}')
        for item in (store.get_item("acme", "k"), store.list_items("acme")[0], store.search("acme", [1.0])[0]):
            assert item is not None
            assert repr(item.metadata) == repr({"n": wanted})
    assert store.upsert_item("acme", "k", "x", metadata={"n": [10**400]}, vectors=[[1.0]]).status == "revised"


def test_an_indexed_key_takes_a_number_of_any_length_and_finds_it(store: kompanion_db.Store, by_hand: ByHand) -> None:
    store.index_metadata_key("n", type="number")
    digits = "7" + "".join(random.Random(0).choices("0123456789", k=8_000))  # an index keeps what repeats in less room
    for key, number in {"one": "1", "high": digits * 6, "low": f"-{digits}", "fine": f"0.{'0' * 200}{digits}"}.items():
        store.upsert_item("acme", key, "x")
        by_hand.update("memory_items", {"key": key}, metadata=f'{{"n": {number}}}')
    for wanted, filter in [
        ({"one", "high"}, {"n": {"$gte": 1}}),
        ({"high"}, {"n": {"$gt": 10**300}}),
        ({"fine", "one"}, {"n": {"$gt": 0, "$lt": 10**300}}),
        ({"fine"}, {"n": {"$gt": 0, "$lt": 1e-190}}),
        ({"low"}, {"n": {"$lt": -1}}),
        (set(), {"n": {"$eq": 0}}),
    ]:
        assert {item.key for item in store.list_items("acme", filter=filter)} == wanted, filter


def test_a_number_of_thousands_of_digits_is_refused_by_name(store: kompanion_db.Store) -> None:
    for number in (10**5000, Decimal(DIGITS)):
        with pytest.raises(BadArgument, match=r"^metadata: cannot be written as JSON: .*finite numbers"):
            store.upsert_item("acme", "k", "x", metadata={"n": number})
        with pytest.raises(BadArgument, match=r"^items\[0\]\.metadata: cannot be written as JSON: .*finite numbers"):
            store.upsert_items([NewItem("acme", "x", metadata={"n": number})])
        with pytest.raises(BadArgument, match=r"^filter: cannot be written as JSON: .*finite numbers"):
            store.list_items("acme", filter={"n": number})


def test_sql_shows_a_number_of_thousands_of_digits_in_a_file_as_text(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with kompanion_db.connect(url) as store:
        store.upsert_item("acme", "k", "x")
    with closing(open_sql(url)) as conn:
        conn.execute("update memory_items set metadata = jsonb(?)", (f'{{"n": {DIGITS}}}',))
        ((text,),) = conn.execute("select metadata from get_item('acme', 'k')")
        assert json.loads(text) == {"n": DIGITS}


def test_sql_in_a_file_takes_as_great_a_number_as_a_server_and_shows_it_as_json(tmp_path: Path) -> None:
    kompanion_db.migrate(f"sqlite:///{tmp_path}/x.db")
    with closing(open_sql(f"sqlite:///{tmp_path}/x.db")) as conn:
        write = "select status from upsert_item('acme', 'k', 'x', ?)"
        for taken in ("1e131071", "1e400"):
            conn.execute(write, (f'{{"n": {taken}}}',)).fetchall()
            assert conn.execute("select json_valid(metadata) from get_item('acme', 'k')").fetchall() == [(1,)]
        for refused in ("1e131072", "-1e9999999999999999999"):
            with pytest.raises(apsw.Error, match="KM007 metadata: is no JSON: a number has more than 131072 digits"):
                conn.execute(write, (f'{{"n": {refused}}}',)).fetchall()


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**40), 10**40) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)
FAR = [
    "1e63",
    "1e-63",
    "1e-64",
    "1e256",
    "1e-256",
    "1.50e3",
    "0.00",
    "-0.0",
    "10000",
    "100000000",
    "0.0001",
    "123456789.10",
]


def _no_nul(text: str) -> bool:
    return "\\u0000" not in text


def test_what_metadata_takes_is_measured_as_the_server_does(one_db: servers.Database) -> None:
    with one_db.connect() as conn:

        @given(st.dictionaries(st.text(), VALUES, max_size=6).map(json.dumps).filter(_no_nul))
        @settings(max_examples=150, deadline=None)
        def measured(text: str) -> None:
            row = conn.execute("select pg_column_size(%s::jsonb)", (text,)).fetchone()
            assert row is not None
            assert metadata._end(metadata._EXACT.decode(text), 4) == row[0]

        measured()
        for text in FAR:
            measured.hypothesis.inner_test(f'{{"a": [{text}, -{text.lstrip("-")}], "b": "x"}}')  # type: ignore[attr-defined]


LIMIT = metadata.MAX_BYTES
FULL: dict[str, dict[str, Any]] = {
    "text": {"a": "x" * (LIMIT - 17)},
    "wide letters": {"a": "\u20ac" * ((LIMIT - 17) // 3)},
    "line breaks": {"a": "\n" * (LIMIT - 17)},
    "small numbers": {"a": [1] * ((LIMIT - 24) // 12)},
    "fractions": {"a": [0.125] * ((LIMIT - 24) // 12)},
    "short texts": {"a": ["x"] * ((LIMIT - 24) // 5)},
    "lists": {"a": [[]] * ((LIMIT - 24) // 8)},
}


@pytest.mark.parametrize("full", FULL.values(), ids=FULL)
def test_metadata_of_a_mebibyte_is_taken_and_of_a_little_more_refused_whatever_it_is_made_of(
    one_home: engines.Home, full: dict[str, Any]
) -> None:
    more = {"a": full["a"] + full["a"][:20]}
    with kompanion_db.connect(one_home.url) as store:
        assert store.upsert_item("acme", "k", "x", metadata=full).status == "inserted"
        assert store.upsert_items([NewItem("acme", "x", metadata=full)]).inserted == 1
        with pytest.raises(TooLarge, match=r"^metadata: has 1048\d\d\d bytes, at most 1048576 are allowed"):
            store.upsert_item("acme", "k", "x", metadata=more)
        with pytest.raises(TooLarge, match=r"^items\[0\]\.metadata: has 1048\d\d\d bytes"):
            store.upsert_items([NewItem("acme", "x", metadata=more)])


def test_a_file_measures_what_sql_gives_it_the_same_way(tmp_path: Path) -> None:
    with kompanion_db.connect(f"sqlite:///{tmp_path}/x.db"):
        conn = open_sql(f"sqlite:///{tmp_path}/x.db")
        full = json.dumps(FULL["small numbers"], separators=(",", ":"))
        write = "select status from upsert_item('acme', 'k', 'x', ?)"
        assert conn.execute(write, (full,)).fetchall() == [("inserted",)]
        with pytest.raises(Exception, match="KM008 metadata: has 10485"):
            conn.execute(write, (full.replace("[", "[1,"),)).fetchall()
        with pytest.raises(Exception, match="KM007 metadata: is nested deeper than 100 levels"):
            conn.execute(write, (json.dumps(nested(101)),)).fetchall()
        conn.close()


def test_numbers_come_back_as_the_same_floats_and_from_a_file_as_they_were(
    store: kompanion_db.Store, home: engines.Home
) -> None:
    numbers = [1, 1.0, 0.1, -0.0, 1e15, 1e16, 1e17, 1e23, 1e308, 5e-324, 2**53 + 1, 10**30]
    store.upsert_item("acme", "k", "x", metadata={"numbers": numbers})
    (item,) = store.list_items("acme")
    assert [float(number) for number in item.metadata["numbers"]] == [float(number) for number in numbers]
    if home.key == "sqlite":
        assert repr(item.metadata["numbers"]) == repr(numbers)
