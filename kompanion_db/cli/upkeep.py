"""purge, index, stats, embed: what is done now and then."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import KompanionError
from ..operations.embedding import embed_batch
from ..types import Purged
from .app import app
from .options import EmbedderOption, JsonOption, ScopeArgument, UrlOption, duration, usage_error
from .output import note, print_json, print_statements, print_table, progress
from .stores import need_embedder, open_store, open_text_store


@app.command()
def purge(
    batch: Annotated[int, typer.Option("--batch", help="Rows a transaction.")] = 1000,
    history: Annotated[
        bool, typer.Option("--history", help="Old superseded revisions too, as the next two options say.")
    ] = False,
    keep_for: Annotated[
        str | None,
        typer.Option("--keep-for", metavar="DURATION", help="Revisions to keep; default: retention_revisions."),
    ] = None,
    keep_last: Annotated[int, typer.Option("--keep-last", help="And always this many of each item.")] = 0,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove for good what is past its retention; safe to run from cron, and many at once."""
    kept = duration("--keep-for", keep_for)
    if (kept is not None or keep_last) and not history:
        raise usage_error("--history", "--keep-for and --keep-last only count with --history.")
    items = revisions = namespaces = 0
    with open_store(url) as store:
        bar, task = progress("rows removed", None)
        with bar:
            while True:
                done = store.purge(batch=batch)
                trimmed = store.trim_history(keep_for=kept, keep_last=keep_last, batch=batch) if history else 0
                items, namespaces = items + done.items, namespaces + done.namespaces
                revisions += done.revisions + trimmed
                bar.update(task, completed=items + revisions + namespaces)
                if not (done.items or done.revisions or done.namespaces or trimmed):
                    break
    total = Purged(items, revisions, namespaces)
    if as_json:
        print_json([total])
    else:
        print(f"Removed {items} items, {revisions} revisions, {namespaces} namespaces.")


@app.command()
def index(
    model: Annotated[
        str | None, typer.Argument(help="The embedding model; default: the database's.", show_default=False)
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="On PostgreSQL none, ivfflat or hnsw, on SQLite ivfpq; default: as tune-index found, or by rows.",
        ),
    ] = None,
    lists: Annotated[int | None, typer.Option("--lists", help="Lists of an ivfflat or ivfpq index.")] = None,
    half: Annotated[
        bool | None,
        typer.Option(
            "--half/--full",
            help="On PostgreSQL half or full precision; default: half above 2000 dimensions.",
            show_default=False,
        ),
    ] = None,
    block: Annotated[
        bool, typer.Option("--block", help="Build it in one transaction: faster, but writers wait.")
    ] = False,
    advice: Annotated[bool, typer.Option("--advice", help="Only tell what would help; change nothing.")] = False,
    metadata_key: Annotated[
        str | None, typer.Option("--metadata-key", metavar="KEY", help="Index this metadata key instead.")
    ] = None,
    type: Annotated[
        str | None, typer.Option("--type", help="Of the values of --metadata-key: text or number; default: text.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a model the vector index it should have, or a metadata key an index."""
    of_vectors = {"MODEL": model, "--kind": kind, "--lists": lists, "--half": half, "--advice": advice or None}
    odd = [name for name, value in of_vectors.items() if value is not None]
    if metadata_key is not None and odd:
        raise usage_error(odd[0], "goes with a vector index, not with --metadata-key.")
    to_build = {"--kind": kind, "--lists": lists, "--half": half, "--block": block or None}
    built = [name for name, value in to_build.items() if value is not None]
    if advice and built:
        raise usage_error(built[0], "says what to build; --advice only tells what would help.")
    if metadata_key is None and type is not None:
        raise usage_error("--type", "goes with --metadata-key.")
    with open_store(url) as store:
        if metadata_key is not None:
            statements = store.index_metadata_key(metadata_key, type=type or "text", concurrently=not block)
            print_json([{"statement": s} for s in statements]) if as_json else print(";\n".join(statements) + ";")
        elif advice:
            told = store.index_advice(model)
            if as_json:
                print_json(told)
            elif told:
                print_statements((f"{a.model}: {a.advice}" if a.model else a.advice, a.statement) for a in told)
            else:
                print("All is well.")
        else:
            note("This may take a while where there are many vectors.")
            steps = store.ensure_index(model, kind=kind, lists=lists, half=half, concurrently=not block, progress=note)
            if as_json:
                print_json(steps)
            elif steps:
                print("-- This was run.")
                print_statements((step.reason, step.statement) for step in steps)
            else:
                print("All is well: nothing to build.")


@app.command()
def stats(scope: ScopeArgument = "*", url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show figures per namespace and model: rows, live, expired, deleted, unembedded, bytes."""
    with open_store(url) as store:
        rows = store.stats(scope)
    if as_json:
        print_json(rows)
        return
    names = ("namespace", "model", "live", "expired", "deleted", "revisions", "chunks", "unembedded", "bytes")
    print_table(names, [[getattr(row, name) for name in names] for row in rows])


@app.command()
def embed(
    batch: Annotated[int, typer.Option("--batch", help="Chunks a turn.")] = 100,
    worker: Annotated[str | None, typer.Option("--worker", help="A name for this worker.")] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="First queue every chunk without a vector, however it came in.")
    ] = False,
    embedder: EmbedderOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed the chunks that wait for a vector: after put --embedder none, or for a new model.

    Run as many at once as you like: no two get the same chunks. A text that the embedder refuses stops no other; the
    first refusal is told in the end.
    """
    stored = idle = 0
    refusal: KompanionError | None = None
    with open_text_store(url, embedder) as store:
        model = need_embedder(store.context.embedder, "embed").name

        def waiting() -> int:
            return next(m.queued for m in store.list_models() if m.model == model)

        if missing:
            store.enqueue_missing(model)
        left = waiting()
        bar, task = progress(f"embedding with {model}", left)
        with bar:
            while True:
                done, error = store.run(embed_batch(store.context, batch, worker))
                stored, refusal = stored + done, refusal or error
                bar.update(task, completed=stored)
                if done:
                    idle = 0
                    continue
                # None stored and no fewer waiting: what is left belongs to other workers, or has been refused by now.
                idle += batch
                before, left = left, waiting()
                if left in (0, before) and (error is None or idle > left):
                    break
    if as_json:
        print_json([{"model": model, "stored": stored, "waiting": left}])
    else:
        others = f"; {left} were refused, or are claimed by other workers or one that died: run it again later"
        print(f"{stored} chunks embedded with {model}{others if left else ''}.")
    if refusal is not None:
        raise refusal
