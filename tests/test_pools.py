"""Which of its connections a store takes."""

from __future__ import annotations

from typing import Any

import servers

from kompanion_db import NewItem, connect, connect_async


def _sessions(db: servers.Database) -> dict[int, Any]:
    """When each session of the database began what it did last."""
    sql = "select pid, query_start from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    with db.connect() as conn:
        return dict(conn.execute(sql).fetchall())


async def test_who_asks_one_thing_after_the_other_is_served_by_one_session_however_many_there_are(
    one_db: servers.Database,
) -> None:
    items = [NewItem("acme", "text", key=str(n)) for n in range(40)]
    with connect(one_db.url) as store:
        store.upsert_items(items, batch_size=5)
        before = _sessions(one_db)
        assert len(before) > 1, "a load works side by side"
        for n in range(6):
            store.get_item("acme", str(n))
        after = _sessions(one_db)
        assert sum(after[pid] != before[pid] for pid in before) == 1
    async with await connect_async(one_db.url) as tasks:
        await tasks.upsert_items(items, batch_size=5)
        before = _sessions(one_db)
        assert len(before) > 1
        for n in range(6):
            await tasks.get_item("acme", str(n))
        after = _sessions(one_db)
        assert sum(after[pid] != before[pid] for pid in before) == 1
