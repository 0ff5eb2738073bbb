"""Blocks whose beginning and end fail with our errors, while what is raised inside them comes out as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

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
