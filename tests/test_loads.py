"""What upsert_items loads is what it was given, however the caller makes it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import engines
import numpy as np
import pytest

from kompanion_db import Chunk, NewItem, connect, pg_protocol
from kompanion_db.errors import BadArgument

ROWS, BLOCK = 600, 50


def _from_one_array() -> Iterator[NewItem]:
    """Items whose vectors are views of one array, which is filled anew for each block of them."""
    block = np.zeros((BLOCK, 3), np.float32)
    for n in range(ROWS):
        if n % BLOCK == 0:
            block[:, 0], block[:, 1] = 1, np.arange(n, n + BLOCK)
        yield NewItem("acme", f"note {n}", str(n), vectors=block[n % BLOCK : n % BLOCK + 1])


def test_an_array_may_be_used_again_once_its_items_were_taken(home: engines.Home) -> None:
    with connect(home.url) as store:
        store.register_model("m", 3, metric="l2")
        store.upsert_items(_from_one_array(), model="m", batch_size=BLOCK)
        for n in range(0, ROWS, 7):
            [found] = store.search("acme", [1, n, 0], k=1, target_recall=1)
            assert (found.key, found.distance) == (str(n), 0)


@pytest.mark.parametrize("chunks", [["text"], [Chunk("text", 0, 0, 4), 1]])
def test_chunks_that_are_none_are_named_with_their_item(home: engines.Home, chunks: list[object]) -> None:
    items = [NewItem("acme", "good", "1"), NewItem("acme", "text", "2", chunks=chunks)]
    with connect(home.url) as store:
        with pytest.raises(BadArgument, match=rf"^items\[1\]\.chunks\[{len(chunks) - 1}\]: is "):
            store.upsert_items(items)
        assert store.list_items("*") == []


def test_ever_so_many_batches_leave_nothing_behind_in_the_client(home: engines.Home) -> None:
    def classes() -> int:
        gc.collect()
        return sum(isinstance(o, type) and o.__module__ == pg_protocol.__name__ for o in gc.get_objects())

    with connect(home.url) as store:
        before = classes()
        for n in range(20):
            store.upsert_items([NewItem("acme", "text", str(n), metadata={"n": n})])
        assert classes() <= before + 1
