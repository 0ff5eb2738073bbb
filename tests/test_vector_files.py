"""Files of vectors: whatever is in one, either its vectors are read or a ValueError names it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from kompanion_db.vector_files import read_vectors

VECTORS = np.random.default_rng(1).standard_normal((20, 4), dtype=np.float32)


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, VECTORS)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, VECTORS)
    return file.getvalue()


def _fvecs() -> bytes:
    return b"".join(np.int32(4).tobytes() + row.tobytes() for row in VECTORS)


@pytest.mark.parametrize(
    ("name", "content"),
    [("v.npy", _npz()), ("v.npy", _npz()[:-30]), ("v.npy", _npy()[:-1]), ("v.npy", b""), ("v.fvecs", _fvecs()[:-1])],
)
def test_a_file_that_is_cut_or_of_another_kind_is_a_value_error_that_names_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{name}: "):
        read_vectors(tmp_path / name)


@pytest.mark.parametrize("kind", ["npy", "fvecs", "bvecs", "ivecs"])
def test_a_file_that_is_missing_or_a_folder_is_a_value_error_that_names_it(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"folder.{kind}").mkdir()
    for name in (f"none.{kind}", f"folder.{kind}"):
        with pytest.raises(ValueError, match=rf"^{name}: .*(No such file|Is a directory|has \d+ bytes)"):
            read_vectors(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "whole"), [("v.npy", _npy()), ("v.npy", _npz()), ("v.fvecs", _fvecs())])
def test_a_file_with_any_bytes_changed_is_read_or_a_value_error(tmp_path: Path, name: str, whole: bytes) -> None:
    random = np.random.default_rng(1)
    for _ in range(1000):
        content = bytearray(whole)
        for place in random.integers(0, min(len(whole), 128), 2):
            content[place] = random.choice(np.frombuffer(b"(){}[]'\"9L,: \n\0\xff", dtype=np.uint8))
        (tmp_path / name).write_bytes(content)
        try:
            assert read_vectors(tmp_path / name).dtype == np.float32
        except ValueError as exc:
            assert str(exc).startswith(f"{name}: ")  # noqa: PT017 - most are not read
