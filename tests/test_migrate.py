"""Installing, upgrading and rolling back keep their promises under crowds, crashes and missing rights."""

from __future__ import annotations

import importlib.metadata
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import catalog
import psycopg
import pytest
import servers

from kompanion_db.errors import (
    BadArgument,
    ConnectionFailed,
    KompanionError,
    MigrationLocked,
    NotInstalled,
    PermissionDenied,
)
from kompanion_db.migrate import migrate, migration_ids, require_installed, rollback, status
from kompanion_db.yoyo_postgres import LOCK_KEY, KompanionPostgresBackend

IDS = list(migration_ids())
CHILD = "import sys; from pathlib import Path; from kompanion_db.migrate import migrate\n"


def child(code: str, *args: str) -> subprocess.Popen[str]:
    """Another process with ``migrate`` imported; it can be killed."""
    command = [sys.executable, "-c", CHILD + code, *args]
    root = Path(__file__).parent.parent
    return subprocess.Popen(command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def toys(folder: Path, **files: str) -> Path:
    """A folder of migrations, each ``name=sql``, with rollbacks that drop the table of that name."""
    before = ""
    for name, sql in files.items():
        (folder / f"{name}.sql").write_text(f"{before}{sql}\n")
        (folder / f"{name}.rollback.sql").write_text(f"drop table kompanion.{name};\n")
        before = f"-- depends: {name}\n"
    return folder


@pytest.fixture
def role(one_db: servers.Database) -> Iterator[str]:
    """A login role of this test with no rights beyond those of public."""
    name = f"{one_db.name}_role"
    one_db.server.run(f"create role {name} login")
    yield name
    with one_db.connect() as conn:
        conn.execute(f"drop owned by {name}")
        conn.execute(f"drop role {name}")


def test_up_down_up_leaves_an_equal_catalog(empty_db: servers.Database) -> None:
    assert migrate(empty_db.url) == IDS
    first = catalog.dump(empty_db)
    assert rollback(empty_db.url, to="zero") == IDS[::-1]
    assert migrate(empty_db.url) == IDS
    assert catalog.dump(empty_db) == first


def test_rolling_back_everything_leaves_only_the_history(empty_db: servers.Database) -> None:
    migrate(empty_db.url)
    rollback(empty_db.url, count=len(IDS))
    assert catalog.objects(empty_db) == []
    assert catalog.history(empty_db) == []


def test_every_step_down_meets_the_catalog_of_the_step_up(one_empty_db: servers.Database) -> None:
    seen = []
    for name in IDS:
        assert migrate(one_empty_db.url, target=name) == [name]
        seen.append(catalog.dump(one_empty_db))
    for name, before in zip(IDS[:0:-1], seen[-2::-1], strict=True):
        assert rollback(one_empty_db.url) == [name]
        assert catalog.dump(one_empty_db) == before, f"the rollback of {name} is not its way back"


def test_eight_racing_installers_apply_each_migration_once(one_empty_db: servers.Database) -> None:
    racers = [child("print(len(migrate(sys.argv[1])))", one_empty_db.url) for _ in range(8)]
    answers = [racer.communicate(timeout=600) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 8, answers
    assert sum(int(out) for out, _ in answers) == len(IDS)
    with one_empty_db.connect() as conn:
        log = conn.execute("select migration_id from kompanion._yoyo_log order by 1").fetchall()
    assert [row[0] for row in log] == IDS


def test_installers_racing_in_two_databases_of_one_server_both_succeed(
    one_empty_db: servers.Database,
) -> None:
    other = one_empty_db.server.create()
    racers = [child("migrate(sys.argv[1])", url) for url in (one_empty_db.url, other.url)]
    errors = [racer.communicate(timeout=600)[1] for racer in racers]
    other.drop()
    assert [racer.returncode for racer in racers] == [0, 0], errors


def test_a_killed_installer_leaves_nothing_half_applied(one_empty_db: servers.Database) -> None:
    db = one_empty_db
    seen = {(): ""}
    for i, name in enumerate(IDS, start=1):
        migrate(db.url, target=name)
        seen[tuple(IDS[:i])] = catalog.dump(db)
    rollback(db.url, to="zero")
    seen[()] = catalog.dump(db)
    inside = 0
    for count in random.Random(5).sample(range(1, len(IDS) // 2), 5):
        process = child("migrate(sys.argv[1])", db.url)
        with db.connect() as conn:
            begun = f"select count(*) >= {count} from kompanion._yoyo_migration"
            wait_until(lambda: conn.execute(begun).fetchone() == (True,), 60)  # noqa: B023 - used at once
            process.kill()
            process.communicate()
            gone = "select not exists (select from pg_locks where locktype = 'advisory' and database = "
            gone += "(select oid from pg_database where datname = current_database()))"
            wait_until(lambda: conn.execute(gone).fetchone() == (True,))  # noqa: B023 - used at once
        applied = tuple(catalog.history(db))
        inside += len(applied) < len(IDS)
        assert catalog.dump(db) == seen[applied]
        assert migrate(db.url) == IDS[len(applied) :]
        assert catalog.dump(db) == seen[tuple(IDS)]
        rollback(db.url, to="zero")
    assert inside, "each was done before it was killed"


def test_a_holder_killed_in_the_middle_blocks_nobody(one_empty_db: servers.Database, tmp_path: Path) -> None:
    sleepy = "create table kompanion.toy_a (x int);\ndo $$ begin perform pg_sleep(600); end $$;"
    folder = str(toys(tmp_path, toy_a=sleepy))
    process = child("migrate(sys.argv[1], folder=Path(sys.argv[2]))", one_empty_db.url, folder)
    sleeping = "select exists (select from pg_stat_activity where datname = current_database() "
    sleeping += "and query ~ 'pg_sleep' and pid <> pg_backend_pid())"
    with one_empty_db.connect() as conn:
        wait_until(lambda: conn.execute(sleeping).fetchone() == (True,))
    process.kill()
    process.communicate()
    assert migrate(one_empty_db.url, lock_timeout=30) == IDS, "the sleeping migration was never applied"


def test_a_living_holder_is_named(one_empty_db: servers.Database) -> None:
    with one_empty_db.connect(application_name="nightly deploy") as holder:
        holder.execute("select pg_advisory_lock(%s, %s)", LOCK_KEY)
        pid = holder.info.backend_pid
        with pytest.raises(MigrationLocked, match=rf"pid {pid} \(nightly deploy, role .*since 20\d\d-"):
            migrate(one_empty_db.url, lock_timeout=0.3)
        assert not any(row.applied for row in status(one_empty_db.url)), "status waits for nobody"


def test_the_lock_of_another_database_is_no_hindrance(one_empty_db: servers.Database) -> None:
    with one_empty_db.server.connect() as elsewhere:
        elsewhere.execute("select pg_advisory_lock(%s, %s)", LOCK_KEY)
        assert migrate(one_empty_db.url, lock_timeout=0.3) == IDS


@pytest.mark.parametrize("step", ["log_migration", "mark_one"])
def test_a_crash_between_the_steps_and_the_record_undoes_the_steps(
    one_empty_db: servers.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = toys(tmp_path, toy_a="create table kompanion.toy_a (x int);")

    def crash(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KompanionPostgresBackend, step, crash)
        with pytest.raises(KeyboardInterrupt):
            migrate(one_empty_db.url, folder=folder)
    assert catalog.objects(one_empty_db) == []
    assert migrate(one_empty_db.url, folder=folder) == ["toy_a"]
    with monkeypatch.context() as patch:
        patch.setattr(KompanionPostgresBackend, step.replace("mark", "unmark"), crash)
        with pytest.raises(KeyboardInterrupt):
            rollback(one_empty_db.url, folder=folder)
    assert catalog.objects(one_empty_db) == ["_toy_a", "toy_a", "toy_a"]
    assert rollback(one_empty_db.url, folder=folder) == ["toy_a"]


def test_a_failing_migration_keeps_those_before_it_and_nothing_of_itself(
    one_empty_db: servers.Database, tmp_path: Path
) -> None:
    raising = "do $$ begin raise exception using errcode = 'KM013', message = 'm', hint = 'h'; end $$;"
    folder = toys(
        tmp_path,
        toy_a="create table kompanion.toy_a (x int);",
        toy_b=f"create table kompanion.toy_b (x int);\n{raising}",
    )
    with pytest.raises(KompanionError) as caught:
        migrate(one_empty_db.url, folder=folder)
    assert (caught.value.sqlstate, caught.value.message, caught.value.hint) == ("KM013", "m", "h")
    assert catalog.history(one_empty_db) == ["toy_a"]
    assert "toy_b" not in catalog.objects(one_empty_db)


def test_a_migration_without_a_rollback_file_is_not_forgotten(one_empty_db: servers.Database, tmp_path: Path) -> None:
    folder = toys(tmp_path, toy_a="create table kompanion.toy_a (x int);")
    migrate(one_empty_db.url, folder=folder)
    (tmp_path / "toy_a.rollback.sql").unlink()
    with pytest.raises(KompanionError, match="no rollback file"):
        rollback(one_empty_db.url, folder=folder)
    assert catalog.history(one_empty_db) == ["toy_a"]


def test_a_normal_run_writes_no_error_into_the_server_log(empty_db: servers.Database) -> None:
    if empty_db.server.key == "own":
        pytest.skip("the log of a server of the user's own is out of reach")
    status(empty_db.url)
    migrate(empty_db.url)
    migrate(empty_db.url)
    status(empty_db.url)
    rollback(empty_db.url, to="zero")

    def complaints() -> list[str]:
        lines = empty_db.server.log().read_text().splitlines()
        return [line for line in lines if empty_db.name in line and ("ERROR" in line or "WARN" in line)]

    assert complaints() == []
    empty_db.psql("select 1 / 0")
    assert len(complaints()) == 1, "the log does say so when something fails"


def test_status_needs_no_lock_and_only_the_right_to_read(one_db: servers.Database, role: str) -> None:
    url = one_db.server.url(one_db.name, user=role)
    with pytest.raises(PermissionDenied, match="kompanion_reader"):
        status(url)
    with one_db.connect() as conn:
        conn.execute(f"grant usage on schema kompanion to {role}")
        conn.execute(f"grant select on kompanion._yoyo_migration to {role}")
        conn.execute("select pg_advisory_lock(%s, %s)", LOCK_KEY)
        rows = status(url)
    assert [row.id for row in rows] == IDS
    assert all(row.applied and row.applied_at and row.applied_at.tzinfo for row in rows)


@pytest.mark.parametrize("group", ["kompanion_reader", "kompanion_writer", "kompanion_admin"])
def test_each_role_of_ours_may_see_what_is_installed(one_db: servers.Database, role: str, group: str) -> None:
    with one_db.connect() as conn:
        conn.execute(f"grant {group} to {role}")
    with psycopg.connect(one_db.server.url(one_db.name, user=role)) as conn:
        require_installed(conn)


def test_before_installation_everything_is_unapplied(one_empty_db: servers.Database) -> None:
    assert [(row.id, row.applied, row.applied_at) for row in status(one_empty_db.url)] == [
        (name, False, None) for name in IDS
    ]
    with one_empty_db.connect() as conn, pytest.raises(NotInstalled, match="Run: kompanion-db migrate "):
        require_installed(conn)


def test_an_older_and_a_newer_schema_are_told_apart(one_db: servers.Database) -> None:
    rollback(one_db.url)
    with one_db.connect() as conn:
        with pytest.raises(NotInstalled, match=rf"older .*{IDS[-1]}.*kompanion-db migrate"):
            require_installed(conn)
        migrate(one_db.url)
        require_installed(conn)
        conn.execute("insert into kompanion._yoyo_migration values ('x', 'pg_9999_later', now())")
        with pytest.raises(NotInstalled, match=r"newer .*pg_9999_later.*pip install --upgrade"):
            require_installed(conn)
    for change in (migrate, rollback):
        with pytest.raises(NotInstalled, match="newer"):
            change(one_db.url)
    assert [row.id for row in status(one_db.url) if not row.in_package] == ["pg_9999_later"]


def test_a_target_that_names_nothing_or_too_much_is_refused(one_db: servers.Database) -> None:
    for target in ("pg_0", "nonsense"):
        with pytest.raises(BadArgument, match="target"):
            migrate(one_db.url, target=target)


def test_the_password_stays_out_of_errors_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for password in ("s3cret", "s3cret@x", "s3cret%2F"):
        with pytest.raises(ConnectionFailed) as caught:
            migrate(f"postgresql://u:{password}@localhost:1/d")
        assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caplog.text}"


def test_yoyo_finds_the_backend_by_its_name() -> None:
    found = importlib.metadata.entry_points(group="yoyo.backends", name="kompanion+postgresql")
    if not found:
        pytest.skip("the package is not installed, only on the path")
    assert next(iter(found)).load() is KompanionPostgresBackend
