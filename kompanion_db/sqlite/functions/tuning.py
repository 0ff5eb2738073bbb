"""tune_index, as in pg_0031_tuning: candidate indexes are built beside the one in use, and the best is remembered."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadArgument, StorageFull
from ...requests import Row
from ...sidecar.ann import build_ann, default_lists, open_ann
from ...sidecar.derive import ANN_ROWS
from ...sidecar.part import Part
from ...types import Vector
from ..by_index import IndexRanking
from ..candidates import Candidates
from ..curves import EFFORTS
from ..exact import Query, Ranking, Rows
from ..models import find_model
from ..registry import function
from ..sampling import Sample, check_queries, live, sample_queries, share_found
from ..session import Session
from ..values import shown
from .indexes import KINDS

LEAST_ROWS = 1000
_TIMES = (1.0, 2.0, 0.5, 4.0)
"""Lists to try, as multiples of the default."""

_LADDER = tuple(round(100 * effort) for effort in EFFORTS)
"""Efforts to try first, in percent of the default."""

_K = 10


@function("own")
def tune_index(
    session: Session,
    model: str | None = None,
    target_recall: float | None = None,
    seconds: float = 300,
    kinds: Sequence[str] | None = None,
    share: float = 1,
    sample: int = 400,
    queries: Sequence[Vector] | None = None,
) -> list[Row]:
    """Find the number of lists that reaches a target fastest, and remember it; what was tried, fastest first.

    Candidates are built of the file with the most live vectors of the model, in a temporary folder, and asked with the
    least effort that reaches the target where matches have the given share. ``knob``: it, in percent of the default.
    """
    with session.transaction(write=False):
        found = find_model(session, model)
        target = session.setting("target_recall") if target_recall is None else target_recall
        _check(target, seconds, kinds, share, sample)
        check_queries(queries, found)
        within = live(session, found).rows or []
    most = max((len(rows) for _, rows in within), default=0)
    if most < LEAST_ROWS:
        session.notice(f"tune_index: {most} vectors are searched exactly faster than by any index")
        return []
    part, alive = next(each for each in within if len(each[1]) == most)
    rng = np.random.default_rng(1)
    asked = sample_queries(Candidates(len(alive), [(part, alive)], 0.0), sample, rng, queries, mix=False)
    kept = np.sort(rng.permutation(alive)[: max(_K, round(share * len(alive)))])
    trial = _Trial(part, kept, found.metric, target, asked)
    tried = trial.all(session, seconds)
    best = next((row for row in tried if row["milliseconds"] is not None), None)
    if best is not None:
        best["chosen"] = True
        built = {"kind": KINDS[0], "lists": best["lists"], "rows": len(part.ids)}
        choice = built | {"target_recall": target, "share": share, "by": "tune_index"}
        with session.transaction(write=True):
            session.run(
                "update embedding_models set index_choice = jsonb(?) where model_id = ?",
                (json.dumps(choice), found.model_id),
            )
        if sum(len(rows) for _, rows in within) < ANN_ROWS:
            session.notice(
                f"tune_index: remembered; an index is built when the model has {ANN_ROWS:,} vectors, "
                "or now by ensure_index(model, 'ivfpq')"
            )
    return tried


def _check(target: float, seconds: Any, kinds: Sequence[str] | None, share: Any, sample: Any) -> None:
    if (
        not 0.01 <= target <= 0.999
        or not 0.001 <= (seconds or 0) <= 1_000_000
        or not 0.001 <= (share or 0) <= 1
        or not 10 <= (sample or 0) <= 10_000
    ):
        raise BadArgument(
            f"target_recall, seconds, share, sample: {target}, {seconds}, {share} and {sample} cannot be",
            hint="target_recall is 0.01 to 0.999, seconds above 0, share 0.001 to 1, sample 10 to 10000.",
        )
    if kinds is not None and (not set(kinds) & set(KINDS) or not set(kinds) <= {*KINDS, "hnsw"}):
        raise BadArgument(
            f"kinds: {', '.join(map(str, kinds)) or 'none'} cannot be built in SQLite",
            hint="Leave it out: there is one kind here, ivfpq.",
        )


@contextmanager
def _room() -> Iterator[None]:
    """Let what the temporary folder refuses out of the block as StorageFull."""
    try:
        yield
    except OSError as exc:
        raise StorageFull(
            f"tune_index: the temporary folder cannot be written to: {exc.strerror or exc}",
            hint="Make room there, or name another folder in the environment variable TMPDIR.",
        ) from exc


class _Trial:
    """The rows of a part that a search may find, and what finds them best."""

    def __init__(self, part: Part, rows: Rows, metric: str, target: float, asked: Sample) -> None:
        self._part = part
        self._rows = rows
        self._metric = metric
        self._target = target
        self._asked = [(Query(vector, metric), own) for vector, own in zip(asked.queries, asked.own, strict=True)]
        self._truths = []
        for query, own in self._asked:
            ids, distances = Ranking(query, [(part, rows)]).nearest(_K + 1)
            self._truths.append(distances[ids != own][:_K])

    def all(self, session: Session, seconds: float) -> list[Row]:
        """Every candidate there is time for."""
        end, need = time.monotonic() + seconds, 0.0
        tried: list[Row] = []
        with _room():
            made = tempfile.TemporaryDirectory(prefix="kompanion-tune-", ignore_cleanup_errors=True)
        with made as folder:
            for times in _TIMES:
                lists = max(1, min(round(times * default_lists(len(self._part.ids))), len(self._part.ids) // 4))
                if time.monotonic() + need * times > end:
                    session.notice(
                        f"tune_index: ivfpq {lists} left out, building it would take about {need * times:.0f} s; "
                        "give more seconds"
                    )
                    continue
                row = self._candidate(Path(folder) / f"{lists}.ann", lists, end)
                need = need or row["build_seconds"]
                reached = (
                    f"does not reach {shown(self._target)}"
                    if row["knob"] is None
                    else f"reaches {row['recall']:.3f} with {row['knob']} % in {row['milliseconds']:.2f} ms"
                )
                session.notice(f"tune_index: ivfpq {lists} {reached}, built in {row['build_seconds']:.1f} s")
                tried.append(row)
        return sorted(tried, key=lambda row: (row["milliseconds"] is None, row["milliseconds"]))

    def _candidate(self, path: Path, lists: int, end: float) -> Row:
        start = time.monotonic()
        with _room():
            build_ann(self._part, self._metric, path, lists)
        built = time.monotonic() - start
        part = Part(self._part.ids, self._part.vectors, self._part.norms, open_ann(path))
        row: Row = {"kind": KINDS[0], "lists": lists, "knob": None, "recall": None, "milliseconds": None}
        return row | self._least(part, end) | {"build_seconds": built, "chosen": False}

    def _least(self, part: Part, end: float) -> Row:
        """The least knob that reaches the target: the ladder is climbed to it, then its last step halved.

        Without that, a candidate that needs a little more than a step would be timed at twice what it needs.
        """
        below, found = 0, None
        for knob in _LADDER:
            found = self._reached(part, knob)
            if found:
                break
            below = knob
        while found and found["knob"] - below > max(1, found["knob"] // 16) and time.monotonic() < end:
            knob = (below + found["knob"]) // 2
            less = self._reached(part, knob)
            if less:
                found = less
            else:
                below = knob
        return found or {}

    def _reached(self, part: Part, knob: int) -> Row | None:
        """Recall and median time (ms) with a knob, None below the target."""
        everything = len(self._rows) == len(part.ids)
        where = None if everything else Candidates(len(self._rows), [(part, self._rows)], 0.0)
        shares, times = [], []
        for (query, own), truth in zip(self._asked, self._truths, strict=True):
            start = time.perf_counter()
            ids, distances = IndexRanking(query, [part], where, _K, knob / 100).nearest(_K + 1)
            times.append((time.perf_counter() - start) * 1000)
            shares.append(share_found(ids, distances, own, truth))
        recall = statistics.fmean(shares)
        if recall < self._target:
            return None
        return {"knob": knob, "recall": recall, "milliseconds": statistics.median(times)}
