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

SHARES = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Shares of all rows that may match; below the last, searches are exact."""

EFFORTS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Multiples of the lists that a search looks into by default."""

Table = list[list[list[float] | None]]
"""By target and share: effort, recall and milliseconds of what reaches it, None where nothing does."""

_LEAST_EXACT, _MOST_EXACT = 2000, 50_000
_SURELY = 4
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
        self._table: Table = stored["table"]
        self._strewn: Table = stored["strewn"]

    def hold(self, rows: int, lists_per_root: float) -> bool:
        """Whether there are about as many vectors as then, in indexes with about as many lists for so many."""
        return self.rows / 2 <= rows <= self.rows * 2 and near(lists_per_root, self.lists_per_root)

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
        near = max(far - 1, 0)
        first, last = table[row][near], table[row][far]
        if first is None or last is None:
            return None
        weight = math.log(SHARES[near] / share) / math.log(SHARES[near] / SHARES[far]) if far > near else 0.0
        return Knob(
            first[0] ** (1 - weight) * last[0] ** weight,
            min(first[1], last[1]),
            first[2] * (1 - weight) + last[2] * weight,
        )


@dataclass
class Cell:
    """Sums of what was measured at one effort, for one share: of each kind of filter, hits and runs; time; efforts.

    An effort is never less than was aimed at, since half a list is looked into as a whole.
    """

    hits: list[float]
    runs: list[int]
    milliseconds: float = 0.0
    efforts: float = 0.0

    @property
    def recall(self) -> float:
        """Mean recall of the kind of filter with which it is least."""
        return min((h / r for h, r in zip(self.hits, self.runs, strict=True) if r), default=0.0)

    @property
    def count(self) -> int:
        """Queries measured."""
        return sum(self.runs)

    def of(self, kinds: Sequence[int], unit: float) -> Cell:
        """Of these kinds of filter alone, at the mean time and effort of all, an effort being so many units."""
        runs = [self.runs[kind] for kind in kinds]
        part = sum(runs) / max(1, self.count)
        return Cell([self.hits[kind] for kind in kinds], runs, self.milliseconds * part, self.efforts * part * unit)

    @property
    def effort(self) -> float:
        """Mean effort of a query."""
        return self.efforts / max(1, self.count)

    @property
    def mean_ms(self) -> float:
        """Mean time of a query, in milliseconds."""
        return self.milliseconds / max(1, self.count)


def reach(curve: list[Cell], aim: float) -> list[float] | None:
    """Effort, recall and milliseconds where a curve reaches a recall, as on a straight line; or None."""
    last: tuple[float, float, float] | None = None
    best = 0.0
    for cell in curve:
        if not cell.count:
            continue
        best = max(best, cell.recall)
        here = (cell.effort, best, cell.mean_ms)
        if best >= aim:
            if last is None:
                return list(here)
            weight = (aim - last[1]) / (best - last[1])
            return [
                last[0] ** (1 - weight) * here[0] ** weight,
                last[1] * (1 - weight) + best * weight,
                last[2] * (1 - weight) + here[2] * weight,
            ]
        last = here
    return None


def knob_table(cells: list[list[Cell]]) -> Table:
    """By target and share, what reaches it. A sample may flatter: it aims a fifth and half a standard error beyond."""
    table = []
    for target in TARGETS:
        row = []
        for curve in cells:
            runs = max((max(cell.runs) for cell in curve), default=0)
            missing = 1 - target
            margin = min(0.2 * missing + 0.5 * math.sqrt(target * missing / (10 * max(1, runs))), 0.6 * missing)
            row.append(reach(curve, target + margin))
        table.append(row)
    return table


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
