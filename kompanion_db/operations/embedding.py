"""Chunks and their vectors: replaced, claimed, embedded, stored."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

from .. import arguments as check
from ..chunking import Chunk, chunk_text
from ..embedders.base import Embedder, check_answer, dim_of, failing, name_of
from ..errors import BadArgument, BadVector, EmbedderError, KompanionError, PermissionDenied
from ..requests import EmbedDocuments, EmbedQuery, Steps, rows_of, value_of
from ..types import EmbeddingResult, PendingChunk, StoredChunk, Vector


@dataclass(frozen=True)
class Context:
    """What operations on text need from their store: the embedder, and how content is cut."""

    embedder: Embedder | None = None
    max_characters: int = 1200
    overlap: int = 0


def need_embedder(context: Context, what: str) -> Embedder:
    """The store's embedder; BadArgument when it has none."""
    if context.embedder is None:
        raise BadArgument(
            f"{what}: this store has no embedder",
            hint="connect(url, embedder=HashEmbedder()), or give vectors.",
        )
    return context.embedder


def embedder_model(context: Context, what: str, model: str | None) -> str:
    """The model of what the store's embedder is about to embed; BadArgument when the caller names another.

    Vectors of two models are not to be compared, though they may be of one length.
    """
    name = name_of(need_embedder(context, what))
    if check.text("model", model) not in (None, name):
        raise BadArgument(
            f"model: the store's embedder {name} embeds the {what}, not {model!r}",
            hint="Leave model out, or give vectors of that model.",
        )
    return name


Given = tuple[str | None, str | None, str, Sequence[Chunk] | None]
"""An item to be embedded: namespace, key, content, its chunks when the caller has cut it already."""

Cut = tuple[list[Chunk], list[Vector | None]]
"""The chunks of an item and their vectors, None where a chunk of that text has one already."""


def cut_and_embed(context: Context, items: Sequence[Given]) -> Steps[list[Cut]]:
    """Cut items into chunks and embed, in one go, only the texts that have no vector yet."""
    embedder = need_embedder(context, "content")
    for _, _, _, chunks in items:  # what is wrong with them is told before anything is embedded
        chunk_arguments("texts", "starts", "ends", chunks)
    cut = [
        list(chunks) if chunks else chunk_text(content, context.max_characters, context.overlap)
        for _, _, content, chunks in items
    ]
    rows = yield from rows_of(
        "embedded_chunks",
        namespaces=[namespace for namespace, _, _, _ in items],
        keys=[key for _, key, _, _ in items],
        model=name_of(embedder),
    )
    # Of a key that comes twice the first item may take away what the second would keep.
    times = Counter((namespace, key) for namespace, key, _, _ in items)
    known = {(row["ord"] - 1, row["content"]) for row in rows if times[items[row["ord"] - 1][:2]] == 1}
    vectors = yield from _embedded(
        embedder, [chunk.text for n, chunks in enumerate(cut) for chunk in chunks if (n, chunk.text) not in known]
    )
    return [
        (chunks, [None if (n, chunk.text) in known else vectors[chunk.text] for chunk in chunks])
        for n, chunks in enumerate(cut)
    ]


def cut_and_embed_anew(context: Context, content: str) -> Steps[Cut]:
    """Cut a text into chunks and embed them all, whatever has a vector."""
    chunks = chunk_text(content, context.max_characters, context.overlap)
    texts = [chunk.text for chunk in chunks]
    vectors = yield from _embedded(need_embedder(context, "content"), texts)
    return chunks, [vectors[text] for text in texts]


def _embedded(embedder: Embedder, texts: Sequence[str]) -> Steps[dict[str, Vector]]:
    wanted = list(dict.fromkeys(texts))
    if not wanted:
        return {}
    with failing(embedder):
        embedded = yield EmbedDocuments([*wanted])  # some take the list apart as they go
    return dict(zip(wanted, check_answer(embedder, embedded, len(wanted)), strict=True))


def embed_query(context: Context, text: str) -> Steps[Vector]:
    """The vector of a question by the store's embedder, checked."""
    embedder = need_embedder(context, "query")
    asked = check.text("query", text) or ""
    with failing(embedder):
        vector = yield EmbedQuery(asked)
    checked: Vector = check_answer(embedder, [vector], 1)[0]
    return checked


def put_chunks(
    namespace: str, key: str, chunks: Sequence[Chunk], *, content_revision: int | None = None
) -> Steps[list[StoredChunk]]:
    """Replace the chunks of an item in one step; unchanged texts keep their vectors, the others wait for new ones.

    Raises NotFound, BadNamespace, BadArgument; StaleChunk when ``content_revision`` is given and no longer current.
    """
    rows = yield from rows_of(
        "put_chunks",
        False,
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        **chunk_arguments("texts", "starts", "ends", chunks),
        content_revision=check.integer("content_revision", content_revision),
    )
    return [StoredChunk(**row) for row in rows]


def chunk_arguments(
    texts: str, starts: str, ends: str, chunks: Sequence[Chunk] | None, where: str = ""
) -> dict[str, Any]:
    """Chunks as the three arrays SQL takes, under the given argument names; errors say ``where`` the chunks are."""
    if chunks is None:
        return {texts: None, starts: None, ends: None}
    for n, chunk in enumerate(check.sequence(f"{where}chunks", chunks, "chunks")):
        if not isinstance(chunk, Chunk):
            raise BadArgument(
                f"{where}chunks[{n}]: is {type(chunk).__name__}, not a Chunk", hint="Give what chunk_text returned."
            )
        if any(part is None for part in (chunk.text, chunk.start, chunk.end)):  # staged, it would be the whole content
            raise BadArgument(
                f"{where}chunks[{n}]: has no text, or no place in the content", hint="Give what chunk_text returned."
            )
    return {
        texts: check.texts(f"{where}chunks", [c.text for c in chunks]),
        starts: [check.integer(f"{where}chunks: start", c.start) for c in chunks],
        ends: [check.integer(f"{where}chunks: end", c.end) for c in chunks],
    }


def pending_embeddings(
    model: str | None = None, *, batch: int = 100, worker: str | None = None, lease: timedelta | None = None
) -> Steps[list[PendingChunk]]:
    """Claim a batch of chunks that need a vector; several workers never get the same until a lease ends.

    Raises UnknownModel, BadArgument.
    """
    rows = yield from rows_of(
        "pending_embeddings",
        False,
        model=check.text("model", model),
        batch=check.integer("batch", batch),
        worker=check.text("worker", worker),
        lease=check.duration("lease", lease),
    )
    return [PendingChunk(**row) for row in rows]


def put_embeddings(
    chunks: Sequence[PendingChunk], vectors: Any, *, model: str | None = None
) -> Steps[list[EmbeddingResult]]:
    """Store a vector for each chunk that ``pending_embeddings`` handed out; shape (len(chunks), dim), float32.

    A chunk whose text has changed since is ``stale`` and left alone. Raises BadVector, and then stores none;
    UnknownModel, BadArgument.
    """
    ids = _pending(chunks)
    vectors, model = check.vectors("vectors", vectors), check.text("model", model)
    rows = yield from rows_of("put_embeddings", False, None, **ids, vectors=vectors, model=model)
    return [EmbeddingResult(**row) for row in rows]


def _pending(chunks: Sequence[PendingChunk]) -> dict[str, list[Any]]:
    """The id of the namespace, the id and the revision of each chunk: callers may make chunks by hand."""
    found: dict[str, list[Any]] = {"namespace_ids": [], "chunk_ids": [], "chunk_revisions": []}
    for n, chunk in enumerate(check.sequence("chunks", chunks, "chunks")):
        if not isinstance(chunk, PendingChunk):
            raise _not_pending(f"chunks[{n}]: is {type(chunk).__name__}, not a PendingChunk")
        namespace_id = check.uuid(f"chunks[{n}].namespace_id", chunk.namespace_id)
        chunk_id = check.integer(f"chunks[{n}].chunk_id", chunk.chunk_id, 64)
        revision = check.integer(f"chunks[{n}].chunk_revision", chunk.chunk_revision)
        if chunk_id is None:
            raise _not_pending(f"chunks[{n}].chunk_id: is None")
        if revision is None or revision < 1:
            raise _not_pending(f"chunks[{n}].chunk_revision: {revision} is no revision, they count from 1")
        for known, one in zip(found.values(), (namespace_id, chunk_id, revision), strict=True):
            known.append(one)
    return found


def _not_pending(message: str) -> BadArgument:
    return BadArgument(message, hint="Give what pending_embeddings returned.")


def embed_pending(context: Context, *, batch: int = 100, worker: str | None = None) -> Steps[int]:
    """Embed one batch of waiting chunks with the store's embedder; return how many were stored, 0 when none waits.

    Call it in a loop, in as many workers as you like: that is the backfill of a new model. When the embedder refuses a
    text, the others of the batch get their vectors before the error is raised, and the text is in nobody's way: it is
    handed out again when its lease ends (setting ``embedding_lease``), or when its content has changed. When the
    embedder as a whole fails, what it was not asked for is free again at once.
    Raises EmbedderError, BadVector, UnknownModel, BadArgument.
    """
    stored, refusal = yield from embed_batch(context, batch, worker)
    if refusal is not None:
        raise refusal
    return stored


def embed_batch(
    context: Context, batch: int = 100, worker: str | None = None
) -> Steps[tuple[int, KompanionError | None]]:
    """As ``embed_pending``; the first error about a text comes with the number of the others that were stored."""
    embedder = need_embedder(context, "embed_pending")
    while True:
        chunks = yield from pending_embeddings(name_of(embedder), batch=batch, worker=worker)
        stored, refusal = 0, None
        parts = deque([chunks] if chunks else [])
        while parts:  # all at once, or one by one where a text is refused
            part = parts.popleft()
            try:
                stored += yield from _embed(embedder, part)
            except KompanionError as exc:
                if not (yield from _is_about_a_text(embedder, exc)):
                    yield from _release(embedder, [*part, *chain.from_iterable(parts)], worker)
                    raise
                if len(part) > 1:
                    parts.extend([chunk] for chunk in part)
                else:
                    refusal = refusal or exc
        if stored or refusal is not None or not chunks:
            return stored, refusal
        # All of them have changed meanwhile, and others may wait.


def _release(embedder: Embedder, chunks: list[PendingChunk], worker: str | None) -> Steps[None]:
    with suppress(KompanionError):  # an error is being told, and a lease ends by itself
        yield from value_of(
            "release_embeddings",
            False,
            namespace_ids=[c.namespace_id for c in chunks],
            chunk_ids=[c.chunk_id for c in chunks],
            model=name_of(embedder),
            worker=worker,
        )


def _embed(embedder: Embedder, chunks: Sequence[PendingChunk]) -> Steps[int]:
    with failing(embedder):
        vectors = yield EmbedDocuments([c.content for c in chunks])
    checked = check_answer(embedder, vectors, len(chunks))
    results = yield from put_embeddings(chunks, checked, model=name_of(embedder))
    return sum(r.status == "stored" for r in results)


def _is_about_a_text(embedder: Embedder, error: KompanionError) -> Steps[bool]:
    """Whether an error is one of a text, not of the embedder as a whole: then a plain word is embedded.

    A server that is down would be waited for once for each text.
    """
    if not isinstance(error, EmbedderError):
        return isinstance(error, (BadArgument, BadVector))
    try:
        check_answer(embedder, (yield EmbedDocuments(["text"])), 1)
    except Exception:
        return False
    return True


def adopt_embedder(context: Context) -> Steps[None]:
    """Make the model of the store's embedder known, once; ModelConflict when it is known with another dimension."""
    if context.embedder is not None:
        rows = yield from rows_of("list_models")
        known = {(row["model"], row["dim"]) for row in rows if row["retired_at"] is None}
        name, dim = name_of(context.embedder), int(dim_of(context.embedder))
        if (name, dim) not in known:
            try:
                yield from rows_of("register_model", False, name=name, dim=dim)
            except BadArgument as exc:
                raise BadArgument(f"embedder.{exc.message}", detail=exc.detail, hint=exc.hint) from exc
            except PermissionDenied as exc:
                raise PermissionDenied(
                    f"embedder: its model {name!r} is not registered, and this role may not register it",
                    hint=f"Once, as the owner or a kompanion_admin: select kompanion.register_model('{name}', {dim});",
                ) from exc
