"""serve and psql: a server and a shell on it with one command each."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers
from cli import environment, process
from servers import runs

from kompanion_db.cli.stores import open_text_store


def _interruptible() -> None:
    # Whoever started the tests in the background may ignore SIGINT, and a child inherits that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """``kompanion-db serve`` and what it printed as JSON."""
    command = [sys.executable, "-m", "kompanion_db", "serve", *arguments, "--json"]
    with subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=_interruptible,  # noqa: PLW1509
    ) as running:
        try:
            assert running.stdout
            yield running, json.loads(running.stdout.readline())
        finally:
            running.kill()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_serve_prints_a_psql_line_that_works_and_lets_the_server_go(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "served"
    with serving(str(folder)) as (running, told):
        assert told["folder"] == str(folder)
        psql = subprocess.run(
            [*shlex.split(told["psql"]), "-XAtc", "select kompanion.namespace_id('acme')"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert psql.returncode == 0, psql.stderr
        assert len(psql.stdout.strip()) == 36
        assert process("put", "acme", "k", "tea", "--url", told["url"]).code == 0
        running.send_signal(getattr(signal, name))
        assert running.wait(60) == 0
        assert running.stderr
        assert running.stderr.read() == "Let go.\n"
    assert not runs(folder)
    assert process("get", "acme", "k", "--raw", "--url", f"embedded:{folder}").out == "tea"
    assert not runs(folder)


def test_serve_joins_a_server_and_leaves_it_to_the_other_program(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    with serving(f"embedded:{folder}") as (first, told):
        with serving("--url", f"embedded:{folder}") as (second, again):
            assert again == told
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 0
        assert runs(folder)
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
    assert not runs(folder)


def test_serve_refuses_what_it_cannot_run(tmp_path: Path) -> None:
    done = process("serve", "postgresql://ann:s3cret@db/x")
    assert done.code == 2
    assert "s3cret" not in done.err
    (tmp_path / "holiday.jpg").write_text("x")
    done = process("serve", str(tmp_path))
    assert done.code == 1
    assert "is not empty and holds no PostgreSQL data" in done.err


def test_psql_opens_on_any_database_and_hands_its_arguments_and_exit_code_through(one_db: servers.Database) -> None:
    assert process("psql", one_db.url, "-XAtc", "select 1 + 1").out == "2\n"
    assert process("psql", "-XAtc", "select current_database()", KOMPANION_DB_URL=one_db.url).out == f"{one_db.name}\n"
    assert process("psql", "-u", one_db.url, "-XAt", given="select 7;").out == "7\n"
    assert process("psql", one_db.url, "-XAt", "-v", "ON_ERROR_STOP=1", given="select 1/0;").code == 3


def test_psql_opens_on_an_embedded_database_and_lets_it_go(tmp_path: Path) -> None:
    folder = tmp_path / "shell"
    assert process("migrate", f"embedded:{folder}").code == 0
    done = process("psql", f"embedded:{folder}", "-XAtc", "select count(*) from kompanion.memory_items")
    assert (done.code, done.out) == (0, "0\n")
    assert not runs(folder)


def test_a_command_sends_a_pooler_no_prepared_statements(one_db: servers.Database) -> None:
    with open_text_store(one_db.url, "hash") as store:
        for n in range(10):
            store.upsert_item("acme", "k", f"text {n}")
        with store._connection() as conn:  # type: ignore[attr-defined]
            assert conn.execute("select name from pg_prepared_statements").fetchall() == []
