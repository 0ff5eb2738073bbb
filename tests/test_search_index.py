"""Search by an index: never short, never out of its scope, and it leaves the session as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import servers
from sharing import Undone

import kompanion_db
from kompanion_db.postgres import PostgresStore

ROWS, DIM = 3000, 16
KINDS = ["ivfflat", "hnsw"]
Indexed = tuple[kompanion_db.Store, servers.Database, str]


def _where(n: int) -> dict[str, Any]:
    """Scopes, tags, threads and metadata of very different shares."""
    return {
        "namespace": f"acme:{'half' if n % 2 else 'other'}:{'rare' if n % 100 == 1 else 'often'}",
        "tags": ["even" if n % 2 == 0 else "odd", *(["rare"] if n % 150 == 0 else [])],
        "metadata": {"n": n, "group": n % 50, "third": n % 3, "tenth": n % 10},
        "thread": "rare" if n % 70 == 0 else None,
    }


VECTORS = np.random.default_rng(9).normal(size=(ROWS, DIM)).astype(np.float32)
# Clustered by share, so that the near ones of a query are mostly out of a rare scope.
VECTORS[1::100] += 6
VECTORS[::150] += 6


@pytest.fixture(scope="module", params=KINDS)
def indexed(server: servers.Server, request: pytest.FixtureRequest) -> Iterator[Indexed]:
    """A store with a vector index, and a threshold so low that searches use it."""
    database = server.create(server.template)
    with kompanion_db.connect(database.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(
            {"key": str(n), "content": "text", "vectors": [VECTORS[n]], **_where(n)} for n in range(ROWS)
        )
        steps = store.ensure_index("m", kind=request.param, lists=60 if request.param == "ivfflat" else None)
        assert steps
        with database.connect() as conn:
            conn.execute("select kompanion.set_setting('exact_threshold', '10')")
            conn.execute("vacuum analyze")
        yield store, database, request.param
    database.drop()


def _matching(**asked: Any) -> list[int]:
    scope, found = asked.get("scope", "acme"), []
    for n in range(ROWS):
        item = _where(n)
        if (
            f"{item['namespace']}:".startswith(f"{scope}:")
            and set(asked.get("tags_all", [])) <= set(item["tags"])
            and not set(asked.get("tags_none", [])) & set(item["tags"])
            and asked.get("thread", item["thread"]) == item["thread"]
            and all(item["metadata"][k] == v for k, v in asked.get("filter", {}).items())
        ):
            found.append(n)
    return found


ASKED: list[dict[str, Any]] = [
    {}, {"scope": "acme:half"}, {"scope": "acme:half:rare"}, {"tags_all": ["rare"]}, {"tags_all": ["even", "rare"]},
    {"tags_none": ["even", "rare"]}, {"thread": "rare"}, {"filter": {"group": 7}}, {"filter": {"n": 7}},
    {"filter": {"third": 1}}, {"filter": {"tenth": 1}}, {"scope": "acme:half", "tags_none": ["rare"], "filter": {"third": 1}},
    {"scope": "acme:other", "filter": {"group": 8}, "tags_all": ["even"]},
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_by_an_index_too_an_answer_is_never_short_nor_out_of_its_scope(indexed: Indexed, asked: dict[str, Any]) -> None:
    store, _, kind = indexed
    matching = _matching(**asked)
    rest = {name: value for name, value in asked.items() if name != "scope"}
    for k in (1, 10, 40, 500):
        for query in (VECTORS[2], -VECTORS[1], np.full(DIM, 1.0, np.float32)):
            hits = store.search(asked.get("scope", "acme"), query, k, **rest)
            assert len(hits) == min(k, len(matching))
            assert {int(h.key) for h in hits} <= set(matching)
            assert len({h.key for h in hits}) == len(hits)
            exact = 1 - VECTORS @ query / np.linalg.norm(VECTORS, axis=1) / np.linalg.norm(query)
            assert [h.distance for h in hits] == pytest.approx([exact[int(h.key)] for h in hits], abs=1e-4)
            assert [h.distance for h in hits] == sorted(h.distance for h in hits)
    told = store.explain_search(asked.get("scope", "acme"), VECTORS[2], 5, **rest)
    assert told["path"].startswith(("index", "exact"))
    if len(matching) >= ROWS / 3:
        assert told["path"].startswith("index")
        assert (told["index_kind"], told["index_used"]) == (kind, True)


def test_a_target_recall_of_one_is_exact(indexed: Indexed) -> None:
    store, _, _ = indexed
    for query in VECTORS[:5]:
        exact = np.argsort(1 - VECTORS @ query / np.linalg.norm(VECTORS, axis=1))[:20]
        assert [int(h.key) for h in store.search("acme", query, 20, target_recall=1.0)] == list(exact)
    assert store.explain_search("acme", VECTORS[0], target_recall=1.0)["path"] == "exact"


def _settings(conn: psycopg.Connection[Any]) -> dict[str, str]:
    return dict(conn.execute("select name, setting from pg_settings").fetchall())


def _load(conn: psycopg.Connection[Any]) -> None:
    """Settings of a library are there once it is loaded."""
    conn.execute("select '[1]'::vector")
    conn.execute("do $$ begin end $$")


@pytest.mark.parametrize("call", ["search", "explain_search"])
def test_the_settings_of_the_session_are_as_they_were_after_a_search(indexed: Indexed, call: str) -> None:
    _, database, kind = indexed
    own = {"ivfflat": "ivfflat.probes", "hnsw": "hnsw.ef_search"}[kind]
    with database.connect(autocommit=False) as conn:
        _load(conn)
        conn.execute(f"set {own} = 7")
        conn.execute("set local enable_seqscan = off")
        before = _settings(conn)
        for k in (1, 40):
            conn.execute(
                f"select * from kompanion.{call}('acme', %s::vector, %s, tags_none => '{{rare}}')",
                (str(VECTORS[3].tolist()), k),
            ).fetchall()
        assert _settings(conn) == before
        conn.commit()
        assert conn.execute(f"show {own}").fetchone() == ("7",)
        assert conn.execute("show enable_seqscan").fetchone() == ("on",)


def test_the_first_search_of_a_fresh_session_leaves_its_settings_too(indexed: Indexed) -> None:
    """The library of the index is loaded by the search itself here."""
    _, database, _ = indexed
    query = str(VECTORS[3].tolist())
    search = "select count(*) from kompanion.search('acme', %s::vector, 5)"
    with database.connect(autocommit=False) as conn, database.connect(autocommit=False) as untouched:
        conn.execute(search, (query,))
        _load(untouched)
        assert _settings(conn) == _settings(untouched)


def test_own_writes_are_seen_by_a_search_that_goes_by_an_index(indexed: Indexed) -> None:
    store, _, _ = indexed
    assert isinstance(store, PostgresStore)

    def write_and_look() -> None:
        with store.transaction():
            store.upsert_item("acme", "new", "text", vectors=[VECTORS[5] * 2])
            store.delete_item(_where(5)["namespace"], "5")
            assert store.explain_search("acme", VECTORS[5], 3)["path"].startswith("index")
            found = [h.key for h in store.search("acme", VECTORS[5], 3)]
            assert found[0] == "new"
            assert "5" not in found
            raise Undone

    with pytest.raises(Undone):
        write_and_look()
    assert store.search("acme", VECTORS[5], 1)[0].key == "5"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_every_metric_goes_by_its_index(
    pg_store: kompanion_db.Store, db: servers.Database, kind: str, metric: str
) -> None:
    pg_store.register_model("m", DIM, metric=metric)
    pg_store.upsert_items(
        {"namespace": "acme", "key": str(n), "content": "text", "vectors": [VECTORS[n]]} for n in range(300)
    )
    pg_store.ensure_index("m", kind=kind, concurrently=False)
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
    told = pg_store.explain_search("acme", VECTORS[3], 5)
    assert (told["path"], told["index_used"]) == ("index", True)
    assert len(pg_store.search("acme", VECTORS[3], 40)) == 40
    if metric == "l2":
        assert pg_store.search("acme", VECTORS[3], 1)[0].key == "3"
