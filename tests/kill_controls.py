"""The protocol with one step removed on purpose: a harness that finds nothing wrong with these finds nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import kill_writer
from kill_writer import Writer

from kompanion_db.sidecar import durable, fold, manifest
from kompanion_db.sidecar.durable import NewFile
from kompanion_db.sidecar.failpoints import reached
from kompanion_db.sidecar.segment import Layout
from kompanion_db.sidecar.transactions import writing
from kompanion_db.sqlite.session import Session


def trim_apart() -> None:
    """The log is trimmed in a transaction of its own, before the files are listed."""

    def commit_fold(conn: apsw.Connection, written: list[tuple[NewFile, Layout]], last: int) -> int:
        with writing(conn, "fold"):
            conn.execute("delete from vec_log where seq <= ?", (last,))
            taken = conn.changes()
        with writing(conn, "fold"):
            for file, layout in written:
                manifest.list_segment(conn, file, layout)
                reached("fold.trimming")
        return taken

    fold.commit_fold = commit_fold


def list_first() -> None:
    """A file comes under its name after the transaction that lists it."""
    keep, commit = NewFile._keep, fold.commit_fold
    late: list[NewFile] = []

    def postpone(file: NewFile) -> None:
        late.append(file) if file._step == "fold" else keep(file)

    def commit_fold(conn: apsw.Connection, written: list[tuple[NewFile, Layout]], last: int) -> int:
        taken = commit(conn, written, last)
        while late:
            keep(late.pop())
        return taken

    NewFile._keep = postpone  # type: ignore[method-assign]
    fold.commit_fold = commit_fold


def no_folder_sync() -> None:
    """The folder is not synced: a power cut may take the name of a file that is listed."""

    def nothing(folder: Path) -> None:
        """Leave it to the system."""

    durable.sync_folder = nothing


def no_file_sync() -> None:
    """Files are not synced: a power cut may leave them empty."""

    def nothing(fd: int) -> None:
        """Leave it to the system."""

    durable.sync_file = nothing


def unlink_early() -> None:
    """Old files are removed before the transaction that replaces them."""
    from kompanion_db.sidecar import merge

    commit = merge._commit

    def commit_merge(conn, entries, written, derived) -> None:  # type: ignore[no-untyped-def]
        folder = Path(conn.filename + ".vec")
        for entry in entries:
            os.unlink(folder / entry.file)
        commit(conn, entries, written, derived)

    merge._commit = commit_merge


def say_done_early() -> None:
    """A writer says that a transaction is committed before it is."""
    say = Writer.say

    def early(writer: Writer, **what: Any) -> None:
        if "done" not in what:
            say(writer, **what)
        if "set" in what:
            say(writer, done=True)

    Writer.say = early  # type: ignore[method-assign]


def commit_apart() -> None:
    """A writer commits text first and its vectors afterwards, also when the whole is undone."""
    store = kill_writer.store_vectors

    def apart(session: Session, *what: Any) -> None:
        session.conn.execute("commit; begin immediate")
        store(session, *what)

    kill_writer.store_vectors = apart


CONTROLS: dict[str, Callable[[], None]] = {
    "single-transaction": trim_apart,
    "file-before-manifest": list_first,
    "unlink-after-commit": unlink_early,
    "folder-fsync": no_folder_sync,
    "file-fsync": no_file_sync,
    "commit-before-done": say_done_early,
    "one-commit": commit_apart,
}
"""What is removed -> how."""
