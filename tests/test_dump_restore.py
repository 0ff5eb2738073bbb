"""pg_dump and restore, and every way to install, give the same store."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import catalog
import pytest
import samples
import servers
from logins import login
from test_transfer import by_name

import kompanion_db
from kompanion_db.dev import install_script
from kompanion_db.errors import BadArgument, NotInstalled
from kompanion_db.migrate import migrate, migration_ids, rollback

IDS = list(migration_ids())


def dump(db: servers.Database, file: Path, *options: str) -> Path:
    command = [str(db.server.bin_dir / "pg_dump"), f"--dbname={db.url}", f"--file={file}", *options]
    subprocess.run(command, check=True, capture_output=True)
    return file


def restore(db: servers.Database, file: Path, url: str | None = None) -> None:
    command = [
        str(db.server.bin_dir / "pg_restore"),
        f"--dbname={url or db.url}",
        "--exit-on-error",
        "--no-owner",
        str(file),
    ]
    subprocess.run(command, check=True, capture_output=True)


def found(store: Any) -> list[tuple[str, float]]:
    return [(hit.key, hit.distance) for hit in store.search("acme", [1.0, 0.2, 0.1], 20, model="small")]


@pytest.fixture
def filled(db: servers.Database) -> servers.Database:
    with kompanion_db.connect(db.url) as store:
        samples.fill(store)
        store.index_metadata_key("n", type="number")
        store.ensure_index("small", kind="hnsw")
    return db


def equal_and_alive(source: servers.Database, target: servers.Database) -> None:
    """The two hold the same and find the same; the second can be written to and rolled back."""
    assert catalog.dump(target) == catalog.dump(source)
    with kompanion_db.connect(source.url) as before, kompanion_db.connect(target.url) as after:
        assert by_name(samples.exported(after)) == by_name(samples.exported(before))
        assert found(after) == found(before)
        assert [m.index_kind for m in after.list_models()] == [m.index_kind for m in before.list_models()]
        with source.connect() as here, target.connect() as there:
            assert samples.contents(there) == samples.contents(here)
            there.execute("select kompanion.set_setting('exact_threshold', '1')")
        assert after.explain_search("acme", [1.0, 0.2, 0.1], model="small")["path"].startswith("index")
        # Identities go on counting where they were.
        for n in range(3):
            written = after.upsert_item("acme:new", f"k{n}", "c", vectors=[[0, n, 1]], model="small")
            assert written.status == "inserted"
        assert after.register_model("third", 7).model_id > 2
        assert after.upsert_item("acme:ann", "note-1", "once more").revision == 3
        assert after.search("acme:new", [0, 0, 1], 1, model="small")[0].key == "k0"
    with target.connect() as conn:
        conn.execute("select kompanion.grant_roles()")
    assert migrate(target.url) == []
    assert rollback(target.url, to="zero") == IDS[::-1]
    assert catalog.objects(target) == []


def test_a_custom_dump_restores_an_equal_store_that_lives(
    filled: servers.Database, empty_db: servers.Database, tmp_path: Path
) -> None:
    restore(empty_db, dump(filled, tmp_path / "dump", "--format=custom"))
    equal_and_alive(filled, empty_db)


def test_a_plain_dump_restores_by_psql(filled: servers.Database, empty_db: servers.Database, tmp_path: Path) -> None:
    run = empty_db.psql(dump(filled, tmp_path / "dump.sql"))
    assert run.returncode == 0, run.stderr
    equal_and_alive(filled, empty_db)


def test_a_dump_of_the_schema_alone_restores_where_the_extension_is(
    one_db: servers.Database, one_empty_db: servers.Database, tmp_path: Path
) -> None:
    with kompanion_db.connect(one_db.url) as store:
        samples.fill(store)
        store.ensure_index("small", kind="ivfflat", lists=3)
        store.index_metadata_key("n", type="number")
    with one_empty_db.connect() as conn:
        conn.execute("create extension vector")
    restore(one_empty_db, dump(one_db, tmp_path / "dump", "--format=custom", "--schema=kompanion"))
    equal_and_alive(one_db, one_empty_db)


def test_an_owner_who_is_no_superuser_restores_it(
    one_db: servers.Database, one_empty_db: servers.Database, tmp_path: Path
) -> None:
    with kompanion_db.connect(one_db.url) as store:
        samples.fill(store)
        store.ensure_index("small", kind="hnsw")
    file = dump(one_db, tmp_path / "dump", "--format=custom", "--schema=kompanion")
    with login(one_empty_db, None) as url:
        with one_empty_db.connect() as conn:
            conn.execute("create extension vector")
            conn.execute(f"grant create on database {one_empty_db.name} to {one_empty_db.name}_nobody")
        restore(one_empty_db, file, url)
        with kompanion_db.connect(one_db.url) as before, kompanion_db.connect(url) as after:
            assert after.digest() == before.digest()
            assert found(after) == found(before)
            assert after.ensure_index("small", kind="ivfflat", lists=2)
            assert after.upsert_item("acme:ann", "note-1", "once more").revision == 3


def test_it_works_with_the_extension_in_a_schema_of_its_own(
    server: servers.Server, empty_db: servers.Database, tmp_path: Path
) -> None:
    target = server.create()
    try:
        with empty_db.connect() as conn:
            conn.execute("create schema extensions; create extension vector schema extensions")
        migrate(empty_db.url)
        with kompanion_db.connect(empty_db.url) as store:
            samples.fill(store)
            store.upsert_items(samples.bulk_item(n) for n in range(50))
            store.index_metadata_key("n", type="number")
            store.ensure_index("small", kind="hnsw")
            assert store.explain_search("*", [1, 0, 0], filter={"n": {"$lt": 5}}, model="small")["returned"] > 0
        restore(target, dump(empty_db, tmp_path / "dump", "--format=custom"))
        equal_and_alive(empty_db, target)
    finally:
        target.drop()


def test_the_extension_may_move_to_another_schema(one_db: servers.Database) -> None:
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
    anew = page[page.index("After `alter extension vector set schema`") :].split("```sql")[1].split("```")[0]
    with kompanion_db.connect(one_db.url) as store:
        samples.fill(store)
    run = one_db.psql("create schema elsewhere; alter extension vector set schema elsewhere;\n" + anew)
    assert run.returncode == 0, run.stderr
    with kompanion_db.connect(one_db.url) as store:
        assert store.search("acme", [1, 0, 0], model="small")
        assert store.ensure_index("small", kind="hnsw")
        assert store.upsert_item("acme:ann", "moved", "text", vectors=[[1, 0, 0]], model="small").status == "inserted"


def test_a_dump_of_one_version_of_postgresql_restores_into_a_newer_one(tmp_path: Path) -> None:
    if not {"pg16", "pg18"} <= set(servers.wanted()):
        pytest.skip("needs pg16 and pg18 in one run")
    older, newer = servers.get("pg16"), servers.get("pg18")
    source, target = older.create(older.template), newer.create()
    try:
        with kompanion_db.connect(source.url) as store:
            samples.fill(store)
            store.ensure_index("small", kind="hnsw")
        file = tmp_path / "dump"
        command = [str(newer.bin_dir / "pg_dump"), f"--dbname={source.url}", f"--file={file}", "--format=custom"]
        subprocess.run(command, check=True, capture_output=True)
        restore(target, file)
        with kompanion_db.connect(source.url) as before, kompanion_db.connect(target.url) as after:
            assert by_name(samples.exported(after)) == by_name(samples.exported(before))
            assert found(after) == found(before)
            assert after.upsert_item("acme:ann", "note-1", "once more").revision == 3
    finally:
        source.drop()
        target.drop()


def test_a_fresh_installation_equals_an_upgraded_one_equals_install_psql(
    db: servers.Database, empty_db: servers.Database, server: servers.Server
) -> None:
    by_psql = server.create()
    try:
        assert migrate(empty_db.url, target=IDS[len(IDS) // 2]) == IDS[: len(IDS) // 2 + 1]
        assert migrate(empty_db.url) == IDS[len(IDS) // 2 + 1 :]
        assert by_psql.psql(install_script.render()).returncode == 0
        fresh = catalog.dump(db)
        assert catalog.dump(empty_db) == fresh
        assert catalog.dump(by_psql) == fresh
        assert catalog.history(empty_db) == catalog.history(by_psql) == catalog.history(db) == IDS
    finally:
        by_psql.drop()


def test_an_installation_step_by_step_equals_one_in_a_go(
    one_db: servers.Database, one_empty_db: servers.Database
) -> None:
    for name in IDS:
        assert migrate(one_empty_db.url, target=name) == [name]
    assert catalog.dump(one_empty_db) == catalog.dump(one_db)


def test_a_reader_can_back_up(one_db: servers.Database, tmp_path: Path) -> None:
    name = f"{one_db.name}_backup"
    with kompanion_db.connect(one_db.url) as store:
        samples.fill(store)
    one_db.server.run(f"create role {name} login in role kompanion_reader")
    try:
        url = one_db.server.url(one_db.name, user=name)
        command = [str(one_db.server.bin_dir / "pg_dump"), f"--dbname={url}", "--schema=kompanion", "--data-only"]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert "Note 1, revised" in run.stdout
    finally:
        one_db.server.run(f"drop role {name}")


def test_a_dump_restored_without_its_data_is_told_of_and_takes_its_data_later(
    one_db: servers.Database, one_empty_db: servers.Database, tmp_path: Path
) -> None:
    with kompanion_db.connect(one_db.url) as store:
        samples.fill(store)
    restore(one_empty_db, dump(one_db, tmp_path / "schema", "--format=custom", "--schema-only"))
    with pytest.raises(NotInstalled, match="its record of migrations is empty") as caught:
        migrate(one_empty_db.url)
    assert "restore the data of kompanion._yoyo_migration" in (caught.value.hint or "")
    by_psql = one_empty_db.psql(install_script.render())
    assert by_psql.returncode != 0
    assert "its record of migrations is empty" in by_psql.stderr
    data = dump(one_db, tmp_path / "data", "--format=custom", "--data-only", "--schema=kompanion")
    restore(one_empty_db, data)
    assert migrate(one_empty_db.url) == []
    with kompanion_db.connect(one_db.url) as before, kompanion_db.connect(one_empty_db.url) as after:
        assert by_name(samples.exported(after)) == by_name(samples.exported(before))
        assert found(after) == found(before)


def test_a_restore_that_broke_off_before_the_settings_is_told_of_by_a_search(one_db: servers.Database) -> None:
    with kompanion_db.connect(one_db.url) as store:
        samples.fill(store)
        with one_db.connect() as conn:
            conn.execute("delete from kompanion.settings")
        with pytest.raises(BadArgument, match="there is no setting 'target_recall'"):
            found(store)
