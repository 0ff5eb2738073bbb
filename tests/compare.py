"""Compares a store with the oracle: everything a caller can read must be equal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from oracle import Found, Item, Oracle, nearest

import kompanion_db

CLOSE = 1e-5
"""Engines compute in float32; distances nearer to each other than this are ties, in any order."""


def same_search(
    hits: Sequence[kompanion_db.Hit], found: Sequence[Found], k: int, per_chunk: bool, oracle: Oracle
) -> None:
    """Exactly min(k, matches) hits, no nearer one left out; ties in any order."""
    expected = nearest(found, per_chunk)
    assert len(hits) == min(k, len(expected))
    assert [h.rank for h in hits] == list(range(1, len(hits) + 1))
    distances = {(f.namespace, f.key, f.ordinal): f.distance for f in found}
    places = [(h.namespace, h.key, h.ordinal) if per_chunk else (h.namespace, h.key) for h in hits]
    assert len(set(places)) == len(places)
    for hit, wanted in zip(hits, expected, strict=False):
        assert abs(hit.distance - wanted.distance) < CLOSE
        assert abs(hit.distance - distances[hit.namespace, hit.key, hit.ordinal]) < CLOSE
        item = oracle.items[hit.namespace, hit.key]
        assert hit.chunk == item.chunks[hit.ordinal].text
        assert (hit.revision, *_state(hit)) == (item.revision, *_wanted(item, hit=True))


def same_store(store: kompanion_db.Store, oracle: Oracle, times: dict[tuple[str, str], list[datetime]]) -> None:
    """Items, histories, namespaces, models and figures; ``times`` remembers when each revision was written."""
    listed = {(i.namespace, i.key): i for i in store.list_items("*", page_size=1000)}
    live = {(namespace, key): item for namespace, key, item in oracle.visible()}
    assert set(listed) == set(live)
    for name, item in oracle.items.items():
        got = store.get_item(*name)
        assert (got is not None) == (name in live)
        if got is not None:
            for read in (got, listed[name]):
                assert (read.revision, read.actor, read.user_key, read.content, *_state(read)) == (
                    item.revision, item.actors[-1], item.now.user_key, item.now.content, *_wanted(item)
                )  # fmt: skip
        if oracle.namespaces[name[0]] is None:
            times[name] = _same_history(store.item_history(*name), item, times.get(name, []))
        else:
            assert store.item_history(*name) == []
    namespaces = store.list_namespaces(include_deleted=True, page_size=1000)
    assert {n.namespace: n.deleted_at is None for n in namespaces} == {
        path: gone is None for path, gone in oracle.namespaces.items()
    }
    _same_models(store, oracle)


def _same_models(store: kompanion_db.Store, oracle: Oracle) -> None:
    told = {m.model: (m.dim, m.metric, m.retired_at is not None, m.is_default, m.queued) for m in store.list_models()}
    assert told == {
        name: (model.dim, model.metric, model.retired, name == oracle.default, oracle.queued(name))
        for name, model in oracle.models.items()
    }
    wanted = oracle.stats()
    figures = {(s.namespace, s.model): s for s in store.stats("*")}
    assert set(figures) == set(wanted)
    for place, fields in wanted.items():
        assert {name: getattr(figures[place], name) for name in fields} == fields
    for name, model in oracle.models.items():
        if not model.retired:
            query = [1.0] * model.dim
            same_search(store.search("*", query, 3, model=name), oracle.search("*", query, name), 3, False, oracle)


def _same_history(history: Sequence[kompanion_db.Revision], item: Item, known: list[datetime]) -> list[datetime]:
    """Gapless, unchanged since it was last read, its times growing and joined end to end."""
    assert [r.revision for r in history] == list(range(1, item.revision + 1))
    for read, state, actor in zip(history, item.states, item.actors, strict=True):
        assert (read.content, read.user_key, read.actor, read.deleted_at is not None) == (
            state.content, state.user_key, actor, state.deleted
        )  # fmt: skip
        assert _state(read) == (dict(state.metadata), list(state.tags), state.thread, state.expires_at)
    times = [r.updated_at for r in history]
    assert times[: len(known)] == known
    assert times == sorted(set(times))
    assert [r.superseded_at for r in history] == [*times[1:], None]
    return times


def _state(read: Any) -> tuple[Any, ...]:
    return read.metadata, read.tags, read.thread, read.expires_at


def _wanted(item: Item, hit: bool = False) -> tuple[Any, ...]:
    return dict(item.now.metadata), list(item.now.tags), item.now.thread, item.now.expires_at
