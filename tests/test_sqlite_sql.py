"""SQL on a SQLite store: every function has the arguments and columns of PostgreSQL, can be called, and takes each form of value."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
import servers

import kompanion_db
from kompanion_db.sqlite import open_sql, values
from kompanion_db.sqlite.registry import functions
from kompanion_db.sqlite.tables.columns import columns_of

NOW = 4_102_444_800_000_000  # 2100-01-01
VECTOR = np.array([1, 0, 0, 0], dtype="<f4").tobytes()

CALLS = """
register_model('m', 4, 'l2')
register_model('other', 4)
set_default_model('m')
list_models()
ensure_namespace('acme:a')
ensure_user('acme', 'ada', 'Ada')
ensure_thread('acme', 't', 'Talk')
list_threads('acme')
list_namespaces()
set_setting('target_recall', '0.9')
setting('target_recall')
upsert_item('acme', 'k', 'one')
upsert_item('acme', 'k', 'two')
upsert_items('[{"namespace": "acme", "key": "j", "content": "many", "thread": "t", "vectors": [[1, 0, 0, 0]]}]')
get_item('acme', 'k')
list_items('acme')
item_history('acme', 'k')
item_as_of('acme', 'k', '2999-01-01')
revert_item('acme', 'k', 1)
touch_item('acme', 'k', null, '30 days')
put_chunks('acme', 'k', '["one"]', '[0]', '[3]')
get_chunks('acme', 'j')
enqueue_missing('m')
pending_embeddings('m', 10, 'worker', '5 minutes')
put_embeddings((select json_array(uuid_str(namespace_id)) from get_item('acme', 'k')),
               (select json_array(chunk_id) from get_chunks('acme', 'k')), '[1]', '[[0, 1, 0, 0]]')
release_embeddings((select json_array(uuid_str(namespace_id)) from get_item('acme', 'k')),
                   (select json_array(chunk_id) from get_chunks('acme', 'k')), 'm', 'worker')
embedded_chunks('["acme"]', '["j"]')
search('acme', '[1, 0, 0, 0]', 5)
explain_search('acme', '[1, 0, 0, 0]', 5)
stats()
index_statements('m')
ensure_index('m')
index_advice('m')
index_metadata_key('importance', 'number')
calibrate('m', 1)
measure_recall('m')
tune_index('m')
export_registry()
export_items()
export_marks()
import_documents((select json_group_array(json(document)) from export_items()))
delete_item('acme', 'k')
restore_item('acme', 'k')
close_thread('acme', 't')
trim_history('0 s')
delete_namespace('acme:a')
restore_namespace('acme:a')
purge()
retire_model('other')
"""


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[apsw.Connection]:
    """SQL on a new store with a model ``m``."""
    path = tmp_path / "x.db"
    with kompanion_db.connect(f"sqlite:///{path}") as store:
        store.register_model("m", 4, metric="l2")
    with closing(open_sql(path)) as opened:
        yield opened


def test_functions_have_the_arguments_and_columns_of_postgresql(one_db: servers.Database) -> None:
    with one_db.connect() as pg:
        found = pg.execute(
            """
            select p.proname, array(select a.name from unnest(p.proargnames, p.proargmodes) a (name, mode) where a.mode is null or a.mode = 'i'),
                   coalesce(nullif(array(select a.name from unnest(p.proargnames, p.proargmodes) a (name, mode)
                                         where a.mode in ('o', 't')), '{}'), array[p.proname::text])
            from pg_proc p where p.pronamespace = 'kompanion'::regnamespace"""
        ).fetchall()
    theirs = {name: (tuple(arguments), tuple(columns)) for name, arguments, columns in found}
    ours = {name: (tuple(p.name for p in f.takes), columns_of(name)) for name, f in functions().items()}
    assert ours == {name: theirs[name] for name in ours}


def test_every_function_can_be_called_in_sql_and_gives_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    kompanion_db.migrate(f"sqlite:///{path}")
    calls = [line.replace("\n", " ") for line in CALLS.strip().replace("\n   ", " ").splitlines()]
    names = [call.split("(")[0] for call in calls]
    silent = {
        "index_statements",
        "ensure_index",
        "index_advice",
        "calibrate",
        "tune_index",
    }  # too few vectors for an index
    with closing(open_sql(path)) as conn:
        for name, call in zip(names, calls, strict=True):
            cursor = conn.execute(f"select * from {call}")
            rows = cursor.fetchall()
            assert bool(rows) == (name not in silent), call
            assert not rows or len(rows[0]) == len(columns_of(name)), call
        assert {row[0] for row in conn.execute("select name from functions()")} >= set(names)
    assert set(names) == set(functions())


def test_a_column_of_sql_is_what_the_store_says(conn: apsw.Connection) -> None:
    conn.execute("select * from upsert_item('acme', 'k', 'one', '{\"a\": 1}', '[\"x\"]')").fetchall()
    conn.execute("select * from upsert_item('acme', 'k', 'one', '{\"a\": 2}', '[\"x\"]')").fetchall()
    ((revision, content_revision, metadata, tags, expires_at),) = conn.execute(
        "select revision, content_revision, metadata, tags, expires_at from get_item('acme', 'k')"
    )
    assert (revision, content_revision, json.loads(metadata), json.loads(tags), expires_at) == (
        2,
        1,
        {"a": 2},
        ["x"],
        None,
    )
    assert list(conn.execute("select key, content_revision from list_items where scope = 'acme'")) == [("k", 1)]


@pytest.mark.parametrize(("given", "seconds"), [
    (90, 90), (0.5, 0.5), ("30 days", 30 * 86400), ("12h", 12 * 3600), ("1 week 2 minutes", 7 * 86400 + 120), ("45 sec", 45),
])  # fmt: skip
def test_a_duration_is_seconds_or_text(
    conn: apsw.Connection, monkeypatch: pytest.MonkeyPatch, given: Any, seconds: float
) -> None:
    monkeypatch.setattr(values, "clock", lambda: NOW)
    conn.execute(
        "select * from upsert_item where namespace = 'acme' and key = 'k' and content = 'c' and ttl = ?", (given,)
    ).fetchall()
    assert list(conn.execute("select expires_at from get_item('acme', 'k')")) == [(NOW + seconds * 1_000_000,)]


@pytest.mark.parametrize("given", [
    4_102_488_000_000_000, "2100-01-01T12:00:00Z", "2100-01-01 12:00:00", "2100-01-01T14:00:00+02:00", "2100-01-01T12:00:00.000000+00:00",
])  # fmt: skip
def test_a_time_is_microseconds_or_iso_8601_in_utc_unless_it_says_otherwise(conn: apsw.Connection, given: Any) -> None:
    conn.execute(
        "select * from upsert_item where namespace = 'acme' and key = 'k' and content = 'c' and expires_at = ?",
        (given,),
    ).fetchall()
    assert list(conn.execute("select expires_at from get_item('acme', 'k')")) == [(4_102_488_000_000_000,)]


@pytest.mark.parametrize("given", [VECTOR, "[1, 0, 0, 0]", "[1.0, 0.0, 0.0, 0e0]"])
def test_a_vector_is_float32_or_a_json_array(conn: apsw.Connection, given: Any) -> None:
    conn.execute(
        "select * from upsert_item where namespace = 'acme' and key = 'k' and content = 'c' and vectors = '[[1, 0, 0, 0]]'"
    ).fetchall()
    assert list(conn.execute("select key, distance from search('acme', ?)", (given,))) == [("k", 0.0)]
    assert list(conn.execute("select vector from get_chunks('acme', 'k')")) == [(VECTOR,)]


def test_a_list_of_vectors_is_json_or_one_blob(conn: apsw.Connection) -> None:
    for given in ("[[1, 0, 0, 0]]", VECTOR):
        conn.execute(
            "select * from upsert_item where namespace = 'acme' and key = 'k' and content = 'c' and vectors = ?",
            (given,),
        ).fetchall()
        assert list(conn.execute("select vector from get_chunks('acme', 'k')")) == [(VECTOR,)]
    conn.execute(
        """select * from upsert_item where namespace = 'acme' and key = 'j' and content = 'c d' and chunks = '["c", "d"]'
           and chunk_starts = '[0, 2]' and chunk_ends = '[1, 3]' and vectors = '[null, [1, 0, 0, 0]]'"""
    ).fetchall()
    found = list(conn.execute("select content, vector from get_chunks('acme', 'j')"))
    assert found == [("c", None), ("d", VECTOR)]


def test_an_id_is_a_blob_or_its_text(conn: apsw.Connection) -> None:
    conn.execute("select * from upsert_item('acme', 'k', 'c')").fetchall()
    ((blob, text),) = conn.execute("select namespace_id, uuid_str(namespace_id) from get_item('acme', 'k')")
    assert uuid.UUID(text).bytes == blob == kompanion_db.namespace_id("acme").bytes
    assert list(conn.execute("select uuid_blob(?), namespace_id('acme')", (text,))) == [(blob, blob)]
    ((chunk_id,),) = conn.execute("select chunk_id from get_chunks('acme', 'k')")
    given = (json.dumps([text]), json.dumps([chunk_id]))
    answer = conn.execute("select namespace_id, status from put_embeddings(?, ?, '[1]', '[[1, 0, 0, 0]]')", given)
    assert list(answer) == [(blob, "stored")]


@pytest.mark.parametrize(("call", "code", "words"), [
    ("set_setting('target_recall', printf('%.*c', 100000, '['))", "KM007", "value:"),
    ("set_setting('target_recall', '1' || printf('%.*c', 5000, '0'))", "KM007", "value:"),
    ("put_embeddings(json_array(uuid_str(randomblob(16))), '[123456789012345678901234]', '[1]', '[[1, 0, 0, 0]]')",
     "KM007", r"chunk_ids\[1\]: is out of range"),
    ("search('acme', '[1, 0, 0, 0]', 1e300)", "KM007", "k:"),
    ("list_items where scope = 'acme' and filter = '{\"n\": {\"$gt\": NaN}}'", "KM006", "NaN is no number of JSON"),
    ("list_items where scope = 'acme' and filter = '{\"n\": -Infinity}'", "KM006", "-Infinity is no number of JSON"),
])  # fmt: skip
def test_what_is_out_of_range_is_refused_with_its_code_and_the_argument(
    conn: apsw.Connection, call: str, code: str, words: str
) -> None:
    with pytest.raises(apsw.Error, match=f"{code} .*{words}"):
        conn.execute(f"select * from {call}").fetchall()


def test_a_transaction_that_read_before_somebody_wrote_is_told_to_begin_anew(
    conn: apsw.Connection, tmp_path: Path
) -> None:
    write = "select status from upsert_item('acme', 'mine', 'x')"
    conn.execute("begin")
    conn.execute("select count(*) from live_items").fetchall()
    with kompanion_db.connect(f"sqlite:///{tmp_path}/x.db") as store:
        store.upsert_item("acme", "theirs", "x")
    with pytest.raises(apsw.Error, match=r"^KM000 .* Hint: Somebody has written since .* roll back, then begin immed"):
        conn.execute(write).fetchall()
    conn.execute("rollback; begin immediate")
    assert conn.execute(write).fetchall() == [("inserted",)]
    conn.execute("commit")
