"""The examination of a store: whether the database, its files and its rows agree, to the bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedStore, KompanionError, NotInstalled
from ..types import Finding
from . import manifest
from .collect import GRACE, stray_files
from .derive import as_written, lacking
from .durable import make_folder, named, named_errors, stat_of
from .fold import due
from .manifest import SegmentEntry
from .rounds import rounds
from .segment import ID, Layout, check_sum, mapped, read_layout, unreadable
from .transactions import one, reading

if TYPE_CHECKING:
    from ..sqlite.files import Place

_RESTORE = "Restore a backup; without one, vectors can be made anew from the text: see Backup in docs/sqlite.md."
_REPAIR = "Run: kompanion-db doctor --repair URL."
_WAIT_SECONDS = 60.0
_MOST = 20


def examine(place: Place, repair: bool = False) -> list[Finding]:
    """All that is wrong with a store, worst first; with ``repair`` strays are removed and missing indexes made.

    Raises NotInstalled when there is no store.
    """
    from ..sqlite.database import open_connection
    from ..sqlite.errors import translate

    there = stat_of(place.path)
    if there is None or there.st_size == 0:
        raise NotInstalled(f"there is no store at {place.path}", hint="Name the file of the store.")
    try:
        with closing(open_connection(place, as_it_is=True)) as conn:
            found = list(_database(place, conn))
            if not found and not _ours(conn):
                raise NotInstalled(
                    f"{place.path} is a SQLite file without kompanion_db in it", hint="Name another file."
                )
            if _ours(conn):
                found += _everything(place, conn)
    except apsw.Error as exc:
        error = translate(exc)
        advice = _RESTORE if isinstance(error, DamagedStore) else error.hint or _RESTORE
        what = f"cannot be read: {error.message.removeprefix('SQLite: ')}"
        found = [Finding("error", what, str(place.path), advice)]
    except DamagedStore as exc:  # not the file, but what lies beside it
        found = [Finding("error", exc.message, str(place.path), exc.hint or _RESTORE)]
    if repair and any(f.severity == "warning" for f in found):
        found = _repaired(place, found)
    return sorted(found, key=lambda f: ("error", "warning", "repaired").index(f.severity))


def _ours(conn: apsw.Connection) -> bool:
    return bool(conn.execute("select 1 from sqlite_schema where name = 'vec_segments'").fetchall())


def _database(place: Place, conn: apsw.Connection) -> Iterator[Finding]:
    file = str(place.path)
    for (said,) in conn.execute(f"pragma integrity_check({_MOST})"):
        if said != "ok":
            yield Finding("error", said, file, _RESTORE)
    for table, rowid, parent, _ in conn.execute("pragma foreign_key_check").fetchall()[:_MOST]:
        yield Finding("error", f"{table} row {rowid} refers to a row of {parent} that is not there", file, _RESTORE)


def _everything(place: Place, conn: apsw.Connection) -> list[Finding]:
    with reading(conn):
        entries = manifest.segments(conn)
        ids, unread, found = _segments(place, entries)
        found += _rows(place, conn, ids, unread)
        found += _log(place, conn)
    found += _indexes(place, entries)
    found += _folder(place, conn, entries)
    return found


def _segments(
    place: Place, entries: list[SegmentEntry]
) -> tuple[dict[int, list[NDArray[np.int64]]], list[SegmentEntry], list[Finding]]:
    """The ids in the files that can be read, by model; the files that may be whole, but are not read; what is wrong."""
    ids: dict[int, list[NDArray[np.int64]]] = {}
    unread = []
    found = []
    for entry in entries:
        path = place.folder / entry.file
        try:
            layout, own = _whole(path, entry.crc)
        except DamagedStore as exc:
            missing = isinstance(exc.__cause__, FileNotFoundError)
            what = "is missing" if missing else exc.message.removeprefix(f"{path}: ")
            found.append(Finding("error", f"{what}: {entry.rows} vectors are lost", str(path), _RESTORE))
            continue
        except KompanionError as exc:
            what = exc.message.removeprefix(f"{path}: ")
            found.append(Finding("error", f"cannot be read: {what}", str(path), exc.hint or _REPAIR))
            unread.append(entry)
            continue
        if (layout.model_id, layout.dim, layout.rows) != (entry.model_id, entry.dim, entry.rows) or not _ascend(own):
            found.append(Finding("error", "is not the file the database lists", str(path), _RESTORE))
            continue
        ids.setdefault(entry.model_id, []).append(own)
    return ids, unread, found


def _whole(path: Path, crc: int) -> tuple[Layout, NDArray[np.int64]]:
    """Header and ids of a segment that is as it was written."""
    try:
        layout = read_layout(path)
        ids, _, _ = mapped(path, layout)
        check_sum(path, crc)
    except OSError as exc:
        raise unreadable(path, exc) from exc
    return layout, ids


def _rows(
    place: Place, conn: apsw.Connection, ids: dict[int, list[NDArray[np.int64]]], unread: list[SegmentEntry]
) -> Iterator[Finding]:
    """Each row has its vector once, and carries what its item says. A vector may also be in a file that is not read."""
    file = str(place.path)
    models: list[tuple[Any, ...]] = conn.execute("select model_id, name from embedding_models").fetchall()
    for model_id, name in models:
        logged = _column(conn, "select seq from vec_log where model_id = ? order by seq", model_id)
        held = np.sort(np.concatenate([*ids.get(model_id, []), logged]))
        twice = int((np.diff(held) == 0).sum())
        if twice:
            yield Finding("error", f"{twice} vectors of model {name} are held twice", file, _RESTORE)
        wanted = _column(conn, "select vec_id from embeddings where model_id = ?", model_id)
        without = wanted[~np.isin(wanted, held)]
        for entry in unread:
            if entry.model_id == model_id:
                without = without[(without < entry.low) | (without > entry.high)]
        lost = len(without)
        if lost:
            yield Finding("error", f"{lost} rows of model {name} have no vector in any sound file", file, _RESTORE)
    differ = one(
        conn,
        """
        select count(*) from embeddings e
        left join memory_chunks c on c.chunk_id = e.chunk_id
        left join memory_items i on i.item_no = c.item_no
        where e.item_no is not i.item_no or e.namespace_no is not i.namespace_no or e.thread_no is not i.thread_no
           or e.expires_at is not i.expires_at or e.deleted_at is not i.deleted_at
        """,
    )
    if differ:
        advice = "Somebody wrote to embeddings by hand: restore a backup."
        yield Finding("error", f"{differ} rows of embeddings are not in step with their items", file, advice)


def _log(place: Place, conn: apsw.Connection) -> Iterator[Finding]:
    wrong = one(
        conn,
        "select count(*) from vec_log l join embedding_models m using (model_id) where length(l.vector) <> 4 * m.dim",
    )
    if wrong:
        yield Finding("error", f"{wrong} vectors of the log are not of their dimension", str(place.path), _RESTORE)
    if due(conn):
        yield Finding(
            "warning", "many vectors wait to be folded into files", str(place.path), "Run: kompanion-db checkpoint URL."
        )


def _indexes(place: Place, entries: list[SegmentEntry]) -> Iterator[Finding]:
    for entry in lacking(entries):
        what = "has no vector index yet: it is searched row by row"
        yield Finding("warning", what, str(place.folder / entry.file), _REPAIR)
    for entry in entries:
        if entry.ann is None:
            continue
        path = place.folder / entry.ann.file
        try:
            if as_written(place.folder, entry.ann):
                continue
            what, advice = "has changed since it was written", _REPAIR
        except FileNotFoundError:
            what, advice = "is missing", _REPAIR
        except OSError as exc:
            what, advice = f"cannot be read: {exc.strerror}", named(path, exc).hint or _REPAIR
        yield Finding("warning", f"{what}: its segment is searched row by row", str(path), advice)


def _folder(place: Place, conn: apsw.Connection, entries: list[SegmentEntry]) -> Iterator[Finding]:
    if not os.path.isdir(place.folder):
        severity = "error" if entries else "warning"
        advice = "Copy it from where the database was copied from, or restore a backup." if entries else _REPAIR
        yield Finding(severity, "the folder of vectors is missing", str(place.folder), advice)
        return
    if not os.access(place.folder, os.W_OK | os.X_OK):
        advice = "Make it writable: vectors stay in the log until they can be folded."
        yield Finding("warning", "the folder of vectors cannot be written to", str(place.folder), advice)
    for path in stray_files(conn, place.folder):
        yield Finding("warning", "is a stray file of a writer that was broken off, or is at it", str(path), _REPAIR)


def _repaired(place: Place, found: list[Finding]) -> list[Finding]:
    """Set right what can be; what is still wrong afterwards, and what is not any more as repaired."""
    from ..sqlite.database import open_connection

    lost = {f.file for f in found if f.severity == "error"}
    trouble: list[KompanionError] = []
    try:
        with named_errors(place.folder):
            make_folder(place.folder)
        with rounds(place, _WAIT_SECONDS) as work:
            if work is not None:
                trouble = work.trouble
                entries = work.entries()
                work.spared.update(e.segment_no for e in entries if str(place.folder / e.file) in lost)
                work.collect(GRACE)
                with work.caring([]):
                    work.fold()
                work.derive(frozenset(e.segment_no for e in entries))
    except KompanionError as exc:
        trouble.append(exc)
    with closing(open_connection(place)) as conn:
        left = [*_database(place, conn), *_everything(place, conn)]
    left += [Finding("warning", f"repair failed: {e.message}", str(place.path), e.hint or _REPAIR) for e in trouble]
    return left + [replace(f, severity="repaired") for f in found if f not in left]


def _ascend(ids: NDArray[np.int64]) -> bool:
    return bool((np.diff(ids) > 0).all())


def _column(conn: apsw.Connection, sql: str, model_id: int) -> NDArray[np.int64]:
    return np.fromiter((value for (value,) in conn.execute(sql, (model_id,))), dtype=ID)
