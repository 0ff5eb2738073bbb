"""Namespaces and tags of one's own, whatever their sizes, become scopes to ask in."""

from __future__ import annotations

import numpy as np
import pytest

from bench import cases, data, filters, ivfflat_lists

RNG = np.random.default_rng(5)
VECTORS = RNG.standard_normal((1000, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((60, 8)).astype(np.float32)


def test_sizes_between_the_usual_shares_are_asked_about_and_stand_at_their_own() -> None:
    names = [f"big:{n % 2}" if n < 700 else f"mid:{n % 10}" for n in range(1000)]
    tags = [["most"] if n < 999 else ["rare"] for n in range(1000)]
    _, planned = cases.of(data.Dataset("x", VECTORS, QUERIES, namespaces=names, tags=tags), 60, 10, seed=1)
    found = {(case.group, case.share) for case in planned}
    assert {
        ("all", 1.0),
        ("foreign namespace", 0.42),
        ("foreign namespace", 0.03),
        ("tags", 1.0),
        ("tags", 0.001),
    } <= found
    assert [case.share for case in ivfflat_lists.narrow(planned)] == [0.03]


def test_names_of_about_one_size_are_asked_about_together() -> None:
    rows = {
        name: np.arange(size) for name, size in (("a", 200), ("b", 50), ("c", 49), ("d", 3), ("e", 201), ("all", 1000))
    }
    assert filters.by_share(rows, 1000, (0.1, 0.01)) == {0.1: ["a", "b"], 0.2: ["e"], 0.049: ["c"], 0.003: ["d"]}


def test_what_few_queries_can_be_asked_about_is_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"a:{n}" for n in range(1000)]
    cases.of(
        data.Dataset(
            "x", VECTORS, QUERIES, namespaces=names, filters={"mine": ["a:3"] * 5 + [None] * 55, "yours": ["a"] * 60}
        ),
        60,
        10,
        seed=1,
    )
    assert capsys.readouterr().err == "x: mine is left out, 5 queries have matches there, 20 are needed\n"


def test_namespaces_that_leave_nothing_to_ask_in_are_told() -> None:
    with pytest.raises(SystemExit, match="x: its namespaces and tags leave nothing to ask in"):
        cases.of(data.Dataset("x", VECTORS, QUERIES, namespaces=["a"] * 1000), 60, 10, seed=1)
