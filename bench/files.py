"""Data sets from files: ann-benchmarks HDF5, fvecs and bvecs, npy, and folders with namespaces, tags and queries."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kompanion_db import vector_files
from kompanion_db.errors import BadNamespace
from kompanion_db.namespaces import namespace_segments
from kompanion_db.vector_files import single

from . import command
from .data import Dataset, Floats, refuse

METRICS = {"angular": "cosine", "euclidean": "l2", "ip": "inner_product", "dot": "inner_product"}
HDF5 = (".hdf5", ".h5")


@contextmanager
def legible(path: Path, problem: str) -> Iterator[None]:
    """Exit with a line when a file cannot be read. Every library has errors of its own for what is broken, zlib's among them."""
    try:
        yield
    except Exception as exc:
        raise SystemExit(f"{path.name}: {problem}: {exc}") from None


def read(args: argparse.Namespace) -> Dataset:
    """The data set of --data."""
    for name in ("data", "queries", "namespaces", "tags"):
        given: Path | None = getattr(args, name)
        if given is not None and not given.exists():
            raise SystemExit(f"--{name}: there is no {given}")
    data = scoped(_read(args), args)
    check(data)
    return data


def _read(args: argparse.Namespace) -> Dataset:
    path: Path = args.data
    if path.is_dir():
        refuse(args, "a folder brings its own, or none", "queries", "namespaces", "tags")
        return folder(path, args)
    if path.suffix in HDF5:
        refuse(args, "an .hdf5 file brings its own", "queries")
        return hdf5(path, args)
    if args.queries:
        vectors, queries = vectors_of(path, args.rows), vectors_of(args.queries, args.query_count)
    else:  # the last rows are the queries
        both = vectors_of(path, None if args.rows is None else args.rows + args.query_count)
        cut = len(both) - args.query_count
        if cut < args.query_count:
            raise SystemExit(f"--query-count: {args.query_count} queries cannot be held out of {len(both)} rows")
        vectors, queries = both[:cut], both[cut:]
    return Dataset(path.name, vectors, queries, args.metric or "cosine")


def check(data: Dataset) -> None:
    """Exit when what a data set brings does not fit together; it would be noticed when the vectors are loaded, or never."""
    rows, dim, asked = len(data.vectors), data.dim, data.queries.shape[1]
    if dim < 1:
        raise SystemExit(f"{data.name}: its vectors have no elements")
    if asked != dim:
        raise SystemExit(f"{data.name}: the vectors have {dim} dimensions, the queries {asked}")
    near = data.neighbors
    if near is not None and (near.ndim != 2 or near.dtype.kind not in "iu" or len(near) != len(data.queries)):
        raise SystemExit(f"{data.name}: its neighbours are not whole numbers of shape ({len(data.queries)}, k)")
    if near is not None and near.size and not 0 <= near.min() <= near.max() < rows:
        raise SystemExit(
            f"{data.name}: its neighbours are rows {near.min()} to {near.max()}, there are 0 to {rows - 1}"
        )


def scoped(data: Dataset, args: argparse.Namespace) -> Dataset:
    """The data set with the namespaces and tags that --namespaces and --tags give its rows."""
    rows = len(data.vectors)
    held_out = 0 if args.queries or args.data.suffix in HDF5 else args.query_count
    most = rows + held_out if args.rows is None else None  # of a part of a file it is not known how long all of it is
    if args.namespaces:
        names = [str(value) for value in column("namespaces", args.namespaces, rows, most)]
        data = replace(data, namespaces=paths(args.namespaces, names))
    if args.tags:
        data = replace(data, tags=[tag_list(value) for value in column("tags", args.tags, rows, most)])
    return data


def paths(file: Path, names: list[str]) -> list[str]:
    """The namespaces of a file, one a line. Exits at the first that is none."""
    good: set[str] = set()
    for n, name in enumerate(names, 1):
        if name not in good:
            try:
                namespace_segments(name)
            except BadNamespace as exc:
                raise SystemExit(f"{file.name}: line {n}: {exc}") from None
            good.add(name)
    return names


def vectors_of(path: Path, rows: int | None) -> Floats:
    """The first rows of a file of vectors, as float32, shape (n, dim)."""
    try:
        return vector_files.read_vectors(path, rows)
    except ValueError as exc:
        more = "" if path.suffix in vector_files.KINDS else "; --data may also be .hdf5 or a folder"
        raise SystemExit(f"{exc}{more}") from None


def hdf5(path: Path, args: argparse.Namespace) -> Dataset:
    """ann-benchmarks: data sets train, test and mostly neighbors; the attribute distance tells the metric."""
    command.need("h5py")
    import h5py

    with legible(path, "cannot be read as HDF5"), h5py.File(path, "r") as file:
        if not {"train", "test"} <= set(file):
            raise SystemExit(f"{path.name}: needs the data sets train and test, has {', '.join(file) or 'none'}")
        told = file.attrs.get("distance", "")
        told = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
        metric = args.metric or METRICS.get(told)
        if metric is None:
            raise SystemExit(f"{path.name}: its distance {told!r} is not one we know; say --metric")
        for name in ("train", "test"):
            found = file[name]
            if not isinstance(found, h5py.Dataset) or found.ndim != 2 or found.dtype.kind not in "fiu":
                raise SystemExit(f"{path.name}: {name} is no array of numbers of shape (rows, dim)")
        train = file["train"]
        vectors, queries = single(train[: args.rows]), single(file["test"][: args.query_count])
        whole = len(vectors) == len(train)
        near = np.asarray(file["neighbors"][: args.query_count]) if whole and "neighbors" in file else None
    return Dataset(path.name, vectors, queries, metric, neighbors=near)


def folder(path: Path, args: argparse.Namespace) -> Dataset:
    """base and queries (.npy or .f16.npy), meta.jsonl (ns, tags), queries.jsonl (filters), groundtruth.npz; see README."""

    def one(*names: str) -> Path | None:
        return next((path / name for name in names if (path / name).exists()), None)

    base, asked = one("base.f16.npy", "base.npy"), one("queries.f16.npy", "queries.npy")
    if base is None or asked is None:
        raise SystemExit(f"{path.name}: needs base.npy and queries.npy (or .f16.npy)")
    data = Dataset(path.name, vectors_of(base, args.rows), vectors_of(asked, args.query_count), args.metric or "cosine")
    rows, count = len(data.vectors), len(data.queries)
    meta = one("meta.jsonl.zst", "meta.jsonl")
    if meta is not None:
        lines = [(line.get("ns"), line.get("tags", [])) for line in json_objects(meta)]
        as_long_as(base, meta, len(lines))
        data.namespaces = paths(meta, [ns for ns, _ in lines[:rows]])
        data.tags = [tag_list(tags) for _, tags in lines[:rows]]
    told = one("queries.jsonl")
    if told is not None:
        asks = [filters_of(told, n, line) for n, line in enumerate(json_objects(told), 1)]
        as_long_as(asked, told, len(asks))
        for level in sorted({level for ask in asks[:count] for level in ask}):
            data.filters[level] = [ask.get(level) for ask in asks[:count]]
    truth = one("groundtruth.npz")
    if truth is not None and rows == length(base):
        with legible(truth, "has no array none_ids"), np.load(truth) as answers:
            near = answers["none_ids"]
            as_long_as(asked, truth, len(near))
        data.neighbors = near[:count]
    return data


def filters_of(file: Path, n: int, line: dict[str, Any]) -> dict[str, Any]:
    """By level, the namespace or the tags of a line of queries.jsonl."""
    found = {}
    try:
        for level, given in line.get("filters", {}).items():
            wanted = (given or {}).get("filter")
            if wanted is not None and not isinstance(wanted, str):
                wanted = [str(tag) for tag in wanted]
            found[level] = wanted or None
    except (AttributeError, TypeError):
        raise SystemExit(f'{file.name}: line {n}: filters are not as {{"level": {{"filter": "project"}}}}') from None
    return found


def length(array: Path) -> int:
    """How many rows the array of a .npy file has."""
    return len(vector_files.open_npy(array))


def as_long_as(array: Path, other: Path, found: int) -> None:
    """Exit when a file is not as long as the array it tells about: its lines would be those of other rows."""
    rows = length(array)
    if found != rows:
        raise SystemExit(f"{other.name}: is {found} long, for the {rows} rows of {array.name}")


def json_lines(path: Path) -> Iterator[Any]:
    """The values of a .jsonl or .jsonl.zst file."""
    if path.suffix == ".zst":
        command.need("zstandard")
        import zstandard

        with (
            legible(path, "cannot be decompressed"),
            path.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
        ):
            yield from parsed(path, io.TextIOWrapper(stream, encoding="utf8"))
        return
    with legible(path, "cannot be read"), path.open(encoding="utf8") as lines:
        yield from parsed(path, lines)


def parsed(path: Path, lines: Iterable[str]) -> Iterator[Any]:
    """Each line from JSON."""
    n = 0
    try:
        for line in lines:
            n += 1
            yield json.loads(line)
    except UnicodeDecodeError as exc:
        raise SystemExit(f"{path.name}: is not UTF-8: {exc}") from None
    except (ValueError, RecursionError) as exc:
        raise SystemExit(f"{path.name}: line {n} is no JSON: {exc}") from None


def json_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl or .jsonl.zst file."""
    for n, value in enumerate(json_lines(path), 1):
        if not isinstance(value, dict):
            raise SystemExit(f"{path.name}: line {n} is no JSON object")
        yield value


def column(name: str, path: Path, rows: int, most: int | None = None) -> list[Any]:
    """One value a row of a data set, of the file of an argument of that name; those of more than ``most`` are of other rows."""
    values: Any
    try:
        if path.suffix == ".npy":
            values = vector_files.open_npy(path).tolist()
        elif path.suffix == ".json":
            values = json.loads(path.read_text(encoding="utf8"))
        elif path.suffix == ".jsonl":
            values = list(json_lines(path))
        else:
            values = path.read_text(encoding="utf8").splitlines()
    except (OSError, ValueError, RecursionError) as exc:
        raise SystemExit(f"--{name}: {path.name} cannot be read: {exc}") from None
    if not isinstance(values, list):
        raise SystemExit(f"--{name}: {path.name} is no list of one value a row")
    if len(values) < rows:
        raise SystemExit(f"--{name}: {len(values)} values for {rows} vectors")
    if most is not None and len(values) not in (rows, most):
        raise SystemExit(f"--{name}: {len(values)} values for a file of {most} vectors, they are those of another")
    return values[:rows]


def tag_list(value: Any) -> list[str]:
    """Tags of a row: a list, or text with commas; none for None."""
    if value is None:
        return []
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]
