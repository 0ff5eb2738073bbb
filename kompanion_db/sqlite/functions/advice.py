"""index_advice, as in pg_0030_recall: what would make searches better, each with the statement to run."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...requests import Row
from ...sidecar import derive
from ...sidecar.merge import DEAD_SHARE, leftover
from ..curves import FORM, Knobs
from ..models import Model, find_model
from ..registry import function
from ..session import Session
from .checks import literal
from .indexes import built_lists, dead_rows, entries_of, near, wanted

_LEAST_DEAD = 1000


@function("read")
def index_advice(session: Session, model: str | None = None) -> list[Row]:
    """What would make searches of a model, or of all, better, each with the statement to run. No row: all is well.

    Most of it happens by itself while a store that was written to is open; a statement does it now.
    """
    if model is not None:
        find_model(session, model)
    found = []
    for model_id, name, dim, metric, retired_at in session.all(
        "select model_id, name, dim, metric, retired_at from embedding_models where ?1 is null or name = ?1 "
        "order by model_id",
        (model,),
    ):
        one = Model(model_id, name, dim, metric)
        advice = _of_files(session, one) if retired_at is None else _of_retired(session, one)
        found += [{"model_name": name, "advice": text, "statement": f"{statement};"} for text, statement in advice]
    return found


def _of_retired(session: Session, model: Model) -> Iterator[tuple[str, str]]:
    rows = session.value("select count(*) from embeddings where model_id = ?", (model.model_id,))
    if rows:
        yield (
            f"the model is retired, its {rows} vectors take up room",
            f"select * from retire_model({literal(model.name)}, true)",
        )


def _of_files(session: Session, model: Model) -> Iterator[tuple[str, str]]:
    build = f"select * from ensure_index({literal(model.name)})"
    entries = entries_of(session, model)
    rows = sum(e.rows for e in entries)
    log = session.value("select count(*) from vec_log where model_id = ?", (model.model_id,))
    missing = derive.lacking(entries)
    if missing:
        lacking = sum(e.rows for e in missing)
        yield f"{lacking} of {rows} rows have no vector index: searches look at all of these", build
    elif log >= derive.PART_ROWS and rows + log >= derive.ANN_ROWS:
        yield f"{log} vectors are still in the log: searches look at all of these", build
    elif rows >= derive.ANN_ROWS and leftover(entries):
        yield f"{len(entries)} files stand side by side: each search looks into all of them", build
    dead = dead_rows(session, model) if entries else 0
    if dead > _LEAST_DEAD and dead > DEAD_SHARE * rows:
        yield f"{dead} of {rows} vectors in files are dead: searches pass over them", build
    built = built_lists(session, model)
    off = [e for e in entries if e.ann and not near(built.get(e.segment_no, 0), e)]
    if off:
        yield f"tune_index found {wanted(off[-1])} lists best for {off[-1].rows} rows; they are not built yet", build
    indexes = [(built[e.segment_no], e.rows) for e in entries if e.segment_no in built]
    yield from _of_calibration(session, model, rows, indexes)


def _of_calibration(
    session: Session, model: Model, rows: int, indexes: list[tuple[int, int]]
) -> Iterator[tuple[str, str]]:
    statement = f"select * from calibrate({literal(model.name)})"
    text = session.value("select json(calibration) from embedding_models where model_id = ?", (model.model_id,))
    state = json.loads(text) if text else None
    again = "; it asked queries of your own: give them again, as queries" if state and state["own_queries"] else ""
    if not indexes:
        return
    if state is None:
        if rows >= session.setting("index_min_rows"):
            yield "the index was never calibrated: searches use safe, slow defaults", statement
    elif state["knobs"].get("form") != FORM:
        yield "the calibration did not measure all that one does now: it is not believed any more" + again, statement
    elif not state["complete"]:
        yield f"the calibration stopped after {state['queries']} queries{again}", statement
    elif not state["rows"] / 2 <= rows <= state["rows"] * 2:
        yield (
            f"the calibration is of {state['rows']} rows, now there are {rows}: it is not believed any more{again}",
            statement,
        )
    elif not Knobs(state["knobs"]).hold(state["rows"], derive.lists_per_root(indexes)):
        yield f"the calibration is of an index with other lists: it is not believed any more{again}", statement
