"""Single upserts with pgbench, 1 to 16 clients: upsert_item beside a statement written by hand for the same tables.

The statement does what upsert_item does for content that nobody cut: the item, its chunk, the queue for each model in
use; history is kept by the same triggers. It is spared what upsert_item checks and looks up: the namespace comes as an
id, nothing is validated, no revision can be expected. New keys, and content that changes under hot ones.
With --data each upsert brings a vector of it, by both ways.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

import kompanion_db

from . import command, common, data, records, upsert_rows
from .promises import UPSERT_CLIENTS, UPSERT_RATIO

if TYPE_CHECKING:
    from tqdm import tqdm

NAME = "upsert"
CLIENTS = (1, 2, 4, 8, 16)
# pgbench takes a colon for a variable, in text too: the namespace has one segment.
NAMESPACE = "bench"
KEYS = {
    "new keys": "'r' || :round::text || '-' || :client_id::text || '-' || :n::text",
    "hot keys": "'hot-' || :k::text",
}
CONTENT = (
    "'Note ' || :round::text || '-' || :client_id::text || '-' || :n::text || "
    "' says that the kettle in the harbour office was descaled and the spare fuse is in the top drawer.'"
)
REST = """'{"topic": "t1", "importance": 3}', '{tag1}'"""
FUNCTION = f"select * from kompanion.upsert_item('{NAMESPACE}', {{key}}, {{content}}, {REST});"
BY_HAND = f"""
with item as (
    insert into kompanion.memory_items as i (namespace_id, key, content, metadata, tags)
    values ('{{namespace_id}}', {{key}}, {{content}}, {REST})
    on conflict on constraint memory_items_namespace_key_uq do update
        set content = excluded.content, metadata = excluded.metadata, tags = excluded.tags, thread_id = excluded.thread_id,
            user_id = excluded.user_id, actor = excluded.actor, expires_at = excluded.expires_at, deleted_at = null
    returning i.namespace_id, i.item_id, i.revision, i.content
), chunk as (
    insert into kompanion.memory_chunks (namespace_id, item_id, ordinal, content, start_offset, end_offset, content_revision)
    select i.namespace_id, i.item_id, 0, i.content, 0, length(i.content), 1 from item i where i.revision = 1
    returning namespace_id, chunk_id
), queued as (
    insert into kompanion.embedding_queue (namespace_id, chunk_id, model_id)
    select c.namespace_id, c.chunk_id, m.model_id
    from chunk c cross join kompanion.embedding_models m
    where m.retired_at is null
)
select i.item_id, i.revision, case when i.revision = 1 then 'inserted' else 'revised' end as status from item i;
"""
WAYS = {"upsert_item": FUNCTION, "by hand": BY_HAND}


def pgbench_of(key: str, given: str | None) -> str:
    """Path of pgbench: that of the embedded server, or the one that is named or found."""
    if given is None and key in common.SERVERS:
        package, major = common.SERVERS[key]
        folder = "pginstall18" if major == 18 else "pginstall"
        given = str(Path(str(importlib.import_module(package).__file__)).parent / folder / "bin" / "pgbench")
    found = shutil.which(given or "pgbench")
    if found is None and given is None and common.installed("pg18"):
        return pgbench_of("pg18", None)  # which speaks to other servers as well
    if found is None:
        raise SystemExit(
            f"--pgbench: {given or 'pgbench'} is not there; name its path, or install it with the clients of PostgreSQL"
        )
    return found


class Pgbench:
    """Runs of pgbench in one database, each with keys of its own."""

    def __init__(self, program: str, url: str, args: argparse.Namespace, folder: Path) -> None:
        self.program, self.args, self.folder, self.runs = program, args, folder, 0
        given = psycopg.conninfo.conninfo_to_dict(url)
        names = {"dbname": "PGDATABASE", "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
        # In the environment, where no list of processes shows the password.
        self.environment = {names.get(k, f"PG{k.upper()}"): str(v) for k, v in given.items() if v not in (None, "")}

    def script(self, name: str, statement: str, draw: str = "") -> Path:
        """A script file that counts n up, draws k, and what else is to be drawn."""
        path = self.folder / f"{name.replace(' ', '_')}.sql"
        path.write_text(f"\\set n :n + 1\n\\set k random(1, {self.args.hot_keys})\n{draw}\n{statement}\n")
        return path

    def per_second(self, script: Path, clients: int, seconds: int) -> float:
        """Transactions a second of a script, without the time to connect."""
        self.runs += 1
        command = [
            self.program, "-n", "-M", "prepared", "-f", str(script), "-c", str(clients), "-j", str(min(clients, os.cpu_count() or 1)),
            "-T", str(seconds), "-D", f"round={self.runs}", "-D", "n=0", f"--random-seed={self.args.seed + self.runs}",
        ]  # fmt: skip
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        rates = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("tps =")]
        if done.returncode != 0 or not rates:
            raise SystemExit(f"pgbench: {done.stderr.strip()[-500:]}")
        return float(rates[0])


def scripts_of(bench: Pgbench, rows: int, namespace_id: object) -> dict[tuple[str, str], Path]:
    """The script of each case and way; of ``rows`` of one's own, unless there are none."""
    return {
        (case, way): bench.script(
            f"{case} {way}",
            text.replace("{key}", key).replace("{content}", CONTENT).replace("{namespace_id}", str(namespace_id)),
            upsert_rows.DRAW[case].replace("{rows}", str(rows)) if rows else "",
        )
        for case, key in KEYS.items()
        for way, text in (upsert_rows.WAYS if rows else WAYS).items()
    }


def checked(conn: psycopg.Connection[Any], vectors: bool) -> dict[str, int]:
    """What both ways left behind, after seeing that no revision, no chunk and no vector, or place in the queue, is missing."""
    row = conn.execute(
        """select (select count(*) from kompanion.memory_items), (select sum(revision) from kompanion.memory_items),
                  (select count(*) from kompanion.memory_item_revisions), (select count(*) from kompanion.memory_chunks),
                  (select count(*) from kompanion.embedding_queue), (select count(*) from kompanion.embeddings)"""
    ).fetchone()
    assert row is not None
    items, revisions, history, chunks, queued, embedded = (int(value or 0) for value in row)
    assert revisions == items + history, (revisions, items, history)
    assert items == chunks, (items, chunks)
    assert (queued, embedded) == ((0, items) if vectors else (items, 0)), (items, queued, embedded)
    return {"items": items, "revisions": revisions}


def one_server(key: str, url: str, args: argparse.Namespace, source: data.Dataset | None) -> dict[str, Any]:
    """Upserts a second by case, clients and way, each round in the other order."""
    rates: dict[str, dict[int, dict[str, list[float]]]] = {
        case: {clients: {way: [] for way in WAYS} for clients in args.clients} for case in KEYS
    }
    with common.database(url, NAME) as target, tempfile.TemporaryDirectory(prefix="kompanion_bench_") as folder:
        kompanion_db.migrate(target)
        with kompanion_db.connect(target) as store, psycopg.connect(target, autocommit=True) as conn:
            namespace_id = store.ensure_namespace(NAMESPACE)
            if source:
                store.register_model("bench", source.dim, metric=source.metric)
                upsert_rows.fill(target, store, source, NAMESPACE, args.hot_keys)
            else:
                store.register_model("bench", 384)
                store.upsert_items(
                    {"namespace": NAMESPACE, "key": f"hot-{n}", "content": "x"} for n in range(1, args.hot_keys + 1)
                )
            about = common.machine(conn)
            bench = Pgbench(pgbench_of(key, args.pgbench), target, args, Path(folder))
            scripts = scripts_of(bench, len(source.vectors) if source else 0, namespace_id)
            for script in scripts.values():
                bench.per_second(script, 1, 1)  # warm
            plan = [(n, clients, case) for n in range(args.rounds) for clients in args.clients for case in KEYS]
            bar: tqdm[Any]
            with common.progress(len(plan) * len(WAYS), "upserts", unit=" runs") as bar:
                for n, clients, case in plan:
                    for way in list(WAYS)[:: 1 if n % 2 == 0 else -1]:
                        rates[case][clients][way].append(bench.per_second(scripts[case, way], clients, args.seconds))
                        bar.update()
            return {"about": about, "points": points(rates)} | checked(conn, source is not None)


def points(rates: dict[str, dict[int, dict[str, list[float]]]]) -> list[dict[str, Any]]:
    """Medians and the median of the ratios of each round."""
    return [
        {
            "case": case, "clients": clients, "rates": by_way,
            "ours": statistics.median(by_way["upsert_item"]), "by_hand": statistics.median(by_way["by hand"]),
            "ratio": statistics.median(a / b for a, b in zip(by_way["upsert_item"], by_way["by hand"], strict=True)),
        }
        for case, by_clients in rates.items() for clients, by_way in by_clients.items()
    ]  # fmt: skip


def show(record: dict[str, Any]) -> str:
    """The table for people."""
    parts = []
    for run in record["runs"]:
        lines = [
            (p["case"], str(p["clients"]), f"{p['ours']:,.0f}", f"{p['by_hand']:,.0f}", f"{p['ratio']:.2f}",
             "" if p["clients"] not in UPSERT_CLIENTS else "ok" if p["ratio"] >= UPSERT_RATIO else "MISSED") for p in run["points"]
        ]  # fmt: skip
        headers = ("", "clients", "upsert_item / s", "by hand / s", "ratio", f">= {UPSERT_RATIO}")
        parts.append(
            f"\n{common.versions(run['about'])}: single upserts{upsert_rows.of_data(record)}, {record['seconds']} s each, median of {record['rounds']} rounds; "
            f"{record['hot_keys']} hot keys\n{common.table(headers, lines)}\n"
            f"{run['items']:,} items at {run['revisions']:,} revisions, none missing"
        )
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Run on each server, print tables, write JSON and PNG."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{NAME}", description=__doc__)
    common.add_server_arguments(parser)
    parser.add_argument("--clients", type=common.positive, nargs="+", default=list(CLIENTS), help="default: 1 2 4 8 16")
    parser.add_argument(
        "--seconds", type=common.positive, default=6, help="of each run of pgbench; default %(default)s"
    )
    parser.add_argument(
        "--rounds", type=common.positive, default=5, help="how often each is measured; default %(default)s"
    )
    parser.add_argument(
        "--hot-keys", type=common.positive, default=1000, help="how many keys are hot; default %(default)s"
    )
    data.add_file_arguments(parser, "namespaces", "tags")
    parser.add_argument("--pgbench", help="path of pgbench; default: the embedded server's, or what PATH finds")
    records.add_arguments(parser)
    args = parser.parse_args(argv)
    records.prepare(args.out)
    from . import pictures_writing

    if args.draw:
        print(*pictures_writing.upsert(records.read(args.draw, NAME), args.out))
        return
    name = records.name_of(NAME, args, parser)
    if args.small:
        records.make_small(args, parser, clients=list(UPSERT_CLIENTS), seconds=2, rounds=3)
    data.check_arguments(args)
    source = data.of_file(args, None, upsert_rows.ROWS) if args.data else None
    told = (
        {"data": source.name, "rows": len(source.vectors), "dim": source.dim, "metric": source.metric} if source else {}
    )
    record: dict[str, Any] = records.settings_of(args) | told | {"runs": []}
    record.pop("pgbench")
    records.fill(record, name, args, lambda key, url: [one_server(key, url, args, source)])
    records.finish(record, name, args, show, pictures_writing.upsert)


if __name__ == "__main__":
    command.run(main)
