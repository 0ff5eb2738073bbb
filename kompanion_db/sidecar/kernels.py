"""FAISS as this package calls it: whole, where its type stubs know a part, and with as many threads as are wanted."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

faiss: Any = importlib.import_module("faiss")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let FAISS use so many threads, for the calls of this thread in the block."""
    former = faiss.omp_get_max_threads()
    if former == count:
        yield
        return
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(former)
