"""A scope holds the namespaces whose leading segments are its own, and never a look-alike."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import engines
import psycopg
import pytest
import servers
from oracle import below

import kompanion_db
from kompanion_db import namespaces
from kompanion_db.errors import BadNamespace

SEGMENTS = [
    "acme", "acme2", "acm", "Acme", "ACME", "a_b", "axb", "a-b", "a.b", "ab", "a", "A", "1", "10", "01", "_", "__", "-", ".",
    "@", "+", "=", "é", "e", "É", "ß", "ss", "ä", "İ", "i", "ı", "日本", "日本語", "Ω", "ѐ", "x" * 127, "x" * 128,
    "acme_", "acme-", "acme.", "acme@", "acme=", "acme+", "acme0", "acmeé",
]  # fmt: skip
SCOPES = 150


def _paths(rng: random.Random, count: int) -> list[str]:
    """Namespaces that differ from each other in as little as possible, up to eight segments deep."""
    paths = {
        "acme",
        "acme2",
        "a_b",
        "axb",
        ":".join(["a"] * 8),
        ":".join(["a"] * 7),
        "acme:u1",
        "acme:u10",
        "acme:u1:t",
    }
    while len(paths) < count:
        base = rng.choice(sorted(paths)).split(":")
        kind = rng.random()
        if kind < 0.4 and len(base) < 8:
            base.append(rng.choice(SEGMENTS))
        elif kind < 0.6:
            base[rng.randrange(len(base))] = rng.choice(SEGMENTS)
        elif kind < 0.8 and len(base[-1]) < 128:
            base[-1] += rng.choice("a1_-.@+=é")
        else:
            base[-1] = base[-1].swapcase()
        paths.add(unicodedata.normalize("NFC", ":".join(base)))
    return [p for p in sorted(paths) if all(len(s) <= 128 for s in p.split(":"))]


def test_no_scope_is_not_every_scope(store: kompanion_db.Store) -> None:
    store.register_model("m", 2)
    store.upsert_item("acme", "k", "text", vectors=[[1.0, 0.0]])
    scope: Any = None
    for ask in (
        lambda: store.search(scope, [1.0, 0.0]),
        lambda: store.explain_search(scope, [1.0, 0.0]),
        lambda: store.list_items(scope),
    ):
        with pytest.raises(BadNamespace, match=r"NULL|None"):
            ask()
    assert [hit.key for hit in store.search("*", [1.0, 0.0])] == ["k"]


def _wide(size: int) -> str:
    """A path of so many bytes that hardly compresses, of eight segments; the grammar allows it."""
    rng = random.Random(12)
    letters = "".join(chr(rng.randrange(0x4E00, 0x9F00)) for _ in range(8 * 83))
    path = ":".join(letters[n : n + 83] for n in range(0, len(letters), 83))
    return path + "x" * (size - len(path.encode()))


def test_a_namespace_of_2000_bytes_can_be_written_to_and_one_of_more_is_refused(store: kompanion_db.Store) -> None:
    fits, over = _wide(2000), _wide(2001)
    assert store.upsert_item(fits, "k", "text").status == "inserted"
    assert [item.namespace for item in store.list_items(fits.split(":")[0])] == [fits]
    registered = {"kind": "namespace", "path": over, "created_at": "2020-01-01T00:00:00+00:00"}
    for write in (
        lambda: store.upsert_item(over, "k", "text"),
        lambda: store.upsert_items([{"namespace": over, "key": "k", "content": "text"}]),
        lambda: store.ensure_namespace(over),
        lambda: store.import_documents([registered]),
    ):
        with pytest.raises(BadNamespace, match="has 2001 bytes, at most 2000") as caught:
            write()
        assert "Shorten" in (caught.value.hint or "")
    assert [n.namespace for n in store.list_namespaces()] == [fits]


Crowd = tuple[kompanion_db.Store, engines.Home, list[str]]


@pytest.fixture(scope="module")
def crowd(engine: engines.Engine) -> Iterator[Crowd]:
    """A few hundred namespaces with one item in each."""
    home = engine.home()
    rng = random.Random(20)
    paths = _paths(rng, 300)
    with kompanion_db.connect(home.url) as store:
        store.register_model("m", 2)
        store.upsert_items(
            {"namespace": path, "key": "k", "content": path, "vectors": [[1.0, rng.random()]]} for path in paths
        )
        yield store, home, paths
    home.drop()


def _seen(crowd: Crowd, scope: str) -> list[set[str]]:
    """The namespaces that each way to read shows in a scope."""
    store, home, _ = crowd
    with home.by_hand() as hand:
        views = [hand.below(view, scope) for view in ("live_items", "live_chunks", "live_embeddings")]
    return [
        {hit.namespace for hit in store.search(scope, [1.0, 0.0], 1000)},
        {item.namespace for item in store.list_items(scope, page_size=1000)},
        {each.namespace for each in store.list_namespaces(scope, page_size=1000)},
        *views,
    ]


def test_every_way_to_read_shows_exactly_the_namespaces_below_a_scope(
    crowd: Crowd, figure: Callable[[str], None]
) -> None:
    _, home, paths = crowd
    rng = random.Random(7)
    prefixes = {":".join(p.split(":")[:n]) for p in paths for n in range(1, 9)}
    strangers = {p[:-1] for p in paths if not p[:-1].endswith(":") and len(p) > 1} | {
        p + "2" for p in paths if len(p) < 100
    }
    scopes = [*rng.sample(sorted(prefixes), SCOPES * 2 // 3), *rng.sample(sorted(strangers), SCOPES // 3)]
    for scope in {*scopes, "acme", "acme2", "a_b", "axb", "Acme", "acm"}:
        expected = {path for path in paths if below(scope, path)}
        for seen in _seen(crowd, scope):
            assert seen == expected, scope
    figure(f"{home.key}: scope and namespace pairs checked: {len(scopes) * len(paths)}")


def test_everything_is_asked_for_with_a_star_only(crowd: Crowd) -> None:
    store, _, paths = crowd
    assert {i.namespace for i in store.list_items("*", page_size=1000)} == set(paths)
    assert {h.namespace for h in store.search("*", [1.0, 0.0], 1000)} == set(paths)
    for scope in ("", "acme:*", "*:acme", "acme:", ":acme", "%", "acme%", "acme:%", "**"):
        for call in (store.list_items, store.list_namespaces, store.stats, store.list_threads):
            with pytest.raises(BadNamespace):
                call(scope)
        with pytest.raises(BadNamespace):
            store.search(scope, [1.0, 0.0])


def test_deleted_namespaces_are_in_no_scope_and_their_look_alikes_stay(crowd: Crowd) -> None:
    store, _, paths = crowd
    gone = {p for p in paths if below("acme", p)}
    assert store.delete_namespace("acme") == len(gone)
    try:
        for scope in ("acme2", "Acme", "a_b", "a"):
            for seen in _seen(crowd, scope):
                assert seen == {p for p in paths if below(scope, p)}
        assert all(seen == set() for seen in _seen(crowd, "acme"))
        assert {i.namespace for i in store.list_items("*", page_size=1000)} == set(paths) - gone
        assert {h.namespace for h in store.search("*", [1.0, 0.0], 1000)} == set(paths) - gone
    finally:
        assert store.restore_namespace("acme") == len(gone)


def test_stats_are_of_the_namespaces_below_a_scope(crowd: Crowd) -> None:
    store, _, paths = crowd
    for scope in ("acme", "a_b", "acme:u1"):
        assert {s.namespace for s in store.stats(scope)} == {p for p in paths if below(scope, p)}


def test_the_id_of_a_path_is_the_same_in_python_and_in_sql(db: servers.Database) -> None:
    many = _paths(random.Random(3), 1800)
    with db.connect() as conn:
        rows = conn.execute("select kompanion.namespace_id(p) from unnest(%s::text[]) p", (many,)).fetchall()
        split = conn.execute("select kompanion.namespace_segments(p) from unnest(%s::text[]) p", (many,)).fetchall()
    assert [row[0] for row in rows] == [kompanion_db.namespace_id(path) for path in many]
    assert [row[0] for row in split] == [kompanion_db.namespace_segments(path) for path in many]


VERDICT = """
create function pg_temp.verdict(path text) returns text language plpgsql as $$
begin
    perform kompanion.namespace_segments(path);
    return 'valid';
exception when sqlstate 'KM002' then
    return sqlerrm;
end $$"""

ALPHABET = "aZ09_-.@+=: :%*/\\'\"$é\u0301\u0130ßß日\u0660²½ª\u200d\ufe0f\u00a0\ud7fb\U0001f600\U00020000\t"


RULES = ("is empty", "NFC", "empty segment", "characters, at most", "segments, at most", "other than letters")


def _rule(verdict: str) -> str:
    """Which rule a refusal names, without the values in it."""
    return next((rule for rule in RULES if rule in verdict), verdict)


def test_python_and_sql_refuse_a_path_for_the_same_reason(db: servers.Database) -> None:
    rng = random.Random(11)
    paths = _paths(rng, 300)
    tried = ["", ":", "a:", ":a", "a::b", "a" * 129, "a" * 5000, ":".join("a" * 9), "e\u0301", " ", *paths[:50]]
    for _ in range(3000):
        path = list(rng.choice(paths))
        for _ in range(rng.randrange(1, 4)):
            path.insert(rng.randrange(len(path) + 1), rng.choice(ALPHABET))
        tried.append("".join(path))
    with db.connect() as conn:
        conn.execute(VERDICT)
        rows = conn.execute("select pg_temp.verdict(p) from unnest(%s::text[]) p", (tried,)).fetchall()
    met = set()
    for path, (told,) in zip(tried, rows, strict=True):
        try:
            namespaces.namespace_segments(path)
            verdict = "valid"
        except BadNamespace as exc:
            verdict = exc.message
        assert _rule(verdict) == _rule(told), path
        met.add(_rule(told))
    assert met == {"valid", *RULES}


def test_the_letters_a_segment_may_hold_are_the_same_table_in_python_and_sql(db: servers.Database) -> None:
    with db.connect() as conn:
        found = conn.execute("select kompanion._segment_letters()").fetchone()
    table = found[0] if found else ""
    code = lambda m: chr(int(m.group(1) or m.group(2), 16))  # noqa: E731
    assert re.sub(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})", code, table) == namespaces._LETTERS


@pytest.mark.parametrize(
    "segments",
    ["{acme:x}", "{acme,x,NULL}", "{acme,NULL,x}", "{{acme,x}}", "[0:1]={acme,x}", "{bob,x}", "{acme}", "{acme,x,y}", "{}"],
)  # fmt: skip
def test_a_namespace_made_by_hand_has_the_segments_of_its_path_and_no_others(
    db: servers.Database, segments: str
) -> None:
    with db.connect() as conn:
        add = """insert into kompanion.namespaces (namespace_id, path, segments)
                 values (kompanion.namespace_id('acme:x'), 'acme:x', %s::text[])"""
        with pytest.raises(psycopg.errors.CheckViolation, match="namespaces_segments_ck"):
            conn.execute(add, (segments,))
        conn.execute(add, ("{acme,x}",))
        assert conn.execute("select kompanion.delete_namespace('acme')").fetchone() == (2,)
        with pytest.raises(psycopg.errors.CheckViolation, match="namespaces_segments_ck"):
            conn.execute("update kompanion.namespaces set segments = %s where path = 'acme:x'", (segments,))
