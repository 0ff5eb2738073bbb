"""What search reads of a calibration: curves in order, knobs that vouch for the target, what is known of a scope."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
import servers
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

import kompanion_db
from kompanion_db import NewItem

LADDER = [1, 2, 4, 8, 16]
STEPS, LEVELS = len(LADDER), 4
ONE, TWO = UUID(int=1), UUID(int=2)


@pytest.fixture(scope="module")
def conn(one_server: servers.Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a migrated database, which no test changes."""
    database = one_server.create(one_server.template)
    with database.connect() as conn:
        yield conn
    database.drop()


def _one(conn: psycopg.Connection[Any], statement: str, *parameters: Any) -> Any:
    row = conn.execute(statement, parameters).fetchone()
    assert row
    return row[0]


def _never_rising(conn: psycopg.Connection[Any], curves: Any, weights: Any) -> Any:
    given = np.asarray(curves, float)
    found = _one(
        conn,
        "select kompanion._never_rising(%s::double precision[], %s::double precision[])",
        given.ravel().tolist(),
        [float(w) for w in weights],
    )
    return np.reshape(found, given.shape)


recalls = st.lists(
    st.lists(st.integers(0, 100), min_size=3, max_size=3).map(sorted), min_size=LEVELS, max_size=LEVELS
).map(lambda curves: np.array(curves) / 100)
weights = st.lists(st.integers(1, 200), min_size=LEVELS, max_size=LEVELS)


@settings(deadline=None, max_examples=60)
@given(curves=recalls, weights=weights)
def test_more_difficult_queries_have_no_better_recall_and_more_effort_has_no_worse(
    conn: psycopg.Connection[Any], curves: Any, weights: list[int]
) -> None:
    found = _never_rising(conn, curves, weights)
    assert (np.diff(found, axis=0) <= 1e-9).all()
    assert (np.diff(found, axis=1) >= -1e-9).all()
    # All queries together keep the recall they had, and what is in order stays as it is.
    assert np.allclose(np.average(found, axis=0, weights=weights), np.average(curves, axis=0, weights=weights))
    assert np.allclose(_never_rising(conn, found, weights), found)


@settings(deadline=None, max_examples=60)
@given(curves=recalls, weights=weights)
def test_no_other_curves_in_order_are_nearer(conn: psycopg.Connection[Any], curves: Any, weights: list[int]) -> None:
    """Against the other way to find them: neighbours out of order are pooled until none are."""
    found = _never_rising(conn, curves, weights)
    for step in range(curves.shape[1]):
        blocks: list[tuple[float, float, int]] = []  # mean, weight, levels
        for mean, weight in zip(curves[:, step], weights, strict=True):
            blocks.append((mean, weight, 1))
            while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
                (m, w, n), (k, v, o) = blocks.pop(-2), blocks.pop()
                blocks.append(((m * w + k * v) / (w + v), w + v, n + o))
        assert np.allclose(found[:, step], [mean for mean, _, levels in blocks for _ in range(levels)])


def _state(hits: Any, runs: int) -> dict[str, Any]:
    """A calibration of one share in which each query found all or nothing: mean recall by population, level and step."""
    means = np.asarray(hits, float)
    return {
        "index": {"name": "i"}, "look": 1, "repeats": 1, "edges": [[0.1, 0.2, 0.3]], "shares": [1], "ladder": LADDER,
        "rows": 100_000, "row_us": 1, "item_us": 4, "look_ms": 1, "common_tags": {}, "rare_items": 100,
        "runs": np.full(means.size, runs).tolist(), "hits": (means * runs).ravel().tolist(),
        "squares": (means * runs).ravel().tolist(), "ms": np.tile(LADDER, 2 * LEVELS).tolist(),
        "timed": np.ones(means.size, int).tolist(),
    }  # fmt: skip


def _knobs(conn: psycopg.Connection[Any], state: dict[str, Any], target: float) -> list[Any]:
    """By difficulty the knob for a target; None: exact search."""
    knobs, table = conn.execute(
        "select knobs, knob_table from kompanion._knobs_from(%s)", [Jsonb(state)]
    ).fetchone() or ({}, [])
    first = 3 * LEVELS * knobs["targets"].index(target)
    return list(table[first : first + 3 * LEVELS : 3])


curves = st.lists(
    st.lists(st.integers(50, 100), min_size=STEPS, max_size=STEPS).map(sorted),
    min_size=2 * LEVELS, max_size=2 * LEVELS,
).map(lambda c: np.reshape(c, (2, LEVELS, STEPS)) / 100)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(means=curves, runs=st.integers(10, 400), target=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_mean_of_each_kind_of_query_reaches_the_target_with_room_for_chance_and_for_other_questions(
    conn: psycopg.Connection[Any], means: Any, runs: int, target: float
) -> None:
    chosen = _knobs(conn, _state(means, runs), target)
    for kind in means:
        reached = [1.0 if knob is None else np.interp(np.log(knob), np.log(LADDER), curve)
                   for knob, curve in zip(chosen, kind, strict=True)]  # fmt: skip
        mean = float(np.mean(reached))
        chance = 2.33 * np.sqrt(max(mean * (1 - mean), target * (1 - target) / 10) / (LEVELS * runs)) + 0.99 / (
            LEVELS * runs
        )
        assert mean >= target + min(chance + 0.2 * (1 - target), 0.6 * (1 - target)) - 1e-3
    assert [k or 99 for k in chosen] == sorted(k or 99 for k in chosen)  # the more difficult, the more is looked at


def test_more_queries_vouch_with_less_effort(conn: psycopg.Connection[Any]) -> None:
    means = np.tile(np.array([0.8, 0.9, 0.93, 0.95, 0.97]), (2, LEVELS, 1))
    few, many = (_knobs(conn, _state(means, runs), 0.9) for runs in (10, 10_000))
    assert all(f > m for f, m in zip(few, many, strict=True))
    assert set(many) == {4.0}


KNOWN = json.dumps({"large": {str(ONE): 0.2, str(TWO): 0.05}, "common_tags": {"often": 0.5, "seldom": 0.1}})


@pytest.mark.parametrize(
    ("search", "share"),
    [
        ("null, null, null, null, null, null", 1.0),
        ("'{%(one)s}', null, null, null, null, null", 0.2),
        ("'{%(one)s,%(two)s}', null, null, null, null, null", 0.25),
        ("'{%(one)s,%(other)s}', null, null, null, null, null", 0.2),
        ("'{%(other)s}', null, null, null, null, null", None),
        ("null, null, null, '{often}', null, null", 0.5),
        ("'{%(one)s}', null, null, '{often,seldom}', null, null", 0.01),
        ("'{%(one)s}', null, null, '{never}', null, null", None),
        ("'{%(one)s}', '{%(one)s}', null, null, null, null", None),  # threads
        ("'{%(one)s}', null, '{often}', null, null, null", None),
        ("'{%(one)s}', null, null, null, '{often}', null", None),
        ("'{%(one)s}', null, null, null, null, '$.a == 1'", None),
    ],
)
def test_of_a_search_what_the_statistics_tell_is_known(
    conn: psycopg.Connection[Any], search: str, share: float | None
) -> None:
    found = _one(
        conn,
        "with p as (select (jsonb_populate_record(null::kompanion._search_plan, jsonb_build_object('knobs', %s::jsonb, "
        "'namespace_ids', f.a, 'thread_ids', f.b, 'tags_any', f.c, 'tags_all', f.d, 'tags_none', f.e, 'filter', f.f))).* "
        "from (select " + _fields(search) + ") f) select kompanion._known_share(p::kompanion._search_plan) from p",
        KNOWN,
    )
    assert found == (None if share is None else pytest.approx(share))


def _fields(search: str) -> str:
    values = (search % {"one": ONE, "two": TWO, "other": UUID(int=3)}).split(", ")
    types = ["uuid[]", "uuid[]", "text[]", "text[]", "text[]", "text"]
    return ", ".join(f"{v}::{t} as {n}" for v, t, n in zip(values, types, "abcdef", strict=True))


@pytest.fixture(scope="module")
def strewn(one_server: servers.Server) -> Iterator[kompanion_db.Store]:
    """A namespace of a random tenth, one of a topic, also a tenth, and the rest; the index is to be used."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(3000, 16)).astype(np.float32)
    vectors[:300] += 6
    places = np.array(["topic"] * 300 + ["rest"] * 2700)
    places[rng.choice(np.arange(300, 3000), 300, replace=False)] = "other"
    database = one_server.create(one_server.template)
    with kompanion_db.connect(database.url) as store, database.connect() as conn:
        store.register_model("m", 16)
        store.upsert_items(
            (NewItem(str(p), str(n), str(n), vectors=vectors[n : n + 1]) for n, p in enumerate(places)), model="m"
        )
        store.ensure_index("m", kind="ivfflat", lists=10)
        conn.execute("vacuum analyze")
        store.calibrate("m", sample=20)
        conn.execute("""update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'""")
        conn.execute(
            "update kompanion.embedding_models set knobs = knobs || jsonb_build_object('large', (kompanion._large_namespaces(100)).large)"
        )
        yield store
    database.drop()


def _densities(store: kompanion_db.Store, scope: str, middle: float) -> list[float]:
    queries = np.random.default_rng(4).normal(size=(40, 16)).astype(np.float32) + middle
    return [store.explain_search(scope, query).get("density", 0.0) for query in queries]


def test_what_is_known_of_a_strewn_scope_steadies_what_is_seen_of_it(strewn: kompanion_db.Store) -> None:
    knowing = _densities(strewn, "other", 0)
    with psycopg.connect(strewn.url, autocommit=True) as conn:
        known = _one(conn, "select knobs -> 'large' from kompanion.embedding_models")
        conn.execute("update kompanion.embedding_models set knobs = knobs || '{\"large\": {}}'")
        not_knowing = _densities(strewn, "other", 0)
        conn.execute(
            "update kompanion.embedding_models set knobs = knobs || jsonb_build_object('large', %s)", [Jsonb(known)]
        )
    assert sorted(known.values()) == pytest.approx([0.1, 0.1, 0.8])
    near = 300 / 2700  # of what is near: the topic is not
    off, usually_off = (np.median(np.abs(np.subtract(found, near))) for found in (knowing, not_knowing))
    assert off < 0.75 * usually_off
    assert np.mean(knowing) == pytest.approx(near, abs=0.05)  # less rather than more, as that costs no recall


def test_what_lies_together_is_seen_as_it_is_whatever_its_share(strewn: kompanion_db.Store) -> None:
    assert min(_densities(strewn, "topic", 6)) > 0.9
    assert np.median(_densities(strewn, "topic", 0)) == 0


@pytest.mark.parametrize(("share", "knob"), [(0.1, 20), (0.0978, 21), (0.075, 27), (0.05, None), (0.3, 8)])
def test_a_share_a_little_below_the_last_that_the_index_reaches_is_still_searched_by_it(
    conn: psycopg.Connection[Any], share: float, knob: int | None
) -> None:
    knobs = {"edges": [[]], "targets": [0.9], "shares": [1, 0.3, 0.1, 0.03, 0.01], "index": {"kind": "ivfflat"}}
    table = [[2.0, 1.0, 0.95], [8.0, 2.0, 0.94], [20.0, 4.0, 0.93], [None] * 3, [None] * 3]
    asked = "select knob from kompanion._choose_knob(%s, %s::real[], 0, %s, 0.9)"
    assert _one(conn, asked, Jsonb(knobs), [n for cell in table for n in cell], share) == knob
    nothing = [n for cell in [*table[:2], *[[None] * 3] * 3] for n in cell]
    assert _one(conn, asked, Jsonb(knobs), nothing, share) == (8 if share == 0.3 else None)
