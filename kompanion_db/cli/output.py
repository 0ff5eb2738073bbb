"""What commands print: tables for people, JSON for programs, progress on stderr."""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NoReturn

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# Control characters but tab and newline: a memory must not be able to steer the terminal it is shown on.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_WIDTH, _SHORT = 100, 36


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    """A console on stdout or stderr as they are now; 100 columns where there is no terminal to ask."""
    stream = sys.stderr if stderr else sys.stdout
    made = _Console(file=stream, highlight=False, markup=False, emoji=False)
    if not stream.isatty():
        made.width = _WIDTH
    return made


def clean(text: str) -> str:
    """Text with control characters made visible."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: Any) -> str:
    """A value as people read it: nothing for None, local time to the second, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str) if value else ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def line(value: Any) -> Text:
    """A value on one line, cut by the table where it is too long."""
    return Text(clean(" ".join(shown(value).split())), no_wrap=True, overflow="ellipsis")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    wide: str | None = None,
    styles: Sequence[str] = (),
) -> Table:
    """A table; column ``wide`` is cut to the room that is left, numbers stand right, long texts elsewhere wrap.

    ``styles`` has one style a row.
    """
    body = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    for n, name in enumerate(columns):
        numbers = bool(body) and all(isinstance(row[n], (int, float)) for row in body)
        longest = max((len(shown(row[n])) for row in body), default=0)
        made.add_column(
            name,
            justify="right" if numbers else "left",
            # rich takes from the columns that may wrap, the widest first.
            no_wrap=name != wide and longest <= _SHORT,
            overflow="fold",
        )
    for n, row in enumerate(body):
        cells = [line(v) if name == wide else Text(clean(shown(v))) for name, v in zip(columns, row, strict=True)]
        made.add_row(*cells, style=styles[n] if styles else "")
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], wide: str | None = None) -> None:
    """Print a table on stdout."""
    console().print(table(columns, rows, wide))


def print_statements(statements: Iterable[tuple[str, str | None]]) -> None:
    """Print statements, each below a comment that says what for, as a script: in a table they would be broken."""
    for reason, statement in statements:
        print(f"-- {' '.join(clean(reason).split())}")
        if statement is not None:
            print(clean(statement) if statement.endswith((";", "\\gexec")) else f"{clean(statement)};")


def to_json(value: Any) -> str:
    """One JSON document on one line; dataclasses as objects, times in ISO 8601, UUIDs as text."""
    ascii_only = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.dumps(value, ensure_ascii=ascii_only, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def print_json(values: Iterable[Any]) -> None:
    """Print each value as one JSON document on a line of its own."""
    for value in values:
        print(to_json(value))


def note(message: str) -> None:
    """Tell people how it went, on stderr, where it is in no program's way."""
    print(clean(message), file=sys.stderr)


def progress(what: str, total: float | None, on: Console | None = None) -> tuple[Progress, Any]:
    """A progress bar and its task; without a total it counts. Shown on a terminal only."""
    target = on or console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=target,
        disable=not target.is_terminal,
    )
    return bar, bar.add_task(what, total=total)
