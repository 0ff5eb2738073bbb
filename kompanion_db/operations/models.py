"""Embedding models and their indexes."""

from __future__ import annotations

from typing import Any

from .. import arguments as check
from ..requests import Outside, Progress, RunAll, Steps, rows_of, value_of
from ..types import Advice, IndexStep, Model, RegisteredModel


def register_model(
    name: str, dim: int, *, metric: str = "cosine", make_default: bool = False
) -> Steps[RegisteredModel]:
    """Make an embedding model known and queue all chunks for it; the first one becomes the default.

    ``metric``: cosine, l2 or inner_product. Repeating the call changes nothing. Raises ModelConflict when the model
    has another dim or metric, BadArgument.
    """
    rows = yield from rows_of(
        "register_model",
        False,
        name=check.text("name", name),
        dim=check.integer("dim", dim),
        metric=check.text("metric", metric),
        make_default=check.flag("make_default", make_default),
    )
    return RegisteredModel(**rows[0])


def list_models() -> Steps[list[Model]]:
    """The models, in the order they were registered, with how many chunks wait for each."""
    rows = yield from rows_of("list_models")
    return [Model(**row) for row in rows]


def set_default_model(name: str, *, require_complete: bool = True) -> Steps[str | None]:
    """Switch the default model; return the former one, so the same call switches back.

    Raises ModelConflict while live chunks lack its vectors, unless ``require_complete`` is False; UnknownModel.
    """
    result: str | None = yield from value_of(
        "set_default_model",
        False,
        name=check.text("name", name),
        require_complete=check.flag("require_complete", require_complete),
    )
    return result


def retire_model(name: str, *, delete_vectors: bool = False) -> Steps[int]:
    """Take a model out of use; return how many vectors were removed.

    Raises ModelConflict for the default one, UnknownModel.
    """
    result: int = yield from value_of(
        "retire_model",
        False,
        name=check.text("name", name),
        delete_vectors=check.flag("delete_vectors", delete_vectors),
    )
    return result


def enqueue_missing(model: str | None = None) -> Steps[int]:
    """Queue every chunk that has no vector of the model; return how many were added. Raises UnknownModel."""
    result: int = yield from value_of("enqueue_missing", False, model=check.text("model", model))
    return result


def ensure_index(
    model: str | None = None,
    *,
    kind: str | None = None,
    lists: int | None = None,
    half: bool | None = None,
    concurrently: bool = True,
    progress: Progress | None = None,
) -> Steps[list[IndexStep]]:
    """Give a model the vector index it should have; return what was run, nothing when all is well.

    ``kind``: on a server ivfflat, hnsw or none, on SQLite ivfpq, which ivfflat also names; None is what tune_index
    found best, or decides by the number of rows. ``half``, on a server: in half precision, for half the memory, which
    needs pgvector 0.7; None is as the index is, and above 2,000 dimensions. Built beside the old one, and
    ``concurrently`` without blocking writers; then calibrated, where there are rows enough, which takes a minute at
    most. Inside a transaction only on a server, with ``concurrently=False``. ``progress`` is told the server's notices.
    The role must own the tables.

    Raises UnknownModel, BadArgument, PermissionDenied, StorageFull; on SQLite DamagedStore.
    """
    arguments: dict[str, Any] = {
        "model": check.text("model", model),
        "kind": check.text("kind", kind),
        "lists": check.integer("lists", lists),
        "half": None if half is None else check.flag("half", half),
    }
    if not check.flag("concurrently", concurrently):
        rows = yield from rows_of("ensure_index", False, progress, **arguments)
    else:
        yield Outside("ensure_index", "concurrently")
        rows = yield from rows_of("index_statements", **arguments, concurrently=True)
        yield RunAll([row["statement"] for row in rows], progress)
    return [IndexStep(**row) for row in rows]


def index_advice(model: str | None = None) -> Steps[list[Advice]]:
    """What would make searches of a model, or of all, better, each with the statement to run. Raises UnknownModel."""
    rows = yield from rows_of("index_advice", model=check.text("model", model))
    return [Advice(row["model_name"], row["advice"], row["statement"]) for row in rows]


def index_metadata_key(key: str, *, type: str = "text", concurrently: bool = True) -> Steps[list[str]]:
    """Build an index for a hot metadata key, type text or number; return the statements that were run.

    ``concurrently`` does not block writers; on a server it cannot be inside a transaction. The role must own the
    tables. Raises BadArgument, BadFilter, PermissionDenied.
    """
    arguments: dict[str, Any] = {"key": check.text("key", key), "type": check.text("type", type)}
    if check.flag("concurrently", concurrently):
        yield Outside("index_metadata_key", "concurrently")
    rows = yield from rows_of("index_metadata_key", False, **arguments, concurrently=bool(concurrently))
    statements = [row["index_metadata_key"] for row in rows]
    if concurrently:
        yield RunAll(statements)
    return statements
