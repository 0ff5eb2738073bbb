"""doctor, checkpoint, backup: the files of a SQLite store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadArgument
from ..sqlite.files import is_sqlite, place_of
from .app import app
from .options import JsonOption, UrlArgument, UrlOption
from .output import print_json, print_table
from .stores import chosen_url, open_store


@app.command()
def doctor(
    database: UrlArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set right what can be: missing indexes, stray files, a long log.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine a SQLite store, also one that does not open: database, files, checksums, rows; exit code 1 for errors."""
    place = chosen_url(url, database)
    if not is_sqlite(place):
        raise BadArgument(
            "url: doctor examines the files of a SQLite store",
            hint="For PostgreSQL: pg_amcheck, kompanion-db index --advice, kompanion-db stats.",
        )
    from ..sqlite.upkeep import doctor as examine  # FAISS takes a while to load: only for those who use it

    found = examine(place_of(place), repair)
    if as_json:
        print_json(found)
    elif found:
        print_table(["", "file", "what", "advice"], [[f.severity, Path(f.file).name, f.what, f.advice] for f in found])
    else:
        print("All is well.")
    if any(f.severity == "error" for f in found):
        raise typer.Exit(1)


@app.command()
def checkpoint(
    database: UrlArgument = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Also write all vectors anew without dead ones, and shrink the database.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do now what a SQLite store does in the background: fold vectors into files, merge, index, remove old files."""
    with open_store(chosen_url(url, database)) as store:
        done = store.checkpoint(compact=compact)
    if as_json:
        print_json([done])
    else:
        print(
            f"Folded {done['folded']} vectors, merged {done['merged']} files, indexed {done['indexed']}, removed "
            f"{done['removed']}. Now: {done['segments']} files, {done['log']} vectors in the log."
        )


@app.command()
def backup(
    path: Annotated[Path, typer.Argument(help="The file to make; its vectors go into the folder PATH.vec.")],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a SQLite store as it is at this moment, while others use it. The copy is a store."""
    with open_store(url) as store:
        done = store.backup(path)
    if as_json:
        print_json([done])
    else:
        print(f"{path}: {done['bytes']:,} bytes, {done['files']} files of vectors, {done['linked']} of them linked.")
