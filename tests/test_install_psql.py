"""A DBA with psql alone gets exactly what `kompanion-db migrate` makes, and may mix the two."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import catalog
import psycopg
import pytest
import servers

from kompanion_db.dev import install_script
from kompanion_db.dev.output import sql_folder
from kompanion_db.errors import NotInstalled
from kompanion_db.migrate import (
    migrate,
    migration_ids,
    migrations_folder,
    require_installed,
    require_installed_async,
    rollback,
    status,
)
from kompanion_db.yoyo_postgres import LOCK_KEY

IDS = list(migration_ids())
HISTORY = "select migration_hash, migration_id from kompanion._yoyo_migration order by 2"
LAYOUT = "select version from kompanion._yoyo_version"


@pytest.fixture(scope="module")
def script() -> str:
    return install_script.render()


def test_the_script_is_made_from_the_migrations_of_today(script: str) -> None:
    file = sql_folder() / "install.psql"
    assert file.read_text() == script, "run: python -m kompanion_db.dev.install_script"


def test_it_makes_the_same_catalog_and_history_as_migrate(
    empty_db: servers.Database, db: servers.Database, script: str
) -> None:
    run = empty_db.psql(script)
    assert run.returncode == 0, run.stderr
    assert f"installed, up to {IDS[-1]}" in run.stdout
    assert catalog.dump(empty_db) == catalog.dump(db)
    for query in (HISTORY, LAYOUT):
        with empty_db.connect() as here, db.connect() as there:
            assert here.execute(query).fetchall() == there.execute(query).fetchall()
    assert all(row.applied for row in status(empty_db.url))
    assert migrate(empty_db.url) == []
    with empty_db.connect() as conn:
        require_installed(conn)


def test_a_second_run_says_so_and_changes_nothing(db: servers.Database, script: str) -> None:
    before = catalog.dump(db)
    run = db.psql(script)
    assert (run.returncode, run.stderr) == (0, "")
    assert "installed already" in run.stdout
    assert catalog.dump(db) == before
    with db.connect() as conn:
        assert conn.execute("select count(*) from kompanion._yoyo_log").fetchone() == (len(IDS),)


def test_it_brings_an_older_schema_up_to_date(one_empty_db: servers.Database, script: str) -> None:
    migrate(one_empty_db.url, target=IDS[2])
    run = one_empty_db.psql(script)
    assert run.returncode == 0, run.stderr
    assert "applying" in run.stdout
    assert IDS[2] not in run.stdout
    assert catalog.history(one_empty_db) == IDS
    assert rollback(one_empty_db.url, to="zero") == IDS[::-1]


def test_it_leaves_a_newer_schema_alone(one_db: servers.Database, script: str) -> None:
    with one_db.connect() as conn:
        conn.execute("insert into kompanion._yoyo_migration values ('x', 'pg_9999_later', now())")
    run = one_db.psql(script)
    assert run.returncode == 3
    assert "pg_9999_later" in run.stderr


def test_a_migration_that_fails_leaves_those_before_it_and_can_be_repeated(
    one_empty_db: servers.Database, script: str, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), folder)
    third = folder / f"{IDS[2]}.sql"
    third.write_text(third.read_text() + "\nselect 1 / 0;\n")
    run = one_empty_db.psql(install_script.render(folder))
    assert run.returncode == 3
    assert "division by zero" in run.stderr
    assert catalog.history(one_empty_db) == IDS[:2]
    assert one_empty_db.psql(script).returncode == 0
    assert catalog.history(one_empty_db) == IDS


def test_it_waits_for_the_lock_of_migrate_and_names_its_holder(one_empty_db: servers.Database, script: str) -> None:
    with one_empty_db.connect(application_name="nightly deploy") as holder:
        holder.execute("select pg_advisory_lock(%s, %s)", LOCK_KEY)
        run = one_empty_db.psql(script.replace("1 .. 600", "1 .. 3"))
        assert run.returncode == 3
        assert f"pid {holder.info.backend_pid} (nightly deploy)" in run.stderr
    assert catalog.history(one_empty_db) == []


def test_four_racing_runs_apply_each_migration_once(one_empty_db: servers.Database, script: str) -> None:
    command = [str(one_empty_db.server.bin_dir / "psql"), "-X", "-d", one_empty_db.url, "-f", "-"]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write(script)
        racer.stdin.close()
    assert [racer.wait(600) for racer in racers] == [0] * 4
    with one_empty_db.connect() as conn:
        assert conn.execute("select count(*) from kompanion._yoyo_log").fetchone() == (len(IDS),)
    for racer in racers:
        for pipe in (racer.stdout, racer.stderr):
            assert pipe
            pipe.close()


async def test_the_check_of_an_async_connection_says_the_same(one_db: servers.Database) -> None:
    async with await psycopg.AsyncConnection.connect(one_db.url, autocommit=True) as conn:
        await require_installed_async(conn)
        rollback(one_db.url)
        with pytest.raises(NotInstalled, match="older"):
            await require_installed_async(conn)
        rollback(one_db.url, to="zero")
        with pytest.raises(NotInstalled, match="not installed"):
            await require_installed_async(conn)
