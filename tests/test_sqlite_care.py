"""The care of the files goes on past what is damaged or gone, and ends with nothing left lying about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kompanion_db.errors import ConnectionFailed
from kompanion_db.sidecar.durable import NewFile


def test_a_file_that_is_gone_before_it_is_adopted_is_an_error_that_closes_nothing_of_others(tmp_path: Path) -> None:
    def adopt() -> None:
        nonlocal other
        with NewFile(tmp_path, "seg", "fold") as file:
            file.temporary.unlink()
            try:
                file.adopt()
            finally:
                other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)  # under the number that has become free

    other = -1
    with pytest.raises(ConnectionFailed, match="seg-"):
        adopt()
    os.close(other)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
