"""The embedded stores that bench.embedded compares: each loads rows with a vector and a namespace, and is asked for the nearest.

Run as a program it opens one of them in a fresh process and tells what that cost.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import apsw
import numpy as np

import kompanion_db
from kompanion_db.sqlite.opening import prepare
from kompanion_db.sqlite.upkeep import place_of

from .cases import Ask
from .data import Dataset, Floats
from .embedded_others import Chroma, Faiss, Hnswlib, Lance, SqliteVec
from .embedded_peer import BATCH, Peer, as_ours, blocks
from .plans import MODEL, K

TEXT = "Note {}: the kettle in the harbour office was descaled and the spare fuse is in the top drawer."


class Ours(Peer):
    """kompanion_db: item, chunk and vector of each row, all indexes and checks, durable commits."""

    package = "kompanion-db"
    by_metadata = True

    @property
    def url(self) -> str:
        """Of its file."""
        return f"sqlite:///{self.folder / 'x.db'}"

    @classmethod
    def version(cls) -> str | None:
        return kompanion_db.__version__

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        with kompanion_db.connect(self.url) as store:
            store.register_model(MODEL, data.dim)
            items = (
                kompanion_db.NewItem(
                    space,
                    key=str(n),
                    content=TEXT.format(n),
                    metadata={"group": space},
                    vectors=data.vectors[n : n + 1],
                )
                for n, space in enumerate(namespaces)
            )
            store.upsert_items(items, model=MODEL, batch_size=BATCH)

    def prepare(self) -> None:
        with kompanion_db.connect(self.url) as store:
            store.checkpoint()
            store.index_metadata_key("group")

    def calibrate(self, seconds: float) -> None:
        """Measure its index."""
        with kompanion_db.connect(self.url) as store:
            store.calibrate(MODEL, seconds=seconds, sample=100)

    def open(self) -> None:
        self.store = kompanion_db.connect(self.url)

    def ask(self, query: Floats, where: Ask, target: float | None = None) -> list[int]:
        return [int(hit.key) for hit in self.store.search(where.scope, query, K, target_recall=target)]

    def ask_metadata(self, query: Floats, where: Ask, target: float | None = None) -> list[int]:
        """As ask, the namespace being a metadata value."""
        found = self.store.search("*", query, K, filter={"group": where.scope}, target_recall=target)
        return [int(hit.key) for hit in found]

    def close(self) -> None:
        self.store.close()


class Plain(Peer):
    """The same rows written to the same tables by plain SQL, vectors as blobs in one more table: no sidecar, no checks."""

    package = "apsw"

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        prepare(place_of(f"sqlite:///{self.folder / 'x.db'}"), True)
        conn = apsw.Connection(str(self.folder / "x.db"))
        as_ours(conn, loads=True)
        conn.execute("create table plain_vectors (vec_id integer primary key, vector blob not null) strict")
        conn.execute("insert into embedding_models (name, dim) values ('m', ?)", (data.dim,))
        numbers = {}
        for path in dict.fromkeys(namespaces):
            conn.execute("insert into namespaces (namespace_id, path) values (randomblob(16), ?)", (path,))
            numbers[path] = conn.last_insert_rowid()
        for block in blocks(data):
            rows = [(n + 1, numbers[namespaces[n]], str(n), TEXT.format(n)) for n in block]
            with conn:
                conn.executemany(
                    "insert into memory_items (item_no, namespace_no, key, content, metadata, item_id) "
                    "values (?, ?, ?, ?, jsonb_object('group', ?3), randomblob(16))",
                    rows,
                )
                conn.executemany(
                    "insert into memory_chunks (chunk_id, namespace_no, item_no, ordinal, content, start_offset, "
                    "end_offset, content_revision) values (?1, ?2, ?1, 0, ?4, 0, length(?4), 1 + 0 * ?3)",
                    rows,
                )
                conn.executemany(
                    "insert into plain_vectors values (?, ?)", [(n + 1, data.vectors[n].tobytes()) for n in block]
                )
                conn.executemany(
                    "insert into embeddings (vec_id, namespace_no, chunk_id, model_id, item_no) values (?1, ?2, ?1, 1, ?1)",
                    [row[:2] for row in rows],
                )
        conn.close()


PEERS: dict[str, type[Peer]] = {
    "kompanion_db": Ours,
    "plain tables": Plain,
    "FAISS": Faiss,
    "sqlite-vec": SqliteVec,
    "hnswlib": Hnswlib,
    "Chroma": Chroma,
    "LanceDB": Lance,
}


def status_mb(line: str) -> float | None:
    """A line of this process's status, MB; None where the system has none."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(next(found for found in status.splitlines() if found.startswith(line)).split()[1]) / 1024


def anonymous_mb() -> float:
    """Memory of this process that no file backs, MB; all of its own where the system does not tell."""
    found = status_mb("RssAnon")
    if found is not None:
        return found
    import psutil  # here: --help does without the extra bench

    return float(psutil.Process().memory_full_info().uss) / 2**20


def resident_mb() -> float:
    """Memory of this process that is in RAM, files that are mapped among it, MB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20


def load_library(name: str) -> None:
    """Import what a store is made of, so that this is no part of what is measured."""
    package = PEERS[name].package
    if package not in ("kompanion-db", "apsw"):
        importlib.import_module({"faiss-cpu": "faiss", "sqlite-vec": "sqlite_vec"}.get(package, package))
    importlib.import_module("faiss")  # ours imports it when the first index is opened


def main(name: str, folder: str, queries: str, target: str) -> None:
    """Open a store and ask it; JSON of the times (ms) and of the anonymous memory that this took (MB).

    ``target``: the recall ours is asked for.
    """
    asked = np.load(queries)
    extra: dict[str, Any] = {"target": float(target)} if PEERS[name] is Ours else {}
    peer = PEERS[name](Path(folder))
    load_library(name)
    before = anonymous_mb()
    start = time.perf_counter()
    peer.open()
    opened = time.perf_counter()
    peer.ask(asked[0], Ask(), **extra)
    first = time.perf_counter()
    alone = []
    for query in asked[1:101] if len(asked) > 1 else asked:  # an only one is asked again
        begun = time.perf_counter()
        peer.ask(query, Ask(), **extra)
        alone.append(1000 * (time.perf_counter() - begun))
    anonymous = anonymous_mb() - before  # first: what the other loads is no part of it
    figures = {
        "open_ms": 1000 * (opened - start), "first_ms": 1000 * (first - opened), "alone_ms": statistics.median(alone),
        "anonymous_mb": anonymous, "rss_mb": resident_mb(),
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
