"""Which vectors a search is about: all, or those of a scope and of items that meet conditions, as rows of parts.

Reading their numbers out of SQLite takes longer than comparing the vectors, so they are kept as long as nothing at all
was committed, and as long as none of them expires.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import apsw
import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedStore
from ..namespaces import namespace_segments
from ..sidecar.ann import Allowed
from ..sidecar.part import Part
from .conditions import Conditions, conditions
from .exact import Rows, rows_of
from .functions.namespaces import BELOW, scope_nos
from .models import Model
from .session import Session

KEPT_BYTES = 64 << 20
"""Of numbers that a connection keeps."""

_KEPT = 1000
"""Questions that a connection remembers."""

_FOREVER = 1 << 62


@dataclass(frozen=True)
class Question:
    """What a search asks of items, beside being near: the arguments of ``search`` as they are."""

    scope: str
    thread: str | None = None
    tags_any: tuple[str, ...] | None = None
    tags_all: tuple[str, ...] | None = None
    tags_none: tuple[str, ...] | None = None
    filter: str | None = None

    @property
    def by_item(self) -> bool:
        """Whether it asks more than a scope."""
        return any(x is not None for x in (self.thread, self.tags_any, self.tags_all, self.tags_none, self.filter))

    @cached_property
    def digest(self) -> bytes:
        """Stands for it where it is remembered: a filter may be a megabyte, and a thousand of them are."""
        return hashlib.blake2b(repr(self).encode(), digest_size=32).digest()

    @property
    def everything(self) -> bool:
        """Whether every live vector matches."""
        return self.scope == "*" and not self.by_item


@dataclass
class Candidates:
    """The live vectors that match, by part; ``rows`` is None where there are more than were to be counted."""

    count: int
    rows: list[tuple[Part, Rows]] | None
    milliseconds: float
    _allowed: dict[int, Allowed] = field(default_factory=dict)

    def allowed(self, part: Part, rows: Rows) -> Allowed:
        """The rows as an index takes them."""
        found = self._allowed.get(id(part))
        if found is None:
            assert part.ann is not None
            found = self._allowed[id(part)] = part.ann.allow(rows)
        return found

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return sum(rows.nbytes for _, rows in self.rows or ()) + sum(len(part.ids) // 8 for part, _ in self.rows or ())


@dataclass(frozen=True)
class Former:
    """How much was found the last time, and how long that took: what can be relied on when something was committed."""

    count: int
    milliseconds: float


@dataclass(frozen=True)
class _Kept:
    since: int
    until: int
    candidates: Candidates


_Key = tuple[int, bytes]
"""Model and question."""


class Memory:
    """What a connection remembers between searches; ``state``: of the file when all but former was true."""

    def __init__(self) -> None:
        self.state: tuple[int, ...] = ()
        self.models: dict[str | None, Any] = {}
        self.spread: dict[int, float] = {}
        self._former: OrderedDict[_Key, Former] = OrderedDict()
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._bytes = 0

    def at(self, state: tuple[int, ...]) -> None:
        """Forget what was true of another state: rows would keep files mapped and blocks of the log that are gone."""
        if state != self.state or not state:
            self.state = state
            self.models.clear()
            self._kept.clear()
            self._bytes = 0

    def get(self, state: tuple[int, ...], now: int, key: _Key) -> Candidates | None:
        """What was found for a question, if it is what would be found now."""
        kept = self._kept.get(key)
        if kept is None or state != self.state or not kept.since <= now < kept.until:
            return None
        self._kept.move_to_end(key)
        return kept.candidates

    def former(self, key: _Key) -> Former | None:
        """What was found the last time."""
        return self._former.get(key)

    def put(self, state: tuple[int, ...], key: _Key, kept: _Kept) -> None:
        """Keep what was found, where it may be asked for again, and let go of what was not for longest."""
        found = kept.candidates
        self._former[key] = Former(found.count, found.milliseconds)
        self._former.move_to_end(key)
        if len(self._former) > _KEPT:
            self._former.popitem(last=False)
        if not state or state != self.state:
            return
        self._drop(self._kept.pop(key, None))
        self._kept[key] = kept
        self._bytes += found.bytes
        while len(self._kept) > 1 and (self._bytes > KEPT_BYTES or len(self._kept) > _KEPT):
            self._drop(self._kept.popitem(last=False)[1])

    def _drop(self, kept: _Kept | None) -> None:
        self._bytes -= kept.candidates.bytes if kept else 0


_memories: WeakKeyDictionary[Session, Memory] = WeakKeyDictionary()


def memory_of(session: Session) -> Memory:
    """What the connection of a session remembers."""
    found = _memories.get(session)
    if found is None:
        found = _memories[session] = Memory()
    return found


def let_go(session: Session, generation: int) -> None:
    """Forget, for a session that nobody has, what is no more: files take their room as long as they are mapped."""
    session.vectors.let_go(generation)
    memory = _memories.get(session)
    if memory is not None and memory.state != session.vectors.state:
        memory.at(())


def state_of(session: Session) -> tuple[int, ...]:
    """Stands for all that is committed, as this transaction sees it; empty where it sees what is not."""
    version = session.value("pragma data_version")  # looks at the file, so it comes first
    if session.conn.txn_state("main") == apsw.SQLITE_TXN_WRITE:
        return ()
    return version, session.conn.total_changes()


def known(session: Session, model: Model, question: Question, state: tuple[int, ...]) -> Candidates | None:
    """The candidates, if they are known without asking SQLite."""
    return memory_of(session).get(state, session.now, (model.model_id, question.digest))


def find(
    session: Session,
    model: Model,
    question: Question,
    state: tuple[int, ...],
    limit: int | None = None,
    asked: Conditions | None = None,
) -> Candidates:
    """The candidates, no further than one above ``limit``, and then without rows; ``asked``: ``conditions_of`` it."""
    start = time.perf_counter()
    sql, parameters = _statement(session, model, question, asked)
    text, until, count = session.all(
        f"select group_concat(vec_id), min(expires_at), count(*) from ({sql} limit :limit)",
        parameters | {"limit": -1 if limit is None else limit + 1},
    )[0]
    whole = limit is None or count <= limit
    rows = _split(session, model, text) if whole else None
    found = Candidates(count, rows, (time.perf_counter() - start) * 1000)
    # While nothing is committed, what matches is the same until one of them expires; what is expired stays so.
    until = _FOREVER if until is None else until
    memory_of(session).put(state, (model.model_id, question.digest), _Kept(session.now, until, found))
    return found


def former(session: Session, model: Model, question: Question) -> Former | None:
    """What was found the last time: how much, and how long it took."""
    return memory_of(session).former((model.model_id, question.digest))


def conditions_of(session: Session, question: Question) -> Conditions:
    """The conditions on items as SQL. Raises BadFilter, BadNamespace."""
    return conditions(
        session,
        scope_nos=scope_nos(session, question.scope),
        thread=question.thread,
        tags_any=_listed(question.tags_any),
        tags_all=_listed(question.tags_all),
        tags_none=_listed(question.tags_none),
        filter=question.filter,
    )


def _statement(
    session: Session, model: Model, question: Question, asked: Conditions | None
) -> tuple[str, dict[str, Any]]:
    """SQL that gives vec_id and expires_at of the candidates, from indexes alone where it can, and its parameters."""
    live = "e.deleted_at is null and (e.expires_at is null or e.expires_at > :now)"
    if question.by_item:
        found = asked or conditions_of(session, question)
        return (
            f"""
            select e.vec_id, e.expires_at
            from memory_items i cross join embeddings e on e.item_no = i.item_no and e.model_id = :model
            where {found.sql} and {live}
            """,
            found.parameters | {"model": model.model_id, "now": session.now},
        )
    within = "" if question.scope == "*" else f"and {BELOW}"
    if question.scope != "*":
        namespace_segments(question.scope)
    return (
        f"""
        select e.vec_id, e.expires_at
        from namespaces n
        cross join embeddings e on e.model_id = :model and e.namespace_no = n.namespace_no and {live}
        where n.deleted_at is null {within}
        """,
        {"model": model.model_id, "now": session.now, "scope": question.scope},
    )


def _split(session: Session, model: Model, text: str | None) -> list[tuple[Part, Rows]]:
    ids: NDArray[np.int64] = np.fromstring(text or "", dtype=np.int64, sep=",")
    if len(ids) > 1 and not (ids[1:] > ids[:-1]).all():
        ids.sort()
    found = []
    missing = len(ids)
    for part in session.vectors.parts(model.model_id, model.dim):
        rows = rows_of(part, ids) if missing and len(part.ids) else np.empty(0, dtype=np.int64)
        if len(rows):
            found.append((part, np.ascontiguousarray(rows, dtype=np.int64)))
            missing -= len(rows)
    if missing:
        raise DamagedStore(
            f"{session.database.place.path}: {missing} vectors of model {model.name} are in no file and not in the log",
            hint="Run: kompanion-db doctor URL; then restore a backup.",
        )
    return found


def _listed(tags: tuple[str, ...] | None) -> list[str] | None:
    return None if tags is None else list(tags)
