"""The store that is killed: small files, so that folding, merging and indexing happen all the time; and what is found in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from kompanion_db.sidecar import derive, fold, maintenance, merge
from kompanion_db.sqlite import planner
from kompanion_db.sqlite import vectors as entering
from kompanion_db.sqlite.database import Database, open_connection
from kompanion_db.sqlite.files import Place
from kompanion_db.sqlite.models import Model
from kompanion_db.sqlite.opening import prepare
from kompanion_db.sqlite.upkeep import doctor

DIM = 16
MODEL = Model(1, "m", DIM, "l2")
KEYS = 60

State = dict[str, int]
"""Key -> version; what is deleted, and may be purged at any time, is not in it."""


HASTE: dict[Any, dict[str, Any]] = {
    fold: {"FOLD_ROWS": 64},
    derive: {"ANN_ROWS": 24, "PART_ROWS": 24},
    merge: {"MOST_SEGMENTS": 4},
    entering: {"BULK_ROWS": 24},
    planner: {"SURE_ROWS": 0},
    maintenance: {"PAUSE": 0.002, "QUIET": 0.02, "TIDY": 0.05, "PATIENCE": 0.02},
}


def hasten() -> None:
    """Do in this process after dozens of rows what otherwise takes thousands."""
    for module, values in HASTE.items():
        vars(module).update(values)
    # The log of SQLite begins anew often: then its sync does not bring the names of files along.
    apsw.connection_hooks.append(lambda conn: conn.wal_autocheckpoint(20))


@contextmanager
def hastened() -> Iterator[None]:
    """``hasten`` for the block."""
    kept = {module: {name: getattr(module, name) for name in values} for module, values in HASTE.items()}
    hooks = list(apsw.connection_hooks)
    hasten()
    try:
        yield
    finally:
        for module, values in kept.items():
            vars(module).update(values)
        apsw.connection_hooks[:] = hooks


def make_template(place: Place) -> None:
    """A store with a model, and a namespace for each of nine writers; what is deleted may be purged at once."""
    prepare(place, None)
    with closing(open_connection(place)) as conn:
        conn.execute("insert into embedding_models (name, dim, metric, is_default) values ('m', ?, 'l2', 1)", (DIM,))
        conn.execute("update settings set value = jsonb('0') where name in ('retention_deleted', 'retention_expired')")
        for number in range(9):
            conn.execute("insert into namespaces (namespace_id, path) values (randomblob(16), ?)", (f"p{number}",))
        conn.execute("pragma wal_checkpoint(truncate)")


def copy_template(template: Place, place: Place) -> None:
    """A fresh store."""
    for path in (place.path, *place.path.parent.glob(place.path.name + "-*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(place.folder, ignore_errors=True)
    shutil.copyfile(template.path, place.path)


def vector(writer: int, key: int, version: int) -> np.ndarray:
    """The vector a writer gives a version of a key; each is another one."""
    return np.random.default_rng((writer, key, version)).standard_normal(DIM, dtype=np.float32)


def observe(place: Place) -> dict[str, Any]:
    """Open the store and read everything: the state, and what is wrong with it."""
    wrong: list[str] = []
    with closing(Database(place)) as database:
        database.folder.open()
        with database.session(write=False) as session:
            rows = session.all(
                """
                select i.namespace_no - 1, i.key, i.content, c.content, e.vec_id, i.deleted_at
                from memory_items i
                left join memory_chunks c on c.item_no = i.item_no
                left join embeddings e on e.chunk_id = c.chunk_id
                """
            )
            parts = session.vectors.parts(MODEL.model_id, DIM)
            ids = np.concatenate([part.ids for part in parts]) if parts else np.empty(0, dtype=np.int64)
            if len(np.unique(ids)) != len(ids):
                wrong.append("a vector is in two parts")
            wrong += [f"torn: {row}" for row in rows if row[2] != row[3] or row[4] is None]
            rows = [row for row in rows if row[4] is not None]
            found = session.vectors.fetch(MODEL.model_id, DIM, np.array([row[4] for row in rows], dtype=np.int64))
            everything = np.concatenate([part.vectors for part in parts]) if parts else np.empty((0, DIM))
            for row, stored in zip(rows, found, strict=True):
                writer, key, version = map(int, row[2].split("."))
                written = vector(writer, key, version)
                if (writer, str(key)) != row[:2] or stored.tobytes() != written.tobytes():
                    wrong.append(f"another vector: {row}")
                distances = ((everything - written) ** 2).sum(axis=1)
                if row[4] not in ids[distances == 0]:
                    wrong.append(f"not found by an exact search: {row}")
            for part in parts:
                if part.ann is not None and part.ann.rows != len(part.ids):
                    wrong.append("an index of another segment")
    state = {f"{row[0]}.{row[1]}": int(row[2].split(".")[2]) for row in rows if row[5] is None}
    wrong += [f"{f.what}: {Path(f.file).name}" for f in doctor(place) if f.severity == "error"]
    return {"state": state, "wrong": wrong}


def observe_backups(folder: Path, finished: list[str]) -> list[str]:
    """What is wrong with the copies: one that has its name is whole, also when its maker was killed. They are removed."""
    wrong = [f"{name} is gone" for name in finished if not (folder / name).exists()]
    for path in folder.glob("backup-*.db"):
        wrong += [f"{path.name}: {text}" for text in observe(Place(path))["wrong"]]
    for path in folder.glob("backup-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return wrong
