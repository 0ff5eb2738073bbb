"""Each way in which a database with vectors in files beside it was seen to lose data or to answer wrongly, and the promise against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import apsw
import kill_store
import numpy as np
import pytest
from sharing import Undone

import kompanion_db
from kompanion_db.errors import DamagedStore
from kompanion_db.sidecar import manifest
from kompanion_db.sidecar.rounds import rounds
from kompanion_db.sqlite import open_sql, values
from kompanion_db.sqlite.files import Place
from kompanion_db.sqlite.store import SqliteStore

DIM = 12


def vector(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal(DIM, dtype=np.float32)


def nearest(store: kompanion_db.Store, n: int) -> tuple[str, int] | None:
    """The key and revision of what has exactly this vector."""
    hits = store.search("acme", vector(n), 1)
    return (hits[0].key, hits[0].revision) if hits and hits[0].distance < 1e-6 else None


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.fixture
def store(url: str) -> Iterator[SqliteStore]:
    """An open store with a model."""
    with kompanion_db.connect(url) as opened:
        assert isinstance(opened, SqliteStore)
        opened.register_model("m", DIM, metric="l2")
        yield opened


@pytest.fixture
def sql(store: SqliteStore) -> Iterator[apsw.Connection]:
    """A connection of the package for SQL."""
    with closing(open_sql(store.url)) as conn:
        yield conn


def put(store: kompanion_db.Store, key: str, n: int) -> None:
    store.upsert_item("acme", key, f"{n}", vectors=[vector(n)])


def test_vectors_written_by_one_statement_of_sql_each_go_to_their_own_chunk(
    store: SqliteStore, sql: apsw.Connection
) -> None:
    for n in range(20):
        store.upsert_item("acme", f"k{n}", f"{n}")
    sql.create_scalar_function("made", lambda n: vector(int(n)).tobytes(), 1)
    for at in (0, 100):  # also in place of others
        sql.execute(
            "insert into embedding_vectors (chunk_id, model, vector) select chunk_id, 'm', made(content + ?) from memory_chunks",
            (at,),
        )
        assert [nearest(store, n + at) for n in range(20)] == [(f"k{n}", 1) for n in range(20)]
    assert store.doctor() == []


def test_the_number_of_a_vector_that_was_undone_finds_only_the_vector_that_got_it_next(store: SqliteStore) -> None:
    with kompanion_db.connect(store.url) as other:
        put(store, "k", 0)
        for n in range(1, 60, 3):
            with suppress(Undone), store.transaction():
                put(store, "k", n)
                assert nearest(store, n) == ("k", n // 3 + 2)
                raise Undone
            put(other, "k", n + 1)  # in another connection, under the same number
            assert nearest(store, n) is None
            assert nearest(store, n + 1) == ("k", n // 3 + 2)


def test_a_search_in_a_transaction_that_is_undone_leaves_nothing_to_the_next_search(store: SqliteStore) -> None:
    put(store, "k", 1)
    with suppress(Undone), store.transaction():
        put(store, "k", 2)
        assert nearest(store, 2) == ("k", 2)
        raise Undone
    assert (nearest(store, 1), nearest(store, 2)) == (("k", 1), None)


def test_a_vector_undone_by_part_of_a_transaction_is_not_found_in_the_rest_of_it(store: SqliteStore) -> None:
    put(store, "k", 0)
    with store.transaction():
        with suppress(Undone), store.transaction():
            put(store, "k", 1)
            assert nearest(store, 1) == ("k", 2)
            raise Undone
        assert nearest(store, 1) is None
        put(store, "k", 2)
        assert (nearest(store, 1), nearest(store, 2)) == (None, ("k", 2))
    assert (nearest(store, 1), nearest(store, 2)) == (None, ("k", 2))


def test_the_numbers_of_many_vectors_that_went_straight_to_a_file_and_were_undone_find_only_those_that_got_them_next(
    store: SqliteStore,
) -> None:
    def many(first: int) -> None:
        rows = range(first, first + 50)
        store.upsert_items(
            [{"namespace": "acme", "key": f"k{n}", "content": f"{n}", "vectors": [vector(n)]} for n in rows]
        )

    undone: list[Path] = []
    with kill_store.hastened():
        with suppress(Undone), store.transaction():
            many(0)
            assert nearest(store, 7) == ("k7", 1)
            undone += store.database.place.folder.glob("seg-*")
            raise Undone
        assert undone
        many(100)
        assert nearest(store, 7) is None
        assert nearest(store, 107) == ("k107", 1)
        with rounds(store.database.place, 60) as work:
            assert work is not None
            work.collect(grace=0)
        assert not any(path.exists() for path in undone)
        assert nearest(store, 107) == ("k107", 1)


def test_a_store_opens_though_its_files_are_merged_and_removed_while_it_looks_for_them(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "k", 1)
    store.checkpoint()
    listed, seen = manifest.segments, []

    def merged_meanwhile(conn: apsw.Connection) -> Any:
        found = listed(conn)
        monkeypatch.setattr(manifest, "segments", listed)
        seen.append([entry.file for entry in found])
        with rounds(store.database.place, 60) as work:
            assert work is not None
            work.fold(everything=True)
            work.compact(whole=True)
            work.collect(grace=0)
        return found

    put(store, "k", 2)
    monkeypatch.setattr(manifest, "segments", merged_meanwhile)
    store.database.folder.open()
    assert seen
    assert not any((store.database.place.folder / name).exists() for name in seen[0])
    assert (nearest(store, 1), nearest(store, 2)) == (None, ("k", 2))


@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_a_file_is_removed_only_after_a_commit_that_a_power_cut_does_not_undo(
    store: SqliteStore, synchronous: str
) -> None:
    with rounds(Place(store.database.place.path, synchronous), 60) as work:
        assert work is not None
        assert work.conn.execute("pragma synchronous").fetchall() == [(2,)]


def test_a_row_replaced_by_a_program_that_knows_nothing_of_us_is_found_once_by_its_new_vector(
    store: SqliteStore,
) -> None:
    put(store, "k", 1)
    put(store, "l", 2)
    store.checkpoint()
    with closing(apsw.Connection(str(store.database.place.path))) as theirs:
        assert theirs.execute("pragma recursive_triggers").fetchall() == [(0,)]
        with theirs:
            theirs.execute("insert into vec_log (model_id, vector) values (1, ?)", (vector(3).tobytes(),))
            theirs.execute(
                """insert or replace into embeddings (vec_id, namespace_no, chunk_id, model_id, item_no)
                   select last_insert_rowid(), namespace_no, chunk_id, model_id, item_no from embeddings where vec_id = 1"""
            )
    assert nearest(store, 3) == ("k", 1)
    assert len(store.search("acme", vector(1), 5)) == 2
    assert nearest(store, 1) is None
    store.checkpoint(compact=True)
    assert (nearest(store, 1), nearest(store, 2), nearest(store, 3)) == (None, ("l", 1), ("k", 1))
    assert [f for f in store.doctor() if f.severity == "error"] == []


def test_what_is_deleted_or_expired_comes_back_with_its_vector_however_often_files_were_written_anew(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10):
        put(store, f"k{n}", n)
    soon, clock = datetime.now(timezone.utc) + timedelta(hours=1), values.clock
    for n in range(5):
        store.delete_item("acme", f"k{n}")
        store.upsert_item("acme", f"k{n + 5}", f"{n + 5}", vectors=[vector(n + 5)], expires_at=soon)
    monkeypatch.setattr(values, "clock", lambda: clock() + 2 * 3600 * 1_000_000)
    put(store, "other", 100)
    for n in range(3):
        put(store, "other", 101 + n)
        store.checkpoint(compact=True)
    assert store.purge().items == 0
    assert [hit.key for hit in store.search("acme", vector(0), 20)] == ["other"]
    for n in range(10):
        store.restore_item("acme", f"k{n}")
        assert nearest(store, n) == (f"k{n}", 3)


def test_a_database_beside_an_empty_folder_is_refused(store: SqliteStore, url: str) -> None:
    put(store, "k", 1)
    store.checkpoint()
    store.close()
    for path in store.database.place.folder.glob("seg-*"):
        path.unlink()
    with pytest.raises(DamagedStore, match="is missing"):
        kompanion_db.connect(url)


def test_a_reader_that_began_before_a_merge_finds_its_files_when_it_first_looks(
    store: SqliteStore, sql: apsw.Connection
) -> None:
    put(store, "k", 1)
    store.checkpoint()
    sql.execute("begin")
    sql.execute("select count(*) from memory_items").fetchall()
    for n in range(2, 5):
        put(store, "k", n)
        with rounds(store.database.place, 60) as work:
            assert work is not None
            work.fold(everything=True)
            work.compact(whole=True)
            work.collect()
    found = sql.execute("select key, revision, distance from search('acme', ?, 5)", (vector(1).tobytes(),)).fetchall()
    assert found == [("k", 1, 0.0)]
    sql.execute("commit")


def test_rows_and_vectors_are_committed_to_one_file(store: SqliteStore) -> None:
    with store.database.session(write=True) as session:
        assert [row[1] for row in session.all("pragma database_list")] == ["main"]
        assert (
            session.value(
                "select count(*) from main.sqlite_schema where name in ('vec_log', 'embeddings', 'vec_segments')"
            )
            == 3
        )


def test_a_connection_that_only_searches_sees_each_commit_of_others_at_its_next_search(
    store: SqliteStore, sql: apsw.Connection
) -> None:
    for n in range(200):
        put(store, f"k{n % 7}", n)
        found: list[Any] = sql.execute("select key from search('acme', ?, 1)", (vector(n).tobytes(),)).fetchall()
        assert found == [(f"k{n % 7}",)]


def test_a_checkpoint_succeeds_while_somebody_reads(store: SqliteStore, sql: apsw.Connection) -> None:
    put(store, "k", 1)
    sql.execute("begin")
    sql.execute("select count(*) from memory_items").fetchall()
    put(store, "k", 2)
    assert store.checkpoint()["folded"] == 2
    sql.execute("commit")
    assert nearest(store, 2) == ("k", 2)


def test_a_vector_is_replaced_and_removed_by_plain_sql_on_the_view(store: SqliteStore, sql: apsw.Connection) -> None:
    put(store, "k", 1)
    sql.execute("update embedding_vectors set vector = ?", (vector(2).tobytes(),))
    assert (nearest(store, 1), nearest(store, 2)) == (None, ("k", 1))
    sql.execute("insert into embedding_vectors (chunk_id, model, vector) values (1, 'm', ?)", (vector(3).tobytes(),))
    assert (nearest(store, 2), nearest(store, 3)) == (None, ("k", 1))
    assert sql.execute("select count(*), vec_get(vec_id) from embedding_vectors").fetchall() == [
        (1, vector(3).tobytes())
    ]
    sql.execute("delete from embedding_vectors")
    assert store.search("acme", vector(3), 1) == []


@pytest.mark.parametrize("number", [np.nan, -np.nan, np.inf, -np.inf, 1.2e15, -3e38])
def test_a_number_that_no_index_takes_is_refused_of_plain_sql_wherever_it_stands(
    store: SqliteStore, sql: apsw.Connection, number: float
) -> None:
    put(store, "k", 1)
    for place in range(DIM):
        one = np.full(DIM, -1e15, dtype="<f4")
        sql.execute("update embedding_vectors set vector = ?", (one.tobytes(),))
        one[place] = number
        with pytest.raises(apsw.ConstraintError, match="KM004 vector: a number"):
            sql.execute("update embedding_vectors set vector = ?", (one.tobytes(),))
