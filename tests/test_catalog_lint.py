"""The door to Citus stays open: every row and key belongs to a namespace, and nothing crosses two of them."""

from __future__ import annotations

from pathlib import Path

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


def test_every_join_of_two_tables_names_the_namespace(one_db: servers.Database) -> None:
    # A join on item_id or chunk_id alone would have to ask every node.
    with one_db.connect() as conn:
        bodies = conn.execute(
            """select p.oid::regprocedure::text, p.prosrc from pg_proc p where p.pronamespace = 'kompanion'::regnamespace
               union all
               select c.relname, pg_get_viewdef(c.oid) from pg_class c
               where c.relnamespace = 'kompanion'::regnamespace and c.relkind = 'v'"""
        ).fetchall()
    spread = (
        "memory_items",
        "memory_chunks",
        "embeddings",
        "memory_item_revisions",
        "embedding_queue",
        "threads",
        "users",
    )
    wrong = []
    for name, body in bodies:
        for clause in body.split("join ")[1:]:
            table = clause.split()[0].removeprefix("kompanion.").strip("(")
            condition = clause.split("\n\n")[0][:400]
            if table in spread and "namespace_id" not in condition and "item_id" in condition.split("where")[0]:
                wrong.append((name, clause[:80]))
    assert wrong == []
