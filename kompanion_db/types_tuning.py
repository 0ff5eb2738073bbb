"""What calls that measure a vector index return: plain frozen dataclasses, as in :mod:`kompanion_db.types`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CalibrationPoint:
    """What calibrate measured where matches are this ``share`` (0 to 1) of all rows, with one setting of the index.

    ``knob``: probes of ivfflat, ef_search of hnsw; in SQLite lists looked into, in percent of the default. ``recall``
    (0 to 1), never less than with a smaller knob: on PostgreSQL the mean of ``runs``, on SQLite the least of the means
    of several kinds of filters and queries, of which ``runs`` counts those without a filter, or one at random.
    ``milliseconds``: the mean of those timed. On SQLite all are; on PostgreSQL a query is not once it has found all,
    and a knob with which none was costs in proportion to the last.
    """

    share: float
    knob: int
    recall: float
    milliseconds: float
    runs: int


@dataclass(frozen=True)
class MeasuredRecall:
    """What users get: the mean recall of ``asked`` searches, ``low`` to ``high`` its 95 % interval, all 0 to 1.

    ``milliseconds``: the median of a search inside the server. ``by_index``: how many went by the index; the others
    were exact. Where there was nothing to ask with, ``asked`` is 0 and the figures are None.
    """

    asked: int
    recall: float | None
    low: float | None
    high: float | None
    milliseconds: float | None
    by_index: int


@dataclass(frozen=True)
class IndexCandidate:
    """A vector index that tune_index built and measured.

    ``knob``: the smallest probes or ef_search (percent of the default in SQLite) with which it reaches the target,
    ``recall`` and ``milliseconds`` (the median) with that; None where it never does. ``lists`` is None for hnsw.
    ``chosen``: the one that is remembered.
    """

    kind: str
    lists: int | None
    knob: int | None
    recall: float | None
    milliseconds: float | None
    build_seconds: float
    chosen: bool
