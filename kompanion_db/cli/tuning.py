"""calibrate, measure-recall, tune-index: recall as a contract."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from ..vector_files import read_vectors
from .app import app
from .options import JsonOption, UrlOption, usage_error
from .output import note, print_json, print_table
from .stores import open_store

ModelArgument = Annotated[
    str | None, typer.Argument(help="The embedding model; default: the database's.", show_default=False)
]
TargetOption = Annotated[
    float | None,
    typer.Option("--target-recall", help="The share of the true nearest to be found; default: as in the settings."),
]
QueriesOption = Annotated[
    Path | None,
    typer.Option(
        "--queries",
        metavar="FILE",
        help="Ask with these vectors, of what users really ask, and not with stored ones: .npy (n, dim) or .fvecs.",
    ),
]


def _queries(file: Path | None) -> NDArray[np.float32] | None:
    """The vectors of --queries."""
    if file is None:
        return None
    if not os.path.isfile(file):
        raise usage_error("--queries", f"there is no file {file}.")
    try:
        return read_vectors(file)
    except ValueError as exc:
        raise usage_error("--queries", f"{exc}.") from None


@app.command()
def calibrate(
    model: ModelArgument = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Stop after this; call again to go on.")] = 60.0,
    sample: Annotated[
        int | None, typer.Option("--sample", help="Queries to ask, 10 to 100000; default 2000, on SQLite 400.")
    ] = None,
    queries: QueriesOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a model's vector index; from then on searches choose exact or index by it.

    Shows recall@10 and time by the share of the rows that match and by the knob: probes, or ef_search of hnsw.
    """
    asked = _queries(queries)
    with open_store(url) as store:
        points = store.calibrate(model, seconds=seconds, sample=sample, queries=asked, progress=note)
    if as_json:
        print_json(points)
    elif points:
        names = ("share", "knob", "recall", "milliseconds", "runs")
        print_table(names, [[getattr(point, name) for name in names] for point in points])
    else:
        print("Nothing to measure: searches are exact.")


@app.command("measure-recall")
def measure_recall(
    model: ModelArgument = None,
    scope: Annotated[str, typer.Option("--scope", help="A namespace with all below it, or '*'.")] = "*",
    sample: Annotated[int, typer.Option("--sample", help="Queries to ask.")] = 100,
    k: Annotated[int, typer.Option("-k", help="How many are searched for.")] = 10,
    target_recall: TargetOption = None,
    queries: QueriesOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what users get now: recall of searches against exact ones, with its 95 % interval."""
    asked = _queries(queries)
    with open_store(url) as store:
        found = store.measure_recall(model, scope=scope, sample=sample, k=k, target_recall=target_recall, queries=asked)
    if as_json:
        print_json([found])
    elif found.asked:
        names = ("asked", "recall", "low", "high", "milliseconds", "by_index")
        print_table(names, [[getattr(found, name) for name in names]])
    else:
        print("There is no vector to ask with.")


@app.command("tune-index")
def tune_index(
    model: ModelArgument = None,
    target_recall: TargetOption = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Start no build that would end later.")] = 300.0,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="ivfflat or hnsw; repeat it. Default: both.")] = None,
    share: Annotated[float, typer.Option("--share", help="Of the rows that a search matches, 0.001 to 1.")] = 1.0,
    sample: Annotated[int, typer.Option("--sample", help="Queries to measure with, 10 to 10000.")] = 400,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remember the best one, and build nothing: index builds it later.")
    ] = False,
    queries: QueriesOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the vector index that reaches the target recall fastest, build it and calibrate it."""
    asked = _queries(queries)
    with open_store(url) as store:
        tried = store.tune_index(
            model,
            target_recall=target_recall,
            seconds=seconds,
            kinds=kind or ("ivfflat", "hnsw"),
            share=share,
            sample=sample,
            queries=asked,
            apply=not dry_run,
            progress=note,
        )
    if as_json:
        print_json(tried)
    elif tried:
        names = ("kind", "lists", "knob", "recall", "milliseconds", "build_seconds", "chosen")
        print_table(names, [[getattr(candidate, name) for name in names] for candidate in tried])
    else:
        print("Nothing to tune.")
