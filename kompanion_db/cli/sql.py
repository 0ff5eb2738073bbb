"""sql: a shell on the file of a SQLite store, in which SQL can do what psql does."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Annotated, Any

import apsw
import typer

from ..errors import BadArgument
from ..sqlite import open_sql
from ..sqlite.errors import translated
from ..sqlite.files import is_sqlite
from .app import app
from .options import UrlArgument, UrlOption
from .stores import chosen_url


@app.command()
def sql(
    database: UrlArgument = None,
    statements: Annotated[
        list[str] | None,
        typer.Option("--command", "-c", metavar="SQL", help="Run it, and end; repeat it.", show_default=False),
    ] = None,
    url: UrlOption = None,
) -> None:
    """Open the SQL shell of apsw on a SQLite store, with every function: select * from functions().

    Without -c it reads statements from the terminal, or from a file: kompanion-db sql URL < script.sql. There, as in
    sqlite3, .help tells the commands of the shell.
    """
    place = chosen_url(url, database)
    if not is_sqlite(place):
        raise BadArgument("url: sql opens the file of a SQLite store", hint="For PostgreSQL: kompanion-db psql URL.")
    # FAISS and the shell take a while to load: only for those who use them.
    shell_of: Any = importlib.import_module("apsw.shell").Shell
    with translated(), closing(open_sql(place)) as conn:
        if statements is None and sys.stdin.isatty():
            shell = shell_of(db=conn)
            shell.process_command(".mode box")
            shell.cmdloop()
            return
        # What is wrong is said once, as by every other command.
        shell = shell_of(db=conn, stderr=io.StringIO())
        shell.process_command(".mode box")
        for statement in statements or _statements(sys.stdin):
            try:
                (shell.process_command if statement.startswith(".") else shell.process_complete_line)(statement)
            except (shell_of.Error, ValueError) as exc:  # what a command of the shell says of its arguments
                raise BadArgument(f"sql: {statement}: {exc}", hint="See .help for the commands of the shell.") from None


def _statements(script: Iterable[str]) -> Iterator[str]:
    """The statements of a script, and the commands of the shell, which are lines that begin with a dot."""
    statement = ""
    for line in script:
        if not statement.strip() and line.startswith("."):
            yield line.strip()
            continue
        statement += line
        if apsw.complete(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
