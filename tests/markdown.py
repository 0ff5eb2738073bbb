"""The fenced code blocks and links of the documentation, as the tests run them.

Conventions in the files, all checked by ``test_docs.py``:

``<!-- not run: reason -->`` directly above a block says why it is not run.
``<!-- output -->`` directly above a ``text`` block: what the block before it prints, exactly.
``# error: KM001`` (Python) or ``-- error: KM001`` (SQL) at the end of a statement: it must fail so.
``# -> value`` at the end of a Python statement: what it evaluates to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in [
        ROOT / "README.md",
        ROOT / "sql" / "README.md",
        ROOT / "sqlite" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
LANGUAGES = {"python": "python", "sql": "sql", "psql": "sql", "sh": "sh", "bash": "sh"}

_FENCE = re.compile(r"^(\s*)(```+|~~~+)\s*(\S*)\s*$")
_NOT_RUN = re.compile(r"^<!-- not run: (.+?) -->$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+(?:\([^()]*\))?)\)")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")


@dataclass
class Block:
    """One fenced block: where it is, in what language, and what a comment above says of it."""

    file: str
    line: int
    language: str
    text: str
    not_run: str | None = None
    output: str | None = None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(file: str) -> list[Block]:
    """The blocks of a file in order; an output block is joined to the block it is the output of."""
    found: list[Block] = []
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if not fence:
            at += 1
            continue
        indent, mark, language = fence.groups()
        end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == mark)
        text = "\n".join(line[len(indent) :] for line in lines[at + 1 : end]) + "\n"
        above = lines[at - 1].strip() if at else ""
        if above == "<!-- output -->":
            found[-1].output = text
        else:
            not_run = _NOT_RUN.match(above)
            found.append(Block(file, at + 1, language, text, not_run[1] if not_run else None))
        at = end + 1
    return found


def links(file: str) -> list[str]:
    """The targets of the links of a file that stay inside the repository."""
    targets = _LINK.findall(_prose(file))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(file: str) -> set[str]:
    """The names of the headings of a file, as GitHub makes them."""
    titles = [m[1] for m in map(_HEADING.match, _prose(file).splitlines()) if m]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def table(file: str, first_cell: str) -> list[list[str]]:
    """The cells of the table whose head begins with ``first_cell``, head first, the rule left out."""
    rows: list[list[str]] = []
    for line in _prose(file).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if rows and not cells:
            break
        if rows or (cells and cells[0] == first_cell):
            rows.append(cells)
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def _prose(file: str) -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.sub(r"^([ \t]*)(```+).*?^\1\2[ \t]*$", "", text, flags=re.M | re.S)
