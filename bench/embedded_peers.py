"""The embedded stores that bench.embedded compares: each loads rows with a vector and a namespace, and is asked for the nearest.

Run as a program it opens one of them in a fresh process and tells what that cost.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import psutil

import kompanion_db
from kompanion_db.sqlite.opening import prepare
from kompanion_db.sqlite.upkeep import place_of

from .cases import Ask
from .data import Dataset, Floats
from .plans import MODEL, K

BATCH = 5000
TEXT = "Note {}: the kettle in the harbour office was descaled and the spare fuse is in the top drawer."


class Peer:
    """A store in a folder. ``rounds``: how often its load is measured; ``most``: rows up to which it takes part."""

    package = ""
    rounds = 3
    most = 10**9

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def version(cls) -> str | None:
        """The version of what it is made of; None where that is not installed."""
        try:
            return importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        """Write all rows."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What an operator does after a load, which is not counted."""

    def open(self) -> None:
        """Make it ready to be asked."""

    def ask(self, query: Floats, where: Ask) -> list[int]:
        """The rows nearest to a query, in a namespace unless that is '*'."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of it."""


def blocks(data: Dataset) -> Iterator[range]:
    """The rows in batches."""
    return (range(first, min(first + BATCH, len(data.vectors))) for first in range(0, len(data.vectors), BATCH))


class Ours(Peer):
    """kompanion_db: item, chunk and vector of each row, all indexes and checks, durable commits."""

    package = "kompanion-db"

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
        conn.execute("pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on")
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


class Faiss(Peer):
    """Bare FAISS in memory: lists of 4-bit codes, then the vectors; a bitmap of the rows that may be found."""

    package = "faiss-cpu"
    rounds = 1

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        import faiss

        lists = round(1.5 * len(data.vectors) ** 0.5)
        index = faiss.index_factory(data.dim, f"IVF{lists},PQ{data.dim // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
        index.train(data.vectors[: 64 * lists])
        index.add(data.vectors)
        faiss.write_index(index, str(self.folder / "faiss"))

    def open(self) -> None:
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(str(self.folder / "faiss"))
        self.probes = round(1.4 * faiss.downcast_index(self.index.base_index).nlist ** 0.5)
        self.kept: dict[str, Any] = {}

    def ask(self, query: Floats, where: Ask) -> list[int]:
        selected: dict[str, Any] = {}
        if where.members is not None:
            if where.scope not in self.kept:
                flags = np.zeros(self.index.ntotal, dtype=bool)
                flags[where.members] = True
                bits = np.packbits(flags, bitorder="little")
                self.kept[where.scope] = (bits, self.faiss.IDSelectorBitmap(len(flags), self.faiss.swig_ptr(bits)))
            selected["sel"] = self.kept[where.scope][1]
        inner = self.faiss.SearchParametersIVF(nprobe=self.probes, **selected)
        outer = self.faiss.IndexRefineSearchParameters(k_factor=20, base_index_params=inner)
        _, found = self.index.search(query[None], K, params=outer)
        return [int(n) for n in found[0] if n >= 0]


class SqliteVec(Peer):
    """sqlite-vec: a virtual table with a metadata column; exact."""

    package = "sqlite-vec"

    def _connect(self) -> apsw.Connection:
        import sqlite_vec

        conn = apsw.Connection(str(self.folder / "vec.db"))
        conn.enable_load_extension(True)
        conn.load_extension(sqlite_vec.loadable_path())
        return conn

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        conn = self._connect()
        conn.execute("pragma journal_mode = wal; pragma synchronous = full")
        conn.execute(f"create virtual table v using vec0 (vector float[{data.dim}] distance_metric=cosine, space text)")
        for block in blocks(data):
            with conn:
                conn.executemany(
                    "insert into v (rowid, vector, space) values (?, ?, ?)",
                    [(n, data.vectors[n].tobytes(), namespaces[n]) for n in block],
                )
        conn.close()

    def open(self) -> None:
        self.conn = self._connect()

    def ask(self, query: Floats, where: Ask) -> list[int]:
        within = "" if where.members is None else "and space = ?"
        given = (query.tobytes(), K) + (() if where.members is None else (where.scope,))
        return [n for (n,) in self.conn.execute(f"select rowid from v where vector match ? and k = ? {within}", given)]

    def close(self) -> None:
        self.conn.close()


class Hnswlib(Peer):
    """hnswlib: a graph in memory, saved to a file; a filter is a Python function."""

    package = "hnswlib"
    rounds = 1
    most = 100_000

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        import hnswlib

        index = hnswlib.Index("ip", data.dim)
        index.init_index(len(data.vectors), M=16, ef_construction=200)
        index.add_items(data.vectors, np.arange(len(data.vectors)), num_threads=2)
        index.save_index(str(self.folder / "hnsw"))
        (self.folder / "dim").write_text(str(data.dim))

    def open(self) -> None:
        import hnswlib

        self.index = hnswlib.Index("ip", int((self.folder / "dim").read_text()))
        self.index.load_index(str(self.folder / "hnsw"))
        self.index.set_ef(64)
        self.kept: dict[str, frozenset[int]] = {}

    def ask(self, query: Floats, where: Ask) -> list[int]:
        if where.members is None:
            return [int(n) for n in self.index.knn_query(query, K, num_threads=1)[0][0]]
        if where.scope not in self.kept:
            self.kept[where.scope] = frozenset(where.members.tolist())
        try:
            found = self.index.knn_query(query, K, num_threads=1, filter=self.kept[where.scope].__contains__)
        except RuntimeError:  # it raises where it finds fewer than k
            return []
        return [int(n) for n in found[0][0]]


class Chroma(Peer):
    """Chroma, persistent; a filter on metadata."""

    package = "chromadb"
    rounds = 1
    most = 100_000

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        self.open()
        made = self.client.create_collection("bench", metadata={"hnsw:space": "cosine"})
        for block in blocks(data):
            made.add(
                ids=[str(n) for n in block],
                embeddings=data.vectors[block.start : block.stop],
                metadatas=[{"space": namespaces[n]} for n in block],
            )

    def open(self) -> None:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        self.client = chromadb.PersistentClient(str(self.folder / "chroma"), settings)
        self.collection: Any = None

    def ask(self, query: Floats, where: Ask) -> list[int]:
        if self.collection is None:
            self.collection = self.client.get_collection("bench")
        within = {} if where.members is None else {"where": {"space": where.scope}}
        found = self.collection.query(query_embeddings=[query], n_results=K, include=[], **within)
        return [int(n) for n in found["ids"][0]]


class Lance(Peer):
    """LanceDB with inverted lists of whole vectors, filter first."""

    package = "lancedb"
    rounds = 1
    most = 100_000

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        import lancedb
        import pyarrow as pa

        kind = pa.schema([("n", pa.int64()), ("space", pa.string()), ("vector", pa.list_(pa.float32(), data.dim))])
        table = lancedb.connect(str(self.folder / "lance")).create_table("t", schema=kind)
        for block in blocks(data):
            flat = pa.array(data.vectors[block.start : block.stop].ravel())
            columns = [pa.array(list(block)), pa.array([namespaces[n] for n in block])]
            table.add(pa.table([*columns, pa.FixedSizeListArray.from_arrays(flat, data.dim)], schema=kind))
        if len(data.vectors) >= 20_000:
            lists = round(len(data.vectors) ** 0.5)
            table.create_index(metric="cosine", index_type="IVF_FLAT", num_partitions=lists)

    def open(self) -> None:
        import lancedb

        self.table = lancedb.connect(str(self.folder / "lance")).open_table("t")

    def ask(self, query: Floats, where: Ask) -> list[int]:
        found = self.table.search(query).distance_type("cosine").nprobes(20).limit(K).select(["n", "_distance"])
        if where.members is not None:
            found = found.where(f"space = '{where.scope}'", prefilter=True)
        return [int(n) for n in found.to_arrow()["n"].to_pylist()]


PEERS: dict[str, type[Peer]] = {
    "kompanion_db": Ours,
    "plain tables": Plain,
    "FAISS": Faiss,
    "sqlite-vec": SqliteVec,
    "hnswlib": Hnswlib,
    "Chroma": Chroma,
    "LanceDB": Lance,
}


def anonymous_mb() -> float:
    """Memory of this process that no file backs, MB; all of its own where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float(psutil.Process().memory_full_info().uss) / 2**20
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


def main(name: str, folder: str, queries: str) -> None:
    """Open a store and ask it; JSON of the times (ms) and of the anonymous memory that this took (MB)."""
    asked = np.load(queries)
    peer = PEERS[name](Path(folder))
    if PEERS[name].package not in ("kompanion-db", "apsw"):
        importlib.import_module({"faiss-cpu": "faiss", "sqlite-vec": "sqlite_vec"}.get(peer.package, peer.package))
    import faiss  # noqa: F401 - ours loads it when the first index is opened, which is no part of opening a store

    before = anonymous_mb()
    start = time.perf_counter()
    peer.open()
    opened = time.perf_counter()
    peer.ask(asked[0], Ask())
    first = time.perf_counter()
    for query in asked[1:100]:
        peer.ask(query, Ask())
    rss = psutil.Process().memory_info().rss / 2**20
    figures = {
        "open_ms": 1000 * (opened - start), "first_ms": 1000 * (first - opened),
        "anonymous_mb": anonymous_mb() - before, "rss_mb": rss,
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
