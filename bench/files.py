"""Data sets from files: ann-benchmarks HDF5, fvecs and bvecs, npy, and folders with namespaces, tags and queries."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .data import Dataset, Floats, refuse

METRICS = {"angular": "cosine", "euclidean": "l2", "ip": "inner_product", "dot": "inner_product"}


def read(args: argparse.Namespace) -> Dataset:
    """The data set of --data."""
    for name in ("data", "queries", "namespaces", "tags"):
        given: Path | None = getattr(args, name)
        if given is not None and not given.exists():
            raise SystemExit(f"--{name}: there is no {given}")
    path: Path = args.data
    if path.is_dir():
        refuse(args, "a folder brings its own, or none", "queries", "namespaces", "tags")
        return folder(path, args)
    if path.suffix in (".hdf5", ".h5"):
        refuse(args, "an .hdf5 file brings its own", "queries")
        return scoped(hdf5(path, args), args)
    if args.queries:
        vectors, queries = vectors_of(path, args.rows), vectors_of(args.queries, args.query_count)
    else:  # the last rows are the queries
        both = vectors_of(path, None if args.rows is None else args.rows + args.query_count)
        cut = len(both) - args.query_count
        if cut < args.query_count:
            raise SystemExit(f"--query-count: {args.query_count} queries cannot be held out of {len(both)} rows")
        vectors, queries = both[:cut], both[cut:]
    return scoped(Dataset(path.name, vectors, queries, args.metric or "cosine"), args)


def scoped(data: Dataset, args: argparse.Namespace) -> Dataset:
    """The data set with the namespaces and tags that --namespaces and --tags give its rows."""
    rows = len(data.vectors)
    columns = {name: column(getattr(args, name)) for name in ("namespaces", "tags") if getattr(args, name)}
    for name, values in columns.items():
        if len(values) < rows:
            raise SystemExit(f"--{name}: {len(values)} values for {rows} vectors")
    return replace(
        data,
        namespaces=[str(v) for v in columns["namespaces"][:rows]] if "namespaces" in columns else None,
        tags=[tag_list(v) for v in columns["tags"][:rows]] if "tags" in columns else None,
    )


def vectors_of(path: Path, rows: int | None) -> Floats:
    """The first rows of a file of vectors, as float32, shape (n, dim)."""
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")
        if array.ndim != 2:
            raise SystemExit(f"{path.name}: an array of shape (rows, dim) is needed, not {array.shape}")
        return np.ascontiguousarray(array[:rows], dtype=np.float32)
    if path.suffix not in (".fvecs", ".bvecs", ".ivecs"):
        raise SystemExit(f"{path.name}: its kind is none of .fvecs, .bvecs and .npy, or for --data .hdf5 or a folder")
    # Each row: the dimension as int32, then dim float32 (f), uint8 (b) or int32 (i).
    item = np.dtype({".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}[path.suffix])
    raw = np.memmap(path, dtype="u1", mode="r")
    dim = int(raw[:4].view("<i4")[0])
    width = 4 + dim * item.itemsize
    if dim < 1 or len(raw) % width:
        raise SystemExit(f"{path.name}: {len(raw)} bytes are not rows of {dim} elements")
    table = raw.reshape(-1, width)[:rows, 4:]
    return np.ascontiguousarray(table).view(item).astype(np.float32)


def hdf5(path: Path, args: argparse.Namespace) -> Dataset:
    """ann-benchmarks: data sets train, test and mostly neighbors; the attribute distance tells the metric."""
    import h5py

    with h5py.File(path, "r") as file:
        if not {"train", "test"} <= set(file):
            raise SystemExit(f"{path.name}: needs the data sets train and test, has {', '.join(file) or 'none'}")
        told = str(file.attrs.get("distance", ""))
        metric = args.metric or METRICS.get(told)
        if metric is None:
            raise SystemExit(f"{path.name}: its distance {told!r} is not one we know; say --metric")
        train = file["train"]
        vectors = np.asarray(train[: args.rows], dtype=np.float32)
        queries = np.asarray(file["test"][: args.query_count], dtype=np.float32)
        whole = len(vectors) == len(train)
        near = (
            np.asarray(file["neighbors"][: args.query_count], dtype=np.int64) if whole and "neighbors" in file else None
        )
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
        lines = [(line["ns"], line.get("tags", [])) for line in json_lines(meta)]
        as_long_as(base, meta, len(lines))
        data.namespaces, data.tags = [ns for ns, _ in lines[:rows]], [tags for _, tags in lines[:rows]]
    told = one("queries.jsonl")
    if told is not None:
        asks = [line.get("filters", {}) for line in json_lines(told)]
        as_long_as(asked, told, len(asks))
        for level in sorted({level for ask in asks[:count] for level in ask}):
            data.filters[level] = [(ask.get(level) or {}).get("filter") for ask in asks[:count]]
    truth = one("groundtruth.npz")
    if truth is not None and rows == len(np.load(base, mmap_mode="r")):
        with np.load(truth) as answers:
            near = answers["none_ids"].astype(np.int64)
        as_long_as(asked, truth, len(near))
        data.neighbors = near[:count]
    return data


def as_long_as(array: Path, other: Path, found: int) -> None:
    """Exit when a file is not as long as the array it tells about: its lines would be those of other rows."""
    rows = len(np.load(array, mmap_mode="r"))
    if found != rows:
        raise SystemExit(f"{other.name}: is {found} long, for the {rows} rows of {array.name}")


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl or .jsonl.zst file."""
    if path.suffix != ".zst":
        with path.open(encoding="utf8") as lines:
            yield from map(json.loads, lines)
        return
    import zstandard

    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        yield from map(json.loads, io.TextIOWrapper(stream, encoding="utf8"))


def column(path: Path) -> list[Any]:
    """One value a row of a data set."""
    if path.suffix == ".npy":
        values: list[Any] = np.load(path, allow_pickle=False).tolist()
        return values
    text = path.read_text(encoding="utf8")
    if path.suffix == ".json":
        return list(json.loads(text))
    lines = text.splitlines()
    return [json.loads(line) for line in lines] if path.suffix == ".jsonl" else lines


def tag_list(value: Any) -> list[str]:
    """Tags of a row: a list, or text with commas."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]
