"""The records of runs: what they are named, where they and their pictures are written, and reading them again."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from . import command, common

RESULTS = Path(__file__).parent / "results"
Draw = Callable[[dict[str, Any], Path], list[Path]]
UNTOLD = ("data", "small", "out", "draw", "pgbench", "folder", "minutes", "default_rows")
"""Arguments that change no figure, or that a name tells in a way of its own."""
LONGEST = 150
"""Bytes of a name: pictures add to it, and no file system takes more than 255."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--out and --draw."""
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=RESULTS, help="for records and pictures; default bench/results"
    )
    parser.add_argument("--draw", type=Path, metavar="JSON", help="only draw the picture of a record written before")


def prepare(folder: Path) -> None:
    """Exit when a package is missing or the folder cannot be written to: it would be noticed when all is measured."""
    command.need(*command.PACKAGES)
    make(folder)


def make(folder: Path, argument: str = "out") -> None:
    """The folder of an argument, that can be written to; exit otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise SystemExit(
            f"--{argument}: nothing can be written into {folder}, {exc.strerror}; name another folder"
        ) from exc


def name_of(name: str, args: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """Name of the record of a run: small sets, data of one's own, other sizes and indexes do not write over the full run.

    To be called before --small changes the sizes.
    """
    parts = [name]
    if getattr(args, "data", None):
        parts.append(args.data.resolve().name)  # whole: a.npy is not a.fvecs, and v.1.npy not v.2.npy
    for what, given in vars(args).items():
        usual = parser.get_default(what)
        if what == "rows" and not getattr(args, "data", None):
            usual = parser.get_default("default_rows")
        if what not in UNTOLD and given is not None and _text(given) != _text(usual):
            parts.append(what.replace("_", "") + ("" if given is True or what in _UNSHOWN else _text(given)))
    return short("_".join([*parts, *(["small"] if args.small else [])]))


def short(name: str, longest: int = LONGEST) -> str:
    """A name, or where it is too long for a file its beginning and a digest of all of it: others begin alike."""
    found = os.fsencode(name)
    if len(found) <= longest:
        return name
    return f"{found[: longest - 9].decode(errors='ignore')}_{hashlib.sha256(found).hexdigest()[:8]}"


def make_small(args: argparse.Namespace, parser: argparse.ArgumentParser, **small: Any) -> None:
    """What --small stands for, but where the caller said otherwise: that is in the name of the record."""
    for what, value in small.items():
        if getattr(args, what) == parser.get_default(what):
            setattr(args, what, value)


_UNSHOWN = ("url", "queries", "namespaces", "tags")
"""Paths, and what may hold a password."""


def _text(value: Any) -> str:
    """A number, or several, as it stands in a name."""
    return "-".join(map(str, value)) if isinstance(value, list) else str(value).replace(",", "-")


def fill(
    record: dict[str, Any],
    name: str,
    args: argparse.Namespace,
    measured: Callable[[str, str], Iterable[dict[str, Any]]],
) -> None:
    """Add what is measured on each server, given its key and URL, to the runs of a record.

    What is measured is kept, whatever becomes of the next one. That it cannot be is no reason to end: the table is to come.
    """
    with closing(common.servers(args)) as servers:
        for key, url in servers:
            for run in measured(key, url):
                record["runs"].append({"server": key} | run)
                try:
                    save(args.out, f"{name}_unfinished", record)  # a full one of before stays until this one is
                except OSError as exc:
                    print(f"--out: not saved: {exc}", file=sys.stderr)


def finish(
    record: dict[str, Any], name: str, args: argparse.Namespace, show: Callable[[dict[str, Any]], str], draw: Draw
) -> None:
    """Print the table, then write the record and its pictures: each is there even where the other cannot be."""
    try:
        print(show(record), flush=True)
    except OSError as exc:  # who read it has gone, as head does
        print(f"the table could not be printed: {exc}", file=sys.stderr)
    try:
        paths = [save(args.out, name, record), *draw(record, args.out)]
        (args.out / f"{name}_unfinished.json").unlink(missing_ok=True)
    except OSError as exc:
        raise SystemExit(f"--out: not all could be written, {exc}; the table above is what was measured") from exc
    with suppress(OSError):
        print(*paths, flush=True)


def save(folder: Path, name: str, record: dict[str, Any]) -> Path:
    """Write a record as JSON; the path. The record gets the name, which its pictures bear too."""
    record["name"] = name
    path = folder / f"{name}.json"
    with whole(path) as written:
        written.write_text(json.dumps(record, indent=1, default=str) + "\n")
    return path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what is to stand at a path: it comes there when all of it is written, or leaves nothing.

    A name of this process, as two runs may write the same record at a time.
    """
    written = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        yield written
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def read(path: Path, benchmark: str = "") -> dict[str, Any]:
    """A record written before, by this benchmark; its ``name``, which its pictures bear, is that of the file it is in now."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        name = str(record["name"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise SystemExit(f"--draw: {path} is no record of a benchmark: {exc!r}") from exc
    if not name.startswith(benchmark):
        raise SystemExit(f"--draw: {path} is a record of {name}, not of {benchmark}")
    return record | {"name": path.stem}


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a run as its record keeps them. No paths, so that a record can be shown to others."""
    left_out = {"url", "draw", "out", "data", "queries", "namespaces", "tags"}
    return {name: value for name, value in vars(args).items() if name not in left_out}
