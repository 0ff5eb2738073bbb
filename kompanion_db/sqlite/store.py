"""The store in a SQLite file, with its vectors in files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .. import arguments as check
from ..operations.embedding import Context, adopt_embedder, need_embedder
from ..requests import Breathe, Call, EmbedDocuments, EmbedQuery, Join, Merge, Outside, Request, Row, RunAll
from ..snapshots import Snapshot, sqlite_snapshot
from ..store import Store
from ..types import Finding
from . import upkeep
from .bulk import Turn
from .database import BULK_CACHE_KB, Database
from .errors import translated
from .files import place_of
from .merging import merge
from .opening import prepare
from .registry import functions

_MANY = 1000
"""Items of a merge from which its connection gets a larger cache."""


class SqliteStore(Store):
    """A store in a SQLite file and its folder of vectors. Made by :func:`kompanion_db.connect`.

    Any number of threads and processes of one host may share the file; writers take turns.
    """

    def __init__(
        self,
        url: str,
        context: Context,
        *,
        migrate: bool | None = None,
        max_size: int = 4,
        timeout: float = 30.0,
    ) -> None:
        self.context = context
        place = place_of(url)
        self.url = place.url
        prepare(place, migrate)
        self.database = Database(place, max_size, timeout)
        try:
            self.database.folder.open()
            self.run(adopt_embedder(context))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections, and end what runs in the background. Closing twice does nothing."""
        self.database.folder.close()
        self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[SqliteStore]:
        """Make the calls inside one transaction: all are kept or, when the block raises, none.

        Per thread (or task). Nests as savepoints. It is the one writer of the file until it ends.
        """
        with self.database.bound():
            yield self
        self.wrote()

    def _snapshot(self) -> AbstractContextManager[Snapshot]:
        """What the store holds at this moment."""
        return sqlite_snapshot(self.database)

    def _check_outside(self, what: str) -> None:
        upkeep.outside(self.database, what)

    def checkpoint(self, *, compact: bool = False) -> dict[str, int]:
        """As ``Store.checkpoint``."""
        return upkeep.checkpoint(self.database, compact=compact)

    def backup(self, path: str | Path) -> dict[str, int]:
        """As ``Store.backup``."""
        return upkeep.backup(self.database, path)

    def doctor(self, *, repair: bool = False) -> list[Finding]:
        """As ``Store.doctor``."""
        if check.flag("repair", repair):
            upkeep.outside(self.database, "doctor with repair")
        self.database.check_open()
        return upkeep.doctor(self.database.place, repair)

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
                return Turn(partial(self._merge, request))
            case Join(merging=Turn() as turn):
                return turn.rows()
            case Breathe():
                return None  # nothing goes on beside it
            case Outside():
                if functions()[request.function].runs == "own":  # the others are at home in a transaction
                    upkeep.outside(self.database, request.function)
                return None
            case RunAll():
                return self._run_all(request)

    def _run_all(self, request: RunAll) -> None:
        """Run statements that a function gave, each in a transaction of its own."""
        with self.database.lent() as session, translated(), session.told(request.progress):
            for statement in request.statements:
                session.all(statement)
        self.wrote()

    def wrote(self) -> None:
        """Something was written: once it is committed, vectors may be worth folding."""
        if not self.database.in_transaction:
            self.database.folder.wrote()

    def _call(self, call: Call) -> list[Row]:
        function = functions()[call.function]
        if function.runs == "own":
            with self.database.lent() as session, translated(), session.told(call.progress):
                rows = function.body(session, **call.arguments)
        else:
            with self.database.session(function.runs == "write") as session, session.told(call.progress):
                rows = function.body(session, **call.arguments)
        if function.runs != "read":
            self.wrote()
        return rows

    def _merge(self, request: Merge) -> list[Row]:
        with self.database.session(write=True) as session:
            if len(request.items) >= _MANY:
                session.run(f"pragma cache_size = -{BULK_CACHE_KB}")
            rows = merge(session, request.items, request.chunks, request.model)
        self.wrote()
        return rows
