"""tune_index finds the index that serves a target best and changes nothing else; outgrown indexes are told of."""

from __future__ import annotations

import re
from typing import Any

import clusters
import engines
import numpy as np
import psycopg
import pytest
import samples
import servers
from by_hand import ByHand
from clusters import DIM, QUERIES
from psycopg import sql
from psycopg.types.json import Jsonb

import kompanion_db
from kompanion_db import errors


def _fill(store: kompanion_db.Store, numbers: range) -> None:
    store.register_model("m", DIM)
    store.upsert_items(clusters.items(numbers))


def _data(db: servers.Database) -> dict[str, list[str]]:
    """All rows but those of the models, which remember what was found."""
    with db.connect() as conn:
        found = samples.contents(conn)
    return {table: rows for table, rows in found.items() if table != "embedding_models"}


def _objects(db: servers.Database) -> list[Any]:
    with db.connect() as conn:
        return conn.execute("select relname from pg_class where relname !~ '^pg_' order by 1").fetchall()


def test_the_best_candidate_is_remembered_and_is_what_is_built(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    _fill(pg_store, range(1200))
    data, objects = _data(db), _objects(db)
    told: list[str] = []
    tried = pg_store.tune_index("m", target_recall=0.9, kinds=["ivfflat"], sample=20, apply=False, progress=told.append)
    assert (_data(db), _objects(db)) == (data, objects)
    assert len(tried) >= 4
    assert len(told) == len(tried)
    assert all(line.startswith("tune_index: ivfflat") for line in told)
    (best,) = [c for c in tried if c.chosen]
    assert best == tried[0]
    assert best.recall is not None
    assert best.recall >= 0.9
    assert best.milliseconds == min(c.milliseconds for c in tried if c.milliseconds is not None)
    with db.connect() as conn:
        built = conn.execute("select statement from kompanion.index_statements('m')").fetchall()
    assert (
        f"using ivfflat ((vector::public.vector({DIM})) public.vector_cosine_ops) with (lists = {best.lists})"
        in str(built)
    )
    assert pg_store.ensure_index("m")
    (model,) = pg_store.list_models()
    assert (model.index_kind, model.index_lists, model.index_rows) == ("ivfflat", best.lists, 1200)
    assert pg_store.ensure_index("m") == []


def test_tuning_builds_and_calibrates_what_it_found(store: kompanion_db.Store, by_hand: ByHand) -> None:
    _fill(store, range(1000))
    by_hand.set_setting("index_min_rows", 1000)
    told: list[str] = []
    tried = store.tune_index("m", kinds=["hnsw"], sample=10, progress=told.append)
    assert [(c.kind, c.lists, c.chosen) for c in tried] == [("hnsw", None, True)]
    assert tried[0].knob is not None
    assert tried[0].knob >= 10
    assert store.list_models()[0].index_kind == "hnsw"
    # On a slow machine a minute is not enough for all queries.
    assert [a for a in store.index_advice("m") if "stopped after" not in a.advice] == []
    assert store.ensure_index("m") == []


def test_hnsw_is_left_out_when_building_it_would_take_longer_than_there_is_time(store: kompanion_db.Store) -> None:
    _fill(store, range(1000))
    told: list[str] = []
    assert store.tune_index("m", kinds=["hnsw"], seconds=0.01, sample=10, progress=told.append) == []
    assert [line for line in told if re.match(r"tune_index: hnsw left out.* give more seconds$", line)]
    assert store.list_models()[0].index_kind == "none"


def test_what_maintenance_work_mem_has_no_room_for_is_left_out_of_the_tuning_and_said(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    _fill(pg_store, range(1200))  # their square root is 35
    told: list[str] = []
    with db.connect() as conn:
        conn.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        conn.execute("set maintenance_work_mem = '1MB'")
        tried = conn.execute(
            "select lists from kompanion.tune_index('m', kinds => '{ivfflat}', sample => 20)"
        ).fetchall()
        assert {35, 17} <= {lists for (lists,) in tried} <= {35, 17, 9}
    left_out = [line for line in told if "left out" in line]
    assert [line.split()[2] for line in left_out] == ["69", "139"]
    assert all(re.search(r"takes about [2-9] MB of maintenance_work_mem$", line) for line in left_out)
    assert pg_store.list_models()[0].index_kind == "none"


def test_tuning_fails_with_the_way_out_where_there_is_memory_for_no_candidate_at_all(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.register_model("wide", 128)
    vectors = np.random.default_rng(1).standard_normal((1000, 1, 128), dtype=np.float32)
    pg_store.upsert_items([kompanion_db.NewItem("a", "x", vectors=v) for v in vectors], model="wide")
    objects = _objects(db)
    with db.connect() as conn:
        conn.execute("set maintenance_work_mem = '1MB'")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="1MB is too little to build any") as caught:
            conn.execute("select * from kompanion.tune_index('wide', kinds => '{ivfflat}', sample => 20)")
        found = re.search(r"Set it to (\d+MB) or more", caught.value.diag.message_hint or "")
        assert found
        conn.execute(sql.SQL("set maintenance_work_mem = {}").format(found[1]))
        assert conn.execute("select * from kompanion.tune_index('wide', kinds => '{ivfflat}', sample => 20)").fetchall()
        conn.execute(sql.SQL("alter database {} set maintenance_work_mem = '1MB'").format(sql.Identifier(db.name)))
    assert _objects(db) == objects
    with (
        kompanion_db.connect(db.url) as store,
        pytest.raises(errors.TooLarge, match=r"maintenance_work_mem is \d+ MB") as refused,
    ):
        store.ensure_index("wide", kind="ivfflat")
    assert "maintenance_work_mem" in (refused.value.hint or "")
    with kompanion_db.connect(f"{db.url}{'&' if '?' in db.url else '?'}options=-cmaintenance_work_mem%3D64MB") as store:
        assert store.ensure_index("wide", kind="ivfflat")


def test_tuning_that_is_cancelled_half_way_leaves_nothing_behind(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    _fill(pg_store, range(1200))
    data, objects = _data(db), _objects(db)
    with db.connect() as conn:
        conn.add_notice_handler(lambda notice: conn.cancel())  # the first candidate is measured by now
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("select * from kompanion.tune_index('m', kinds => '{ivfflat}')")
        (choice,) = conn.execute("select index_choice from kompanion.embedding_models").fetchone() or ("",)
    assert choice is None
    assert (_data(db), _objects(db)) == (data, objects)


def test_few_vectors_are_not_tuned(store: kompanion_db.Store) -> None:
    _fill(store, range(50))
    told: list[str] = []
    assert store.tune_index("m", progress=told.append) == []
    assert told == ["tune_index: 50 vectors are searched exactly faster than by any index"]


def test_no_kinds_at_all_are_refused_on_either_engine(store: kompanion_db.Store) -> None:
    _fill(store, range(50))
    for kinds in (None, []):
        with pytest.raises(errors.BadArgument, match=r"^kinds: "):
            store.tune_index("m", kinds=kinds)  # type: ignore[arg-type]


def test_an_outgrown_index_is_named_its_loss_is_measured_and_the_statement_repairs_it(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    """Built at a tenth of the rows, which lie elsewhere than those to come."""
    _fill(pg_store, range(0))
    early = [n for n in range(clusters.ROWS) if n % clusters.CLUSTERS in (0, 1)]
    pg_store.upsert_items(clusters.items(early))
    pg_store.ensure_index("m", kind="ivfflat", lists=25)
    pg_store.calibrate("m", sample=20)
    with db.connect() as conn:
        # As if three probes had been enough for all queries: twenty tell little, and not the same each time.
        conn.execute("""
            update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}',
                knob_table = (select array_agg(case n % 3 when 1 then 3 when 2 then 0.1 else 0.95 end::real order by n)
                              from generate_subscripts(knob_table, 1) n)""")
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
    assert ["stopped after 20" in a.advice for a in pg_store.index_advice("m")] == [True]
    pg_store.upsert_items(clusters.items([n for n in range(clusters.ROWS) if n not in set(early)]))
    told = {a.advice: a.statement for a in pg_store.index_advice("m")}
    rows = f"learned its lists from {len(early)} rows, there are {clusters.ROWS} now, {clusters.ROWS - len(early)} of them later:"
    (outgrown,) = [statement for advice, statement in told.items() if rows in advice]
    lost = pg_store.measure_recall("m", sample=100)
    run = db.psql(f"{outgrown}\n")
    assert run.returncode == 0, run.stderr
    repaired = pg_store.measure_recall("m", sample=100)
    assert lost.by_index == 100  # afterwards the new calibration chooses, by what it measured
    assert lost.recall is not None
    assert repaired.recall is not None
    assert lost.recall < repaired.recall
    assert repaired.recall >= 0.92
    assert not [a for a in pg_store.index_advice("m") if "learned its lists" in a.advice]


def test_a_calibration_that_broke_off_is_enough_from_400_queries_on_and_goes_on_only_where_it_still_holds(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    def broken_off(**told: Any) -> None:
        conn.execute("update kompanion.embedding_models set calibration = calibration || %s", (Jsonb(told),))

    def asked() -> int:
        pg_store.calibrate("m", seconds=0.001, sample=410)
        row = conn.execute("select (calibration -> 'queries')::integer from kompanion.embedding_models").fetchone()
        return int(row[0]) if row else 0

    _fill(pg_store, range(300))
    pg_store.ensure_index("m", kind="ivfflat", lists=10)
    with db.connect() as conn:
        assert asked() < 400
        assert ["stopped after" in a.advice for a in pg_store.index_advice("m")] == [True]
        broken_off(queries=400)
        assert pg_store.index_advice("m") == []
        assert asked() == 400, "it goes on from there, for no time at all"
        for change in ({"pgvector": "0.5.0"}, {"rows": 100}, {"rows": 900}):
            broken_off(queries=400, complete=False, **change)
            assert [a.statement for a in pg_store.index_advice("m")] == ["select * from kompanion.calibrate('m');"]
            assert asked() < 400, f"it begins anew: {change}"


def test_memory_for_a_build_is_asked_for_only_while_there_is_something_to_build(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    _fill(pg_store, range(1500))
    asked = "select statement from kompanion.index_advice('m') where advice ~ 'needs about .* MB'"
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('index_min_rows', '1000')")
        conn.execute("set maintenance_work_mem = '1MB'")
        conn.execute(
            "update kompanion.embedding_models set index_choice = "
            '\'{"kind": "hnsw", "lists": null, "half": false, "rows": 1500, "tuned_at": "2026-01-01"}\''
        )
        conn.execute("select kompanion.ensure_index('m')")
        assert conn.execute(asked).fetchall() == []
        conn.execute("update pg_index set indisvalid = false where indexrelid = 'kompanion.embeddings_ann_1'::regclass")
        assert [statement for (statement,) in conn.execute(asked)] == ["set maintenance_work_mem = '2MB';"]


def _tenths(tried: list[kompanion_db.IndexCandidate]) -> bool:
    """Whether each recall is a whole number of tenths, as that of one query is."""
    return all(round(10 * (c.recall or 0), 6).is_integer() for c in tried)


def test_tuning_for_a_share_of_the_rows_and_queries_of_ones_own_builds_and_calibrates_what_it_found(
    one_home: engines.Home,
) -> None:
    asked: dict[str, Any] = {"target_recall": 0.9, "kinds": ["ivfflat"]}
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as by_hand:
        _fill(store, range(1200))
        by_hand.set_setting("index_min_rows", 1000)
        store.ensure_index("m", kind="ivfflat", lists=4, concurrently=False)  # which no candidate comes near
        assert not _tenths(store.tune_index("m", **asked, apply=False))
        assert _tenths(store.tune_index("m", **asked, queries=QUERIES[:1], apply=False))
        assert store.list_models()[0].index_lists == 4
        (best,) = [c for c in store.tune_index("m", **asked, queries=QUERIES[:40], share=0.5) if c.chosen]
        ((choice, calibration),) = by_hand.rows("embedding_models", "index_choice", "calibration")
        assert (choice["lists"], choice["share"], choice["target_recall"]) == (best.lists, 0.5, 0.9)
        assert (store.list_models()[0].index_lists, calibration["complete"]) == (best.lists, True)
        assert all("40 queries" in told.advice for told in store.index_advice("m"))  # few of one's own
        assert store.ensure_index("m") == []
