"""search: what is near to a question."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from ..types import Hit
from .app import app
from .options import (
    EmbedderOption,
    FilterOption,
    JsonOption,
    ModelOption,
    ScopeArgument,
    TagsAllOption,
    TagsAnyOption,
    TagsNoneOption,
    ThreadOption,
    UrlOption,
    json_value,
    usage_error,
)
from .output import print_json, print_table
from .stores import chosen_embedder, need_embedder, open_store


@app.command()
def search(
    scope: ScopeArgument,
    query: Annotated[str | None, typer.Argument(help="The question.", show_default=False)] = None,
    vector: Annotated[
        str | None, typer.Option("--vector", metavar="JSON", help="A vector in place of a question, as a JSON list.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many.")] = 10,
    filter: FilterOption = None,
    tags_any: TagsAnyOption = None,
    tags_all: TagsAllOption = None,
    tags_none: TagsNoneOption = None,
    thread: ThreadOption = None,
    target_recall: Annotated[
        float | None, typer.Option("--target-recall", help="The share of the true nearest to be found.")
    ] = None,
    per_chunk: Annotated[bool, typer.Option("--per-chunk", help="One hit a chunk, not one an item.")] = False,
    model: ModelOption = None,
    embedder: EmbedderOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell how it went: path, matches, index. With --json only that.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the k memories of a scope that are nearest to a question, nearest first."""
    if (query is None) == (vector is None):
        raise usage_error("QUERY", "give a question, or --vector, and not both.")
    asked: dict[str, Any] = {
        "k": k,
        "filter": json_value("--filter", filter, dict),
        "tags_any": tags_any or None,
        "tags_all": tags_all or None,
        "tags_none": tags_none or None,
        "thread": thread,
        "target_recall": target_recall,
        "per_chunk": per_chunk,
    }
    numbers = json_value("--vector", vector, list)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(url))
        if query is not None:
            if model is not None:
                raise usage_error("--model", "a question is searched with the model of its --embedder.")
            # Embedded here, not by the store: a store makes its embedder's model known, and a search writes nothing.
            found = need_embedder(chosen_embedder(stack, store, embedder), "a question")
            numbers, model = found.embed_query(query), found.name
        hits = [] if explain and as_json else store.search(scope, numbers, model=model, **asked)
        told = store.explain_search(scope, numbers, model=model, **asked) if explain else None
    if as_json:
        print_json(hits if told is None else [told])
        return
    print_hits(hits)
    if told is not None:
        print_table(["search", "value"], [[name, value] for name, value in told.items()])


def print_hits(hits: list[Hit]) -> None:
    """The hits as a table."""
    if hits:
        print_table(
            ["", "score", "namespace", "key", "text"],
            [[h.rank, h.score, h.namespace, h.key, h.chunk] for h in hits],
            wide="text",
        )
    else:
        print("Nothing found.")
