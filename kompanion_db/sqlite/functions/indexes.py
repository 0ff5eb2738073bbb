"""Vector indexes, as in pg_0026_vector_index. Here the engine keeps them; these do at once what it would do in time."""

from __future__ import annotations

import json

import numpy as np

from ...errors import BadArgument, ConnectionFailed
from ...requests import Row
from ...sidecar import derive
from ...sidecar.ann import default_lists
from ...sidecar.manifest import SegmentEntry, segments
from ...sidecar.merge import DEAD_SHARE, leftover
from ...sidecar.rounds import Rounds, rounds
from ...sidecar.transactions import writing
from ..models import Model, find_model
from ..registry import function
from ..session import Session
from .checks import literal, quoted

KINDS = ("ivfpq", "ivfflat")
"""What the one kind of index may be called: ivfflat is what comes nearest to it in PostgreSQL."""

LEAST_ROWS = 64
"""Rows of a segment from which it can have an index, where one is asked for."""

WAIT_SECONDS = 120.0


@function("read")
def index_statements(
    session: Session,
    model: str | None = None,
    kind: str | None = None,
    lists: int | None = None,
    half: bool | None = None,
    concurrently: bool = True,
) -> list[Row]:
    """The statements that give a model the vector indexes it should have; none when it has them.

    ``concurrently``: with the calibration that should follow. Searches and writers never wait for an index here.
    """
    found = find_model(session, model)
    _check(kind, lists, half)
    reason = _needed(session, found, kind, lists)
    if reason is None:
        return []
    arguments = [
        literal(found.name),
        "null" if kind is None else literal(kind),
        "null" if lists is None else str(lists),
    ]
    while arguments[-1] == "null":
        arguments.pop()
    steps = [(f"select * from ensure_index({', '.join(arguments)})", reason)]
    rows = session.value("select count(*) from embeddings where model_id = ?", (found.model_id,))
    own = session.value(
        "select coalesce(calibration ->> 'own_queries', 0) from embedding_models where model_id = ?", (found.model_id,)
    )
    # Not where queries of the caller's own were asked: what stored vectors say would pass for them. index_advice tells.
    if concurrently and rows >= session.setting("index_min_rows") and not own:
        steps.append(
            (
                f"select count(*) as measured from calibrate({literal(found.name)})",
                "search chooses exact or index, and how far it goes, by what this measures; a minute at most",
            )
        )
    return [{"step": n, "statement": statement, "reason": why} for n, (statement, why) in enumerate(steps, 1)]


@function("own")
def ensure_index(
    session: Session,
    model: str | None = None,
    kind: str | None = None,
    lists: int | None = None,
    half: bool | None = None,
) -> list[Row]:
    """Give a model the vector indexes it should have, now: fold, merge, remove dead vectors, index; what was done.

    ``lists``: of the index of its largest file, in place of what tune_index found best or 1.5 times the root of its
    rows; kept for those to come, which get as many in proportion to the root of theirs. Calibrate afterwards.
    What is damaged or has no room is raised when the rest is done.
    """
    if session.conn.in_transaction:
        raise BadArgument("ensure_index: cannot run inside a transaction", hint="Call it after the transaction.")
    with session.transaction(write=False):
        done = index_statements(session, model, kind, lists, half, False)
        found = find_model(session, model)
    if not done:
        return []
    with rounds(session.database.place, WAIT_SECONDS) as work:
        if work is None:
            raise ConnectionFailed(
                f"{session.database.place.folder}: another process has worked on the files for {WAIT_SECONDS:g} s",
                hint="Try again later.",
            )
        work.fold(everything=True)
        work.merge()
        work.compact()
        work.settle()
        if lists is not None:
            _choose(work, found, lists)
        _build(work, found, session, asked=kind is not None or lists is not None)
        if work.trouble:
            raise work.trouble[0]
    return done


def wanted(entry: SegmentEntry) -> int:
    """The lists that the index of a segment should have."""
    return min(derive.lists_of(entry, entry.rows) or default_lists(entry.rows), max(1, entry.rows // 4))


def near(lists: int, entry: SegmentEntry) -> bool:
    """Whether an index of so many lists is about what a segment should have."""
    return derive.near(lists, wanted(entry))


def built_lists(session: Session, model: Model) -> dict[int, int]:
    """The lists of each index there is, by its segment."""
    return dict(
        session.all(
            """
            select s.segment_no, a.params ->> 'lists' from vec_segments s join vec_ann a on a.segment_no = s.segment_no
            where s.model_id = ?
            """,
            (model.model_id,),
        )
    )


def entries_of(session: Session, model: Model) -> list[SegmentEntry]:
    """The segments of a model."""
    return [e for e in segments(session.conn) if e.model_id == model.model_id]


def dead_rows(session: Session, model: Model) -> int:
    """Vectors in files that no row has any more."""
    ids = [part.ids for part in session.vectors.parts(model.model_id, model.dim)]
    living = session.value("select count(*) from embeddings where model_id = ?", (model.model_id,))
    return max(0, int(np.sum([len(each) for each in ids])) - int(living))


def _check(kind: str | None, lists: int | None, half: bool | None) -> None:
    if kind is not None and kind not in KINDS:
        raise BadArgument(
            f"kind: {quoted(kind)} is no vector index of SQLite",
            hint="Leave it out: there is one kind here, ivfpq. For exact searches, ask with target_recall 1.",
        )
    if lists is not None and not 1 <= lists <= 32768:
        raise BadArgument(
            f"kind, lists: {kind or KINDS[0]} with {lists} lists cannot be built", hint="lists is 1 to 32768."
        )
    if half:
        raise BadArgument(
            "half: indexes hold short codes here, not vectors", hint="Leave it out; they take a byte for 4 to 16."
        )


def _needed(session: Session, model: Model, kind: str | None, lists: int | None) -> str | None:
    """Why something should be done about the indexes of a model; None when all is well."""
    entries, built = entries_of(session, model), built_lists(session, model)
    log = int(session.value("select count(*) from vec_log where model_id = ?", (model.model_id,)))
    rows = sum(e.rows for e in entries)
    if kind is not None or lists is not None:
        if lists is not None and entries:
            largest = max(entries, key=lambda e: e.rows)
            if built.get(largest.segment_no) == min(lists, largest.rows // 4) and not log:
                return None
        elif not log and all(e.ann for e in entries if e.rows >= LEAST_ROWS):
            return None
        return "asked for" if rows + log >= LEAST_ROWS else None
    missing = derive.lacking(entries)
    if missing:
        return f"{sum(e.rows for e in missing)} rows have no vector index"
    if any(e.ann and not near(built.get(e.segment_no, 0), e) for e in entries):
        return "tune_index found other lists best"
    if rows + log < session.setting("index_min_rows"):
        return None
    if log >= derive.PART_ROWS:
        return f"{log} vectors are not in files yet"
    if leftover(entries):
        return f"{len(entries)} files stand side by side"
    dead = dead_rows(session, model)
    return f"{dead} vectors in files are dead" if dead > DEAD_SHARE * rows else None


def _choose(work: Rounds, model: Model, lists: int) -> None:
    entries = [e for e in work.entries() if e.model_id == model.model_id]
    rows = max((e.rows for e in entries), default=1)
    choice = {"kind": "ivfpq", "lists": lists, "rows": rows, "by": "ensure_index"}
    with writing(work.conn, "choice"):
        work.conn.execute(
            "update embedding_models set index_choice = jsonb(?) where model_id = ?",
            (json.dumps(choice), model.model_id),
        )


def _build(work: Rounds, model: Model, session: Session, asked: bool) -> None:
    entries = [e for e in work.entries() if e.model_id == model.model_id and e.segment_no not in work.spared]
    built = built_lists(session, model)
    missing = {e.segment_no for e in derive.lacking(entries)}
    for entry in entries:
        lists = built.get(entry.segment_no, 0)
        due = entry.rows >= LEAST_ROWS and lists != wanted(entry) if asked else entry.ann and not near(lists, entry)
        if due or entry.segment_no in missing:
            session.notice(f"ensure_index: {entry.rows} rows get {wanted(entry)} lists")
            with work.caring([entry]):
                derive.derive(work.conn, work.folder, entry, LEAST_ROWS)
