"""The benchmarks that write take data of one's own, as those that search do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import servers

import kompanion_db
from bench import all as bench_all
from bench import command, data, growth, ingest, upsert, upsert_rows

RNG = np.random.default_rng(5)
VECTORS = RNG.standard_normal((1700, 8)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "mine.npy", VECTORS)
    return tmp_path / "mine.npy"


@pytest.fixture
def measured(
    bench_db: servers.Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[dict[str, Any], str, str]]:
    """The record of a run, its table and what it said beside."""
    for package in command.PACKAGES:
        pytest.importorskip(package)

    def run(main: Callable[[list[str]], None], name: str, *line: Any) -> tuple[dict[str, Any], str, str]:
        out = tmp_path / "out"
        main(["--url", bench_db.url, "--out", str(out), *map(str, line)])
        told = capsys.readouterr()
        assert sorted(path.name for path in out.iterdir()) == [f"{name}.json", f"{name}_server.png"]
        return json.loads((out / f"{name}.json").read_text()), told.out, told.err

    return run


def arguments(*line: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    data.add_file_arguments(parser)
    parser.add_argument("--max-rows", type=int, default=1_000_000)
    parser.add_argument("--scope-rows", type=int, default=1000)
    parser.add_argument("--query-count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args([str(part) for part in line])


def test_what_asks_nothing_holds_no_rows_out_and_says_how_many_there_are(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert np.array_equal(data.of_file(arguments("--data", file), "items", 1700).vectors, VECTORS)
    assert capsys.readouterr().err == ""
    assert len(data.of_file(arguments("--data", file), "items", 1000).vectors) == 1000
    assert capsys.readouterr().err == ""
    assert len(data.of_file(arguments("--data", file), "items", 2000).vectors) == 1700
    assert capsys.readouterr().err == "--items: 1,700 and not 2,000, mine.npy has no more\n"


@pytest.mark.parametrize(
    ("line", "sizes"),
    [
        ("", [1500]),
        ("--scope-rows 900", [1000, 1500]),
        ("--scope-rows 900 --max-rows 1400", [1400]),
        ("--scope-rows 999 --query-count 10", [1000, 1690]),
    ],
)
def test_a_store_grows_as_far_as_a_file_goes(line: str, sizes: list[int], file: Path) -> None:
    assert growth.of_file(arguments("--data", file, *line.split())).sizes == sizes


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (12_000, [3000, 12_000]),
        (35_000, [10_000, 35_000]),
        (60_000, [10_000, 30_000, 60_000]),
        (1_000_000, [10_000, 30_000, 100_000, 300_000, 1_000_000]),
    ],
)
def test_the_sizes_are_those_of_generated_rows_where_a_file_has_as_many(
    rows: int, sizes: list[int], tmp_path: Path
) -> None:
    for name, count in (("base", rows), ("queries", 200)):
        np.save(tmp_path / f"{name}.npy", np.ones((count, 1), dtype=np.float16))
    assert growth.of_file(arguments("--data", tmp_path)).sizes == sizes


def test_a_scope_that_is_not_smaller_than_a_file_is_refused(file: Path) -> None:
    with pytest.raises(SystemExit, match=r"--scope-rows: must be below the 1,500 vectors that mine.npy gives"):
        growth.of_file(arguments("--data", file, "--scope-rows", 1500))


def test_both_stores_get_the_same_rows_of_a_file_each_once_and_not_in_its_order(file: Path) -> None:
    subject = growth.of_file(arguments("--data", file, "--scope-rows", 900))
    whole, halves = subject.begin(), subject.begin()
    vectors, places = whole.rows(1500)
    assert np.array_equal(vectors, np.concatenate([halves.rows(700)[0], halves.rows(800)[0]]))
    assert sorted(places) == list(range(1500))
    assert (places != np.arange(1500)).any()
    assert np.array_equal(vectors, VECTORS[places])
    assert np.array_equal(subject.queries, VECTORS[1500:])


def test_a_load_of_ones_own_vectors_has_their_namespaces_tags_and_metric(
    file: Path, tmp_path: Path, measured: Callable[..., tuple[dict[str, Any], str, str]]
) -> None:
    (tmp_path / "n.txt").write_text("".join(f"p{n % 3}\n" for n in range(1700)))
    (tmp_path / "t.txt").write_text("a,b\n" * 1700)
    columns = ["--namespaces", tmp_path / "n.txt", "--tags", tmp_path / "t.txt"]
    record, table, said = measured(
        ingest.main, "ingest_mine.npy_url_rounds1_namespaces_tags_metricl2", "--data", file, "--rounds", 1, "--metric", "l2", *columns
    )  # fmt: skip
    assert [record[name] for name in ("data", "items", "dim", "metric")] == ["mine.npy", 1700, 8, "l2"]
    assert "bulk load of 1,700 x 8, mine.npy" in table
    assert said == "--items: 1,700 and not 100,000, mine.npy has no more\n"

    source = data.Dataset("x", VECTORS, VECTORS[:0], namespaces=["p"] * 1700, tags=[["a"]] * 1700)
    written = list(ingest.items(source))
    assert {(item.namespace, *item.tags) for item in written} == {("p", "a")}
    assert np.array_equal(np.concatenate([item.vectors for item in written]), VECTORS)


def test_a_store_that_grows_by_ones_own_vectors_is_asked_the_queries_of_their_file(
    file: Path, measured: Callable[..., tuple[dict[str, Any], str, str]]
) -> None:
    sizes = ["--scope-rows", 300, "--query-count", 20, "--rounds", 1]
    record, table, said = measured(
        growth.main, "growth_mine.npy_url_scoperows300_querycount20_rounds1", "--data", file, *sizes
    )
    assert [record[name] for name in ("data", "max_rows", "dim", "metric")] == ["mine.npy", 1680, 8, "cosine"]
    assert "a scope of 300 rows in a growing store, mine.npy, dim 8" in table
    assert [point["rows"] for point in record["runs"][0]["points"]] == [1000, 1680]
    assert all(point["ours"]["recall"] == 1.0 for point in record["runs"][0]["points"])
    assert said == "--max-rows: 1,680 and not 1,000,000, mine.npy has no more\n"


def test_an_upsert_of_a_row_leaves_the_same_by_the_function_and_by_hand(one_db: servers.Database) -> None:
    pytest.importorskip("tqdm")
    source = data.Dataset(
        "x", VECTORS[:3], VECTORS[:0], "l2", namespaces=["a", "a:b", "a"], tags=[["t", "s", "t"], [], ["u"]]
    )
    left = []
    with kompanion_db.connect(one_db.url) as store, one_db.connect() as conn:
        store.register_model("bench", 8, metric="l2")
        upsert_rows.fill(one_db.url, store, source, "none", 4)
        for way in upsert_rows.WAYS.values():
            for content in ("'first'", "'second'"):
                for row, key in ((1, "'new'"), (2, "'new'"), (1, "'hot-4'")):  # of row 1: after row 3 it begins again
                    conn.execute(way.replace("{key}", key).replace("{content}", content).replace(":r", str(row)))
            left.append(conn.execute(
                """select n.path, i.key, i.content, i.metadata, i.tags, i.revision, i.content_revision, c.content, c.ordinal,
                          c.start_offset, c.end_offset, c.content_revision, e.tags, e.vector::text, e.deleted_at, q.chunk_id
                   from kompanion.memory_items i join kompanion.namespaces n using (namespace_id)
                   join kompanion.memory_chunks c using (namespace_id, item_id)
                   left join kompanion.embeddings e using (namespace_id, chunk_id)
                   left join kompanion.embedding_queue q using (namespace_id, chunk_id)
                   where i.key in ('new', 'hot-4') order by 1, 2"""
            ).fetchall())  # fmt: skip
            conn.execute("delete from kompanion.memory_items where key = 'new'")
            conn.execute("delete from kompanion.memory_items where key = 'hot-4'")
            store.upsert_items(
                [kompanion_db.NewItem("a", "x", "hot-4", tags=["s", "t"], vectors=VECTORS[:1])], model="bench"
            )
    assert left[0] == left[1]
    assert [row[:3] for row in left[0]] == [("a", "hot-4", "second"), ("a", "new", "second"), ("a:b", "new", "second")]
    assert [row[4] for row in left[0]] == [["s", "t"], ["s", "t"], []]
    assert all(row[13] is not None and row[15] is None for row in left[0])


def test_upserts_of_ones_own_vectors_are_told_as_such(
    file: Path, measured: Callable[..., tuple[dict[str, Any], str, str]]
) -> None:
    line = ["--seconds", 1, "--rounds", 1, "--clients", 2, "--hot-keys", 1800]
    name = "upsert_mine.npy_url_clients2_seconds1_rounds1_hotkeys1800"
    record, table, said = measured(upsert.main, name, "--data", file, *line)
    assert [record[name] for name in ("data", "rows", "dim", "metric")] == ["mine.npy", 1700, 8, "cosine"]
    assert "single upserts with vectors of mine.npy, 1 s each" in table
    assert said == ""


def test_all_hands_data_to_those_that_take_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taking = []
    for name in bench_all.SCRIPTS:
        given = SimpleNamespace(main=lambda line, name=name: taking.append(name) if "--data" in line else None)
        monkeypatch.setitem(sys.modules, f"bench.{name}", given)
    bench_all.main(["--data", "v.npy", "--out", str(tmp_path)])
    assert taking == [name for name in bench_all.SCRIPTS if name != "embedded"]


@pytest.mark.parametrize("main", [growth.main, ingest.main, upsert.main])
def test_what_is_told_about_data_needs_data_and_a_file_that_is_none_is_refused(
    main: Callable[[list[str]], None], tmp_path: Path
) -> None:
    for package in command.PACKAGES:
        pytest.importorskip(package)
    (tmp_path / "v.npy").write_text("0.1 0.2")
    for line, message in (
        (["--metric", "l2"], "--metric: is about --data, which is not given"),
        (["--data", str(tmp_path / "none.npy")], "--data: there is no"),
        (["--data", str(tmp_path / "v.npy")], "v.npy: holds no array of numbers"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([*line, "--out", str(tmp_path / "out")])
