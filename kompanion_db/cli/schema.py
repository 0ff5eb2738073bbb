"""migrate, rollback, status: the schema."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..migrate import migrate as run_migrations
from ..migrate import rollback as run_rollback
from ..migrate import status as read_status
from .app import app
from .options import JsonOption, UrlArgument, UrlOption, usage_error
from .output import note, print_json, print_table
from .stores import chosen_url, plain_url

LockOption = Annotated[
    float, typer.Option("--lock-timeout", metavar="SECONDS", help="How long to wait for another one's migration.")
]


@app.command()
def migrate(
    database: UrlArgument = None,
    url: UrlOption = None,
    target: Annotated[str | None, typer.Option("--to", help="Up to and with this migration; default: all.")] = None,
    lock_timeout: LockOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Install or upgrade the schema; safe to run at any time and from many places at once."""
    with plain_url(chosen_url(url, database)) as (plain, _):
        done = run_migrations(plain, target, lock_timeout)
    _report("applied", done, as_json)


@app.command()
def rollback(
    database: UrlArgument = None,
    url: UrlOption = None,
    count: Annotated[int | None, typer.Option("--count", "-n", help="How many migrations to undo; default 1.")] = None,
    to: Annotated[str | None, typer.Option("--to", help='Undo all after this migration; "zero": all of them.')] = None,
    lock_timeout: LockOption = 60.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Undo migrations; the data in the tables of an undone migration is dropped with them."""
    if not yes:
        if not sys.stdin.isatty():
            raise usage_error("--yes", "rollback drops data and nobody is here to be asked: add --yes.")
        typer.confirm("This drops tables with the memories in them. Go on?", abort=True)
    with plain_url(chosen_url(url, database)) as (plain, _):
        done = run_rollback(plain, count, to, lock_timeout)
    _report("undone", done, as_json)


@app.command()
def status(
    database: UrlArgument = None,
    url: UrlOption = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 unless all are applied.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which migrations are applied."""
    with plain_url(chosen_url(url, database)) as (plain, _):
        rows = read_status(plain)
    applied = sum(row.applied and row.in_package for row in rows)
    known = sum(row.in_package for row in rows)
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["migration", "applied", ""],
            [
                [r.id, r.applied_at or "no", "" if r.in_package else "unknown to this version of the package"]
                for r in rows
            ],
        )
        print(f"{applied} of {known} applied.")
    if check and not (applied == known == len(rows)):
        raise typer.Exit(1)


def _report(what: str, done: list[str], as_json: bool) -> None:
    if as_json:
        print_json([{what: done}])
        return
    for name in done:
        print(f"{what} {name}")
    note(f"{len(done)} migrations {what}." if done else "Nothing to do.")
