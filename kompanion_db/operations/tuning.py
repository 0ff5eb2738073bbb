"""Recall as a contract: a vector index measured, what users get measured, the best index found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import arguments as check
from ..errors import BadArgument
from ..requests import Outside, Progress, RunAll, Steps, rows_of
from ..types import Vector
from ..types_tuning import CalibrationPoint, IndexCandidate, MeasuredRecall
from .embedding import Context, embed_query, embedder_model


def calibrate(
    context: Context,
    model: str | None = None,
    *,
    seconds: float = 60.0,
    sample: int | None = None,
    queries: Any = None,
    progress: Progress | None = None,
) -> Steps[list[CalibrationPoint]]:
    """Measure recall@10 and time of a model's vector index; from then on searches choose exact or index by it.

    Stops after about ``seconds``, with ten queries at least, and goes on when called again, until ``sample`` queries
    (10 to 100,000) are asked: 2,000 when None, on SQLite 400.
    ``queries``: what users really ask, instead of stored vectors: shape (n, dim), a list of vectors, or of texts for
    the store's embedder. ``progress`` is called with what the server tells, every few seconds; an exception in it is
    logged and ends nothing. Empty without a valid index: then searches are exact.

    Raises UnknownModel, BadVector, BadArgument, EmbedderError, PermissionDenied.
    """
    model, vectors = yield from _queries(context, model, queries)
    rows = yield from rows_of(
        "calibrate",
        False,
        progress,
        model=check.text("model", model),
        seconds=check.number("seconds", seconds),
        queries=vectors,
        **({} if sample is None else {"sample": check.integer("sample", sample)}),
    )
    return [CalibrationPoint(**row) for row in rows]


def measure_recall(
    context: Context,
    model: str | None = None,
    *,
    scope: str = "*",
    sample: int = 100,
    k: int = 10,
    target_recall: float | None = None,
    queries: Any = None,
) -> Steps[MeasuredRecall]:
    """What users get now: recall@k of searches of a scope against exact ones, with its 95 % interval.

    Asks with ``sample`` stored vectors of the scope, or with ``queries``: shape (n, dim), a list of vectors, or of
    texts for the store's embedder. Compares items, each by its best chunk, as ``search`` gives them. ``k`` is 1 to
    1,000; ``target_recall`` as in ``search``.

    Raises BadNamespace, UnknownModel, BadVector, BadArgument, EmbedderError.
    """
    model, vectors = yield from _queries(context, model, queries)
    rows = yield from rows_of(
        "measure_recall",
        model=check.text("model", model),
        scope=check.text("scope", scope),
        sample=check.integer("sample", sample),
        k=check.integer("k", k),
        target_recall=check.number("target_recall", target_recall),
        queries=vectors,
    )
    return MeasuredRecall(**rows[0])


def tune_index(
    context: Context,
    model: str | None = None,
    *,
    target_recall: float | None = None,
    seconds: float = 300.0,
    kinds: Sequence[str] = ("ivfflat", "hnsw"),
    share: float = 1.0,
    sample: int = 400,
    queries: Any = None,
    apply: bool = True,
    progress: Progress | None = None,
) -> Steps[list[IndexCandidate]]:
    """Find the vector index that reaches ``target_recall`` fastest, and build it; return what was tried, fastest first.

    Candidates of ``kinds`` are built and measured on a copy of the vectors, one that would not be ready within
    ``seconds`` is left out, and ``progress`` is told. ``share`` (0.001 to 1) of the rows that a search matches, and
    ``sample`` (10 to 10,000) or ``queries``, as in ``calibrate``, say what to measure with. The best one is
    remembered, and with ``apply`` built without blocking writers and calibrated, as ``ensure_index`` does; on SQLite
    from 20,000 vectors on, or when ``ensure_index`` is asked for its kind. Inside a transaction only without ``apply``.
    Empty below 1,000 vectors. The role must own the tables.

    Raises UnknownModel, BadVector, BadArgument, EmbedderError, PermissionDenied, StorageFull.
    """
    if check.flag("apply", apply):
        yield Outside("tune_index", "apply")
    wanted = check.texts("kinds", kinds)
    if wanted is None:  # in SQL on SQLite it stands for all kinds, on a server for none
        raise BadArgument("kinds: NULL cannot be", hint="Give ivfflat, hnsw or both.")
    model, vectors = yield from _queries(context, model, queries)
    name = check.text("model", model)
    rows = yield from rows_of(
        "tune_index",
        False,
        progress,
        model=name,
        target_recall=check.number("target_recall", target_recall),
        seconds=check.number("seconds", seconds),
        kinds=wanted,
        share=check.number("share", share),
        sample=check.integer("sample", sample),
        queries=vectors,
    )
    if apply and rows:
        statements = [row["statement"] for row in (yield from rows_of("index_statements", model=name))]
        if vectors is not None:  # they are what is asked: the last of the statements would ask what is stored
            statements = [statement for statement in statements if "calibrate(" not in statement]
        yield RunAll(statements, progress)
        if vectors is not None:
            yield from rows_of("calibrate", False, progress, model=name, queries=vectors)
    return [IndexCandidate(**row) for row in rows]


def _queries(
    context: Context, model: str | None, queries: Any
) -> Steps[tuple[str | None, Sequence[Vector | None] | None]]:
    """The model and the vectors to ask with; texts are embedded, and are then the embedder's model."""
    if queries is None:
        return model, None
    if not isinstance(queries, (list, tuple)) or not any(isinstance(query, str) for query in queries):
        return model, check.vectors("queries", queries)
    name = embedder_model(context, "queries", model)
    vectors = []
    for text in check.texts("queries", queries) or []:
        vectors.append((yield from embed_query(context, text)))
    return name, vectors
