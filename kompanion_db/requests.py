"""What an operation asks of its driver: a function call, an embedding, a bulk batch.

Operations (``kompanion_db/operations``) are generators that yield these and get the answers back,
so the sync and the async store run the very same code; only the drivers differ.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import KompanionError

T = TypeVar("T")

Row = dict[str, Any]

Progress = Callable[[str], None]
"""Is called with each message of the server while a long call runs."""


@dataclass(frozen=True)
class Call:
    """Call one SQL function by name with named arguments; the answer is its rows.

    ``reads``: the function changes nothing, so it may be sent again when a pool connection was lost.
    ``progress`` is told the server's notices as they come. ``may_fail``: whoever asks goes on after an error, which is
    to undo nothing else of the transaction it is in.
    """

    function: str
    arguments: Mapping[str, Any]
    reads: bool = True
    progress: Progress | None = None
    may_fail: bool = False


@dataclass(frozen=True)
class EmbedDocuments:
    """Embed texts with the store's embedder; the answer has shape (len(texts), dim), float32."""

    texts: Sequence[str]


@dataclass(frozen=True)
class EmbedQuery:
    """Embed a question with the store's embedder; the answer has shape (dim,), float32."""

    text: str


class Turn(Protocol):
    """A merge in progress. It is kept only after ``keep``, so that batches can be merged side by side."""

    def keep(self) -> None:
        """It is this one's turn: it may commit."""

    def abandon(self) -> None:
        """It is to be rolled back, unless it was kept already."""

    def done(self) -> bool:
        """Whether it was kept, or has failed."""


@dataclass(frozen=True)
class Merge:
    """Start to stage rows by COPY and merge them, in one transaction that is kept at its turn; the answer is a Turn.

    Once it is answered the rows may change: a caller may use the array of a vector again.
    """

    items: Sequence[Sequence[Any]]
    chunks: Sequence[Sequence[Any]]
    model: str | None
    before: Turn | None
    """The merge whose turn is before; None if it is its turn already."""


@dataclass(frozen=True)
class Join:
    """Wait for a merge whose turn it is to be kept; the answer is the number of items by status, as rows."""

    merging: Turn


@dataclass(frozen=True)
class Pull:
    """Take up to ``size`` elements; the answer is (iterator to pull from next, list), empty at the end.

    The async driver takes async iterables too.
    """

    source: Any
    size: int


@dataclass(frozen=True)
class Breathe:
    """Let the merges under way go on for a moment: the making of rows takes the interpreter from them."""


@dataclass(frozen=True)
class RunAll:
    """Run the statements of index_statements one by one, each in a transaction of its own."""

    statements: Sequence[str]
    progress: Progress | None = None


@dataclass(frozen=True)
class Outside:
    """See that the caller is in no transaction, where it would be minutes before ``function`` fails.

    ``argument`` is the one that asks for what cannot be done there.
    """

    function: str
    argument: str


Request = Breathe | Call | EmbedDocuments | EmbedQuery | Join | Merge | Outside | Pull | RunAll

Steps = Generator[Request, Any, T]
"""An operation in progress: yields requests, is sent their answers, returns its result."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Ended(Generic[T]):
    """What an operation has come to."""

    result: T


def advance(
    operation: Steps[T],
    resume: Callable[[], Request],
    answer: Callable[[Request], Any],
    left: Callable[[Request], bool],
) -> Request | Ended[T]:
    """Drive an operation on from ``resume`` to its end, or to a request that is ``left`` to the caller."""
    try:
        request = resume()
        while not left(request):
            try:
                found = answer(request)
            except Exception as exc:
                request = operation.throw(exc)
            else:
                request = operation.send(found)
    except StopIteration as stop:
        return Ended(stop.value)
    return request


def drive(operation: Steps[T], answer: Callable[[Request], Any]) -> T:
    """Drive an operation to its end, its requests carried out by ``answer``; its result."""
    try:
        ended = advance(operation, partial(next, operation), answer, lambda _: False)
        assert isinstance(ended, Ended)
        return ended.result
    finally:
        operation.close()  # broken off: what it has under way ends too


def answered(request: Call | Join) -> Steps[list[Row]]:
    """The rows of a call or a merge. An error names the element of a list by its place as Python counts."""
    try:
        rows: list[Row] = yield request
    except KompanionError as exc:
        exc.count_from_0()
        raise
    return rows


def rows_of(function: str, reads: bool = True, progress: Progress | None = None, **arguments: Any) -> Steps[list[Row]]:
    """Call a function; its rows, as dicts."""
    return (yield from answered(Call(function, arguments, reads, progress)))


def value_of(function: str, reads: bool = True, **arguments: Any) -> Steps[Any]:
    """Call a function that returns one value; that value."""
    rows = yield from rows_of(function, reads, **arguments)
    return next(iter(rows[0].values()))
