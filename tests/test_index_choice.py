"""Which index a model should have, and what is advised of one: what would be built is what is asked about."""

from __future__ import annotations

import time
from typing import Any

import clusters
import pytest
import servers
from clusters import DIM
from psycopg.types.json import Jsonb

import kompanion_db
from kompanion_db import errors


@pytest.fixture
def filled(pg_store: kompanion_db.Store) -> kompanion_db.Store:
    pg_store.register_model("m", DIM)
    pg_store.upsert_items(clusters.items(range(1000)))
    return pg_store


def _choose(db: servers.Database, **choice: Any) -> None:
    """As tune_index remembers what it found."""
    with db.connect() as conn:
        conn.execute(
            "update kompanion.embedding_models set index_choice = %s",
            [Jsonb({"kind": "ivfflat", "half": False, "tuned_at": "2026-01-01", **choice})],
        )


def _advice(store: kompanion_db.Store) -> list[str]:
    return [f"{a.advice} -> {a.statement}" for a in store.index_advice("m") if not a.statement.startswith("vacuum")]


def _lists(db: servers.Database) -> list[str]:
    with db.connect() as conn:
        return conn.execute(
            "select substring(statement from 'lists = (\\d+)') from kompanion.index_statements('m') "
            "where statement like 'create%'"
        ).fetchall()


@pytest.mark.parametrize(
    ("tuned_lists", "tuned_rows", "lists"),
    [(40, 1000, "40"), (25, 10_000_000_000, "1"), (32_000, 10, "32768")],
    ids=["as tuned", "after a purge of nearly all", "after growing a hundredfold"],
)
def test_tuned_lists_follow_the_rows_within_what_pgvector_builds(
    filled: kompanion_db.Store, db: servers.Database, tuned_lists: int, tuned_rows: int, lists: str
) -> None:
    _choose(db, lists=tuned_lists, rows=tuned_rows)
    assert _lists(db) == [(lists,)]


def test_an_index_that_was_tuned_is_calibrated_however_few_the_vectors(
    filled: kompanion_db.Store, db: servers.Database
) -> None:
    last = "select statement like '%calibrate(%' from kompanion.index_statements('m', kind => 'ivfflat') order by step desc"
    with db.connect() as conn:
        assert conn.execute(last).fetchone() == (False,)
        _choose(db, lists=20, rows=1000)
        assert conn.execute(last).fetchone() == (True,)
    filled.ensure_index("m", concurrently=False)
    assert any("never calibrated" in advice for advice in _advice(filled))


def test_what_was_just_loaded_is_in_the_statistics_before_it_is_calibrated(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    with db.connect() as conn:
        conn.execute("alter table kompanion.memory_items set (autovacuum_enabled = false)")
        conn.execute("alter table kompanion.embeddings set (autovacuum_enabled = false)")
        pg_store.register_model("former", DIM)
        pg_store.upsert_items(clusters.items(range(20)), model="former")
        conn.execute("analyze kompanion.memory_items, kompanion.embeddings")
        pg_store.register_model("m", DIM)
        pg_store.upsert_items(clusters.items(range(1000, 1100)), model="m")
        conn.execute("select kompanion.set_setting('index_min_rows', '50')")
        pg_store.ensure_index("m", kind="ivfflat")
        known = "select most_common_vals::text from pg_stats where tablename = 'embeddings' and attname = 'model_id'"
        assert conn.execute(known).fetchone() == ("{2,1}",)


def test_an_index_made_by_hand_without_lists_has_the_hundred_that_pgvector_gives_it(
    filled: kompanion_db.Store, db: servers.Database
) -> None:
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        conn.execute(
            f"create index embeddings_ann_1 on kompanion.embeddings "
            f"using ivfflat ((vector::vector({DIM})) vector_cosine_ops) where model_id = 1"
        )
    assert filled.list_models()[0].index_lists == 100
    told = filled.explain_search("*", clusters.QUERIES[0])
    assert (told["path"], told["lists"], told["probes"]) == ("index", 100, 25)


def test_lists_alone_ask_for_ivfflat_of_so_many(filled: kompanion_db.Store) -> None:
    assert filled.ensure_index("m", lists=7)
    (model,) = filled.list_models()
    assert (model.index_kind, model.index_lists) == ("ivfflat", 7)
    assert filled.ensure_index("m", lists=7) == []
    assert filled.ensure_index("m", kind="hnsw")
    assert filled.ensure_index("m", lists=9)
    (model,) = filled.list_models()
    assert (model.index_kind, model.index_lists) == ("ivfflat", 9)


def test_lists_that_were_asked_for_grow_with_the_rows_as_their_square_root_does(filled: kompanion_db.Store) -> None:
    filled.ensure_index("m", lists=64)  # twice the square root
    filled.upsert_items({**item, "key": f"again {n}"} for n, item in enumerate(clusters.items(range(1500))))
    assert filled.ensure_index("m")
    assert filled.list_models()[0].index_lists == 101
    assert filled.ensure_index("m") == []


def test_an_index_most_of_whose_rows_are_gone_is_named_and_built_anew(
    filled: kompanion_db.Store, db: servers.Database
) -> None:
    filled.ensure_index("m", kind="ivfflat")
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('index_min_rows', '100')")
        filled.calibrate("m", sample=100)
        conn.execute("delete from kompanion.memory_items where key::integer >= 240")
    told = [advice for advice in _advice(filled) if "learned its lists from 1000 rows, there are 240 now" in advice]
    assert told == [advice for advice in _advice(filled) if "learned its lists" in advice] != []
    assert filled.ensure_index("m")
    assert filled.list_models()[0].index_lists == 15
    assert _advice(filled) == []


@pytest.mark.parametrize("lists", [3, 400])
def test_lists_far_from_the_square_root_of_the_rows_are_told_of_with_the_statement_that_mends_them(
    filled: kompanion_db.Store, db: servers.Database, lists: int
) -> None:
    filled.ensure_index("m", lists=lists)
    assert _advice(filled) == [], "few rows are searched exactly in any case"
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('index_min_rows', '1000')")
        filled.calibrate("m", sample=100)
        (told,) = _advice(filled)
        assert told.startswith(f"{lists} lists for 1000 rows")
        for (statement,) in conn.execute(told.split(" -> ")[1].removesuffix(" \\gexec")).fetchall():
            conn.execute(statement.replace("calibrate('m')", "calibrate('m', sample => 100)"))
    assert filled.list_models()[0].index_lists == 32
    assert _advice(filled) == []
    _choose(db, lists=lists, rows=1000)
    assert not any("square root" in advice for advice in _advice(filled)), "what tune_index found best is no mistake"


@pytest.mark.parametrize("kind", ["hnsw", "none"])
def test_lists_of_an_index_that_has_none_are_refused(filled: kompanion_db.Store, kind: str) -> None:
    filled.ensure_index("m", lists=7)
    with pytest.raises(errors.BadArgument, match=f"lists: an index of kind {kind} has none"):
        filled.ensure_index("m", kind=kind, lists=9)
    assert filled.list_models()[0].index_lists == 7


def test_an_index_asked_for_on_an_empty_model_is_built_once(pg_store: kompanion_db.Store) -> None:
    pg_store.register_model("m", DIM)
    assert pg_store.ensure_index("m", kind="ivfflat", lists=3)
    assert pg_store.ensure_index("m") == []
    assert _advice(pg_store) == []


def test_memory_is_asked_for_the_index_that_would_be_built(filled: kompanion_db.Store, db: servers.Database) -> None:
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('index_min_rows', '1000')")
        conn.execute("set maintenance_work_mem = '16MB'")
        asked = "select statement from kompanion.index_advice('m') where advice ~ 'needs about .* MB'"
        assert conn.execute(asked).fetchall() == []
        _choose(db, lists=4000, rows=1000)
        ((statement,),) = conn.execute(asked).fetchall()
        conn.execute(statement)
        assert conn.execute(asked).fetchall() == []
        conn.execute("select kompanion.ensure_index('m')")
    assert filled.list_models()[0].index_lists == 4000


def test_an_index_that_no_search_used_is_told_of_and_not_asked_for_again_before_there_are_twice_the_rows(
    filled: kompanion_db.Store, db: servers.Database
) -> None:
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('index_min_rows', '1000')")
    with db.connect() as conn:  # what a session has used is counted when it ends
        conn.execute("select kompanion.ensure_index('m', lists => 10)")
        conn.execute("select kompanion.calibrate('m', sample => 100)")
        conn.execute(
            "update kompanion.embedding_models set indexed_at = now() - interval '9 days', "
            "calibration = jsonb_set(calibration, '{finished_at}', to_jsonb(now() - interval '8 days'))"
        )
    for _ in range(100):
        if _advice(filled):
            break
        time.sleep(0.1)
    (told,) = _advice(filled)
    assert told.startswith("no search on this server has used the index for a week or more")
    _choose(db, lists=31, rows=1000)
    with db.connect() as conn:
        for (statement,) in conn.execute(told.split(" -> ")[1].removesuffix(" \\gexec")).fetchall():
            conn.execute(statement)
    assert _advice(filled) == []
    filled.upsert_items(clusters.items(range(1000, 1800)))
    assert _advice(filled) == []
    filled.upsert_items({**item, "key": f"again {n}"} for n, item in enumerate(clusters.items(range(300))))
    assert [a.split(":")[0].split(";")[0] for a in _advice(filled)] == [
        "2100 rows and no vector index",
        "tune_index found ivfflat 31 best",
    ]
    with db.connect() as conn:
        assert conn.execute("select statement ~ 'ivfflat' from kompanion.index_statements('m') limit 1").fetchall() == [
            (True,)
        ]


def test_an_index_that_is_lost_is_asked_for_at_once(filled: kompanion_db.Store, db: servers.Database) -> None:
    with db.connect() as conn:
        conn.execute("select kompanion.set_setting('index_min_rows', '1000')")
        conn.execute("select kompanion.ensure_index('m', lists => 10)")
        conn.execute("drop index kompanion.embeddings_ann_1")  # or a restore could not build it
    assert [a.split(":")[0] for a in _advice(filled)] == ["1000 rows and no vector index"]
