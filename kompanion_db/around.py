"""Blocks whose beginning and end fail with our errors, while what is raised inside them comes out as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncContextDecorator,
    ContextDecorator,
    asynccontextmanager,
    contextmanager,
)
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar

from .errors import KompanionError

S = TypeVar("S")
T = TypeVar("T")
Translated = Callable[[], AbstractContextManager[None]]


@contextmanager
def around(block: AbstractContextManager[Any], translated: Translated) -> Iterator[None]:
    """Be in ``block``. What its user raises may be an error of the same driver, but of another database."""
    with translated():
        block.__enter__()
    try:
        yield
    except BaseException as exc:
        with translated():
            block.__exit__(type(exc), exc, exc.__traceback__)
        raise
    with translated():
        block.__exit__(None, None, None)


@asynccontextmanager
async def async_around(block: AbstractAsyncContextManager[Any], translated: Translated) -> AsyncIterator[None]:
    """As ``around``."""
    with translated():
        await block.__aenter__()
    try:
        yield
    except BaseException as exc:
        with translated():
            await block.__aexit__(type(exc), exc, exc.__traceback__)
        raise
    with translated():
        await block.__aexit__(None, None, None)


def _again() -> KompanionError:
    return KompanionError(
        "transaction: was begun before, and is for one block", hint="Call transaction() for each block, as it begins."
    )


class _Once(AbstractContextManager[T], ContextDecorator):
    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        self._make = make
        self._block: AbstractContextManager[T] | None = None

    def _recreate_cm(self) -> _Once[T]:  # for ContextDecorator: each call of what it decorates has a block of its own
        return _Once(self._make)

    def __enter__(self) -> T:
        if self._block is not None:
            raise _again()
        self._block = self._make()
        return self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        return self._block.__exit__(kind, exc, trace)


class _AsyncOnce(AbstractAsyncContextManager[T], AsyncContextDecorator):
    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._block: AbstractAsyncContextManager[T] | None = None

    def _recreate_cm(self) -> _AsyncOnce[T]:
        return _AsyncOnce(self._make)

    async def __aenter__(self) -> T:
        if self._block is not None:
            raise _again()
        self._block = self._make()
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        return await self._block.__aexit__(kind, exc, trace)


def once(begun: Callable[[S], Iterator[T]]) -> Callable[[S], AbstractContextManager[T]]:
    """As ``contextmanager``, for a method; what it gives, entered again, raises KompanionError, not AttributeError."""
    block = contextmanager(begun)

    @wraps(begun)
    def method(self: S) -> AbstractContextManager[T]:
        return _Once(lambda: block(self))

    return method


def async_once(begun: Callable[[S], AsyncIterator[T]]) -> Callable[[S], AbstractAsyncContextManager[T]]:
    """As ``once``."""
    block = asynccontextmanager(begun)

    @wraps(begun)
    def method(self: S) -> AbstractAsyncContextManager[T]:
        return _AsyncOnce(lambda: block(self))

    return method
