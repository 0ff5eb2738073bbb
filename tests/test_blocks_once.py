"""What transaction() gives: one block, or a function whose every call is one."""

from __future__ import annotations

import engines
import pytest

from kompanion_db import connect, connect_async, errors


async def test_what_transaction_gives_is_for_one_block_and_says_so_while_it_lasts_and_afterwards(
    one_home: engines.Home,
) -> None:
    with connect(one_home.url) as store:
        block = store.transaction()
        for _ in range(2):
            with pytest.raises(errors.KompanionError, match=r"^transaction: was begun before"), block, block:
                pytest.fail("entered")

        @store.transaction()  # type: ignore[operator]
        def write(key: str) -> None:
            store.upsert_item("acme", key, "text")

        write("a")
        write("b")
    async with await connect_async(one_home.url) as opened:
        again = opened.transaction()
        for _ in range(2):
            with pytest.raises(errors.KompanionError, match=r"^transaction: was begun before"):
                async with again, again:
                    pytest.fail("entered")
        assert sorted(item.key or "" for item in await opened.list_items("acme")) == ["a", "b"]
