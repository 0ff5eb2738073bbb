"""A block of a transaction ends well only when all of it is kept, whatever was caught inside; else it says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import apsw
import engines
import psycopg
import psycopg_pool
import pytest
import servers
from sharing import Undone, hurry, started

import kompanion_db
from kompanion_db import HashEmbedder, connect, connect_async, errors, pg_errors
from kompanion_db.sqlite.errors import translated
from kompanion_db.sqlite.session import Session
from kompanion_db.sqlite.store import SqliteStore
from kompanion_db.sqlite.store_async import AsyncSqliteStore

WITHOUT_END = """
delete from settings
where (with recursive n(i) as (select begun() union all select 1 from n) select count(*) from n) > 0
"""


def _long_statement(store: Any, begun: threading.Event) -> None:
    """Be inside a statement, in the block that the caller is in."""
    if isinstance(store, SqliteStore):
        session = cast(Session, store.database.current)
        session.conn.create_scalar_function("begun", begun.set)
        with translated():
            session.run(WITHOUT_END)
    else:
        begun.set()
        with pg_errors.translated():
            store._blocks.innermost.conn.execute("select pg_sleep(6)")


def test_a_block_left_while_a_thread_is_inside_a_statement_is_undone_and_lends_nobody_its_connection(
    one_home: engines.Home,
) -> None:
    with connect(one_home.url, max_size=1) as store:
        hurry(store)
        begun = threading.Event()
        said: list[BaseException] = []

        def endless() -> None:
            try:
                with store.transaction():
                    _long_statement(store, begun)
            except kompanion_db.KompanionError as exc:
                said.append(exc)

        with pytest.raises(errors.ConnectionFailed, match="no turn in the transaction"), store.transaction():  # noqa: PT012
            store.upsert_item("acme", "k", "text")
            thread = started(endless)
            begun.wait(60)
        thread.join(60)
        assert list(map(type, said)) == [errors.ConnectionFailed]
        store.upsert_item("acme", "after", "text")
        assert [item.key for item in store.list_items("acme")] == ["after"]


async def test_a_block_left_while_a_task_is_inside_a_statement_is_undone_and_lends_nobody_its_connection(
    one_home: engines.Home,
) -> None:
    async with await connect_async(one_home.url, max_size=1) as store:
        hurry(store)
        begun = threading.Event()

        async def endless() -> None:
            async with store.transaction():
                if isinstance(store, AsyncSqliteStore):
                    await store.turns.run(lambda: _long_statement(store.store, begun))
                else:
                    begun.set()
                    with pg_errors.translated():
                        await cast(Any, store)._blocks.innermost.conn.execute("select pg_sleep(6)")

        with pytest.raises(errors.ConnectionFailed, match="no turn in the transaction"):  # noqa: PT012
            async with store.transaction():
                await store.upsert_item("acme", "k", "text")
                task = asyncio.create_task(endless())
                await asyncio.to_thread(begun.wait, 60)
        with pytest.raises(errors.ConnectionFailed):
            await asyncio.wait_for(task, 60)
        await store.upsert_item("acme", "after", "text")
        assert [item.key for item in await store.list_items("acme")] == ["after"]


def test_where_a_nested_block_was_given_up_the_one_around_it_keeps_nothing_and_says_so(one_home: engines.Home) -> None:
    with connect(one_home.url, max_size=1) as store:
        hurry(store)
        begun, go = threading.Event(), threading.Event()

        def endless() -> None:
            with pytest.raises(errors.ConnectionFailed), store.transaction():  # noqa: PT012 - the block is what raises
                store.upsert_item("acme", "endless", "text")
                begun.set()
                go.wait(60)

        with pytest.raises(errors.ConnectionFailed, match="was given up"), store.transaction():  # noqa: PT012
            store.upsert_item("acme", "a", "text")
            with pytest.raises(errors.ConnectionFailed, match="no turn in the transaction"), store.transaction():  # noqa: PT012
                store.upsert_item("acme", "b", "text")
                thread = started(endless)
                begun.wait(60)
            with pytest.raises(errors.ConnectionFailed, match="was given up"):
                store.upsert_item("acme", "c", "text")
        go.set()
        thread.join(60)
        assert store.list_items("acme") == []


async def test_where_a_nested_block_of_tasks_was_given_up_the_one_around_it_says_so(one_home: engines.Home) -> None:
    async with await connect_async(one_home.url, max_size=1) as store:
        hurry(store)
        begun = asyncio.Event()

        async def endless() -> None:
            async with store.transaction():
                await store.upsert_item("acme", "endless", "text")
                begun.set()
                await asyncio.Event().wait()

        with pytest.raises(errors.ConnectionFailed, match="was given up"):  # noqa: PT012
            async with store.transaction():
                await store.upsert_item("acme", "a", "text")
                with pytest.raises(errors.ConnectionFailed, match="no turn in the transaction"):  # noqa: PT012
                    async with store.transaction():
                        await store.upsert_item("acme", "b", "text")
                        task = asyncio.create_task(endless())
                        await begun.wait()
                with pytest.raises(errors.ConnectionFailed, match="was given up"):
                    await store.upsert_item("acme", "c", "text")
        task.cancel()
        await asyncio.wait([task], timeout=60)
        assert await store.list_items("acme") == []


def test_an_error_caught_in_a_nested_block_undoes_nothing_else(one_home: engines.Home) -> None:
    with connect(one_home.url) as store:
        with store.transaction():
            store.upsert_item("acme", "a", "text")
            with pytest.raises(errors.RevisionConflict), store.transaction():
                store.upsert_item("acme", "b", "text", expected_revision=7)
            with pytest.raises(kompanion_db.KompanionError), store.transaction():  # noqa: PT012
                store.upsert_item("acme", "c", "text")
                with pytest.raises(errors.RevisionConflict):
                    store.upsert_item("acme", "b", "text", expected_revision=7)
                if one_home.key == "sqlite":
                    raise kompanion_db.KompanionError("on a server the block raises it of itself")
            store.upsert_item("acme", "d", "text")
        assert {item.key for item in store.list_items("acme")} == {"a", "d"}


def test_an_error_caught_in_the_block_itself_is_not_the_end_of_a_file_s_transaction(tmp_path: Path) -> None:
    with connect(f"sqlite:///{tmp_path / 'x.db'}") as store:
        with store.transaction():
            store.upsert_item("acme", "a", "text")
            with pytest.raises(errors.RevisionConflict):
                store.upsert_item("acme", "b", "text", expected_revision=7)
            store.upsert_item("acme", "c", "text")
        assert {item.key for item in store.list_items("acme")} == {"a", "c"}


def test_on_a_server_a_block_whose_call_failed_says_that_it_is_undone(one_db: servers.Database) -> None:
    with connect(one_db.url) as store:
        with pytest.raises(kompanion_db.KompanionError, match="the transaction is undone") as told, store.transaction():  # noqa: PT012
            store.upsert_item("acme", "a", "text")
            with pytest.raises(errors.RevisionConflict):
                store.upsert_item("acme", "b", "text", expected_revision=7)
            with pytest.raises(kompanion_db.KompanionError, match="the transaction is undone"):
                store.upsert_item("acme", "c", "text")
        assert told.value.hint == "Put a call that may fail in a transaction() of its own, inside."
        assert store.list_items("acme") == []


async def test_on_a_server_a_block_of_tasks_whose_call_failed_says_that_it_is_undone(one_db: servers.Database) -> None:
    async with await connect_async(one_db.url) as store:
        with pytest.raises(kompanion_db.KompanionError, match="the transaction is undone"):  # noqa: PT012
            async with store.transaction():
                await store.upsert_item("acme", "a", "text")
                with pytest.raises(errors.RevisionConflict):
                    await store.upsert_item("acme", "b", "text", expected_revision=7)
        assert await store.list_items("acme") == []


def test_a_block_whose_connection_was_lost_says_so(one_db: servers.Database) -> None:
    with connect(one_db.url) as store:
        with pytest.raises(errors.ConnectionFailed, match="its connection lost"), store.transaction():  # noqa: PT012
            store.upsert_item("acme", "a", "text")
            pid = cast(Any, store)._blocks.innermost.conn.info.backend_pid
            one_db.server.run(f"select pg_terminate_backend({pid}, 10000)")
            with pytest.raises(errors.ConnectionFailed):
                store.upsert_item("acme", "b", "text")
        assert store.list_items("acme") == []


def test_where_sqlite_undid_the_whole_transaction_nothing_is_written_in_its_place(tmp_path: Path) -> None:
    with connect(f"sqlite:///{tmp_path / 'x.db'}") as store:
        assert isinstance(store, SqliteStore)
        with pytest.raises(kompanion_db.KompanionError, match="the transaction is undone"), store.transaction():  # noqa: PT012
            store.upsert_item("acme", "a", "text")
            with pytest.raises(errors.BadArgument), store.database.session(write=True) as session:
                session.run("insert or rollback into settings select * from settings")
            with pytest.raises(kompanion_db.KompanionError, match="the transaction is undone"):
                store.upsert_item("acme", "b", "text")
        assert store.list_items("acme") == []
        assert store.upsert_item("acme", "c", "text").status == "inserted"


class _Overtaken(HashEmbedder):
    """While it embeds an item, somebody else in the transaction writes it."""

    store: kompanion_db.Store | None = None

    def embed_documents(self, texts: Sequence[str]) -> Any:
        store, self.store = self.store, None
        if store is not None:
            store.upsert_item("acme", "k", "newer", vectors=super().embed_documents(["newer"]), model=self.name)
        return super().embed_documents(texts)


def test_a_revert_that_was_overtaken_in_its_transaction_undoes_nothing_of_it(one_home: engines.Home) -> None:
    embedder = _Overtaken()
    with connect(one_home.url, embedder=embedder) as store:
        store.upsert_item("acme", "k", "first")
        store.upsert_item("acme", "k", "second")
        with store.transaction():
            store.upsert_item("acme", "a", "text")
            embedder.store = store
            store.revert_item("acme", "k", 1)
        assert [r.content for r in store.item_history("acme", "k")] == ["first", "second", "newer", "first"]
        assert {item.key for item in store.list_items("acme")} == {"a", "k"}


THEIRS = [
    psycopg.errors.UniqueViolation("of another table"),
    psycopg_pool.PoolTimeout("of another pool"),
    psycopg.Rollback(),
    apsw.BusyError("of another file"),
]


@pytest.mark.parametrize("raised", THEIRS, ids=repr)
async def test_what_is_raised_in_a_block_comes_out_as_it_is(one_home: engines.Home, raised: Exception) -> None:
    with connect(one_home.url) as store:
        with pytest.raises(type(raised)) as told, store.transaction():  # noqa: PT012 - the block is what raises
            store.upsert_item("acme", "k", "text")
            raise raised
        assert told.value is raised
    async with await connect_async(one_home.url) as tasks:
        with pytest.raises(type(raised)) as told:  # noqa: PT012
            async with tasks.transaction():
                await tasks.upsert_item("acme", "k", "text")
                raise raised
        assert told.value is raised
        assert await tasks.list_items("acme") == []


async def test_tasks_of_a_thread_undo_nothing_of_each_other_in_a_store_of_threads(one_home: engines.Home) -> None:
    with connect(one_home.url) as store:

        async def undone() -> None:
            with store.transaction():
                store.upsert_item("acme", "undone", "text")
                await asyncio.sleep(0.2)
                raise Undone

        async def refused() -> None:
            await asyncio.sleep(0.1)
            with store.transaction():
                store.upsert_item("acme", "refused", "text")

        with store.transaction():
            store.upsert_item("acme", "kept", "text")
            told = await asyncio.gather(undone(), refused(), return_exceptions=True)
            store.upsert_item("acme", "kept too", "text")
        assert list(map(type, told)) == [Undone, errors.ConnectionFailed]
        assert "use connect_async" in getattr(told[1], "hint", "")
        assert {item.key for item in store.list_items("acme")} == {"kept", "kept too"}
