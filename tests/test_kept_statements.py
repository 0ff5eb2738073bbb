"""The statements of a search by the index, which record_index keeps planned for each model that has one."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import psycopg
import pytest
import servers

import kompanion_db
from kompanion_db.migrate import migrate, rollback

ROWS, DIM = 1200, 8
VECTORS = np.random.default_rng(3).normal(size=(ROWS, DIM)).astype(np.float32)
KEPT = (
    "select kompanion._model_nearest('[1,0,0,0,0,0,0,0]', 1, null, null, null, null, null, null, %s, false) is not null"
)
# Runs one statement of a search as it would be planned anew, beside the one that is kept.
TWICE = """
create function pg_temp.twice(p kompanion._search_plan, query vector, half boolean, out kept text, out anew text)
language plpgsql set search_path = kompanion, public set enable_seqscan = off set enable_sort = off set enable_bitmapscan = off
as $$
declare v_hits kompanion._search_hit[]; v_sight kompanion._sight;
begin
    p.half := half;
    kept := concat(_model_nearest(query, 30, p.namespace_ids, p.thread_ids, p.tags_any, p.tags_all, p.tags_none, p.filter, p.model_id, half),
                   _model_look(query, 100, p.namespace_ids, p.thread_ids, p.tags_any, p.tags_all, p.tags_none, p.filter, 30, p.model_id, half));
    execute 'select array(' || _index_statement(p) || ')' into v_hits
    using query, 30, p.namespace_ids, p.thread_ids, p.tags_any, p.tags_all, p.tags_none, p.filter;
    execute _look_statement(p) into v_sight
    using query, 100, p.namespace_ids, p.thread_ids, p.tags_any, p.tags_all, p.tags_none, p.filter, 30;
    anew := concat(v_hits, v_sight);
end $$
"""
ASKED = {
    "everything": "'*', {q}, '{m}', 10, null, null, null, null, null, null",
    "a scope": "'acme:half', {q}, '{m}', 10, null, null, null, null, null, null",
    "tags": "'acme', {q}, '{m}', 10, null, '{{even}}', null, '{{rare}}', null, null",
    "all of some tags": "'acme', {q}, '{m}', 10, null, null, '{{even,rare}}', null, null, null",
    "a thread": "'acme', {q}, '{m}', 10, 'talk', null, null, null, null, null",
    "metadata": "'acme', {q}, '{m}', 10, null, null, null, null, '{{\"third\": 1}}', null",
}


def _fill(store: kompanion_db.Store, model: str, metric: Any) -> None:
    store.register_model(model, DIM, metric=metric)
    store.upsert_items(
        (
            {
                "namespace": f"acme:{'half' if n % 2 else 'other'}",
                "key": f"{model} {n}",
                "content": "text",
                "vectors": [VECTORS[n]],
                "tags": ["odd" if n % 2 else "even", *(["rare"] if n % 20 == 0 else [])],
                "metadata": {"third": n % 3},
                "thread": "talk" if n % 5 == 0 else None,
            }
            for n in range(ROWS)
        ),
        model=model,
    )


def _literal(vector: Any) -> str:
    return "'[" + ",".join(map(str, vector.tolist())) + "]'::vector"


def _model_id(conn: psycopg.Connection[Any], model: str) -> int:
    row = conn.execute("select m.model_id from kompanion.embedding_models m where m.name = %s", (model,)).fetchone()
    assert row
    return int(row[0])


def _kept(db: servers.Database, model: str) -> bool:
    with db.connect() as conn:
        row = conn.execute(KEPT, (_model_id(conn, model),)).fetchone()
    assert row
    return bool(row[0])


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_a_kept_statement_gives_what_planning_it_anew_gives(db: servers.Database, metric: str) -> None:
    with kompanion_db.connect(db.url) as store:
        _fill(store, "m", metric)
        store.ensure_index("m", kind="ivfflat", lists=10)
    with db.connect() as conn:
        conn.execute(TWICE)
        for name, asked in ASKED.items():
            for query in (VECTORS[0], VECTORS[7] + VECTORS[8]):
                q = _literal(query)
                row = conn.execute(
                    f"select t.* from kompanion._plan_search({asked.format(q=q, m='m')}) p, pg_temp.twice(p, {q}, false) t"
                ).fetchone()
                assert row
                assert row[0] == row[1], name
                assert row[0].count("(") > 1, name  # some hits, whatever the lists of the index are


def test_statements_are_kept_while_there_is_an_index_and_for_each_model_its_own(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        for model in ("a", "b"):
            _fill(store, model, "cosine")
            assert not _kept(db, model)
            store.ensure_index(model, kind="ivfflat", lists=10)
            assert _kept(db, model)
        store.ensure_index("a", kind="none")
        assert not _kept(db, "a")
        assert _kept(db, "b")
        for model in ("a", "b"):
            found = store.search("*", VECTORS[4], 5, model=model, target_recall=0.99)
            assert found[0].key == f"{model} 4"


def test_an_index_in_half_precision_has_statements_of_its_own(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        _fill(store, "m", "cosine")
        with db.connect() as conn:
            if conn.execute("select to_regtype('halfvec')").fetchone() == (None,):
                pytest.skip("half precision needs pgvector 0.7")
            store.ensure_index("m", kind="ivfflat", lists=10, half=True)
            conn.execute(TWICE)
            q = _literal(VECTORS[5])
            row = conn.execute(
                f"select t.* from kompanion._plan_search('*', {q}, 'm', 10, null, null, null, null, null, null) p, pg_temp.twice(p, {q}, true) t"
            ).fetchone()
            assert row
            assert row[0] == row[1]
        assert not _kept(db, "m")  # those of single precision
        store.ensure_index("m", kind="ivfflat", lists=10, half=False)
        assert _kept(db, "m")


def test_a_scope_of_many_namespaces_is_searched_as_right_as_one(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(
            {"namespace": f"acme:n{n % 40}", "key": str(n), "content": "text", "vectors": [VECTORS[n]]}
            for n in range(ROWS)
        )
        store.ensure_index("m", kind="ivfflat", lists=10)
        store.calibrate("m", sample=20)
        with db.connect() as conn:
            conn.execute("select kompanion.set_setting('exact_threshold', '10')")
        for query in VECTORS[:20]:
            distance = 1 - VECTORS @ query / np.linalg.norm(VECTORS, axis=1) / np.linalg.norm(query)
            found = store.search("acme", query, 10, target_recall=0.8)
            assert len(found) == 10
            assert [h.distance for h in found] == pytest.approx([distance[int(h.key)] for h in found], abs=1e-5)


def test_two_models_may_get_their_indexes_at_the_same_time(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        for model in ("a", "b"):
            _fill(store, model, "cosine")
    failed: list[BaseException] = []

    def second() -> None:
        try:
            with db.connect() as other:
                other.execute("select * from kompanion.ensure_index('b', 'ivfflat', 10)")
        except BaseException as exc:
            failed.append(exc)

    with psycopg.connect(db.url) as first:
        first.execute("select * from kompanion.ensure_index('a', 'ivfflat', 10)")
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(1)  # waits for the first, or has just come to that
        first.commit()
        thread.join(60)
    assert failed == []
    assert _kept(db, "a")
    assert _kept(db, "b")


def test_a_build_that_is_rolled_back_leaves_no_statement(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        _fill(store, "m", "cosine")
    with psycopg.connect(db.url) as conn:
        conn.execute("select * from kompanion.ensure_index('m', 'ivfflat', 10)")
        conn.rollback()
    assert not _kept(db, "m")


def test_migrations_roll_back_and_apply_again_over_kept_statements(db: servers.Database) -> None:
    with kompanion_db.connect(db.url) as store:
        _fill(store, "m", "cosine")
        store.ensure_index("m", kind="ivfflat", lists=10)
    rollback(db.url, to="pg_0018_read")
    migrate(db.url)
    assert not _kept(db, "m")
    with kompanion_db.connect(db.url) as store:
        assert store.search("*", VECTORS[4], 5, model="m")[0].key == "m 4"
