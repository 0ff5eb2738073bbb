"""``Store`` and ``AsyncStore``: the operations, bound to an engine that carries them out."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar

from .binding import abind, abind_text, bind, bind_text
from .keeping import AsyncKeeping, Keeping
from .operations import bulk, embedding, models, namespaces, reading, searching, transfer, tuning, writing
from .operations.embedding import Context
from .pulling import AsyncSource, Source
from .requests import Pull, Request, Steps, drive

T = TypeVar("T")
S = TypeVar("S", bound="Store")
A = TypeVar("A", bound="AsyncStore")


class Store(Keeping):
    """A memory store. Each method is the SQL function of the same name; close it, or use it as a context manager.

    Safe to share between threads. Errors are those of :mod:`kompanion_db.errors`.
    """

    context: Context
    url: str

    @abstractmethod
    def answer(self, request: Request) -> Any:
        """Carry out one request of an operation, but for a Pull; its answer."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections, and the embedded server if there is one."""

    def run(self, operation: Steps[T]) -> T:
        """Drive an operation to its end; its result."""
        with Source() as source:
            return drive(operation, lambda asked: source.pull(asked) if isinstance(asked, Pull) else self.answer(asked))

    @abstractmethod
    def transaction(self: S) -> AbstractContextManager[S]:
        """Make the calls inside one transaction: all are kept or, when the block raises, none. Per thread; nests."""

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    ensure_namespace = bind(namespaces.ensure_namespace)
    list_namespaces = bind(namespaces.list_namespaces)
    delete_namespace = bind(namespaces.delete_namespace)
    restore_namespace = bind(namespaces.restore_namespace)
    ensure_user = bind(namespaces.ensure_user)
    ensure_thread = bind(namespaces.ensure_thread)
    close_thread = bind(namespaces.close_thread)
    list_threads = bind(namespaces.list_threads)

    upsert_item = bind_text(writing.upsert_item)
    upsert_items = bind_text(bulk.upsert_items)
    delete_item = bind(writing.delete_item)
    restore_item = bind(writing.restore_item)
    touch_item = bind(writing.touch_item)
    revert_item = bind_text(writing.revert_item)
    purge = bind(writing.purge)
    trim_history = bind(writing.trim_history)

    get_item = bind(reading.get_item)
    get_chunks = bind(reading.get_chunks)
    list_items = bind(reading.list_items)
    item_history = bind(reading.item_history)
    item_as_of = bind(reading.item_as_of)
    stats = bind(reading.stats)

    put_chunks = bind(embedding.put_chunks)
    put_embeddings = bind(embedding.put_embeddings)
    pending_embeddings = bind(embedding.pending_embeddings)
    embed_pending = bind_text(embedding.embed_pending)

    register_model = bind(models.register_model)
    list_models = bind(models.list_models)
    set_default_model = bind(models.set_default_model)
    retire_model = bind(models.retire_model)
    enqueue_missing = bind(models.enqueue_missing)
    ensure_index = bind(models.ensure_index)
    index_advice = bind(models.index_advice)
    calibrate = bind_text(tuning.calibrate)
    measure_recall = bind_text(tuning.measure_recall)
    tune_index = bind_text(tuning.tune_index)
    index_metadata_key = bind(models.index_metadata_key)

    search = bind_text(searching.search)
    explain_search = bind_text(searching.explain_search)

    export_registry = bind(transfer.export_registry)
    export_items = bind(transfer.export_items)
    import_documents = bind(transfer.import_documents)


class AsyncStore(AsyncKeeping):
    """:class:`Store` for asyncio: the same methods, to be awaited. Embedders run in threads, several at once."""

    context: Context
    url: str

    @abstractmethod
    async def answer(self, request: Request) -> Any:
        """Carry out one request of an operation, but for a Pull; its answer."""

    @abstractmethod
    async def close(self) -> None:
        """Give back connections, and the embedded server if there is one."""

    async def run(self, operation: Steps[T]) -> T:
        """Drive an operation to its end; its result."""
        async with AsyncSource() as source:
            try:
                request = next(operation)
                while True:
                    try:
                        answer = await (source.pull(request) if isinstance(request, Pull) else self.answer(request))
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

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    ensure_namespace = abind(namespaces.ensure_namespace)
    list_namespaces = abind(namespaces.list_namespaces)
    delete_namespace = abind(namespaces.delete_namespace)
    restore_namespace = abind(namespaces.restore_namespace)
    ensure_user = abind(namespaces.ensure_user)
    ensure_thread = abind(namespaces.ensure_thread)
    close_thread = abind(namespaces.close_thread)
    list_threads = abind(namespaces.list_threads)

    upsert_item = abind_text(writing.upsert_item)
    upsert_items = abind_text(bulk.upsert_items)
    delete_item = abind(writing.delete_item)
    restore_item = abind(writing.restore_item)
    touch_item = abind(writing.touch_item)
    revert_item = abind_text(writing.revert_item)
    purge = abind(writing.purge)
    trim_history = abind(writing.trim_history)

    get_item = abind(reading.get_item)
    get_chunks = abind(reading.get_chunks)
    list_items = abind(reading.list_items)
    item_history = abind(reading.item_history)
    item_as_of = abind(reading.item_as_of)
    stats = abind(reading.stats)

    put_chunks = abind(embedding.put_chunks)
    put_embeddings = abind(embedding.put_embeddings)
    pending_embeddings = abind(embedding.pending_embeddings)
    embed_pending = abind_text(embedding.embed_pending)

    register_model = abind(models.register_model)
    list_models = abind(models.list_models)
    set_default_model = abind(models.set_default_model)
    retire_model = abind(models.retire_model)
    enqueue_missing = abind(models.enqueue_missing)
    ensure_index = abind(models.ensure_index)
    index_advice = abind(models.index_advice)
    calibrate = abind_text(tuning.calibrate)
    measure_recall = abind_text(tuning.measure_recall)
    tune_index = abind_text(tuning.tune_index)
    index_metadata_key = abind(models.index_metadata_key)

    search = abind_text(searching.search)
    explain_search = abind_text(searching.explain_search)

    export_registry = abind(transfer.export_registry)
    export_items = abind(transfer.export_items)
    import_documents = abind(transfer.import_documents)
