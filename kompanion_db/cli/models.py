"""models: the embedding models of a database."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import app
from .options import JsonOption, UrlOption
from .output import clean, print_json, print_table
from .stores import open_store

models = typer.Typer(help="The embedding models: list, register, set-default, retire.")
app.add_typer(models, name="models")

NameArgument = Annotated[str, typer.Argument(help="The name of the model.")]


@models.command("list")
def list_models(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show the models, with how many chunks wait for a vector of each."""
    with open_store(url) as store:
        rows = store.list_models()
    if as_json:
        print_json(rows)
        return
    print_table(
        ["model", "dim", "metric", "default", "index", "rows then", "waiting", "retired"],
        [[r.model, r.dim, r.metric, r.is_default, r.index_kind, r.index_rows, r.queued, r.retired_at] for r in rows],
    )


@models.command()
def register(
    name: NameArgument,
    dim: Annotated[int, typer.Argument(help="Number of elements of its vectors.")],
    metric: Annotated[str, typer.Option("--metric", help="cosine, l2 or inner_product.")] = "cosine",
    make_default: Annotated[bool, typer.Option("--default", help="Make it the default model.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model known and queue all chunks for it; "embed" then makes the vectors."""
    with open_store(url, make=True) as store:
        result = store.register_model(name, dim, metric=metric, make_default=make_default)
    if as_json:
        print_json([result])
    else:
        default = ", the default" if result.is_default else ""
        print(clean(f"{result.model}{default}: {result.queued} chunks wait for a vector."))


@models.command("set-default")
def set_default(
    name: NameArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also while chunks lack its vectors: searches do not see those.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch the default model; the same command with the former one switches back."""
    with open_store(url) as store:
        former = store.set_default_model(name, require_complete=not force)
    if as_json:
        print_json([{"default": name, "former": former}])
    elif former is None:
        print(clean(f"The default is {name}, and no other was before."))
    else:
        print(clean(f"The default is now {name}; it was {former}."))


@models.command()
def retire(
    name: NameArgument,
    delete_vectors: Annotated[bool, typer.Option("--delete-vectors", help="Remove its vectors.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a model out of use; registering it again brings it back."""
    with open_store(url) as store:
        removed = store.retire_model(name, delete_vectors=delete_vectors)
    if as_json:
        print_json([{"retired": name, "vectors_removed": removed}])
    else:
        print(clean(f"{name} is retired; {removed} vectors were removed."))
