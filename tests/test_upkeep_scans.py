"""An export and a purge read what they give and what they remove, and not the rest of the store, however large it is."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import servers

PAGE, ITEMS = 20, 12_000
READ = """select sum(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_blocks_fetched(c.oid)) from pg_class c
          where c.relnamespace = 'kompanion'::regnamespace and c.relkind in ('r', 'i')"""


def read_by(conn: psycopg.Connection[Any], sql: str, *arguments: Any) -> tuple[int, list[Any]]:
    """How much a statement reads, as rows, entries of indexes and blocks, and what it gives.

    Blocks too: an entry that an index passes over, as it is not after a place, is not counted.
    """
    before = conn.execute(READ).fetchone()
    found = conn.execute(sql, arguments).fetchall()
    after = conn.execute(READ).fetchone()
    assert before
    assert after
    return int(after[0] - before[0]), found


def _fill(db: servers.Database, namespaces: int, others: int = 0) -> None:
    """Items in so many namespaces of acme, and one in each of so many others."""
    with db.connect() as conn:
        for scope, count, items in (("acme", namespaces, ITEMS), ("other", others, others)):
            conn.execute(
                "select count(kompanion.ensure_namespace(%s || ':n' || n)) from generate_series(1, %s) n",
                (scope, count),
            )
            conn.execute(
                """insert into kompanion.memory_items (namespace_id, key, content)
                   select kompanion.namespace_id(%s || ':n' || n %% %s + 1), n::text, 'text' from generate_series(1, %s) n""",
                (scope, max(count, 1), items),
            )
        conn.execute("vacuum analyze")


@pytest.mark.parametrize("scope", ["*", "acme"])
@pytest.mark.parametrize("namespaces", [1, 4000])
def test_a_late_page_of_an_export_reads_no_more_than_an_early_one(
    db: servers.Database, namespaces: int, scope: str
) -> None:
    _fill(db, namespaces)
    with db.connect(autocommit=False) as conn:
        expected = conn.execute(
            "select namespace_id || '/' || item_id from kompanion.memory_items order by namespace_id, item_id"
        ).fetchall()
        for function in ("export_marks", "export_items"):
            reads = []
            for start in range(0, ITEMS, 997):
                after = expected[start - 1][0] if start else None
                read, page = read_by(conn, f"select cursor from kompanion.{function}(%s, %s, %s)", scope, PAGE, after)
                assert page == expected[start : start + PAGE]
                reads.append(read)
            assert max(reads) <= 1.5 * reads[0]
            assert reads[0] <= 40 * PAGE


def test_an_export_of_one_namespace_reads_that_one(db: servers.Database) -> None:
    _fill(db, 4000, others=4000)
    with db.connect(autocommit=False) as conn:
        for scope, count in (("acme:n7", ITEMS // 4000), ("other:n4000", 1)):
            read, page = read_by(conn, "select * from kompanion.export_marks(%s)", scope)
            assert len(page) == count
            assert read <= 100


def test_a_purge_of_little_or_nothing_reads_little_the_first_time_and_the_seventh(db: servers.Database) -> None:
    _fill(db, 4)
    with db.connect() as conn:
        # Each item has a revision that is kept; some are deleted or expired, not for long; a deleted namespace is empty.
        conn.execute("update kompanion.memory_items set metadata = '{\"n\": 1}'")
        conn.execute("update kompanion.memory_items set deleted_at = now() where key like '1%'")
        conn.execute("update kompanion.memory_items set expires_at = now() where key like '2%'")
        conn.execute("select kompanion.set_setting('retention_revisions', '\"1 day\"')")
        conn.execute("select kompanion.ensure_namespace('gone'), kompanion.delete_namespace('gone')")
        conn.execute("vacuum analyze")
    with db.connect(autocommit=False) as conn:
        for _ in range(7):
            assert read_by(conn, "select * from kompanion.purge()") == (pytest.approx(0, abs=50), [(0, 0, 0)])
        conn.execute("update kompanion.namespaces set deleted_at = now() - interval '31 days' where path = 'gone'")
        conn.execute("update kompanion.memory_items set deleted_at = now() - interval '31 days' where key like '11_'")
        conn.execute("update kompanion.memory_items set expires_at = now() - interval '31 days' where key like '21_'")
        read, counts = read_by(conn, "select * from kompanion.purge()")
        assert counts == [(20, 0, 1)]
        assert read <= 1000


def test_a_load_of_items_that_are_there_looks_through_what_is_staged_a_few_times(db: servers.Database) -> None:
    load = """select count(*) filter (where status = %s) from kompanion.upsert_items((
                  select jsonb_agg(jsonb_build_object('namespace', 'acme', 'key', n::text, 'content', 'text ' || n,
                                                      'vectors', jsonb_build_array('[1,2]'::jsonb)))
                  from generate_series(1, 500) n))"""
    with db.connect() as conn:
        conn.execute("select kompanion.register_model('m', 2)")
        assert conn.execute(load, ("inserted",)).fetchone() == (500,)
    with db.connect(autocommit=False) as conn:
        assert conn.execute(load, ("unchanged",)).fetchone() == (500,)
        (read,) = conn.execute(
            "select pg_stat_get_xact_tuples_returned('pg_temp.staged_chunks'::regclass)"
        ).fetchone() or (None,)
    assert 500 <= read <= 30 * 500


def test_a_list_of_namespaces_reads_those_it_lists(db: servers.Database) -> None:
    _fill(db, 10, others=4000)
    with db.connect(autocommit=False) as conn:
        read, page = read_by(conn, "select * from kompanion.list_namespaces('acme')")
        assert len(page) == 10
        assert read <= 100


def test_a_batch_of_what_deleted_namespaces_hold_is_purged_without_reading_the_rest(db: servers.Database) -> None:
    _fill(db, 1, others=10)
    with db.connect(autocommit=False) as conn:
        conn.execute("select kompanion.delete_namespace('acme'), kompanion.delete_namespace('other')")
        conn.execute(
            "update kompanion.namespaces set deleted_at = now() - interval '31 days' where deleted_at is not null"
        )
        read, counts = read_by(conn, "select * from kompanion.purge(20)")
        assert counts[0][0] == 20
        assert read <= 3000
