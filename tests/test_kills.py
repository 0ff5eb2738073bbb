"""A killed process loses nothing that was committed, leaves nothing by half, and no store that does not open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import power
import pytest

_PROGRAM = Path(__file__).with_name("kills.py")

KILLED = ("single-transaction", "file-before-manifest", "unlink-after-commit")
CUT = ("folder-fsync", "file-fsync")
WORD = {"commit-before-done": "lost", "one-commit": "torn"}


def campaign(*options: str, timeout: float = 3600) -> dict[str, Any]:
    """What a campaign counted. It runs in a process of its own, which opens nothing before it forks the writers."""
    done = subprocess.run(
        [sys.executable, str(_PROGRAM), "--json", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def corrupted(counted: dict[str, Any]) -> dict[str, int]:
    """What reading the stores found wrong with them, by kind."""
    return {kind: counted[kind] for kind in ("lost", "phantom", "torn", "unopenable") if counted[kind]}


def broken(counted: dict[str, Any]) -> dict[str, int]:
    """That, and what writers met."""
    return corrupted(counted) | ({"failed": counted["failed"]} if counted["failed"] else {})


def figures(counted: dict[str, Any]) -> str:
    """A line of the figures of a campaign."""
    labelled = [n for label, n in counted["at"].items() if label]
    fewest = f", {len(labelled)} labels each {min(labelled)} times or more" if labelled else ""
    return (
        f"{counted['processes']} writers: {counted['kills']} SIGKILLs, {counted['cuts']} power cuts{fewest}, "
        f"{counted['acknowledged']} transactions acknowledged; lost {counted['lost']}, phantom {counted['phantom']}, "
        f"torn {counted['torn']}, do not open {counted['unopenable']}"
    )


def with_a_disk(tmp_path: Path) -> None:
    """Skip, with the reason, where the power of a disk cannot be cut."""
    try:
        power.Disk(tmp_path).close()
    except power.Unavailable as exc:
        pytest.skip(f"no power can be cut here: {exc}")


def test_a_writer_killed_at_any_step_loses_nothing(figure: Callable[[str], None]) -> None:
    counted = campaign("--random", "5", "--each-label", "1")
    assert not broken(counted), counted["examples"]
    figure(figures(counted))


def test_three_writers_killed_together_lose_nothing(figure: Callable[[str], None]) -> None:
    counted = campaign("--random", "6", "--each-label", "0", "--processes", "3")
    assert not broken(counted), counted["examples"]
    figure(figures(counted))


def test_a_protocol_that_lists_a_file_before_it_is_there_is_found_out() -> None:
    counted = campaign("--random", "0", "--each-label", "4", "--without", "file-before-manifest", "--until-broken")
    assert corrupted(counted), counted["examples"]


@pytest.mark.parametrize("without", WORD)
def test_a_writer_that_does_not_keep_its_word_is_found_out(without: str) -> None:
    counted = campaign("--random", "20", "--each-label", "1", "--without", without, "--until-broken")
    assert counted[WORD[without]], counted["examples"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "3"])
def test_a_thousand_kills_lose_nothing(processes: str, figure: Callable[[str], None]) -> None:
    counted = campaign("--random", "300", "--each-label", "20", "--processes", processes)
    assert not broken(counted), counted["examples"]
    assert counted["kills"] >= 1000
    assert min(n for label, n in counted["at"].items() if label) >= 20
    figure(figures(counted))


@pytest.mark.slow
@pytest.mark.parametrize("without", KILLED)
def test_kills_find_what_is_wrong_with_a_protocol_that_lacks(without: str, figure: Callable[[str], None]) -> None:
    counted = campaign("--random", "76", "--each-label", "2", "--without", without, "--until-broken")
    assert corrupted(counted), counted["examples"]
    figure(f"without {without}: broken at kill {counted['first']}")


@pytest.mark.slow
@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_a_power_cut_leaves_what_was_synced_whole(
    tmp_path: Path, synchronous: str, figure: Callable[[str], None]
) -> None:
    with_a_disk(tmp_path)
    counted = campaign(
        "--random", "0", "--each-label", "0", "--cuts", "250", "--processes", "2", "--synchronous", synchronous
    )
    assert not broken(counted), counted["examples"]
    figure(f"synchronous={synchronous}: {figures(counted)}")


@pytest.mark.slow
@pytest.mark.parametrize("without", CUT)
def test_power_cuts_find_what_is_wrong_with_a_protocol_that_lacks(
    tmp_path: Path, without: str, figure: Callable[[str], None]
) -> None:
    with_a_disk(tmp_path)
    counted = campaign("--random", "0", "--each-label", "0", "--cuts", "150", "--without", without, "--until-broken")
    assert corrupted(counted), counted["examples"]
    figure(f"without {without}: broken at cut {counted['first']}")
