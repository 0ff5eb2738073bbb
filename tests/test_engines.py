"""The contract suite is whole: what does not run on every engine is listed with its reason, and the list is true."""

from __future__ import annotations

import re
from pathlib import Path

import engines
import pytest


def _asked_for(item: pytest.Item) -> set[str]:
    """The kinds of engines that a test asks for."""
    names = set(getattr(item, "fixturenames", ()))
    kinds = {
        "postgresql": {"db", "one_db", "empty_db", "one_empty_db", "one_server", "pg18"},
        "every": {"engine", "one_engine"},
    }
    found = {kind for kind, fixtures in kinds.items() if fixtures & names}
    by_server = "server" in getattr(getattr(item, "callspec", None), "params", {})
    return found | {"postgresql"} if by_server else found


def test_what_runs_on_postgresql_alone_is_listed_with_its_reason(request: pytest.FixtureRequest) -> None:
    alone = [item for item in request.config.stash[engines.COLLECTED] if _asked_for(item) == {"postgresql"}]
    unlisted = {item.nodeid.partition("[")[0] for item in alone if engines.why_not(item.nodeid) is None}
    assert unlisted == set(), "let them ask for home or store, or list them in engines.py with the reason"


def test_no_test_asks_for_a_server_and_for_every_engine_at_once(request: pytest.FixtureRequest) -> None:
    everything = request.config.stash[engines.COLLECTED]
    assert [item.nodeid for item in everything if _asked_for(item) == {"postgresql", "every"}] == []


@pytest.mark.parametrize("listed", engines.NOT_ON_SQLITE)
def test_what_is_listed_is_one_test_that_is_there(listed: str) -> None:
    file, _, name = listed.partition("::")
    found = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob(file)]
    assert found
    if name:  # one alone: a beginning that is shared would also leave out what nobody meant
        begins = re.compile(rf"^(?:async )?def {name.partition('*')[0]}", re.MULTILINE)
        assert [len(begins.findall(text)) for text in found] == [1]


@pytest.mark.parametrize(
    ("nodeid", "alone"),
    [
        ("tests/test_roles.py::test_any", True),
        ("tests/test_workers.py::test_a_killed_worker_gives_its_chunks_back[sqlite-uncommitted]", True),
        ("tests/test_workers.py::test_a_killed_worker_gives_its_chunks_back[sqlite-committed]", False),
        ("tests/test_items.py::test_any[sqlite]", False),
    ],
)
def test_a_listed_test_is_known_by_its_name(nodeid: str, alone: bool) -> None:
    assert (engines.why_not(nodeid) is not None) == alone
