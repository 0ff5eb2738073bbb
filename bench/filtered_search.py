"""Scoped search at shares from 100 % to 0.01 %: recall, short answers and p50 of four ways, in one run.

Ours beside what people write by hand: the index with the filter applied to what it returns (post-filter), the same
with pgvector's iterative scan, and an exact scan of the scope.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

import kompanion_db
from kompanion_db import pg_protocol

from . import common, picture

SHARES = {"all": 1.0, "p10": 0.1, "p1": 0.01, "p01": 0.001, "p001": 0.0001}
K = 10

Floats = NDArray[np.float32]
Way = Callable[[Floats], list[str]]


def scopes(
    n: int, member: NDArray[np.int64], correlated: bool, rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Rows of each scope, by name; whole clusters when the filter is to follow the topic, random rows otherwise."""
    order = rng.permutation(n)
    if correlated:
        rank = rng.permutation(member.max() + 1)
        order = order[np.argsort(rank[member[order]], kind="stable")]
    taken, result = 0, {}
    for name, share in SHARES.items():
        if name == "all":
            continue
        size = max(1, round(n * share))
        result[name] = np.sort(order[taken : taken + size])
        taken += size
    result["rest"] = np.sort(order[taken:])
    return result


def load(url: str, vectors: Floats, rows: dict[str, NDArray[np.int64]]) -> None:
    """Every vector as an item of the namespace of its scope; then the index ensure_index decides on, and statistics."""
    kompanion_db.migrate(url)
    with kompanion_db.connect(url) as store:
        store.register_model("bench", vectors.shape[1])
        for name, members in rows.items():
            store.upsert_items(
                ({"namespace": name, "key": str(n), "content": f"row {n}", "vectors": vectors[n : n + 1]} for n in members),
                model="bench",
                batch_size=5000,
            )  # fmt: skip
        store.ensure_index()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("vacuum analyze")


def ways(conn: psycopg.Connection[Any], store: kompanion_db.Store, scope: str, dim: int, probes: int) -> dict[str, Way]:
    """The four ways to ask a scope, each from a query vector to the keys found."""
    where = "" if scope == "*" else f"and e.namespace_id = '{kompanion_db.namespace_id(scope)}'"
    live = "and e.deleted_at is null and (e.expires_at is null or e.expires_at > now())"
    outer = """select i.key from ({}) h join kompanion.memory_items i using (namespace_id, item_id) order by h.d"""
    by_index = outer.format(
        f"""select namespace_id, item_id, (e.vector::vector({dim})) <=> %s::vector({dim}) as d from kompanion.embeddings e
        where model_id = 1 {where} {live} order by (e.vector::vector({dim})) <=> %s::vector({dim}) limit {K}"""
    )
    by_scan = outer.format(
        f"""select namespace_id, item_id, e.vector <=> %s as d from kompanion.embeddings e
        where model_id = 1 {where} {live} order by (e.vector <=> %s) + 0 limit {K}"""
    )

    def run(settings: dict[str, str], statement: str) -> Way:
        def ask(q: Floats) -> list[str]:
            return [r[0] for r in conn.execute(statement, (q, q)).fetchall()]

        ask.settings = {"ivfflat.probes": "1", "enable_sort": "on", "enable_seqscan": "on"} | settings  # type: ignore[attr-defined]
        return ask

    forced = {"ivfflat.probes": str(probes), "enable_sort": "off", "enable_seqscan": "off"}
    result: dict[str, Way] = {
        "ours": lambda q: [h.key for h in store.search(scope, q, K)],
        "post-filter": run(forced, by_index),
        "exact": run({}, by_scan),
    }
    if conn.execute("select extversion >= '0.8' from pg_extension where extname = 'vector'").fetchone()[0]:
        result["iterative scan"] = run(forced | {"ivfflat.iterative_scan": "relaxed_order"}, by_index)
    return result


def measure(url: str, vectors: Floats, queries: Floats, rows: dict[str, NDArray[np.int64]]) -> dict[str, Any]:
    """recall@K, short answers and p50 (milliseconds) of each way at each share."""
    table: dict[str, Any] = {}
    with psycopg.connect(url, autocommit=True) as conn, kompanion_db.connect(url, max_size=1) as store:
        found = conn.cursor(row_factory=psycopg.rows.dict_row).execute(pg_protocol.VECTOR_TYPE_SQL).fetchone()
        pg_protocol.register_types(conn, pg_protocol.vector_type(found))
        lists = store.list_models()[0].index_lists or 0
        for name, share in SHARES.items():
            members = np.concatenate(list(rows.values())) if name == "all" else rows[name]
            near = np.argsort(-(queries @ vectors[members].T), axis=1)[:, :K]
            truth = [{str(members[n]) for n in line} for line in near]
            explained = store.explain_search("*" if name == "all" else name, queries[0], K)
            probes = explained.get("probes") or max(1, round(0.15 * lists))
            cell: dict[str, Any] = {"share": share, "rows": len(members), "path": explained["path"], "probes": probes}
            for way, ask in ways(conn, store, "*" if name == "all" else name, vectors.shape[1], probes).items():
                conn.execute("reset all")
                for setting, value in getattr(ask, "settings", {}).items():
                    conn.execute("select set_config(%s, %s, false)", (setting, value))
                if way != "iterative scan" and "iterative scan" in cell:
                    conn.execute("reset ivfflat.iterative_scan")
                for q in queries[:8]:
                    ask(q)
                times, hits, short = [], 0.0, 0
                for q, true in zip(queries, truth, strict=True):
                    start = time.perf_counter()
                    keys = ask(q)
                    times.append(1000 * (time.perf_counter() - start))
                    hits += len(true & set(keys)) / len(true)
                    short += len(keys) < len(true)
                cell[way] = {"recall": hits / len(queries), "short": short, "p50_ms": statistics.median(times),
                             "p95_ms": float(np.percentile(times, 95))}  # fmt: skip
            table[name] = cell
    return table


def show(title: str, table: dict[str, Any]) -> None:
    """The table for people: recall@10 / p50 / short answers of each way."""
    names = ["ours", "post-filter", "iterative scan", "exact"]
    print(f"\n{title}\n{'share':>8} {'rows':>8}  " + "".join(f"{n:>26}" for n in names) + "   path of ours")
    for cell in table.values():
        line = f"{100 * cell['share']:>6g} % {cell['rows']:>8}  "
        for n in names:
            c = cell.get(n)
            line += f"{'-':>26}" if c is None else f"{c['recall']:>9.3f} {c['p50_ms']:>7.2f} ms {c['short']:>3} short"
        print(line + f"   {cell['path']}")


def main() -> None:
    """Run on each server, print tables, write JSON and PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", default="pg18,floor", help="of pg18, pg16, floor")
    args = parser.parse_args()
    record: dict[str, Any] = vars(args) | {"k": K, "runs": []}
    base, member = common.clustered(args.rows + args.queries, args.dim, args.seed)
    vectors, queries, member = base[: args.rows], base[args.rows :], member[: args.rows]
    for key in args.servers.split(","):
        with common.server(key) as url:
            for correlated in (False, True):
                rows = scopes(args.rows, member, correlated, np.random.default_rng(args.seed))
                with psycopg.connect(url, autocommit=True) as conn:
                    conn.execute("drop database if exists bench")
                    conn.execute("create database bench")
                target = psycopg.conninfo.make_conninfo(url, dbname="bench")
                load(target, vectors, rows)
                table = measure(target, vectors, queries, rows)
                with psycopg.connect(target, autocommit=True) as conn:
                    about = common.machine(conn)
                kind = "filter follows the topic" if correlated else "filter independent of the topic"
                show(
                    f"PostgreSQL {about['postgresql']} / pgvector {about['pgvector']}, {args.rows} x {args.dim}, {kind}",
                    table,
                )
                record["runs"].append({"about": about, "server": key, "correlated": correlated, "table": table})
    print("\n", common.save("filtered_search", record), picture.filtered_search(record))


if __name__ == "__main__":
    main()
