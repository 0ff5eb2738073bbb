"""Every script in tests/sql runs under psql: one behaviour of one function each, said in its first line."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples
import servers

FOLDER = Path(__file__).with_name("sql")
SCRIPTS = sorted(FOLDER.glob("*/*.sql"))
NAMES = [f"{script.parent.name}/{script.stem}" for script in SCRIPTS]


@pytest.fixture(scope="module")
def outcome(server: servers.Server) -> dict[str, str]:
    """What each script printed as errors, by name; all run in one psql, each rolls back what it does."""
    db = server.create(server.template)
    lines = ["\\set ON_ERROR_STOP off"]
    for name, script in zip(NAMES, SCRIPTS, strict=True):
        lines += [f"\\warn script {name}", f"\\i {script}", "rollback;"]
    try:
        run = db.psql("\n".join(lines), "-v", "VERBOSITY=terse")
        with db.connect() as conn:
            left = {table: rows for table, rows in samples.contents(conn).items() if rows and "_yoyo" not in table}
        assert list(left) == ["settings"], "a script left something behind"
    finally:
        db.drop()
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = {}
    for line in run.stderr.splitlines():
        if line.startswith("script "):
            found[line.removeprefix("script ")] = current = ""
            name = line.removeprefix("script ")
        elif "NOTICE:" not in line and "there is no transaction in progress" not in line:
            current += line + "\n"
            found[name] = current
    return found


@pytest.mark.parametrize("name", NAMES)
def test_script(outcome: dict[str, str], name: str) -> None:
    assert outcome[name] == ""


def test_one_script_runs_by_itself_under_psql(db: servers.Database) -> None:
    run = db.psql(SCRIPTS[0])
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_script_starts_with_a_sentence_and_undoes_what_it_did(name: str) -> None:
    lines = (FOLDER / f"{name}.sql").read_text().splitlines()
    assert lines[0].startswith("-- ")
    assert lines[0].endswith(".")
    assert (lines[1], lines[-1]) == ("begin;", "rollback;")


def test_every_public_function_has_a_script(one_db: servers.Database) -> None:
    with one_db.connect() as conn:
        functions = {name for name, _, _ in samples.routines(conn)}
    assert {script.parent.name for script in SCRIPTS} == functions


def test_every_code_of_ours_that_a_function_can_raise_is_shown_by_a_script() -> None:
    shown = {code for script in SCRIPTS for code in script.read_text().split("'") if code.startswith("KM")}
    # KM013 is raised by the installation only.
    assert shown == {f"KM{n:03}" for n in range(1, 13)}
