"""What a backup leaves where it is made, and what it leaves alone: what others have there, and other backups that are being made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kompanion_db
from kompanion_db.errors import BadArgument, DamagedStore
from kompanion_db.migrate import migrate
from kompanion_db.sidecar import backup
from kompanion_db.sqlite import open_sql
from kompanion_db.sqlite.upkeep import doctor

DIM = 4


def _filled(path: Path) -> kompanion_db.Store:
    """A store of three vectors in a file, named after the file."""
    store = kompanion_db.connect(f"sqlite:///{path}")
    store.register_model("m", DIM)
    for n in range(3):
        store.upsert_item(path.stem, f"k{n}", "text", vectors=[np.eye(DIM)[n]])
    store.checkpoint()
    return store


def _is_a_copy(path: Path, of: str) -> bool:
    with kompanion_db.connect(f"sqlite:///{path}") as copy:
        return len(copy.search(of, np.ones(DIM), 5)) == 3 and copy.doctor() == []


def _there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder for copies."""
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


@pytest.mark.parametrize("name", ["c.db.tmp", "c.db.vec.tmp/seg-1", "c.db.vec/seg-1", "c.db.vec/backup-1.tmp"])
def test_a_backup_removes_nothing_that_others_have_beside_it(tmp_path: Path, place: Path, name: str) -> None:
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text("mine")
    (place / "c.db.tmp").write_text("mine")
    with _filled(tmp_path / "a.db") as store:
        if name.startswith("c.db.vec/"):
            with pytest.raises(BadArgument, match=r"c\.db\.vec is there already"):
                store.backup(place / "c.db")
        else:
            store.backup(place / "c.db")
            assert _is_a_copy(place / "c.db", "a")
    assert (place / name).read_text() == (place / "c.db.tmp").read_text() == "mine"


BACKING_UP = """
import sys
from kompanion_db import connect

with connect(sys.argv[1]) as store:
    store.backup(sys.argv[2])
"""


def _break_off(source: Path, target: Path, label: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BACKING_UP, f"sqlite:///{source}", str(target)],
        env={**os.environ, "KOMPANION_FAILPOINT": label},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="kills")
@pytest.mark.parametrize("label", ["backup.database", "backup.file", "backup.folder"])
def test_a_backup_that_was_broken_off_is_made_again_and_leaves_nothing(tmp_path: Path, place: Path, label: str) -> None:
    _filled(tmp_path / "a.db").close()
    _break_off(tmp_path / "a.db", place / "c.db", label)
    assert len(_there(place)) == 1
    with _filled(tmp_path / "b.db") as other:  # to another store it is something that is there
        if label == "backup.folder":
            with pytest.raises(BadArgument, match="is there already"):
                other.backup(place / "c.db")
        assert len(_there(place)) == 1
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'a.db'}") as store:
        assert store.backup(place / "c.db")["files"] == 1
    assert _there(place) == ["c.db", "c.db.vec"]
    assert [path.name[:4] for path in (place / "c.db.vec").iterdir()] == ["seg-"]
    assert _is_a_copy(place / "c.db", "a")


@pytest.mark.parametrize(("label", "first"), [("backup.database", "b"), ("backup.file", "b"), ("backup.folder", "a")])
def test_of_two_stores_that_are_copied_to_one_name_at_once_the_first_is_and_the_other_says_so(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, label: str, first: str
) -> None:
    target, said = place / "c.db", []

    def attempt(store: kompanion_db.Store) -> None:
        try:
            store.backup(target)
        except BadArgument as exc:
            said.append(str(exc))

    with _filled(tmp_path / "a.db") as a, _filled(tmp_path / "b.db") as b:
        monkeypatch.setattr(backup, "reached", _once(label, lambda: attempt(b)))
        attempt(a)
    assert ["is there already" in text for text in said] == [True]
    assert _there(place) == ["c.db", "c.db.vec"]
    assert _is_a_copy(target, first)


def test_a_file_that_comes_to_the_name_at_the_last_moment_is_not_written_over(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "reached", _once("backup.folder", lambda: (place / "c.db").write_text("mine")))
    with _filled(tmp_path / "a.db") as store, pytest.raises(BadArgument, match="is there already"):
        store.backup(place / "c.db")
    assert _there(place) == ["c.db"]
    assert (place / "c.db").read_text() == "mine"


WRITING_UNTIL_KILLED = """
import os, signal, sys
from kompanion_db import connect

store = connect(sys.argv[1])
for n in range(50):
    store.upsert_item("late", f"k{n}", "written after the backup " * 40)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _killed_while_writing(path: Path) -> None:
    """Leaves the log of a database beside it."""
    subprocess.run([sys.executable, "-c", WRITING_UNTIL_KILLED, f"sqlite:///{path}"], check=False, timeout=120)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def _without_its_log(path: Path) -> None:
    """Removes a store as one does who does not think of its log."""
    path.unlink()
    shutil.rmtree(f"{path}.vec")


@pytest.mark.skipif(os.name == "nt", reason="kills")
@pytest.mark.parametrize("way", ["connect", "open_sql", "migrate"])
def test_a_backup_put_back_beside_the_log_of_a_crashed_store_is_refused_until_that_is_removed_and_then_is_whole(
    tmp_path: Path, place: Path, way: str
) -> None:
    path = tmp_path / "a.db"
    with _filled(path) as store:
        store.backup(place / "a.db")
    _killed_while_writing(path)
    _without_its_log(path)
    for name in ("a.db", "a.db.vec"):
        os.rename(place / name, tmp_path / name)

    opened: dict[str, Callable[[], object]] = {
        "connect": lambda: kompanion_db.connect(f"sqlite:///{path}"),
        "open_sql": lambda: open_sql(path),
        "migrate": lambda: migrate(f"sqlite:///{path}"),
    }
    for _ in range(2):
        with pytest.raises(DamagedStore, match="the log of another database") as refused:
            opened[way]()
        assert [(f.severity, f.advice) for f in doctor(f"sqlite:///{path}")] == [("error", refused.value.hint)]
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink()
    assert _is_a_copy(path, "a")


@pytest.mark.skipif(os.name == "nt", reason="kills")
def test_a_backup_is_not_made_beside_a_log_that_would_be_written_into_it(tmp_path: Path, place: Path) -> None:
    with _filled(tmp_path / "a.db") as store:
        store.backup(place / "c.db")
        _killed_while_writing(place / "c.db")
        _without_its_log(place / "c.db")
        with pytest.raises(BadArgument, match=r"c\.db-wal is there, the log of a database that is not"):
            store.backup(place / "c.db")
        (place / "c.db-wal").unlink()
        store.backup(place / "c.db")
    assert _is_a_copy(place / "c.db", "a")


def _once(label: str, then: Callable[[], object]) -> Callable[[str], None]:
    """In place of ``reached``: at the first pass of a label something else happens."""
    waiting = [label]

    def reached(passed: str) -> None:
        if passed in waiting:
            waiting.remove(passed)
            then()

    return reached


@pytest.mark.parametrize("name", ["../.profile", "/etc/hostname", "..", "seg-1/../../.profile", ""])
def test_a_store_that_names_a_file_elsewhere_is_refused_and_writes_nothing_over(
    tmp_path: Path, place: Path, name: str
) -> None:
    (place / ".profile").write_text("mine")
    store = _filled(tmp_path / "a.db")
    with open_sql(f"sqlite:///{tmp_path / 'a.db'}") as sql:
        ((file,),) = sql.execute("select file from vec_segments")
        shutil.copyfile(tmp_path / "a.db.vec" / file, tmp_path / ".profile")
        sql.execute("update vec_segments set file = ?", (name,))
    with store, pytest.raises(DamagedStore, match="is no name of a file of vectors"):
        store.backup(place / "c.db")
    assert _there(place) == [".profile"]
    assert (place / ".profile").read_text() == "mine"
    with pytest.raises(DamagedStore, match="is no name of a file of vectors"):
        kompanion_db.connect(f"sqlite:///{tmp_path / 'a.db'}")
