"""FAISS as this package calls it: whole, where its type stubs know a part, and with as many threads as are wanted."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

faiss: Any = importlib.import_module("faiss")

_forked: int | None = None
"""The thread that a fork left of this process. GNU OpenMP would wait for those that worked for it in the parent."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let FAISS use so many threads, for the calls of this thread in the block; one alone, if it came out of a fork."""
    if threading.get_ident() == _forked:
        count = 1
    former = faiss.omp_get_max_threads()
    if former == count:
        yield
        return
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(former)


def _after_fork() -> None:
    global _forked  # noqa: PLW0603 - a process has one such thread
    _forked = threading.get_ident()
    faiss.omp_set_num_threads(1)  # for those too who call FAISS by themselves


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
