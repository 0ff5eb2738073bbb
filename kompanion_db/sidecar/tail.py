"""The vectors that are still in the log, held in memory once a process."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import apsw
import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedStore
from .part import Part
from .segment import lengths

_BLOCK_BYTES = 16 << 20


class _Block:
    """Room for vectors of one model. Rows are only ever appended, so that views of those before stay true."""

    def __init__(self, dim: int) -> None:
        capacity = max(16, min(20000, _BLOCK_BYTES // (4 * dim)))
        self.ids: NDArray[np.int64] = np.empty(capacity, dtype=np.int64)
        self.vectors: NDArray[np.float32] = np.empty((capacity, dim), dtype=np.float32)
        self.norms: NDArray[np.float32] = np.empty(capacity, dtype=np.float32)
        self.used = 0

    def append(self, ids: list[int], vectors: NDArray[np.float32]) -> int:
        """Take as many rows as there is room for; how many."""
        count = min(len(ids), len(self.ids) - self.used)
        rows = slice(self.used, self.used + count)
        self.ids[rows] = ids[:count]
        self.vectors[rows] = vectors[:count]
        self.norms[rows] = lengths(self.vectors[rows])
        self.used += count
        return count

    def part(self, low: int, high: int) -> Part | None:
        """The rows with an id from ``low`` to ``high``."""
        ids = self.ids[: self.used]
        first, last = np.searchsorted(ids, (low, high + 1))
        if first == last:
            return None
        return Part(ids[first:last], self.vectors[first:last], self.norms[first:last])


@dataclass(frozen=True)
class Rows:
    """The rows of the log from ``low`` to ``high``, as they were when they were asked for."""

    blocks: dict[int, list[_Block]]
    low: int
    high: int

    def parts(self, model_id: int) -> list[Part]:
        """The vectors of a model."""
        found = (block.part(self.low, self.high) for block in self.blocks.get(model_id, ()))
        return [part for part in found if part is not None]


class _Tail:
    """Rows of the log from ``low`` on, up to ``high``, all of them."""

    def __init__(self, low: int) -> None:
        self.low = low
        self.high = low - 1
        self._blocks: dict[int, list[_Block]] = {}

    def read(self, conn: apsw.Connection, high: int) -> None:
        """Read what follows, up to ``high``, as the transaction of ``conn`` sees it. Raises DamagedStore."""
        if high <= self.high:
            return
        rows: dict[int, tuple[list[int], list[bytes]]] = {}
        waiting = 0
        for seq, model_id, vector in conn.execute(
            "select seq, model_id, vector from vec_log where seq > ? and seq <= ? order by seq", (self.high, high)
        ):
            ids, vectors = rows.setdefault(model_id, ([], []))
            ids.append(seq)
            vectors.append(vector)
            waiting += len(vector)
            if waiting >= _BLOCK_BYTES:
                self._take(rows)
                self.high, waiting, rows = seq, 0, {}
        self._take(rows)
        self.high = high

    def forget(self, low: int) -> None:
        """Let go of blocks that lie before ``low`` altogether; what is left begins there."""
        self._blocks = {
            model_id: [block for block in blocks if block.ids[block.used - 1] >= low]
            for model_id, blocks in self._blocks.items()
        }
        self.low = max(self.low, low)
        self.high = max(self.high, low - 1)

    def rows(self, low: int, high: int) -> Rows:
        """The rows from ``low`` to ``high``, which stay when they are forgotten here."""
        return Rows({model_id: list(blocks) for model_id, blocks in self._blocks.items()}, low, high)

    def _take(self, rows: dict[int, tuple[list[int], list[bytes]]]) -> None:
        for model_id, (_, vectors) in rows.items():
            if len({len(vector) for vector in vectors}) > 1:
                raise DamagedStore(
                    f"vec_log: vectors of model {model_id} differ in length", hint="Run: kompanion-db doctor URL."
                )
        for model_id, (ids, vectors) in rows.items():
            self._append(model_id, ids, np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(ids), -1))

    def _append(self, model_id: int, ids: list[int], vectors: NDArray[np.float32]) -> None:
        blocks = self._blocks.setdefault(model_id, [])
        while ids:
            if not blocks or blocks[-1].used == len(blocks[-1].ids):
                blocks.append(_Block(vectors.shape[1]))
            count = blocks[-1].append(ids, vectors)
            ids, vectors = ids[count:], vectors[count:]


class SharedTail:
    """The committed rows of the log, for all connections of a process: each is read once.

    A number that a transaction took and rolled back is given to another vector later, so what a connection reads of its
    own uncommitted rows never comes in here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tail = _Tail(0)
        self._generation = -1

    def of(self, conn: apsw.Connection, generation: int, low: int, high: int, writing: bool) -> list[Rows]:
        """The rows of the log, ``low`` to ``high``, as a transaction sees them that is at this generation."""
        with self._lock:
            tail = self._tail
            if low < tail.low:  # a transaction that began before the last fold
                tail = _Tail(low)
                tail.read(conn, high)
                return [tail.rows(low, high)]
            if not writing:
                if generation >= self._generation:
                    self._generation = generation
                    tail.forget(low)
                tail.read(conn, high)
                return [tail.rows(low, high)]
            committed = tail.rows(low, tail.high)
        own = _Tail(max(committed.high + 1, low))
        own.read(conn, high)
        return [committed, own.rows(own.low, high)]
