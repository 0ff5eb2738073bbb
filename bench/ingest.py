"""Bulk load through the Python store beside a bare binary COPY of the same vectors, in one run."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
from pgvector.psycopg import register_vector

import kompanion_db

from . import common, picture


def bare_copy(url: str, vectors: Any) -> float:
    """Seconds to COPY the vectors, binary, into one table without any index."""
    with psycopg.connect(url, autocommit=True) as conn:
        register_vector(conn)
        conn.execute("drop table if exists bare")
        conn.execute(f"create table bare (id bigint, vector vector({vectors.shape[1]}))")
        oid = conn.execute("select 'vector'::regtype::oid").fetchone()[0]
        start = time.perf_counter()
        with conn.cursor().copy("copy bare from stdin (format binary)") as copy:
            copy.set_types(["int8", oid])
            for n in range(len(vectors)):
                copy.write_row((n, vectors[n]))
        seconds = time.perf_counter() - start
        conn.execute("drop table bare")
    return seconds


def load(url: str, vectors: Any, batch: int) -> tuple[float, float]:
    """Seconds to write an item, a chunk and a vector each through upsert_items, all b-tree and GIN indexes there.

    And by how many MB the memory of this process rose at most, looked at after each batch.
    """
    process = psutil.Process()

    def items() -> Iterator[kompanion_db.NewItem]:
        for n in range(len(vectors)):
            yield kompanion_db.NewItem(
                namespace=f"acme:user{n % 100}",
                key=f"note-{n}",
                content=f"Note {n}: the kettle in the harbour office was descaled and the spare fuse is in the top drawer.",
                metadata={"topic": f"t{n % 50}", "importance": n % 5},
                tags=[f"tag{n % 20}"],
                vectors=vectors[n : n + 1],
            )

    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("drop database if exists bench")
        conn.execute("create database bench")
    target = psycopg.conninfo.make_conninfo(url, dbname="bench")
    kompanion_db.migrate(target)
    with kompanion_db.connect(target) as store:
        store.register_model("bench", vectors.shape[1])
        before = process.memory_info().rss
        seen = [before]
        start = time.perf_counter()
        result = store.upsert_items(
            items(), model="bench", batch_size=batch, progress=lambda n: seen.append(process.memory_info().rss)
        )
        seconds = time.perf_counter() - start
        assert result.inserted == len(vectors)
    return seconds, (max(seen) - before) / 2**20


def main() -> None:
    """Run, print a table, write JSON and PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", default="pg18", choices=list(common.SERVERS))
    parser.add_argument("--url", help="measure this server instead of one of our own")
    args = parser.parse_args()
    vectors, _ = common.clustered(args.items, args.dim, args.seed)

    def measure(url: str) -> dict[str, Any]:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("create extension if not exists vector")
            record = common.machine(conn)
        bare, ours, memory = [], [], []
        for _ in range(args.rounds):
            bare.append(args.items / bare_copy(url, vectors))
            seconds, rise = load(url, vectors, args.batch)
            ours.append(args.items / seconds)
            memory.append(rise)
        return record | {"bare_copy": bare, "upsert_items": ours, "client_mb": memory}

    if args.url:
        record = measure(args.url)
    else:
        with common.server(args.server) as url:
            record = measure(url)
    bare, ours = statistics.median(record["bare_copy"]), statistics.median(record["upsert_items"])
    record |= {"items": args.items, "dim": args.dim, "batch": args.batch, "seed": args.seed}
    print(
        f"{args.items} items x {args.dim}, PostgreSQL {record['postgresql']} / pgvector {record['pgvector']}, median of {args.rounds}"
    )
    print(f"  bare binary COPY of the vectors   {bare:10,.0f} rows/s")
    print(f"  upsert_items                      {ours:10,.0f} items/s   {ours / bare:.2f} of COPY")
    print(f"  client memory rose by at most {max(record['client_mb']):.0f} MB while loading")
    print(common.save(f"ingest_{args.server}", record), picture.ingest(record))


if __name__ == "__main__":
    main()
