"""A namespace known to be small is searched without counting it first, and noticed when it is small no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import servers

import kompanion_db
from kompanion_db import NewItem

DIM, SMALL, LARGE, BOUND = 16, 40, 500, 60
VECTORS = np.random.default_rng(5).normal(size=(2000, DIM)).astype(np.float32)
OUT_OF_STATISTICS = "select n.large, n.large_complete from kompanion._large_namespaces(%s) n"


def _items(namespace: str, first: int, count: int) -> Iterator[NewItem]:
    for n in range(first, first + count):
        yield NewItem(namespace, f"text {n}", str(n), vectors=VECTORS[n : n + 1])


@pytest.fixture
def store(db: servers.Database) -> Iterator[kompanion_db.Store]:
    """Two small namespaces and a large one, with an index that is calibrated."""
    with kompanion_db.connect(db.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(_items("acme:large", 0, LARGE))
        store.upsert_items(_items("acme:small", LARGE, SMALL))
        store.upsert_items(_items("acme:other", LARGE + SMALL, SMALL))
        store.ensure_index("m", kind="ivfflat", lists=10)
        with db.connect() as conn:
            conn.execute("vacuum analyze")
        store.calibrate("m", sample=20)
        with db.connect() as conn:
            conn.execute(
                "update kompanion.embedding_models set knobs = knobs || jsonb_build_object('exact_rows', %(bound)s::integer) "
                "|| (select jsonb_build_object('large', n.large, 'large_complete', n.large_complete) from kompanion._large_namespaces(%(bound)s) n)",
                {"bound": BOUND},
            )
        yield store


def _small(store: kompanion_db.Store, scope: str) -> bool:
    return str(store.explain_search(scope, VECTORS[0])["reason"]).startswith("the scope is so small")


def _of_one(conn: psycopg.Connection[Any], scope: str, bound: int) -> Any:
    """What the search of one namespace gives, as chunk ids; None where there is more than bound."""
    query = "[" + ",".join(map(str, VECTORS[1].tolist())) + "]"
    row = conn.execute(
        "select array(select h.chunk_id from unnest(s.hits) h), s.hits is null from (select kompanion._nearest_of_one("
        "kompanion._plan_search(%(s)s, %(q)s::vector, 'm', 10, null, null, null, null, null, 1), %(q)s::vector, 10, %(b)s) as hits) s",
        {"s": scope, "q": query, "b": bound},
    ).fetchone()
    assert row
    return None if row[1] else row[0]


def test_a_small_namespace_is_searched_as_an_exact_search_would(store: kompanion_db.Store) -> None:
    assert _small(store, "acme:small")
    for query in VECTORS[1000:1020]:
        found, exact = (store.search("acme:small", query, 10, target_recall=t) for t in (0.9, 1.0))
        assert [hit.key for hit in found] == [hit.key for hit in exact]


def test_a_namespace_that_has_grown_since_the_calibration_is_not_taken_for_small(store: kompanion_db.Store) -> None:
    store.upsert_items(_items("acme:small", 700, BOUND))
    assert not _small(store, "acme:small")
    assert _small(store, "acme:other")
    assert len(store.search("acme:small", VECTORS[0], 10)) == 10


def test_how_many_there_are_is_noticed_at_the_bound_itself_and_within_a_transaction(
    store: kompanion_db.Store, db: servers.Database
) -> None:
    with db.connect() as conn, conn.transaction():
        for _ in range(2):
            assert _of_one(conn, "acme:small", SMALL - 1) is None
            found = _of_one(conn, "acme:small", SMALL)
            assert len(found) == 10
            assert found == _of_one(conn, "acme:small", 10 * SMALL)


def test_it_is_noticed_also_where_the_server_does_not_count(store: kompanion_db.Store, db: servers.Database) -> None:
    with db.connect() as conn:
        counted = _of_one(conn, "acme:small", SMALL)
        conn.execute("set track_counts = off")
        assert _of_one(conn, "acme:small", SMALL - 1) is None
        assert _of_one(conn, "acme:small", SMALL) == counted


def test_what_is_dead_is_no_answer(store: kompanion_db.Store, db: servers.Database) -> None:
    for n in range(LARGE, LARGE + SMALL - 3):
        store.delete_item("acme:small", str(n))
    assert len(store.search("acme:small", VECTORS[0], 10)) == 3
    with db.connect() as conn:
        assert len(_of_one(conn, "acme:small", SMALL)) == 3


@pytest.mark.parametrize(("bound", "large", "known"), [(BOUND, 1, True), (LARGE, 0, True), (10, 3, True)])
def test_the_statistics_tell_which_namespaces_are_large(
    store: kompanion_db.Store, db: servers.Database, bound: int, large: int, known: bool
) -> None:
    with db.connect() as conn:
        row = conn.execute(OUT_OF_STATISTICS, (bound,)).fetchone()
    assert row
    assert (len(row[0]), row[1]) == (large, known)


def test_without_statistics_any_namespace_may_be_large(db: servers.Database) -> None:
    with kompanion_db.connect(db.url), db.connect() as conn:
        assert conn.execute(OUT_OF_STATISTICS, (10,)).fetchone() == ({}, False)


def test_under_row_security_a_calibration_keeps_no_namespace_and_no_tag_for_all_readers_to_see(
    store: kompanion_db.Store, db: servers.Database
) -> None:
    store.upsert_item("acme:small", "tagged", "text", tags=["secret"])
    kept = "select knobs -> 'large', knobs -> 'common_tags' from kompanion.embedding_models"
    with db.connect() as conn:
        for table in ("embeddings", "memory_items"):
            conn.execute(f"alter table kompanion.{table} enable row level security")
        conn.execute("vacuum analyze")
        store.ensure_index("m", kind="ivfflat", lists=12)
        store.calibrate("m", sample=20)
        assert conn.execute(kept).fetchall() == [({}, None)]
    assert len(store.search("acme:small", VECTORS[0], 10)) == 10


def test_where_more_namespaces_are_large_than_are_kept_any_other_may_be(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(item for n in range(150) for item in _items(f"acme:{n}", 4 * n, 4))
    with db.connect() as conn:
        conn.execute("vacuum analyze")
        row = conn.execute(OUT_OF_STATISTICS, (3,)).fetchone()
        assert row
        assert (len(row[0]), row[1]) == (20, False)
        assert conn.execute(OUT_OF_STATISTICS, (5,)).fetchone() == ({}, True)
