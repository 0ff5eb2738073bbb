"""Whom the files of vectors let in: those whom their database does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kill_store
import numpy as np
import pytest
from rights import as_user

import kompanion_db
from kompanion_db.errors import PermissionDenied
from kompanion_db.sqlite.files import Place
from kompanion_db.sqlite.upkeep import doctor

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files of Windows have no such modes")

DIM = 12


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Of a store that is still to be made, in an empty file."""
    (tmp_path / "x.db").touch()
    return Place(tmp_path / "x.db")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    former = os.umask(mask)
    try:
        yield
    finally:
        os.umask(former)


def fill(place: Place) -> None:
    """Vectors in a file that has an index."""
    with kompanion_db.connect(place.url) as store:
        store.register_model("m", DIM, metric="l2")
        vectors = np.random.default_rng(1).standard_normal((50, DIM), dtype=np.float32)
        store.upsert_items({"namespace": "acme", "content": f"text {n}", "vectors": [v]} for n, v in enumerate(vectors))
        store.checkpoint()
        with kill_store.hastened():
            assert store.checkpoint()["indexed"] == 1


def beside(place: Place) -> dict[str, Path]:
    """The folder of vectors, and a file of each kind in it."""
    found = {path.name.partition("-")[0]: path for path in place.folder.iterdir()}
    assert sorted(found) == ["ann", "lock", "seg"]
    return {"folder": place.folder, **found}


@pytest.mark.parametrize(("mode", "of_folder"), [(0o600, 0o700), (0o640, 0o750), (0o666, 0o777)])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_files_of_vectors_let_in_whom_their_database_does_whatever_the_umask(
    place: Place, mode: int, of_folder: int, mask: int
) -> None:
    place.path.chmod(mode)
    with umask(mask):
        fill(place)
    modes = {kind: stat.S_IMODE(path.stat().st_mode) for kind, path in beside(place).items()}
    assert modes == {"folder": of_folder, "ann": mode, "lock": mode, "seg": mode}


def test_a_folder_that_the_doctor_makes_lets_in_whom_the_database_does(place: Place) -> None:
    place.path.chmod(0o600)
    kompanion_db.connect(place.url).close()
    place.folder.rmdir()
    with umask(0o022):
        doctor(place, repair=True)
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files to others")
def test_what_root_writes_for_another_user_is_that_users(place: Place) -> None:
    place.path.chmod(0o600)
    os.chown(place.path, 65534, 65533)
    fill(place)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in beside(place).values()} == {(65534, 65533)}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files to others")
def test_who_shares_the_database_of_a_group_that_is_not_ones_own_makes_files_for_all_who_share_it(place: Place) -> None:
    kompanion_db.connect(place.url).close()
    place.folder.rmdir()
    place.path.chmod(0o666)
    os.chown(place.path, 65534, 65533)
    with umask(0o022):
        done = as_user("checkpoint", place.url)
    assert (done.returncode, done.stderr) == (0, "")
    made = (place.folder, place.folder / "lock")
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o777, 0o666]


def test_who_may_not_lock_the_folder_of_vectors_is_told_the_name_of_the_lock(place: Place) -> None:
    fill(place)
    lock = place.folder / "lock"
    lock.chmod(0)
    done = as_user("checkpoint", place.url)
    assert (done.returncode, PermissionDenied.sqlstate in done.stderr) == (1, True)
    assert f"{lock}: Permission denied" in done.stderr
