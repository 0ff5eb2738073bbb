"""Filters for a data set that has namespaces or tags but brings none, and which rows a namespace or a tag has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from .data import Dataset, Ints, distances


def nearest_rows(data: Dataset) -> Ints:
    """The row nearest to each query."""
    near = [
        distances(data.queries[s : s + 50], data.vectors, data.metric).argmin(axis=1)
        for s in range(0, len(data.queries), 50)
    ]
    return np.concatenate(near).astype(np.int64)


def rows_by_prefix(namespaces: list[str]) -> dict[str, Ints]:
    """Rows (sorted) at or below each namespace."""
    places: dict[str, list[int]] = defaultdict(list)
    for n, path in enumerate(namespaces):
        for end in [i for i, c in enumerate(path) if c == ":"] + [len(path)]:
            places[path[:end]].append(n)
    return {path: np.asarray(rows) for path, rows in places.items()}


def rows_by_tag(data: Dataset) -> dict[str, Ints]:
    """Rows (sorted) with each tag."""
    places: dict[str, list[int]] = defaultdict(list)
    for n, tags in enumerate(data.tags or []):
        for tag in set(tags):
            places[tag].append(n)
    return {tag: np.asarray(rows) for tag, rows in places.items()}


def pooled(
    data: Dataset, namespaces: list[str], shares: Sequence[float], rng: np.random.Generator
) -> dict[str, list[str | list[str] | None]]:
    """By level, filters of about one size: namespaces that have nothing to do with the query, its own ones, and tags.

    A query's own namespace is that of the row nearest to it.
    """
    n, q, nearest = len(data.vectors), len(data.queries), nearest_rows(data)
    prefixes = by_share(rows_by_prefix(namespaces) if data.namespaces else {}, n, shares)
    tags = by_share(rows_by_tag(data), n, shares)
    filters: dict[str, list[str | list[str] | None]] = {}
    for share in sorted({*prefixes, *tags}, reverse=True):
        level = f"{100 * share:g}pct"
        if pool := prefixes.get(share):
            own = [[p for p in pool if (namespaces[row] + ":").startswith(p + ":")] for row in nearest]
            others = [[p for p in pool if p not in found] or pool for found in own]
            filters[f"ns_rand_{level}"] = [some[rng.integers(len(some))] for some in others]
            filters[f"ns_own_{level}"] = [found[0] if found else None for found in own]
        if some := tags.get(share):
            filters[f"tag_rand_{level}"] = [[some[i]] for i in rng.integers(len(some), size=q)]
    return filters


def by_share(rows: dict[str, Ints], n: int, shares: Sequence[float]) -> dict[float, list[str]]:
    """Names that have about the same share of n rows, by that share.

    Near one of ``shares``, up to twice or half, they stand at that one. What lies between two stands at what it has in the
    mean. A name that is on every row filters nothing.
    """
    near: dict[float, list[str]] = defaultdict(list)
    between: dict[int, list[str]] = defaultdict(list)
    for name in sorted(rows):
        share = len(rows[name]) / n
        told = next((s for s in shares if s / 2 <= share <= 2 * s), None)
        if told is not None:
            near[told].append(name)
        elif share < 1:
            between[sum(s > share for s in shares)].append(name)
    means = {float(f"{np.mean([len(rows[name]) for name in pool]) / n:.2g}"): pool for pool in between.values()}
    return {**near, **means}
