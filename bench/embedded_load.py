"""Loading one of the stores that bench.embedded compares: a program, so that no other is in its process."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from .data import Dataset
from .embedded_peers import PEERS, load_library


def main(name: str, folder: str, vectors: str, namespaces: str) -> None:
    """JSON of the seconds that a load took."""
    data = Dataset("", np.load(vectors), np.empty((0, 0), dtype=np.float32))
    paths = json.loads(Path(namespaces).read_text())
    peer = PEERS[name](Path(folder))
    load_library(name)
    start = time.perf_counter()
    peer.load(data, paths)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(*sys.argv[1:])
