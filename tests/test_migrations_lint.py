"""The migrations are files that yoyo, psql and PostgreSQL 14 all read the same way; no database needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlparse
from migration_files import DOWN, FOLDER, UP, bodies, code, statements, tokens

ALL = UP + DOWN
each_file = pytest.mark.parametrize("path", ALL, ids=lambda p: p.name)
each_up = pytest.mark.parametrize("path", UP, ids=lambda p: p.name)

# What came after PostgreSQL 14, with the version that brought it.
NEWER = {
    r"\bmerge\s+into\b": 15,
    r"\bnulls\s+(not\s+)?distinct\b": 15,
    r"\bsecurity_invoker\b": 15,
    r"\bregexp_(count|instr|like|substr)\b": 15,
    r"\bunlogged\s+sequence\b": 15,
    r"\bon\s+delete\s+set\s+(null|default)\s*\(": 15,
    r"\bany_value\b": 16,
    r"\bis\s+(not\s+)?json\b": 16,
    r"\bjson_(array|arrayagg|objectagg)\s*\(": 16,
    r"\b(array_sample|array_shuffle|random_normal|pg_input_is_valid|pg_input_error_info|system_user)\b": 16,
    r"\bwith\s+(inherit|set)\s+(true|false|option)\b": 16,
    r"(?<![\w.])\d+_\d|(?<!\w)0[xob][0-9a-f]": 16,
    r"\bjson_(table|exists|value|query|scalar|serialize)\b": 17,
    r"\bmerge_action\b|\bto_bin\b|\bto_oct\b|\bunicode_assigned\b|\brandom\s*\(\s*[^\s)]": 17,
    r"\b(uuidv4|uuidv7|array_sort|array_reverse|casefold|crc32c?)\b": 18,
    r"\breturning\s+(with\s*\(|old\.|new\.)": 18,
    r"\)\s*virtual\b|\bwithout\s+overlaps\b|\bnot\s+enforced\b": 18,
}


def test_the_folder_holds_migrations_and_nothing_else() -> None:
    assert UP
    assert sorted(FOLDER.iterdir()) == sorted(ALL)
    for number, path in enumerate(UP, start=1):
        assert re.fullmatch(rf"pg_{number:04}_[a-z0-9_]+\.sql", path.name), "numbers have no gap and no double"


@each_up
def test_every_migration_has_its_way_back(path: Path) -> None:
    rollback = path.with_suffix(".rollback.sql")
    assert rollback in DOWN, "yoyo would drop the record and leave the objects"
    assert statements(rollback.read_text()), "an empty rollback undoes nothing"


@each_file
def test_a_rollback_belongs_to_a_migration(path: Path) -> None:
    assert FOLDER / path.name.replace(".rollback.sql", ".sql") in UP


@each_file
def test_a_file_is_ascii_with_unix_line_ends_and_of_readable_length(path: Path) -> None:
    data = path.read_bytes()
    data.decode("ascii")  # the way back of a locale without UTF-8 cannot read anything else
    assert b"\r" not in data
    assert b"\t" not in data
    assert data.endswith(b"\n")
    assert not data.endswith(b"\n\n")
    assert data.count(b"\n") <= 250


@each_up
def test_the_first_line_names_the_migration_before_and_no_other_line_reads_as_a_directive(path: Path) -> None:
    lines = path.read_text().splitlines()
    before = UP.index(path) - 1
    if before >= 0:
        assert lines.pop(0) == f"-- depends: {UP[before].stem}"
    # Any other spelling is dropped in silence, and prose that looks like one is obeyed.
    assert not [line for line in lines if re.match(r"\s*--\s*(depend|transaction)\w*\s*:", line, re.I)]


@each_file
def test_a_file_runs_in_one_transaction_of_its_caller(path: Path) -> None:
    for statement in statements(path.read_text()):
        first = statement.split(None, 1)[0].lower().rstrip(";")
        assert first not in {"begin", "commit", "rollback", "end", "abort", "savepoint", "start", "vacuum"}
        assert first != "select", "its rows would go to stdout: use do $$ begin perform ... end $$"
    assert not re.search(r"\b(index|view|partition)\s+concurrently\b", _outside_bodies(path), re.I)


@each_file
def test_a_file_is_plain_sql_that_psql_leaves_as_it_is(path: Path) -> None:
    outside = _outside_bodies(path)
    assert "\\" not in outside, "psql would read a command"
    assert not re.search(r"\bcopy\b.*\bfrom\s+stdin\b", outside, re.I | re.S)
    assert not re.search(r"(?<!:):[A-Za-z_'\"]", outside), "psql would read a variable"


@each_file
def test_yoyo_splits_a_file_into_the_statements_that_are_there(path: Path) -> None:
    text = path.read_text()
    mine = statements(text)
    theirs = [s for s in (sqlparse.format(s, strip_comments=True) for s in sqlparse.split(text)) if s.strip()]
    assert len(mine) == len(theirs)
    assert all(statement.endswith(";") for statement in mine)


@each_up
def test_every_migration_but_the_first_pins_its_search_path_before_all_else(path: Path) -> None:
    if path != UP[0]:
        first = statements(path.read_text())[0]
        assert re.match(r"do\s+\$.*set_config\('search_path',.*true\)", first, re.S), first


@each_file
def test_nothing_is_newer_than_postgresql_14(path: Path) -> None:
    text = code(path.read_text())
    guarded = re.sub(r"\bdo\s+(\$\w*\$).*?\1", "", text, flags=re.S | re.I)
    for pattern, version in NEWER.items():
        # A DO block may look at the version of the server first.
        match = re.search(pattern, guarded if "security_invoker" in pattern else text, re.I)
        assert not match, f"{match[0]!r} needs PostgreSQL {version}"


@each_file
def test_every_subquery_in_from_has_an_alias_as_postgresql_14_wants(path: Path) -> None:
    text = code(path.read_text())
    for match in re.finditer(r"\b(?:from|join|lateral)\s*\((?=\s*(?:select|values|with)\b)", text, re.I):
        depth, at = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        if re.search(r"(extract|substring|trim|overlay|position)\s*\([^()]*$", text[: match.start()], re.I):
            continue
        after = re.match(r"\s*(?:as\s+)?([a-z_]\w*)", text[at:], re.I)
        word = after[1].lower() if after else ""
        keywords = {"", "where", "group", "order", "on", "limit", "join", "left", "cross", "union", "loop"}
        assert word not in keywords, f"no alias after {text[match.start() : at][-60:]!r}"


@each_up
def test_a_function_body_fits_on_two_screens(path: Path) -> None:
    for name, body in bodies(path):
        assert body.count("\n") + 1 <= 120, f"{name} has {body.count(chr(10)) + 1} lines"


@each_file
def test_the_staging_tables_are_named_with_the_schema_of_the_session(path: Path) -> None:
    # pg_temp is last on every path: a table of that name in the extension's schema would get the texts.
    bare = re.findall(r"(?<!pg_temp\.)\bstaged_(?:items|chunks)\b", code(path.read_text()), re.I)
    assert bare == []


def _outside_bodies(path: Path) -> str:
    quoted = {"line", "block", "string", "estring", "dollar", "name"}
    return "".join(" " if kind in quoted else token for kind, token in tokens(path.read_text()))


def test_the_modules_of_sqlite_name_migrations_that_are_there() -> None:
    named = {
        name
        for path in (FOLDER.parents[1] / "kompanion_db").rglob("*.py")
        for name in re.findall(r"pg_\d{4}_[a-z_]+", path.read_text())
    }
    assert named - {path.stem for path in UP} == set()
