"""A disk that is full is said as such; nothing is kept by half, and the store works again once there is room."""
# ruff: noqa: F401, F811 - fixtures are imported and named again as arguments

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from own_server import OwnServer, counts, own, own_db
from small_disk import mounted

import kompanion_db
from kompanion_db.errors import StorageFull


@pytest.fixture
def small_disk(tmp_path: Path, one_server: servers.Server) -> Iterator[Path]:
    """A file system of 24 MB that the server may write to."""
    if one_server.key == "own":
        pytest.skip("a server of the user's own writes where it may")
    with mounted(tmp_path / "small") as folder:
        yield folder


def test_a_full_disk_is_said_as_such_keeps_nothing_of_the_batch_and_ends_when_there_is_room(
    small_disk: Path, own: OwnServer, own_db: servers.Database
) -> None:
    system_user = servers._system_user(own.server.key, small_disk)
    space = small_disk / "space"
    space.mkdir()
    if system_user:
        shutil.chown(space, system_user, system_user)
    own.server.run(f"create tablespace {own_db.name} location '{space}'")
    own.server.run(f"alter database {own_db.name} set tablespace {own_db.name}")
    ballast = space.parent / "ballast"
    big = [kompanion_db.NewItem("a", f"{n} " + os.urandom(4000).hex(), key=f"k{n}") for n in range(4000)]
    try:
        with kompanion_db.connect(own_db.url) as store:
            first = store.upsert_items(big[:100], batch_size=100)
            before = counts(own_db)
            with pytest.raises(StorageFull) as caught:
                store.upsert_items(big[100:], batch_size=len(big))
            assert caught.value.sqlstate == "KM020"
            assert counts(own_db) == before == (first.items, first.items, 0, first.items)
            ballast.unlink(missing_ok=True)
            subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
            again = store.upsert_items(big[:1000], batch_size=200)
            assert (again.unchanged, again.inserted) == (100, 900)
    finally:
        own.server.run(f"alter database {own_db.name} set tablespace pg_default")
        own.server.run(f"drop tablespace {own_db.name}")
