"""calibrate, as in pg_0029_calibrate: recall and time of the vector indexes, measured here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from ...errors import BadArgument
from ...requests import Row
from ...sidecar.derive import lists_per_root
from ...types import Vector
from ..by_index import usual_share
from ..calibrating import RANDOM, RANDOM_MIXED, Field, Measurement
from ..curves import EFFORTS, FORM, SHARES, Cell, exact_rows, knob_table
from ..models import Model, find_model
from ..registry import function
from ..sampling import check_queries, live, sample_queries
from ..session import Session
from ..values import clock

_TOLD = 5.0
"""Seconds between two notices."""

_LEAST = 10
"""Queries that are asked even when time is over."""


@function("own")
def calibrate(
    session: Session,
    model: str | None = None,
    seconds: float = 60,
    sample: int = 400,
    queries: Sequence[Vector] | None = None,
) -> list[Row]:
    """Measure recall@10 and time of a model's vector indexes; from then on searches choose exact or index by it.

    ``knob``: lists looked into, in percent of the default. Stops after ``seconds``, and goes on when called again.
    """
    if not 0.001 <= (seconds or 0) <= 1_000_000 or not 10 <= (sample or 0) <= 100_000:
        raise BadArgument(
            f"seconds, sample: {seconds} seconds and {sample} queries cannot be",
            hint="Give seconds above 0 and 10 to 100000 queries; 60 and 400 are usual.",
        )
    end = time.monotonic() + seconds
    with session.transaction(write=False):
        found = find_model(session, model)
        check_queries(queries, found)
        parts = list(session.vectors.parts(found.model_id, found.dim))
        if all(part.ann is None for part in parts):
            session.notice(
                f'calibrate: model "{found.name}" has no valid vector index, search is exact; '
                "ensure_index builds one when there are rows enough"
            )
            return []
        field = Field(live(session, found), parts)
        if field.live.count < 2:
            session.notice(f'calibrate: model "{found.name}" has no two vectors to compare')
            return []
        indexes = indexes_of(session, found)
        of_queries = _digest(queries)
        former = _former(session, found, indexes, of_queries)
    done = Measurement(field, found.metric, seed=former["queries"] if former else 0, state=former)
    complete = _ask(session, done, end, sample, queries)
    rows, table = sum(len(part.ids) for part in parts), knob_table(done.cells)
    state = {
        "indexes": indexes,
        "rows": rows,
        "queries": done.queries,
        "own_queries": queries is not None,
        "of_queries": of_queries,
        "complete": complete,
        "finished_at": clock(),
        "row_us": done.row_us,
        "cells": done.stored(),
        "knobs": {
            "form": FORM,
            "row_us": done.row_us,
            "rows": rows,
            "lists_per_root": lists_per_root((part.ann.lists, len(part.ids)) for part in parts if part.ann is not None),
            "table": table,
            "strewn": knob_table(_strewn(done)),
            "exact_rows": exact_rows(table, done.row_us),
        },
    }
    with session.transaction(write=True):
        session.run(
            "update embedding_models set calibration = jsonb(?) where model_id = ?", (json.dumps(state), found.model_id)
        )
    return _points(done)


def indexes_of(session: Session, model: Model) -> list[str]:
    """The files of the indexes there are, by name: what a calibration has measured."""
    return [
        file
        for (file,) in session.all(
            """
            select a.file from vec_segments s join vec_ann a on a.segment_no = s.segment_no
            where s.model_id = ? order by a.file
            """,
            (model.model_id,),
        )
    ]


def _digest(queries: Sequence[Vector] | None) -> str | None:
    """Which queries of one's own were given: where a calibration of others broke off says nothing about these."""
    return None if queries is None else sha256(np.asarray(queries, dtype=np.float32).tobytes()).hexdigest()


def _former(session: Session, model: Model, indexes: list[str], of_queries: str | None) -> dict[str, Any] | None:
    """What an earlier call has measured of the same, when its time ran out."""
    text = session.value("select json(calibration) from embedding_models where model_id = ?", (model.model_id,))
    state: dict[str, Any] | None = json.loads(text) if text else None
    if state is None or state["complete"] or state["indexes"] != indexes or state["knobs"].get("form") != FORM:
        return None
    return state if state.get("of_queries", "unknown") == of_queries else None


def _ask(session: Session, done: Measurement, end: float, sample: int, queries: Sequence[Vector] | None) -> bool:
    """Ask on until time is over; whether all was asked."""
    asked = sample_queries(done.field.live, sample, np.random.default_rng(1), queries)
    told = time.monotonic()
    for vector, own, mixed in list(zip(asked.queries, asked.own, asked.mixed, strict=True))[done.queries :]:
        now = time.monotonic()
        if now > end and done.queries >= _LEAST:
            return False
        if now > told + _TOLD:
            told = now
            session.notice(f"calibrate: {done.queries} of {len(asked)} queries, {max(0, math.ceil(end - now))} s left")
        done.ask(vector, own, mixed)
    return True


def _strewn(done: Measurement) -> list[list[Cell]]:
    """What was measured where matches lie everywhere, near the query too; efforts as shares of all lists.

    An effort is a multiple of what is usual for so many rows: between two shares only lists can be weighed.
    """
    indexes = [part.ann for part in done.field.parts if part.ann is not None]
    found = []
    for share, curve in zip(SHARES, done.cells, strict=True):
        usual = usual_share(indexes, None if share == 1 else share)
        found.append([cell.of((RANDOM, RANDOM_MIXED), usual) for cell in curve])
    return found


def _points(done: Measurement) -> list[Row]:
    rows = []
    for share, curve in zip(SHARES, done.cells, strict=True):
        best = 0.0
        for effort, cell in zip(EFFORTS, curve, strict=True):
            best = max(best, cell.recall)
            rows.append(
                {
                    "share": share,
                    "knob": round(100 * effort),
                    "recall": best,
                    "milliseconds": cell.mean_ms,
                    "runs": cell.runs[RANDOM] + cell.runs[RANDOM_MIXED],
                }
            )
    return rows
