"""serve and psql: the embedded server, and a shell on any."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from psycopg.conninfo import make_conninfo

from .. import embedded
from ..errors import BadArgument, ConnectionFailed, MissingExtra
from ..migrate import migrate
from ..sqlite.files import is_sqlite
from ..urls import connection_args
from .app import app
from .options import JsonOption, UrlArgument, UrlOption, usage_error
from .output import note, print_json
from .stores import URL_VAR, chosen_url, plain_url

DEFAULT_FOLDER = ".kompanion/db"


@app.command()
def serve(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER",
            help=f"The folder, or embedded:FOLDER. Default: {URL_VAR} where that is embedded, else {DEFAULT_FOLDER}.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the embedded server of a folder until Ctrl-C or SIGTERM, which end it with exit code 0.

    It is started, or joined when another program runs it, and migrated; then it prints the psql line and the URL.
    It stops when it is let go here and no other program uses it.
    """
    path = _served_folder(folder, url)
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, ask_to_stop)
    with embedded.start(path) as server:
        plain = server.url()
        migrate(plain)
        line = shlex.join([str(server.bin_dir / "psql"), plain])
        if as_json:
            print_json([{"url": plain, "psql": line, "folder": str(server.folder)}])
        else:
            print(f"PostgreSQL runs in {server.folder}\n\n  psql:  {line}\n  URL:   {plain}\n")
            print(f"  here:  kompanion-db stats --url {shlex.quote(f'embedded:{server.folder}')}\n\nCtrl-C ends it.")
        sys.stdout.flush()  # into a pipe it would wait for more, and so would the reader
        while not stop.wait(1.0):
            if not _runs(server.folder):
                raise ConnectionFailed(
                    f"the embedded server in {server.folder} has stopped", hint=f"See {server.folder / 'log'}."
                )
    note("Let go.")


def _served_folder(folder: str | None, url: str | None) -> Path:
    if folder and url:
        raise usage_error("FOLDER", "the folder is named twice, as an argument and with --url.")
    given = folder or url
    fallback = os.environ.get(URL_VAR, "")
    if is_sqlite(given or fallback):
        raise BadArgument(
            "url: a SQLite store has no server to run",
            hint="Every program opens the file by itself; for SQL: kompanion-db sql URL.",
        )
    if given is None:
        return embedded.folder_of(fallback) or Path(DEFAULT_FOLDER)
    if "://" in given and not given.startswith(embedded.SCHEME):
        raise usage_error("FOLDER", "serve runs an embedded server: give a folder, not the URL of another server.")
    return embedded.folder_of(given) or Path(given)


def _runs(folder: Path) -> bool:
    import psutil  # type: ignore[import-untyped]  # comes with the extra

    try:
        return bool(psutil.pid_exists(int((folder / "postmaster.pid").read_text().split("\n", 1)[0])))
    except FileNotFoundError:
        return False
    except ValueError:
        return True  # being written right now


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def psql(
    database: UrlArgument = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Passed on to psql, such as -c 'select 1'.", show_default=False)
    ] = None,
    url: UrlOption = None,
) -> None:
    """Open psql on the database: the one that comes with the embedded server, else the one on the PATH.

    Further arguments go to psql, and its exit code comes back. With --url or KOMPANION_DB_URL the positional URL is
    left out, and an argument that starts with '-' is psql's.
    """
    rest = list(arguments or [])
    if database is not None and (url is not None or database.startswith("-")):
        rest.insert(0, database)
        database = None
    chosen = chosen_url(url, database)
    if is_sqlite(chosen):
        raise BadArgument("url: psql speaks to PostgreSQL", hint="For the file of a SQLite store: kompanion-db sql.")
    with plain_url(chosen) as (plain, server):
        program = _psql_program(server)
        args = connection_args(plain)
        environment = dict(os.environ)
        if "password" in args:
            environment["PGPASSWORD"] = args.pop("password")  # on the command line everybody could read it
        # Ctrl-C is psql's: it cancels a query there and must not end us, who hold the server.
        former = signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            done = subprocess.run([program, "-d", make_conninfo(**args), *rest], env=environment, check=False)
        finally:
            signal.signal(signal.SIGINT, former)
    if done.returncode:
        raise typer.Exit(done.returncode if done.returncode > 0 else 128 - done.returncode)


def _psql_program(server: embedded.EmbeddedServer | None) -> str:
    if server is not None:
        return str(server.bin_dir / "psql")
    try:
        bundled = Path(str(embedded._library().__file__)).parent / f"pginstall{embedded.MAJOR}" / "bin" / "psql"
    except MissingExtra:
        bundled = None
    if bundled is not None and bundled.exists():
        return str(bundled)
    found = shutil.which("psql")
    if found is None:
        raise MissingExtra(
            "psql is not installed",
            hint="pip install 'kompanion-db[embedded]', or install PostgreSQL's client programs.",
        )
    return found
