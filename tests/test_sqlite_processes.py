"""Several processes on one file: each sees what the others have committed at once, nobody's write is lost, nobody is refused."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import kill_store
import numpy as np
import pytest

import kompanion_db
from kompanion_db.sidecar.rounds import rounds
from kompanion_db.sqlite import open_sql
from kompanion_db.sqlite.store import SqliteStore

DIM = 12
KEYS = 100
_spawned = multiprocessing.get_context("spawn")


def vector(*seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIM, dtype=np.float32)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with a model."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with kompanion_db.connect(url) as store:
        store.register_model("m", DIM, metric="l2")
    return url


@contextmanager
def processes(count: int, work: Callable[..., None], *args: Any) -> Iterator[list[Any]]:
    """That many processes at work, each with a pipe to it; they end by themselves."""
    started = []
    for number in range(count):
        ours, theirs = _spawned.Pipe()
        process = _spawned.Process(target=work, args=(theirs, number, *args))
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        yield [pipe for _, pipe in started]
        for process, _ in started:
            process.join(600)
            assert process.exitcode == 0
    finally:
        for process, _ in started:
            process.kill()


def _change(store: kompanion_db.Store, side: int, n: int) -> tuple[str, int | None]:
    """Commit a change; the key it was about, and its revision, None when it is deleted."""
    if n % 10 == 9:
        key = f"{side}.{(n - 1) % KEYS}"
        store.delete_item("acme", key)
        return key, None
    key = f"{side}.{n % KEYS}"
    return key, store.upsert_item("acme", key, f"{n}", vectors=[vector(side, n)]).revision


def _is_stale(store: kompanion_db.Store, side: int, n: int, key: str, revision: int | None) -> bool:
    """Whether a search does not know of a change."""
    hits = store.search("acme", vector(side, n), 1)
    if revision is None:
        return any(hit.key == key for hit in store.search("acme", vector(side, n), 2 * KEYS))
    return not hits or (hits[0].key, hits[0].revision) != (key, revision) or hits[0].distance > 1e-6


def _partner(pipe: Any, number: int, url: str) -> None:
    """Search for what the other has committed, then commit something for it to search."""
    with kill_store.hastened(), kompanion_db.connect(url) as store:
        while (said := pipe.recv()) is not None:
            n, key, revision = said
            stale = _is_stale(store, 0, n, key, revision)
            pipe.send((stale, *_change(store, 1, n)))


def _ping_pong(url: str, pairs: int, figure: Callable[[str], None]) -> None:
    stale = 0
    with (
        kill_store.hastened(),
        processes(1, _partner, url) as (pipe,),
        kompanion_db.connect(url) as store,
    ):
        for n in range(pairs // 2):
            pipe.send((n, *_change(store, 0, n)))
            theirs, key, revision = pipe.recv()
            stale += theirs + _is_stale(store, 1, n, key, revision)
        pipe.send(None)
        assert isinstance(store, SqliteStore)
        with store.database.session(write=False) as session:
            folded = session.value("select generation from vec_state")
    assert stale == 0
    figure(f"{pairs} pairs of a commit and a search in another process: {stale} stale, files changed {folded} times")


def test_a_search_sees_what_another_process_has_just_committed(url: str, figure: Callable[[str], None]) -> None:
    _ping_pong(url, 400, figure)


@pytest.mark.slow
def test_ten_thousand_searches_see_what_another_process_has_just_committed(
    url: str, figure: Callable[[str], None]
) -> None:
    _ping_pong(url, 10_000, figure)


def _write(pipe: Any, number: int, url: str, count: int) -> None:
    failed: list[str] = []
    with kill_store.hastened(), kompanion_db.connect(url) as store:
        pipe.recv()
        for n in range(count):
            try:
                with store.transaction():
                    store.upsert_item("acme", f"{number}.{n % KEYS}", f"{n}", vectors=[vector(number, n)])
                    store.upsert_item("acme", "shared", f"{number}.{n}", vectors=[vector(number, n)])
            except BaseException as exc:
                failed.append(repr(exc))
    pipe.send(failed)


def _write_together(url: str, writers: int, count: int, figure: Callable[[str], None]) -> None:
    failed: list[str] = []
    with processes(writers, _write, url, count) as pipes:
        for pipe in pipes:
            pipe.send("go")
        for pipe in pipes:
            failed += pipe.recv()
    assert failed == []
    lost = 0
    with kompanion_db.connect(url) as store:
        shared = store.get_item("acme", "shared")
        assert shared is not None
        lost += writers * count - shared.revision
        for number in range(writers):
            for key in range(min(KEYS, count)):
                last = key + (count - 1 - key) // KEYS * KEYS
                item = store.get_item("acme", f"{number}.{key}")
                assert item is not None
                lost += (count - 1 - key) // KEYS + 1 - item.revision
                assert item.content == f"{last}"
                hits = store.search("acme", vector(number, last), 2)
                assert f"{number}.{key}" in [hit.key for hit in hits if hit.distance < 1e-6]
        assert [f for f in store.doctor() if f.severity == "error"] == []
    assert lost == 0
    figure(f"{writers} writers x {count} transactions: {lost} lost, {len(failed)} errors")


def test_writers_in_several_processes_lose_nothing_and_are_never_refused(
    url: str, figure: Callable[[str], None]
) -> None:
    _write_together(url, 4, 100, figure)


@pytest.mark.slow
def test_four_writers_of_ten_thousand_transactions_lose_nothing(url: str, figure: Callable[[str], None]) -> None:
    _write_together(url, 4, 10_000, figure)


FOUND = "select key, revision from search('acme', ?, 3)"


def _found(conn: apsw.Connection, n: int) -> list[Any]:
    return conn.execute(FOUND, (vector(n).tobytes(),)).fetchall()


def _rewrite_all_files(url: str, store: kompanion_db.Store) -> None:
    """Every file there is becomes another one, and the former are removed."""
    assert isinstance(store, SqliteStore)
    former = list(store.database.place.folder.glob("seg-*"))
    with rounds(store.database.place, 60) as work:
        assert work is not None
        work.fold(everything=True)
        work.compact(whole=True)
        while any(path.exists() for path in former):  # not in the millisecond in which they ceased to count
            work.collect(grace=0)


def test_a_long_reader_keeps_its_answers_while_files_are_merged_and_collected(url: str) -> None:
    with kompanion_db.connect(url) as store, closing(open_sql(url)) as conn:
        for n in range(20):
            store.upsert_item("acme", f"k{n}", f"{n}", vectors=[vector(n)])
        store.checkpoint()
        conn.execute("begin")
        before = [_found(conn, n) for n in range(20)]
        assert [rows[0] for rows in before] == [(f"k{n}", 1) for n in range(20)]
        for round_ in range(3):
            for n in range(20):
                store.upsert_item("acme", f"k{n}", f"{round_}.{n}", vectors=[vector(100 * round_ + 100 + n)])
            _rewrite_all_files(url, store)
            assert [_found(conn, n) for n in range(20)] == before
        conn.execute("commit")
        assert [_found(conn, 300 + n)[0] for n in range(20)] == [(f"k{n}", 4) for n in range(20)]


def test_a_reader_whose_files_are_gone_before_it_looks_is_told_to_begin_again(url: str) -> None:
    with kompanion_db.connect(url) as store, closing(open_sql(url)) as conn:
        store.upsert_item("acme", "k", "a", vectors=[vector(1)])
        store.checkpoint()
        conn.execute("begin")
        conn.execute("select count(*) from memory_items").fetchall()
        store.upsert_item("acme", "k", "b", vectors=[vector(2)])
        _rewrite_all_files(url, store)
        with pytest.raises(apsw.SQLError, match=r"KM017 .* was merged into another file, .* begin again"):
            _found(conn, 1)
        conn.execute("rollback")
        assert _found(conn, 2) == [("k", 2)]
