"""A store belongs to the process that opened it: a forked child is told so, and does its parent's connections no harm."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engines
import numpy as np
import pytest
import servers

import kompanion_db
from kompanion_db import AsyncStore, connect, connect_async
from kompanion_db.errors import ConnectionFailed
from kompanion_db.migrate import status
from kompanion_db.sidecar.part import Part

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

ERROR = "ConnectionFailed: connect(url) after the fork."


def in_fork(work: Callable[[], Any]) -> str:
    """What a forked process gets from a call: the class of an error and its hint, or what it returns."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)  # one that hangs says nothing
        try:
            said = repr(work())
        except kompanion_db.errors.KompanionError as exc:
            said = f"{type(exc).__name__}: {exc.hint}"
        except BaseException as exc:
            said = repr(exc)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_fork_after_connect_gets_a_clear_error_and_does_no_harm(one_home: engines.Home) -> None:
    with connect(one_home.url) as store:
        store.register_model("m", 3)
        store.upsert_items([{"namespace": "acme", "key": "k", "content": "a", "vectors": [[1, 2, 3]]}])
        assert in_fork(lambda: store.search("acme", [1, 2, 3], 1)) == ERROR
        assert in_fork(lambda: store.upsert_item("acme", "k", "b")) == ERROR
        assert in_fork(lambda: store.upsert_items([{"namespace": "acme", "key": "k", "content": "b"}])) == ERROR
        assert in_fork(store.close) == "None"
        with store.transaction():
            store.upsert_item("acme", "k", "c", vectors=[[3, 2, 1]])
            assert in_fork(lambda: store.upsert_item("acme", "k", "d")) == ERROR
            assert in_fork(lambda: store.search("acme", [3, 2, 1], 1)) == ERROR
            assert in_fork(store.close) == "None"
        assert [(h.key, h.revision) for h in store.search("acme", [3, 2, 1], 1)] == [("k", 2)]
        if one_home.key == "sqlite":
            assert store.doctor() == []


def test_a_child_that_connects_again_works_beside_its_parent(one_db: servers.Database) -> None:
    def again() -> int:
        with connect(one_db.url) as own:
            return own.upsert_item("acme", "k", "b").revision

    with connect(one_db.url) as store:
        assert store.upsert_item("acme", "k", "a").revision == 1
        assert in_fork(again) == "2"
        assert store.upsert_item("acme", "k", "c").revision == 3


def test_a_child_opens_no_file_that_was_open_at_the_fork_and_any_other(tmp_path: Path) -> None:
    def write(name: str) -> int:
        with connect(f"sqlite:///{tmp_path / name}") as own:
            return own.upsert_item("acme", "k", name).revision

    with connect(f"sqlite:///{tmp_path / 'open.db'}") as store:
        store.upsert_item("acme", "k", "a")
        (tmp_path / "alias.db").symlink_to(tmp_path / "open.db")
        for name in ("open.db", "alias.db"):
            said = in_fork(functools.partial(write, name))
            assert said.startswith("ConnectionFailed: Fork before you connect, or start processes by spawn")
        assert in_fork(functools.partial(write, "other.db")) == "1"
        assert store.upsert_item("acme", "k", "b").revision == 2
    assert in_fork(functools.partial(write, "open.db")) == "3"


def _while_it_works(holds: Callable[[Callable[[], None]], object], then: Callable[[], Any]) -> str:
    """What a child gets from a call when a thread of its parent is in the middle of another at the fork."""
    begun, go = threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        go.wait(120)

    thread = threading.Thread(target=holds, args=(pause,))
    thread.start()
    assert begun.wait(60)
    try:
        return in_fork(then)
    finally:
        go.set()
        thread.join()


def test_a_child_migrates_though_a_thread_of_its_parent_was_at_it_at_the_fork(
    one_empty_home: engines.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("kompanion_db.migrate")  # the package has a function of this name

    def migrating(pause: Callable[[], None]) -> None:
        read = module.read_migrations

        def slow(folder: str) -> Any:
            if threading.current_thread() is not threading.main_thread():
                pause()
            return read(folder)

        monkeypatch.setattr(module, "read_migrations", slow)
        kompanion_db.migrate(f"sqlite:///{tmp_path / 'parent.db'}")

    done = [step.id for step in status(one_empty_home.url)]
    assert _while_it_works(migrating, lambda: kompanion_db.migrate(one_empty_home.url)) == repr(done)


def test_a_child_opens_an_index_though_a_thread_of_its_parent_was_at_it_at_the_fork() -> None:
    def part(before: Callable[[], None]) -> Part:
        def open_ann() -> None:
            before()

        rows = np.zeros((1, 3), dtype=np.float32)
        return Part(np.zeros(1, dtype=np.int64), rows, rows[:, 0], open_ann=open_ann)

    assert _while_it_works(lambda pause: part(pause).ann, lambda: part(lambda: None).ann) == "None"


def _fork_that_leaves(store: kompanion_db.Store) -> None:
    with store.transaction():
        store.upsert_item("acme", "k", "b")
        with store.transaction():
            pid = os.fork()
            if pid == 0:
                return  # out of the blocks, whose ends are not for this process
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_fork_inside_a_transaction_neither_commits_nor_undoes_it(one_home: engines.Home) -> None:
    parent = os.getpid()
    with connect(one_home.url) as store:
        store.upsert_item("acme", "k", "a")
        refused = False
        try:
            _fork_that_leaves(store)
        except ConnectionFailed:
            refused = True
        finally:
            if os.getpid() != parent:
                os._exit(0 if refused else 1)
        assert not refused
        assert store.upsert_item("acme", "k", "c").revision == 3
        assert [r.content for r in store.item_history("acme", "k")] == ["a", "b", "c"]


LEAVING = """
import os, sys
from kompanion_db import connect

store = connect(sys.argv[1], min_size=2)
with store.transaction():
    store.upsert_item("acme", "k", "a")
    if os.fork() == 0:
        sys.exit()  # as a program does: through the blocks, and with all its objects taken down
    assert os.wait()[1] == 0
    store.upsert_item("acme", "k", "b")
print([item.revision for item in store.list_items("acme")])
store.close()
"""


def test_a_child_that_ends_as_programs_do_ends_nothing_of_its_parent(one_home: engines.Home) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVING, one_home.url], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "[2]\n"), done.stderr


LEAVING_AN_EXPORT = """
import os, sys
from kompanion_db import connect

forked = []

def fork(count):
    if count and not forked:
        forked.append(count)
        if os.fork() == 0:
            sys.exit()
        assert os.wait()[1] == 0

store = connect(sys.argv[1])
store.upsert_items({"namespace": "acme", "key": str(n), "content": "text"} for n in range(300))
print(len(store.digest(progress=fork)), forked[0] < 300)
store.close()
"""


def test_a_child_that_ends_in_the_middle_of_an_export_ends_nothing_of_its_parent(one_home: engines.Home) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVING_AN_EXPORT, one_home.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "64 True\n"), done.stderr


async def test_a_fork_of_an_asyncio_program_gets_a_clear_error_and_does_no_harm(one_home: engines.Home) -> None:
    async def alone(store: AsyncStore) -> None:
        assert in_fork(lambda: asyncio.run(store.list_items("acme"))) == ERROR  # type: ignore[arg-type]
        assert in_fork(lambda: asyncio.run(store.close())) == "None"  # type: ignore[arg-type]

    async with await connect_async(one_home.url) as store:
        await store.upsert_item("acme", "k", "a")
        await alone(store)
        async with store.transaction():
            await store.upsert_item("acme", "k", "b")
            await alone(store)
        assert (await store.upsert_item("acme", "k", "c")).revision == 3


BUILDING = """
import multiprocessing, sys, threading
import numpy as np
from kompanion_db import connect

vectors = np.random.default_rng(1).standard_normal((5000, 16), dtype=np.float32)
items = [{"namespace": "acme", "key": str(n), "content": "text", "vectors": [v]} for n, v in enumerate(vectors)]

def build(folder, name):
    with connect(f"sqlite:///{folder}/{name}.db") as store:
        store.register_model("m", 16)
        store.upsert_items(items)
        store.ensure_index("m", kind="ivfpq")
        assert store.search("acme", vectors[7], 1)[0].key == "7"
        print(name, store.list_models()[0].index_kind, flush=True)

def in_a_thread(folder, name):
    thread = threading.Thread(target=build, args=(folder, name))
    thread.start()
    thread.join()

build(sys.argv[1], "parent")
for work in (build, in_a_thread):
    child = multiprocessing.get_context("fork").Process(target=work, args=(sys.argv[1], work.__name__))
    child.start()
    child.join(120)
    if child.exitcode is None:
        child.kill()
        print("hangs")
"""


def test_a_child_builds_an_index_though_its_parent_has_built_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILDING, str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
    )
    told = "parent ivfpq\nbuild ivfpq\nin_a_thread ivfpq\n"
    assert (done.returncode, done.stdout) == (0, told), done.stderr
