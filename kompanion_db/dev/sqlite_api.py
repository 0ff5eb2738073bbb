"""``sqlite/API.md``: what SQL can call on the file of a SQLite store, from the functions themselves."""

from __future__ import annotations

from ..sqlite.tables.listing import listed
from .output import main

_INTRO = """# The SQL API of the SQLite engine

Generated from the functions by `python -m kompanion_db.dev.sqlite_api`; do not edit. On a connection
(`kompanion-db sql URL`, or `kompanion_db.sqlite.open_sql(path)`), `select * from functions()` says the same.

Names, arguments and result columns are those of [PostgreSQL](../sql/API.md), where each is explained. A function that
answers with rows is a table: `select * from search('acme', :vector, 5)`; it may be joined. SQLite has no named
arguments, so they are given by their place (NULL for one that is left out), or by name in a condition:
`select * from search where scope = 'acme' and query = :vector and per_chunk = true`. A function that writes does so in
the transaction of the caller, or in one of its own.

| type | takes | gives |
|---|---|---|
| id | a blob of 16 bytes, or its text form | a blob; `uuid_str(id)` makes text of it |
| time | microseconds since 1970 in UTC, or ISO 8601 text | microseconds |
| duration | seconds, or text such as `'30 days'`, `'12h'` | |
| vector | a blob of float32, little-endian, or a JSON array | a blob |
| array, JSON | JSON text | JSON text |

Errors begin with their code, as `KM001 ...`; the codes are those of [PostgreSQL](../sql/API.md#errors).
"""


def render() -> str:
    """The text of API.md."""
    parts = [_INTRO]
    for title, wanted in (("Functions that answer with rows", "table"), ("Functions of one value", "scalar")):
        parts.append(f"\n## {title}\n")
        for name, kind, arguments, returns, description in listed():
            if kind == wanted:
                signature = f"{name}({arguments})" if len(arguments) < 60 else _long(name, arguments)
                parts.append(f"\n### {name}\n\n{description}\n\n```text\n{signature}\n```\n\nReturns: `{returns}`\n")
    return "".join(parts)


def _long(name: str, arguments: str) -> str:
    lines = ",\n    ".join(arguments.split(", "))
    return f"{name}(\n    {lines}\n)"


if __name__ == "__main__":
    main("sqlite/API.md", render, "sqlite_api")
