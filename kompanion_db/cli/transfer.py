"""export and import: a whole scope as NDJSON, one document a line, never more than a page of it in memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn

import typer

from ..errors import BadArgument, KompanionError
from ..requests import rows_of
from ..snapshots import every_item, snapshot_of
from ..types import Imported
from .app import app
from .options import JsonOption, UrlOption
from .output import note, print_json, progress
from .stores import open_store

# The database reads a batch as one JSON text, which may not be larger than 256 MB.
BATCH_LINES, BATCH_BYTES = 200, 8 << 20


@app.command("export")
def export_documents(
    file: Annotated[Path, typer.Argument(help="The file to write; '-' for stdout.")] = Path("-"),
    scope: Annotated[str, typer.Option("--scope", help="A namespace with all below it.")] = "*",
    page_size: Annotated[
        int, typer.Option("--page-size", min=1, max=10_000, help="Items read at a time, fewer when they are large.")
    ] = 100,
    url: UrlOption = None,
) -> None:
    """Write a scope as NDJSON: settings, models, namespaces, users, threads, and items with all they have.

    It is one snapshot, and leaves nothing out: deleted and expired items too. A file appears only when it is whole.
    """
    with open_store(url) as store:
        figures = store.stats(scope) if sys.stderr.isatty() else []
        total = sum({row.namespace: row.items for row in figures}.values()) or None
        bar, task = progress("items written", total)
        count = 0
        with snapshot_of(store) as found, _sink(file) as out, bar:
            out.writelines(document.encode() + b"\n" for document in found.registry(scope))
            for page in every_item(found, scope, page_size):
                out.writelines(document.encode() + b"\n" for document in page)
                count += len(page)
                bar.update(task, completed=count)
    note(f"{count} items written to {'stdout' if file == Path('-') else file}.")


@contextmanager
def _sink(file: Path) -> Iterator[IO[bytes]]:
    """Stdout, or a new file that takes its name when it is whole."""
    if file == Path("-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists() and not file.is_file():  # a pipe or a device
        with file.open("wb") as out:
            yield out
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@app.command("import")
def import_documents(
    file: Annotated[Path, typer.Argument(help="The file of an export; '-' for stdin.")],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the documents of an export as they were. An item whose name is taken is skipped.

    Each batch is kept when it is written: an import that was broken off is simply run again.
    """
    registry = items = skipped = 0
    with _source(file) as (source, size), open_store(url, make=True) as store:  # the file first: no store for a slip
        bar, task = progress("bytes read", size)
        with bar:
            for first, lines in _batches(source):
                try:
                    rows = store.run(rows_of("import_documents", False, documents=f"[{','.join(lines.values())}]"))
                except KompanionError as exc:
                    _raise_with_lines(exc, file, first, max(lines))
                registry += rows[0]["registry"]
                items += rows[0]["items"]
                skipped += rows[0]["skipped"]
                bar.update(task, advance=sum(len(text.encode()) + 1 for text in lines.values()))
            bar.update(task, completed=size or bar.tasks[0].completed)
    if as_json:
        print_json([Imported(registry, items, skipped)])
    else:
        print(f"Imported {items} items; {skipped} were there already.")


def _raise_with_lines(exc: KompanionError, file: Path, first: int, last: int) -> NoReturn:
    where = f"In lines {first} to {last} of {'stdin' if file == Path('-') else file}; nothing of them was kept."
    exc.detail = f"{exc.detail} {where}" if exc.detail else where
    raise exc


@contextmanager
def _source(file: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    if file == Path("-"):
        yield sys.stdin.buffer, None
        return
    with file.open("rb") as source:
        yield source, file.stat().st_size if file.is_file() else None


def _batches(source: IO[bytes]) -> Iterator[tuple[int, dict[int, str]]]:
    """Lines by number, as many as the database takes at once, each checked to be a JSON object."""
    batch: dict[int, str] = {}
    size = 0
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        if batch and (len(batch) == BATCH_LINES or size + len(line) > BATCH_BYTES):
            yield min(batch), batch
            batch, size = {}, 0
        batch[number] = _checked(number, line)
        size += len(line)
    if batch:
        yield min(batch), batch


def _checked(number: int, line: bytes) -> str:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        value = json.loads(text, parse_constant=_no_constant, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as exc:
        raise BadArgument(
            f"file: line {number} is not JSON: {exc}",
            hint="The file may be cut off, or no export. What was read before is kept; run it again with a whole file.",
        ) from None
    if not isinstance(value, dict):
        raise BadArgument(f"file: line {number} is no JSON object", hint="An export has one object a line.")
    return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
