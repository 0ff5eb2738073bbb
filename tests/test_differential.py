"""PostgreSQL, SQLite and the rules in plain Python give the same answers, whatever is done to them and in whatever order.

After every step everything is compared that can be read: each answer and error, items, pages, histories, namespaces,
models, figures and searches. Meanwhile the vectors of SQLite are folded, merged, indexed and collected all the time.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import engines
import kill_store
import programs
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from oracle import State
from twins import TwinRunner, Twins

import kompanion_db
from kompanion_db.sidecar.ann import AnnFile
from kompanion_db.sidecar.rounds import Rounds, rounds
from kompanion_db.sqlite import planner
from kompanion_db.sqlite.store import SqliteStore

SEED = 20261124
CROWD = 120

# The connection pool draws random numbers in a thread of its own, which hypothesis takes for a mistake.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

PURGE: programs.Step = ("purge", {})
PROGRAMS = st.builds(
    lambda program, places: [
        step for n, step in enumerate(program) for step in ([PURGE, step] if n in places else [step])
    ],
    programs.PROGRAMS,
    st.sets(st.integers(5, 40), max_size=2),
)


class Keeper:
    """Does something to the files of a store after each step, and counts what."""

    KINDS: tuple[tuple[str, Callable[[Rounds], int]], ...] = (
        ("folded", lambda work: work.fold(everything=True)),
        ("merged", lambda work: (work.fold(everything=True), work.compact(whole=True))[-1]),
        ("indexed", lambda work: (work.fold(everything=True), work.compact(whole=True), work.derive())[-1]),
        ("removed", lambda work: work.collect(grace=0)),
    )

    def __init__(self, store: SqliteStore) -> None:
        self.store, self.random, self.done = store, random.Random(SEED), Counter[str]()

    def __call__(self) -> None:
        kind, step = self.random.choice((*self.KINDS, *[("", None)] * 3))
        if step is not None:
            with rounds(self.store.database.place, 600) as work:
                assert work is not None
                self.done[kind] += step(work)
        for model in self.store.list_models():
            if model.retired_at is None:
                told = self.store.explain_search("*", [1.0] * model.dim, 3, model=model.model)
                self.done["by index"] += str(told["path"]).startswith("index")


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An open store on each engine, in which what is deleted or expired may be purged at once, and their tables."""
    # Answers are compared hit by hit: indexes are asked for enough to find all.
    monkeypatch.setattr(AnnFile, "default_probes", property(lambda ann: ann.lists))
    monkeypatch.setattr(AnnFile, "depth", 64)
    monkeypatch.setattr(planner, "SURE_DIM", 1)
    if len(engines.one_of_each()) < 2:
        pytest.skip("one of the two engines is not in this run")
    with ExitStack() as stack:
        homes = [engines.get(key).home() for key in engines.one_of_each()]
        for home in homes:
            stack.callback(home.drop)
        stack.enter_context(kill_store.hastened())
        stores = [stack.enter_context(kompanion_db.connect(home.url, max_size=1)) for home in homes]
        hands = [stack.enter_context(home.by_hand()) for home in homes]
        for hand in hands:
            hand.set_setting("retention_deleted", timedelta(0))
            hand.set_setting("retention_expired", timedelta(0))
        hands[1].set_setting("exact_threshold", 1)
        assert isinstance(stores[1], SqliteStore)
        yield {"stores": stores, "hands": hands, "keeper": Keeper(stores[1])}


def test_any_program_gives_the_same_answers_on_both_engines(
    both: dict[str, Any], figure: Callable[[str], None]
) -> None:
    _run(both, 12, [], figure)


def test_any_program_gives_the_same_answers_also_when_indexes_are_searched(
    both: dict[str, Any], figure: Callable[[str], None]
) -> None:
    done = _run(both, 6, _crowd(), figure)
    assert done["by index"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_twenty_thousand_steps_give_the_same_answers_on_both_engines(
    both: dict[str, Any], part: int, figure: Callable[[str], None]
) -> None:
    done = _run(both, 270, [], figure, SEED + part)
    assert done["steps"] >= 5_000
    assert done["searches"] >= 1_250


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_thousands_of_steps_give_the_same_answers_also_when_indexes_are_searched(
    both: dict[str, Any], part: int, figure: Callable[[str], None]
) -> None:
    done = _run(both, 100, _crowd(), figure, SEED + part)
    assert done["by index"] >= 1_000


def _crowd() -> list[programs.Step]:
    """An item of so many chunks that indexes are worth it."""
    drawn = random.Random(SEED)
    vectors = [[drawn.gauss(0, 1) for _ in range(3)] for _ in range(CROWD // 3)]
    state = State(content=" ".join(f"w{n}" for n in range(CROWD)), tags=("red",), metadata={"n": 1})
    arguments = {"name": ("a_b:x", "many"), "state": state, "model": "words", "cut": True, "vectors": vectors}
    return [
        ("register_model", {"name": "words", "twist": 0}),
        ("upsert_item", {**arguments, "expected_revision": None, "actor": None}),
    ]


def _run(
    both: dict[str, Any], count: int, first: list[programs.Step], figure: Callable[[str], None], start: int = SEED
) -> Counter[str]:
    done = Counter[str]()

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to make a program of two engines smaller takes minutes
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
    )
    @given(PROGRAMS)
    def run(program: list[programs.Step]) -> None:
        for hand in both["hands"]:
            for table in ("memory_items", "namespaces", "embedding_models"):
                hand.delete(table)
        runners = [TwinRunner(store, hand) for store, hand in zip(both["stores"], both["hands"], strict=True)]
        twins = Twins(runners, both["keeper"])
        twins.run([*first, *program])
        done.update(twins.done)

    run()
    done.update(both["keeper"].done)
    figure(f"PostgreSQL, SQLite and the rules, equal after each step, seed {start}: {json.dumps(done)}")
    return done
