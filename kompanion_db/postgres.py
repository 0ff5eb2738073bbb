"""The store on PostgreSQL."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import PoolClosed, PoolTimeout

from . import embedded, pg_protocol, staging
from .around import around
from .blocks import Blocks
from .errors import ConnectionFailed, KompanionError
from .forking import check_process, cut_off_by_fork
from .keeping import only_outside
from .migrate import migrate as run_migrations
from .migrate import require_installed
from .operations.bulk import SIDE_BY_SIDE
from .operations.embedding import Context, adopt_embedder, need_embedder
from .pg_errors import translated
from .pg_transactions import check_transaction, hang_up, refuse_listener
from .pools import Pool
from .requests import Breathe, Call, EmbedDocuments, EmbedQuery, Join, Merge, Outside, Request, RunAll
from .snapshots import Snapshot, postgres_snapshot
from .store import Store
from .turns import BREATH, PATIENCE, Merging

Conn = psycopg.Connection[DictRow]


def _take_away(conn: Conn) -> None:
    hang_up(conn)
    with conn.lock:  # by now whoever was inside a statement is out of it
        conn.close()


class PostgresStore(Store):
    """A store in a PostgreSQL database, over a pool of connections. Made by :func:`kompanion_db.connect`."""

    def __init__(
        self,
        url: str,
        context: Context,
        *,
        migrate: bool | None = None,
        min_size: int = 1,
        max_size: int = 4,
        prepare: bool = True,
        timeout: float = 30.0,
    ) -> None:
        self.context = context
        self._pid = os.getpid()
        self._server: embedded.EmbeddedServer | None = None
        folder = embedded.folder_of(url)
        if folder is not None:
            self._server = embedded.start(folder)
            url = self._server.url()
        self.url = url
        self._prepare = prepare
        self._pool: Pool | None = None
        # Merges run side by side, beside the making of the next batch; a connection is left to the other callers.
        self._under_way: set[Merging] = set()
        self._places = threading.Semaphore(min(SIDE_BY_SIDE, max(1, max_size - 1)))
        self._blocks: Blocks[Conn] = Blocks("kompanion_transaction", timeout)
        try:
            # An embedded server has no DBA but us.
            if migrate or (migrate is None and folder is not None):
                run_migrations(url)
            kwargs = pg_protocol.connection_kwargs(url, prepare)
            # One plain connection first: a pool would report a wrong password only as a timeout.
            with translated(), psycopg.connect(**kwargs) as conn:
                require_installed(conn)
                found = conn.cursor(row_factory=dict_row).execute(pg_protocol.VECTOR_TYPE_SQL).fetchone()
            self._vector = pg_protocol.vector_type(found)
            self._pool = Pool(
                connection_class=psycopg.Connection[DictRow],
                kwargs={**kwargs, "row_factory": dict_row},
                min_size=min_size,
                max_size=max_size,
                timeout=timeout,
                configure=self._configure,
                open=True,
            )
            self.run(adopt_embedder(context))
        except BaseException:
            self.close()
            raise

    def _configure(self, conn: Conn) -> None:
        cut_off_by_fork(conn)
        pg_protocol.register_types(conn, self._vector)

    def close(self) -> None:
        """Close the pool; an embedded server stops when this was its last user. Closing twice does nothing.

        Batches of a load that are not kept yet never will be.
        """
        if self._pid != os.getpid():  # the pool is the parent's
            return
        if self._pool is not None:
            self._pool.close()
            self._end_merges()
        if self._server is not None:
            self._server.release()

    def _end_merges(self) -> None:
        merges = tuple(self._under_way)
        for merging in merges:
            merging.abandon()
        futures.wait([merging.future for merging in merges], self._blocks.timeout)
        for merging in self._under_way.intersection(merges):  # kept, but somebody has what it wants
            if merging.conn is not None:
                hang_up(merging.conn)

    def _snapshot(self) -> AbstractContextManager[Snapshot]:
        """What the store holds at this moment, on a connection of its own: open transactions are not seen."""
        self._open_pool()
        return postgres_snapshot(self.url, self._prepare)

    def _check_outside(self, what: str) -> None:
        if self._blocks.innermost is not None:
            raise only_outside(what)

    @contextmanager
    def transaction(self) -> Iterator[PostgresStore]:
        """Make the calls inside one transaction: all are kept or, when the block raises, none.

        Per thread (or task). Nests as savepoints. Inside, a lost connection is never retried.
        """
        with self._connection() as conn, around(conn.transaction(), translated):
            with self._blocks.inside(conn, partial(_take_away, conn)):
                yield self
            check_process(self._pid)
            check_transaction(conn)

    @contextmanager
    def _connection(self) -> Iterator[Conn]:
        """The connection of the transaction that the caller is in, for it alone meanwhile, or one of the pool."""
        check_process(self._pid)
        with self._blocks.turn() as block:
            if block is not None:
                check_transaction(block.conn)
                refuse_listener(block.conn)
                yield block.conn
            else:
                with self._lent() as conn:
                    yield conn

    def _open_pool(self) -> Pool:
        if self._pool is None or self._pool.closed:
            raise pg_protocol.closed("connect")
        return self._pool

    @contextmanager
    def _lent(self) -> Iterator[Conn]:
        pool = self._open_pool()
        try:
            conn = pool.getconn()
        except PoolTimeout as exc:
            raise pg_protocol.no_connection(pool.timeout) from exc
        except PoolClosed as exc:  # while this waited for a connection
            raise pg_protocol.closed("connect") from exc
        try:
            with conn:
                yield conn
        finally:
            try:
                # Where one connection is lost the others mostly are too: replaced now, they fail no later call.
                if conn.broken:
                    pool.check()
            finally:
                pool.putconn(conn)

    def answer(self, request: Request) -> Any:
        """Carry out one request of an operation, but for a Pull; its answer."""
        match request:
            case Call():
                return self._call(request)
            case EmbedDocuments():
                return need_embedder(self.context, "content").embed_documents(request.texts)
            case EmbedQuery():
                return need_embedder(self.context, "query").embed_query(request.text)
            case Merge():
                return self._begin_merge(request)
            case Join(merging=Merging() as merging):
                merging.keep()
                return merging.future.result()
            case Breathe():
                time.sleep(BREATH)
                return None
            case Outside():
                if self._blocks.innermost is not None:
                    raise pg_protocol.inside(request)
                return None
            case RunAll():
                with self._connection() as conn, translated(), pg_protocol.told(conn, request.progress):
                    for text in request.statements:
                        conn.execute(text)
                return None

    def _call(self, call: Call) -> list[DictRow]:
        statement, arguments = pg_protocol.statement(call)
        # A read whose connection turns out to be lost is sent again on another one; each that is lost leaves the pool.
        tries = self._pool.max_size + 1 if call.reads and self._pool and self._blocks.innermost is None else 1
        while True:
            tries -= 1
            with (
                self._connection() as conn,
                translated(),
                pg_protocol.told(conn, call.progress),
                conn.transaction() if call.may_fail else nullcontext(),
            ):
                try:
                    return conn.execute(statement, arguments, binary=True).fetchall()
                except psycopg.OperationalError:
                    if tries == 0 or not conn.broken:
                        raise

    def _begin_merge(self, merge: Merge) -> Merging:
        assert merge.before is None or isinstance(merge.before, Merging)
        batch = staging.Batch([*staging.items(merge.items)], [*staging.chunks(merge.chunks)], merge.model)
        merging = Merging(merge.before)
        check_process(self._pid)  # a fork has no threads
        if self._blocks.innermost is None:
            self._open_pool()
            self._under_way.add(merging)
            merging.future.add_done_callback(lambda _: self._under_way.discard(merging))
            merging.start(partial(self._merge_in_turn, batch, merging))
        else:  # the caller's transaction is this thread's
            try:
                merging.future.set_result(self._merge(batch, merging))
            except Exception as exc:
                merging.future.set_exception(exc)  # told at its turn, as of one that is under way
        return merging

    def _merge_in_turn(self, batch: staging.Batch, turn: Merging) -> list[DictRow]:
        if not turn.kept:
            try:
                with self._places, self._connection() as conn, translated(), conn.transaction():
                    rows = self._stage_and_merge(conn, batch, turn)
                    if turn.come(PATIENCE):
                        return rows
                    raise psycopg.Rollback
            except ConnectionFailed:
                raise
            except KompanionError:  # of the batch before it, perhaps: at its turn it will show
                pass
            if not turn.come():  # nobody asks for its rows, unless the store was closed
                raise pg_protocol.closed("connect")
        with self._places:
            return self._merge(batch, turn)

    def _merge(self, batch: staging.Batch, turn: Merging) -> list[DictRow]:
        with self._connection() as conn, translated(), conn.transaction():
            return self._stage_and_merge(conn, batch, turn)

    def _stage_and_merge(self, conn: Conn, batch: staging.Batch, turn: Merging) -> list[DictRow]:
        turn.conn = conn
        turn.stage(conn.execute(pg_protocol.STAGE_SQL, binary=True).fetchall()[0]["at"])
        for statement, data in ((staging.ITEMS_SQL, batch.items), (staging.CHUNKS_SQL, batch.chunks)):
            with conn.cursor().copy(statement) as copy:
                for block in data:
                    copy.write(block)
        return conn.execute(pg_protocol.MERGE_SQL, (batch.model, turn.since), binary=True).fetchall()
