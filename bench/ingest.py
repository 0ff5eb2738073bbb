"""Bulk load through the Python store beside a bare binary COPY of the same vectors, in turn in one run."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector

import kompanion_db

from . import command, common, data, records
from .promises import COPY_DIM, COPY_ITEMS, COPY_SHARE, ITEMS_A_SECOND

NAME = "ingest"


def bare_copy(url: str, vectors: NDArray[Any]) -> float:
    """Seconds to COPY the vectors, binary, into one table without any index."""
    with psycopg.connect(url, autocommit=True) as conn:
        register_vector(conn)
        conn.execute("drop table if exists bare")
        conn.execute(f"create table bare (id bigint, vector vector({vectors.shape[1]}))")
        found = conn.execute("select 'vector'::regtype::oid").fetchone()
        assert found is not None
        start = time.perf_counter()
        with conn.cursor().copy("copy bare from stdin (format binary)") as copy:
            copy.set_types(["int8", found[0]])
            for n in range(len(vectors)):
                copy.write_row((n, vectors[n]))
        seconds = time.perf_counter() - start
        conn.execute("drop table bare")
    return seconds


def items(source: data.Dataset) -> Iterator[kompanion_db.NewItem]:
    """An item with one chunk for each vector, in a hundred namespaces, unless the data has namespaces and tags of its own."""
    for n in range(len(source.vectors)):
        yield kompanion_db.NewItem(
            namespace=source.namespaces[n] if source.namespaces else f"acme:user{n % 100}",
            key=f"note-{n}",
            content=f"Note {n}: the kettle in the harbour office was descaled and the spare fuse is in the top drawer.",
            metadata={"topic": f"t{n % 50}", "importance": n % 5},
            tags=source.tags[n] if source.tags else [f"tag{n % 20}"],
            vectors=source.vectors[n : n + 1],
        )


def load(url: str, source: data.Dataset, batch: int) -> tuple[float, float]:
    """Seconds to write an item, a chunk and a vector each through upsert_items, all b-tree and GIN indexes there.

    And by how many MB the memory of this process rose at most, looked at after each batch.
    """
    import psutil  # here: --help does without the extra bench

    process = psutil.Process()
    kompanion_db.migrate(url)
    with kompanion_db.connect(url) as store:
        store.register_model("bench", source.dim, metric=source.metric)
        before = process.memory_info().rss
        seen = [before]
        with common.progress(len(source.vectors), "upsert_items") as bar:

            def progress(done: int) -> None:
                seen.append(process.memory_info().rss)
                bar.update(done - bar.n)

            start = time.perf_counter()
            result = store.upsert_items(items(source), model="bench", batch_size=batch, progress=progress)
            seconds = time.perf_counter() - start
        assert result.inserted == len(source.vectors)
    return seconds, (max(seen) - before) / 2**20


def one_server(url: str, args: argparse.Namespace, source: data.Dataset) -> dict[str, Any]:
    """Rows a second of both, each round in a new database.

    The speed of the first is not counted: a server in service writes its log into files that are there. Its memory is,
    since later rounds find in this process what it took.
    """
    bare, ours, memory = [], [], []
    about: dict[str, Any] = {}
    for _ in range(args.rounds + 1):
        with common.database(url, NAME) as target:
            with psycopg.connect(target, autocommit=True) as conn:
                about = common.machine(conn)
            bare.append(len(source.vectors) / bare_copy(target, source.vectors))
            seconds, rise = load(target, source, args.batch)
            ours.append(len(source.vectors) / seconds)
            memory.append(rise)
    return {"about": about, "bare_copy": bare[1:], "upsert_items": ours[1:], "client_mb": memory}


def loaded(args: argparse.Namespace) -> data.Dataset:
    """What is loaded: the first rows of --data, or generated ones."""
    data.check_arguments(args)
    if args.data:
        return data.of_file(args, "items", args.items)
    vectors, _ = data.clustered(args.items, args.dim, args.seed)
    return data.Dataset(f"clustered, seed {args.seed}", vectors, vectors[:0])


def show(record: dict[str, Any]) -> str:
    """The table for people."""
    parts = []
    for run in record["runs"]:
        bare, ours = statistics.median(run["bare_copy"]), statistics.median(run["upsert_items"])
        ratio = statistics.median(a / b for a, b in zip(run["upsert_items"], run["bare_copy"], strict=True))
        lines = [
            ("bare binary COPY of the vectors", f"{bare:,.0f}", "", ""),
            ("upsert_items", f"{ours:,.0f}", f"{ratio:.2f}", f"{max(run['client_mb']):.0f}"),
        ]
        verdict = "ok" if ratio >= COPY_SHARE and ours >= ITEMS_A_SECOND else "MISSED"
        if record["dim"] != COPY_DIM or record["items"] < COPY_ITEMS:
            verdict = f"no verdict, it is about loads of {COPY_ITEMS:,} items or more"
        parts.append(
            f"\n{common.versions(run['about'])}: bulk load of {record['items']:,} x {record['dim']}, {record['data']}, batches of {record['batch']:,}, "
            f"median of {record['rounds']} rounds\n{common.table(('', 'rows / s', 'of COPY', 'client MB'), lines)}\n"
            f"promised: {COPY_SHARE} of COPY and {ITEMS_A_SECOND:,} items / s at dim {COPY_DIM}: {verdict}"
        )
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Run on each server, print tables, write JSON and PNG."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{NAME}", description=__doc__)
    common.add_server_arguments(parser)
    parser.add_argument(
        "--items",
        type=common.positive,
        default=100_000,
        help="how many are loaded, of --data its first; default %(default)s",
    )
    parser.add_argument(
        "--dim", type=common.positive, default=COPY_DIM, help="of generated vectors; default %(default)s"
    )
    parser.add_argument(
        "--batch", type=common.positive, default=2000, help="items of a transaction; default %(default)s"
    )
    parser.add_argument(
        "--rounds", type=common.positive, default=3, help="how often each is measured; default %(default)s"
    )
    data.add_file_arguments(parser, "namespaces", "tags")
    records.add_arguments(parser)
    args = parser.parse_args(argv)
    records.prepare(args.out)
    from . import pictures_writing

    if args.draw:
        print(*pictures_writing.ingest(records.read(args.draw, NAME), args.out))
        return
    name = records.name_of(NAME, args, parser)
    if args.small:
        records.make_small(args, parser, items=20_000)
    source = loaded(args)
    record: dict[str, Any] = records.settings_of(args) | {
        "data": source.name, "items": len(source.vectors), "dim": source.dim, "metric": source.metric, "runs": [],
    }  # fmt: skip
    records.fill(record, name, args, lambda key, url: [one_server(url, args, source)])
    records.finish(record, name, args, show, pictures_writing.ingest)


if __name__ == "__main__":
    command.run(main)
