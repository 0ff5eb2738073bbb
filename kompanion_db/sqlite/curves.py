"""What a calibration measured, and which effort it says reaches a recall."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..sidecar.derive import near
from .models import Model
from .session import Session

TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
K = 10
"""So many neighbours are looked for when it is measured."""

SHARES = (1.0, 0.6, 0.3, 0.1, 0.03, 0.01)
"""Shares of all rows that may match; below the last, searches are exact."""

MOST = SHARES[1]
"""The largest that was measured with filters. To look at all rows is easy: a filter that leaves out few is not, where
what it leaves out is what is asked about."""

FORM = 2
"""Of what a calibration keeps: one of another form is neither believed nor gone on with."""

EFFORTS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Multiples of the lists that a search looks into by default."""

Table = list[list[list[float] | None]]
"""By target and share: effort, recall and milliseconds of what reaches it, None where nothing does."""

_LEAST_EXACT, _MOST_EXACT = 2000, 50_000
_SURELY = 3.5
"""How many times the measured time of an index an exact search may take, as measured."""


@dataclass(frozen=True)
class Knob:
    """An effort, with the recall and the time (ms) that were measured with it."""

    effort: float
    recall: float
    milliseconds: float


class Knobs:
    """A calibration as searches read it."""

    def __init__(self, stored: dict[str, Any]) -> None:
        self.row_us: float = stored["row_us"]
        self.exact_rows: int = stored["exact_rows"]
        self.rows: int = stored["rows"]
        self.lists_per_root: float = stored.get("lists_per_root", math.inf)
        self.form: int = stored.get("form", 1)
        self._table: Table = stored["table"]
        self._strewn: Table = stored["strewn"]

    def hold(self, rows: int, lists_per_root: float) -> bool:
        """Whether there are about as many vectors as then, in indexes with about as many lists for so many."""
        fits = self.rows / 2 <= rows <= self.rows * 2 and near(lists_per_root, self.lists_per_root)
        return fits and self.form == FORM

    def choose(self, target: float, share: float) -> Knob | None:
        """The effort that reaches the target where matches have this share; None where none is known to."""
        return self._chosen(self._table, target, share)

    def choose_near(self, target: float, density: float) -> Knob | None:
        """The same where this share of what is near the query matches; its effort is a share of all lists."""
        return self._chosen(self._strewn, target, density)

    @staticmethod
    def _chosen(table: Table, target: float, share: float) -> Knob | None:
        row = next((n for n, aim in enumerate(TARGETS) if aim >= target), None)
        far = next((n for n, measured in enumerate(SHARES) if measured <= share), None)
        if row is None or far is None:
            return None
        near = far if SHARES[far] == share else max(far - 1, 0)
        before, last = table[row][near], table[row][far]
        if before is None or last is None:
            return None
        weight = math.log(SHARES[near] / share) / math.log(SHARES[near] / SHARES[far]) if far > near else 0.0
        return Knob(
            before[0] ** (1 - weight) * last[0] ** weight,
            min(before[1], last[1]),
            before[2] * (1 - weight) + last[2] * weight,
        )


@dataclass
class Cell:
    """Sums of what was measured at one effort, for one share: of each kind of filter, hits, their squares and runs.

    An effort is never less than was aimed at, since half a list is looked into as a whole.
    """

    hits: list[float]
    squares: list[float]
    runs: list[int]
    milliseconds: float = 0.0
    efforts: float = 0.0

    @property
    def recall(self) -> float:
        """Mean recall of the kind of filter with which it is least."""
        return min((h / r for h, r in zip(self.hits, self.runs, strict=True) if r), default=0.0)

    def beyond(self, target: float) -> float:
        """By how much recall, with every kind of filter, is more than what it takes to be sure of a target."""
        kinds = zip(self.hits, self.squares, self.runs, strict=True)
        return min((h / r - _sure(target, h / r, q / r, r) for h, q, r in kinds if r), default=-1.0)

    @property
    def count(self) -> int:
        """Queries measured."""
        return sum(self.runs)

    def of(self, kinds: Sequence[int], unit: float) -> Cell:
        """Of these kinds of filter alone, at the mean time and effort of all, an effort being so many units."""
        hits, squares = ([each[kind] for kind in kinds] for each in (self.hits, self.squares))
        runs = [self.runs[kind] for kind in kinds]
        part = sum(runs) / max(1, self.count)
        return Cell(hits, squares, runs, self.milliseconds * part, self.efforts * part * unit)

    @property
    def effort(self) -> float:
        """Mean effort of a query."""
        return self.efforts / max(1, self.count)

    @property
    def mean_ms(self) -> float:
        """Mean time of a query, in milliseconds."""
        return self.milliseconds / max(1, self.count)


def _sure(target: float, mean: float, square: float, runs: int) -> float:
    """The mean recall of a sample that is sure of the target with a confidence of 99 %, as in pg_0028_curves.

    And a fifth of the way to 1 beyond, since no sample is just like what users ask; six tenths of it are enough.
    """
    missing = 1 - target
    # No less than if each of ten neighbours were missed for itself, which is when few queries happened to miss any.
    error = math.sqrt(max(square - mean**2, target * missing / K) / runs)
    # 2.33: 99 % of a normal distribution; 0.99: what few queries that miss much add to it (Johnson 1978).
    return target + min(2.33 * error + 0.99 / runs + 0.2 * missing, 0.6 * missing)


def reach(curve: list[Cell], target: float) -> list[float] | None:
    """Effort, recall and milliseconds where a curve surely reaches a target, as on a straight line; or None."""
    last: tuple[float, float, float, float] | None = None
    best, beyond = 0.0, -1.0
    for cell in curve:
        if not cell.count:
            continue
        best, beyond = max(best, cell.recall), max(beyond, cell.beyond(target))
        here = (cell.effort, best, cell.mean_ms, beyond)
        if beyond >= 0:
            if last is None:
                return list(here[:3])
            weight = -last[3] / (beyond - last[3])
            return [
                last[0] ** (1 - weight) * here[0] ** weight,
                last[1] * (1 - weight) + best * weight,
                last[2] * (1 - weight) + here[2] * weight,
            ]
        last = here
    return None


def knob_table(cells: list[list[Cell]]) -> Table:
    """By target and share, what surely reaches it."""
    return [[reach(curve, target) for curve in cells] for target in TARGETS]


def exact_rows(table: Table, row_us: float) -> int:
    """Matches up to which looking at all costs little more than an index does that reaches 0.95 at a tenth of the rows.

    An exact search is right wherever they lie, and a search by index has more to do than is measured here: of 10,000
    among 100,000 one took 1.0 ms, the other 0.9 to 1.5.
    """
    knob = table[TARGETS.index(0.95)][SHARES.index(0.1)]
    rows = _MOST_EXACT if knob is None else round(_SURELY * 1000 * knob[2] / row_us)
    return min(max(rows, _LEAST_EXACT), _MOST_EXACT)


def read_knobs(session: Session, model: Model) -> Knobs | None:
    """The calibration of a model, if there is one."""
    text = session.value(
        "select json(calibration -> '$.knobs') from embedding_models where model_id = ?", (model.model_id,)
    )
    stored = json.loads(text) if text else None
    return Knobs(stored) if stored else None
