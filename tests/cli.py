"""Run ``kompanion-db`` as a user does: in a process of its own, or in this one where starting one would take long."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kompanion_db.cli import main


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        """Its output as NDJSON."""
        return [json.loads(line) for line in self.out.split("\n") if line]


def environment(**changes: str) -> dict[str, str]:
    """The environment without the variables that would change what commands do."""
    dropped = ("KOMPANION_DB_URL", "FORCE_COLOR", "COLUMNS", "OPENAI_API_KEY", "PYTHONUNBUFFERED")
    return {**{name: value for name, value in os.environ.items() if name not in dropped}, **changes}


def process(*arguments: str, given: str | bytes = "", **variables: str) -> Outcome:
    """``python -m kompanion_db`` in a process of its own."""
    data = given.encode() if isinstance(given, str) else given
    done = subprocess.run(
        [sys.executable, "-m", "kompanion_db", *arguments],
        input=data,
        capture_output=True,
        env=environment(**variables),
        timeout=600,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def cli(*arguments: str) -> Outcome:
    """The same command in this process."""
    out, err = _Stream(), _Stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _clean_environment():
        code = main(arguments)
    return Outcome(code, out.text(), err.text())


class _Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        data: bytes = self.buffer.getvalue()  # type: ignore[attr-defined]
        return data.decode()


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
