"""Files that count no longer are removed: once nobody reads them, and the commit that says so is on the disk."""

from __future__ import annotations

from pathlib import Path

import apsw

from . import manifest
from .durable import named_errors, remove
from .failpoints import reached
from .transactions import one, writing

GRACE = 600.0
"""Seconds a file stays after it ceased to count, for transactions that began before."""

OURS = ("seg-", "ann-")
"""How the names of our files begin; others are nobody's business."""


def collect(conn: apsw.Connection, folder: Path, grace: float = GRACE) -> int:
    """Remove the files that are past their grace, and what broken off writers left; how many. The lock is held.

    A file is forgotten in one durable transaction and removed after it: when that is broken off, it is a stray file to
    the next round. Under the write lock no bulk writer is at work, so a file that is not listed then never will be.
    """
    if not collectable(conn, folder, grace):
        return 0
    with writing(conn, "collect"):
        conn.execute("delete from vec_retired where retired_at <= (unixepoch('subsec') - ?) * 1000000", (grace,))
        reached("collect.forgotten")
        strays = stray_files(conn, folder)
    removed = 0
    with named_errors(folder):
        for path in strays:
            removed += remove(path)
            reached("collect.removed")
    return removed


def collectable(conn: apsw.Connection, folder: Path, grace: float = GRACE) -> bool:
    """Whether ``collect`` would find anything, seen without a lock."""
    forgotten = one(
        conn, "select count(*) from vec_retired where retired_at <= (unixepoch('subsec') - ?) * 1000000", (grace,)
    )
    return bool(forgotten or stray_files(conn, folder))


def stray_files(conn: apsw.Connection, folder: Path) -> list[Path]:
    """The files in the folder that the database does not know; none where the folder has become that of another one."""
    with named_errors(folder):
        there = {path.name: path for path in folder.iterdir() if path.name.startswith(OURS)}
    listed = {entry.file for entry in manifest.segments(conn)}
    if listed and listed.isdisjoint(there):
        return []
    return [there[name] for name in there.keys() - manifest.known_files(conn)]
