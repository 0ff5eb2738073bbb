"""What a merge of the whole store costs in memory: a program, so that nothing else is in its process.

Some rows are added, and all vectors of the model are written into one file anew.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

import kompanion_db

from .embedded_peers import Ours, anonymous_mb, resident_mb, status_mb
from .plans import MODEL

ADDED = 5000


def peak_mb() -> float:
    """The most memory this process had, files that are mapped among it, MB; what it has where the system does not tell."""
    found = status_mb("VmHWM")  # not ru_maxrss, which goes on from the process that started this one
    return resident_mb() if found is None else found


def main(folder: str, dim: str) -> None:
    """JSON of the peak memory (MB) of a merge and of the file it wrote (MB), and its seconds."""
    place = Path(folder)
    vectors = np.random.default_rng(0).standard_normal((ADDED, int(dim)), dtype=np.float32)
    anonymous: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            anonymous.append(anonymous_mb())

    with kompanion_db.connect(Ours(place).url) as store:
        items = (kompanion_db.NewItem("merge", "x", vectors=vector[None]) for vector in vectors)
        store.upsert_items(items, model=MODEL, batch_size=ADDED)
        before = anonymous_mb()
        threading.Thread(target=watch, daemon=True).start()
        start = time.perf_counter()
        store.checkpoint(compact=True)
        seconds = time.perf_counter() - start
        ended.set()
    figures = {
        "peak_rss_mb": peak_mb(),
        "peak_anonymous_mb": max(anonymous, default=before) - before,
        "segment_mb": max(path.stat().st_size for path in (place / "x.db.vec").glob("seg-*")) / 2**20,
        "seconds": seconds,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
