"""copy and digest: a store moves whole into another one, and whether two hold the same."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from .. import copying
from ..store import Store
from .app import app
from .options import JsonOption, UrlArgument, UrlOption
from .output import note, print_json, progress
from .stores import chosen_url, open_store


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The store to read, as --url elsewhere.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The store to write, best an empty one.")],
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not compare the digests, which alone see vectors that came later.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Move a store into another one, of either engine: all it holds, with ids, revisions, vectors, queue and times.

    It copies what was there when it began. Broken off, it is simply run again, and goes on where it was; an item that
    has changed in the source since is refused. In the end the digests of both are compared; exit code 1 when they
    differ. The target has to be migrated, unless it is a file.
    """
    with ExitStack() as stack:
        there, here = stack.enter_context(open_store(source)), stack.enter_context(open_store(target, make=True))
        total = _items(there)
        bar, copying_task = progress("items copied", total)
        comparing = None if no_verify else bar.add_task("items compared", total=total)

        def tell(what: str, count: int) -> None:
            bar.update(copying_task if what == "copied" else comparing, completed=count)  # type: ignore[arg-type]

        with bar:
            done = copying.copy(there, here, verify=not no_verify, progress=tell)
    if as_json:
        print_json([done])
        return
    print(f"Copied {done.items} items; {done.skipped} were there already.")
    if done.digest is not None:
        print(f"Both hold the same: {done.digest}")


@app.command()
def digest(
    database: UrlArgument = None,
    scope: Annotated[str, typer.Option("--scope", help="A namespace with all below it, or '*' for everything.")] = "*",
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the digest of all that a store holds: the same for two stores, of either engine, that hold the same."""
    with open_store(chosen_url(url, database)) as store:
        bar, task = progress("items read", _items(store, scope))
        count = 0

        def tell(number: int) -> None:
            nonlocal count
            count = number
            bar.update(task, completed=number)

        with bar:
            found = store.digest(scope, progress=tell)
    if as_json:
        print_json([{"digest": found, "items": count}])
    else:
        print(found)
        note(f"{count} items.")


def _items(store: Store, scope: str = "*") -> Any:
    """How many items there are, for a bar; only where somebody sees it."""
    figures = store.stats(scope) if sys.stderr.isatty() else []
    return sum({row.namespace: row.items for row in figures}.values()) or None
