"""Data that cannot be measured with is refused in a line, before anything is loaded."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kompanion_db
from bench import data, files

RNG = np.random.default_rng(5)
VECTORS = RNG.standard_normal((400, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((30, 8)).astype(np.float32)


def chosen(path: Path, **given: Any) -> data.Dataset:
    parser = argparse.ArgumentParser()
    data.add_arguments(parser, rows=100)
    line = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return data.chosen(parser.parse_args(["--data", str(path), "--query-count", "30", *line]))


def vecs(dims: list[int]) -> bytes:
    return b"".join(np.int32(dim).tobytes() + np.zeros(4, "<f4").tobytes() for dim in dims)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.npy", b"0.1 0.2 0.3", "v.npy: holds no array of numbers as numpy.save writes it"),
        ("v.npy", b"", "v.npy: holds no array of numbers"),
        ("v.fvecs", b"", "v.fvecs: has 0 bytes, which are no row"),
        ("v.fvecs", b"\2\0", "v.fvecs: has 2 bytes, which are no row"),
        ("v.fvecs", vecs([4, 4, 3, 4]), "v.fvecs: row 3 has 3 elements, the first 4"),
        ("v.fvecs", vecs([4, 4])[:-1], "v.fvecs: 39 bytes are not rows of 4 elements"),
        ("v.hdf5", b"nothing of the kind", "v.hdf5: cannot be read as HDF5"),
        ("v.csv", b"1,2", "v.csv: its kind is none of .npy, .fvecs.*; --data may also be .hdf5 or a folder"),
    ],
)
def test_a_file_that_holds_no_vectors_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    if name.endswith("hdf5"):
        pytest.importorskip("h5py")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit, match=message):
        chosen(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (VECTORS.astype(np.complex64), "real numbers are needed, not elements of type complex64"),
        (np.array([{"a": 1}] * 100, dtype=object), "holds no array of numbers"),
        (VECTORS[0], r"an array of shape \(rows, dim\) is needed"),
        (np.empty((400, 0), dtype=np.float32), "its vectors have no elements"),
    ],
)
def test_an_array_that_holds_no_vectors_is_refused(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(SystemExit, match=message):
        chosen(tmp_path / "v.npy")


def test_an_npy_file_whose_header_was_cut_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    content = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(content.replace(b"}", b" ", 1))
    with pytest.raises(SystemExit, match=r"v.npy: holds no array of numbers"):
        chosen(tmp_path / "v.npy")


def test_an_hdf5_file_with_damage_inside_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "v.hdf5", "w") as file:
        file.attrs["distance"] = "euclidean"
        file.create_dataset("train", data=VECTORS, compression="gzip")
        file["test"] = QUERIES
        place = file["train"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "v.hdf5").read_bytes())
    content[place : place + 40] = bytes(40)
    (tmp_path / "v.hdf5").write_bytes(content)
    with pytest.raises(SystemExit, match=r"v.hdf5: cannot be read as HDF5: "):
        chosen(tmp_path / "v.hdf5")
    with h5py.File(tmp_path / "v.hdf5", "w") as file:
        file["train"], file["test"] = h5py.SoftLink("/nowhere"), QUERIES
        file.attrs["distance"] = "euclidean"
    with pytest.raises(SystemExit, match=r"v.hdf5: cannot be read as HDF5: "):
        chosen(tmp_path / "v.hdf5")


def test_an_archive_of_neighbours_that_is_damaged_is_refused(tmp_path: Path) -> None:
    for name in ("base", "queries"):
        np.save(tmp_path / f"{name}.npy", VECTORS)
    file = tmp_path / "groundtruth.npz"
    np.savez_compressed(file, none_ids=RNG.integers(0, 400, (400, 10)))
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    file.write_bytes(content)
    with pytest.raises(SystemExit, match=r"groundtruth.npz: has no array none_ids: "):
        chosen(tmp_path)
    np.savez(file, none_ids=np.int64(3))
    with pytest.raises(SystemExit, match=r"groundtruth.npz: has no array none_ids: "):
        chosen(tmp_path)


@pytest.mark.parametrize("kind", ["fvecs", "bvecs"])
def test_queries_in_a_folder_of_the_name_of_a_file_are_refused(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / f"q.{kind}").mkdir()
    with pytest.raises(SystemExit, match=f"q.{kind}: "):
        chosen(tmp_path / "v.npy", queries=tmp_path / f"q.{kind}")


def test_queries_of_other_dimensions_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    np.save(tmp_path / "q.npy", QUERIES[:, :-1])
    with pytest.raises(SystemExit, match=r"v.npy: the vectors have 8 dimensions, the queries 7"):
        chosen(tmp_path / "v.npy", queries=tmp_path / "q.npy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.__setitem__("neighbors", np.full((30, 10), 400)), "neighbours are rows 400 to 400, there are 0 to 399"),
        (lambda file: file.__setitem__("neighbors", np.full((30, 10), -1)), "neighbours are rows -1 to -1"),
        (lambda file: file.__setitem__("neighbors", np.full((30, 10), 0.5)), "neighbours are not whole numbers"),
        (lambda file: file.attrs.__setitem__("distance", "hamming"), "distance 'hamming' is not one we know; say --metric"),
    ],
)  # fmt: skip
def test_an_hdf5_file_whose_parts_do_not_fit_is_refused(
    change: Callable[[Any], None], message: str, tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "set.hdf5", "w") as file:
        file.attrs["distance"] = np.bytes_(b"euclidean")
        file["train"], file["test"] = VECTORS, QUERIES
    assert chosen(tmp_path / "set.hdf5").metric == "l2"
    with h5py.File(tmp_path / "set.hdf5", "a") as file:
        change(file)
    with pytest.raises(SystemExit, match=message):
        chosen(tmp_path / "set.hdf5")


@pytest.mark.parametrize(
    ("argument", "name", "text", "message"),
    [
        ("namespaces", "n.txt", "a:b\n" * 6 + "a::b\n" + "a\n" * 393, "n.txt: line 7: bad namespace 'a::b': it has an empty segment"),
        ("namespaces", "n.json", "[1, 2", "--namespaces: n.json cannot be read"),
        ("namespaces", "n.json", '{"a": 1}', "--namespaces: n.json is no list of one value a row"),
        ("tags", "t.jsonl", '["a"]\n["b"\n', "t.jsonl: line 2 is no JSON"),
        ("tags", "t.txt", "a\n", "--tags: 1 values for 370 vectors"),
        ("tags", "t.txt", "a\n" * 399, "--tags: 399 values for a file of 400 vectors, they are those of another"),
        ("namespaces", "n.txt", "a\n" * 800, "--namespaces: 800 values for a file of 400 vectors"),
        ("tags", "t.npy", "a", "--tags: t.npy cannot be read"),
    ],
)  # fmt: skip
def test_namespaces_and_tags_that_cannot_be_read_are_refused_by_their_line(
    argument: str, name: str, text: str, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit, match=message):
        chosen(tmp_path / "v.npy", **{argument: tmp_path / name})


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("meta.jsonl", {"ns": "a b"}, "meta.jsonl: line 1: bad namespace 'a b'"),
        ("meta.jsonl", {}, "meta.jsonl: line 1: bad namespace None: it is no text"),
        ("meta.jsonl", ["a"], "meta.jsonl: line 1 is no JSON object"),
        ("queries.jsonl", {"filters": {"ns_own_10pct": "a"}}, "queries.jsonl: line 1: filters are not as"),
        ("groundtruth.npz", "no archive", "groundtruth.npz: has no array none_ids"),
    ],
)
def test_a_folder_whose_files_are_not_as_told_is_refused(name: str, line: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", VECTORS)
    np.save(tmp_path / "queries.npy", QUERIES)
    (tmp_path / name).write_text((json.dumps(line) + "\n") * (30 if name == "queries.jsonl" else 400))
    with pytest.raises(SystemExit, match=message):
        chosen(tmp_path)


@pytest.mark.parametrize(
    ("metric", "kept"), [("cosine", [1e-14, 1e14]), ("l2", [0, 1e-30, 1e-17, 1e-14, 1e14]), ("inner_product", [0, 1e-30, 1e-17, 1e-14, 1e14])]
)  # fmt: skip
def test_vectors_of_a_length_that_a_store_refuses_are_left_out(
    metric: str, kept: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = [0, 1e-30, 1e-17, 1e-14, 1e14, 1e17, 1e30]
    rows = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    rows[: len(lengths)] *= np.float32(lengths)[:, None]
    np.save(tmp_path / "v.npy", rows)
    read = chosen(tmp_path / "v.npy", metric=metric).vectors
    assert np.array_equal(read, np.concatenate([rows[[lengths.index(length) for length in kept]], rows[7:370]]))
    assert f"v.npy: left out {7 - len(kept)} vectors and 0 queries that are not finite" in capsys.readouterr().err
    # What is left a store takes.
    with kompanion_db.connect(f"sqlite:///{tmp_path / 'x.db'}") as store:
        store.register_model("m", 8, metric=metric)
        store.upsert_items(
            (kompanion_db.NewItem("a", str(n), "x", vectors=v[None]) for n, v in enumerate(read[:8])), model="m"
        )


def test_numbers_too_large_for_single_precision_are_left_out(tmp_path: Path) -> None:
    rows = VECTORS.astype(np.float64)
    rows[3] = 1e300
    np.save(tmp_path / "v.npy", rows)
    assert len(chosen(tmp_path / "v.npy", metric="l2").vectors) == 400 - 30 - 1


def test_a_row_without_tags_has_none() -> None:
    assert [files.tag_list(value) for value in (None, [], "", "a, b", ["a"])] == [[], [], [], ["a", "b"], ["a"]]
