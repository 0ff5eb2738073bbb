"""A disk that is full, files that are damaged or gone: named errors, never a silent empty answer, and the doctor finds all."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import kill_store
import numpy as np
import pytest
from small_disk import mounted

import kompanion_db
from kompanion_db.errors import ConnectionFailed, DamagedStore, KompanionError, PermissionDenied, StorageFull
from kompanion_db.sidecar import durable
from kompanion_db.sqlite.files import place_of
from kompanion_db.sqlite.upkeep import doctor

DIM = 64
ROWS = 200


def vector(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal(DIM, dtype=np.float32)


def fill(store: kompanion_db.Store, first: int, count: int) -> None:
    """Items with a vector each, in one transaction."""
    store.upsert_items(
        [
            {"namespace": "acme", "key": f"k{n}", "content": f"{n}", "vectors": [vector(n)]}
            for n in range(first, first + count)
        ],
        model="m",
    )


def holds(store: kompanion_db.Store, numbers: range) -> bool:
    """Whether each is found by its vector."""
    return all([hit.key for hit in store.search("acme", vector(n), 1)] == [f"k{n}"] for n in numbers)


def errors_of(url: str) -> list[str]:
    """What the doctor finds lost or unreadable."""
    return [f"{Path(f.file).name}: {f.what}" for f in doctor(url) if f.severity == "error"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store whose vectors are in a file, closed."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with kompanion_db.connect(url) as store:
        store.register_model("m", DIM, metric="l2")
        fill(store, 0, ROWS)
        store.checkpoint()
    return url


def segment(url: str) -> Path:
    """The one file of vectors."""
    (found,) = place_of(url).folder.glob("seg-*")
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    with mounted(tmp_path / "small") as folder:
        yield folder


def _fill_disk(folder: Path, leave: int) -> Path:
    """A file that takes all room but so many bytes."""
    ballast = folder / "ballast"
    room = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with suppress(OSError):  # somebody in the background takes of it meanwhile
        ballast.write_bytes(bytes(max(0, room - leave)))
    return ballast


def test_a_full_disk_is_said_as_such_by_a_commit_which_keeps_nothing(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'x.db'}"
    with kompanion_db.connect(url) as store:
        store.register_model("m", DIM, metric="l2")
        fill(store, 0, 100)
        ballast = _fill_disk(small_disk, 64 << 10)
        with pytest.raises(StorageFull, match="Make room on the disk") as caught:
            fill(store, 100, 3000)
        assert caught.value.sqlstate == "KM020"
        assert holds(store, range(100))
        assert len(store.search("*", vector(0), 10000)) == 100
        ballast.unlink()
        fill(store, 100, 3000)
        assert holds(store, range(0, 3100, 31))
        assert store.doctor() == []


def test_a_full_disk_is_said_as_such_by_a_fold_which_loses_nothing(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'x.db'}"
    with kompanion_db.connect(url) as store:
        store.register_model("m", DIM, metric="l2")
        fill(store, 0, 2000)
        ballast = _fill_disk(small_disk, 100 << 10)
        with pytest.raises(StorageFull, match="Make room on the disk"):
            store.checkpoint()
        assert not list(place_of(url).folder.glob("seg-*"))
        assert holds(store, range(0, 2000, 20))
        ballast.unlink()
        assert store.checkpoint()["folded"] == 2000
        assert holds(store, range(0, 2000, 20))
        assert store.doctor() == []


def test_a_disk_that_fills_again_and_again_loses_nothing_that_was_committed(
    small_disk: Path, figure: Callable[[str], None]
) -> None:
    url = f"sqlite:///{small_disk / 'x.db'}"
    drawn, full, committed = random.Random(1), 0, 0
    with kill_store.hastened(), kompanion_db.connect(url) as store:
        store.register_model("m", DIM, metric="l2")
        for _ in range(12):
            ballast = _fill_disk(small_disk, drawn.randrange(20 << 10, 600 << 10))
            try:
                while committed < 4000:
                    fill(store, committed, count := drawn.choice((1, 10, 60)))
                    committed += count
            except StorageFull:
                full += 1
            with suppress(StorageFull):
                store.checkpoint()
            assert holds(store, range(max(0, committed - 20), committed))
            ballast.unlink()
        assert len(store.search("*", vector(0), 10000)) == committed
        store.checkpoint()
        assert holds(store, range(committed))
        assert errors_of(url) == []
    assert full >= 10
    figure(f"a disk full {full} times in commits and folds: {committed} vectors committed, 0 lost")


def test_tuning_says_that_its_temporary_folder_is_full_or_gone(
    url: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kompanion_db.connect(url) as store:
        fill(store, ROWS, 1000)
        _fill_disk(small_disk, 0)
        for folder in (small_disk, small_disk / "gone"):
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
            with pytest.raises(StorageFull, match=r"^tune_index: the temporary folder .*TMPDIR"):
                store.tune_index("m", seconds=2, sample=10)
        assert holds(store, range(ROWS + 20))


def _flips(url: str, count: int, figure: Callable[[str], None]) -> None:
    path, drawn, found = segment(url), random.Random(1), 0
    whole = path.read_bytes()
    for _ in range(count):
        at, bit = drawn.randrange(len(whole)), 1 << drawn.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([whole[at] ^ bit]))
        found += bool(errors_of(url))
        with path.open("r+b") as file:
            file.seek(at)
            file.write(whole[at : at + 1])
    assert found == count
    assert errors_of(url) == []
    figure(f"{count} flipped bits in a file of vectors: the doctor finds {found}")


def test_the_doctor_finds_a_flipped_bit_wherever_it_is(url: str, figure: Callable[[str], None]) -> None:
    _flips(url, 40, figure)


@pytest.mark.slow
def test_the_doctor_finds_each_of_two_thousand_flipped_bits(url: str, figure: Callable[[str], None]) -> None:
    _flips(url, 2000, figure)


def test_a_damaged_file_is_neither_merged_nor_copied(url: str, tmp_path: Path) -> None:
    path = segment(url)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with kompanion_db.connect(url) as store:
        fill(store, ROWS, 10)
        store.delete_item("acme", "k0")
        for call in (lambda: store.backup(tmp_path / "copy.db"), lambda: store.checkpoint(compact=True)):
            with pytest.raises(DamagedStore, match=r"checksum .*doctor"):
                call()
        assert not (tmp_path / "copy.db").exists()
        assert path.exists()


@pytest.mark.parametrize("cut", [0, 10, 5000, -1])
def test_a_truncated_file_is_an_error_that_names_it(url: str, cut: int) -> None:
    path = segment(url)
    os.truncate(path, cut if cut >= 0 else path.stat().st_size + cut)
    with pytest.raises(DamagedStore, match=rf"{path.name}.*doctor"):
        kompanion_db.connect(url)
    assert any(path.name in said for said in errors_of(url))


def test_a_missing_file_is_an_error_that_names_it(url: str) -> None:
    path = segment(url)
    path.unlink()
    with pytest.raises(DamagedStore, match=rf"{path.name} is missing.*backup"):
        kompanion_db.connect(url)
    assert any(path.name in said and "missing" in said for said in errors_of(url))


def test_a_file_that_goes_while_the_store_is_open_is_an_error_not_an_empty_answer(url: str) -> None:
    with kompanion_db.connect(url) as store:
        segment(url).unlink()
        with pytest.raises(DamagedStore, match="missing"):
            store.search("acme", vector(0), 1)
        assert errors_of(url)


def test_a_database_copied_without_its_folder_is_an_error(url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    shutil.copyfile(place_of(url).path, copy)
    with pytest.raises(DamagedStore, match=r"copy\.db\.vec is missing.*copy both"):
        kompanion_db.connect(f"sqlite:///{copy}")
    assert any("copy.db.vec" in said for said in errors_of(f"sqlite:///{copy}"))


def test_a_folder_of_another_store_is_an_error(url: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with kompanion_db.connect(other) as store:
        store.register_model("m", DIM, metric="l2")
        fill(store, 1000, ROWS)
        store.checkpoint()
    theirs, ours = segment(other), segment(url)
    shutil.rmtree(place_of(url).folder)
    shutil.copytree(place_of(other).folder, place_of(url).folder)
    with pytest.raises(DamagedStore, match=f"{ours.name} is missing"):
        kompanion_db.connect(url)
    # Also a file under the very name, of the same size.
    (place_of(url).folder / theirs.name).rename(ours)
    assert ours.stat().st_size == theirs.stat().st_size
    assert any(ours.name in said for said in errors_of(url))


@pytest.mark.skipif(os.name == "nt", reason="folders of Windows have no such rights")
def test_a_folder_that_may_not_be_written_to_is_an_error_and_vectors_stay_in_the_log(url: str) -> None:
    folder = place_of(url).folder
    with kompanion_db.connect(url) as store:
        locked = subprocess.run(["chattr", "+i", str(folder)], check=False, capture_output=True).returncode == 0
        if not locked:
            if os.geteuid() == 0:
                pytest.skip("nothing is forbidden to root here")
            folder.chmod(0o500)
        try:
            fill(store, ROWS, 50)
            with pytest.raises(PermissionDenied, match="writable"):
                store.checkpoint()
            assert holds(store, range(ROWS + 50))
        finally:
            subprocess.run(["chattr", "-i", str(folder)], check=False, capture_output=True)
            folder.chmod(0o700)
        assert store.checkpoint()["folded"] == 50
        assert holds(store, range(ROWS + 50))
        assert errors_of(url) == []


@pytest.mark.parametrize("what", ["sync_file", "sync_folder"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_error_while_a_file_is_synced_is_an_error_that_loses_nothing(
    url: str, what: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise OSError(code, os.strerror(code))

    expected: type[KompanionError] = StorageFull if code == errno.ENOSPC else ConnectionFailed
    with kompanion_db.connect(url) as store:
        fill(store, ROWS, 50)
        with monkeypatch.context() as patched:
            patched.setattr(durable, what, fails)
            with pytest.raises(expected, match="disk"):
                store.checkpoint()
            assert holds(store, range(ROWS + 50))
            assert errors_of(url) == []
        assert store.checkpoint()["folded"] == 50
        assert holds(store, range(ROWS + 50))
        assert errors_of(url) == []
