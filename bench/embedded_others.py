"""The stores of others in bench.embedded, each used as its documentation advises."""

from __future__ import annotations

from typing import Any

import apsw
import numpy as np

from .cases import Ask
from .data import Dataset, Floats
from .embedded_peer import Peer, as_ours, blocks
from .plans import K


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
    """sqlite-vec: a virtual table, cut up by namespace, with a metadata column beside it; exact."""

    package = "sqlite-vec"
    by_metadata = True

    def _connect(self, loads: bool = False) -> apsw.Connection:
        import sqlite_vec

        conn = apsw.Connection(str(self.folder / "vec.db"))
        conn.enable_load_extension(True)
        conn.load_extension(sqlite_vec.loadable_path())
        as_ours(conn, loads)
        return conn

    def load(self, data: Dataset, namespaces: list[str]) -> None:
        conn = self._connect(loads=True)
        # A partition key is what its documentation advises where searches are of one user's rows; thirteen namespaces are
        # not too many. Distances are L2, its default: the order is the same for vectors of unit length, and its cosine is
        # computed an element at a time.
        columns = f"space text partition key, label text, vector float[{data.dim}]"
        conn.execute(f"create virtual table v using vec0 ({columns})")
        for block in blocks(data):
            with conn:
                conn.executemany(
                    "insert into v (rowid, space, label, vector) values (?1, ?2, ?2, ?3)",
                    [(n, namespaces[n], data.vectors[n].tobytes()) for n in block],
                )
        conn.close()

    def open(self) -> None:
        self.conn = self._connect()

    def ask(self, query: Floats, where: Ask) -> list[int]:
        return self._nearest(query) if where.members is None else self._nearest(query, "and space = ?", where.scope)

    def ask_metadata(self, query: Floats, where: Ask) -> list[int]:
        return self._nearest(query, "and label = ?", where.scope)

    def _nearest(self, query: Floats, within: str = "", *value: str) -> list[int]:
        asked = f"select rowid from v where vector match ? and k = ? {within}"
        return [n for (n,) in self.conn.execute(asked, (query.tobytes(), K, *value))]

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
        kept = self.kept[where.scope]
        try:
            found = self.index.knn_query(query, min(K, len(kept)), num_threads=1, filter=kept.__contains__)
        except RuntimeError:  # it raises where it finds fewer than are asked for
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
    """LanceDB with inverted lists of whole vectors, filter first, by an index of its own."""

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

    def prepare(self) -> None:
        import lancedb

        # A bitmap is what its documentation advises for the filter where values are few.
        lancedb.connect(str(self.folder / "lance")).open_table("t").create_scalar_index("space", index_type="BITMAP")

    def open(self) -> None:
        import lancedb

        self.table = lancedb.connect(str(self.folder / "lance")).open_table("t")

    def ask(self, query: Floats, where: Ask) -> list[int]:
        found = self.table.search(query).distance_type("cosine").nprobes(20).limit(K).select(["n", "_distance"])
        if hasattr(found, "maximum_nprobes"):  # older ones have no such thing
            # Without an upper limit more lists are searched until k rows are found, for narrow filters.
            found = found.maximum_nprobes(0)
        if where.members is not None:
            found = found.where(f"space = '{where.scope}'", prefilter=True)
        return [int(n) for n in found.to_arrow()["n"].to_pylist()]
