"""The door to Citus stays open: every row and key belongs to a namespace, and nothing crosses two of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import servers

LINT = Path(__file__).with_name("citus_lint.sql").read_text()

KEYED = "namespace_id uuid not null, id bigint not null, primary key (namespace_id, id)"

OFFENDERS = {
    "1 namespace_id(text) is not immutable": "alter function kompanion.namespace_id(text) stable",
    "1 namespace_id is generated, an identity or no uuid":
        "create table kompanion.bad (namespace_id text not null, id bigint, primary key (namespace_id, id))",
    "2 no namespace_id, or a nullable one": "create table kompanion.bad (id bigint primary key)",
    "2 key does not start with namespace_id": f"create table kompanion.bad ({KEYED}, unique (id, namespace_id))",
    "2 no primary key": "create table kompanion.bad (namespace_id uuid not null, id bigint)",
    "2 foreign key to a table that is not ours":
        f"create table public.other (id bigint primary key); create table kompanion.bad ({KEYED}, foreign key (id) references other)",
    "2 foreign key does not start with namespace_id":
        f"create table kompanion.bad ({KEYED}, item uuid, foreign key (item, namespace_id)"
        " references kompanion.memory_items (item_id, namespace_id))",
    "2 foreign key from a reference table to a spread one":
        "alter table kompanion.settings add namespace_id uuid references kompanion.namespaces",
    "2 foreign key sets null or default, or cascades updates":
        f"create table kompanion.bad ({KEYED}, foreign key (namespace_id) references kompanion.namespaces on delete set null)",
    "3 identity or serial of less than 64 bits":
        f"create table kompanion.bad ({KEYED}, n integer generated always as identity)",
    "4 trigger that is not allowed":
        "create trigger bad after insert on kompanion.memory_items for each row"
        " execute function kompanion._tg_memory_items__after_update()",
    "4 statement trigger":
        "create trigger memory_items_100_before_update before delete on kompanion.memory_chunks for each statement"
        " execute function kompanion._tg_memory_items__after_update()",
    "4 rewrite rule": "create rule bad as on delete to kompanion.users do instead nothing",
    "4 unlogged table": f"create unlogged table kompanion.bad ({KEYED})",
    "4 inherits or is a partition": f"create table kompanion.bad ({KEYED}) partition by hash (namespace_id);"
        " create table public.part partition of kompanion.bad for values with (modulus 1, remainder 0)",
    "4 notifies": "create function kompanion.bad() returns void language plpgsql as $$ begin perform pg_notify('a', 'b'); end $$",
    "4 takes an advisory lock":
        "create function kompanion.bad() returns void language plpgsql as $$ begin perform pg_advisory_xact_lock(1); end $$",
    "5 language sql and reads a table":
        "create function kompanion.bad() returns bigint language sql as $$ select count(*) from kompanion.users $$",
    "5 row type of a table in the signature":
        "create function kompanion.bad() returns kompanion.users language plpgsql as $$ begin return null; end $$",
    "5 no pinned search_path and reads a table":
        "create function kompanion.bad() returns void language plpgsql as $$ begin perform 1 from users; end $$",
}  # fmt: skip

_SIDES = {"left", "right", "full", "inner", "cross"}
_END = {
    *("join", "where", "group", "order", "limit", "offset", "union", "except", "intersect", "returning", "for"),
    *("window", "having", "set", "loop", "conflict", ";", ",", ")"),
}
_ID = r"\b(?:item_id|chunk_id)\b"
_BY_ID = re.compile(rf"^using \( .*{_ID}|{_ID}(?: \))* (?:=|in\b)| = (?:\( [^)]*)?(?:\w+\.)?{_ID}")

SPREAD = (
    "memory_items",
    "memory_chunks",
    "embeddings",
    "memory_item_revisions",
    "embedding_queue",
    "threads",
    "users",
    "live_items",
    "live_chunks",
    "live_embeddings",
)

PAST_THE_NAMESPACE = {
    "on item_id alone":
        "perform 1 from memory_chunks c join memory_items i on i.item_id = c.item_id where i.namespace_id is not null",
    "on chunk_id alone":
        "perform c.namespace_id from embeddings e left join memory_chunks c on (c.chunk_id = e.chunk_id)",
    "on a key alone":
        "perform 1 from memory_items i join kompanion.threads as t on t.key = i.key",
    "using chunk_id alone":
        "perform 1 from embeddings join memory_chunks using (chunk_id) join namespaces using (namespace_id)",
    "of a deletion":
        "delete from memory_chunks c using memory_items i where c.item_id = i.item_id returning c.namespace_id",
    "of a lateral subquery":
        "perform 1 from memory_items i cross join lateral (select * from memory_chunks c where c.item_id = i.item_id) c"
        " where i.namespace_id is not null",
    "beside a subquery that names it":
        "perform 1 from memory_items i join memory_chunks c on c.item_id = i.item_id"
        " and exists (select from namespaces n where n.namespace_id = i.namespace_id)",
    "of rows": "perform 1 from memory_items i, memory_chunks c where (c.ordinal, c.item_id) = (0, i.item_id)",
    "of a list": "delete from memory_chunks c where c.item_id in (select i.item_id from memory_items i)",
    "in a statement that is text":
        "execute 'select 1 from memory_items i join memory_chunks c on c.item_id = i.item_id'",
    "in a view": "",
}  # fmt: skip
"""Kind of a join -> what a function does that has one. The view has its own."""

OF_ONE_SESSION = {
    ("_insert_staged", "on s.item_id = f.item_id"),
    ("_insert_staged", "on s.ord = p.ord and s.item_id = p.item_id"),
}
"""Joins with staged_items: a temporary table, which is where the ids come from and where the one who writes is."""


def test_the_schema_could_be_distributed_by_namespace_as_it_is(db: servers.Database) -> None:
    with db.connect() as conn:
        assert conn.execute(LINT).fetchall() == []


@pytest.mark.parametrize("rule", OFFENDERS)
def test_the_lint_names_what_breaks_a_rule(one_db: servers.Database, rule: str) -> None:
    with one_db.connect() as conn:
        if "references kompanion.memory_items (item_id, namespace_id)" in OFFENDERS[rule]:
            conn.execute("create unique index on kompanion.memory_items (item_id, namespace_id)")
        conn.execute(OFFENDERS[rule])
        findings = conn.execute(LINT).fetchall()
    assert rule in [finding for finding, _ in findings]


def test_every_rule_of_the_lint_has_an_offender() -> None:
    rules = {line.split("'")[1] for line in LINT.splitlines() if line.startswith("select '")}
    assert rules == set(OFFENDERS)


def conditions(body: str) -> Iterator[tuple[str, str]]:
    """What stands after each on, using and where, without the subqueries in it; and the table, if one is joined by it."""
    words = re.findall(r"[\w.]+|[<>=!]+|[^\w\s]", re.sub(r"--[^\n]*", "", body).lower())
    for at, word in enumerate(words):
        if word in ("on", "using", "where"):
            before = words[max(at - 4, 0) : at]
            joined = before[before.index("join") + 1 :][0] if "join" in before[:-1] else ""
            yield " ".join([word, *_condition(words[at + 1 :])]), joined.removeprefix("kompanion.")


def _condition(words: list[str]) -> Iterator[str]:
    depth, subquery = 0, None
    for word, following in zip(words, [*words[1:], ";"], strict=True):
        if depth == 0 and (word in _END or (word in _SIDES and following in ("join", "outer"))):
            return
        depth += (word == "(") - (word == ")")
        if word == "(" and following in ("select", "with") and subquery is None:
            subquery = depth
        if subquery is None:
            yield word
        elif depth < subquery:
            subquery = None


def past_the_namespace(conn: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """The conditions of functions and views that join by an id, or a table that is spread, without the namespace."""
    bodies = conn.execute(
        """select p.proname::text, p.prosrc from pg_proc p where p.pronamespace = 'kompanion'::regnamespace
           union all
           select c.relname::text, pg_get_viewdef(c.oid) from pg_class c
           where c.relnamespace = 'kompanion'::regnamespace and c.relkind = 'v'"""
    ).fetchall()
    return {
        (name, condition)
        for name, body in bodies
        for condition, joined in conditions(body)
        if "namespace_id" not in condition and (joined in SPREAD or _BY_ID.search(condition))
    }


def test_every_join_of_two_tables_names_the_namespace(one_db: servers.Database) -> None:
    # One by item_id or chunk_id alone would have to ask every node.
    with one_db.connect() as conn:
        assert past_the_namespace(conn) == OF_ONE_SESSION


@pytest.mark.parametrize("kind", PAST_THE_NAMESPACE)
def test_a_join_past_the_namespace_is_found(one_db: servers.Database, kind: str) -> None:
    bad = f"function kompanion.bad() returns void language plpgsql as $$ begin {PAST_THE_NAMESPACE[kind]}; end $$"
    if kind == "in a view":
        bad = "view kompanion.bad as select i.namespace_id from kompanion.memory_items i"
        bad += " join kompanion.memory_chunks c on c.item_id = i.item_id"
    with one_db.connect() as conn:
        conn.execute(f"create {bad}")
        assert {name for name, _ in past_the_namespace(conn) - OF_ONE_SESSION} == {"bad"}
