"""Search, and what it did, as in pg_0025_search."""

from __future__ import annotations

import time
from typing import Any

from ...requests import Row
from ...types import Vector
from ..by_index import IndexRanking
from ..candidates import Question, find, memory_of
from ..curves import K
from ..exact import Ranking
from ..hits import Hit, best_of_items, chunks_for, live_hits, shown
from ..planner import Ask, Plan, deeper, plan_search
from ..registry import function, one_value
from ..session import Session
from .namespaces import scope_nos

_FARTHER = 1.25
"""Where the items asked for take so many times the chunks a search was made for, it is made anew."""


def ask_of(
    scope: str,
    query: Vector | None,
    k: int | None = 10,
    model: str | None = None,
    thread: str | None = None,
    tags_any: list[str] | None = None,
    tags_all: list[str] | None = None,
    tags_none: list[str] | None = None,
    filter: str | None = None,
    target_recall: float | None = None,
    per_chunk: bool = False,
) -> Ask:
    """The arguments of the SQL function as a search."""
    question = Question(scope, thread, _fixed(tags_any), _fixed(tags_all), _fixed(tags_none), filter)
    return Ask(question, query, k, model, target_recall, per_chunk)


@function("read", takes=ask_of)
def search(session: Session, **asked: Any) -> list[Row]:
    """The min(k, matches) nearest items of a scope, each by its best chunk, in order of distance."""
    plan = plan_search(session, ask_of(**asked))
    hits, _ = run_search(session, plan)
    return shown(session, hits, plan.facts.model.metric)


@function("read", takes=ask_of)
def explain_search(session: Session, **asked: Any) -> list[Row]:
    """Run a search and tell how it went: what was counted, which path was taken and why, what was visited."""
    start = time.perf_counter()
    plan = plan_search(session, ask_of(**asked))
    hits, topped_up = run_search(session, plan)
    milliseconds = (time.perf_counter() - start) * 1000
    return one_value("explain_search", _explained(session, plan, len(hits), topped_up, milliseconds))


def run_search(session: Session, plan: Plan) -> tuple[list[Hit], bool]:
    """Run a planned search; whether the index gave too few, and the rest was found exactly.

    Several near chunks of one item take places: then more are fetched, next time at once, and from where so many lie.
    """
    if plan.hits:
        return plan.hits[: plan.k], False
    exact, topped_up = plan.path == "exact", False
    spread = memory_of(session).spread
    fetch, wide = plan.k if plan.ask.per_chunk else round(plan.k * spread.get(plan.facts.model.model_id, 1)), 1
    reach = plan
    plan.ranking = _exact_ranking(plan) if exact else _index_ranking(plan, wide)
    while True:
        ids, distances = plan.ranking.nearest(fetch)
        hits = live_hits(session, ids, distances)
        if not plan.ask.per_chunk:
            nearest, chunks, hits = hits, len(hits), best_of_items(hits)
            spread[plan.facts.model.model_id] = min(4.0, 1.2 * chunks / max(1, len(hits))) if len(hits) < chunks else 1
            if not exact and plan.knobs and (took := chunks_for(nearest, plan.k)) > max(K, _FARTHER * reach.k):
                reach, fetch = deeper(plan, took), max(fetch, took)
                exact = topped_up = reach.path == "exact"
                plan.ranking = _exact_ranking(plan) if exact else _index_ranking(reach, wide)
                continue
        if len(hits) >= plan.k or (exact and len(ids) < fetch):
            return hits[: plan.k], topped_up
        if exact or len(ids) >= fetch:
            fetch *= 4
        elif wide == 1:
            wide = 8
            plan.ranking = _index_ranking(reach, wide)
        else:
            exact = topped_up = True
            if plan.candidates is None and not plan.ask.question.everything:
                plan.candidates = find(session, plan.facts.model, plan.ask.question, plan.state)
            plan.ranking = _exact_ranking(plan)


def _exact_ranking(plan: Plan) -> Ranking:
    if plan.candidates is None:
        return Ranking(plan.query, [(part, None) for part in plan.parts])
    return Ranking(plan.query, plan.candidates.rows or [])


def _index_ranking(plan: Plan, wide: int) -> IndexRanking:
    return IndexRanking(plan.query, plan.parts, plan.candidates, plan.k, plan.effort * wide, plan.wide * wide)


def _explained(session: Session, plan: Plan, returned: int, topped_up: bool, milliseconds: float) -> dict[str, Any]:
    model, by_index = plan.facts.model, plan.path == "index"
    spaces = scope_nos(session, plan.ask.question.scope)
    exact = not by_index or topped_up
    matches = plan.candidates.count if plan.candidates else None
    if matches is None and exact:
        matches = find(session, model, plan.ask.question, plan.state).count
    index = max((part for part in plan.parts if by_index and part.ann), key=lambda part: len(part.ids), default=None)
    visits = plan.ranking.visits if isinstance(plan.ranking, IndexRanking) else None
    told = {
        "path": "index, topped up exactly" if by_index and topped_up else plan.path,
        "reason": plan.reason,
        "model": model.name,
        "metric": model.metric,
        "k": plan.k,
        "returned": returned,
        "namespaces": None if spaces is None else len(spaces),
        "matches": matches,
        "matches_counted": "not at all" if matches is None else "all",
        "threshold": plan.threshold,
        "density": plan.density,
        "looked_at": plan.looked_at,
        "filter": plan.ask.question.filter,
        "index_kind": "ivfpq" if index else None,
        "indexed_rows": len(index.ids) if index else None,
        "lists": visits.lists if visits and by_index else None,
        "probes": visits.probes if visits and by_index else None,
        "index_used": (not topped_up) if by_index else None,
        "rows_visited": visits.codes if visits else matches,
        "rows_compared": plan.ranking.rows if isinstance(plan.ranking, Ranking) else visits.vectors if visits else None,
        "target_recall": plan.target_recall,
        "expected_recall": 1.0 if exact else plan.recall,
        "expected_recall_from": "exact search"
        if exact
        else "calibration"
        if plan.recall is not None
        else "the calibration is of an index of other rows or lists: safe defaults are used; run calibrate"
        if plan.facts.knobs and plan.knobs is None
        else "not measured yet: safe defaults are used; run calibrate",
        "milliseconds": round(milliseconds, 3),
    }
    return {name: value for name, value in told.items() if value is not None}


def _fixed(tags: list[str] | None) -> tuple[str, ...] | None:
    return None if tags is None else tuple(tags)
