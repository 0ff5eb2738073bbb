"""The SQLite engine beside other embedded stores: load, search under filters, opening, memory, disk, in one run.

With --folder it can be broken off and goes on when called again; --minutes begins nothing new after so long.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from . import cases, command, common, data, records
from .cases import Case
from .embedded_peer import Peer
from .embedded_peers import PEERS, Ours
from .embedded_steps import Pause, Steps, code
from .embedded_tables import OURS, show
from .plans import K
from .ways import Way, in_turn, warm

NAME = "embedded"
SIZES = (10_000, 100_000, 1_000_000)
TARGET = 0.99
FRESH = 3
SLOW_MS, FEW = 8, 20


class Size:
    """One number of rows: its data, its stores, its steps."""

    def __init__(self, rows: int, args: argparse.Namespace, folder: Path, steps: Steps) -> None:
        self.rows, self.args, self.folder, self.steps = rows, args, folder / str(rows), steps
        self.peers = [n for n in args.peers if PEERS[n].version() and rows <= PEERS[n].most]
        self.opened: dict[str, Peer] = {}

    @cached_property
    def source(self) -> data.Dataset:
        """The vectors and queries."""
        return data.generated(self.rows, self.args.dim, self.args.query_count, self.args.seed)

    @cached_property
    def asked(self) -> tuple[list[str], list[Case]]:
        """The namespace of each row, and the cases."""
        return cases.of(self.source, self.args.query_count, K, self.args.seed, contiguous=True)

    def place(self, name: str) -> Path:
        """The folder of a store."""
        return self.folder / name.replace(" ", "_")

    @cached_property
    def rows_files(self) -> list[Path]:
        """The vectors, and the namespaces of their rows, as files."""
        files = [self.folder / "vectors.npy", self.folder / "namespaces.json"]
        self.folder.mkdir(parents=True, exist_ok=True)
        np.save(files[0], self.source.vectors)
        files[1].write_text(json.dumps(self.asked[0]))
        return files

    def load(self, name: str) -> dict[str, float]:
        """Rows a second into a new folder, in a process of its own."""
        shutil.rmtree(self.place(name), ignore_errors=True)
        self.place(name).mkdir(parents=True)
        seconds = _program(["bench.embedded_load", name, self.place(name), *self.rows_files])["seconds"]
        return {"rows_s": self.rows / seconds, "seconds": seconds}

    def disk(self, name: str) -> float:
        """Bytes of a store on disk; of ours, what still counts (superseded files stay ten minutes)."""
        paths = [path for path in self.place(name).rglob("*") if path.is_file()]
        if name == OURS:
            conn = apsw.Connection(str(self.place(name) / "x.db"))
            gone = {file for (file,) in conn.execute("select file from vec_retired")}
            paths = [path for path in paths if path.name not in gone]
            conn.close()
        return sum(path.stat().st_size for path in paths)

    def fresh(self, name: str) -> list[dict[str, float]]:
        """Opening and the first query, each in a process of its own."""
        np.save(self.folder / "queries.npy", self.source.queries)
        arguments = ["bench.embedded_peers", name, self.place(name), self.folder / "queries.npy", str(TARGET)]
        return [_program(arguments) for _ in range(FRESH)]

    def merged(self) -> dict[str, float]:
        """What a merge of all of ours takes, in a process of its own. It adds rows, so it comes last."""
        return _program(["bench.embedded_merge", self.place(OURS), str(self.args.dim)])

    def prepared(self, name: str) -> float:
        """What an operator does after a load, until all is indexed; its seconds."""
        start = time.perf_counter()
        PEERS[name](self.place(name)).prepare()
        return time.perf_counter() - start

    def calibrated(self) -> float:
        """Ours is calibrated; its seconds."""
        start = time.perf_counter()
        Ours(self.place(OURS)).calibrate(self.args.calibrate)
        return time.perf_counter() - start

    def search(self, case: Case, target: float | None, names: list[str]) -> list[dict[str, Any]]:
        """A case asked of these stores in turn."""
        ways = []
        for name in names:
            if name not in self.opened:
                self.opened[name] = PEERS[name](self.place(name))
                self.opened[name].open()
            peer = self.opened[name]
            extra: dict[str, Any] = {"target": target} if isinstance(peer, Ours) else {}
            ways.append(_way(name, peer.ask, case, extra))
            if peer.by_metadata and case.asks[0].scope != "*":
                ways.append(_way(f"{name}, metadata", peer.ask_metadata, case, extra))
        for way in ways:
            warm(way, self.source, case, 1)
            warm(way, self.source, case, 3)
            start = time.perf_counter()
            way.ask(0)
            if 1000 * (time.perf_counter() - start) > SLOW_MS:
                way.most = FEW
            else:
                warm(way, self.source, case)
        in_turn(ways, self.source, case, self.args.rounds)
        return [way.result() for way in ways]

    def measure(self) -> dict[str, Any]:
        """All steps of this size."""
        step, prefix = self.steps.step, f"{self.rows} "
        searched = [n for n in self.peers if n != "plain tables"]
        loads: dict[str, list[Any]] = {name: [] for name in self.peers}
        for number in range(3 if self.rows <= 100_000 else 1):
            turn = [n for n in self.peers if number < PEERS[n].rounds]
            for name in random.Random(number).sample(turn, len(turn)):
                loads[name].append(step(f"{prefix}load {number} {name}", lambda n=name: self.load(n)))
        prepared = {name: step(f"{prefix}prepare {name}", lambda n=name: self.prepared(n)) for name in searched}
        disk = {name: step(f"{prefix}disk {name}", lambda n=name: self.disk(n)) for name in self.peers}
        fresh = {name: step(f"{prefix}fresh {name}", lambda n=name: self.fresh(n)) for name in searched}
        try:
            # Before any calibration it is only ours that can be another.
            cells = self._cells("default", None, [OURS])
            step(f"{prefix}calibrate", self.calibrated)
            fresh[OURS] = step(f"{prefix}fresh, calibrated", lambda: self.fresh(OURS))
            cells += self._cells("calibrated", TARGET, searched)
        finally:
            while self.opened:
                self.opened.popitem()[1].close()
        merge = step(f"{prefix}merge", self.merged)
        return {
            "rows": self.rows, "loads": loads, "prepared": prepared, "disk": disk, "fresh": fresh, "merge": merge, "cells": cells,
        }  # fmt: skip

    def _cells(self, setting: str, target: float | None, names: list[str]) -> list[dict[str, Any]]:
        """All cases, asked of these stores."""
        cells = []
        with common.progress(len(self.asked[1]), f"{self.rows:,} rows, {setting}", " cases") as bar:
            for place in range(len(self.asked[1])):
                step = f"{self.rows} search {setting} {place}"
                found = self.steps.step(step, lambda p=place: self._cell(p, target, names))
                cells.append({"setting": setting, **found})
                bar.update()
        return cells

    def _cell(self, place: int, target: float | None, names: list[str]) -> dict[str, Any]:
        case = self.asked[1][place]
        ways = self.search(case, target, names)
        return {"group": case.group, "share": case.share, "matches": case.rows, "ways": ways}


def _program(arguments: list[str | Path]) -> dict[str, float]:
    """What a program of ours prints as its last line, JSON."""
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"python -m {' '.join(map(str, arguments))} ended with {done.returncode}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _way(label: str, ask: Callable[..., list[int]], case: Case, extra: dict[str, Any]) -> Way:
    return Way(label, None, lambda: None, lambda n: ask(case.queries[n], case.asks[n], **extra))


def about() -> dict[str, Any]:
    """What the figures must be read with."""
    return {
        "cpu": common.cpu(), "cores": os.cpu_count(), "memory_gb": common.memory_gb(), "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(), "faiss": PEERS["FAISS"].version(),
        "peers": {name: peer.version() for name, peer in PEERS.items()},
        "commit": common.commit(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }  # fmt: skip


def depends_on(args: argparse.Namespace) -> dict[str, Any]:
    """What every figure depends on: the arguments that change one, the machine, the code, versions."""
    here = about()
    versions = here.pop("peers")
    del here["date"]
    chosen = {name: getattr(args, name) for name in ("dim", "seed", "query_count", "rounds", "calibrate")}
    return chosen | {"k": K, "target": TARGET, "code": code()} | here | {name: versions[name] for name in args.peers}


def _sizes(text: str) -> list[int]:
    return [common.positive(part) for part in text.split(",")]


def main(argv: list[str] | None = None) -> None:
    """Measure each size, print tables, write JSON and PNG."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{NAME}", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default=",".join(map(str, SIZES)), help="rows; default %(default)s")
    parser.add_argument("--dim", type=common.positive, default=384, help="of the vectors; default %(default)s")
    parser.add_argument("--query-count", type=common.positive, default=200, help="queries; default %(default)s")
    parser.add_argument(
        "--rounds", type=common.positive, default=1, help="how often each is asked; default %(default)s"
    )
    parser.add_argument("--calibrate", type=common.number, default=60, metavar="SECONDS", help="default %(default)s")
    parser.add_argument("--peers", help=f"besides {OURS}, of {', '.join(PEERS)}; default: all that are installed")
    parser.add_argument("--seed", type=common.seed, default=1, help="of all random choices; default %(default)s")
    parser.add_argument("--small", action="store_true", help="a small set, for a first look and for make bench")
    parser.add_argument("--folder", type=Path, help="keep the stores here, and go on from what is there")
    parser.add_argument("--minutes", type=common.number, help="begin nothing new after so long; needs --folder")
    records.add_arguments(parser)
    args = parser.parse_args(argv)
    records.prepare(args.out)
    from . import pictures_embedded

    if args.draw:
        record = records.read(args.draw, NAME)
        print(show(record), *pictures_embedded.draw(record, args.out))
        return
    title = records.name_of(NAME, args, parser)
    wanted = [name.strip() for name in args.peers.split(",")] if args.peers else list(PEERS)
    for name in wanted:
        if name not in PEERS:
            parser.error(f"--peers: {name!r} is none of {', '.join(PEERS)}")
    args.peers = [name for name in PEERS if name in wanted or name == OURS]
    if args.minutes is not None and not args.folder:
        parser.error("--minutes needs --folder, or what was measured until then is lost")
    if args.small:
        records.make_small(args, parser, dim=64, query_count=40, calibrate=10)
        if args.sizes == _sizes(parser.get_default("sizes")):
            args.sizes = [10_000, 30_000]
    if "FAISS" in args.peers and args.dim % 2:
        parser.error("--dim: must be even for FAISS, whose codes are of two elements each; or leave it out of --peers")
    if args.calibrate <= 0:
        parser.error("--calibrate: must be above 0, what is measured is judged calibrated too")
    for name in args.peers:
        if PEERS[name].version() is None:
            print(f"{name}: not installed, left out; pip install 'kompanion-db[bench-peers]'")
    with tempfile.TemporaryDirectory(prefix="kompanion_bench_") as temporary:
        folder = args.folder or Path(temporary)
        records.make(folder, "folder")
        steps = Steps(folder / "steps.json", depends_on(args), args.minutes)
        runs = []
        try:
            for rows in args.sizes:
                runs.append(Size(rows, args, folder, steps).measure())
        except Pause:
            print(f"{len(steps.done)} steps are measured; the same command goes on")
            return
    settings = {n: v for n, v in records.settings_of(args).items() if n not in ("folder", "minutes")}
    record = settings | {"about": about(), "k": K, "target": TARGET, "runs": runs}
    records.finish(record, title, args, show, pictures_embedded.draw)


if __name__ == "__main__":
    command.run(main)
