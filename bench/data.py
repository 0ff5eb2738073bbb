"""What is searched and asked in the benchmarks: seeded clustered vectors, or a file or folder of one's own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kompanion_db.sqlite.models import fit

from .common import number, positive

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass
class Dataset:
    """Vectors (n, dim) and queries (q, dim), float32, and what scopes can be made of.

    ``namespaces`` and ``tags``: one a row. ``topics``: the group of near vectors that a row, a query, belongs to.
    ``draw(topics, rng)``: fresh queries, one of each of these topics. ``filters``: by level, the namespace (str) or
    tags (list) that each query is to be asked under, None for a query that the level does not have.
    """

    name: str
    vectors: Floats
    queries: Floats
    metric: str = "cosine"
    namespaces: list[str] | None = None
    tags: list[list[str]] | None = None
    topics: Ints | None = None
    draw: Callable[[Ints, np.random.Generator], Floats] | None = None
    filters: dict[str, list[str | list[str] | None]] = field(default_factory=dict)
    neighbors: Ints | None = None

    @property
    def dim(self) -> int:
        """Number of elements of a vector."""
        return int(self.vectors.shape[1])


class Clusters:
    """A seeded source of clustered unit vectors: Gaussian around uniform centres of power-law size, as topics have."""

    def __init__(self, clusters: int, dim: int, seed: int, spread: float = 0.8) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.standard_normal((clusters, dim)).astype(np.float32)
        weights = 1.0 / np.arange(1, clusters + 1) ** 0.5
        self.weights = weights / weights.sum()
        self.spread = spread

    def rows(self, n: int) -> tuple[Floats, Ints]:
        """The next n vectors, shape (n, dim), and the cluster of each."""
        member = self.rng.choice(len(self.centres), n, p=self.weights)
        return self.draw(member, self.rng), member

    def draw(self, member: Ints, rng: np.random.Generator) -> Floats:
        """One vector of each of these clusters."""
        noise = rng.standard_normal((len(member), self.centres.shape[1]), dtype=np.float32)
        vectors = self.centres[member] + np.float32(self.spread) * noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(n: int, dim: int, seed: int, clusters: int | None = None) -> tuple[Floats, Ints]:
    """Seeded clustered unit vectors, shape (n, dim) float32, and the cluster of each; about n / 100 clusters."""
    return Clusters(clusters or max(16, n // 100), dim, seed).rows(n)


def generated(
    rows: int, dim: int, queries: int, seed: int, spread: float = 0.8, clusters: int | None = None
) -> Dataset:
    """The data set benchmarks have by default. A spread above 1 makes the clusters overlap: harder for any index."""
    source = Clusters(clusters or max(16, rows // 100), dim, seed, spread)
    vectors, topics = source.rows(rows)
    asked, _ = source.rows(queries)
    name = f"clustered, spread {spread:g}, seed {seed}"
    return Dataset(name, vectors, asked, topics=topics, draw=source.draw)


def add_arguments(parser: argparse.ArgumentParser, rows: int, dim: int = 384, count: int = 200) -> None:
    """The arguments chosen() reads."""
    parser.add_argument(
        "--rows", type=positive, default=None, help=f"vectors; {rows:,} generated, or all of --data, by default"
    )
    parser.add_argument("--dim", type=positive, default=dim, help="of generated vectors; default %(default)s")
    parser.add_argument(
        "--spread", type=number, default=0.8, help="of generated clusters, above 1 they overlap; default %(default)s"
    )
    parser.add_argument("--query-count", type=positive, default=count, help="queries; default %(default)s")
    add_file_arguments(parser, *PARTS)
    parser.set_defaults(default_rows=rows)


PARTS = {
    "queries": "queries for --data, a file of the same kinds; else rows are held out",
    "namespaces": "namespace of each row of --data: .npy, .txt, .json or .jsonl",
    "tags": "tags of each row of --data, likewise; in .txt separated by commas",
}


def add_file_arguments(parser: argparse.ArgumentParser, *parts: str) -> None:
    """--data and --metric, and those of PARTS that a benchmark heeds: what it does not, it does not take."""
    parser.add_argument(
        "--data", type=Path, help="ann-benchmarks .hdf5, .fvecs, .bvecs, .npy, or a folder (see bench/README.md)"
    )
    for name in parts:
        parser.add_argument(f"--{name}", type=Path, help=PARTS[name])
    parser.add_argument(
        "--metric", choices=["cosine", "l2", "inner_product"], help="of --data where the file does not tell"
    )


def rows_of(args: argparse.Namespace) -> int:
    """How many vectors are generated."""
    rows: int = args.default_rows if args.rows is None else args.rows
    return rows


def refuse(args: argparse.Namespace, why: str, *names: str) -> None:
    """Exit when one of these arguments is given: nothing would heed it."""
    for name in names:
        if getattr(args, name, None) is not None:
            raise SystemExit(f"--{name}: {why}")


def check_arguments(args: argparse.Namespace) -> None:
    """Exit when something is told about --data without it."""
    if args.data is None:
        refuse(args, "is about --data, which is not given", "queries", "namespaces", "tags", "metric")


def chosen(args: argparse.Namespace) -> Dataset:
    """The data set the arguments ask for, cleaned."""
    check_arguments(args)
    if args.data is None:
        return generated(rows_of(args), args.dim, args.query_count, args.seed, args.spread)
    from . import files

    found = clean(files.read(args))
    if not len(found.vectors) or (args.query_count and not len(found.queries)):
        raise SystemExit(f"{found.name}: has {len(found.vectors)} vectors and {len(found.queries)} queries")
    return found


def of_file(args: argparse.Namespace, argument: str | None, rows: int, query_count: int = 0) -> Dataset:
    """The data set of --data, of the first so many vectors. Without ``query_count`` nothing is asked of it, and no rows are held out.

    ``argument``: which one asks for so many, if any; that there are fewer is said.
    """
    given = dict.fromkeys(PARTS) | vars(args) | {"rows": rows, "query_count": query_count}
    found = chosen(argparse.Namespace(**given))
    if argument and len(found.vectors) < rows:
        print(f"--{argument}: {len(found.vectors):,} and not {rows:,}, {found.name} has no more", file=sys.stderr)
    return found


def clean(data: Dataset) -> Dataset:
    """Without what a store refuses, which it would only when all before was loaded.

    That is vectors with NaN or infinity, those too long for single precision, and under cosine those that are zero or too short.
    """

    def good(vectors: Floats) -> NDArray[np.bool_]:
        keep = np.zeros(len(vectors), dtype=np.bool_)
        for start in range(0, len(vectors), 10_000):  # fit takes twice their memory
            some = slice(start, start + 10_000)
            keep[some] = fit(vectors[some], data.metric)
        return keep

    rows, asked = good(data.vectors), good(data.queries)
    if rows.all() and asked.all():
        return data
    print(
        f"{data.name}: left out {int((~rows).sum())} vectors and {int((~asked).sum())} queries that are not finite, too long for single precision, or under cosine zero or too short",
        file=sys.stderr,
    )
    return replace(
        data,
        vectors=data.vectors[rows],
        queries=data.queries[asked],
        namespaces=data.namespaces and [v for v, keep in zip(data.namespaces, rows, strict=True) if keep],
        tags=data.tags and [v for v, keep in zip(data.tags, rows, strict=True) if keep],
        topics=None if data.topics is None else data.topics[rows],
        filters={
            level: [v for v, keep in zip(asks, asked, strict=True) if keep] for level, asks in data.filters.items()
        },
        neighbors=data.neighbors[asked] if data.neighbors is not None and rows.all() else None,
    )


def distances(queries: Floats, vectors: Floats, metric: str) -> Floats:
    """Distance of each query to each vector, shape (q, n): small is near, whatever the metric."""
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=-1, keepdims=True)
        norms = np.linalg.norm(vectors, axis=1)
        return (1 - (queries @ vectors.T) / norms).astype(np.float32)
    if metric == "inner_product":
        return (-(queries @ vectors.T)).astype(np.float32)
    # In double precision: the squares of l2 cancel.
    q, v = queries.astype(np.float64), vectors.astype(np.float64)
    squares = (q**2).sum(axis=-1)[:, None] + (v**2).sum(axis=1) - 2 * q @ v.T
    return np.sqrt(np.maximum(squares, 0)).astype(np.float32)
