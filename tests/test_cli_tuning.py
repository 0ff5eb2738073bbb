"""calibrate, measure-recall, tune-index: what they print, and what they leave to be told by explain."""

from __future__ import annotations

from pathlib import Path

import clusters
import engines
import numpy as np
import servers
from cli import cli
from clusters import DIM, QUERIES

import kompanion_db


def test_an_index_is_built_calibrated_measured_and_tuned_from_the_command_line(one_db: servers.Database) -> None:
    with kompanion_db.connect(one_db.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(clusters.items(range(1000)))
    u = ("-u", one_db.url)
    assert cli("calibrate", *u).out == "Nothing to measure: searches are exact.\n"
    assert "no valid vector index" in cli("calibrate", *u).err
    assert cli("index", "--kind", "ivfflat", "--lists", "20", *u).code == 0
    (before,) = cli("search", "acme", "--vector", str(QUERIES[0].tolist()), "--explain", "--json", *u).rows
    assert before["expected_recall_from"] == "exact search"
    points = cli("calibrate", "m", "--sample", "10", "--json", *u).rows
    assert set(points[0]) == {"share", "knob", "recall", "milliseconds", "runs"}
    table = cli("calibrate", "m", "--sample", "10", *u)
    assert table.out.splitlines()[0].split() == ["share", "knob", "recall", "milliseconds", "runs"]
    assert len(table.out.splitlines()) == len(points) + 1
    with one_db.connect() as conn:  # a thousand rows would be searched exactly
        conn.execute("""update kompanion.embedding_models set knobs = knobs || '{"exact_rows": 10, "row_us": 1000}'""")
    asked = ("--vector", str(QUERIES[0].tolist()), "--target-recall", "0.8")  # few queries cannot vouch for more
    told = cli("search", "acme", *asked, "--explain", *u).out
    assert ["expected_recall_from", "calibration"] in [line.split() for line in told.splitlines()]
    (found,) = cli("measure-recall", "m", "--sample", "5", "--json", *u).rows
    assert found["low"] <= found["recall"] <= found["high"]
    line = cli("measure-recall", "--scope", "acme:main", "--sample", "5", "--target-recall", "1", *u).out.splitlines()
    assert line[0].split() == ["asked", "recall", "low", "high", "milliseconds", "by_index"]
    assert line[1].split()[:2] == ["5", "1.000"]
    assert cli("measure-recall", "--scope", "nowhere", *u).out == "There is no vector to ask with.\n"
    assert cli("index", "--kind", "ivfflat", "--lists", "2", *u).code == 0  # which no candidate comes near
    tuned = cli("tune-index", "--kind", "ivfflat", "--sample", "10", "--dry-run", *u)
    assert tuned.out.splitlines()[0].split() == [
        "kind", "lists", "knob", "recall", "milliseconds", "build_seconds", "chosen"
    ]  # fmt: skip
    assert "tune_index: ivfflat" in tuned.err
    (best,) = [row for row in tuned.out.splitlines() if row.endswith("yes")]
    built = cli("index", "--json", *u).rows
    assert any(f"(lists = {best.split()[1]})" in step["statement"] for step in built)
    assert cli("index", "--half", "--kind", "hnsw", *u).code == 0


def test_recall_is_measured_with_the_queries_of_a_file(one_home: engines.Home, tmp_path: Path) -> None:
    u = ("-u", one_home.url)
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(clusters.items(range(1000)))
    for name in ("few.npy", "few.fvecs"):
        file = tmp_path / name
        if name.endswith("npy"):
            np.save(file, QUERIES[:7])
        else:  # each row: its dimension, then its elements
            rows = QUERIES[:7].astype("<f4")
            file.write_bytes(b"".join(np.int32(DIM).tobytes() + row.tobytes() for row in rows))
        (found,) = cli("measure-recall", "m", "--queries", str(file), "--json", *u).rows
        assert (found["asked"], found["recall"]) == (7, 1.0)
    assert cli("index", "--kind", "ivfflat", "--lists", "20", *u).code == 0
    points = cli("calibrate", "m", "--queries", str(tmp_path / "few.npy"), "--json", *u).rows
    assert {point["runs"] for point in points} <= {0, 7}
    tuned = cli(
        "tune-index", "m", "--kind", "ivfflat", "--queries", str(tmp_path / "few.npy"), "--dry-run", "--json", *u
    )
    assert any(row["chosen"] for row in tuned.rows), tuned.err


def test_a_file_of_queries_that_holds_none_is_refused_in_a_line(one_home: engines.Home, tmp_path: Path) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("m", DIM)
    (tmp_path / "text.npy").write_text("0.1 0.2")
    (tmp_path / "archive.npy").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "short.fvecs").write_bytes(b"\2")
    np.save(tmp_path / "flat.npy", QUERIES[0])
    np.save(tmp_path / "other.npy", QUERIES[:, :-1])
    for file, code, message in (
        ("none.npy", 2, "there is no file"),
        ("text.npy", 2, "text.npy: holds no array of numbers"),
        ("archive.npy", 2, "archive.npy: holds no array of numbers"),
        ("short.fvecs", 2, "short.fvecs: has 1 bytes"),
        ("flat.npy", 2, "an array of shape (rows, dim) is needed"),
        ("other.npy", 1, "error: queries"),
    ):
        for command in ("calibrate", "measure-recall", "tune-index"):
            done = cli(command, "m", "--queries", str(tmp_path / file), "-u", one_home.url)
            assert (done.code, done.out) == (code, ""), (file, command, done.err)
            assert message in " ".join(done.err.replace("│", "").split()), (file, command, done.err)


def test_what_cannot_be_is_refused_in_a_line(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("m", DIM)
    for command, start in {
        "calibrate --seconds 0": "error: seconds, sample: ",
        "calibrate nobody": "error: model: ",
        "measure-recall -k 0": "error: k: ",
        "measure-recall --scope a::b": "error: bad namespace",
        "tune-index --kind btree": "error: kinds: ",
        "tune-index --share 2": "error: target_recall, seconds, share, sample: ",
    }.items():
        done = cli(*command.split(), "-u", one_home.url)
        assert (done.code, done.out) == (1, ""), command
        assert done.err.startswith(start), done.err
    assert cli("tune-index", "-u", one_home.url).out == "Nothing to tune.\n"
