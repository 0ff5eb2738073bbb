"""What calls return: plain frozen dataclasses, one field a column of the SQL function."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""A vector: shape (dim,), dtype float32."""


@dataclass(frozen=True)
class Namespace:
    """A namespace that was written to; ``deleted_at`` is set while it is soft-deleted."""

    namespace: str
    namespace_id: UUID
    created_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True)
class Thread:
    """A thread of a namespace; ``cursor`` is handed back as ``after`` for the next page."""

    namespace: str
    thread: str
    title: str | None
    metadata: dict[str, Any]
    created_at: datetime
    closed_at: datetime | None
    cursor: str


@dataclass(frozen=True)
class WriteResult:
    """What a write did: ``status`` inserted, revised, unchanged, deleted or restored, and the revision now."""

    item_id: UUID
    revision: int
    status: str


@dataclass(frozen=True)
class Item:
    """A live item at its current revision; ``content_revision`` is the one that last changed its content."""

    namespace: str
    namespace_id: UUID
    item_id: UUID
    key: str
    content: str
    metadata: dict[str, Any]
    tags: list[str]
    thread: str | None
    user_key: str | None
    actor: str | None
    revision: int
    content_revision: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    cursor: str | None = None


@dataclass(frozen=True)
class Revision:
    """One revision of an item; ``superseded_at`` is None for the current one."""

    item_id: UUID
    revision: int
    content: str
    metadata: dict[str, Any]
    tags: list[str]
    thread: str | None
    user_key: str | None
    actor: str | None
    updated_at: datetime
    superseded_at: datetime | None
    expires_at: datetime | None
    deleted_at: datetime | None = None


@dataclass(frozen=True, eq=False)
class ItemChunk:
    """A chunk of an item; ``vector`` has shape (dim,), float32, None where there is none yet.

    ``content[start_offset:end_offset]`` of the item is where it was cut, in characters.
    """

    chunk_id: int
    ordinal: int
    content: str
    start_offset: int
    end_offset: int
    chunk_revision: int
    vector: Vector | None

    def __eq__(self, other: object) -> bool:
        # Arrays have no one answer to ==, so their bytes are compared.
        return self._fields() == other._fields() if isinstance(other, ItemChunk) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._fields())

    def _fields(self) -> tuple[Any, ...]:
        return (*(vars(self) | {"vector": None if self.vector is None else self.vector.tobytes()}).values(),)


@dataclass(frozen=True)
class StoredChunk:
    """A chunk of an item and the models it has a vector of."""

    chunk_id: int
    ordinal: int
    chunk_revision: int
    embedded: list[str]


@dataclass(frozen=True)
class PendingChunk:
    """A chunk that needs a vector, claimed for the caller until the lease ends."""

    namespace: str
    namespace_id: UUID
    chunk_id: int
    chunk_revision: int
    content: str


@dataclass(frozen=True)
class EmbeddingResult:
    """Whether the vector of a chunk was ``stored``, or the chunk is ``stale``: changed or gone since."""

    namespace_id: UUID
    chunk_id: int
    status: str


@dataclass(frozen=True)
class RegisteredModel:
    """The answer of register_model; ``queued`` chunks now wait for a vector of it."""

    model_id: int
    model: str
    is_default: bool
    queued: int


@dataclass(frozen=True)
class Model:
    """An embedding model; ``index_kind`` is none, ivfflat or hnsw, on SQLite none or ivfpq.

    ``index_rows``: its rows when that was built.
    """

    model: str
    dim: int
    metric: str
    is_default: bool
    index_kind: str
    index_lists: int | None
    index_rows: int | None
    queued: int
    created_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class Hit:
    """One search result: an item by its best chunk, or a chunk.

    ``distance`` is the metric's (inner_product: negative); ``score`` grows with nearness.
    """

    rank: int
    namespace: str
    namespace_id: UUID
    item_id: UUID
    key: str
    chunk_id: int
    ordinal: int
    chunk: str
    metadata: dict[str, Any]
    tags: list[str]
    thread: str | None
    revision: int
    distance: float
    score: float
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Stats:
    """Figures of one namespace and model; ``bytes`` as stored, indexes not counted."""

    namespace: str
    model: str | None
    items: int
    live: int
    expired: int
    deleted: int
    revisions: int
    chunks: int
    embedded: int
    unembedded: int
    bytes: int


@dataclass(frozen=True)
class Advice:
    """Something that would make searches better, and the statement that does it; no ``model`` where it is of all."""

    model: str | None
    advice: str
    statement: str | None


@dataclass(frozen=True)
class IndexStep:
    """A statement that was run to give a model its index, and why."""

    step: int
    statement: str
    reason: str


@dataclass(frozen=True)
class Purged:
    """How many rows one purge removed."""

    items: int
    revisions: int
    namespaces: int


@dataclass(frozen=True)
class Imported:
    """How many documents were written, and how many items were skipped because their name was taken."""

    registry: int
    items: int
    skipped: int


@dataclass(frozen=True)
class BulkResult:
    """What a bulk load did: items by status, and how many in all."""

    items: int
    inserted: int
    revised: int
    unchanged: int


@dataclass
class NewItem:
    """An item to be written by upsert_items; the fields are the arguments of upsert_item, but for ttl.

    ``vectors``: shape (chunks, dim) float32, one row a chunk; without ``chunks`` one row for the whole content.
    """

    namespace: str
    content: str
    key: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    thread: str | None = None
    user_key: str | None = None
    expires_at: datetime | None = None
    expected_revision: int | None = None
    actor: str | None = None
    created_at: datetime | None = None
    chunks: list[Any] | None = None
    vectors: Any = None


@dataclass(frozen=True)
class Finding:
    """What ``doctor`` has found wrong with which file, and what to do.

    ``severity`` is error (data is lost or cannot be read), warning (slower searches, wasted room) or repaired.
    """

    severity: str
    what: str
    file: str
    advice: str
