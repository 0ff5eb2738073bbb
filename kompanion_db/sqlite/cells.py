"""Vectors divided into cells, as they lie: what stands for the topics of users when a calibration makes filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .exact import Floats, Query
from .sampling import sample_queries

if TYPE_CHECKING:
    from .calibrating import Field

CELLS = 32
"""Of few cells, one of many topics is a part of, and which is whole: of many, a topic lies in several."""

_SAMPLE_PER_CELL = 64
_ROUNDS = 8


def divided(field: Field, metric: str, rng: np.random.Generator) -> NDArray[np.int16]:
    """The cell of each live vector: the nearest of ``CELLS`` centroids, by k-means.

    Cells around some of the vectors would not do: a topic with two of these falls apart into halves that are near each
    other, and a vector near the middle of all draws from every topic.
    """
    # Groups by inner product are of long vectors; topics lie apart.
    metric = "cosine" if metric == "cosine" else "l2"
    nearest = np.full(field.live.count, np.inf, dtype=np.float32)
    found = np.zeros(field.live.count, dtype=np.int16)
    for number, centroid in enumerate(_centroids(field, metric, rng)):
        keys = field.keys(Query(centroid, metric))
        nearer = keys < nearest
        found[nearer] = number
        nearest[nearer] = keys[nearer]
    return found


def _centroids(field: Field, metric: str, rng: np.random.Generator) -> Floats:
    sample = np.array(sample_queries(field.live, CELLS * _SAMPLE_PER_CELL, rng, mix=False).queries, dtype=np.float64)
    if metric == "cosine":
        sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    centroids = sample[:CELLS].copy()
    for _ in range(_ROUNDS):
        near = _squares(sample, centroids).argmin(axis=1)
        for number in range(len(centroids)):
            middle = sample[near == number].mean(axis=0) if (near == number).any() else np.zeros(1)
            if middle.any():  # no cosine has a vector of zeros; nothing around it: it stays where it is
                centroids[number] = middle
    found: Floats = centroids.astype(np.float32)
    return found


def _squares(sample: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances but for the length of each of the sample; shape (n, cells)."""
    found: NDArray[np.float64] = (centroids**2).sum(axis=1) - 2 * sample @ centroids.T
    return found
