"""`make` needs nothing but Python, and says so when that is too old."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import markdown
import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(markdown.ROOT), "--no-print-directory", *arguments]
    # Not the flags of a make that runs these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_make_alone_lists_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (markdown.ROOT / "Makefile").read_text(), flags=re.M)
    assert targets
    run = make()
    assert run.returncode == 0, run.stderr
    assert set(re.findall(r"^make (\S+) +\S", run.stdout, flags=re.M)) == set(targets[1].split())


def test_a_python_that_is_too_old_or_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.8.10" && exit\nexit 1\n')
    old.chmod(0o755)
    for python, found in ((str(old), "is Python 3.8.10"), (str(tmp_path / "none"), "is not there")):
        run = make(f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", "demo")
        assert run.returncode != 0
        assert "needs Python 3.10 or later" in run.stderr
        assert found in run.stderr
        assert "make PYTHON=" in run.stderr
        assert not (tmp_path / "venv").exists()
