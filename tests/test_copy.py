"""copy: a store moves into another one, of either engine, and holds the same there, however often it was broken off."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import copier
import engines
import numpy as np
import pytest
import samples
import servers
from cli import cli, process

import kompanion_db
from kompanion_db import NewItem, copying, snapshots
from kompanion_db.copying import copy
from kompanion_db.errors import BadArgument, TooLarge

EXACT = {"big": 12345678901234567890, "small": 1e-300, "deep": {"list": [1, 2.5, None, "\u00fc"]}}


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The URL of a store that is not there yet."""
    return f"sqlite:///{tmp_path}/x.db"


@pytest.fixture
def back(engine: engines.Engine) -> Iterator[engines.Home]:
    """A second, empty store on the same engine."""
    made = engine.home()
    yield made
    made.drop()


def test_a_store_that_went_into_a_file_and_back_holds_the_same(
    home: engines.Home, back: engines.Home, file: str
) -> None:
    with (
        kompanion_db.connect(home.url) as first,
        kompanion_db.connect(file) as between,
        kompanion_db.connect(back.url) as last,
    ):
        samples.fill(first)
        first.upsert_item("acme", "exact", "x", metadata=EXACT, vectors=[[-0.0, 1e-40, 1e14, 0.1]], model="large")
        there = copy(first, between)
        assert (there.items, there.skipped) == (16, 0)
        again = copy(between, last)
        assert there.digest == again.digest == first.digest() == between.digest() == last.digest()
        for store in (between, last):
            assert store.item_history("acme:ann", "note-1") == first.item_history("acme:ann", "note-1")
            assert store.list_threads("*") == first.list_threads("*")
            assert [m.queued for m in store.list_models()] == [m.queued for m in first.list_models()]
            found = store.get_chunks("acme", "exact", model="large")[0].vector
            assert found is not None
            assert found.tobytes() == np.array([-0.0, 1e-40, 1e14, 0.1], np.float32).tobytes()
        assert copy(first, last).items == 0


def test_a_retention_of_any_length_goes_into_a_file_and_back(home: engines.Home, back: engines.Home, file: str) -> None:
    with home.by_hand() as hand:
        lite = home.key == "sqlite"
        hand.set_setting("retention_deleted", timedelta(days=365_250) if lite else "1000 years")
        hand.set_setting("retention_expired", timedelta(days=361_597.5) if lite else "990 years")
        hand.set_setting("retention_revisions", timedelta(days=360_001))
    with (
        kompanion_db.connect(home.url) as first,
        kompanion_db.connect(file) as between,
        kompanion_db.connect(back.url) as last,
    ):
        assert copy(first, between).digest == copy(between, last).digest
        assert last.purge() == kompanion_db.Purged(0, 0, 0)
        assert copy(last, first).digest == first.digest()


def fill(store: kompanion_db.Store) -> int:
    """Several pages of items; how many there are."""
    samples.fill(store)
    store.upsert_items(samples.bulk_item(n) for n in range(60))
    return 15 + 60


def test_a_copy_that_is_killed_again_and_again_ends_equal(one_home: engines.Home, file: str) -> None:
    steps = random.Random(5).choices(range(1, 6), k=3)
    with kompanion_db.connect(one_home.url) as source:
        count = fill(source)
        assert all(copier.kill_at(one_home.url, file, step) for step in steps)
        with kompanion_db.connect(file) as target:
            done = copy(source, target)
            assert (done.items, done.skipped) == (count - copier.PAGE * max(steps), copier.PAGE * max(steps))
            assert done.digest == source.digest()


@pytest.mark.slow
def test_a_copy_may_be_killed_at_any_page(one_home: engines.Home, tmp_path: Path) -> None:
    killed = []
    with kompanion_db.connect(one_home.url) as source:
        count = fill(source)
        wanted = source.digest()
        for step in range(1, 20):
            url = f"sqlite:///{tmp_path}/{step}.db"
            killed.append(copier.kill_at(one_home.url, url, step))
            with kompanion_db.connect(url) as target:
                done = copy(source, target)
                assert done.items == max(0, count - copier.PAGE * step)
                assert done.digest == target.digest() == wanted
    assert killed == sorted(killed, reverse=True)
    assert sum(killed) >= count // copier.PAGE
    assert not all(killed), "the last ones were done before"


def test_what_an_engine_exports_the_other_imports(one_db: servers.Database, file: str, tmp_path: Path) -> None:
    out, again = tmp_path / "out.ndjson", tmp_path / "again.ndjson"
    exact = '{"big": 12345678901234567890.123456789012345678901, "huge": 1e400}'
    with kompanion_db.connect(one_db.url) as source:
        samples.fill(source)
    with one_db.connect() as conn:
        conn.execute("select kompanion.upsert_item('acme', 'n', 'x', metadata => %s::jsonb)", (exact,))
    assert cli("export", str(out), "--url", one_db.url).code == 0
    assert cli("import", str(out), "--url", file).out == "Imported 16 items; 0 were there already.\n"
    wanted = cli("digest", one_db.url).out
    assert cli("digest", "--url", file).out == wanted
    assert cli("export", str(again), "--url", file).code == 0
    with one_db.connect() as conn:
        conn.execute("truncate kompanion.namespaces, kompanion.embedding_models cascade")
    assert cli("import", str(again), "--url", one_db.url).code == 0
    assert cli("digest", one_db.url).out == wanted


def test_a_target_that_holds_something_of_its_own_is_told_from_the_source(one_home: engines.Home, file: str) -> None:
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(file) as target:
        samples.fill(source)
        target.upsert_item("mine", "k", "was here before")
        with pytest.raises(BadArgument, match="differs from the source"):
            copy(source, target)
        assert copy(source, target, verify=False).items == 0
        assert target.get_item("mine", "k") is not None
        with pytest.raises(BadArgument, match="is the source"):
            copy(target, target)


def test_a_copy_names_what_is_no_store(file: str) -> None:
    with kompanion_db.connect(file) as store:
        for name, stores in (("source", (file, store)), ("target", (store, file)), ("target", (store, None))):
            with pytest.raises(BadArgument, match=f"^{name}: is .*, not a store"):
                copy(*stores)  # type: ignore[arg-type]


@pytest.mark.parametrize("verify", [True, False])
def test_an_item_that_changed_since_an_earlier_copy_is_refused_by_name(
    one_home: engines.Home, file: str, verify: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 7)
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(file) as target:
        samples.fill(source)
        # So many of its own that none of its pages ends where one of the source does.
        target.register_model("small", 3)
        target.upsert_items(samples.bulk_item(n) for n in range(20))
        assert copy(source, target, verify=False).items == 15
        assert copy(source, target, verify=False).items == 0
        for change in (
            lambda: source.upsert_item("acme:ann", "note-7", "revised"),
            lambda: source.delete_item("acme:ann", "note-7"),
        ):
            change()
            before = target.digest()
            with pytest.raises(BadArgument, match=r"'note-7' in 'acme:ann'.* changed in the source since") as caught:
                copy(source, target, verify=verify)
            assert "empty store" in (caught.value.hint or "")
            assert target.digest() == before


def test_vectors_that_came_after_an_earlier_copy_are_seen_by_the_digests(one_home: engines.Home, file: str) -> None:
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(file) as target:
        samples.fill(source)
        copy(source, target)
        waiting = source.pending_embeddings("large")
        source.put_embeddings(waiting, np.ones((len(waiting), 4)), model="large")
        with pytest.raises(BadArgument, match=r"differs.*changed since an earlier copy, if only by vectors"):
            copy(source, target)


def test_inside_a_transaction_of_either_store_a_copy_is_refused_before_anything_is_written(
    one_home: engines.Home, file: str
) -> None:
    with kompanion_db.connect(one_home.url) as store, kompanion_db.connect(file) as other:
        store.upsert_item("acme", "k", "text")
        with store.transaction():
            for source, target in ((store, other), (other, store)):
                with pytest.raises(BadArgument, match=r"^copy: cannot run inside a transaction"):
                    copy(source, target)
        assert other.list_namespaces() == []
        assert copy(store, other).items == 1


def test_what_is_large_is_copied_compared_and_exported_few_at_a_time(
    one_home: engines.Home, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PAGE_CHARACTERS", 1 << 20)
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(file) as target:
        source.upsert_items(NewItem("acme", "x" * 100_000, key=f"large-{n}") for n in range(40))
        told: dict[str, list[int]] = {"copied": [0], "compared": [0]}
        done = copy(source, target, progress=lambda what, count: told[what].append(count))
        assert done.items == 40
        for counts in told.values():
            first, *others = np.diff(counts)
            assert first == 20
            assert others
            assert max(others) <= 10
            assert counts[-1] == 40
        with snapshots.snapshot_of(source) as found:
            _, *pages = snapshots.every_item(found, "*", 100)
            assert sum(map(len, pages)) == 20
            assert max(sum(map(len, page)) for page in pages) <= 1.1 * (1 << 20)


def test_what_is_small_is_read_in_large_pages(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as source:
        source.register_model("small", 3)
        source.upsert_items(samples.bulk_item(n) for n in range(160))
        with snapshots.snapshot_of(source) as found:
            assert [len(page) for page in snapshots.every_item(found, "*", 100)] == [20, 100, 40]


def test_the_command_line_copies_and_says_so(one_home: engines.Home, file: str) -> None:
    with kompanion_db.connect(one_home.url) as source:
        samples.fill(source)
        wanted = source.digest()
    done = process("copy", one_home.url, file)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"Copied 15 items; 0 were there already.\nBoth hold the same: {wanted}\n"
    assert cli("copy", one_home.url, file, "--json").rows == [{"items": 0, "skipped": 15, "digest": wanted}]
    assert cli("copy", file, file).code == 1


@pytest.mark.slow
def test_fifty_thousand_items_with_history_and_two_models_go_there_and_back(
    one_db: servers.Database, one_server: servers.Server, file: str, figure: Callable[[str], None]
) -> None:
    second = one_server.create(one_server.template)
    chance = np.random.default_rng(7)

    def items(revision: int) -> Iterator[NewItem]:
        for n in range(50_000):
            yield NewItem(
                f"p{n % 10}:u{n % 97}", f"content {n} of revision {revision}", key=f"k{n}", metadata={"n": n, "x": n / 7},
                tags=[f"t{n % 9}"], thread=f"th{n % 5}", user_key="ann", vectors=[chance.random(384, dtype=np.float32)],
            )  # fmt: skip

    try:
        with (
            kompanion_db.connect(one_db.url) as first,
            kompanion_db.connect(file) as between,
            kompanion_db.connect(second.url) as last,
        ):
            first.register_model("one", 384)
            first.register_model("two", 384, metric="l2")
            for revision in range(2):
                first.upsert_items(items(revision), model="one")
            while pending := first.pending_embeddings("two", batch=10_000):
                first.put_embeddings(pending, chance.random((len(pending), 384), dtype=np.float32), model="two")
            for there, here, what in (
                (first, between, "PostgreSQL -> SQLite"),
                (between, last, "SQLite -> PostgreSQL"),
            ):
                begun = time.perf_counter()
                done = copy(there, here)
                assert (done.items, done.skipped) == (50_000, 0)
                figure(f"{what}: 50,000 items, {time.perf_counter() - begun:.0f} s with the comparison, {done.digest}")
            assert first.digest() == last.digest()
    finally:
        second.drop()


@pytest.mark.slow  # it takes 256 MB
def test_an_item_too_large_for_a_document_is_named_and_leaves_when_its_history_is_trimmed(
    one_db: servers.Database,
) -> None:
    with kompanion_db.connect(one_db.url) as store, one_db.connect() as conn:
        for n in range(9):
            store.upsert_item("acme", f"small-{n}", "text")
        # 17 x 16 MB are more than a value of JSON holds; a letter repeated takes no room on the disk.
        for n in range(18):
            store.upsert_item("acme", "diary", f"text {n}")
        conn.execute("update kompanion.memory_item_revisions set content = repeat(chr(64 + revision), 16000000)")
        with pytest.raises(TooLarge, match="'diary' in 'acme'") as caught:
            store.export_items()
        assert "trim_history" in (caught.value.hint or "")
        assert store.trim_history(keep_for=timedelta(0)) == 17
        documents, _ = store.export_items()
        assert len(documents) == 10
