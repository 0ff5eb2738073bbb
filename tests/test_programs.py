"""Any program of writes, deletes, expiries, restores and model switches leaves what the rules say, after every step.

KOMPANION_PROGRAMS says how many random programs each server runs; the full proof, 2000, is a slow test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import program_runner
import programs
import pytest
import servers
from hypothesis import HealthCheck, given, settings

import kompanion_db

PROGRAMS = int(os.environ.get("KOMPANION_PROGRAMS", "100"))
Shared = tuple[kompanion_db.Store, servers.Database]


# The connection pool draws random numbers in a thread of its own, which hypothesis takes for a mistake.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@pytest.fixture(scope="module")
def shared(server: servers.Server) -> Iterator[Shared]:
    """One database for all programs of a server; each program starts with it empty."""
    database = server.create(server.template)
    with kompanion_db.connect(database.url, max_size=1) as store:
        yield store, database
    database.drop()


def test_every_random_program_ends_each_step_where_the_rules_say(shared: Shared, figure: Callable[[str], None]) -> None:
    _run(shared, PROGRAMS, figure)


@pytest.mark.slow
def test_two_thousand_random_programs_end_each_step_where_the_rules_say(
    shared: Shared, figure: Callable[[str], None]
) -> None:
    _run(shared, 2000, figure)


def _run(shared: Shared, count: int, figure: Callable[[str], None]) -> None:
    store, database = shared
    done = {"programs": 0, "steps": 0}
    with database.connect() as conn:

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
                conn.execute(f"delete from kompanion.{table}")
            program_runner.Runner(store, conn.execute).run(program)
            done["programs"] += 1
            done["steps"] += len(program)

        run()
    figure(f"{database.server.key}: programs {done['programs']}, steps {done['steps']}, equal to the rules after each")
