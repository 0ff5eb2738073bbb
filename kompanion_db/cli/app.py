"""The application that the modules of commands add theirs to."""

from __future__ import annotations

from typing import Annotated

import typer

HELP = """The memory of AI companions and agents, in a PostgreSQL database or a SQLite file.

The database is named by --url, or by the environment variable KOMPANION_DB_URL: postgresql://user@host/database,
embedded:FOLDER for a server of its own in a folder, or sqlite:///FILE. Passwords are best kept in ~/.pgpass or
PGPASSWORD.

--json prints one JSON document a line, times in ISO 8601. Errors go to stderr as "error: ..." and "hint: ...".

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no such item (get, history), 130 interrupted.
"""

app = typer.Typer(
    help=HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"kompanion-db {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
