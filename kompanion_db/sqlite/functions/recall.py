"""measure_recall, as in pg_0030_recall: what users get now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import numpy as np

from ...errors import BadArgument
from ...requests import Row
from ...types import Vector
from ..candidates import Question
from ..models import find_model
from ..planner import Ask, plan_search
from ..registry import function
from ..sampling import NOBODY, check_queries, live, sample_queries, share_found
from ..session import Session
from ..values import shown
from .search import run_search

_Z = 1.96


@function("read")
def measure_recall(
    session: Session,
    model: str | None = None,
    scope: str = "*",
    sample: int = 100,
    k: int = 10,
    target_recall: float | None = None,
    queries: Sequence[Vector] | None = None,
) -> list[Row]:
    """What users get now: recall@k of searches of a scope against exact ones, with its 95 % interval and median time.

    Items are compared, each by its best chunk, as ``search`` gives them. Asks with stored vectors of the scope, or with
    ``queries``. The interval is Wilson's, each query counted as one trial: wider than need be, never narrower.
    """
    if sample is None or not 1 <= sample <= 100_000:
        raise BadArgument(
            f"sample: {'NULL' if sample is None else sample} is not between 1 and 100000",
            hint="A hundred queries tell recall to within a few hundredths.",
        )
    if k is None or not 1 <= k <= 1000:
        raise BadArgument(
            f"k: {'NULL' if k is None else k} is not between 1 and 1000",
            hint="Recall is measured at the k that users ask for, usually 10.",
        )
    if target_recall is not None and not 0.01 <= target_recall <= 1:
        raise BadArgument(
            f"target_recall: {shown(target_recall)} is not between 0.01 and 1",
            hint="Give the share of the true nearest that searches aim at; without it, the setting target_recall.",
        )
    found = find_model(session, model)
    check_queries(queries, found)
    within = live(session, found, scope)
    asked = sample_queries(within, sample, np.random.default_rng(), queries)
    shares, times, by_index = [], [], 0
    question = Ask(Question(scope), None, k, found.name, target_recall, per_chunk=False)
    for vector, own in zip(asked.queries, asked.own, strict=True):
        start = time.perf_counter()
        plan = plan_search(session, replace(question, query=vector))
        if plan.hits and len(plan.hits) <= k:  # the query itself is among them
            plan = plan_search(session, replace(question, query=vector, k=k + 1))
        plan.k = k + 1  # the path is that of k
        hits, topped_up = run_search(session, plan)
        times.append((time.perf_counter() - start) * 1000)
        by_index += plan.path == "index" and not topped_up
        # Planned anew it would leave the scope in memory, and the next searches would go another way than users' do.
        true, _ = run_search(session, replace(plan, candidates=within, hits=[]).exactly("to compare with"))
        left_out = _chunk(session, own)
        truth = np.array([hit.distance for hit in true if hit.chunk_id != left_out][:k])
        chunks = np.array([hit.chunk_id for hit in hits], dtype=np.int64)
        shares.append(share_found(chunks, np.array([hit.distance for hit in hits]), left_out, truth))
    row: Row = {"asked": len(shares), "recall": None, "low": None, "high": None, "milliseconds": None}
    if shares:
        low, high = _interval(statistics.fmean(shares), len(shares))
        row |= {"recall": statistics.fmean(shares), "low": low, "high": high, "milliseconds": statistics.median(times)}
    return [row | {"by_index": by_index}]


def _chunk(session: Session, vec_id: int) -> int:
    found = session.value("select chunk_id from embeddings where vec_id = ?", (vec_id,))
    return NOBODY if found is None else int(found)


def _interval(share: float, n: int) -> tuple[float, float]:
    half = _Z * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = ((share + _Z**2 / (2 * n) + side * half) / (1 + _Z**2 / n) for side in (-1, 1))
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # at the ends rounding would leave it outside
