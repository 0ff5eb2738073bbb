"""The store on PostgreSQL, for asyncio. Statements, types and operations are those of the sync store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import PoolClosed, PoolTimeout

from . import arguments as check
from . import embedded, pg_protocol, staging
from .around import async_around
from .blocks import AsyncBlocks
from .cancelling import for_a_future, to_its_end
from .digests import digest_of
from .errors import ConnectionFailed, KompanionError
from .forking import Origin, cut_off_by_fork
from .keeping import only_outside
from .migrate import migrate as run_migrations
from .migrate import require_installed_async
from .operations.embedding import Context, adopt_embedder, need_embedder
from .pg_errors import translated
from .pg_transactions import check_transaction, hang_up
from .pools import AsyncPool
from .requests import Breathe, Call, EmbedDocuments, EmbedQuery, Join, Merge, Outside, Request, RunAll
from .snapshots import postgres_snapshot
from .store import AsyncStore
from .turns import PATIENCE, AsyncMerging

Conn = psycopg.AsyncConnection[DictRow]


async def _take_away(conn: Conn) -> None:
    hang_up(conn)
    async with conn.lock:  # by now whoever was inside a statement is out of it
        await conn.close()


class AsyncPostgresStore(AsyncStore):
    """A store in a PostgreSQL database, over a pool. Made by :func:`kompanion_db.connect_async`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._origin = Origin()
        self.url = ""
        self._server: embedded.EmbeddedServer | None = None
        self._pool: AsyncPool | None = None
        self._blocks: AsyncBlocks[Conn] = AsyncBlocks("kompanion_async_transaction")
        self._giving: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive
        self._under_way: set[AsyncMerging] = set()

    async def open(
        self,
        url: str,
        *,
        migrate: bool | None = None,
        min_size: int = 1,
        max_size: int = 4,
        prepare: bool = True,
        timeout: float = 30.0,
    ) -> AsyncPostgresStore:
        """Connect, as :func:`kompanion_db.connect_async` says."""
        self._blocks.timeout = timeout
        self._prepare = prepare
        folder = embedded.folder_of(url)
        try:
            if folder is not None:
                self._server = await to_its_end(
                    asyncio.to_thread(embedded.start, folder), undo=lambda made: asyncio.to_thread(made.release)
                )
                url = self._server.url()
            self.url = url
            if migrate or (migrate is None and folder is not None):
                await asyncio.to_thread(run_migrations, url)
            kwargs = pg_protocol.connection_kwargs(url, prepare)
            with translated():
                async with await psycopg.AsyncConnection.connect(**kwargs) as conn:
                    await require_installed_async(conn)
                    cursor = await conn.cursor(row_factory=dict_row).execute(pg_protocol.VECTOR_TYPE_SQL)
                    self._vector = pg_protocol.vector_type(await cursor.fetchone())
            self._pool = AsyncPool(
                connection_class=psycopg.AsyncConnection[DictRow],
                kwargs={**kwargs, "row_factory": dict_row},
                min_size=min_size,
                max_size=max_size,
                timeout=timeout,
                configure=self._configure,
                open=False,
            )
            await self._pool.open()
            await self.run(adopt_embedder(self.context))
        except BaseException:
            await self.close()
            raise
        return self

    async def _configure(self, conn: Conn) -> None:
        cut_off_by_fork(conn)
        pg_protocol.register_types(conn, self._vector)

    async def close(self) -> None:
        """As in the sync store; goes on to its end where it is cancelled, as nobody could close the rest later."""
        if self._origin.of_this_process:  # else the pool is the parent's
            self._origin.check()
            await to_its_end(self._end())

    async def _end(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        merges = tuple(self._under_way)
        for merging in merges:
            merging.abandon()
        if merges:
            await asyncio.wait([merging.task for merging in merges], timeout=self._blocks.timeout)
        for merging in self._under_way.intersection(merges):
            if merging.conn is not None:
                hang_up(merging.conn)
        if self._server is not None:
            await asyncio.to_thread(self._server.release)

    async def digest(self, scope: str = "*", *, progress: Callable[[int], None] | None = None) -> str:
        """As :meth:`Store.digest`, in a thread, on a connection of its own: open transactions are not seen."""
        check.callback("progress", progress)
        if self._blocks.innermost is not None:
            raise only_outside("digest")
        self._open_pool()

        def work() -> str:
            with postgres_snapshot(self.url, self._prepare) as found:
                return digest_of(found, check.text("scope", scope) or "", progress)

        return await asyncio.to_thread(for_a_future, work)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncPostgresStore]:
        """Make the calls inside one transaction, as in the sync store; per task, nests as savepoints."""
        async with self._connection() as conn, async_around(conn.transaction(), translated):
            async with self._blocks.inside(conn, partial(_take_away, conn)):
                yield self
            self._origin.check()
            check_transaction(conn)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Conn]:
        """As in the sync store."""
        self._origin.check()
        async with self._blocks.turn() as block:
            if block is not None:
                check_transaction(block.conn)
                yield block.conn
            else:
                async with self._lent() as conn:
                    yield conn

    def _open_pool(self) -> AsyncPool:
        if self._pool is None or self._pool.closed:
            raise pg_protocol.closed("connect_async")
        return self._pool

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Conn]:
        pool = self._open_pool()
        try:
            conn = await self._got(pool)
        except PoolTimeout as exc:
            raise pg_protocol.no_connection(pool.timeout) from exc
        except PoolClosed as exc:  # while this waited for a connection
            raise pg_protocol.closed("connect_async") from exc
        try:
            async with conn:
                yield conn
        finally:
            try:
                # Where one connection is lost the others mostly are too: replaced now, they fail no later call.
                if conn.broken:
                    await pool.check()
            finally:
                await to_its_end(pool.putconn(conn))

    async def _got(self, pool: AsyncPool) -> Conn:
        """As ``pool.getconn()``, which loses the connection of a task that is cancelled meanwhile."""
        getting = asyncio.ensure_future(pool.getconn())
        try:
            return await asyncio.shield(getting)
        except asyncio.CancelledError:
            getting.add_done_callback(partial(self._give_back, pool))
            raise

    def _give_back(self, pool: AsyncPool, getting: asyncio.Future[Conn]) -> None:
        """Give back a connection that nobody waits for any more."""
        if not getting.cancelled() and getting.exception() is None:
            giving = asyncio.ensure_future(pool.putconn(getting.result()))
            self._giving.add(giving)
            giving.add_done_callback(self._giving.discard)

    async def answer(self, request: Request) -> Any:
        """Carry out one request of an operation, but for a Pull; its answer."""
        match request:
            case Call():
                return await self._call(request)
            case EmbedDocuments():
                embed = partial(need_embedder(self.context, "content").embed_documents, request.texts)
                return await asyncio.to_thread(for_a_future, embed)
            case EmbedQuery():
                embed = partial(need_embedder(self.context, "query").embed_query, request.text)
                return await asyncio.to_thread(for_a_future, embed)
            case Merge():
                return await self._begin_merge(request)
            case Join(merging=AsyncMerging() as merging):
                merging.keep()
                return await merging.task
            case Breathe():
                await asyncio.sleep(0)
                return None
            case Outside():
                if self._blocks.innermost is not None:
                    raise pg_protocol.inside(request)
                return None
            case RunAll():
                async with self._connection() as conn:
                    with translated(), pg_protocol.told(conn, request.progress):
                        for text in request.statements:
                            await conn.execute(text)
                return None

    async def _call(self, call: Call) -> list[DictRow]:
        statement, arguments = pg_protocol.statement(call)
        # As in the sync store: only a read whose connection was lost is sent again.
        tries = self._pool.max_size + 1 if call.reads and self._pool and self._blocks.innermost is None else 1
        while True:
            tries -= 1
            async with self._connection() as conn:
                with translated(), pg_protocol.told(conn, call.progress):
                    async with conn.transaction() if call.may_fail else nullcontext():
                        try:
                            return await (await conn.execute(statement, arguments, binary=True)).fetchall()
                        except psycopg.OperationalError:
                            if tries == 0 or not conn.broken:
                                raise

    async def _begin_merge(self, merge: Merge) -> AsyncMerging:
        assert merge.before is None or isinstance(merge.before, AsyncMerging)
        batch = staging.Batch([], [], merge.model)
        for data, blocks in ((batch.items, staging.items(merge.items)), (batch.chunks, staging.chunks(merge.chunks))):
            for block in blocks:
                data.append(block)
                await asyncio.sleep(0)
        merging = AsyncMerging(merge.before)
        if self._blocks.innermost is None:
            self._open_pool()
            merging.task = asyncio.create_task(merging.run(partial(self._merge_in_turn, batch, merging)))
            self._under_way.add(merging)
            merging.task.add_done_callback(lambda _: self._under_way.discard(merging))
        else:  # the caller's transaction has one connection
            try:
                merging.task.set_result(await self._merge(batch, merging))
            except Exception as exc:
                merging.task.set_exception(exc)  # told at its turn, as of one that is under way
        return merging

    async def _merge_in_turn(self, batch: staging.Batch, turn: AsyncMerging) -> list[DictRow]:
        if not turn.kept:
            try:
                async with self._connection() as conn:
                    with translated():
                        async with conn.transaction():
                            rows = await self._stage_and_merge(conn, batch, turn)
                            if await turn.come(PATIENCE):
                                return rows
                            raise psycopg.Rollback
            except ConnectionFailed:
                raise
            except KompanionError:  # of the batch before it, perhaps: at its turn it will show
                pass
            if not await turn.come():
                raise pg_protocol.closed("connect_async")
        return await self._merge(batch, turn)

    async def _merge(self, batch: staging.Batch, turn: AsyncMerging) -> list[DictRow]:
        async with self._connection() as conn:
            with translated():
                async with conn.transaction():
                    return await self._stage_and_merge(conn, batch, turn)

    async def _stage_and_merge(self, conn: Conn, batch: staging.Batch, turn: AsyncMerging) -> list[DictRow]:
        turn.conn = conn
        turn.stage((await (await conn.execute(pg_protocol.STAGE_SQL, binary=True)).fetchall())[0]["at"])
        for statement, data in ((staging.ITEMS_SQL, batch.items), (staging.CHUNKS_SQL, batch.chunks)):
            async with conn.cursor().copy(statement) as copy:
                for block in data:
                    await copy.write(block)
        return await (await conn.execute(pg_protocol.MERGE_SQL, (batch.model, turn.since), binary=True)).fetchall()
