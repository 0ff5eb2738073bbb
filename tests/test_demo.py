"""The demo answers all its questions, shows what happened and not what was hoped for, and runs again."""

from __future__ import annotations

from pathlib import Path

import engines
import pytest
from cli import cli, process

import kompanion_db
from kompanion_db import demo


def test_the_demo_runs_in_a_folder_and_a_second_time_from_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep" / "demo"
    for turn, counts in enumerate(("345 inserted, 0 revised, 0 unchanged", "0 inserted, 1 revised, 344 unchanged")):
        done = process("demo", "--folder", "." if turn else str(folder))
        monkeypatch.chdir(folder)
        assert (done.code, done.err) == (0, "")
        first = 1 + 4 * turn
        for promised in (
            counts,
            "10 of 10 questions found their memories.",
            f"harbor / spare-key-fuel-shed: revised, revision {first} -> {first + 1}",
            f"is at revision {first + 1}, not {first}.",
            "at once:        get there, search there",
            "later:    get gone, search gone",
            f"delete_item: deleted, revision {first + 2}; get gone",
            f"restore_item: restored, revision {first + 3}; get there",
        ):
            assert promised in done.out, promised
        assert done.out.count("path: exact, ") == 10
        assert "\x1b" not in done.out
        assert max(map(len, done.out.splitlines())) <= 100
    listed = process("list", "harbor", "-n", "1", "--json", "--url", f"embedded:{folder}")
    assert len(listed.rows) == 1


def test_the_demo_runs_in_an_empty_database_and_again(one_empty_home: engines.Home) -> None:
    for _ in range(2):
        done = cli("demo", "--url", one_empty_home.url)
        assert done.code == 0, done.err
        assert "10 of 10 questions" in done.out


def test_the_demo_leaves_a_database_that_is_somebody_elses_alone(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.upsert_item("acme", "k", "mine")
    done = cli("demo", "--url", one_home.url)
    assert done.code == 1
    assert "error: url: this database holds memories already" in done.err
    with kompanion_db.connect(one_home.url) as store:
        assert [n.namespace for n in store.list_namespaces()] == ["acme"]
        assert store.list_models() == []


def test_a_question_that_misses_its_memory_is_told_and_fails_the_demo(
    one_empty_home: engines.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = demo.questions()
    asked[1]["expect"] = ["no-such-memory"]
    monkeypatch.setattr(demo, "questions", lambda: asked)
    done = cli("demo", "--url", one_empty_home.url)
    assert done.code == 1
    assert "missed: no-such-memory" in done.out
    assert "9 of 10 questions found their memories." in done.out


def test_the_demo_brings_345_memories_of_three_projects_and_ten_questions_about_them() -> None:
    items = demo.memories()
    assert len({(item["namespace"], item["key"]) for item in items}) == len(items) == 345
    assert {item["namespace"].split(":")[0] for item in items} == {"atlas", "harbor", "hearth"}
    assert all(item["content"].strip() and item["created_at"].tzinfo for item in items)
    assert len(demo.questions()) == 10
    keys = {item["key"] for item in items}
    assert all(set(question["expect"]) <= keys for question in demo.questions())
