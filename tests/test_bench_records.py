"""What a benchmark measured is kept: its records, tables and pictures, and their names."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import command, common, data, embedded, records

ROOT = Path(__file__).parent.parent


def test_a_folder_that_cannot_be_written_into_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "PACKAGES", ())
    records.prepare(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"--out: nothing can be written into .*file.*; name another folder"):
        records.prepare(tmp_path / "file")


def test_a_folder_of_stores_that_cannot_be_written_into_is_told_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(command, "PACKAGES", ())
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"--folder: nothing can be written into .*file.*; name another folder"):
        embedded.main(["--folder", str(tmp_path / "file"), "--out", str(tmp_path)])


def test_the_table_is_printed_even_where_the_record_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = argparse.Namespace(out=tmp_path / "gone")
    with pytest.raises(SystemExit, match="--out: not all could be written"):
        records.finish({"runs": []}, "growth", gone, lambda _: "the table", lambda *_: [])
    assert capsys.readouterr().out == "the table\n"


def test_the_record_is_written_even_where_nobody_reads_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = io.TextIOWrapper(open(os.devnull, "rb"), write_through=True)  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", gone)
    there = argparse.Namespace(out=tmp_path)
    records.finish({"runs": [7]}, "growth", there, lambda _: "the table", lambda *_: [])
    assert json.loads((tmp_path / "growth.json").read_text())["runs"] == [7]
    assert "the table could not be printed: " in capsys.readouterr().err


def test_a_name_that_the_terminal_cannot_show_ends_no_run() -> None:
    code = "from bench import command; command.run(lambda: print('Donn\\xe9es \\udcff.npy'))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )  # fmt: skip
    assert run.stdout == b"Donn\\xe9es \\udcff.npy\n"


def test_a_picture_that_is_broken_off_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in command.PACKAGES:
        pytest.importorskip(package)
    from bench import picture

    class Ended:
        def save(self, path: Path, *_: object, **__: object) -> None:
            path.write_bytes(b"half")
            raise SystemExit(143)

    (tmp_path / "x.png").write_bytes(b"whole")
    monkeypatch.setattr(picture, "_few_colours", lambda _: Ended())
    with pytest.raises(SystemExit):
        picture.write(picture.plt.figure(), tmp_path, "x")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.png", b"whole")]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("", "search"),
        ("--rows 100000 --dim 384", "search"),
        ("--rows 5000 --dim 64", "search_rows5000_dim64"),
        ("--data some/set.hdf5 --rows 100000 --small", "search_set.hdf5_rows100000_small"),
        ("--data v.npy --dim 384", "search_v.npy"),
        ("--data v.fvecs", "search_v.fvecs"),
        ("--data v.1.npy", "search_v.1.npy"),
        ("--data v.npy --namespaces n.txt --tags t.txt", "search_v.npy_namespaces_tags"),
        ("--servers floor --seed 2", "search_serversfloor_seed2"),
        ("--url postgresql://me:secret@host/db", "search_url"),
    ],
)
def test_a_run_with_other_sizes_does_not_write_over_the_record_of_the_full_run(line: str, name: str) -> None:
    parser = argparse.ArgumentParser()
    common.add_server_arguments(parser)
    data.add_arguments(parser, rows=100_000)
    assert records.name_of("search", parser.parse_args(line.split()), parser) == name


def test_a_name_that_is_too_long_for_a_file_is_cut_and_still_its_own() -> None:
    names = [records.short("lists" + "-".join(map(str, range(1000, last)))) for last in (1080, 1081)]
    assert all(name.startswith("lists1000-1001-") and len(name) == records.LONGEST for name in names)
    assert names[0] != names[1]
    assert records.short("é" * 75) == "é" * 75
    assert len(records.short("é" * 76).encode()) <= records.LONGEST


def test_a_record_tells_no_paths(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    common.add_server_arguments(parser)
    data.add_arguments(parser, rows=100)
    records.add_arguments(parser)
    args = parser.parse_args(["--data", "/home/me/v.npy", "--out", str(tmp_path), "--url", "postgresql://me@there/db"])
    path = records.save(tmp_path, "search", records.settings_of(args))
    assert json.loads(path.read_text())["seed"] == 1
    assert not any(secret in path.read_text() for secret in ("home", str(tmp_path), "there"))
