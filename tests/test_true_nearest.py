"""What calibrate and tune_index take for true is what one plain scan a query finds, whatever the statistics say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import servers
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kompanion_db
from kompanion_db import NewItem

ROWS, DIM = 12_000, 4
"""More rows than the sample by which the scan is told what may be near."""

PLAIN = """
    select max(f.d), count(*)::integer
    from (select e.vector <-> %(query)s::vector as d
          from kompanion.live_embeddings e
          where e.model = 'm' and e.chunk_id <> %(own)s and hashint8(e.chunk_id) & 1023 < %(part)s
          order by 1 limit %(k)s) f
"""
ASKED = """
    select (kompanion._true_nearest(
        jsonb_populate_record(kompanion._calibration_plan('m'), jsonb_build_object('rows', %s::bigint, 'k', %s::integer)),
        %s::vector[], %s::bigint[], %s::integer[])).*
"""


@pytest.fixture(scope="module")
def conn(one_server: servers.Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with vectors that are often equal, some of them dead, among those of another model."""
    database = one_server.create(one_server.template)
    rng = np.random.default_rng(3)
    vectors = rng.integers(-9, 10, (ROWS, DIM)).astype(np.float32) + np.float32(0.5)
    with kompanion_db.connect(database.url) as store:
        for model in ("m", "other"):
            store.register_model(model, DIM, metric="l2")
            store.upsert_items(
                (NewItem(f"{model}:{n % 3}", "text", str(n), vectors=vectors[n : n + 1]) for n in range(ROWS)),
                model=model,
            )
    with database.connect() as conn:
        conn.execute("update kompanion.memory_items set deleted_at = now() where right(item_id::text, 1) < '3'")
        conn.execute("analyze")
        yield conn
    database.drop()


@settings(deadline=None, max_examples=30)
@given(
    places=st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=9),
    stored=st.booleans(),
    parts=st.lists(st.sampled_from([1024, 308, 103, 11, 1]), min_size=1, max_size=4),
    rows=st.sampled_from([1, 500, ROWS, 50 * ROWS]),
    k=st.integers(1, 30),
)
@example(places=list(range(0, ROWS, 200)), stored=True, parts=[1], rows=1, k=1)  # hardly any, and none expected
def test_the_true_nearest_of_many_queries_are_those_of_each(
    conn: psycopg.Connection[Any], places: list[int], stored: bool, parts: list[int], rows: int, k: int
) -> None:
    found = conn.execute(
        "select e.vector::text, e.chunk_id from kompanion.live_embeddings e where e.model = 'm' order by e.chunk_id"
    ).fetchall()
    asked = [found[place % len(found)] for place in places]
    texts, own = [text for text, _ in asked], [chunk_id if stored else -1 for _, chunk_id in asked]
    furthest, counts = conn.execute(ASKED, (rows, k, texts, own, parts)).fetchone() or ((), ())
    plain = [
        conn.execute(PLAIN, {"query": query, "own": chunk_id, "part": part, "k": k}).fetchone()
        for query, chunk_id in zip(texts, own, strict=True)
        for part in parts
    ]
    assert list(zip(furthest, counts, strict=True)) == plain


def test_what_is_true_of_a_copy_is_what_is_in_it_whatever_others_write_meanwhile(conn: psycopg.Connection[Any]) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute("select kompanion._make_tuning_copy(1)")
        (query,) = conn.execute("select c.vector::text from kompanion.tuning_copy c limit 1").fetchone() or ("",)
        conn.execute("delete from kompanion.tuning_copy c where c.vector <-> %s < 9", [query])
        furthest, counts = conn.execute(
            "select (kompanion._true_nearest(kompanion._calibration_plan('m'), %s, '{-1}', '{1024}', 'kompanion.tuning_copy')).*",
            [[query]],
        ).fetchone() or ((), ())
        assert (furthest[0] >= 9, counts) == (True, [10])
