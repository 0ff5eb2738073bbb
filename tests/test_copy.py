"""copy and digest: a store moves between engines, and two stores that hold the same have the same digest."""

from __future__ import annotations

from pathlib import Path

import samples
import servers

import kompanion_db
from kompanion_db.copying import copy


def test_a_store_that_went_to_the_other_engine_and_back_holds_the_same(
    db: servers.Database, server: servers.Server, tmp_path: Path
) -> None:
    back = server.create(server.template)
    try:
        with (
            kompanion_db.connect(db.url) as first,
            kompanion_db.connect(f"sqlite:///{tmp_path}/x.db") as between,
            kompanion_db.connect(back.url) as last,
        ):
            samples.fill(first)
            there = copy(first, between)
            assert (there.items, there.skipped) == (15, 0)
            again = copy(between, last)
            assert there.digest == again.digest == first.digest() == between.digest() == last.digest()
            assert copy(first, last).items == 0
    finally:
        back.drop()
