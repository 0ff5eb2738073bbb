"""Every benchmark, one after the other; their tables go to the terminal and into all.txt in the folder of the records."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
import time
import traceback
from pathlib import Path
from typing import TextIO

from kompanion_db.urls import redact

from . import command, common, records

# Which arguments each takes of ours, beside --out, --small and --url.
SCRIPTS: dict[str, set[str]] = {
    "filtered_search": {"servers", "seed", "data"},
    "ivfflat_lists": {"servers", "seed", "data"},
    "growth": {"servers", "seed", "data"},
    "ingest": {"servers", "seed", "data"},
    "upsert": {"servers", "seed", "data"},
    "embedded": {"seed"},
}


class Both(io.TextIOBase):
    """Writes to the terminal and into a file."""

    def __init__(self, *targets: TextIO) -> None:
        self.targets = targets

    def write(self, text: str) -> int:
        for target in self.targets:
            target.write(text)
        return len(text)

    def flush(self) -> None:
        for target in self.targets:
            target.flush()


def arguments_of(name: str, args: argparse.Namespace) -> list[str]:
    """The command line of one benchmark."""
    taken = SCRIPTS[name]
    line = ["--small"] if args.small else []
    if args.url is not None and "servers" in taken:
        line += ["--url", args.url]
    elif args.servers and "servers" in taken:
        line += ["--servers", args.servers]
    if "seed" in taken:
        line += ["--seed", str(args.seed)]
    if "data" in taken and args.data:
        line += ["--data", str(args.data)]
    return line


def main(argv: list[str] | None = None) -> None:
    """Run them all; one that fails does not keep the others from running, but the exit status tells."""
    parser = argparse.ArgumentParser(prog="python -m bench.all", description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sets: less than ten minutes on two cores in all")
    parser.add_argument("--only", help=f"of {', '.join(SCRIPTS)}; default: all of them")
    parser.add_argument("--servers", help="embedded servers, of pg18, pg16, floor; default: what each benchmark has")
    parser.add_argument("--url", help="measure this server instead; needs the right to create databases")
    parser.add_argument("--seed", type=common.seed, default=1, help="of all random choices; default %(default)s")
    parser.add_argument(
        "--data",
        type=Path,
        help="data of your own for all but embedded: ivfflat_lists takes it beside generated vectors, the others instead of them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        default=records.RESULTS,
        help="for tables, records and pictures; default bench/results",
    )
    args = parser.parse_args(argv)
    names = [name.strip() for name in args.only.split(",")] if args.only else list(SCRIPTS)
    for name in names:
        if name not in SCRIPTS:
            parser.error(f"--only: {name!r} is none of {', '.join(SCRIPTS)}")

    records.make(args.out)
    seconds: dict[str, str] = {}
    failed = []
    with (
        (args.out / "all.txt").open("w", encoding="utf8") as file,
        contextlib.redirect_stdout(Both(sys.stdout, file)),
    ):
        for name in names:
            line = arguments_of(name, args)
            shown = [redact(part) if part == args.url else part for part in line]  # without its password
            print(f"\n== python -m bench.{name} {' '.join(shown)}".rstrip(), flush=True)
            start = time.perf_counter()
            try:
                importlib.import_module(f".{name}", __package__).main([*line, "--out", str(args.out)])
            except (Exception, SystemExit) as exc:
                if isinstance(exc, SystemExit) and exc.code in command.ENDED:  # it is meant for all of them
                    raise
                failed.append(name)
                print(exc.code if isinstance(exc, SystemExit) else traceback.format_exc(limit=-3))
            seconds[name] = f"{time.perf_counter() - start:.0f}"
        print(
            "\n"
            + common.table(
                ("benchmark", "seconds", ""), [(n, s, "FAILED" if n in failed else "") for n, s in seconds.items()]
            )
        )
    print(f"tables: {args.out / 'all.txt'}; records and pictures: {args.out}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main)
