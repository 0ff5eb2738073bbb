"""Any program of writes, deletes, expiries, restores and model switches leaves what the rules say, after every step.

KOMPANION_PROGRAMS says how many random programs each engine runs; the full proof, 2000, is a slow test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import engines
import program_runner
import programs
import pytest
from hypothesis import HealthCheck, given, settings

import kompanion_db

PROGRAMS = int(os.environ.get("KOMPANION_PROGRAMS", "100"))
Shared = tuple[kompanion_db.Store, engines.Home]


# The connection pool draws random numbers in a thread of its own, which hypothesis takes for a mistake.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@pytest.fixture(scope="module")
def shared(engine: engines.Engine) -> Iterator[Shared]:
    """One store for all programs of an engine; each program starts with it empty."""
    home = engine.home()
    with kompanion_db.connect(home.url, max_size=1) as store:
        yield store, home
    home.drop()


def test_every_random_program_ends_each_step_where_the_rules_say(shared: Shared, figure: Callable[[str], None]) -> None:
    _run(shared, PROGRAMS, figure)


@pytest.mark.slow
def test_two_thousand_random_programs_end_each_step_where_the_rules_say(
    shared: Shared, figure: Callable[[str], None]
) -> None:
    _run(shared, 2000, figure)


def _run(shared: Shared, count: int, figure: Callable[[str], None]) -> None:
    store, home = shared
    done = {"programs": 0, "steps": 0}
    with home.by_hand() as hand:

        @settings(
            max_examples=count,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            report_multiple_bugs=False,
        )
        @given(programs.PROGRAMS)
        def run(program: list[programs.Step]) -> None:
            for table in ("memory_items", "namespaces", "embedding_models"):
                hand.delete(table)
            program_runner.Runner(store, hand).run(program)
            done["programs"] += 1
            done["steps"] += len(program)

        run()
    figure(f"{home.key}: programs {done['programs']}, steps {done['steps']}, equal to the rules after each")
