"""How a search goes: exactly over what matches, or by the vector indexes, and with how much effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import BadArgument
from ..sidecar.derive import lists_per_root
from ..sidecar.part import Part
from ..types import Vector
from .by_index import IndexRanking
from .candidates import Candidates, Question, conditions_of, find, former, known, memory_of, state_of
from .conditions import Conditions
from .curves import K, Knobs, read_knobs
from .efforts import SEEN_WIDE, knob_for, knob_near, wide_for, wide_near
from .exact import Query, Ranking
from .hits import Hit, best_of_items, chunks_for, matching_hits
from .models import Model, check_vector, find_model
from .session import Session
from .values import shown

CHEAP_MS = 2.0
"""Reading what matches, when it took no longer the last time, costs less than a look around that may be in vain."""

SURE_ROWS = 300_000
"""Matches up to which a search is exact before anything was measured: where they lie far from the query, as those of
another topic do, the default effort of an index finds half of what is right. They take up to 0.3 us each."""

SURE_DIM = 12
"""Dimensions below which a search is exact before anything was measured: a code has four bits for two of them, so that
many vectors share one, and of 100,000 x 4 the default effort found 0.37, in 0.41 ms; looking at all took 0.25."""

LOOKED_AT = 100
"""Vectors nearest to the query that a look around asks SQLite about, for ten results."""


@dataclass(frozen=True)
class Ask:
    """A search as the caller wants it."""

    question: Question
    query: Vector | None
    k: int | None
    model: str | None
    target_recall: float | None
    per_chunk: bool


@dataclass(frozen=True)
class Facts:
    """What is known about a model before a search begins."""

    model: Model
    knobs: Knobs | None
    target_recall: float
    exact_threshold: int


@dataclass
class Plan:
    """A search made ready.

    ``hits``: what a look around found, when that is enough; ``share``: of all rows, that of those that match, None
    where every row does; ``apart``: none of the ten nearest that a look around saw match.
    """

    facts: Facts
    ask: Ask
    k: int
    target_recall: float
    query: Query
    parts: Sequence[Part]
    state: tuple[int, ...]
    path: str = "exact"
    reason: str = ""
    candidates: Candidates | None = None
    threshold: int | None = None
    effort: float = 1.0
    wide: float = 1.0
    recall: float | None = None
    share: float | None = None
    density: float | None = None
    looked_at: int | None = None
    apart: bool = False
    ranking: Ranking | IndexRanking | None = None
    hits: list[Hit] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Vectors of the model, live or not."""
        return sum(len(part.ids) for part in self.parts)

    @cached_property
    def knobs(self) -> Knobs | None:
        """What was measured, as long as it holds for the vectors and indexes there are."""
        knobs = self.facts.knobs
        indexes = ((part.ann.lists, len(part.ids)) for part in self.parts if part.ann is not None)
        return knobs if knobs and knobs.hold(self.rows, lists_per_root(indexes)) else None

    def exactly(self, reason: str) -> Plan:
        """Look at all that match."""
        self.path, self.reason = "exact", reason
        return self

    def by_index(self, reason: str) -> Plan:
        """Look where the indexes point."""
        self.path, self.reason = "index", reason
        return self


def plan_search(session: Session, ask: Ask) -> Plan:
    """Validate a search and choose its path. Raises BadArgument, UnknownModel, BadVector, BadNamespace, BadFilter."""
    if ask.k is None or not 1 <= ask.k <= 10000:
        raise BadArgument(
            f"k: {'NULL' if ask.k is None else ask.k} is not between 1 and 10000",
            hint="To go through a whole scope, use list_items.",
        )
    if ask.target_recall is not None and not 0.01 <= ask.target_recall <= 1:
        raise BadArgument(
            f"target_recall: {shown(ask.target_recall)} is not between 0.01 and 1",
            hint="Give the share of the true nearest that must be found; 1 asks for an exact search.",
        )
    state = state_of(session)
    facts = _facts(session, ask.model, state)
    check_vector("query", ask.query, facts.model)
    assert ask.query is not None
    plan = Plan(
        facts,
        ask,
        ask.k,
        facts.target_recall if ask.target_recall is None else ask.target_recall,
        Query(ask.query, facts.model.metric),
        session.vectors.parts(facts.model.model_id, facts.model.dim),
        state,
    )
    return _path(session, plan)


def _facts(session: Session, model: str | None, state: tuple[int, ...]) -> Facts:
    memory = memory_of(session)
    memory.at(state)
    facts: Facts | None = memory.models.get(model)
    if facts is None:
        found = find_model(session, model)
        facts = Facts(
            found, read_knobs(session, found), session.setting("target_recall"), session.setting("exact_threshold")
        )
        if state:
            memory.models[model] = facts
    return facts


def _path(session: Session, plan: Plan) -> Plan:
    facts, question = plan.facts, plan.ask.question
    if plan.target_recall >= 1:
        return _exact(session, plan, "target_recall 1 asks for it")
    if all(part.ann is None for part in plan.parts):
        return _exact(session, plan, "the model has no vector index")
    if plan.knobs is None and facts.model.dim < SURE_DIM:
        return _exact(session, plan, "no calibration says what the index finds in so few dimensions")
    plan.threshold = max(plan.k, plan.knobs.exact_rows if plan.knobs else facts.exact_threshold)
    if question.everything:
        if plan.rows <= plan.threshold:
            return plan.exactly("matches are within the exact threshold")
        return _indexed(plan, None, "matches are above the exact threshold")

    found, asked = _cheaply(session, plan)
    if found is None or found.rows is None:
        _look_around(session, plan, asked)
        if plan.hits:
            return plan.by_index("what a look around has seen is enough")
        found = find(session, facts.model, question, plan.state, asked=asked)
    plan.candidates = found
    if found.count <= plan.threshold:
        return plan.exactly("matches are within the exact threshold")
    return _indexed(plan, found.count / max(1, plan.rows), "matches are above the exact threshold")


def _exact(session: Session, plan: Plan, reason: str) -> Plan:
    question, model = plan.ask.question, plan.facts.model
    if not question.everything:
        plan.candidates = known(session, model, question, plan.state)
        if plan.candidates is None or plan.candidates.rows is None:
            plan.candidates = find(session, model, question, plan.state)
    return plan.exactly(reason)


def _cheaply(session: Session, plan: Plan) -> tuple[Candidates | None, Conditions | None]:
    """The candidates where they are known, or few enough to be read at once; also the conditions, if it made them."""
    model, question, limit = plan.facts.model, plan.ask.question, plan.threshold
    assert limit is not None
    found = known(session, model, question, plan.state)
    if found is not None and (found.rows is not None or found.count > limit):
        return found, None
    before = former(session, model, question)
    asked = None
    if question.by_item:
        asked = conditions_of(session, question)
        few = asked.at_most is not None
        quick = before is not None and before.count <= limit and before.milliseconds <= CHEAP_MS
    else:
        few = before is None
        quick = before is not None and before.count <= 2 * limit
    if few or quick:
        return find(session, model, question, plan.state, limit, asked), asked
    return None, asked


def _look_around(session: Session, plan: Plan, asked: Conditions | None) -> None:
    """Ask SQLite about the vectors nearest to the query, whatever the scope: many of them may be in it.

    The fewer of them match, the farther lie the nearest that do. So where it was measured, it looks again, into as many
    lists as reach the target at the density it has seen, and is not enough where none do.
    """
    question, knobs = plan.ask.question, plan.knobs
    knob = knob_for(plan, knobs, None) if knobs else None
    if knobs and knob is None:
        return
    if question.by_item and asked is None:
        asked = conditions_of(session, question)
    ranking, hits, chunks = _seen(session, plan, asked, max(1.0, knob.effort if knob else 1.0))
    if knobs and len(hits) >= plan.k:
        deep = replace(plan, k=max(plan.k, chunks))
        knob = knob_near(deep, knobs)
        if knob is None:
            return
        effort = knob.effort * ranking.visits.lists / (ranking.visits.usual or 1.0)
        wide = wide_near(deep)
        if effort > ranking.effort or wide > SEEN_WIDE or deep.k > plan.k:
            ranking, hits, _ = _seen(session, plan, asked, max(effort, ranking.effort), wide, deep.k)
    if len(hits) >= plan.k:
        plan.ranking, plan.hits, plan.effort = ranking, hits, ranking.effort
        plan.recall = knob.recall if knob else None


def _seen(
    session: Session, plan: Plan, asked: Conditions | None, effort: float, wide: float = SEEN_WIDE, chunks: int = 0
) -> tuple[IndexRanking, list[Hit], int]:
    """What a look around for so many chunks, or k, sees, and which of it match; how many those are goes to the plan.

    And how many of those that match it takes to see k items.
    """
    chunks = max(chunks, plan.k)
    ranking = IndexRanking(plan.query, plan.parts, None, chunks, effort, wide)
    ids, distances = ranking.nearest(max(LOOKED_AT, 10 * plan.k, chunks))
    matching = matching_hits(session, ids, distances, plan.ask.question, asked)
    plan.looked_at = len(ids)
    plan.density = len(matching) / max(1, len(ids))
    plan.apart = not matching or matching[0].distance > distances[:K][-1]
    if plan.ask.per_chunk:
        return ranking, matching, plan.k
    return ranking, best_of_items(matching), chunks_for(matching, plan.k)


def _indexed(plan: Plan, share: float | None, reason: str) -> Plan:
    """By index, if it reaches the target and costs less than looking at all matches, as far as that was measured."""
    knobs, plan.share = plan.knobs, share
    if knobs is None:
        if plan.candidates is not None and plan.candidates.count <= SURE_ROWS:
            return plan.exactly("no calibration says how far an index would have to look")
        return plan.by_index(reason)
    knob = knob_for(plan, knobs, share)
    if knob is None:
        return plan.exactly("no measured setting of the index reaches the target here")
    count = plan.rows if plan.candidates is None else plan.candidates.count
    if knob.milliseconds * 1000 > count * knobs.row_us:
        return plan.exactly("looking at all matches costs less than the index")
    plan.effort, plan.recall, plan.wide = knob.effort, knob.recall, wide_for(plan, 1.0)
    return plan.by_index("the index costs less than looking at all matches")


def deeper(plan: Plan, chunks: int) -> Plan:
    """The plan as for so many chunks, which the k items asked for took: the last of them is so much farther away."""
    return _indexed(replace(plan, k=chunks), plan.share, plan.reason)
