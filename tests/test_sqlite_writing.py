"""What writing promises where SQLite is not as PostgreSQL: its triggers, its JSON, its one writer, its clock."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import kompanion_db
from kompanion_db import Chunk
from kompanion_db.errors import BadArgument, RevisionConflict
from kompanion_db.sqlite.documents import object_text
from kompanion_db.sqlite.store import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as opened:
        assert isinstance(opened, SqliteStore)
        yield opened


def _sql(store: SqliteStore, statement: str) -> list[Any]:
    """The rows of a statement in a transaction of its own; of one column, its values."""
    with store.database.session(write=True) as session:
        rows = session.all(statement)
    return [row[0] if len(row) == 1 else row for row in rows]


def _cut(*texts: str) -> tuple[str, list[Chunk]]:
    """Content made of these texts, and its chunks."""
    chunks, at = [], 0
    for n, text in enumerate(texts):
        chunks.append(Chunk(n, text, at, at + len(text)))
        at += len(text)
    return "".join(texts), chunks


CHUNKS = "select content, chunk_id, revision from memory_chunks order by ordinal"


def test_chunks_that_change_places_keep_id_revision_and_vector(store: SqliteStore) -> None:
    store.register_model("m", 2)
    content, chunks = _cut("a", "b", "a", "c", "d")
    store.upsert_item("acme", "k", content, chunks=chunks, vectors=[[n, 1.0] for n in range(5)])
    before, vectors = _sql(store, CHUNKS), _sql(store, "select chunk_id, vec_id from embeddings order by chunk_id")
    content, chunks = _cut("d", "c", "a", "b", "a")
    store.upsert_item("acme", "k", content, chunks=chunks)
    assert _sql(store, CHUNKS) == [before[n] for n in (4, 3, 0, 1, 2)]
    assert _sql(store, "select chunk_id, vec_id from embeddings order by chunk_id") == vectors
    assert _sql(store, "select distinct content_revision from memory_chunks") == [2]
    content, chunks = _cut("a", "new")
    store.upsert_item("acme", "k", content, chunks=chunks)
    assert _sql(store, CHUNKS)[0] == before[0]
    assert len(_sql(store, "select vec_id from embeddings")) == 1
    assert _sql(store, "select c.content from embedding_queue join memory_chunks c using (chunk_id)") == ["new"]


def test_a_vector_written_again_is_left_alone_and_a_changed_one_gets_a_number_of_its_own(store: SqliteStore) -> None:
    store.register_model("m", 2)
    for vector in ([0.1, 0.2], [0.1, 0.2], None):
        store.upsert_item("acme", "k", "a", vectors=[vector])
        assert _sql(store, "select seq from vec_log") == [1]
    assert store.upsert_item("acme", "k", "a", vectors=[[0.2, 0.1]]).status == "unchanged"
    assert _sql(store, "select vec_id from embeddings") == [2]
    store.upsert_item("acme", "k", "a", metadata={"n": 1}, vectors=[[0.1, 0.2]])
    assert _sql(store, "select vec_id from embeddings") == [3]
    assert _sql(store, "select chunk_id from embedding_queue") == []


def test_vectors_carry_what_their_item_becomes(store: SqliteStore) -> None:
    store.register_model("m", 2)
    carried = "select thread_no, expires_at, deleted_at is null from embeddings"
    store.upsert_item("acme", "k", "a", thread="t", vectors=[[1.0, 1.0]])
    ((thread, expires, live),) = _sql(store, carried)
    assert (thread is not None, expires, live) == (True, None, 1)
    store.upsert_item("acme", "k", "a", ttl=timedelta(days=1))
    assert _sql(store, carried) == _sql(store, "select thread_no, expires_at, 1 from memory_items")
    store.delete_item("acme", "k")
    assert _sql(store, carried)[0][2] == 0
    store.restore_item("acme", "k")
    assert _sql(store, carried)[0][2] == 1


def test_a_plain_update_of_actor_or_times_alone_is_no_update(store: SqliteStore) -> None:
    store.upsert_item("acme", "k", "a", actor="ann")
    store.upsert_item("acme", "k", "b", actor="ann")
    store.upsert_item("acme", "k", "b", actor="ann", tags=["t"])
    whole = "select actor, revision, content_revision, updated_at from memory_items"
    before = _sql(store, whole)
    for change in ("actor = 'eve'", "updated_at = 0", "updated_at = updated_at + 1", "revision = revision + 1", "content = content, actor = 'eve'",
                   "content_revision = revision"):  # fmt: skip
        _sql(store, f"update memory_items set {change}")
        assert _sql(store, whole) == before
    assert len(_sql(store, "select revision from memory_item_revisions")) == 2


def test_a_plain_update_that_says_the_revision_itself_is_right_or_refused(store: SqliteStore) -> None:
    store.upsert_item("acme", "k", "a")
    _sql(store, "update memory_items set content = 'b', revision = 2, updated_at = updated_at + 1")
    assert _sql(store, "select revision, content_revision from memory_items") == [(2, 2)]
    _sql(store, "update memory_items set tags = jsonb('[]'), expires_at = 9000000000000000, revision = 3")
    assert _sql(store, "select revision, content_revision from memory_items") == [(3, 2)]
    for wrong in ("revision = 5", "content_revision = 1", "revision = 4, content_revision = 4", "item_no = 9"):
        with pytest.raises(BadArgument):
            _sql(store, f"update memory_items set deleted_at = 1, {wrong}")
    assert [r.revision for r in store.item_history("acme", "k")] == [1, 2, 3]


def test_time_goes_forward_from_revision_to_revision_though_the_clock_was_set_back(store: SqliteStore) -> None:
    store.upsert_item("acme", "k", "a")
    tomorrow = int((datetime.now(timezone.utc) + timedelta(days=1)).timestamp()) * 1_000_000
    _sql(store, f"update memory_items set content = 'b', updated_at = {tomorrow}")
    store.upsert_item("acme", "k", "c")
    _sql(store, "update memory_items set content = 'd', updated_at = 0")
    store.delete_item("acme", "k")
    times = _sql(store, "select updated_at from memory_item_revisions order by revision")
    ends = _sql(store, "select superseded_at from memory_item_revisions order by revision")
    assert times[1:] + _sql(store, "select updated_at from memory_items") == ends
    assert ends == [tomorrow + n for n in range(4)]


def test_metadata_is_the_same_when_postgresql_says_so(store: SqliteStore) -> None:
    def write(metadata: dict[Any, Any]) -> str:
        return store.upsert_item("acme", "k", "a", metadata=metadata).status

    assert write({"n": 1, "list": [True, 0.1, None], "deep": {"a": 1, "b": "x"}}) == "inserted"
    assert write({"deep": {"b": "x", "a": 1.0}, "n": 1.0, "list": [True, 1e-1, None]}) == "unchanged"
    others: list[Any] = [True, "1", [1], None, {}, 1]
    for other in others:
        assert write({"n": other}) == "revised", other
    assert write({}) == "revised"
    assert write({"a": {"x": 1}, "b": {}}) == "revised"


def test_a_name_given_twice_in_metadata_counts_once_the_last(store: SqliteStore) -> None:
    store.upsert_item("acme", "k", "a", metadata={1: "first", "1": "last", "deep": [{2: 0, "2": 1}]})  # type: ignore[dict-item]
    assert _sql(store, "select json(metadata) from memory_items") == ['{"1":"last","deep":[{"2":1}]}']
    assert _sql(store, "select metadata ->> '1' from memory_items") == ["last"]


@pytest.mark.parametrize(("text", "word"), [
    ('{"a":' * 101 + "1" + "}" * 101, "deeper than 100"), ('{"a":' * 200_000, "deeper than 100|no JSON"), ("[1]", "array"),
    ("null", "null"), ("{a: 1}", "no JSON"), ('{"a": NaN}', "no JSON"), ("", "no JSON"), ('{"a": "\\u0000"}', "NUL"),
    ('{"a": ["\\\\\\u0000"], "b": 1}', "NUL"), ('{"a": "\\ud800"}', "surrogate"), ('{"a": {"\\uDE00\\uD83D": 1}}', "surrogate"),
])  # fmt: skip
def test_metadata_that_sqlite_could_not_keep_as_it_is_is_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(BadArgument, match=f"metadata: .*({word})"):
        object_text(text, "metadata")


def test_escapes_that_stand_for_characters_are_kept(store: SqliteStore) -> None:
    text = '{"a": "\\ud83d\\ude00 \\u00e9", "\\\\u0000": "\\\\ud800"}'
    assert object_text(text, "metadata") == text
    store.upsert_item("acme", "k", "a", metadata={"a": "\x01\\u0000"})
    assert store.list_items("acme", filter={"a": "\x01\\u0000"})[0].metadata == {"a": "\x01\\u0000"}


def test_a_refused_write_inside_a_transaction_undoes_itself_alone(store: SqliteStore) -> None:
    store.register_model("m", 2)
    with store.transaction():
        store.upsert_item("acme", "k", "a")
        with pytest.raises(BadArgument, match="2 vectors for 1 chunks"):
            store.upsert_item("other", "l", "b", thread="t", user_key="u", vectors=[[1.0, 0.0], [0.0, 1.0]])
        with pytest.raises(RevisionConflict):
            store.upsert_item("acme", "k", "c", expected_revision=5)
        store.upsert_item("acme", "k", "d", expected_revision=1)
    assert _sql(store, "select path from namespaces") == ["acme"]
    assert _sql(store, "select content from memory_items") == ["d"]
    for table in ("threads", "users", "vec_log"):
        assert _sql(store, f"select count(*) from {table}") == [0]


def test_one_transaction_writes_one_item_many_times_in_the_order_of_its_calls(store: SqliteStore) -> None:
    with store.transaction():
        for content in "abc":
            store.upsert_item("acme", "k", content)
            store.upsert_item("acme", None, content)
    assert _sql(store, "select content from memory_item_revisions order by updated_at") == ["a", "b"]
    assert _sql(store, "select content from memory_items where revision = 1 order by created_at") == ["a", "b", "c"]


def test_writers_at_the_same_time_wait_for_each_other_and_revisions_have_no_gap(store: SqliteStore) -> None:
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for n in range(25):
                store.upsert_item("acme", "k", f"{name} {n}")
        except BaseException as exc:
            failures.append(exc)

    writers = [threading.Thread(target=write, args=(str(n),)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert _sql(store, "select revision from memory_items") == [100]
    assert _sql(store, "select revision from memory_item_revisions order by revision") == list(range(1, 100))


def test_purge_leaves_nothing_of_an_item_behind_and_its_numbers_to_nobody(store: SqliteStore) -> None:
    store.register_model("m", 2)
    _sql(store, "update settings set value = jsonb('0') where name = 'retention_deleted'")
    for n in range(450):
        store.upsert_item("acme", str(n), "a", tags=["t"], metadata={"n": n}, vectors=[[1.0, 1.0]] if n % 2 else None)
    store.upsert_item("acme", "0", "b", thread="t")
    store.delete_namespace("acme")
    assert store.purge(batch=449) == kompanion_db.Purged(items=449, revisions=0, namespaces=0)
    assert store.purge(batch=449) == kompanion_db.Purged(items=1, revisions=0, namespaces=1)
    assert store.purge() == kompanion_db.Purged(items=0, revisions=0, namespaces=0)
    for table in ("memory_items", "item_tags", "memory_item_revisions", "memory_chunks", "embeddings", "embedding_queue",
                  "threads", "namespaces"):  # fmt: skip
        assert _sql(store, f"select count(*) from {table}") == [0], table
    store.upsert_item("acme", "k", "a", thread="t")
    assert _sql(store, "select item_no, thread_no from memory_items") == [(451, 2)]


def test_a_purge_that_is_undone_has_removed_nothing(store: SqliteStore) -> None:
    _sql(store, "update settings set value = jsonb('0') where name = 'retention_deleted'")
    store.upsert_item("acme", "k", "a")
    store.delete_item("acme", "k")

    def purge_and_fail() -> None:
        with store.transaction():
            assert store.purge().items == 1
            store.upsert_item("acme", "l", None)  # type: ignore[arg-type]

    with pytest.raises(BadArgument):
        purge_and_fail()
    assert store.restore_item("acme", "k").revision == 3


def test_history_that_is_kept_for_ever_is_not_purged(store: SqliteStore) -> None:
    for content in "abc":
        store.upsert_item("acme", "k", content)
    assert store.purge().revisions == 0
    _sql(store, "update settings set value = jsonb('0') where name = 'retention_revisions'")
    assert store.purge(batch=1).revisions == 1
    assert store.trim_history() == 1
    assert [r.content for r in store.item_history("acme", "k")] == ["c"]


def test_ids_given_to_items_are_uuids_that_begin_with_the_time(store: SqliteStore) -> None:
    before = time.time_ns() // 1_000_000
    store.upsert_item("acme", "a", "one")
    store.upsert_items([{"namespace": "acme", "content": "many", "key": str(n)} for n in range(200)])
    after = time.time_ns() // 1_000_000
    ids = [item.item_id for item in store.list_items("acme", page_size=1000)]
    assert len(set(ids)) == 201
    assert {(found.version, found.variant) for found in ids} == {(7, uuid.RFC_4122)}
    assert all(before <= found.int >> 80 <= after for found in ids)
