"""Fixtures: three real servers, and a database per test cloned from a migrated template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import servers

_run = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    # An xdist worker has workerinput and finds the owner's folder in its environment.
    if not hasattr(config, "workerinput"):
        _run.enter_context(servers.owned_root())


def pytest_unconfigure(config: pytest.Config) -> None:
    _run.close()


def _server(key: str) -> servers.Server:
    try:
        servers.library(key)
    except ImportError as exc:
        pytest.skip(f"no wheel of {exc.name} for this Python: {key} is not tested here")
    return servers.get(key)


@pytest.fixture(scope="session", params=servers.wanted())
def server(request: pytest.FixtureRequest) -> servers.Server:
    """Each server in turn; KOMPANION_TEST_SERVERS=pg18,floor narrows, KOMPANION_TEST_DSN replaces."""
    return _server(request.param)


@pytest.fixture(scope="session")
def one_server() -> servers.Server:
    """The first server only, for promises that do not depend on the version."""
    return _server(servers.wanted()[0])


@pytest.fixture(scope="session")
def pg18() -> servers.Server:
    """PostgreSQL 18 of the generators; skipped when it is not among the servers of this run."""
    if "pg18" not in servers.wanted():
        pytest.skip("the generated files are made with pg18, which is not in this run")
    return _server("pg18")


@pytest.fixture
def db(server: servers.Server) -> Iterator[servers.Database]:
    """A database of the test's own with everything migrated, on each server."""
    database = server.create(server.template)
    yield database
    database.drop()


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
def store(db: servers.Database) -> Iterator[Any]:
    """An open store on ``db``."""
    import kompanion_db

    with kompanion_db.connect(db.url) as opened:
        yield opened


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
