"""A server of the test's own, to be killed, filled up and started again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import servers

import kompanion_db


@dataclass
class OwnServer:
    """A server of the test's own, to be killed and started again."""

    server: servers.Server
    folder: Path

    def pg_ctl(self, *args: str) -> None:
        command = [
            str(self.server.bin_dir / "pg_ctl"),
            "-D",
            str(self.folder),
            "-w",
            "-l",
            str(self.folder / "log"),
            *args,
        ]
        user = servers._system_user(self.server.key)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user)

    def crash_and_restart(self) -> None:
        self.pg_ctl("-m", "immediate", "stop")
        for _ in range(20):
            try:
                return self.pg_ctl("start")
            except subprocess.CalledProcessError:  # the last of its processes is still ending
                time.sleep(0.5)
        return self.pg_ctl("start")


@pytest.fixture(scope="module")
def own(one_server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    if one_server.key == "own":
        pytest.skip("a server of the user's own is not restarted")
    root = tmp_path_factory.mktemp(f"own-{one_server.key}")
    folder = root / "d"
    made = servers.Server(
        one_server.key, one_server.bin_dir, {"user": "postgres", "host": str(folder), "dbname": "postgres"}
    )
    servers._start(made, folder)
    with made.connect() as conn:
        # The server is killed, not the machine: a commit must have left the server's memory, no more.
        conn.execute("alter system set synchronous_commit = on")
        conn.execute("select pg_reload_conf()")
    servers._ensure_template(made)
    own = OwnServer(made, folder)
    yield own
    own.pg_ctl("-m", "immediate", "stop")


@pytest.fixture
def own_db(own: OwnServer) -> Iterator[servers.Database]:
    db = own.server.create(own.server.template)
    with kompanion_db.connect(db.url) as store:
        store.register_model("small", 3)
    yield db
    db.drop()


def counts(db: servers.Database) -> tuple[int, ...]:
    """Items, chunks, embeddings, distinct keys."""
    with db.connect() as conn:
        row = conn.execute(
            """select (select count(*) from kompanion.memory_items), (select count(*) from kompanion.memory_chunks),
                      (select count(*) from kompanion.embeddings), (select count(distinct key) from kompanion.memory_items)"""
        ).fetchone()
    assert row is not None
    return row
