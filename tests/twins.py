"""Two stores that are asked the same in lockstep, each checked against the rules, and their answers with one another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from compare import CLOSE, same_store
from program_runner import Runner
from programs import Step

import kompanion_db
from kompanion_db import Hit, errors

# What an engine gives itself.
_OWN = {"item_id", "namespace_id", "chunk_id", "cursor", "bytes", "index_kind", "index_lists", "index_rows", "model_id"}
_TIMES = {"created_at", "updated_at", "superseded_at", "deleted_at", "retired_at", "closed_at"}
_UNLIKE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\bchunk \d+|\d{4}-\d\d-\d\d[ T][0-9:.+]+")


def plain(answer: Any) -> Any:
    """An answer without what an engine gives itself: numbers of its own; of times only whether there is one."""
    if is_dataclass(answer) and not isinstance(answer, type):
        fields = asdict(answer)
        return {n: v is not None if n in _TIMES else plain(v) for n, v in fields.items() if n not in _OWN}
    if isinstance(answer, UUID):
        return "an id"
    if isinstance(answer, (list, tuple)):
        return [plain(each) for each in answer]
    return answer


def said(exc: errors.KompanionError) -> tuple[str, str]:
    """The class of an error and what it says, ids and times left out."""
    return type(exc).__name__, _UNLIKE.sub("#", exc.message)


class Recorded:
    """A store that keeps what it was asked and what it answered."""

    def __init__(self, store: kompanion_db.Store) -> None:
        self.store = store
        self.log: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                answer = method(*args, **kwargs)
            except errors.KompanionError as exc:
                self.log.append((name, exc))
                raise
            self.log.append((name, answer))
            return answer

        return call


def same_answers(left: list[tuple[str, Any]], right: list[tuple[str, Any]]) -> None:
    """Two logs of the same calls say the same."""
    assert [name for name, _ in left] == [name for name, _ in right]
    for (name, one), (_, other) in zip(left, right, strict=True):
        if isinstance(one, errors.KompanionError) or isinstance(other, errors.KompanionError):
            assert isinstance(one, errors.KompanionError), (name, one, other)
            assert isinstance(other, errors.KompanionError), (name, one, other)
            assert said(one) == said(other)
        elif name == "search":
            same_hits(one, other)
        elif isinstance(one, datetime):
            assert isinstance(other, datetime)
        elif name in ("list_items", "pending_embeddings", "put_embeddings", "stats", "list_namespaces"):
            key = repr if name != "list_items" else lambda row: (row["namespace"], row["key"])
            assert sorted(plain(one), key=key) == sorted(plain(other), key=key), name
        else:
            assert plain(one) == plain(other), name


def same_hits(one: Sequence[Hit], other: Sequence[Hit]) -> None:
    """The same hits, place by place, but for those as near as one another, which may stand in any order."""
    assert [h.rank for h in one] == [h.rank for h in other]
    for a, b in zip(one, other, strict=True):
        assert abs(a.distance - b.distance) < CLOSE
        assert abs(a.score - b.score) < CLOSE
    if one:
        last = one[-1].distance
        inner = [[_placed(h) for h in hits if h.distance < last - CLOSE] for hits in (one, other)]
        assert sorted(inner[0], key=repr) == sorted(inner[1], key=repr)


def _placed(hit: Hit) -> Any:
    return {n: v for n, v in plain(hit).items() if n not in ("rank", "distance", "score", "ordinal", "chunk")}


class TwinRunner(Runner):
    """A runner that also turns pages, and purges what is deleted or expired."""

    def paged(self, store: kompanion_db.Store, scope: str, size: int) -> None:
        """A scope read page by page: nothing twice, nothing left out, the newest first."""
        rows: list[Any] = []
        while page := store.list_items(scope, page_size=size, after=rows[-1].cursor if rows else None):
            assert len(page) <= size
            rows += page
        assert [r.created_at for r in rows] == sorted((r.created_at for r in rows), reverse=True)
        names = [(r.namespace, r.key) for r in rows]
        assert sorted(names) == sorted((n, key) for n, key, _ in self.oracle.visible(scope))

    def purge(self) -> None:
        """What is deleted, expired, or in a deleted namespace goes for good, and the namespaces with it."""
        oracle = self.oracle
        gone = [
            name for name, item in oracle.items.items() if not item.now.live or oracle.namespaces[name[0]] is not None
        ]
        empty = [path for path, deletion in oracle.namespaces.items() if deletion is not None]
        told = self.store.purge()
        assert (told.items, told.revisions, told.namespaces) == (len(gone), 0, len(empty))
        for name in gone:
            del oracle.items[name]
            self.times.pop(name, None)
        for path in empty:
            del oracle.namespaces[path]
            for thread in [t for t in oracle.threads if t[0] == path]:
                del oracle.threads[thread]


class Twins:
    """Both stores under the same program; ``between`` is called with the number of each step."""

    def __init__(self, runners: Sequence[TwinRunner], between: Callable[[], None]) -> None:
        self.runners, self.between = runners, between
        self.recorded = [Recorded(runner.store) for runner in runners]
        for runner, store in zip(runners, self.recorded, strict=True):
            runner.store = store  # type: ignore[assignment]
        self.done: Counter[str] = Counter()

    def run(self, program: list[Step]) -> None:
        """Each step on one, on the other, and their answers compared: those of the step, and all that can be read."""
        for number, (name, arguments) in enumerate(program):
            for runner in self.runners:
                getattr(runner, name, lambda **a: runner._plain(name, **a))(**arguments)  # noqa: B023
            self.between()
            for runner, recorded in zip(self.runners, self.recorded, strict=True):
                same_store(runner.store, runner.oracle, runner.times)
                # Of items written at the same moment each engine has its own order: pages are not compared one by one.
                runner.paged(recorded.store, "*", 1 + number % 3)
            self._compare()
            self.done["steps"] += 1
        for runner in self.runners:
            runner._look_back()
            assert runner.store.trim_history(keep_for=timedelta(0), keep_last=1) >= 0
            for name in runner.oracle.items:
                runner.store.item_history(*name)
        self._compare()
        self.done["programs"] += 1

    def _compare(self) -> None:
        left, right = (recorded.log for recorded in self.recorded)
        same_answers(left, right)
        for name, answer in left:
            self.done["searches"] += name == "search"
            self.done["hits"] += len(answer) if name == "search" and isinstance(answer, list) else 0
            self.done["errors"] += isinstance(answer, errors.KompanionError)
            self.done["calls"] += 1
        left.clear()
        right.clear()
