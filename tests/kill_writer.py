"""A process that writes to a store, tells what it is about to commit and what it has, and is killed."""

from __future__ import annotations

import json
import os
import random
import traceback
from typing import Any

import kill_store
import numpy as np
from kill_store import KEYS, MODEL, State

from kompanion_db.errors import KompanionError
from kompanion_db.sidecar import failpoints
from kompanion_db.sidecar.backup import copy_store
from kompanion_db.sidecar.rounds import rounds
from kompanion_db.sqlite.database import Database
from kompanion_db.sqlite.files import Place
from kompanion_db.sqlite.functions.retention import purge
from kompanion_db.sqlite.session import Session
from kompanion_db.sqlite.vectors import store_vectors

STEPS = ("commit", "fold", "merge", "collect", "ann", "bulk", "purge", "backup")
_WEIGHTS = {
    "commit": 60,
    "bulk": 12,
    "undone": 6,
    "purge": 4,
    "fold": 8,
    "merge": 4,
    "ann": 3,
    "collect": 3,
    "backup": 1,
}


class Undone(Exception):
    """A transaction is broken off on purpose."""


class Writer:
    """One writer. It says each thing in a line of JSON: ``set`` before a commit, ``done`` after it."""

    def __init__(self, place: Place, number: int, state: State, seed: int, out: int, label: str, passes: int) -> None:
        self.place, self.number, self.out = place, number, out
        self.version = {int(key.split(".")[1]): v for key, v in state.items() if key.startswith(f"{number}.")}
        self.random = random.Random(seed)
        self.next = seed * 100_000
        self.weights = dict(_WEIGHTS)
        if label:
            failpoints.arm(label, passes)
            self.weights[label.partition(".")[0]] *= 10

    def run(self) -> None:
        """Write until killed."""
        kill_store.hasten()
        database = Database(self.place, 2)
        database.folder.open()
        while True:
            (kind,) = self.random.choices(list(self.weights), list(self.weights.values()))
            if kind in {"commit", "bulk", "undone"}:
                with database.lent() as session:
                    self.write(session, kind)
                database.folder.wrote()
            elif kind == "purge":
                with database.lent() as session:
                    purge(session)
            else:
                self.keep(kind)

    def write(self, session: Session, kind: str) -> None:
        """One transaction of puts and deletions."""
        count = self.random.randint(24, 40) if kind == "bulk" else self.random.randint(1, 4)
        keys = self.random.sample(range(KEYS), count)
        change: dict[int, int | None] = {}
        for key in keys:
            self.next += 1
            change[key] = None if kind != "bulk" and self.random.random() < 0.25 else self.next
        if kind != "undone":
            self.say(set={f"{self.number}.{key}": version for key, version in change.items()})
        try:
            with session.transaction(write=True):
                self.put(session, {k: v for k, v in change.items() if v is not None})
                for key in (k for k, v in change.items() if v is None):
                    session.run(
                        "update memory_items set deleted_at = ? where namespace_no = ? and key = ? and deleted_at is null",
                        (session.now, self.number + 1, str(key)),
                    )
                if kind == "undone":
                    raise Undone
        except Undone:
            return
        self.say(done=True)

    def put(self, session: Session, versions: dict[int, int]) -> None:
        """Give keys their content and vector."""
        chunk_ids = []
        for key, version in versions.items():
            where = (self.number + 1, str(key))
            content = f"{self.number}.{key}.{version}"
            if session.one("select 1 from memory_items where namespace_no = ? and key = ?", where):
                session.run(
                    "update memory_items set content = ?, deleted_at = null where namespace_no = ? and key = ?",
                    (content, *where),
                )
            else:
                session.run("insert into memory_items (namespace_no, key, content) values (?, ?, ?)", (*where, content))
                session.run(
                    "insert into memory_chunks (namespace_no, item_no, ordinal, content, start_offset, end_offset, "
                    "content_revision) values (?, ?, 0, ?, 0, ?, 1)",
                    (where[0], session.conn.last_insert_rowid(), content, len(content)),
                )
            chunk_ids.append(
                session.value(
                    "select chunk_id from memory_chunks c join memory_items i using (item_no) "
                    "where i.namespace_no = ? and i.key = ?",
                    where,
                )
            )
        if chunk_ids:
            stacked = np.stack([kill_store.vector(self.number, k, v) for k, v in versions.items()])
            store_vectors(session, MODEL, chunk_ids, stacked)

    def keep(self, kind: str) -> None:
        """A step of upkeep."""
        with rounds(self.place, 600) as work:
            assert work is not None
            if kind == "fold":
                work.fold(everything=True)
            elif kind == "merge":
                work.compact(whole=True)
            elif kind == "ann":
                work.compact(whole=True)
                work.derive(frozenset(e.segment_no for e in work.entries()))
                for entry in work.entries():
                    kill_store.derive.derive(work.conn, work.folder, entry)
            elif kind == "collect":
                work.compact(whole=True)
                work.collect(grace=0)
            else:
                self.next += 1
                target = Place(self.place.path.with_name(f"backup-{self.number}-{self.next}.db"))
                copy_store(work.conn, self.place, target)
                self.say(backup=target.path.name)

    def say(self, **what: Any) -> None:
        """A line to the one who keeps the record, who gets it whole."""
        os.write(self.out, json.dumps(what).encode() + b"\n")


def write_until_killed(writer: Writer) -> None:
    """Never returns; a failure is said, too."""
    try:
        writer.run()
    except KompanionError as exc:
        writer.say(failed=str(exc))
    except BaseException:
        writer.say(failed=traceback.format_exc())
    os._exit(1)
