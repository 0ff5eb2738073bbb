"""Operations as methods of a store: run by ``Store.run``, with the signature and the docstring of the operation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .operations.embedding import Context
from .requests import Steps

if TYPE_CHECKING:
    from .store import AsyncStore, Store

P = ParamSpec("P")
T = TypeVar("T")


def _face(method: Callable[..., Any], operation: Callable[..., Any], with_context: bool) -> None:
    """Give a method the signature a caller sees: without the context, and with what the steps end in as the result."""
    shown = inspect.signature(operation)
    parameters = list(shown.parameters.values())[1 if with_context else 0 :]
    result = str(shown.return_annotation).removeprefix("Steps[").removesuffix("]")
    method.__signature__ = shown.replace(  # type: ignore[attr-defined]
        parameters=[inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *parameters],
        return_annotation=result,
    )


class Bound(Generic[P, T]):
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


class AsyncBound(Generic[P, T]):
    """``Bound`` for AsyncStore: the method is a coroutine function."""

    def __init__(self, operation: Callable[P, Steps[T]], with_context: bool = False) -> None:
        @wraps(operation)
        async def method(store: AsyncStore, *args: Any, **kwargs: Any) -> T:
            context = (store.context,) if with_context else ()
            return await store.run(operation(*context, *args, **kwargs))

        _face(method, operation, with_context)
        self.method = method

    @overload
    def __get__(self, store: None, owner: type) -> Callable[..., Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, store: AsyncStore, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, store: AsyncStore | None, owner: type) -> Callable[..., Coroutine[Any, Any, T]]:
        return self.method if store is None else MethodType(self.method, store)


def bind(operation: Callable[P, Steps[T]]) -> Bound[P, T]:
    """A method of an operation."""
    return Bound(operation)


def bind_text(operation: Callable[Concatenate[Context, P], Steps[T]]) -> Bound[P, T]:
    """A method of an operation that takes the context of its store first."""
    return Bound(operation, with_context=True)  # type: ignore[arg-type]


def abind(operation: Callable[P, Steps[T]]) -> AsyncBound[P, T]:
    """``bind`` for AsyncStore."""
    return AsyncBound(operation)


def abind_text(operation: Callable[Concatenate[Context, P], Steps[T]]) -> AsyncBound[P, T]:
    """``bind_text`` for AsyncStore."""
    return AsyncBound(operation, with_context=True)  # type: ignore[arg-type]
