"""Fixtures: three real servers and SQLite, and a store per test that begins as a copy of a migrated one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import engines
import fasteners
import pytest
import servers
from by_hand import ByHand

import kompanion_db

_run = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    # An xdist worker has workerinput and finds the owner's folder in its environment.
    if not hasattr(config, "workerinput"):
        _run.enter_context(servers.owned_root())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[engines.COLLECTED] = list(items)
    apart = [item for item in items if engines.is_on_sqlite(item) and engines.why_not(item.nodeid)]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in set(apart)]


def pytest_unconfigure(config: pytest.Config) -> None:
    _run.close()


@pytest.fixture(scope="session", params=engines.wanted())
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    """Each engine in turn: the servers and SQLite; KOMPANION_TEST_SERVERS=pg18,sqlite narrows."""
    return engines.get(request.param)


@pytest.fixture(scope="session", params=engines.one_of_each())
def one_engine(request: pytest.FixtureRequest) -> engines.Engine:
    """The first server and SQLite, for promises that do not depend on the version of a server."""
    return engines.get(request.param)


@pytest.fixture(scope="session", params=servers.wanted())
def server(request: pytest.FixtureRequest) -> servers.Server:
    """Each server in turn, for what PostgreSQL alone has; KOMPANION_TEST_DSN replaces them."""
    return servers.running(request.param)


@pytest.fixture(scope="session")
def one_server() -> servers.Server:
    """The first server only, for what PostgreSQL alone has and does not depend on the version."""
    if not servers.wanted():
        pytest.skip("no PostgreSQL server is in this run")
    return servers.running(servers.wanted()[0])


@pytest.fixture(scope="session")
def pg18() -> servers.Server:
    """PostgreSQL 18 of the generators; skipped when it is not among the servers of this run."""
    if "pg18" not in servers.wanted():
        pytest.skip("the generated files are made with pg18, which is not in this run")
    return servers.running("pg18")


@pytest.fixture
def home(engine: engines.Engine) -> Iterator[engines.Home]:
    """A store of the test's own, empty and closed, on each engine."""
    made = engine.home()
    yield made
    made.drop()


@pytest.fixture
def one_home(one_engine: engines.Engine) -> Iterator[engines.Home]:
    """Like ``home``, on one engine of each kind."""
    made = one_engine.home()
    yield made
    made.drop()


@pytest.fixture
def one_empty_home(one_engine: engines.Engine) -> Iterator[engines.Home]:
    """A place of the test's own where no store is yet, on one engine of each kind."""
    made = one_engine.empty_home()
    yield made
    made.drop()


@pytest.fixture
def store(home: engines.Home) -> Iterator[kompanion_db.Store]:
    """An open store in ``home``."""
    with kompanion_db.connect(home.url) as opened:
        yield opened


@pytest.fixture
def by_hand(home: engines.Home) -> Iterator[ByHand]:
    """The tables of ``home``, past the store."""
    with home.by_hand() as hand:
        yield hand


@pytest.fixture
def db(server: servers.Server) -> Iterator[servers.Database]:
    """A database of the test's own with everything migrated, on each server."""
    database = server.create(server.template)
    yield database
    database.drop()


@pytest.fixture
def pg_store(db: servers.Database) -> Iterator[kompanion_db.Store]:
    """An open store on ``db``."""
    with kompanion_db.connect(db.url) as opened:
        yield opened


@pytest.fixture
def empty_db(server: servers.Server) -> Iterator[servers.Database]:
    """A database of the test's own without kompanion and without the extension, on each server."""
    database = server.create()
    yield database
    database.drop()


@pytest.fixture
def one_db(one_server: servers.Server) -> Iterator[servers.Database]:
    """Like ``db``, on the first server only."""
    database = one_server.create(one_server.template)
    yield database
    database.drop()


@pytest.fixture
def one_empty_db(one_server: servers.Server) -> Iterator[servers.Database]:
    """Like ``empty_db``, on the first server only."""
    database = one_server.create()
    yield database
    database.drop()


@pytest.fixture
def bench_db(one_db: servers.Database) -> Iterator[servers.Database]:
    """Like ``one_db``, while no other benchmark runs on its server: each tells of the databases of others."""
    with fasteners.InterProcessLock(str(Path(os.environ[servers.ROOT_VAR]) / "bench.lock")):
        yield one_db


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say a figure that the end of the run prints, also when it ran in several processes."""
    return lambda text: record_property("figure", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "figure"
    ]
    if said:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(said))
