"""What an operation asks of its driver: a function call, an embedding, a bulk batch.

Operations (``kompanion_db/operations``) are generators that yield these and get the answers back,
so the sync and the async store run the very same code; only the drivers differ.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Row = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """Call one SQL function by name with named arguments; the answer is its rows.

    ``reads``: the function changes nothing, so it may be sent again when a pool connection was lost.
    """

    function: str
    arguments: Mapping[str, Any]
    reads: bool = True


@dataclass(frozen=True)
class EmbedDocuments:
    """Embed texts with the store's embedder; the answer has shape (len(texts), dim), float32."""

    texts: Sequence[str]


@dataclass(frozen=True)
class EmbedQuery:
    """Embed a question with the store's embedder; the answer has shape (dim,), float32."""

    text: str


@dataclass(frozen=True)
class Merge:
    """Start to stage rows by COPY and merge them, in one transaction; the answer is what Join takes."""

    items: Sequence[Sequence[Any]]
    chunks: Sequence[Sequence[Any]]
    model: str | None


@dataclass(frozen=True)
class Join:
    """Wait for a merge to end; the answer is the rows of merge_staged."""

    merging: Any


@dataclass(frozen=True)
class Pull:
    """Take up to ``size`` elements; the answer is (iterator to pull from next, list), empty at the end.

    The async driver takes async iterables too.
    """

    source: Any
    size: int


@dataclass(frozen=True)
class RunAll:
    """Run the statements of index_statements one by one, each in a transaction of its own."""

    statements: Sequence[str]


Request = Call | EmbedDocuments | EmbedQuery | Join | Merge | Pull | RunAll

Steps = Generator[Request, Any, T]
"""An operation in progress: yields requests, is sent their answers, returns its result."""

Vectors = NDArray[np.float32]


def rows_of(function: str, reads: bool = True, **arguments: Any) -> Steps[list[Row]]:
    """Call a function; its rows, as dicts."""
    rows: list[Row] = yield Call(function, arguments, reads)
    return rows


def value_of(function: str, reads: bool = True, **arguments: Any) -> Steps[Any]:
    """Call a function that returns one value; that value."""
    rows = yield from rows_of(function, reads, **arguments)
    return next(iter(rows[0].values()))
