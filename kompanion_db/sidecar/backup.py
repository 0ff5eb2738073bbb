"""A copy of a store that is whole, made while others write to it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from ..errors import BadArgument
from . import manifest
from .derive import sound
from .durable import TEMPORARY, exists, is_folder, named_errors, sync_folder, sync_path
from .failpoints import reached
from .segment import check_sum, damaged
from .transactions import reading

if TYPE_CHECKING:
    from ..sqlite.files import Place

_PAGES = 4096
"""Pages copied at a time."""


def copy_store(conn: apsw.Connection, source: Place, target: Place) -> dict[str, int]:
    """Copy a store; the lock of its folder is held, so no file that the copied state lists is removed meanwhile.

    Each file is compared with its checksum: what is damaged is no backup. All of it is made in a folder of its own,
    which becomes that of the vectors; the database in it then gets its own name.
    """
    name = _draft_name(source)
    draft = target.path.with_name(f"{target.path.name}.{name}")
    if not is_folder(target.path.parent):
        raise BadArgument(f"path: there is no folder {target.path.parent}", hint="Make the folder first.")
    _clear(draft, target, name)
    _refuse(target)
    try:
        with named_errors(draft):
            draft.mkdir()
            shutil.copymode(source.folder, draft)
            _make_as(source.path, draft / name)
            files = _copy_database(conn, draft / name, source.folder)
            reached("backup.database")
        linked = 0
        size = (draft / name).stat().st_size
        for file, crc in files:
            linked += _copy(source.folder / file, draft / file, crc)
            size += (draft / file).stat().st_size
            reached("backup.file")
        with named_errors(target.path):
            sync_folder(draft)
            _name(draft, target, name)
            sync_folder(target.path.parent)
            reached("backup.named")
    except BaseException:
        _clear(draft, target, name)
        raise
    return {"files": len(files), "linked": linked, "bytes": size}


def _draft_name(source: Place) -> str:
    """The name of what copies of this store are made in, and of the database in it.

    There is one copy of a store at a time, so what has this name was left by one that was broken off. What a copy of
    another store to the same target is made in has another.
    """
    with named_errors(source.path):
        found = source.path.stat()
    of = f"{socket.gethostname()} {source.path} {found.st_dev} {found.st_ino}"
    return f"backup-{hashlib.blake2b(os.fsencode(of), digest_size=8).hexdigest()}{TEMPORARY}"


def _refuse(target: Place) -> None:
    """Nothing is written over, and no log is there, which SQLite would take for the copy's. Raises BadArgument."""
    for path in (target.path, target.folder):
        if os.path.lexists(path) or exists(path):
            raise BadArgument(f"path: {path} is there already", hint="Name a file that is not there yet.")
    for end in ("-wal", "-journal"):
        path = target.path.with_name(target.path.name + end)
        if os.path.lexists(path):
            raise BadArgument(
                f"path: {path} is there, the log of a database that is not",
                hint="Remove it, or name another file: SQLite would write what it holds into the copy.",
            )


def _name(draft: Path, target: Place, name: str) -> None:
    """Give a copy that is complete its names. Raises BadArgument where they were taken since it was begun."""
    _refuse(target)
    try:
        os.rename(draft, target.folder)
    except OSError:
        _refuse(target)
        raise
    reached("backup.folder")
    database = target.folder / name
    try:
        os.link(database, target.path)  # which writes over nothing, as a rename does
    except FileExistsError:
        os.rename(target.folder, draft)
        _refuse(target)
        raise
    except OSError:  # a file system without links
        os.rename(database, target.path)
    else:
        database.unlink()


def _make_as(source: Path, target: Path) -> None:
    """An empty file for those whom the source lets in, before anything to be read is in it; its owner may write it."""
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    target.chmod(stat.S_IMODE(source.stat().st_mode) | 0o600)


def _copy_database(conn: apsw.Connection, path: Path, folder: Path) -> list[tuple[str, int]]:
    """Copy one state of the database; the files it lists, with their sums."""
    with closing(apsw.Connection(str(path))) as copy:
        with reading(conn):  # one state, however long it takes and whoever writes
            conn.execute("select generation from vec_state").fetchall()
            with copy.backup("main", conn, "main") as running:
                while not running.done:
                    running.step(_PAGES)
        copy.execute("pragma journal_mode = delete; pragma synchronous = full; pragma foreign_keys = on")
        copy.execute("begin")
        files = []
        for entry in manifest.segments(copy):
            files.append((entry.file, entry.crc))
            if entry.ann and sound(folder, entry):
                files.append((entry.ann.file, entry.ann.crc))
            elif entry.ann:  # it is made again
                copy.execute("delete from vec_ann where segment_no = ?", (entry.segment_no,))
        copy.execute("delete from vec_retired")  # those are not copied
        copy.execute("commit")
        return files


def _copy(source: Path, target: Path, crc: int) -> bool:
    """Link a file, or copy it; whether it was linked."""
    with named_errors(target):
        try:
            os.link(source, target)
            linked = True
        except FileNotFoundError:
            raise damaged(source, "is missing") from None
        except OSError:  # another file system, or one without links
            _make_as(source, target)
            shutil.copyfile(source, target)
            sync_path(target)
            linked = False
        check_sum(target, crc)
    return linked


def _clear(draft: Path, target: Place, name: str) -> None:
    """Remove what a copy of this store to the same target has left when it was broken off, and nothing else."""
    with suppress(OSError):
        if not os.path.lexists(target.path) and (target.folder / name).is_file():
            os.rename(target.folder, draft)
    shutil.rmtree(draft, ignore_errors=True)
