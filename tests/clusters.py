"""Clustered vectors with namespaces, tags, threads and metadata, and the true nearest by numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, DIM, CLUSTERS = 1800, 16, 24
_rng = np.random.default_rng(7)
_CENTRES = _rng.normal(size=(CLUSTERS, DIM))


def _near(cluster: Any) -> NDArray[np.float32]:
    return (_CENTRES[cluster] + 0.7 * _rng.normal(size=(len(cluster), DIM))).astype(np.float32)


VECTORS = _near(np.arange(ROWS) % CLUSTERS)
QUERIES = _near(np.arange(100) % CLUSTERS)
"""What users ask: near the clusters, and not stored."""


def namespace(cluster: int) -> str:
    """Two thirds of all are in acme:main; a sixth each in acme:main:p1 to p5 and acme:side:p0, p3."""
    return f"acme:{'main' if cluster % 3 else 'side'}:p{cluster % 6}"


def where(n: int) -> dict[str, Any]:
    """Where item n is; topics follow the vectors, the rest does not."""
    turn = n // CLUSTERS
    return {
        "namespace": namespace(n % CLUSTERS),
        "tags": ["odd" if turn % 2 else "even", f"topic-{n % CLUSTERS % 4}"],
        "metadata": {"n": n, "third": turn % 3, "topic": n % CLUSTERS % 4},
        "thread": "daily" if turn % 5 == 0 else None,
    }


def items(numbers: Sequence[int] = range(ROWS)) -> Iterator[dict[str, Any]]:
    """Items to be written, one chunk and vector each."""
    for n in numbers:
        yield {"key": str(n), "content": "text", "vectors": [VECTORS[n]], **where(n)}


def matching(asked: dict[str, Any]) -> list[int]:
    """The items that a search may find."""
    scope, found = asked.get("scope", "acme"), []
    for n in range(ROWS):
        item = where(n)
        if (
            f"{item['namespace']}:".startswith(f"{scope}:")
            and set(asked.get("tags_all", [])) <= set(item["tags"])
            and not set(asked.get("tags_none", [])) & set(item["tags"])
            and asked.get("thread", item["thread"]) == item["thread"]
            and all(item["metadata"][k] == v for k, v in asked.get("filter", {}).items())
        ):
            found.append(n)
    return found


def distances(query: Any) -> NDArray[np.float64]:
    """The cosine distances of all items."""
    lengths = np.linalg.norm(VECTORS, axis=1) * np.linalg.norm(query)
    far: NDArray[np.float64] = 1 - (VECTORS @ query).astype(np.float64) / lengths
    return far


def nearest(query: Any, matches: Sequence[int], k: int) -> list[int]:
    """The k true nearest of the matches."""
    far = distances(query)
    return sorted(matches, key=lambda n: far[n])[:k]
