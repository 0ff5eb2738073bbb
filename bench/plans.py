"""Loading a data set into a store, and the plans that people write by hand against the same tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

import kompanion_db
from kompanion_db import pg_protocol

from . import common
from .cases import Ask
from .data import Dataset, Floats

K = 10
MODEL = "bench"
MOST_LISTS = 32768
"""That an ivfflat index may have."""
# What an application needs of a memory it has found.
ANSWER = (
    "i.key, n.path, i.item_id, c.content, i.metadata, i.tags, i.revision, h.d, i.created_at, i.updated_at, i.expires_at"
)
JOINS = """join kompanion.memory_items i using (namespace_id, item_id)
    join kompanion.memory_chunks c using (namespace_id, chunk_id) join kompanion.namespaces n using (namespace_id)"""
SETTINGS = {"ivfflat": "ivfflat.probes", "hnsw": "hnsw.ef_search"}


def load(url: str, data: Dataset, namespaces: Sequence[str]) -> None:
    """Every vector as an item of its namespace, its row number as the key; then statistics. No vector index yet."""
    kompanion_db.migrate(url)
    with kompanion_db.connect(url) as store, common.progress(len(data.vectors), "loading") as bar:
        store.register_model(MODEL, data.dim, metric=data.metric)

        def items() -> Any:
            for n, (namespace, vector) in enumerate(zip(namespaces, data.vectors, strict=True)):
                bar.update()
                tags = data.tags[n] if data.tags else []
                yield kompanion_db.NewItem(namespace, f"row {n}", str(n), tags=tags, vectors=vector[None])

        store.upsert_items(items(), model=MODEL, batch_size=5000)
    analyze(url)


def build(store: kompanion_db.Store, kind: str | None = None, lists: int | None = None) -> list[str]:
    """ensure_index, in one transaction: it builds the same index, and leaves it to us when to calibrate."""
    return [step.statement for step in store.ensure_index(MODEL, kind=kind, lists=lists, concurrently=False)]


def lists(text: str) -> int:
    """A number of lists, as a type of arguments: one that cannot be built would be noticed when all is loaded."""
    value = common.positive(text)
    if value > MOST_LISTS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than the {MOST_LISTS} lists that an index may have")
    return value


def analyze(url: str) -> None:
    """What autovacuum would have done by now."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("vacuum analyze")


def ladder(top: int, first: int = 1) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12 ... top: knobs worth trying."""
    steps = {top}
    value = first
    while value < top:
        steps.add(value)
        if value * 3 // 2 < top:
            steps.add(value * 3 // 2)
        value *= 2
    return sorted(steps)


def to_apply(kind: str, lists: int | None, target: float) -> str:
    """The statements that give a model of one's own an index as it was measured here, for the end of a table."""
    asked = f"kind => '{kind}'" + (f", lists => {lists}" if lists else "")
    return (
        "To have it for a model of yours, as the owner of the tables, in psql:\n"
        f"  select statement from kompanion.index_statements('MODEL', {asked}) \\gexec\n"
        "  select count(*) from kompanion.calibrate('MODEL', seconds => 60);\n"
        "or the one that is fastest for your own vectors:\n"
        f"  select * from kompanion.tune_index('MODEL', target_recall => {target:g});\n"
        "  select statement from kompanion.index_statements('MODEL') \\gexec\n"
        "Where what is asked is not like what is stored: kompanion-db tune-index MODEL --queries FILE.npy, and calibrate likewise."
    )


class Hand:
    """What a careful person would write: prepared statements, binary vectors, and the memories as the answer.

    ``post-filter``: the vector index, and a filter over what it returns. ``iterative scan``: the same with pgvector's
    iterative scan (0.8 and later). ``exact``: order by ``(vector <=> q) + 0`` over the scope. The first two have
    a connection on which the planner has no choice but the vector index; exact has one with the planner as it is.
    The ids of the namespaces of a scope are not looked up but given, to the advantage of these plans.
    """

    def __init__(self, url: str, data: Dataset, namespaces: Sequence[str]) -> None:
        self.by_index = self._connect(url)
        self.by_scan = self._connect(url)
        for name in ("enable_sort", "enable_seqscan", "enable_bitmapscan"):
            self.by_index.execute(f"set {name} = off")
        # The library is loaded with the first use of the type; before, its settings are unknown.
        self.by_index.execute("select '[1]'::vector <=> '[1]'::vector")
        self.iterative = self._one(
            "select string_to_array(extversion, '.')::int[] >= '{0,8}' from pg_extension where extname = 'vector'"
        )
        self.model_id = self._one(f"select model_id from kompanion.embedding_models where name = '{MODEL}'")
        self.dim = data.dim
        self.operator = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>"}[data.metric]
        self.paths = sorted(set(namespaces))
        self.ids: dict[str, list[Any]] = {}
        self.refresh()

    @staticmethod
    def _connect(url: str) -> psycopg.Connection[Any]:
        conn = psycopg.connect(url, autocommit=True)
        found = conn.cursor(row_factory=dict_row).execute(pg_protocol.VECTOR_TYPE_SQL).fetchone()
        pg_protocol.register_types(conn, pg_protocol.vector_type(found))
        return conn

    def _one(self, statement: str) -> Any:
        row = self.by_index.execute(statement).fetchone()
        return row and row[0]

    def refresh(self) -> None:
        """Take notice of the vector index as it is now."""
        row = self.by_index.execute(
            "select m.index_kind, m.index_lists from kompanion.list_models() m where m.model = %s", (MODEL,)
        ).fetchone()
        self.kind, self.lists = (row[0], row[1]) if row and row[0] != "none" else (None, None)
        built = self.by_index.execute(
            "select indexdef from pg_indexes where schemaname = 'kompanion' and indexname = %s",
            (f"embeddings_ann_{self.model_id}",),
        ).fetchone()
        self.type = (
            "halfvec" if built and "halfvec" in built[0] else "vector"
        )  # the expression of the index, or it is not used
        self.state: tuple[str, int] | None = None

    def knobs(self) -> list[int]:
        """The ladder of probes or ef_search to try; empty without a vector index."""
        if self.kind is None:
            return []
        return ladder(self.lists) if self.kind == "ivfflat" else ladder(1000, first=10)

    def ways(self) -> list[str]:
        """The ways by index that this server has."""
        return [] if self.kind is None else ["post-filter", "iterative scan"][: 2 if self.iterative else 1]

    def prepare(self, way: str, knob: int | None) -> None:
        """Set the session for a way by index; does nothing when it is set so already."""
        if way.startswith("exact") or self.state == (way, knob):
            return
        assert self.kind is not None
        settings = {SETTINGS[self.kind]: str(knob)}
        if self.iterative:
            settings[f"{self.kind}.iterative_scan"] = "relaxed_order" if way == "iterative scan" else "off"
        for name, value in settings.items():
            self.by_index.execute("select set_config(%s, %s, false)", (name, value))
        self.state = (way, knob)

    def statement(self, way: str, ask: Ask, literal: bool) -> tuple[str, dict[str, Any]]:
        """The statement of a way, and its parameters but for the query.

        A scope that is asked often is written into the statement, as one would; one that changes is a parameter.
        """
        parameters: dict[str, Any] = {}
        where = (
            f"e.model_id = {self.model_id} and e.deleted_at is null and (e.expires_at is null or e.expires_at > now())"
        )
        if ask.scope != "*":
            ids = self.namespace_ids(ask.scope)
            if literal:
                where += " and e.namespace_id " + (f"= '{ids[0]}'" if len(ids) == 1 else
                                                   "= any ('{" + ",".join(map(str, ids)) + "}')")  # fmt: skip
            else:
                where += " and e.namespace_id = any (%(ids)s)"
                parameters["ids"] = ids
        if ask.tags is not None and way != "exact by items":
            where += " and e.tags @> %(tags)s::text[]"
            parameters["tags"] = list(ask.tags)
        if way == "exact by items":  # the GIN index on the tags of the items
            return (
                f"""select {ANSWER} from (select e.namespace_id, e.item_id, e.chunk_id, (e.vector {self.operator} %(q)s) + 0 as d
                from kompanion.memory_items i join kompanion.embeddings e using (namespace_id, item_id)
                where {where} and i.tags @> %(tags)s::text[] order by d limit {K}) h {JOINS} order by h.d""",
                parameters | {"tags": list(ask.tags or ())},
            )
        near = (f"(e.vector {self.operator} %(q)s) + 0" if way == "exact" else
                f"(e.vector::{self.type}({self.dim})) {self.operator} %(q)s::{self.type}({self.dim})")  # fmt: skip
        return (
            f"""select {ANSWER} from (select e.namespace_id, e.item_id, e.chunk_id, {near} as d from kompanion.embeddings e
            where {where} order by {near} limit {K}) h {JOINS} order by h.d""",
            parameters,
        )

    def ask(self, way: str, statement: str, parameters: dict[str, Any], query: Floats) -> list[Any]:
        """Run a statement; the rows, the key first."""
        conn = self.by_scan if way.startswith("exact") else self.by_index
        return conn.execute(statement, {**parameters, "q": query}, prepare=True, binary=True).fetchall()

    def namespace_ids(self, scope: str) -> list[Any]:
        """Ids of the namespaces at or below a scope."""
        if scope not in self.ids:
            below = [p for p in self.paths if (p + ":").startswith(scope + ":")]
            self.ids[scope] = [kompanion_db.namespace_id(p) for p in below]
        return self.ids[scope]

    def close(self) -> None:
        """Close the connections."""
        self.by_index.close()
        self.by_scan.close()

    def __enter__(self) -> Hand:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
