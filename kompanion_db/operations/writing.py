"""Writing one item, and its life afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import arguments as check
from ..chunking import Chunk
from ..embedders.base import name_of
from ..errors import NotFound, StaleChunk
from ..requests import Call, Steps, answered, rows_of
from ..types import Purged, Vector, WriteResult
from .embedding import Context, Cut, chunk_arguments, cut_and_embed, cut_and_embed_anew, embedder_model


def upsert_item(
    context: Context,
    namespace: str,
    key: str | None,
    content: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    thread: str | None = None,
    user_key: str | None = None,
    expires_at: datetime | None = None,
    ttl: timedelta | None = None,
    expected_revision: int | None = None,
    actor: str | None = None,
    created_at: datetime | None = None,
    chunks: Sequence[Chunk] | None = None,
    vectors: Any = None,
    model: str | None = None,
) -> Steps[WriteResult]:
    """Write an item whole: what is left out is empty, not kept. ``key`` None: the item_id becomes the key.

    ``status`` is inserted, revised, or unchanged and then no new revision. ``expected_revision`` 0 means it must
    not exist. With an embedder the content is cut, and new chunks are embedded, before anything is written, and
    ``model`` is the embedder's; otherwise ``chunks`` and ``vectors`` (shape (chunks, dim), float32, a row may be None)
    may come along, and what has no vector waits in ``pending_embeddings``.

    Raises RevisionConflict, BadNamespace, NamespaceDeleted, ThreadClosed, BadVector, UnknownModel, BadArgument,
    TooLarge, EmbedderError.
    """
    sent: dict[str, Any] = {  # checked before anything is embedded, which may take money
        "namespace": check.text("namespace", namespace),
        "key": check.text("key", key),
        "content": check.text("content", content),
        "metadata": check.json_object("metadata", metadata),
        "tags": check.texts("tags", tags),
        "thread": check.text("thread", thread),
        "user_key": check.text("user_key", user_key),
        "expires_at": check.moment("expires_at", expires_at),
        "ttl": check.duration("ttl", ttl),
        "expected_revision": check.integer("expected_revision", expected_revision),
        "actor": check.text("actor", actor),
        "created_at": check.moment("created_at", created_at),
    }
    pieces: list[Chunk] | None
    found: list[Vector | None] | None
    if context.embedder is not None and model is None:
        model = name_of(context.embedder)
    if vectors is None and context.embedder is not None and content:
        model = embedder_model(context, "content", model)
        ((pieces, found),) = yield from cut_and_embed(context, [(namespace, key, content, chunks)])
    else:
        pieces = list(check.sequence("chunks", chunks, "chunks")) if chunks is not None else None
        found = None if vectors is None else check.vectors("vectors", vectors)
    rows = yield from rows_of(
        "upsert_item",
        False,
        **sent,
        **chunk_arguments("chunks", "chunk_starts", "chunk_ends", pieces),
        vectors=found,
        model=check.text("model", model),
    )
    return WriteResult(**rows[0])


def delete_item(
    namespace: str, key: str, *, expected_revision: int | None = None, actor: str | None = None
) -> Steps[WriteResult]:
    """Soft-delete an item, as a new revision; ``status`` deleted or unchanged.

    Raises NotFound, RevisionConflict, BadNamespace.
    """
    rows = yield from rows_of(
        "delete_item",
        False,
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        expected_revision=check.integer("expected_revision", expected_revision),
        actor=check.text("actor", actor),
    )
    return WriteResult(**rows[0])


def restore_item(
    namespace: str,
    key: str,
    *,
    expires_at: datetime | None = None,
    ttl: timedelta | None = None,
    actor: str | None = None,
) -> Steps[WriteResult]:
    """Bring back a deleted or expired item, as a new revision; ``status`` restored or unchanged.

    An expiry that is past is lifted unless a new one is given.
    Raises NotFound, BadArgument, BadNamespace, NamespaceDeleted.
    """
    rows = yield from rows_of(
        "restore_item",
        False,
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        expires_at=check.moment("expires_at", expires_at),
        ttl=check.duration("ttl", ttl),
        actor=check.text("actor", actor),
    )
    return WriteResult(**rows[0])


def touch_item(
    namespace: str,
    key: str,
    *,
    expires_at: datetime | None = None,
    ttl: timedelta | None = None,
    actor: str | None = None,
) -> Steps[WriteResult]:
    """Extend the life of a live item, never shorten it; ``status`` revised or unchanged.

    Raises NotFound, BadArgument, BadNamespace, NamespaceDeleted.
    """
    rows = yield from rows_of(
        "touch_item",
        False,
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        expires_at=check.moment("expires_at", expires_at),
        ttl=check.duration("ttl", ttl),
        actor=check.text("actor", actor),
    )
    return WriteResult(rows[0]["item_id"], rows[0]["revision"], rows[0]["status"])


def revert_item(
    context: Context,
    namespace: str,
    key: str,
    revision: int,
    *,
    expected_revision: int | None = None,
    actor: str | None = None,
) -> Steps[WriteResult]:
    """Make an item again what it was at ``revision``, as a new one; ``status`` revised or unchanged.

    With an embedder the chunks of another content are cut and embedded, first, so that nothing is changed where that
    fails. Raises NotFound, RevisionConflict, BadNamespace, NamespaceDeleted, EmbedderError.
    """
    names: dict[str, Any] = {"namespace": check.text("namespace", namespace), "key": check.text("key", key)}
    number = check.integer("revision", revision)
    content, cut = "", None
    if context.embedder is not None:
        history = yield from rows_of("item_history", **names)
        content = next((row["content"] for row in history if row["revision"] == number), "")
        if content and content != history[-1]["content"]:
            cut = yield from cut_and_embed_anew(context, content)
    rows = yield from rows_of(
        "revert_item",
        False,
        **names,
        revision=number,
        expected_revision=check.integer("expected_revision", expected_revision),
        actor=check.text("actor", actor),
    )
    result = WriteResult(rows[0]["item_id"], rows[0]["revision_now"], rows[0]["status"])
    if context.embedder is not None and cut is not None and result.status == "revised":
        yield from _put_cut(names, content, cut, name_of(context.embedder))
    return result


def _put_cut(names: dict[str, Any], content: str, cut: Cut, model: str) -> Steps[None]:
    """Put chunks and vectors in the place of an item's; nothing when it has gone or has another content by now."""
    items = yield from rows_of("get_item", **names)
    if not items or items[0]["content"] != content:
        return  # whoever wrote that has seen to its chunks
    chunks, vectors = cut
    try:
        arguments = {
            **names,
            "content_revision": items[0]["content_revision"],
            **chunk_arguments("texts", "starts", "ends", chunks),
        }
        stored = yield from answered(Call("put_chunks", arguments, reads=False, may_fail=True))
    except (NotFound, StaleChunk):
        return
    if stored:
        yield from rows_of(
            "put_embeddings",
            False,
            namespace_ids=[items[0]["namespace_id"]] * len(stored),
            chunk_ids=[row["chunk_id"] for row in stored],
            chunk_revisions=[row["chunk_revision"] for row in stored],
            vectors=vectors,
            model=model,
        )


def purge(*, batch: int = 1000) -> Steps[Purged]:
    """Remove for good a batch of what is past its retention; call until all counts are 0. Raises BadArgument."""
    rows = yield from rows_of("purge", False, batch=check.integer("batch", batch))
    return Purged(**rows[0])


def trim_history(*, keep_for: timedelta | None = None, keep_last: int = 0, batch: int = 1000) -> Steps[int]:
    """Remove a batch of old superseded revisions; return how many, call until 0.

    ``keep_for`` None: the setting ``retention_revisions``. Raises BadArgument.
    """
    rows = yield from rows_of(
        "trim_history",
        False,
        keep_for=check.duration("keep_for", keep_for),
        keep_last=check.integer("keep_last", keep_last),
        batch=check.integer("batch", batch),
    )
    result: int = rows[0]["trim_history"]
    return result
