"""What the documentation shows is what happens: its code runs, its links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import markdown
import pytest
import servers

from kompanion_db.errors import BY_SQLSTATE, KompanionError

# These show the installation, so they begin with an empty database; the others with a migrated one.
FROM_EMPTY = {"README.md", "sql/README.md"}

NOT_RUN = {
    ("README.md", "git clone https://github.com/kompanion-db/kompanion_db && cd kompanion_db"): "needs the network",
    ("README.md", "pip install kompanion-db"): "needs the network",
    ("docs/python.md", "from kompanion_db import OpenAIEmbedder"): "needs an embedding server",
}

# The command that runs the blocks of a language may not take longer than this, so that one that waits is found.
SECONDS = 600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the blocks run in: it looks like the root of a checkout."""
    (tmp_path / "sql").symlink_to(markdown.ROOT / "sql")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def environment(one_server: servers.Server) -> dict[str, str]:
    """The programs of the server and of this package first on the path; no settings of the user's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "KOMPANION_", "OPENAI_"))}
    programs = [str(one_server.bin_dir), str(Path(sys.executable).parent), kept.get("PATH", "")]
    return {**kept, "PATH": os.pathsep.join(programs), "COLUMNS": "120", "NO_COLOR": "1"}


@pytest.fixture
def databases(one_server: servers.Server) -> Iterator[list[servers.Database]]:
    """Databases to be dropped at the end of the test."""
    made: list[servers.Database] = []
    yield made
    for database in made:
        database.drop()


@pytest.mark.parametrize("file", markdown.FILES)
def test_every_code_block_runs_and_prints_what_is_shown(
    file: str,
    folder: Path,
    environment: dict[str, str],
    one_server: servers.Server,
    databases: list[servers.Database],
) -> None:
    databases += [one_server.create(None if file in FROM_EMPTY else one_server.template)]
    databases += [one_server.create(), one_server.create()]
    for name, each in zip(("KOMPANION_DB_URL", "NEW_DB_URL", "SPARE_DB_URL"), databases, strict=True):
        environment[name] = each.url
    environment["DATABASE_URL"] = databases[0].url
    database = databases[0]
    runs = [block for block in markdown.blocks(file) if block.not_run is None]
    roles = set(re.findall(r"create role (\w+)", "".join(block.text for block in runs)))
    names: dict[str, Any] = {"__name__": "docs"}
    with database.connect() as conn:
        found = conn.execute("select rolname from pg_roles where rolname = any (%s)", (list(roles),)).fetchall()
    assert not found, f"{found} would be dropped"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            for block in runs:
                kind = markdown.LANGUAGES.get(block.language)
                if kind == "python":
                    printed = _run_python(block, names)
                elif kind == "sql":
                    printed = _run_sql(block, database.url)
                else:
                    printed = _command(block, ["bash", "-euo", "pipefail", "-c", block.text])
                if block.output is not None:
                    assert _tidy(printed) == _tidy(block.output), f"{block.place} prints something else"
        finally:
            for value in names.values():
                if hasattr(value, "close") and hasattr(value, "upsert_item"):
                    value.close()
            _drop_roles(databases, roles)


def _drop_roles(databases: list[servers.Database], roles: set[str]) -> None:
    """Roles outlive databases: those that a file makes are taken away with all they own and may."""
    for role in sorted(roles):
        for database in databases:
            with database.connect() as conn:
                if conn.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is not None:
                    conn.execute(f"drop owned by {role} cascade")
    with databases[0].connect() as conn:
        for role in sorted(roles):
            conn.execute(f"drop role if exists {role}")


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _run_python(block: markdown.Block, names: dict[str, Any]) -> str:
    """Run a block statement by statement; what it printed."""
    lines = block.text.splitlines()
    printed = io.StringIO()
    for node in ast.parse(block.text).body:
        where = f"{block.file}:{block.line + node.lineno}"
        said = re.search(r"# (error: (?P<error>\w+)|-> (?P<value>.*))$", lines[(node.end_lineno or 1) - 1])
        ast.increment_lineno(node, block.line)  # tracebacks name the line in the file
        with contextlib.redirect_stdout(printed):
            if said and said["value"]:
                assert isinstance(node, ast.Expr), f"{where}: only an expression has a value"
                value = eval(compile(ast.Expression(node.value), block.file, "eval"), names)
                assert said["value"] in (repr(value), str(value)), f"{where} is {value!r}"
                continue
            code = compile(ast.Module([node], type_ignores=[]), block.file, "exec")
            if said:
                with pytest.raises(KompanionError) as caught:
                    exec(code, names)
                assert caught.value.sqlstate == said["error"], where
            else:
                exec(code, names)
    return printed.getvalue()


def _run_sql(block: markdown.Block, url: str) -> str:
    """Run a block through psql, stopping at the first error that is not expected; what it printed."""
    script: list[str] = []
    begin = 0  # where the statement begins that the line belongs to
    for line in block.text.splitlines():
        expected = re.search(r"; -- error: (\w+)$", line)
        if expected:
            script.insert(begin, r"\set ON_ERROR_STOP off")
            script += [line, f"\\echo expected {expected[1]} found :SQLSTATE", r"\set ON_ERROR_STOP on"]
        else:
            script.append(line)
        if not line.strip() or re.search(r"(;|^\\.*|^--.*|\\g\w*)\s*(-- .*)?$", line):
            begin = len(script)
    psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-P", "pager=off", "-d", url, "-f", "-"]
    printed = _command(block, psql, "\n".join(script) + "\n")
    outcomes = re.findall(r"^expected (\w+) found (\w+)$", printed, flags=re.M)
    assert [found for _, found in outcomes] == [code for code, _ in outcomes], block.place
    return re.sub(r"^expected \w+ found \w+\n", "", printed, flags=re.M)


def _command(block: markdown.Block, command: list[str], given: str | None = None) -> str:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=SECONDS, encoding="utf-8"
    )
    assert done.returncode == 0, f"{block.place} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_only_these_blocks_are_not_run_and_each_says_why() -> None:
    skipped: dict[tuple[str, str], str] = {}
    for block in (block for file in markdown.FILES for block in markdown.blocks(file)):
        known = block.language in markdown.LANGUAGES
        assert known or block.not_run, f"{block.place}: {block.language or 'no language'} is not run; say why"
        if block.not_run:
            skipped[block.file, block.text.splitlines()[0]] = block.not_run
    assert skipped == NOT_RUN


@pytest.mark.parametrize("file", markdown.FILES)
def test_every_relative_link_leads_somewhere(file: str) -> None:
    for link in markdown.links(file):
        path, _, anchor = unquote(link).partition("#")
        target = (markdown.ROOT / file).parent / path if path else markdown.ROOT / file
        assert target.exists(), f"{file}: {link}"
        if anchor:
            assert anchor in markdown.anchors(str(target.resolve().relative_to(markdown.ROOT))), f"{file}: {link}"


def test_the_truth_table_of_filters_is_what_the_server_says(one_db: servers.Database) -> None:
    head, *rows = markdown.table("docs/filters.md", "filter")
    assert len(head) > 3
    assert len(rows) > 10
    query = "select %s::jsonb @@ kompanion.compile_filter(%s::jsonb)"
    with one_db.connect() as conn:
        for row in rows:
            for cell, said in zip(head[1:], row[1:], strict=True):
                answer = conn.execute(query, (cell.strip("`"), row[0].strip("`"))).fetchone()
                assert answer is not None
                assert bool(answer[0]) == (said == "yes"), f"{row[0]} on {cell}"


def test_the_table_of_errors_in_python_md_names_every_error() -> None:
    shown = {row[0].strip("`"): row[1].strip("`") for row in markdown.table("docs/python.md", "SQLSTATE")[1:]}
    assert shown == {code: cls.__name__ for code, cls in BY_SQLSTATE.items() if code.startswith("KM")}


def test_every_object_that_the_invariants_name_is_in_the_database(one_db: servers.Database) -> None:
    text = (markdown.ROOT / "sql" / "README.md").read_text().split("## Invariants")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", text))
    with one_db.connect() as conn:
        rows = conn.execute(
            """
            select conname::text from pg_constraint where connamespace = 'kompanion'::regnamespace
            union select relname::text from pg_class where relnamespace = 'kompanion'::regnamespace
            union select proname::text from pg_proc where pronamespace = 'kompanion'::regnamespace
            union select a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid
                  where c.relnamespace = 'kompanion'::regnamespace
            union select tgname::text from pg_trigger where tgrelid in
                  (select oid from pg_class where relnamespace = 'kompanion'::regnamespace)"""
        ).fetchall()
    assert len(named) > 20
    assert named <= {row[0] for row in rows}
