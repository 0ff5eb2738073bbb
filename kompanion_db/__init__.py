"""The memory of AI companions and agents, as a database package: PostgreSQL + pgvector, SQL first.

``connect(url)`` gives a :class:`Store`, ``await connect_async(url)`` an :class:`AsyncStore`; each of their methods
is the SQL function of the same name in schema ``kompanion``.
"""

from __future__ import annotations

from . import errors
from .chunking import Chunk, chunk_text
from .connecting import connect, connect_async
from .embedders import Embedder, HashEmbedder, OpenAIEmbedder
from .errors import KompanionError
from .migrate import migrate, rollback, status
from .namespaces import namespace_id, namespace_segments
from .store import AsyncStore, Store
from .types import (
    Advice,
    BulkResult,
    EmbeddingResult,
    Finding,
    Hit,
    Imported,
    IndexStep,
    Item,
    ItemChunk,
    Model,
    Namespace,
    NewItem,
    PendingChunk,
    Purged,
    RegisteredModel,
    Revision,
    Stats,
    StoredChunk,
    Thread,
    WriteResult,
)
from .types_tuning import CalibrationPoint, IndexCandidate, MeasuredRecall

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "AsyncStore",
    "BulkResult",
    "CalibrationPoint",
    "Chunk",
    "Embedder",
    "EmbeddingResult",
    "Finding",
    "HashEmbedder",
    "Hit",
    "Imported",
    "IndexCandidate",
    "IndexStep",
    "Item",
    "ItemChunk",
    "KompanionError",
    "MeasuredRecall",
    "Model",
    "Namespace",
    "NewItem",
    "OpenAIEmbedder",
    "PendingChunk",
    "Purged",
    "RegisteredModel",
    "Revision",
    "Stats",
    "Store",
    "StoredChunk",
    "Thread",
    "WriteResult",
    "chunk_text",
    "connect",
    "connect_async",
    "errors",
    "migrate",
    "namespace_id",
    "namespace_segments",
    "rollback",
    "status",
]
