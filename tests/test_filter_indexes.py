"""Filters go by indexes: equality by the GIN index on metadata, ranges by the index of a hot key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
import servers

import kompanion_db
from kompanion_db.migrate import migrate, rollback

ROWS = 20_000


@pytest.fixture(scope="module")
def crowd(server: servers.Server) -> Iterator[servers.Database]:
    """Many items, each with a topic and a number of its own."""
    database = server.create(server.template)
    with database.connect() as conn:
        conn.execute("select kompanion.ensure_namespace('acme')")
        conn.execute(
            """insert into kompanion.memory_items (namespace_id, key, content, metadata)
               select kompanion.namespace_id('acme'), n::text, 'text',
                      jsonb_build_object('topic', 't' || n, 'n', n, 'size', jsonb_build_object('height', n))
               from generate_series(1, %s) n""",
            (ROWS,),
        )
        conn.execute("vacuum analyze kompanion.memory_items")
    yield database
    database.drop()


@contextmanager
def scans(database: servers.Database, index: str) -> Iterator[Callable[[], int]]:
    """How often an index is used inside the block; asked for after it."""

    def count() -> int:
        with database.connect() as conn:
            found = conn.execute(
                "select coalesce(sum(idx_scan), 0) from pg_stat_user_indexes where indexrelname like %s", (index,)
            ).fetchone()
        return int(found[0]) if found else 0

    before = count()
    yield lambda: count() - before


@pytest.mark.parametrize(
    "filter",
    [
        '{"topic": "t77"}',
        '{"n": 77}',
        '{"n": {"$in": [77, 78]}}',
        '{"size.height": 77}',
        '{"$or": [{"n": 77}, {"topic": "t5"}]}',
    ],
)
def test_equality_uses_the_index_on_metadata(crowd: servers.Database, filter: str) -> None:
    with crowd.connect() as conn:
        plan = conn.execute(
            "explain select * from kompanion.live_items where metadata @@ kompanion.compile_filter(%s)",
            (filter,),
        ).fetchall()
    assert "memory_items_metadata_ix" in str(plan)


def test_list_items_finds_a_rare_value_by_the_index_on_metadata(crowd: servers.Database) -> None:
    with scans(crowd, "memory_items_metadata_ix") as used, kompanion_db.connect(crowd.url) as store:
        assert [i.key for i in store.list_items("acme", filter={"topic": "t77"})] == ["77"]
    assert _eventually(used) > 0


@pytest.mark.parametrize(("key", "type", "filter", "wanted"), [
    ("n", "number", {"n": {"$gte": 100, "$lt": 103}}, {"100", "101", "102"}),
    ("size.height", "number", {"size.height": {"$gt": 19_998}}, {"19999", "20000"}),
    ("topic", "text", {"topic": {"$gte": "t19998", "$lte": "t1999899"}}, {"19998"}),
])  # fmt: skip
def test_a_range_on_an_indexed_key_uses_its_index(
    crowd: servers.Database, key: str, type: str, filter: dict[str, object], wanted: set[str]
) -> None:
    with kompanion_db.connect(crowd.url) as store:
        statement, _comment = store.index_metadata_key(key, type=type)
        assert store.index_metadata_key(key, type=type)[0] == statement
    with crowd.connect() as conn:
        conn.execute("analyze kompanion.memory_items")
    name = statement.split(" on ")[0].split()[-1]
    with scans(crowd, name) as used, kompanion_db.connect(crowd.url) as store:
        assert {i.key for i in store.list_items("acme", filter=filter)} == wanted
    assert _eventually(used) > 0


@pytest.mark.parametrize("concurrently", [True, False])
def test_a_build_that_broke_off_is_repaired_by_the_same_call(db: servers.Database, concurrently: bool) -> None:
    valid = "select indisvalid from pg_index where indexrelid::regclass::text like 'kompanion.memory_items_metadata_number%'"
    statements = "select kompanion.index_metadata_key('n', 'number', concurrently => true)"
    with kompanion_db.connect(db.url) as store, db.connect() as conn:
        store.upsert_item("acme", "k", "text", metadata={"n": 5})
        create, comment = (row[0] for row in conn.execute(statements).fetchall())
        with db.connect(autocommit=False) as writer:
            writer.execute("update kompanion.memory_items set metadata = '{}'")
            conn.execute("set lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                conn.execute(create)  # waits for the writer
        assert conn.execute(valid).fetchall() == [(False,)]
        (advice,) = [a for a in store.index_advice() if "metadata key 'n' is INVALID" in a.advice]
        assert (advice.model, advice.statement) == (None, statements + r" \gexec")
        drop, *rest = store.index_metadata_key("n", type="number", concurrently=concurrently)
        assert drop.startswith("drop index")
        assert conn.execute(valid).fetchall() == [(True,)]
        assert store.index_metadata_key("n", type="number", concurrently=concurrently) == rest
        assert store.index_advice() == []
        if concurrently:
            assert rest == [create, comment]


def _eventually(count: Callable[[], int]) -> int:
    """Servers report the use of an index with a delay, at the latest when the session has ended."""
    import time

    deadline = time.monotonic() + 20
    while count() == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    return count()


def test_a_rollback_that_drops_the_indexes_of_keys_forgets_the_keys(one_db: servers.Database) -> None:
    with kompanion_db.connect(one_db.url) as store:
        store.index_metadata_key("n", type="number")
    rollback(one_db.url, to="pg_0016")
    migrate(one_db.url)
    with one_db.connect() as conn:
        assert conn.execute("select kompanion.setting('indexed_metadata')").fetchone() == ({},)
