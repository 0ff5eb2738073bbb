"""``Store`` and ``AsyncStore``: the operations, bound to an engine that carries them out."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from pathlib import Path
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .errors import BadArgument
from .operations import bulk, embedding, models, namespaces, reading, searching, transfer, tuning, writing
from .operations.embedding import Context
from .requests import Request, Steps, drive
from .types import Finding

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Store")
A = TypeVar("A", bound="AsyncStore")


def _face(method: Callable[..., Any], operation: Callable[..., Any], with_context: bool) -> None:
    """Give a method the signature a caller sees: without the context, and with what the steps end in as the result."""
    shown = inspect.signature(operation)
    parameters = list(shown.parameters.values())[1 if with_context else 0 :]
    result = str(shown.return_annotation).removeprefix("Steps[").removesuffix("]")
    method.__signature__ = shown.replace(  # type: ignore[attr-defined]
        parameters=[inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *parameters],
        return_annotation=result,
    )


class _Bound(Generic[P, T]):
    """A method made of an operation; runs it by ``Store.run``."""

    def __init__(self, operation: Callable[P, Steps[T]], with_context: bool = False) -> None:
        @wraps(operation)
        def method(store: Store, *args: Any, **kwargs: Any) -> T:
            context = (store.context,) if with_context else ()
            return store.run(operation(*context, *args, **kwargs))

        _face(method, operation, with_context)
        self.method = method

    @overload
    def __get__(self, store: None, owner: type) -> Callable[..., T]: ...
    @overload
    def __get__(self, store: Store, owner: type) -> Callable[P, T]: ...
    def __get__(self, store: Store | None, owner: type) -> Callable[..., T]:
        return self.method if store is None else MethodType(self.method, store)


class _AsyncBound(Generic[P, T]):
    """``_Bound`` for AsyncStore: the method is a coroutine function."""

    def __init__(self, operation: Callable[P, Steps[T]], with_context: bool = False) -> None:
        @wraps(operation)
        async def method(store: AsyncStore, *args: Any, **kwargs: Any) -> T:
            context = (store.context,) if with_context else ()
            return await store.run(operation(*context, *args, **kwargs))

        _face(method, operation, with_context)
        self.method = method

    @overload
    def __get__(self, store: None, owner: type) -> Callable[..., Awaitable[T]]: ...
    @overload
    def __get__(self, store: AsyncStore, owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, store: AsyncStore | None, owner: type) -> Callable[..., Awaitable[T]]:
        return self.method if store is None else MethodType(self.method, store)


def _bind(operation: Callable[P, Steps[T]]) -> _Bound[P, T]:
    return _Bound(operation)


def _bind_text(operation: Callable[Concatenate[Context, P], Steps[T]]) -> _Bound[P, T]:
    return _Bound(operation, with_context=True)  # type: ignore[arg-type]


def _abind(operation: Callable[P, Steps[T]]) -> _AsyncBound[P, T]:
    return _AsyncBound(operation)


def _abind_text(operation: Callable[Concatenate[Context, P], Steps[T]]) -> _AsyncBound[P, T]:
    return _AsyncBound(operation, with_context=True)  # type: ignore[arg-type]


def _no_files(call: str, instead: str) -> BadArgument:
    return BadArgument(f"{call}: is for a store in a SQLite file, this one is on a server", hint=instead)


_CHECKPOINT = _no_files("checkpoint", "The server does it by itself.")
_BACKUP = _no_files("backup", "Use pg_dump or pg_basebackup, or kompanion-db export; see docs/operations.md.")
_DOCTOR = _no_files("doctor", "Use pg_amcheck; index_advice and stats tell how the store is.")


class Store(ABC):
    """A memory store. Each method is the SQL function of the same name; close it, or use it as a context manager.

    Safe to share between threads. Errors are those of :mod:`kompanion_db.errors`.
    """

    context: Context
    url: str

    @abstractmethod
    def answer(self, request: Request) -> Any:
        """Carry out one request of an operation; its answer."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections, and the embedded server if there is one."""

    def run(self, operation: Steps[T]) -> T:
        """Drive an operation to its end; its result."""
        return drive(operation, self.answer)

    @abstractmethod
    def transaction(self: S) -> AbstractContextManager[S]:
        """Make the calls inside one transaction: all are kept or, when the block raises, none. Per thread; nests."""

    def checkpoint(self, *, compact: bool = False) -> dict[str, int]:
        """Do now what a SQLite store does in the background: fold the log, merge files, index them, remove old ones.

        With ``compact`` the vectors of each model become one file without dead ones, and the database file shrinks.
        Counts: folded (vectors), merged, indexed, removed (files), and what is there now: segments, log (vectors).
        Raises BadArgument on a server or inside a transaction, ConnectionFailed, DamagedStore, StorageFull.
        """
        raise _CHECKPOINT

    def backup(self, path: str | Path) -> dict[str, int]:
        """Copy a SQLite store, as it is at this moment, to the file ``path`` and the folder ``path.vec``.

        Counts: files, linked, bytes. Raises BadArgument on a server, inside a transaction, or when something is there
        already; ConnectionFailed, StorageFull, PermissionDenied, DamagedStore.
        """
        raise _BACKUP

    def doctor(self, *, repair: bool = False) -> list[Finding]:
        """Examine a SQLite store: the database, every file against its checksum, every row for its vector.

        With ``repair`` what can be is set right. Worst first; nothing when all is well. Raises BadArgument on a server.
        A store that does not open is examined by ``kompanion-db doctor``.
        """
        raise _DOCTOR

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    ensure_namespace = _bind(namespaces.ensure_namespace)
    list_namespaces = _bind(namespaces.list_namespaces)
    delete_namespace = _bind(namespaces.delete_namespace)
    restore_namespace = _bind(namespaces.restore_namespace)
    ensure_user = _bind(namespaces.ensure_user)
    ensure_thread = _bind(namespaces.ensure_thread)
    close_thread = _bind(namespaces.close_thread)
    list_threads = _bind(namespaces.list_threads)

    upsert_item = _bind_text(writing.upsert_item)
    upsert_items = _bind_text(bulk.upsert_items)
    delete_item = _bind(writing.delete_item)
    restore_item = _bind(writing.restore_item)
    touch_item = _bind(writing.touch_item)
    revert_item = _bind_text(writing.revert_item)
    purge = _bind(writing.purge)
    trim_history = _bind(writing.trim_history)

    get_item = _bind(reading.get_item)
    get_chunks = _bind(reading.get_chunks)
    list_items = _bind(reading.list_items)
    item_history = _bind(reading.item_history)
    item_as_of = _bind(reading.item_as_of)
    stats = _bind(reading.stats)

    put_chunks = _bind(embedding.put_chunks)
    put_embeddings = _bind(embedding.put_embeddings)
    pending_embeddings = _bind(embedding.pending_embeddings)
    embed_pending = _bind_text(embedding.embed_pending)

    register_model = _bind(models.register_model)
    list_models = _bind(models.list_models)
    set_default_model = _bind(models.set_default_model)
    retire_model = _bind(models.retire_model)
    enqueue_missing = _bind(models.enqueue_missing)
    ensure_index = _bind(models.ensure_index)
    index_advice = _bind(models.index_advice)
    calibrate = _bind_text(tuning.calibrate)
    measure_recall = _bind_text(tuning.measure_recall)
    tune_index = _bind_text(tuning.tune_index)
    index_metadata_key = _bind(models.index_metadata_key)

    search = _bind_text(searching.search)
    explain_search = _bind_text(searching.explain_search)

    export_registry = _bind(transfer.export_registry)
    export_items = _bind(transfer.export_items)
    import_documents = _bind(transfer.import_documents)


class AsyncStore(ABC):
    """:class:`Store` for asyncio: the same methods, to be awaited. Embedders run in a thread of their own."""

    context: Context
    url: str

    @abstractmethod
    async def answer(self, request: Request) -> Any:
        """Carry out one request of an operation; its answer."""

    @abstractmethod
    async def close(self) -> None:
        """Give back connections, and the embedded server if there is one."""

    async def run(self, operation: Steps[T]) -> T:
        """Drive an operation to its end; its result."""
        try:
            request = next(operation)
            while True:
                try:
                    answer = await self.answer(request)
                except Exception as exc:
                    request = operation.throw(exc)
                else:
                    request = operation.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            operation.close()  # broken off: what it has under way ends too

    @abstractmethod
    def transaction(self: A) -> AbstractAsyncContextManager[A]:
        """Make the calls inside one transaction: all are kept or, when the block raises, none. Per task; nests."""

    async def checkpoint(self, *, compact: bool = False) -> dict[str, int]:
        raise _CHECKPOINT

    async def backup(self, path: str | Path) -> dict[str, int]:
        raise _BACKUP

    async def doctor(self, *, repair: bool = False) -> list[Finding]:
        raise _DOCTOR

    checkpoint.__doc__ = Store.checkpoint.__doc__
    backup.__doc__ = Store.backup.__doc__
    doctor.__doc__ = Store.doctor.__doc__

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    ensure_namespace = _abind(namespaces.ensure_namespace)
    list_namespaces = _abind(namespaces.list_namespaces)
    delete_namespace = _abind(namespaces.delete_namespace)
    restore_namespace = _abind(namespaces.restore_namespace)
    ensure_user = _abind(namespaces.ensure_user)
    ensure_thread = _abind(namespaces.ensure_thread)
    close_thread = _abind(namespaces.close_thread)
    list_threads = _abind(namespaces.list_threads)

    upsert_item = _abind_text(writing.upsert_item)
    upsert_items = _abind_text(bulk.upsert_items)
    delete_item = _abind(writing.delete_item)
    restore_item = _abind(writing.restore_item)
    touch_item = _abind(writing.touch_item)
    revert_item = _abind_text(writing.revert_item)
    purge = _abind(writing.purge)
    trim_history = _abind(writing.trim_history)

    get_item = _abind(reading.get_item)
    get_chunks = _abind(reading.get_chunks)
    list_items = _abind(reading.list_items)
    item_history = _abind(reading.item_history)
    item_as_of = _abind(reading.item_as_of)
    stats = _abind(reading.stats)

    put_chunks = _abind(embedding.put_chunks)
    put_embeddings = _abind(embedding.put_embeddings)
    pending_embeddings = _abind(embedding.pending_embeddings)
    embed_pending = _abind_text(embedding.embed_pending)

    register_model = _abind(models.register_model)
    list_models = _abind(models.list_models)
    set_default_model = _abind(models.set_default_model)
    retire_model = _abind(models.retire_model)
    enqueue_missing = _abind(models.enqueue_missing)
    ensure_index = _abind(models.ensure_index)
    index_advice = _abind(models.index_advice)
    calibrate = _abind_text(tuning.calibrate)
    measure_recall = _abind_text(tuning.measure_recall)
    tune_index = _abind_text(tuning.tune_index)
    index_metadata_key = _abind(models.index_metadata_key)

    search = _abind_text(searching.search)
    explain_search = _abind_text(searching.explain_search)

    export_registry = _abind(transfer.export_registry)
    export_items = _abind(transfer.export_items)
    import_documents = _abind(transfer.import_documents)
