"""How difficult a query is: a search goes as far as the matches in sight say that the answer may lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import servers
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

import kompanion_db
from kompanion_db import NewItem

SHARES = [1, 0.3, 0.1]
EDGES = [[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], None]
"""At a tenth too few matches were in sight."""


@pytest.fixture(scope="module")
def conn(one_server: servers.Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a migrated database, which no test changes."""
    database = one_server.create(one_server.template)
    with database.connect() as conn:
        yield conn
    database.drop()


def _difficulty(conn: psycopg.Connection[Any], share: float | None, tenth: float | None, reach: float | None) -> int:
    knobs = Jsonb({"shares": SHARES, "edges": EDGES})
    row = conn.execute("select kompanion._difficulty(%s, %s, %s, %s)", [knobs, share, tenth, reach]).fetchone()
    assert row
    return int(row[0])


distances = st.floats(-2, 8)


@settings(deadline=None)
@given(place=st.integers(0, 1), tenth=distances, reach=distances)
def test_among_matches_as_dense_as_measured_it_is_told_by_how_far_those_in_sight_reach(
    conn: psycopg.Connection[Any], place: int, tenth: float, reach: float
) -> None:
    assert _difficulty(conn, SHARES[place], tenth, reach) == sum(edge < reach for edge in EDGES[place] or [])


@settings(deadline=None)
@given(share=st.floats(0.22, 3), tenth=distances, reach=distances, further=st.floats(0, 5))
def test_matches_that_lie_further_away_are_never_the_easier_nor_are_those_as_far_where_they_lie_denser(
    conn: psycopg.Connection[Any], share: float, tenth: float, reach: float, further: float
) -> None:
    level = _difficulty(conn, share, tenth, reach)
    assert _difficulty(conn, share, tenth, reach + further) >= level
    assert _difficulty(conn, share * 1.2, tenth, reach) >= level
    assert level <= _difficulty(conn, share, tenth, None) == 3


@settings(deadline=None)
@given(share=st.none() | st.floats(0.001, 0.2), tenth=distances, reach=st.none() | distances)
def test_where_too_few_matches_are_in_sight_the_tenth_neighbour_of_all_tells(
    conn: psycopg.Connection[Any], share: float | None, tenth: float, reach: float | None
) -> None:
    assert _difficulty(conn, share, tenth, reach) == sum(edge < tenth for edge in EDGES[0] or [])


def test_a_query_with_ten_matches_close_by_goes_less_far_than_one_with_fewer(one_server: servers.Server) -> None:
    """Clusters of 30, of which three tenths are in scope: where ten are, they are the answer."""
    rng = np.random.default_rng(5)
    middles = rng.normal(size=(150, 16)).astype(np.float32)
    vectors = np.repeat(middles, 30, axis=0) + 0.05 * rng.normal(size=(4500, 16)).astype(np.float32)
    inside = rng.random(4500) < 0.3
    order = rng.permutation(4500)
    database = one_server.create(one_server.template)
    with kompanion_db.connect(database.url) as store, database.connect() as conn:
        store.register_model("m", 16)
        store.upsert_items(
            (NewItem("in" if inside[n] else "out", "x", str(n), vectors=vectors[n : n + 1]) for n in order), model="m"
        )
        store.ensure_index("m", kind="ivfflat", lists=30)
        conn.execute("vacuum analyze")
        store.calibrate("m", sample=400)
        conn.execute(
            """update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'
               || jsonb_build_object('large', (kompanion._large_namespaces(100)).large)"""
        )
        told = [store.explain_search("in", middle, target_recall=0.9) for middle in middles]
    database.drop()
    matches = inside.reshape(150, 30).sum(axis=1)
    many, few = np.flatnonzero(matches >= 11), np.flatnonzero(matches <= 8)
    assert min(len(many), len(few)) > 20
    difficulties = np.array([one["difficulty"] for one in told])
    assert difficulties[many].mean() + 1 < difficulties[few].mean()
    probes = np.array([one.get("probes", one.get("lists", 30)) for one in told])
    assert np.median(probes[many]) < np.median(probes[few])
