"""An index is built beside the one that serves, and takes its place only when it is whole."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import clusters
import psycopg
import pytest
import servers
from clusters import DIM, QUERIES

import kompanion_db

BUILD = "select statement from kompanion.index_statements('m', kind => 'hnsw') \\gexec\n"
INDEXES = """
    select c.relname::text, a.amname::text, x.indisvalid from pg_class c join pg_index x on x.indexrelid = c.oid join pg_am a on a.oid = c.relam
    where c.relname like 'embeddings\\_ann%' order by 1
"""


@pytest.fixture
def database(one_db: servers.Database) -> servers.Database:
    """A store with an ivfflat index that serves."""
    with kompanion_db.connect(one_db.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(clusters.items(range(600)))
        store.ensure_index("m", kind="ivfflat", lists=10)
    return one_db


def _indexes(database: servers.Database) -> list[tuple[str, str, bool]]:
    with database.connect() as conn:
        return conn.execute(INDEXES).fetchall()


def _rows_at_build(database: servers.Database) -> int:
    with database.connect() as conn:
        (rows,) = conn.execute("select index_rows from kompanion.embedding_models").fetchone() or (None,)
    assert isinstance(rows, int)
    return rows


def test_a_build_that_fails_leaves_the_index_that_serves_though_psql_goes_on(database: servers.Database) -> None:
    (serving,) = _indexes(database)
    with database.connect() as conn:
        conn.execute("update kompanion.embedding_models set index_rows = 77")
        # What building an index asks the operator class first fails; searches by an index that stands do not ask it.
        conn.execute(
            "create function no_build() returns event_trigger language plpgsql as "
            "$$ begin if tg_tag = 'CREATE INDEX' then raise 'the disk is full'; end if; end $$"
        )
        conn.execute("create event trigger no_build on ddl_command_start execute function no_build()")
    done = database.psql(BUILD, "-v", "ON_ERROR_STOP=0")
    assert "the disk is full" in done.stderr
    assert "the new index of 'm' is not there or invalid, as its build failed; what there was serves on" in done.stderr
    assert (
        "HINT:  Mend what the build said, then again, with kind, lists and half if those were given: select statement from kompanion.index_statements"
        in done.stderr
    )
    assert _indexes(database) == [serving]
    assert _rows_at_build(database) == 77


def test_a_build_that_broke_off_half_way_leaves_it_too_and_is_repaired_by_the_same_statements(
    database: servers.Database,
) -> None:
    (serving,) = _indexes(database)
    with database.connect() as conn, database.connect(autocommit=False) as other:
        statements = [
            s for (s,) in conn.execute("select statement from kompanion.index_statements('m', kind => 'hnsw')")
        ]
        other.execute("update kompanion.embeddings set tags = tags")  # a build waits for those who write
        conn.execute("set lock_timeout = '100ms'")
        for statement in statements:
            with contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.ObjectNotInPrerequisiteState):
                conn.execute(statement)
        other.rollback()
        assert _indexes(database) == [serving, ("embeddings_ann_1_new", "hnsw", False)]
    assert database.psql(BUILD).returncode == 0
    assert _indexes(database) == [("embeddings_ann_1", "hnsw", True)]
    assert _rows_at_build(database) == 600


def test_an_index_that_was_replaced_but_not_dropped_is_dropped_by_the_same_statements(
    database: servers.Database,
) -> None:
    with database.connect() as conn:
        for (statement,) in conn.execute(
            "select statement from kompanion.index_statements('m', kind => 'hnsw')"
        ).fetchall():
            conn.execute(statement)
            if "swap_index" in statement:
                break
        assert _indexes(database) == [("embeddings_ann_1", "hnsw", True), ("embeddings_ann_1_old", "ivfflat", True)]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="replaced before is still there") as told:
            conn.execute("select kompanion.swap_index('m', 600)")
        assert "drop index concurrently kompanion.embeddings_ann_1_old" in str(told.value.diag.message_hint)
        left = conn.execute("select step, statement from kompanion.index_statements('m')").fetchall()
        assert left == [(1, "drop index concurrently if exists kompanion.embeddings_ann_1_old")]
        advice = conn.execute("select statement from kompanion.index_advice('m') where advice ~ 'replaced'").fetchall()
        assert advice == [("drop index concurrently if exists kompanion.embeddings_ann_1_old;",)]
    assert database.psql(BUILD).returncode == 0
    assert _indexes(database) == [("embeddings_ann_1", "hnsw", True)]


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize(
    ("until", "new", "exact"),
    [
        ("create index", "kind => 'ivfflat', lists => 40", True),
        ("swap_index", "kind => 'ivfflat', lists => 40", False),
        ("swap_index", "kind => 'ivfflat', lists => 5", True),
        ("swap_index", "kind => 'hnsw'", True),
    ],
)
def test_while_two_indexes_stand_and_the_wrong_one_might_be_taken_searches_are_exact(
    database: servers.Database, until: str, new: str, exact: bool, calibrated: bool
) -> None:
    with kompanion_db.connect(database.url) as store, database.connect() as conn:

        def told() -> tuple[object, bool]:
            told = store.explain_search("*", QUERIES[0], 10, target_recall=0.5)
            assert told["path"] != "index" or told["index_used"]
            return told["path"], "two vector indexes" in str(told["reason"])

        statements = f"select statement from kompanion.index_statements('m', {new})"
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        if calibrated:
            store.calibrate("m", sample=20)
            conn.execute(
                """update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'"""
            )
        assert told() == ("index", False)
        for (statement,) in conn.execute(statements).fetchall():
            conn.execute(statement)
            if until in statement:
                break
        assert told() == (("exact", True) if exact else ("index", False))
        if exact:
            assert store.calibrate("m", sample=20) == []  # it could not tell which one it measured
        for (statement,) in conn.execute(statements).fetchall():
            conn.execute(statement)
        assert told() == ("index", False)


def test_nobody_is_told_to_drop_what_another_session_is_building(database: servers.Database) -> None:
    statements = "select statement from kompanion.index_statements('m', kind => 'hnsw')"
    # The builder last of all: closing it waits for the build, and the build waits for the other one.
    with database.connect() as builder, database.connect() as conn, database.connect(autocommit=False) as other:
        create = next(s for (s,) in conn.execute(statements) if s.startswith("create index"))
        other.execute("update kompanion.embeddings set tags = tags")  # a build waits for those who write
        building = threading.Thread(target=builder.execute, args=(create,), daemon=True)
        building.start()
        deadline = time.monotonic() + 60
        while not conn.execute(
            "select index_relid::regclass from pg_stat_progress_create_index where index_relid <> 0 and datname = current_database()"
        ).fetchall():
            assert building.is_alive(), "the build has failed"
            assert time.monotonic() < deadline, "the build has not begun"
            time.sleep(0.01)
        assert conn.execute(statements).fetchall() == []
        other.rollback()
        building.join(60)
        assert conn.execute(statements).fetchall() != []


def test_searches_go_by_the_new_index_at_once(database: servers.Database) -> None:
    assert database.psql(BUILD).returncode == 0
    with kompanion_db.connect(database.url) as store, database.connect() as conn:
        conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        told = store.explain_search("acme", QUERIES[0], 10, target_recall=0.5)
        assert (told["index_kind"], told["index_used"]) == ("hnsw", True)


def _others(database: servers.Database) -> Any:
    """A session that does not wait for long."""
    conn = database.connect()
    conn.execute("set statement_timeout = '20s'")
    return conn


def test_a_reader_that_stays_in_its_transaction_blocks_no_build_and_no_other_reader(
    database: servers.Database,
) -> None:
    with database.connect(autocommit=False) as reader, _others(database) as builder, _others(database) as conn:
        reader.execute("select count(*) from kompanion.embeddings")
        builder.execute("begin")
        steps = builder.execute("select statement from kompanion.ensure_index('m', kind => 'hnsw')").fetchall()
        assert not [s for (s,) in steps if s.startswith("drop")]
        # The builder has not ended yet: others read, and a writer who has read is only made to wait.
        assert conn.execute(
            "select count(*) from kompanion.search('acme', %s)", [str(QUERIES[0].tolist())]
        ).fetchone() == (10,)
        builder.execute("commit")
        advice = conn.execute("select statement from kompanion.index_advice('m') where advice ~ 'replaced'").fetchall()
        assert advice == [("drop index concurrently if exists kompanion.embeddings_ann_1_old;",)]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="former build has left") as refused:
            builder.execute("select kompanion.ensure_index('m', kind => 'ivfflat', lists => 5)")
        reader.rollback()
        first = str(refused.value.diag.message_hint).partition(": ")[2]
        builder.execute(first)
        builder.execute("select kompanion.ensure_index('m', kind => 'ivfflat', lists => 5)")
    assert _indexes(database) == [("embeddings_ann_1", "ivfflat", True)]


def test_an_invalid_index_is_replaced_while_others_read(database: servers.Database) -> None:
    with database.connect(autocommit=False) as reader, _others(database) as builder:
        builder.execute(
            "update pg_index set indisvalid = false where indexrelid = 'kompanion.embeddings_ann_1'::regclass"
        )
        reader.execute("select count(*) from kompanion.embeddings")
        builder.execute("select kompanion.ensure_index('m', kind => 'ivfflat')")
        assert _indexes(database) == [("embeddings_ann_1", "ivfflat", True), ("embeddings_ann_1_old", "ivfflat", False)]
        told = builder.execute("select kompanion.explain_search('acme', %s)", [str(QUERIES[0].tolist())]).fetchone()
        assert "two vector indexes" not in str(told)  # one that is invalid is in nobody's way


@pytest.mark.parametrize("call", ["calibrate", "tune_index", "ensure_index"])
def test_only_one_session_at_a_time_measures_or_builds_and_the_other_is_told_at_once(
    database: servers.Database, call: str
) -> None:
    with database.connect(autocommit=False) as first, _others(database) as second:
        first.execute("select count(*) from kompanion.calibrate('m', sample => 10)")
        with pytest.raises(psycopg.errors.LockNotAvailable, match="another session is measuring or changing") as told:
            second.execute(f"select kompanion.{call}('m')")
        assert "Call again when" in str(told.value.diag.message_hint)
        second.execute(
            "select kompanion.upsert_item('acme', 'new', 'text', vectors => array[%s]::vector[])",
            [str(QUERIES[0].tolist())],
        )
        first.commit()
        second.execute(f"select kompanion.{call}('m')")


@pytest.mark.parametrize("call", ["calibrate", "tune_index", "ensure_index"])
def test_where_nothing_can_be_written_nothing_is_measured_first(database: servers.Database, call: str) -> None:
    with database.connect() as conn:
        conn.execute("begin read only")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="written down") as told:
            conn.execute(f"select kompanion.{call}('m')")
    assert "on the primary" in str(told.value.diag.message_hint)


def test_an_index_that_another_role_is_building_is_left_alone_and_one_that_broke_off_is_told_of(
    database: servers.Database,
) -> None:
    advice = "select statement from kompanion.index_advice('m') where advice ~ 'broke off'"
    statements = "select statement from kompanion.index_statements('m', kind => 'hnsw')"
    with database.connect() as builder, database.connect() as conn, database.connect(autocommit=False) as other:
        # What pg_stat_progress_create_index tells of others, only some may see.
        conn.execute("set role kompanion_admin")
        create = next(s for (s,) in conn.execute(statements) if s.startswith("create index"))
        other.execute("update kompanion.embeddings set tags = tags")  # a build waits for those who write
        building = threading.Thread(target=_try, args=(builder, create), daemon=True)
        building.start()
        deadline = time.monotonic() + 60
        while conn.execute("select to_regclass('kompanion.embeddings_ann_1_new') is not null").fetchone() != (True,):
            assert time.monotonic() < deadline, "the build has not begun"
            time.sleep(0.01)
        assert conn.execute(statements).fetchall() == []
        assert conn.execute(advice).fetchall() == []
        builder.cancel()
        building.join(60)
        other.rollback()
        left = "drop index concurrently if exists kompanion.embeddings_ann_1_new"
        assert conn.execute(advice).fetchall() == [(f"{left};",)]
        assert conn.execute(statements).fetchall()[:1] == [(left,)]


def _try(conn: psycopg.Connection[Any], statement: str) -> None:
    with contextlib.suppress(psycopg.errors.QueryCanceled):
        conn.execute(statement)


def test_of_two_who_swap_at_once_the_second_is_told_what_it_finds(database: servers.Database) -> None:
    with database.connect() as conn, database.connect(autocommit=False) as first, _others(database) as second:
        for (statement,) in conn.execute("select statement from kompanion.index_statements('m', 'hnsw')").fetchall():
            if statement.startswith("create"):
                conn.execute(statement)
        first.execute("select kompanion.swap_index('m', 600)")
        with ThreadPoolExecutor() as pool:
            swapped = pool.submit(second.execute, "select kompanion.swap_index('m', 600)")
            while not swapped.done() and conn.execute("select 1 from pg_locks where not granted").fetchone() is None:
                time.sleep(0.01)
            first.commit()
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="was replaced before is still"):
                swapped.result()
    assert _indexes(database) == [("embeddings_ann_1", "hnsw", True), ("embeddings_ann_1_old", "ivfflat", True)]
