"""Files that are either whole and on the disk under their name, or not there.

Written under a temporary name, synced, renamed, and the folder synced: only then may the database list them.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from ..errors import BadArgument, ConnectionFailed, KompanionError, PermissionDenied, StorageFull
from .failpoints import reached

TEMPORARY = ".tmp"
"""The end of the name of a file that is being written."""

FOLDER = ".vec"
"""The end of the name of a folder of vectors, after that of its database."""

NO_MEMORY = "Free memory, or raise the limit of what this process may have: ulimit -v."
"""What to do where the system gives no more of it."""

_READ_BYTES = 1 << 20


class NewFile:
    """A file in the making. ``step`` begins the labels of its failpoints.

    As a context: what is written is under its name, and durable, when the block ends; nothing is left when it raises.
    """

    def __init__(self, folder: Path, stem: str, step: str) -> None:
        self.path = folder / f"{stem}-{secrets.token_hex(8)}"
        self.bytes = 0
        self.crc = 0
        self._step = step
        self.temporary = self.path.with_name(self.path.name + TEMPORARY)
        self._fd = -1

    def __enter__(self) -> NewFile:
        with named_errors(self.temporary):
            self._fd = _made(self.temporary, os.O_WRONLY)
        return self

    def write(self, data: Any) -> None:
        """Append ``data``, anything with a contiguous buffer."""
        view = memoryview(data).cast("B")
        with named_errors(self.temporary):
            done = 0
            while done < len(view):
                done += os.write(self._fd, view[done : done + (64 << 20)])
        self.crc = zlib.crc32(view, self.crc)
        self.bytes += len(view)

    def adopt(self) -> None:
        """The temporary file was written by somebody else; it is taken as it is."""
        with named_errors(self.temporary):
            self._close()
            self._fd = os.open(self.temporary, os.O_RDWR)
            self.bytes = os.fstat(self._fd).st_size
            self.crc = checksum(self.temporary)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._keep()
        except BaseException:
            self._discard()
            raise
        else:
            if kind is not None:
                self._discard()

    def _keep(self) -> None:
        with named_errors(self.path):
            reached(f"{self._step}.written")
            sync_file(self._fd)
            self._close()
            reached(f"{self._step}.synced")
            os.rename(self.temporary, self.path)
            reached(f"{self._step}.renamed")
            sync_folder(self.path.parent)
            reached(f"{self._step}.durable")

    def _discard(self) -> None:
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        """Close it once: the number may be that of another file as soon as it is closed, also when that fails."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def make_folder(folder: Path) -> None:
    """Make the folder of a store's vectors, if it is not there, for those whom the database lets in."""
    database = _database(folder)
    mode = _mode(database)
    mode |= mode >> 2 & 0o111  # who may read it may look into the folder
    try:
        folder.mkdir(mode)
    except FileExistsError:
        return
    if os.name != "nt":
        with suppress(OSError):
            os.chown(folder, *_owners(database))
        with suppress(OSError):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~0o777 | mode)


def _made(path: Path, flags: int) -> int:
    """Make a file in a folder of vectors, open: for those whom the database lets in, as SQLite makes its own files.

    Of a private store nobody else is to read the vectors; those who share one are all to write to it. Where the system
    does not grant that, fewer are let in, not more.
    """
    database = _database(path.parent)
    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, _mode(database))
    if os.name != "nt":
        with suppress(OSError):
            os.fchown(fd, *_owners(database))
        with suppress(OSError):
            os.fchmod(fd, _mode(database))  # whatever the umask
    return fd


def _database(folder: Path) -> os.stat_result:
    return folder.with_name(folder.name.removesuffix(FOLDER)).stat()


def _mode(database: os.stat_result) -> int:
    return database.st_mode & 0o666 | 0o600


def _owners(database: os.stat_result) -> tuple[int, int]:
    """Root keeps the files of others theirs; anybody else may choose of groups alone."""
    return database.st_uid if os.geteuid() == 0 else -1, database.st_gid


def sync_file(fd: int) -> None:
    """What was written to the file is on the disk."""
    os.fsync(fd)


def sync_path(path: Path) -> None:
    """What the file holds is on the disk."""
    fd = os.open(path, os.O_RDWR)
    try:
        sync_file(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """The names in the folder are on the disk; where a folder cannot be opened (Windows), the system sees to it."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def checksum(path: Path) -> int:
    """The CRC-32 of a file, read in pieces. Raises OSError."""
    crc = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


def remove(path: Path) -> bool:
    """Remove a file if it is there, and may be removed now; whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False  # Windows keeps what somebody has mapped; a later round removes it
    return True


def stat_of(path: Path) -> os.stat_result | None:
    """What the system says of a file, None when it is not there; anything else, as a name too long, is a named error.

    ``Path.exists`` raises OSError for that, or says that there is none, by the version of Python.
    """
    with named_errors(path):
        try:
            return path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None


def exists(path: Path) -> bool:
    """Whether there is such a file; errors as of ``stat_of``."""
    return stat_of(path) is not None


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; errors likewise."""
    there = stat_of(path)
    return there is not None and stat.S_ISDIR(there.st_mode)


@contextmanager
def alone(folder: Path, wait: float) -> Iterator[bool]:
    """Hold the lock of a folder of vectors, against threads and processes; whether it was free within ``wait`` seconds.

    The kernel gives it back when its holder dies.
    """
    path = folder / "lock"
    with named_errors(path):
        with suppress(FileExistsError):
            os.close(_made(path, os.O_RDWR))
        lock = FileLock(str(path), mode=_mode(_database(folder)), thread_local=False)
        try:
            lock.acquire(timeout=wait, poll_interval=0.02)
        except Timeout:
            lock = None  # type: ignore[assignment]
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Let errors of the file system out of the block as KompanionError that names the file."""
    try:
        yield
    except OSError as exc:
        raise named(path, exc) from exc


def named(path: Path, exc: OSError) -> KompanionError:
    """An error of the file system as one of ours that names the file."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"{path}: {exc.strerror}", hint="Make room on the disk, then write again.")
    if exc.errno == errno.EFBIG:
        return StorageFull(f"{path}: {exc.strerror}", hint="Raise the limit of how long files may be: ulimit -f.")
    if exc.errno == errno.ENOMEM:
        return ConnectionFailed(f"{path}: {exc.strerror}", hint=NO_MEMORY)
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(f"{path}: {exc.strerror}", hint="Make the folder and its files readable and writable.")
    if exc.errno == errno.ENOENT:
        return ConnectionFailed(f"{path}: {exc.strerror}", hint="Somebody has moved or removed it: look where it is.")
    if exc.errno == errno.ENAMETOOLONG:
        return BadArgument(f"{path}: {exc.strerror}", hint="Give the file a shorter name.")
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return ConnectionFailed(
            f"{path}: {exc.strerror}", hint="Close files, or raise the limit of open ones: ulimit -n."
        )
    return ConnectionFailed(f"{path}: {exc.strerror or exc}", hint="See the system's log for errors of the disk.")
