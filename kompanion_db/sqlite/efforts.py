"""With how much effort a search by index goes, by what a calibration has measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from .by_index import usual_share
from .curves import MOST, K, Knob, Knobs

if TYPE_CHECKING:
    from .planner import Plan

SEEN_WIDE = 2.0
"""So many times what indexes usually propose, a look around compares."""


def knob_near(plan: Plan, knobs: Knobs) -> Knob | None:
    """The effort, as a share of all lists, that reaches the target at the density a look around has seen.

    Where none of the ten nearest match, the query may be about what is left out. Then what the index misses is far off,
    as those that match are: of these it misses more than of others.
    """
    density = _as_for_ten(plan, plan.density or 0.0)
    if not plan.apart:
        return knobs.choose_near(plan.target_recall, density)
    measured = min(density, MOST)
    knob = knobs.choose(plan.target_recall, measured)
    indexes = [part.ann for part in plan.parts if part.ann is not None]
    return knob and replace(knob, effort=knob.effort * usual_share(indexes, measured))


def _as_for_ten(plan: Plan, share: float) -> float:
    """The share of all rows whose ten nearest lie as far from a query as the k nearest of this share, if k is more."""
    return share * min(1.0, K / plan.k)


def knob_for(plan: Plan, knobs: Knobs, share: float | None) -> Knob | None:
    """The effort that reaches the target where matches have a share of all rows, None: where every row matches.

    An effort is a multiple of what is usual for so many rows, so that of another share has to be made one of this.
    """
    indexes = [part.ann for part in plan.parts if part.ann is not None]
    if share is not None and share < 1:
        measured = min(_as_for_ten(plan, share), MOST)
        knob, of = knobs.choose(plan.target_recall, measured), usual_share(indexes, measured)
    elif plan.k <= K:
        knob, of = knobs.choose(plan.target_recall, 1.0), usual_share(indexes, None)
    else:  # as of rows at random: no topic is missing
        knob, of = knobs.choose_near(plan.target_recall, _as_for_ten(plan, 1.0)), 1.0
    return knob and replace(knob, effort=knob.effort * of / usual_share(indexes, share))


def wide_for(plan: Plan, density: float) -> float:
    """How many times what is usual for k the indexes are to propose, where this share of what they propose matches.

    Usual is less in proportion for many than for ten, with which recall was measured: enough for 0.95, no more.
    """
    if plan.k <= K:
        return 1.0
    wide = math.pow(density, -0.75)
    return wide * math.pow(plan.k / density / K, 0.25) if plan.target_recall > 0.95 else wide


def wide_near(plan: Plan) -> float:
    """The same for a look around that has seen how many match; where none of the nearest did, the codes tell less."""
    density = plan.density or 1.0
    wide = max(SEEN_WIDE, wide_for(plan, density))
    return wide * math.pow(density, -0.75) if plan.apart else wide
