"""A copy of a store that is whole, made while others write to it."""

from __future__ import annotations

import os
import shutil
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

if TYPE_CHECKING:
    from ..sqlite.files import Place

_PAGES = 4096
"""Pages copied at a time."""


def copy_store(conn: apsw.Connection, source: Place, target: Place) -> dict[str, int]:
    """Copy a store; the lock of its folder is held, so no file that the copied state lists is removed meanwhile.

    Each file is compared with its checksum: what is damaged is no backup.
    """
    partial = target.path.with_name(target.path.name + TEMPORARY)
    folder = target.folder.with_name(target.folder.name + TEMPORARY)
    _refuse(target, partial)
    _clear(partial, folder)
    try:
        with named_errors(partial):
            _make_as(source.path, partial)
            files = _copy_database(conn, partial, source.folder)
            reached("backup.database")
            folder.mkdir()
            shutil.copymode(source.folder, folder)
        linked = size = 0
        for name, crc in files:
            linked += _copy(source.folder / name, folder / name, crc)
            size += (folder / name).stat().st_size
            reached("backup.file")
        with named_errors(target.path):
            sync_folder(folder)
            size += partial.stat().st_size
            os.rename(folder, target.folder)
            reached("backup.folder")
            os.rename(partial, target.path)
            sync_folder(target.path.parent)
            reached("backup.named")
    except BaseException:
        _clear(partial, folder)
        raise
    return {"files": len(files), "linked": linked, "bytes": size}


def _refuse(target: Place, partial: Path) -> None:
    """Nothing is written over, but for what a copy to the same name has left when it was broken off."""
    if not is_folder(target.path.parent):
        raise BadArgument(f"path: there is no folder {target.path.parent}", hint="Make the folder first.")
    if exists(partial) and not exists(target.path):
        shutil.rmtree(target.folder, ignore_errors=True)
    for path in (target.path, target.folder):
        if exists(path):
            raise BadArgument(f"path: {path} is there already", hint="Name a file that is not there yet.")


def _make_as(source: Path, target: Path) -> None:
    """An empty file that lets in whom the source does, before anything to be read is in it."""
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    shutil.copymode(source, target)


def _copy_database(conn: apsw.Connection, path: Path, folder: Path) -> list[tuple[str, int]]:
    """Copy one state of the database; the files it lists, with their sums."""
    with closing(apsw.Connection(str(path))) as copy:
        conn.execute("begin")  # one state, however long it takes and whoever writes
        try:
            conn.execute("select generation from vec_state").fetchall()
            with copy.backup("main", conn, "main") as running:
                while not running.done:
                    running.step(_PAGES)
        finally:
            conn.execute("rollback")
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


def _clear(partial: Path, folder: Path) -> None:
    """Remove what a copy that was broken off has left."""
    with suppress(OSError):
        for path in (partial, partial.with_name(partial.name + "-journal")):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
