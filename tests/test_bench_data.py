"""What the benchmarks read, ask and run on: every kind of file gives the same data set, and right answers are right."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import all as bench_all
from bench import cases, common, data, records

RNG = np.random.default_rng(5)
VECTORS = RNG.standard_normal((400, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((30, 8)).astype(np.float32)


def arguments(path: Path, **given: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    data.add_arguments(parser, rows=100)
    return parser.parse_args(
        ["--data", str(path)]
        + [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    )


def write_vecs(path: Path, rows: np.ndarray[Any, Any]) -> Path:
    head = np.full((len(rows), 1), rows.shape[1], dtype="<i4").view("u1")
    path.write_bytes(np.concatenate([head, rows.view("u1").reshape(len(rows), -1)], axis=1).tobytes())
    return path


def test_npy_and_fvecs_and_a_file_of_queries_are_read_as_float32(tmp_path: Path) -> None:
    np.save(tmp_path / "half.npy", VECTORS.astype(np.float16))
    base = write_vecs(tmp_path / "base.fvecs", VECTORS)
    queries = write_vecs(tmp_path / "queries.fvecs", QUERIES)
    half = data.chosen(arguments(tmp_path / "half.npy", query_count=30))
    single = data.chosen(arguments(base, queries=queries, query_count=20, metric="l2"))
    assert half.vectors.shape == (370, 8)
    assert half.queries.shape == (30, 8)
    assert half.vectors.dtype == half.queries.dtype == np.float32
    assert np.array_equal(single.vectors, VECTORS)
    assert np.array_equal(single.queries, QUERIES[:20])
    assert single.metric == "l2"


def test_bvecs_are_bytes(tmp_path: Path) -> None:
    rows = RNG.integers(0, 256, (90, 16), dtype=np.uint8)
    read = data.chosen(arguments(write_vecs(tmp_path / "b.bvecs", rows), query_count=10, rows=50, metric="l2"))
    assert np.array_equal(read.vectors, rows[:50].astype(np.float32))
    assert np.array_equal(read.queries, rows[50:60].astype(np.float32))


def test_the_files_of_ann_benchmarks_tell_their_metric_and_neighbours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    h5py = pytest.importorskip("h5py")
    near = np.argsort(data.distances(QUERIES, VECTORS, "l2"), axis=1)[:, :10]
    with h5py.File(tmp_path / "set.hdf5", "w") as file:
        file.attrs["distance"] = "euclidean"
        file["train"], file["test"], file["neighbors"] = VECTORS, QUERIES, near
    read = data.chosen(arguments(tmp_path / "set.hdf5", query_count=30))
    _, planned = cases.of(read, 30, 10, seed=1)
    assert read.metric == "l2"
    assert cases.check_neighbors(read, planned[0]) == 1.0
    misread = data.chosen(arguments(tmp_path / "set.hdf5", query_count=30, metric="inner_product"))
    cases.tell_misread(misread, cases.of(misread, 30, 10, seed=1)[1][0])
    assert "is --metric inner_product right?" in capsys.readouterr().out


def test_zero_vectors_are_left_out_under_cosine_and_duplicates_are_no_loss(tmp_path: Path) -> None:
    rows = np.concatenate([VECTORS, np.zeros((3, 8), dtype=np.float32), np.repeat(VECTORS[:1], 40, axis=0), QUERIES])
    np.save(tmp_path / "v.npy", rows)
    read = data.chosen(arguments(tmp_path / "v.npy", query_count=30))
    assert len(read.vectors) == len(rows) - 33
    twins = np.flatnonzero((read.vectors == VECTORS[0]).all(axis=1))
    one = cases.case(read, "all", 1.0, VECTORS[:1], [cases.Ask()], 10)
    assert one.judge(read, 0, twins[-10:].tolist()) == (1.0, False, 0)
    assert data.chosen(arguments(tmp_path / "v.npy", query_count=30, metric="l2")).vectors.shape[0] == len(rows) - 30


def test_a_folder_brings_namespaces_tags_and_filters(tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", VECTORS)
    np.save(tmp_path / "queries.npy", QUERIES)
    meta = [{"ns": f"p{n % 4}:u{n % 8}", "tags": ["even"] if n % 2 == 0 else []} for n in range(len(VECTORS))]
    asks = [{"filters": {"ns_rand_10pct": {"filter": "p1"}, "tag_rand_10pct": {"filter": ["even"]}}} for _ in QUERIES]
    for name, lines in (("meta.jsonl", meta), ("queries.jsonl", asks)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    namespaces, planned = cases.of(data.chosen(arguments(tmp_path, query_count=30)), 30, 10, seed=1)
    found = {case.group: case for case in planned}
    assert namespaces[:2] == ["p0:u0", "p1:u1"]
    assert set(found) == {"all", "foreign namespace", "tags"}
    assert found["foreign namespace"].rows == 100
    assert [found[group].share for group in ("all", "foreign namespace", "tags")] == [1.0, 0.25, 0.5]  # not 10 %
    assert found["tags"].asks[0].tags == ("even",)


def test_columns_of_namespaces_and_tags_give_scopes_of_every_share(tmp_path: Path) -> None:
    vectors = np.random.default_rng(6).standard_normal((3030, 8)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    (tmp_path / "ns.txt").write_text("".join(f"p{n % 10}:u{n % 100}\n" for n in range(3030)))
    (tmp_path / "tags.jsonl").write_text("".join(json.dumps([f"t{n % 100}"]) + "\n" for n in range(3030)))
    read = data.chosen(
        arguments(tmp_path / "v.npy", query_count=30, namespaces=tmp_path / "ns.txt", tags=tmp_path / "tags.jsonl")
    )
    _, planned = cases.of(read, 30, 10, seed=1)
    assert {(case.group, case.share, case.rows) for case in planned if case.group != "all"} == {
        ("own namespace", 0.1, 300), ("foreign namespace", 0.1, 300), ("own namespace", 0.01, 30), ("foreign namespace", 0.01, 30),
        ("tags", 0.01, 30),
    }  # fmt: skip


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_an_answer_is_judged_by_what_is_nearest_in_its_scope(metric: str) -> None:
    source = data.Dataset("x", VECTORS, QUERIES, metric)
    members = np.arange(0, 400, 3)
    one = cases.case(source, "some", 0.3, QUERIES, [cases.Ask("p", None, members)] * len(QUERIES), 10)
    near = members[np.argsort(data.distances(QUERIES[:1], VECTORS[members], metric)[0])]
    assert one.judge(source, 0, near[:10].tolist()) == (1.0, False, 0)
    assert one.judge(source, 0, [*near[:9].tolist(), int(near[-1])]) == (0.9, False, 0)
    assert one.judge(source, 0, near[:5].tolist()) == (0.5, True, 0)
    assert one.judge(source, 0, [*near[:9].tolist(), 1]) == (0.9, False, 1)


def test_generated_scopes_have_their_shares_and_queries_of_their_topics_or_of_others() -> None:
    source = data.generated(5000, 16, 30, seed=3)
    namespaces, planned = cases.of(source, 30, 10, seed=3)
    assert source.topics is not None
    assert [case.rows for case in planned] == [5000, 500, 50, 5, 1, 500, 50, 5, 1, 500, 50, 5, 1]
    own, foreign = planned[5].asks[0], planned[9].asks[0]
    assert own.scope == foreign.scope == "topic-10"
    assert own.members is not None
    assert {namespaces[n] for n in own.members} == {"topic-10"}
    inside = np.isin(source.topics, source.topics[own.members])
    for case, expected in ((planned[5], True), (planned[9], False)):
        nearest = data.distances(case.queries, source.vectors, "cosine").argmin(axis=1)
        assert (inside[nearest] == expected).mean() > 0.9


def test_a_server_that_is_not_installed_is_told_before_any_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "SERVERS", {"pg18": ("json", 18), "floor": ("no_such_package", None)})
    parser = argparse.ArgumentParser()
    common.add_server_arguments(parser, "pg18,floor")
    assert parser.parse_args([]).servers == "pg18"
    with pytest.raises(SystemExit, match=r"floor comes with the package no_such_package.*--servers pg18 does without"):
        next(common.servers(parser.parse_args(["--servers", "pg18,floor"])))


@pytest.mark.parametrize("end", [SystemExit(143), KeyboardInterrupt(), SystemExit("--data: missing")])
def test_what_ends_a_run_from_outside_ends_all_of_it_and_an_error_only_one_benchmark(
    end: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun = []

    def main(line: list[str]) -> None:
        begun.append(line)
        raise end

    for name in ("growth", "upsert"):
        monkeypatch.setitem(sys.modules, f"bench.{name}", SimpleNamespace(main=main))
    with pytest.raises(type(end)):
        bench_all.main(["--small", "--only", "growth,upsert", "--out", str(tmp_path)])
    assert len(begun) == (2 if end.args == ("--data: missing",) else 1)


def test_a_record_is_drawn_under_the_name_of_its_file_by_the_benchmark_that_wrote_it(tmp_path: Path) -> None:
    monday, other = tmp_path / "monday.json", tmp_path / "other.json"
    monday.write_text(json.dumps({"name": "growth_small", "runs": []}))
    other.write_text(json.dumps([1]))
    assert records.read(monday, "growth") == {"name": "monday", "runs": []}
    for path, message in (
        (monday, "is a record of growth_small, not of ingest"),
        (other, "is no record of a benchmark"),
    ):
        with pytest.raises(SystemExit, match=message):
            records.read(path, "ingest")


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "many"])
def test_a_number_of_rows_or_rounds_is_a_whole_number_from_1_on(text: str, tmp_path: Path) -> None:
    assert common.positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number from 1 on"):
        common.positive(text)
    with pytest.raises(SystemExit):
        arguments(tmp_path, rows=text)


def test_too_few_rows_for_the_scopes_of_all_shares_are_told() -> None:
    with pytest.raises(SystemExit, match="5 rows are too few, the scopes of all shares take 8"):
        cases.of(data.generated(5, 16, 30, seed=3), 30, 10, seed=3)
    assert len(cases.of(data.generated(8, 16, 30, seed=3), 30, 10, seed=3)[1]) == 13


def test_vectors_of_ones_own_are_asked_with_their_own_queries_about_a_scope_and_about_others() -> None:
    source = replace(data.generated(5000, 16, 300, seed=3), draw=None, topics=None)
    _, planned = cases.of(source, 300, 10, seed=3)
    topical = [case for case in planned if case.group in ("own topic", "foreign topic")]
    assert {(case.group, case.share) for case in topical} >= {("own topic", 0.1), ("foreign topic", 0.1)}
    for case in topical:
        assert len(case.asks) == len(case.queries) >= cases.LEAST_QUERIES
        assert (case.queries[:, None] == source.queries).all(axis=2).any(axis=1).all()
    own, foreign = (next(c for c in topical if (c.group, c.share) == (g, 0.1)) for g in ("own topic", "foreign topic"))
    assert len(own.queries) + len(foreign.queries) == 300
    assert own.asks[0].members is not None
    inside = [
        np.isin(data.distances(case.queries, source.vectors, "cosine").argmin(axis=1), own.asks[0].members).mean()
        for case in (own, foreign)
    ]
    assert inside[0] > 0.5
    assert inside[1] == 0.0


def test_lines_of_a_picture_differ_in_colour_or_in_shape() -> None:
    pytest.importorskip("matplotlib")
    from bench import picture

    assert [picture.look(n, ("red", "blue", "green"), "os^") for n in range(2)] == [("red", "o"), ("blue", "s")]
    assert len({picture.look(n, ("red", "blue", "green"), "os^") for n in range(9)}) == 9


def test_rows_of_an_hdf5_file_can_be_given_namespaces_and_tags(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "set.hdf5", "w") as file:
        file.attrs["distance"] = "angular"
        file["train"], file["test"] = VECTORS, QUERIES
    (tmp_path / "ns.txt").write_text("".join(f"p{n % 10}\n" for n in range(len(VECTORS))))
    read = data.chosen(arguments(tmp_path / "set.hdf5", query_count=30, namespaces=tmp_path / "ns.txt", rows=200))
    namespaces, planned = cases.of(read, 30, 10, seed=1)
    assert namespaces == [f"p{n % 10}" for n in range(200)]
    assert {(case.group, case.rows) for case in planned} >= {("all", 200), ("own namespace", 20)}


def test_what_a_kind_of_data_does_not_take_is_refused(tmp_path: Path) -> None:
    for name in ("base", "queries"):
        np.save(tmp_path / f"{name}.npy", VECTORS)
    (tmp_path / "set.hdf5").touch()
    file = tmp_path / "queries.npy"
    for path, flag, message in (
        (tmp_path, "queries", "--queries: a folder brings its own"),
        (tmp_path, "namespaces", "--namespaces: a folder brings its own"),
        (tmp_path, "tags", "--tags: a folder brings its own"),
        (tmp_path / "set.hdf5", "queries", "--queries: an .hdf5 file brings its own"),
        (tmp_path / "none.npy", "queries", "--data: there is no"),
    ):
        with pytest.raises(SystemExit, match=message):
            data.chosen(arguments(path, **{flag: file}))
    assert data.chosen(arguments(tmp_path, metric="l2")).metric == "l2"
    for flag in ("queries", "namespaces", "tags", "metric"):
        given = arguments(tmp_path, **{flag: "l2"})
        given.data = None
        with pytest.raises(SystemExit, match=f"--{flag}: is about --data"):
            data.chosen(given)


@pytest.mark.parametrize("short", ["meta.jsonl", "queries.jsonl", "groundtruth.npz"])
def test_a_folder_whose_files_are_of_other_rows_is_refused(short: str, tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", VECTORS)
    np.save(tmp_path / "queries.npy", QUERIES)
    near = np.zeros((30 - (short == "groundtruth.npz"), 10), dtype=np.int64)
    np.savez(tmp_path / "groundtruth.npz", none_ids=near)
    (tmp_path / "meta.jsonl").write_text('{"ns": "p"}\n' * (400 - (short == "meta.jsonl")))
    (tmp_path / "queries.jsonl").write_text("{}\n" * (30 - (short == "queries.jsonl")))
    with pytest.raises(SystemExit, match=f"{short}: is .* long, for the .* rows of"):
        data.chosen(arguments(tmp_path, query_count=30))


def test_the_server_of_a_run_of_all_is_shown_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setitem(sys.modules, "bench.growth", SimpleNamespace(main=begun.append))
    bench_all.main(["--only", "growth", "--url", "postgresql://me:secret@there/db", "--out", str(tmp_path)])
    assert begun == [["--url", "postgresql://me:secret@there/db", "--seed", "1", "--out", str(tmp_path)]]
    assert "postgresql://me:***@there/db" in capsys.readouterr().out
    assert "secret" not in (tmp_path / "all.txt").read_text()
