"""A logical subscriber, made as docs/operations.md says, holds the same rows and answers the same."""
# ruff: noqa: F401, F811 - fixtures are imported and named again as arguments

from __future__ import annotations

import time
from typing import Any

import markdown
import samples
import servers
from own_server import OwnServer, own, own_db

import kompanion_db

APART = {"_yoyo_log", "_yoyo_migration", "_yoyo_version", "settings"}


def same(db: servers.Database, other: servers.Database) -> None:
    """Wait until the two hold the same rows, in every table that is published."""
    ends = time.monotonic() + 30
    with db.connect() as here, other.connect() as there:
        while published(here) != published(there) and time.monotonic() < ends:
            time.sleep(0.1)
        assert published(here) == published(there)


def published(conn: Any) -> dict[str, list[str]]:
    return {table: rows for table, rows in samples.contents(conn).items() if table not in APART}


def change(store: kompanion_db.Store) -> None:
    """Revise, delete, restore, load, purge a namespace: all that the triggers of the publisher answer with more rows."""
    store.upsert_item("acme:ann", "note-3", "Note 3, revised", vectors=[[0, 1, 0]], model="small", tags=["new"])
    store.delete_item("acme:ann", "note-5")
    store.revert_item("acme:ann", "note-1", 1)
    store.upsert_items([samples.bulk_item(n) for n in range(20)])
    store.delete_namespace("load:1")
    store.retire_model("large", delete_vectors=True)


def test_a_subscriber_made_as_the_docs_say_follows_and_takes_over(own: OwnServer, own_db: servers.Database) -> None:
    (publish,) = [b.text for b in markdown.blocks("docs/operations.md") if b.text.startswith("create publication")]
    own.server.run("alter system set wal_level = logical")
    own.pg_ctl("restart")
    subscriber = own.server.home()
    try:
        with kompanion_db.connect(own_db.url) as store:
            samples.fill(store)
        with own_db.connect() as conn:
            conn.execute(publish)
            conn.execute("select pg_create_logical_replication_slot('follows', 'pgoutput')")
        place = f"host={own.folder} user=postgres dbname={own_db.name}"
        with subscriber.connect() as conn:
            conn.execute(
                f"create subscription follows connection '{place}' publication kompanion_rows with (create_slot = false)"
            )
        same(own_db, subscriber)
        with kompanion_db.connect(own_db.url) as store, kompanion_db.connect(subscriber.url) as other:
            change(store)
            same(own_db, subscriber)
            other.ensure_index("small", kind="hnsw")
            asked: Any = ("*", [1, 0.2, 0.1], 20)
            assert other.search(*asked, model="small") == store.search(*asked, model="small")
            assert other.digest() == store.digest()
        with subscriber.connect() as conn:
            assert conn.execute("select count(*) from pg_subscription_rel where srsubstate <> 'r'").fetchone() == (0,)
            conn.execute("drop subscription follows")
            conn.execute(
                """select setval(pg_get_serial_sequence('kompanion.memory_chunks', 'chunk_id'), max(chunk_id))
                   from kompanion.memory_chunks"""
            )
        with kompanion_db.connect(subscriber.url) as other:
            other.restore_namespace("load:1")
            other.upsert_items([samples.bulk_item(n) for n in range(15, 30)])
            assert other.upsert_item("acme:ann", "note-3", "Once more").revision == 3
    finally:
        with subscriber.connect() as conn:
            conn.execute("drop subscription if exists follows")
        subscriber.drop()
