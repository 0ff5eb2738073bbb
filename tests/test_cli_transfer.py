"""export and import: a store moves whole, and a move that was broken off is simply made again."""

from __future__ import annotations

import json
import stat
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import engines
import pytest
import servers
from cli import cli, process

import kompanion_db
from kompanion_db import HashEmbedder, migrate


def documents(url: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The whole store as its documents: the registry, and the items with revisions, chunks and vectors."""
    with kompanion_db.connect(url) as store:
        items: list[dict[str, Any]] = []
        page, after = store.export_items("*", page_size=50)
        items += page
        while after is not None:
            page, after = store.export_items("*", page_size=50, after=after)
            items += page
        return store.export_registry("*"), items


def fill(url: str) -> None:
    """A store with a little of everything an export must carry."""
    with kompanion_db.connect(url, embedder=HashEmbedder(16)) as store:
        store.upsert_item("acme", "old-model", "This has vectors of a model that is then retired.")
    with kompanion_db.connect(url, embedder=HashEmbedder(32)) as store:
        store.register_model("l2-model", 3, metric="l2")
        while store.embed_pending():
            pass
        store.set_default_model(HashEmbedder(32).name)
        store.retire_model(HashEmbedder(16).name)
        store.ensure_user("acme:ann", "ann", display_name="Ann", metadata={"lang": "pt"})
        store.ensure_thread("acme:ann", "t1", title="Tea")
        for n in range(120):
            store.upsert_item(
                "acme:ann", f"k{n}", f"Note {n}: " + "tea and biscuits. " * (200 if n % 40 == 0 else 1),
                metadata={"n": n, "deep": {"list": [1, None, "ü\u2028x"]}}, tags=["b", "a"], thread="t1",
                user_key="ann", actor="bob", created_at=datetime(2024, 1, 2, tzinfo=timezone.utc) + timedelta(days=n),
            )  # fmt: skip
        store.upsert_item("acme:ann", "k1", "Changed.", actor="eve")
        store.upsert_item("acme:ann", "k1", "Changed again.", metadata={"n": 1})
        store.delete_item("acme:ann", "k2")
        store.upsert_item("acme", "brief", "Soon gone.", ttl=timedelta(milliseconds=1))
        time.sleep(0.01)
        store.upsert_item("acme2:old", "x", "In a deleted namespace.")
        store.delete_namespace("acme2")
        store.close_thread("acme:ann", "t1")
    with kompanion_db.connect(url) as store:
        store.upsert_item("acme", "by-hand", "No vector yet.")


@pytest.fixture
def full(one_home: engines.Home) -> engines.Home:
    fill(one_home.url)
    return one_home


def test_export_then_import_into_an_empty_database_gives_an_equal_store(
    full: engines.Home, one_empty_home: engines.Home, tmp_path: Path
) -> None:
    file = tmp_path / "all.ndjson"
    done = process("export", str(file), "--page-size", "17", "--url", full.url)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"124 items written to {file}.\n"
    migrate(one_empty_home.url)
    done = process("import", str(file), "--url", one_empty_home.url)
    assert (done.code, done.out) == (0, "Imported 124 items; 0 were there already.\n")
    registry, items = documents(full.url)
    assert documents(one_empty_home.url) == (registry, items)
    assert {d["kind"] for d in registry} == {"export", "setting", "model", "namespace", "user", "thread"}
    by_key = {item["key"]: item for item in items}
    assert len(by_key["k1"]["revisions"]) == 2
    assert len(by_key["k0"]["chunks"]) > 1
    assert all(len(chunk["vectors"]) == 1 for chunk in by_key["k0"]["chunks"])
    assert by_key["k2"]["deleted_at"]
    assert by_key["brief"]["expires_at"]


def test_the_copy_searches_and_waits_for_the_same_vectors(full: engines.Home, one_empty_home: engines.Home) -> None:
    migrate(one_empty_home.url)
    text = process("export", "--url", full.url).out
    assert process("import", "-", "--url", one_empty_home.url, given=text).code == 0
    seen = [cli("search", "acme", "note 77", "--json", "-u", db.url).rows for db in (full, one_empty_home)]
    for hits in seen:
        for hit in hits:
            del hit["chunk_id"]  # numbered anew
    assert seen[0] == seen[1]
    waiting = [cli("embed", "--json", "-u", db.url).rows[0]["stored"] for db in (full, one_empty_home)]
    assert waiting[0] == waiting[1] > 0


def test_an_export_read_from_a_pipe_and_written_to_one_is_the_same(
    full: engines.Home, one_empty_home: engines.Home
) -> None:
    migrate(one_empty_home.url)
    first = process("export", "--url", full.url).out
    assert process("import", "-", "--url", one_empty_home.url, given=first).code == 0
    assert process("export", "-", "--url", one_empty_home.url).out == first


def test_an_import_that_was_broken_off_is_simply_run_again(
    full: engines.Home, one_empty_home: engines.Home, tmp_path: Path
) -> None:
    migrate(one_empty_home.url)
    whole, half = tmp_path / "whole", tmp_path / "half"
    cli("export", str(whole), "--url", full.url)
    data = whole.read_bytes()
    lines = data.splitlines(keepends=True)
    half.write_bytes(b"".join(lines[:60]) + lines[60][:100])
    done = cli("import", str(half), "--url", one_empty_home.url)
    assert done.code == 1
    assert done.err.startswith("error: file: line 61 is not JSON")
    half.write_bytes(b"".join(lines[:60]))
    assert cli("import", str(half), "--url", one_empty_home.url).code == 0
    (report,) = cli("import", str(whole), "--json", "--url", one_empty_home.url).rows
    assert report["skipped"] > 0
    assert report["items"] + report["skipped"] == 124
    assert documents(one_empty_home.url) == documents(full.url)
    assert cli("import", str(whole), "--json", "--url", one_empty_home.url).rows[0]["items"] == 0


def test_numbers_keep_every_digit(one_db: servers.Database, one_empty_db: servers.Database) -> None:
    migrate(one_empty_db.url)
    exact = '{"big": 12345678901234567890.123456789012345678901, "huge": 1e400}'
    read = "select metadata::text from kompanion.memory_items"
    with one_db.connect() as conn:
        conn.execute("select kompanion.upsert_item('acme', 'n', 'x', metadata => %s::jsonb)", (exact,))
        wanted = conn.execute(read).fetchone()
    text = process("export", "--url", one_db.url).out
    assert process("import", "-", "--url", one_empty_db.url, given=text).code == 0
    with one_empty_db.connect() as conn:
        assert conn.execute(read).fetchone() == wanted


def test_a_scope_is_exported_without_its_neighbours(full: engines.Home) -> None:
    rows = cli("export", "--scope", "acme:ann", "--url", full.url).rows
    assert {r["namespace"] for r in rows if r["kind"] == "item"} == {"acme:ann"}
    assert {r["path"] for r in rows if r["kind"] == "namespace"} == {"acme:ann"}


def test_a_file_appears_only_when_the_export_is_whole(full: engines.Home, tmp_path: Path) -> None:
    file = tmp_path / "x.ndjson"
    file.write_text("the export of yesterday")
    assert cli("export", str(file), "--scope", "a::b", "--url", full.url).code == 1
    assert [f.name for f in tmp_path.iterdir()] == ["x.ndjson"]
    assert file.read_text() == "the export of yesterday"
    assert cli("export", str(file), "--url", full.url).code == 0
    assert [f.name for f in tmp_path.iterdir()] == ["x.ndjson"]
    assert stat.S_ISREG(file.stat().st_mode)
    assert cli("export", str(tmp_path / "no" / "x"), "--url", full.url).err.startswith("error: ")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "error: file: line 3 is not JSON: "),
        ('{"kind": "item", "n": NaN}', "error: file: line 3 is not JSON: NaN is no JSON number"),
        ("[1]", "error: file: line 3 is no JSON object"),
        ('{"kind": "song"}', "error: documents: one has no kind, or an unknown one"),
        ('{"kind": "namespace", "path": "a::b"}', "error: "),
        ('{"kind": "item", "namespace": "acme", "key": "k", "metadata": "\\u0000"}', "error: "),
        ("\udcff", "error: file: line 3 is not JSON: "),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_its_batch_is_kept(one_home: engines.Home, line: str, says: str) -> None:
    good = json.dumps({"kind": "namespace", "path": "acme", "created_at": "2024-01-01T00:00:00Z"})
    text = f"{good}\n\n{line}\n{good}\n"
    done = process("import", "-", "--url", one_home.url, given=text.encode("utf-8", "surrogateescape"))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(says)
    assert "Traceback" not in done.err
    if "line 3" not in done.err:
        assert "In lines 1 to 4 of stdin; nothing of them was kept." in done.err
    with kompanion_db.connect(one_home.url) as store:
        assert store.list_namespaces("*", include_deleted=True) == []


def test_an_import_whose_file_is_not_there_makes_no_store(tmp_path: Path) -> None:
    done = cli("import", str(tmp_path / "typo.ndjson"), "--url", f"sqlite:///{tmp_path / 'new.db'}")
    assert done.code != 0
    assert list(tmp_path.iterdir()) == []
