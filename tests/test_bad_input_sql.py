"""Bad input through plain SQL: the SQLSTATE is right, the message names the argument, nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import samples
import servers

import kompanion_db
from kompanion_db import errors

W = "select * from kompanion.upsert_item('acme:ann', 'k', 'c', {})"
S = "select * from kompanion.search('*', '[1,0,0]', model => 'small', {})"
J = 'select * from kompanion.upsert_items(\'[{{"namespace": "acme:ann", "content": "c", {}}}]\')'
D = "select * from kompanion.import_documents('[{{{}}}]')"

C = "select * from kompanion.calibrate('small', {})"
R = "select * from kompanion.measure_recall('small', {})"
T = "select * from kompanion.tune_index('small', {})"

CASES = [
    # vectors: NaN, infinity and emptiness are refused by the type already
    ("22000", "NaN", W.format("vectors => array['[NaN,0,0]']::vector[]")),
    ("22000", "infinite", W.format("vectors => array['[Infinity,0,0]']::vector[]")),
    ("22000", "dimension", W.format("vectors => array['[]']::vector[]")),
    ("KM004", "vectors[1]", W.format("model => 'small', vectors => array['[1,0]']::vector[]")),
    ("KM004", "vectors[1]", W.format("model => 'small', vectors => array['[0,0,0]']::vector[]")),
    ("KM007", "vectors", W.format("model => 'small', vectors => array['[1,0,0]', '[1,0,0]']::vector[]")),
    ("KM004", "items[1].vectors[1]", J.format('"vectors": [[0, 0, 0]]')),
    ("KM004", "items[1].vectors[1]", J.format('"vectors": [[1, 0, 0, 0, 0]]')),
    ("KM007", "items", J.format('"vectors": [[]]')),
    ("KM007", "items", J.format('"vectors": {"a": 1}')),
    ("KM007", "items", J.format('"vectors": [[1, 1e60, 0]]')),
    ("KM007", "items", J.format('"vectors": [["x"]]')),
    ("KM007", "vectors", J.format('"vectors": [[1, 0, 0], [0, 1, 0]]')),
    ("KM007", "vectors", J.format('"chunks": ["c"], "chunk_starts": [0], "chunk_ends": [1], "vectors": [[1,0,0],[0,1,0]]')),
    ("KM007", "items[1].vectors", J.format('"chunks": ["c"], "chunk_starts": [0, 0], "chunk_ends": [1, 1]')),
    ("KM007", "chunks", J.format('"chunks": ["c"]')),
    ("KM004", "query", "select * from kompanion.search('*', null, model => 'small')"),
    ("KM004", "query", "select * from kompanion.search('*', '[1,0]', model => 'small')"),
    ("KM004", "query", "select * from kompanion.search('*', '[0,0,0]', model => 'small')"),
    ("KM004", "vectors[1]", "select * from kompanion.put_embeddings(array[gen_random_uuid()], array[1], array[1],"
                            " array['[1,0]']::vector[], 'small')"),
    ("KM007", "chunk_ids", "select * from kompanion.put_embeddings(null, array[1], array[1], array['[1,0,0]']::vector[])"),
    ("KM005", "model", "select * from kompanion.search('*', '[1,0,0]', model => 'none')"),
    ("KM005", "model", "select kompanion.set_default_model(null)"),
    # text
    ("22021", "UTF8", "select kompanion.ensure_namespace(convert_from('\\xed9f80eda080', 'UTF8'))"),
    ("22P05", "Unicode", W.format("metadata => '{\"a\": \"\\u0000\"}'")),
    ("22P02", "json", W.format("metadata => '{\"a\": \"\\ud800\"}'")),
    ("KM007", "metadata", W.format("metadata => '[]'")),
    ("KM007", "metadata", W.format("metadata => 'null'")),
    ("KM007", "metadata", W.format("metadata => '5'")),
    ("KM008", "metadata", W.format("metadata => jsonb_build_object('a', repeat('x', 20000000))")),
    ("KM008", "items[1].metadata", "select * from kompanion.upsert_items(jsonb_build_array(jsonb_build_object('namespace',"
     " 'a', 'content', 'c', 'metadata', jsonb_build_object('a', repeat('x', 20000000)))))"),
    ("KM008", "content", "select * from kompanion.upsert_item('acme:ann', 'k', repeat('x', 17000000))"),
    ("KM007", "key", "select * from kompanion.upsert_item('acme:ann', repeat('k', 10000), 'c')"),
    ("KM007", "thread", W.format("thread => repeat('k', 10000)")),
    ("KM007", "user_key", W.format("user_key => ''")),
    ("KM007", "tags", W.format("tags => array['a', null]")),
    ("KM007", "tags", J.format('"tags": ["a", ""]')),
    ("KM007", "items", J.format('"tags": "a"')),
    ("KM007", "items", J.format('"expires_at": "tomorrow evening"')),
    ("KM007", "items[1]", J.format('"colour": "red"')),
    ("KM007", "items", "select * from kompanion.upsert_items('{}')"),
    ("KM007", "items", "select * from kompanion.upsert_items(null)"),
    ("KM007", "items[1]", "select * from kompanion.upsert_items('[5]')"),
    ("KM002", "namespace", "select * from kompanion.upsert_items('[{}]')"),
    # numbers
    ("KM007", "k:", S.format("k => 0")),
    ("KM007", "k:", S.format("k => -1")),
    ("KM007", "k:", S.format("k => 100000")),
    ("KM007", "k:", S.format("k => null")),
    ("KM007", "target_recall", S.format("target_recall => 'NaN'")),
    ("KM007", "target_recall", S.format("target_recall => 1.01")),
    ("KM007", "page_size", "select * from kompanion.list_items('*', page_size => 0)"),
    ("KM007", "page_size", "select * from kompanion.list_items('*', page_size => null)"),
    ("KM007", "after", "select * from kompanion.list_items('*', after => '99999999999999999999/x')"),
    ("KM007", "after", "select * from kompanion.export_items('*', after => '1')"),
    ("KM007", "batch", "select * from kompanion.purge(0)"),
    ("KM007", "batch", "select * from kompanion.pending_embeddings('small', batch => null)"),
    ("KM007", "lease", "select * from kompanion.pending_embeddings('small', lease => '-1 second')"),
    ("KM007", "lease", "select * from kompanion.pending_embeddings('small', lease => '300000 years')"),
    ("KM007", "keep_for", "select kompanion.trim_history('-1 day')"),
    ("KM007", "keep_for", "select kompanion.trim_history('300000 years')"),
    ("KM007", "dim", "select * from kompanion.register_model('m', null)"),
    ("KM007", "metric", "select * from kompanion.register_model('m', 3, null)"),
    ("KM012", "model", "select * from kompanion.register_model('small', 3, 'l2')"),
    # filters
    ("KM006", "$regex", S.format("filter => '{\"a\": {\"$regex\": \"x\"}}'")),
    ("KM006", "$gt", S.format("filter => '{\"a\": {\"$gt\": true}}'")),
    ("KM006", "filter", S.format("filter => '[]'")),
    ("KM006", "filter", S.format("filter => 'null'")),
    ("KM006", "32 levels", S.format("filter => (repeat('{\"$not\": ', 1000) || '{\"a\": 1}' || repeat('}', 1000))::jsonb")),
    ("KM006", "32 levels", S.format("filter => (repeat('{\"$and\": [', 1000) || '{\"a\": 1}' || repeat(']}', 1000))::jsonb")),
    ("KM006", "parts", S.format("filter => (select jsonb_object_agg('f' || n, n) from generate_series(1, 20000) n)")),
    # revisions and times
    ("KM001", "expected_revision", "select * from kompanion.upsert_item('acme:ann', 'note-1', 'c', expected_revision => 1)"),
    ("KM007", "expected_revision", "select * from kompanion.upsert_item('acme:ann', 'note-1', 'c', expected_revision => -1)"),
    ("KM007", "expected_revision", J.format('"expected_revision": -1')),
    ("KM001", "expected_revision", J.format('"key": "note-1", "expected_revision": 1')),
    ("KM007", "expires_at", W.format("expires_at => 'yesterday'")),
    ("KM007", "expires_at", W.format("expires_at => 'infinity'")),
    ("KM007", "expires_at", W.format("expires_at => '-infinity'")),
    ("KM007", "expires_at", W.format("expires_at => '12000-01-01'")),
    ("KM007", "expires_at", J.format('"expires_at": "infinity"')),
    ("KM007", "ttl", W.format("ttl => '200000 years'")),
    ("KM007", "ttl", W.format("ttl => '-200000 years'")),
    ("KM007", "ttl", J.format('"ttl": "0"')),
    ("KM007", "created_at", W.format("created_at => 'infinity'")),
    ("KM007", "created_at", W.format("created_at => '0044-03-15 BC'")),
    ("KM007", "items[1].created_at", J.format('"created_at": "-infinity"')),
    ("KM007", "at:", "select * from kompanion.item_as_of('acme:ann', 'note-1', null)"),
    ("23514", "times", "update kompanion.memory_items set expires_at = 'infinity' where key = 'long'"),
    ("23514", "times", "update kompanion.memory_items set created_at = '-infinity', content = 'x' where key = 'long'"),
    # settings that would break every later call
    ("KM007", "value", "select kompanion.set_setting('target_recall', '\"0.9\"')"),
    ("KM007", "value", "select kompanion.set_setting('exact_threshold', '0')"),
    ("KM007", "value", "select kompanion.set_setting('exact_threshold', '1.5')"),
    ("KM007", "value", "select kompanion.set_setting('index_min_rows', 'null')"),
    ("KM007", "value", "select kompanion.set_setting('retention_deleted', '\"300000 years\"')"),
    ("KM007", "value", "select kompanion.set_setting('retention_expired', '\"-1 day\"')"),
    ("KM007", "value", "select kompanion.set_setting('embedding_lease', '\"soon\"')"),
    ("KM007", "value", "select kompanion.set_setting('retention_deleted', '7')"),
    ("KM007", "value", "select kompanion.set_setting('retention_revisions', '\"7\"')"),
    ("KM007", "value", "select kompanion.set_setting('embedding_lease', '\" 600.5 \"')"),
    ("KM007", "value", "select kompanion.set_setting('retention_expired', 'true')"),
    ("KM007", "value", "select kompanion.set_setting('indexed_metadata', '[]')"),
    ("KM007", "name", "select kompanion.set_setting('no_such', '1')"),
    ("KM007", "name", "select kompanion.setting(null)"),
    # measuring
    ("KM007", "seconds", C.format("seconds => 0")),
    ("KM007", "seconds", C.format("seconds => -1")),
    ("KM007", "seconds", C.format("seconds => 'NaN'")),
    ("KM007", "seconds", C.format("seconds => 'infinity'")),
    ("KM007", "seconds", C.format("seconds => null")),
    ("KM007", "sample", C.format("sample => 9")),
    ("KM007", "sample", C.format("sample => 100001")),
    ("KM007", "sample", C.format("sample => null")),
    ("KM004", "queries[1]", C.format("queries => array['[1,0]']::vector[]")),
    ("KM004", "queries[2]", C.format("queries => array['[1,0,0]', '[0,0,0]']::vector[]")),
    ("KM004", "queries[1]", C.format("queries => array[null]::vector[]")),
    ("KM007", "queries", C.format("queries => array[]::vector[]")),
    ("KM005", "model", "select * from kompanion.calibrate('none')"),
    ("KM007", "sample", R.format("sample => 0")),
    ("KM007", "sample", R.format("sample => null")),
    ("KM007", "k:", R.format("k => 0")),
    ("KM007", "k:", R.format("k => 1001")),
    ("KM007", "k:", R.format("k => null")),
    ("KM007", "target_recall", R.format("target_recall => 0")),
    ("KM007", "target_recall", R.format("scope => 'nowhere', target_recall => 'NaN'")),
    ("KM002", "namespace", R.format("scope => null")),
    ("KM002", "namespace", R.format("scope => 'a b'")),
    ("KM004", "queries[2]", R.format("queries => array['[1,0,0]', '[1,0]']::vector[]")),
    ("KM004", "queries[1]", R.format("queries => array['[0,0,0]']::vector[]")),
    ("KM004", "queries[1]", R.format("queries => array[null]::vector[]")),
    ("KM007", "queries", R.format("queries => array[]::vector[]")),
    ("KM005", "model", "select * from kompanion.measure_recall('none')"),
    ("KM007", "target_recall", T.format("target_recall => 1")),
    ("KM007", "target_recall", T.format("target_recall => 'NaN'")),
    ("KM007", "seconds", T.format("seconds => 0")),
    ("KM007", "seconds", T.format("seconds => null")),
    ("KM007", "seconds", T.format("seconds => 'infinity'")),
    ("KM007", "kinds", T.format("kinds => '{btree}'")),
    ("KM007", "kinds", T.format("kinds => '{ivfflat,null}'")),
    ("KM007", "kinds", T.format("kinds => '{}'")),
    ("KM007", "kinds", T.format("kinds => null")),
    ("KM007", "share", T.format("share => 0")),
    ("KM007", "share", T.format("share => 1.01")),
    ("KM007", "share", T.format("share => null")),
    ("KM007", "sample", T.format("sample => 9")),
    ("KM007", "sample", T.format("sample => null")),
    ("KM004", "queries[1]", T.format("queries => array['[1,0]']::vector[]")),
    ("KM004", "queries[1]", T.format("queries => array['[0,0,0]']::vector[]")),
    ("KM007", "queries", T.format("queries => array[]::vector[]")),
    ("KM005", "model", "select * from kompanion.tune_index('none')"),
    ("KM007", "lists", "select * from kompanion.index_statements('small', 'ivfflat', 0)"),
    ("KM007", "index_rows", "select kompanion.record_index('small', -5)"),
    ("KM007", "index_rows", "select kompanion.record_index('small', null)"),
    ("KM007", "index_chunk", "select kompanion.record_index('small', 5, -1)"),
    ("KM007", "kind", "select * from kompanion.ensure_index('small', 'btree')"),
    # documents of the wrong form
    ("KM007", "documents", "select * from kompanion.import_documents('{}')"),
    ("KM007", "documents", "select * from kompanion.import_documents('[5]')"),
    ("KM007", "documents", D.format('"kind": "horse"')),
    ("KM007", "documents", D.format('"kind": "namespace", "path": "zz"')),
    ("KM002", "namespace", D.format('"kind": "namespace", "path": "a b"')),
    ("KM007", "documents", D.format('"kind": "item", "namespace": "zz"')),
    ("KM007", "documents", D.format('"kind": "item", "namespace": "acme:ann", "item_id": "x"')),
    ("KM007", "documents", D.format('"kind": "user", "namespace": "nowhere", "key": "x"')),
    ("KM007", "dim", D.format('"kind": "model", "name": "q"')),
    ("KM012", "model", D.format('"kind": "model", "name": "small", "dim": 9, "metric": "cosine"')),
]  # fmt: skip


@pytest.fixture(scope="module")
def memory(server: servers.Server) -> Iterator[tuple[psycopg.Connection[Any], dict[str, list[str]]]]:
    """A filled database that no case may change, so all share it."""
    db = server.create(server.template)
    with kompanion_db.connect(db.url) as store, db.connect() as conn:
        samples.fill(store)
        yield conn, samples.contents(conn)
    db.drop()


@pytest.mark.parametrize(("sqlstate", "word", "sql"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_bad_input_is_refused_with_its_code_the_argument_and_a_hint_and_changes_nothing(
    memory: tuple[psycopg.Connection[Any], dict[str, list[str]]], sqlstate: str, word: str, sql: str
) -> None:
    conn, before = memory
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(sql)
    assert caught.value.sqlstate == sqlstate, caught.value
    diag = caught.value.diag
    assert word.lower() in f"{diag.message_primary} {diag.message_detail}".lower()
    assert diag.message_hint or not sqlstate.startswith("KM")
    assert samples.contents(conn) == before


def test_psql_shows_code_message_and_hint(db: servers.Database) -> None:
    run = db.psql("select * from kompanion.search('a b', '[1]');", "-v", "VERBOSITY=verbose")
    assert run.returncode == 3
    assert "KM005" in run.stderr
    assert "HINT:  Register it" in run.stderr


def test_metadata_of_100_mb_is_refused(one_db: servers.Database) -> None:
    with one_db.connect() as conn, pytest.raises(psycopg.Error) as caught:
        conn.execute(W.format("metadata => jsonb_build_object('a', repeat('x', 100000000))"))
    assert caught.value.sqlstate == errors.TooLarge.sqlstate


def test_metadata_cannot_slip_in_compressed_from_a_table(one_db: servers.Database) -> None:
    with one_db.connect() as conn:
        conn.execute("create table t as select jsonb_build_object('a', repeat('x', 20000000)) as m")
        with pytest.raises(psycopg.Error) as caught:
            conn.execute("select w.* from t, kompanion.upsert_item('a', 'k', 'c', t.m) w")
    assert caught.value.sqlstate == errors.TooLarge.sqlstate


def test_a_null_vector_in_json_leaves_the_chunk_to_be_embedded_later(one_db: servers.Database) -> None:
    with kompanion_db.connect(one_db.url) as store, one_db.connect() as conn:
        store.register_model("small", 3)
        conn.execute(J.format('"key": "k", "vectors": [null]'))
        assert [chunk.content for chunk in store.pending_embeddings()] == ["c"]
