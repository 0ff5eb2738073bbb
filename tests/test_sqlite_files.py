"""The files of a SQLite store: checkpoint, backup and doctor, from Python, asyncio and the command line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import apsw
import kill_store
import numpy as np
import pytest
from cli import cli, process

import kompanion_db
from kompanion_db.errors import BadArgument, DamagedStore, NotInstalled
from kompanion_db.migrate import status
from kompanion_db.sqlite.upkeep import doctor

DIM = 12


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.fixture
def store(url: str) -> Iterator[kompanion_db.Store]:
    """A store of fifty memories, their vectors in one file."""
    with kompanion_db.connect(url) as opened:
        opened.register_model("m", DIM, metric="l2")
        vectors = np.random.default_rng(1).standard_normal((50, DIM), dtype=np.float32)
        opened.upsert_items(
            {"namespace": "acme", "key": f"k{n}", "content": f"text {n}", "vectors": [v]} for n, v in enumerate(vectors)
        )
        assert opened.checkpoint() == {
            "folded": 50, "merged": 0, "indexed": 0, "removed": 0, "segments": 1, "log": 0,
        }  # fmt: skip
        yield opened


def _answer(store: kompanion_db.Store) -> list[str]:
    return [hit.key for hit in store.search("acme", np.ones(DIM), 5)]


def _segment(url: str) -> Path:
    return next(Path(url.removeprefix("sqlite:///") + ".vec").glob("seg-*"))


def test_a_checkpoint_that_compacts_gives_back_the_room_of_what_was_purged(store: kompanion_db.Store, url: str) -> None:
    large = _segment(url).stat().st_size
    with kompanion_db.sqlite.open_sql(url) as conn:
        conn.execute("update settings set value = jsonb('0') where name in ('retention_deleted', 'retention_expired')")
    for n in range(25):
        store.delete_item("acme", f"k{n}")
    store.purge()
    expected = _answer(store)
    done = store.checkpoint(compact=True)
    assert (done["merged"], done["segments"]) == (1, 1)
    assert min(path.stat().st_size for path in _segment(url).parent.glob("seg-*")) < large
    assert _answer(store) == expected


def test_a_backup_is_a_store_that_answers_the_same_and_goes_its_own_way(
    store: kompanion_db.Store, tmp_path: Path
) -> None:
    expected = _answer(store)
    done = store.backup(tmp_path / "copy.db")
    assert done["files"] == 1
    store.delete_item("acme", expected[0])
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        assert _answer(copy) == expected
        assert copy.doctor() == []
        copy.upsert_item("acme", "of the copy", "text", vectors=[np.ones(DIM)])
    assert store.get_item("acme", "of the copy") is None


@pytest.mark.parametrize("linked", [True, False])
def test_a_backup_lets_in_nobody_whom_the_store_keeps_out(
    store: kompanion_db.Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    file, folder = Path(url.removeprefix("sqlite:///")), _segment(url).parent
    for path, mode in ((file, 0o600), (folder, 0o700), (_segment(url), 0o600)):
        path.chmod(mode)
    if not linked:
        monkeypatch.setattr(os, "link", _no_links)
    assert store.backup(tmp_path / "copy.db")["linked"] == linked
    copies = (tmp_path / "copy.db", tmp_path / "copy.db.vec", next((tmp_path / "copy.db.vec").glob("seg-*")))
    assert [stat.S_IMODE(path.stat().st_mode) for path in copies] == [0o600, 0o700, 0o600]


def _no_links(source: Path, target: Path) -> None:
    raise OSError("this file system has none")


def test_a_backup_writes_over_nothing(store: kompanion_db.Store, tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("mine")
    with pytest.raises(BadArgument, match="is there already"):
        store.backup(tmp_path / "there.db")
    with pytest.raises(BadArgument, match="no folder"):
        store.backup(tmp_path / "nowhere" / "copy.db")
    assert (tmp_path / "there.db").read_text() == "mine"


def test_inside_a_transaction_files_are_left_alone(store: kompanion_db.Store, tmp_path: Path) -> None:
    with store.transaction():
        with pytest.raises(BadArgument, match="inside a transaction"):
            store.checkpoint()
        with pytest.raises(BadArgument, match="inside a transaction"):
            store.backup(tmp_path / "copy.db")
        with pytest.raises(BadArgument, match="inside a transaction"):
            store.doctor(repair=True)
        assert store.doctor() == []


async def test_the_async_store_keeps_its_files_too(store: kompanion_db.Store, url: str, tmp_path: Path) -> None:
    async with await kompanion_db.connect_async(url) as other:
        assert (await other.checkpoint())["segments"] == 1
        assert (await other.backup(tmp_path / "copy.db"))["files"] == 1
        assert await other.doctor() == []


def test_a_store_on_a_server_says_what_to_do_instead(one_db) -> None:  # type: ignore[no-untyped-def]
    with kompanion_db.connect(one_db.url) as store:
        for call in (store.checkpoint, lambda: store.backup("x.db"), store.doctor):
            with pytest.raises(BadArgument, match="this one is in PostgreSQL") as raised:
                call()
            assert raised.value.hint


def test_the_command_line_examines_repairs_and_copies(store: kompanion_db.Store, url: str, tmp_path: Path) -> None:
    store.close()
    stray = _segment(url).with_name("seg-stray")
    assert cli("doctor", url).out == "All is well.\n"
    assert cli("backup", url, str(tmp_path / "copy.db")).out.endswith("1 files of vectors.\n")
    assert cli("checkpoint", url, "--compact").code == 0
    stray.write_bytes(b"")
    found = cli("doctor", url, "--json")
    assert (found.code, [row["severity"] for row in found.rows]) == (0, ["warning"])
    data = bytearray(_segment_of_rows(url).read_bytes())
    data[-1] ^= 1
    _segment_of_rows(url).write_bytes(data)
    found = cli("doctor", url, "--json")
    assert (found.code, found.rows[0]["severity"]) == (1, "error")
    assert "checksum" in found.rows[0]["what"]
    assert cli("doctor", url, "--repair", "--json").code == 1


def _segment_of_rows(url: str) -> Path:
    return next(path for path in _segment(url).parent.glob("seg-*") if path.stat().st_size)


def test_a_store_without_its_folder_is_refused_and_examined(store: kompanion_db.Store, url: str) -> None:
    store.close()
    folder = _segment(url).parent
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(DamagedStore, match="is missing"):
        kompanion_db.connect(url)
    found = cli("doctor", url, "--json")
    assert (found.code, "the folder of vectors is missing" in [row["what"] for row in found.rows]) == (1, True)


@pytest.mark.parametrize("how", ["flipped", "cut short", "gone"])
def test_a_damaged_index_is_found_searched_without_and_made_anew(store: kompanion_db.Store, url: str, how: str) -> None:
    expected = _answer(store)
    with kill_store.hastened():
        assert store.checkpoint()["indexed"] == 1
        store.close()
        (path,) = _segment(url).parent.glob("ann-*")
        data = path.read_bytes()
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(data[:-7] if how == "cut short" else bytes([data[0], data[1] ^ 1]) + data[2:])
        found = doctor(url)
        assert [(f.severity, Path(f.file).name) for f in found] == [("warning", path.name)]
    with kompanion_db.connect(url) as opened:
        assert _answer(opened) == expected
    with kill_store.hastened():
        doctor(url, repair=True)
        assert doctor(url) == []
    with kompanion_db.connect(url) as opened:
        assert _answer(opened) == expected


def test_a_file_of_somebody_else_is_not_examined(tmp_path: Path) -> None:
    for name in ("none.db", "theirs.db"):
        if name == "theirs.db":
            apsw.Connection(str(tmp_path / name)).execute("create table t (x)")
        done = cli("doctor", f"sqlite:///{tmp_path / name}")
        assert (done.code, f"({NotInstalled.sqlstate})" in done.err) == (1, True)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_to_look_at_a_file_of_somebody_else_changes_no_byte_of_it(tmp_path: Path, mode: str) -> None:
    theirs = tmp_path / "theirs.db"
    with closing(apsw.Connection(str(theirs))) as conn:
        conn.execute(f"pragma journal_mode = {mode}").fetchall()
        conn.execute("create table t (x); insert into t values (1)")
    url, before = f"sqlite:///{theirs}", theirs.read_bytes()
    looks = (kompanion_db.connect, partial(kompanion_db.connect, migrate=False), kompanion_db.sqlite.open_sql, doctor)
    for look in looks:
        with pytest.raises(NotInstalled):
            look(url)
    assert not any(m.applied for m in status(url))
    assert ([path.name for path in tmp_path.iterdir()], theirs.read_bytes()) == (["theirs.db"], before)


def test_sql_runs_scripts_and_ends_at_the_first_error(store: kompanion_db.Store, url: str) -> None:
    script = b"begin;\nselect status\nfrom upsert_item('acme', 'k', 'x');\ncommit;\n.tables\nselect nope;\nselect 1;\n"
    done = process("sql", url, given=script)
    assert done.code == 1
    assert "inserted" in done.out
    assert "live_items" in done.out
    assert "no such column: nope" in done.err
    assert store.get_item("acme", "k") is not None
    refused = cli("sql", url, "-c", "select * from delete_item('acme', 'never was')")
    assert (refused.code, "(KM003)" in refused.err, "hint: See list_items" in refused.err) == (1, True, True)
    assert "psql" in cli("sql", "embedded:x").err
    for wrong in (".modee box", ".mode 'box"):
        assert cli("sql", url, "-c", wrong).err.startswith(f"error: sql: {wrong}: ")


@pytest.mark.parametrize(
    "command", [["digest"], ["checkpoint"], ["stats", "-u"], ["export", "-u"], ["get", "a", "k", "-u"], ["purge", "-u"]]
)
def test_a_name_misspelt_is_no_empty_store(tmp_path: Path, command: list[str]) -> None:
    done = cli(*command, f"sqlite:///{tmp_path / 'misspelt.db'}")
    assert (done.code, f"({NotInstalled.sqlstate})" in done.err) == (1, True)
    copied = cli("copy", f"sqlite:///{tmp_path / 'misspelt.db'}", f"sqlite:///{tmp_path / 'target.db'}")
    assert (copied.code, list(tmp_path.iterdir())) == (1, [])


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """URLs of one file: its own name, of a link to it, and of a link to its folder."""
    (tmp_path / "there").mkdir()
    (tmp_path / "elsewhere").symlink_to("there")
    (tmp_path / "link.db").symlink_to("there/x.db")
    return [f"sqlite:///{tmp_path / name}" for name in ("there/x.db", "link.db", "elsewhere/x.db")]


def _write(store: kompanion_db.Store, n: int) -> None:
    store.upsert_item("acme", f"k{n}", "text", vectors=[np.eye(DIM, dtype=np.float32)[n]])


def test_a_store_opened_by_its_name_and_by_links_at_once_is_one_store(names: list[str]) -> None:
    with ExitStack() as opened:
        stores = [opened.enter_context(kompanion_db.connect(url)) for url in reversed(names)]
        stores[0].register_model("m", DIM)
        for n, store in enumerate(stores):
            _write(store, n)
            assert store.checkpoint()["segments"] >= 1
        for store in stores:
            assert {hit.key for hit in store.search("acme", np.ones(DIM), 5)} == {"k0", "k1", "k2"}
            assert store.doctor() == []


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_store_opened_by_one_name_after_the_other_is_one_store(names: list[str], tmp_path: Path, first: int) -> None:
    order = names[first:] + names[:first]
    with kompanion_db.connect(order[0]) as store:  # no vectors yet, and so no file of them
        store.register_model("m", DIM)
    for n, url in enumerate(order):
        with kompanion_db.connect(url) as store:
            _write(store, n)
            store.checkpoint()
            assert store.search("acme", np.eye(DIM)[0], 1)[0].key == "k0"
    assert [doctor(url) for url in names] == [[], [], []]
    with closing(kompanion_db.sqlite.open_sql(names[1])) as conn:
        assert conn.execute("select count(*) from embedding_vectors").fetchall() == [(3,)]
    with kompanion_db.connect(names[1]) as store:
        store.backup(tmp_path / "elsewhere" / "copy.db")
        with kompanion_db.connect(f"sqlite:///{tmp_path / 'there' / 'copy.db'}") as copy:
            assert _answer(copy) == _answer(store)
        with pytest.raises(BadArgument, match="is there already"):
            store.backup(names[1].removeprefix("sqlite:///"))
    assert sorted(path.name for path in tmp_path.rglob("*.vec")) == ["copy.db.vec", "x.db.vec"]
