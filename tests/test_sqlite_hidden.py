"""What is deleted, expired or purged is in no result, whatever the clock says, whichever path a search takes, in any transaction.

Time is the store's: a moment between two ticks of a test's own clock, which jumps back and forth.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import kill_store
import numpy as np
import pytest
from sharing import Undone

import kompanion_db
from kompanion_db.sidecar import ann
from kompanion_db.sidecar.rounds import rounds
from kompanion_db.sqlite import values
from kompanion_db.sqlite.store import SqliteStore

SEED = 7
DIM = 12
SPACES = ("acme", "acme:u1", "acme:u2", "acme2")
SHARES = {"all": {}, "half": {"half": 1}, "tenth": {"tenth": 1}, "few": {"few": 1}}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Clock:
    """The clock of the store, at a moment the test says."""

    def __init__(self) -> None:
        self.now = values.clock()

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def jump(self, seconds: float) -> None:
        """Back or forth."""
        self.now += round(seconds * 1_000_000)


class World:
    """A store, and a dict of what each key holds: vector, marks, expiry, whether it is deleted."""

    def __init__(self, store: SqliteStore, clock: Clock, drawn: random.Random) -> None:
        self.store, self.clock, self.random = store, clock, drawn
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.hidden: set[str] = set()
        self.done = Counter[str]()

    @property
    def now(self) -> int:
        """The time of what is asked now: a transaction has the one of its beginning."""
        session = self.store.database.current
        return self.clock.now if session is None else session.now

    def write(self, count: int) -> None:
        """Write keys, some with an expiry near by."""
        items = []
        for _ in range(count):
            name = (
                self.random.choice(SPACES[:2] if "acme2" in self.hidden else SPACES),
                f"k{self.random.randrange(150)}",
            )
            if name in {(i["namespace"], i["key"]) for i in items} or name[0] in self.hidden:
                continue
            n = self.random.randrange(1 << 30)
            expires = None if self.random.random() < 0.5 else self.now + round(self.random.uniform(1, 60) * 1e6)
            marks = {"half": n % 2, "tenth": int(n % 10 == 0), "few": int(n % 50 == 0)}
            vector = np.random.default_rng(n).standard_normal(DIM, dtype=np.float32)
            self.rows[name] = {
                "vector": vector,
                "marks": marks,
                "expires": expires,
                "deleted": False,
                "content": f"{n}",
            }
            items.append(
                {"namespace": name[0], "key": name[1], "content": f"{n}", "metadata": marks, "vectors": [vector],
                 "expires_at": expires and EPOCH + timedelta(microseconds=expires)}
            )  # fmt: skip
        self.store.upsert_items(items, model="m")

    def live(self, name: tuple[str, str], now: int) -> bool:
        row = self.rows[name]
        return name[0] not in self.hidden and not row["deleted"] and (row["expires"] is None or row["expires"] > now)

    def step(self) -> None:
        """Something happens to what is there."""
        kind = self.random.choice(("write", "write", "delete", "restore", "clock", "purge", "hide", "files", "files"))
        names = [name for name in self.rows if name[0] not in self.hidden]
        some = self.random.sample(sorted(names), min(len(names), 8))
        if kind == "write":
            self.write(self.random.choice((1, 5, 60)))
        elif kind == "delete":
            for name in some:
                self.store.delete_item(*name)
                self.rows[name]["deleted"] = True
        elif kind == "restore":
            for name in some:
                if self.store.restore_item(*name).status == "restored":
                    row = self.rows[name]
                    row["deleted"] = False
                    row["expires"] = None if row["expires"] and row["expires"] <= self.now else row["expires"]
        elif kind == "clock":
            self.clock.jump(self.random.uniform(-20, 40))
        elif kind == "hide":
            if self.hidden:
                self.store.restore_namespace(self.hidden.pop())
            else:
                self.hidden.add("acme2")
                self.store.ensure_namespace("acme2")  # it may be purged
                self.store.delete_namespace("acme2")
        elif not self.store.database.in_transaction:
            self.keep(kind)

    def keep(self, kind: str) -> None:
        """Purge, or a step of the upkeep of files; these are no part of a transaction."""
        if kind == "purge":
            now = self.now
            self.store.purge()
            with self.store.database.session(write=False) as session:
                there = set(
                    session.all("select n.path, i.key from memory_items i join namespaces n using (namespace_no)")
                )
                spaces = {path for (path,) in session.all("select path from namespaces")}
            assert not [name for name in self.rows if name not in there and self.live(name, now)]
            self.hidden &= spaces
            self.rows = {name: row for name, row in self.rows.items() if name in there}
            return
        with rounds(self.store.database.place, 600) as work:
            assert work is not None
            step = self.random.choice((work.fold, lambda _: work.compact(whole=True), lambda _: work.derive()))
            step(True)
            work.collect(grace=0)

    def look(self) -> None:
        """Search in every scope and share; each hit lives, is what was written last, and none that is nearer is left out."""
        query = np.random.default_rng(self.random.randrange(1 << 30)).standard_normal(DIM, dtype=np.float32)
        for scope in ("*", "acme", "acme2"):
            for share, filter in SHARES.items():
                k = self.random.choice((5, 20, 100))
                hits = self.store.search(scope, query, k, filter=filter or None)
                now = self.now
                matching = [
                    name
                    for name, row in self.rows.items()
                    if self.live(name, now)
                    and (scope == "*" or (name[0] + ":").startswith(scope + ":"))
                    and all(row["marks"][mark] == value for mark, value in filter.items())
                ]
                assert len(hits) == min(k, len(matching)), (scope, share)
                assert {(h.namespace, h.key) for h in hits} <= set(matching), (scope, share)
                for hit in hits:
                    row = self.rows[hit.namespace, hit.key]
                    assert hit.chunk == row["content"]
                    assert abs(hit.distance - np.linalg.norm(row["vector"] - query)) < 1e-4
                self.done["hits"] += len(hits)
                self.done[f"hits, {share}"] += len(hits)
                self.done["searches"] += 1
        told = self.store.explain_search("acme", query, 5)
        self.done["by index"] += str(told["path"]).startswith("index")

    def transaction(self, kept: bool) -> None:
        """Steps and searches in one transaction, with a part that is undone; then all of it may be."""
        before = _copied(self.rows), set(self.hidden)
        with suppress(Undone), self.store.transaction():
            self.step()
            self.look()
            inner = _copied(self.rows), set(self.hidden)
            with suppress(Undone), self.store.transaction():
                self.write(5)
                self.step()
                self.look()
                raise Undone
            self.rows, self.hidden = inner
            self.look()
            self.write(5)  # takes the numbers of vectors that were given back
            self.look()
            if not kept:
                raise Undone
        if not kept:
            self.rows, self.hidden = before
            self.look()
            self.write(5)
        self.done["transactions"] += 1


def _copied(rows: dict[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {name: dict(row) for name, row in rows.items()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A store with a clock of its own, whose indexes are looked into whatever they hold."""
    monkeypatch.setattr(ann.AnnFile, "depth", 40)
    clock = Clock()
    monkeypatch.setattr(values, "clock", clock)
    with kill_store.hastened(), kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}?synchronous=normal") as store:
        assert isinstance(store, SqliteStore)
        store.register_model("m", DIM, metric="l2")
        with store.database.session(write=True) as session:
            session.run(
                "update settings set value = jsonb('0') where name like 'retention_%' and name not like '%revisions'"
            )
            session.run("update settings set value = jsonb('1') where name = 'exact_threshold'")
        yield World(store, clock, random.Random(SEED))


def _wander(world: World, hits: int, figure: Callable[[str], None]) -> None:
    world.write(150)
    while world.done["hits"] < hits:
        if world.random.random() < 0.3:
            world.transaction(kept=world.random.random() < 0.5)
        else:
            world.step()
        world.look()
        world.clock.jump(world.random.uniform(-40, 40))
        world.look()
    assert world.done["by index"]
    figure(f"deleted, expired, purged or undone in results: 0 of {dict(world.done)}, seed {SEED}")


def test_what_is_deleted_or_expired_is_in_no_result(world: World, figure: Callable[[str], None]) -> None:
    _wander(world, 5_000, figure)


@pytest.mark.slow
def test_what_is_deleted_or_expired_is_in_none_of_a_hundred_thousand_results(
    world: World, figure: Callable[[str], None]
) -> None:
    _wander(world, 120_000, figure)
