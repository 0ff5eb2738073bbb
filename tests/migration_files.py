"""Reads migrations without a database: a second SQL splitter, kept apart from the one yoyo uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kompanion_db.migrate import migrations_folder

FOLDER = migrations_folder()
UP = sorted(f for f in FOLDER.glob("*.sql") if not f.name.endswith(".rollback.sql"))
DOWN = sorted(FOLDER.glob("*.rollback.sql"))

_TOKEN = re.compile(
    r"""(?P<line>--[^\n]*)|(?P<block>/\*)|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)
    |(?P<estring>\b[eE]'(?:[^'\\]|''|\\.)*')|(?P<string>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*")
    |(?P<word>[A-Za-z_]\w*)|(?P<other>.)""",
    re.X | re.S,
)


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of every token; comments nest, a dollar-quoted text is one token."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match, text[at : at + 50]
        kind, end = str(match.lastgroup), match.end()
        if kind == "block":
            depth = 1
            while depth:
                step = re.compile(r"/\*|\*/").search(text, end)
                assert step, "a comment does not end"
                depth, end = depth + (1 if step[0] == "/*" else -1), step.end()
        elif kind == "dollar":
            close = text.find(match[0], end)
            assert close >= 0, f"{match[0]} is not closed"
            end = close + len(match[0])
        yield kind, text[at:end]
        at = end


def statements(text: str) -> list[str]:
    """Top-level statements with comments removed; BEGIN ATOMIC ... END is part of its function."""
    found, current, depth, previous = [], "", 0, ""
    for kind, token in tokens(text):
        if kind in ("line", "block"):
            current += " "
            continue
        word = token.lower() if kind == "word" else ""
        if (word == "atomic" and previous == "begin") or (depth and word == "case"):
            depth += 1
        elif depth and word == "end":
            depth -= 1
        previous = word or (previous if token.isspace() else "")
        current += token
        if token == ";" and not depth:
            found.append(current.strip())
            current = ""
    return [*found, current.strip()] if current.strip() else found


def code(text: str) -> str:
    """The text without comments and string literals, inside dollar quotes too."""
    out = []
    for kind, token in tokens(text):
        if kind in ("line", "block"):
            out.append(" ")
        elif kind in ("string", "estring"):
            out.append("''")
        elif kind == "dollar":
            tag = token[: token.index("$", 1) + 1]
            out.append(tag + code(token[len(tag) : -len(tag)]) + tag)
        else:
            out.append(token)
    return "".join(out)


def bodies(path: Path) -> Iterator[tuple[str, str]]:
    """(name, body) of every dollar-quoted function body or DO block of a file."""
    last = ""
    for kind, token in tokens(path.read_text()):
        if kind == "word" and last in ("function", "procedure", "kompanion.", "do"):
            name = token
        if kind == "dollar":
            yield (name if last != "do" else "do"), token
        if kind == "word":
            last = token.lower()
        elif token == ".":
            last += "."
        elif not token.isspace():
            last = token
