"""Search, and what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import arguments as check
from ..errors import BadArgument
from ..requests import Row, Steps, rows_of, value_of
from ..types import Hit
from .embedding import Context, embed_query, embedder_model
from .reading import conditions, with_thread


def search(
    context: Context,
    scope: str,
    query: Any,
    k: int = 10,
    *,
    model: str | None = None,
    thread: str | None = None,
    tags_any: Sequence[str] | None = None,
    tags_all: Sequence[str] | None = None,
    tags_none: Sequence[str] | None = None,
    filter: Mapping[str, Any] | None = None,
    target_recall: float | None = None,
    per_chunk: bool = False,
) -> Steps[list[Hit]]:
    """The nearest live items of a scope, exactly min(k, matches) of them, nearest first.

    ``scope`` is a namespace with all below it, or ``"*"``. ``query`` is a vector of shape (dim,), or text for the
    store's embedder. One hit an item, by its best chunk, or one a chunk with ``per_chunk``.
    ``target_recall`` (0.01 to 1): the mean share of the true nearest to be found, None as in the settings; 1 is exact.
    It is kept where ``calibrate`` has measured the index, else aimed at with safe defaults.

    Raises BadNamespace, BadVector, UnknownModel, BadFilter, BadArgument, TooLarge, EmbedderError; DamagedStore.
    """
    arguments = yield from _arguments(
        context, scope, query, k, model, target_recall, per_chunk,
        conditions(filter, tags_any, tags_all, tags_none, thread),
    )  # fmt: skip
    rows = yield from rows_of("search", **arguments)
    return [_hit(row) for row in rows]


def explain_search(
    context: Context,
    scope: str,
    query: Any,
    k: int = 10,
    *,
    model: str | None = None,
    thread: str | None = None,
    tags_any: Sequence[str] | None = None,
    tags_all: Sequence[str] | None = None,
    tags_none: Sequence[str] | None = None,
    filter: Mapping[str, Any] | None = None,
    target_recall: float | None = None,
    per_chunk: bool = False,
) -> Steps[dict[str, Any]]:
    """Run a search and tell how it went: path and reason, matches counted, index, probes, rows visited.

    And the recall to be expected, with where that number comes from: exact search, a calibration, or not measured.

    Takes and raises what ``search`` does.
    """
    arguments = yield from _arguments(
        context, scope, query, k, model, target_recall, per_chunk,
        conditions(filter, tags_any, tags_all, tags_none, thread),
    )  # fmt: skip
    result: dict[str, Any] = yield from value_of("explain_search", **arguments)
    return result


def _hit(row: Row) -> Hit:
    # As Hit(**row), which would set seventeen attributes of a frozen class one by one, and take longer than the query.
    hit = object.__new__(Hit)
    hit.__dict__.update(with_thread(row))
    return hit


def _arguments(
    context: Context,
    scope: str,
    query: Any,
    k: int,
    model: str | None,
    target_recall: float | None,
    per_chunk: bool,
    asked: dict[str, Any],
) -> Steps[dict[str, Any]]:
    if query is None:
        raise BadArgument("query: is None", hint="Give a vector of shape (dim,), or text for the store's embedder.")
    if isinstance(query, str):
        model = embedder_model(context, "query", model)
        vector = yield from embed_query(context, query)
    else:
        vector = check.vector("query", query)
    return {
        "scope": check.text("scope", scope),
        "query": vector,
        "k": check.integer("k", k),
        "model": check.text("model", model),
        **asked,
        "target_recall": check.number("target_recall", target_recall),
        "per_chunk": check.flag("per_chunk", per_chunk),
    }
