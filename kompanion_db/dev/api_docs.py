"""``sql/API.md``: functions, views, tables, error codes and grants, from a migrated catalog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from .. import errors
from ..migrate import migration_ids, migrations_folder
from .output import fresh_database, main

ROLES = ("kompanion_reader", "kompanion_writer", "kompanion_admin")

_INTRO = """# The SQL API of kompanion_db

Generated from the catalog of a migrated database by `python -m kompanion_db.dev.api_docs`; do not edit.

How to read it: everything is in schema `kompanion`. Call functions with named arguments,
`select * from kompanion.fn(name => value)`; arguments with a default may be left out. Errors have SQLSTATEs
of class `KM`, listed [below](#errors). Names that start with `_` are internal and left out. In psql,
`\\df+ kompanion.*` and `\\d+ kompanion.*` show the same comments.
"""

_FUNCTIONS = """
select p.oid, p.proname as name, p.prokind = 'p' as procedure, p.proretset as set_of,
       pg_catalog.obj_description(p.oid, 'pg_proc') as comment,
       pg_catalog.format_type(p.prorettype, null) as result,
       (select coalesce(json_agg(json_build_array(
                   coalesce(p.proargmodes[a.i]::text, 'i'), p.proargnames[a.i],
                   pg_catalog.format_type(a.type, null),
                   case when coalesce(p.proargmodes[a.i], 'i') in ('i', 'b', 'v')
                        then pg_catalog.pg_get_function_arg_default(p.oid, a.i::integer) end)
                   order by a.i), '[]')
        from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality a (type, i)) as args
from pg_catalog.pg_proc p
where p.pronamespace = 'kompanion'::regnamespace and p.proname !~ '^_'
  and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
order by p.proname, p.oid
"""

_RELATIONS = """
select c.oid, c.relname as name, c.relkind in ('v', 'm') as is_view,
       pg_catalog.obj_description(c.oid, 'pg_class') as comment,
       (select json_agg(json_build_array(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
                    a.attnotnull, pg_catalog.col_description(c.oid, a.attnum)) order by a.attnum)
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
from pg_catalog.pg_class c
where c.relnamespace = 'kompanion'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and c.relname !~ '^_'
order by c.relname
"""

_TABLE_RIGHTS = """
select p.name
from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) with ordinality p (name, i)
where has_table_privilege(%s, %s::oid, p.name)
order by p.i
"""


def render_from(url: str) -> str:
    """The text of API.md for the migrated database at ``url``; raises psycopg.Error."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as conn:
        # format_type leaves out the schemas on the path, so that "vector" reads the same everywhere.
        conn.execute("select set_config('search_path', kompanion._install_path(), false)")
        functions = conn.execute(_FUNCTIONS).fetchall()
        relations = conn.execute(_RELATIONS).fetchall()
        parts = [_INTRO, *_themes(functions)]
        for title, is_view in (("Views", True), ("Tables", False)):
            parts.append(f"\n## {title}\n")
            parts += [_relation(r) for r in relations if r["is_view"] is is_view]
        parts += [_error_table(), _grants(conn, functions, relations)]
    return "".join(parts)


def _themes(functions: list[dict[str, Any]]) -> list[str]:
    parts: list[str] = []
    placed: set[int] = set()
    for migration, title, order in _definitions():
        mine = [f for name in order for f in functions if f["name"] == name and f["oid"] not in placed]
        placed |= {f["oid"] for f in mine}
        if mine:
            parts.append(f"\n## {title}\n\nDefined in `migrations/{migration}.sql`.\n")
            parts += [_function(f) for f in mine]
    rest = [f for f in functions if f["oid"] not in placed]
    if rest:
        parts.append("\n## Other functions\n")
        parts += [_function(f) for f in rest]
    return parts


def _definitions() -> list[tuple[str, str, list[str]]]:
    """(migration, title, functions in the order of the file); a later definition moves the function there."""
    create = re.compile(
        r"^create\s+(?:or\s+replace\s+)?(?:function|procedure)\s+(?:kompanion\.)?(\w+)\s*\(", re.I | re.M
    )
    found: list[tuple[str, str, list[str]]] = []
    for name in migration_ids():
        text = Path(migrations_folder(), f"{name}.sql").read_text()
        order = list(dict.fromkeys(create.findall(text)))
        for _, _, earlier in found:
            earlier[:] = [f for f in earlier if f not in order]
        found.append((name, name.split("_", 2)[2].replace("_", " ").capitalize(), order))
    return found


def _function(f: dict[str, Any]) -> str:
    args = [a for a in f["args"] if a[0] in "ibv"]
    lines = []
    for mode, name, type_, default in args:
        prefix = {"i": "", "b": "inout ", "v": "variadic "}[mode]
        tail = f" default {default}" if default else ""
        lines.append(f"    {prefix}{name or ''} {type_}{tail}")
    signature = f"kompanion.{f['name']}(" + ("\n" + ",\n".join(lines) + "\n" if lines else "") + ")"
    out = [a for a in f["args"] if a[0] in "tob"]
    if f["procedure"]:
        returns = "Procedure: `call` it."
    elif out:
        table = "".join(f"| `{a[1]}` | {_cell(a[2])} |\n" for a in out)
        kind = "Rows of:" if f["set_of"] else "One row of:"
        returns = f"Returns: {kind}\n\n| column | type |\n|---|---|\n{table}".rstrip("\n")
    else:
        returns = f"Returns: {'setof ' if f['set_of'] else ''}`{f['result']}`"
    return f"\n### {f['name']}\n\n{_text(f['comment'])}\n\n```sql\n{signature}\n```\n\n{returns}\n"


def _relation(r: dict[str, Any]) -> str:
    rows = "".join(
        f"| `{name}` | {_cell(type_)}{'' if not notnull else ', not null'} | {_cell(comment or '')} |\n"
        for name, type_, notnull, comment in r["columns"] or []
    )
    head = "| column | type | what it holds |\n|---|---|---|"
    return f"\n### {r['name']}\n\n{_text(r['comment'])}\n\n{head}\n{rows}"


def _error_table() -> str:
    rows = "".join(
        f"| `{state}` | `{cls.__name__}` | {_cell((cls.__doc__ or '').strip().splitlines()[0])} |\n"
        for state, cls in sorted(errors.BY_SQLSTATE.items(), key=lambda i: (not i[0].startswith("KM"), i[0]))
    )
    return f"\n## Errors\n\n| SQLSTATE | Python class | when |\n|---|---|---|\n{rows}"


def _grants(
    conn: psycopg.Connection[dict[str, Any]], functions: list[dict[str, Any]], relations: list[dict[str, Any]]
) -> str:
    head = "| | " + " | ".join(f"`{role}`" for role in ROLES) + " |\n|---" + "|---" * len(ROLES) + "|\n"
    known = {r["rolname"] for r in conn.execute("select rolname from pg_catalog.pg_roles").fetchall()}
    roles = [role if role in known else None for role in ROLES]

    def function_cell(role: str | None, oid: int) -> str:
        query = "select has_function_privilege(%s, %s::oid, 'EXECUTE') as yes"
        row = conn.execute(query, (role, oid)).fetchone() if role else None
        return "execute" if row and row["yes"] else "-"

    def table_cell(role: str | None, oid: int) -> str:
        rows = conn.execute(_TABLE_RIGHTS, (role, oid)).fetchall() if role else []
        return ", ".join(r["name"].lower() for r in rows) or "-"

    lines = [(f["name"], [function_cell(r, f["oid"]) for r in roles]) for f in functions]
    lines += [(t["name"], [table_cell(r, t["oid"]) for r in roles]) for t in relations]
    rows = "".join(f"| `{name}` | {' | '.join(cells)} |\n" for name, cells in lines)
    return f"\n## Roles\n\nGrant one of them to the role a program logs in with.\n\n{head}{rows}"


def _text(comment: str | None) -> str:
    return (comment or "").strip() or "(no comment)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def render() -> str:
    """The text of API.md, from a fresh embedded server."""
    with fresh_database() as server:
        return render_from(server.url())


if __name__ == "__main__":
    main("sql/API.md", render, "api_docs")
