"""checkpoint, backup, doctor: the files of a SQLite store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..keeping import only_files
from ..sqlite.files import is_sqlite
from .app import app
from .options import JsonOption, UrlArgument, UrlOption, usage_error
from .output import note, print_json, print_table
from .stores import chosen_url, open_store


@app.command()
def checkpoint(
    database: UrlArgument = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Give back the room of what was purged too; takes longer.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the files of a SQLite store in order now: what is otherwise done in the background."""
    with open_store(chosen_url(url, database)) as store:
        done = store.checkpoint(compact=compact)
    if as_json:
        print_json([done])
    else:
        print(
            f"{done['folded']} vectors folded; {done['merged']} files merged, {done['indexed']} indexed, "
            f"{done['removed']} removed; {done['segments']} now."
        )


@app.command()
def backup(
    database: UrlArgument = None,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="The file to make.", show_default=False)] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a SQLite store as it is now, to FILE and the folder FILE.vec, while others go on with it.

    With --url or KOMPANION_DB_URL the positional URL is left out. The copy is a store: sqlite:///FILE opens it.
    """
    if file is None:
        database, file = None, database
    if file is None:
        raise usage_error("FILE", "the file to make is not named.")
    if is_sqlite(file):
        raise usage_error("FILE", "give a path, not a URL.")
    with open_store(chosen_url(url, database)) as store:
        done = store.backup(file)
    if as_json:
        print_json([done])
    else:
        print(f"Backup in {Path(file)}: {done['bytes']} bytes, {done['files']} files of vectors.")


@app.command()
def doctor(
    database: UrlArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove strays, make missing indexes again, fold what waits.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine a SQLite store: the database, every file against its checksum, every row for its vector.

    Reads everything; others may go on with it. Exit code 1 when data is lost or cannot be read.
    """
    place = chosen_url(url, database)
    if not is_sqlite(place):
        raise only_files("doctor")
    from ..sqlite import upkeep  # FAISS takes a while to load: only for those who use it

    found = upkeep.doctor(place, repair)
    if as_json:
        print_json(found)
    elif found:
        print_table(["", "what", "advice"], [[f.severity, f"{f.file}: {f.what}", f.advice] for f in found])
    else:
        print("All is well.")
    errors = sum(f.severity == "error" for f in found)
    if errors:
        note(f"{errors} errors.")
        raise typer.Exit(1)
