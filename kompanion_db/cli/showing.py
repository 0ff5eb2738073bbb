"""demo: the main job, shown on the memories that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import demo as demonstration
from .. import embedded
from .app import app
from .options import UrlOption, usage_error
from .output import console
from .run import stop_on_sigterm


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help=f"Where its embedded server keeps the data; default: {demonstration.FOLDER}."),
    ] = None,
    url: UrlOption = None,
) -> None:
    """Load 345 memories, ask ten questions, then update, refuse, expire and restore one.

    It runs in a database of its own: an embedded one in a folder, which stays and may be looked at, or an empty one
    named by --url. KOMPANION_DB_URL is not used. Exit code 1 when a question misses the memory it is about.
    """
    if folder is not None and url is not None:
        raise usage_error("--url", "the database is named twice, with --folder and with --url.")
    target = url or f"embedded:{folder or demonstration.FOLDER}"
    if embedded.folder_of(target) is not None:
        stop_on_sigterm()
    if not demonstration.run(target, console()):
        raise typer.Exit(1)
