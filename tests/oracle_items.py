"""The half of the oracle that knows namespaces, threads and items with their revisions; see oracle.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import oracle_filters

from kompanion_db import errors

Vector = Sequence[float]


@dataclass
class Chunk:
    """A piece of content, the vectors it has, and the models it waits for: True once it is claimed."""

    text: str
    vectors: dict[str, Vector] = field(default_factory=dict)
    waiting: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What a revision holds; two writes with the same state are one revision."""

    content: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    thread: str | None = None
    user_key: str | None = None
    expires_at: datetime | None = None
    deleted: bool = False

    @property
    def live(self) -> bool:
        return not self.deleted and not self.expired(datetime.now(timezone.utc))

    def expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at


@dataclass
class Item:
    """Its states, the first is revision 1, who wrote each, and its chunks now."""

    states: list[State]
    actors: list[str | None]
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def now(self) -> State:
        return self.states[-1]

    @property
    def revision(self) -> int:
        return len(self.states)


Name = tuple[str, str]


def below(scope: str, namespace: str) -> bool:
    """Whether a namespace is in a scope: segment by segment, never letter by letter."""
    wanted = scope.split(":")
    return scope == "*" or namespace.split(":")[: len(wanted)] == wanted


class Items(ABC):
    def __init__(self) -> None:
        self.namespaces: dict[str, int | None] = {}  # path -> None, or which deletion it went with
        self.threads: dict[Name, bool] = {}  # -> whether it is closed
        self.items: dict[Name, Item] = {}
        self.deletions = 0

    # Namespaces and threads

    def ensure_namespace(self, path: str) -> None:
        self._check_namespace(path)
        self.namespaces.setdefault(path, None)

    def _check_namespace(self, path: str) -> None:
        parts = path.split(":")
        above = [] if path in self.namespaces else [":".join(parts[:n]) for n in range(1, len(parts))]
        if any(self.namespaces.get(p) is not None for p in [*above, path]):
            raise errors.NamespaceDeleted(path)

    def delete_namespace(self, path: str) -> int:
        if not any(below(path, p) for p in self.namespaces):
            raise errors.NotFound(path)
        self.namespaces.setdefault(path, None)
        hidden = [p for p, gone in self.namespaces.items() if below(path, p) and gone is None]
        self.deletions += 1
        self.namespaces.update(dict.fromkeys(hidden, self.deletions))
        return len(hidden)

    def restore_namespace(self, path: str) -> int:
        if path not in self.namespaces:
            raise errors.NotFound(path)
        parts = path.split(":")
        if any(self.namespaces.get(":".join(parts[:n])) is not None for n in range(1, len(parts))):
            raise errors.NamespaceDeleted(path)
        deletion = self.namespaces[path]
        if deletion is None:
            return 0
        back = [p for p, gone in self.namespaces.items() if below(path, p) and gone == deletion]
        self.namespaces.update(dict.fromkeys(back, None))
        return len(back)

    def ensure_thread(self, namespace: str, key: str, reopen: bool = False) -> None:
        self.ensure_namespace(namespace)
        self.threads[namespace, key] = self.threads.get((namespace, key), False) and not reopen

    def close_thread(self, namespace: str, key: str) -> None:
        if (namespace, key) not in self.threads:
            raise errors.NotFound(key)
        self.threads[namespace, key] = True

    # Items

    def upsert_item(
        self, namespace: str, key: str, state: State, expected_revision: int | None = None, actor: str | None = None,
        chunks: list[str] | None = None, vectors: list[Vector | None] | None = None, model: str | None = None,
    ) -> tuple[int, str]:  # fmt: skip
        self._check_namespace(namespace)
        self._check_expiry(state.expires_at)
        if vectors is not None:
            model = self._model(model)
            for vector in vectors:
                self._check_vector(vector, model)
        if state.thread is not None and self.threads.get((namespace, state.thread)):
            raise errors.ThreadClosed(state.thread)
        item = self.items.get((namespace, key))
        self._expect(item, expected_revision)
        state = replace(state, tags=tuple(sorted(set(state.tags))))
        kept = item is not None and item.now.content == state.content and not chunks and vectors is None
        texts = chunks or ([state.content] if state.content.strip() else [])
        if vectors is not None and len(vectors) != len(texts):
            raise errors.BadArgument("vectors")

        self.namespaces.setdefault(namespace, None)
        if state.thread is not None:
            self.threads.setdefault((namespace, state.thread), False)
        if item is None:
            item = self.items[namespace, key] = Item([state], [actor])
            status = "inserted"
        else:
            status = "revised" if self._revise(item, state, actor) else "unchanged"
        if not kept:
            self._cut(item, texts)
        for chunk, vector in zip(item.chunks, vectors or (), strict=False):
            if vector is not None and model is not None:
                chunk.vectors[model] = vector
                chunk.waiting.pop(model, None)
        return item.revision, status

    def delete_item(
        self, namespace: str, key: str, expected_revision: int | None = None, actor: str | None = None
    ) -> tuple[int, str]:
        item = self.items.get((namespace, key))
        self._expect(item, expected_revision)
        if item is None:
            raise errors.NotFound(key)
        done = self._revise(item, replace(item.now, deleted=True), actor)
        return item.revision, "deleted" if done else "unchanged"

    def restore_item(
        self, namespace: str, key: str, expires_at: datetime | None = None, actor: str | None = None
    ) -> tuple[int, str]:
        item = self._writable(namespace, key, expires_at=expires_at)
        if item.now.live:
            return item.revision, "unchanged"
        expiry = expires_at or self._lifted(item.now)
        self._revise(item, replace(item.now, deleted=False, expires_at=expiry), actor)
        return item.revision, "restored"

    def touch_item(self, namespace: str, key: str, expires_at: datetime, actor: str | None = None) -> tuple[int, str]:
        item = self._writable(namespace, key, expires_at=expires_at)
        if not item.now.live:
            raise errors.NotFound(key)
        if item.now.expires_at is None or item.now.expires_at >= expires_at:
            return item.revision, "unchanged"
        self._revise(item, replace(item.now, expires_at=expires_at), actor)
        return item.revision, "revised"

    def revert_item(
        self, namespace: str, key: str, revision: int, expected_revision: int | None = None, actor: str | None = None
    ) -> tuple[int, str]:
        item = self._writable(namespace, key, expected=expected_revision)
        if not 1 <= revision <= item.revision or item.states[revision - 1].deleted:
            raise errors.NotFound(str(revision))
        former = item.states[revision - 1]
        return self.plain_update(item, replace(former, expires_at=self._lifted(former)), actor)

    def plain_update(self, item: Item, state: State, actor: str | None) -> tuple[int, str]:
        """Any change that brings no chunks along, such as a DBA's UPDATE: changed content is one new chunk."""
        fresh = state.content != item.now.content
        status = "revised" if self._revise(item, state, actor) else "unchanged"
        if fresh:
            item.chunks = []
            self._cut(item, [state.content] if state.content.strip() else [])
        return item.revision, status

    def as_of(self, item: Item, times: Sequence[datetime], at: datetime) -> int | None:
        """The revision a reader saw at a moment, given when each revision was written."""
        current = [n for n, written in enumerate(times, 1) if written <= at]
        if not current or item.states[current[-1] - 1].deleted or item.states[current[-1] - 1].expired(at):
            return None
        return current[-1]

    def _writable(
        self, namespace: str, key: str, *, expected: int | None = None, expires_at: datetime | None = None
    ) -> Item:
        self._check_namespace(namespace)
        self._check_expiry(expires_at)
        item = self.items.get((namespace, key))
        self._expect(item, expected)
        if item is None:
            raise errors.NotFound(key)
        return item

    @staticmethod
    def _check_expiry(expires_at: datetime | None) -> None:
        if expires_at is not None and expires_at <= datetime.now(timezone.utc):
            raise errors.BadArgument("expires_at")

    @staticmethod
    def _expect(item: Item | None, expected: int | None) -> None:
        if expected is not None and expected < 0:
            raise errors.BadArgument("expected_revision")
        fits = expected is None or expected == (item.revision if item else 0)
        if not fits and not (expected == 0 and item is not None and not item.now.live):
            raise errors.RevisionConflict(str(expected))

    @staticmethod
    def _lifted(state: State) -> datetime | None:
        return None if state.expired(datetime.now(timezone.utc)) else state.expires_at

    @staticmethod
    def _revise(item: Item, state: State, actor: str | None) -> bool:
        if state == item.now:
            return False
        item.states.append(state)
        item.actors.append(actor)
        return True

    @abstractmethod
    def _cut(self, item: Item, texts: Sequence[str]) -> None:
        """Makes the chunks of an item exactly these."""

    @abstractmethod
    def _model(self, name: str | None) -> str:
        """The model of that name, or the default one."""

    @abstractmethod
    def _check_vector(self, vector: Vector | None, model: str) -> None:
        """Refuses what is no vector of the model."""

    def visible(self, scope: str = "*") -> Iterator[tuple[str, str, Item]]:
        """Live items of live namespaces in a scope."""
        for (namespace, key), item in self.items.items():
            if self.namespaces[namespace] is None and below(scope, namespace) and item.now.live:
                yield namespace, key, item

    def passes(
        self, state: State, filter: Mapping[str, Any] | None = None, tags_any: Sequence[str] | None = None,
        tags_all: Sequence[str] | None = None, tags_none: Sequence[str] | None = None, thread: str | None = None,
    ) -> bool:  # fmt: skip
        tags = set(state.tags)
        return (
            oracle_filters.matches(filter, state.metadata)
            and (tags_any is None or bool(tags & set(tags_any)))
            and (tags_all is None or tags >= set(tags_all))
            and (tags_none is None or not tags & set(tags_none))
            and (thread is None or state.thread == thread)
        )
