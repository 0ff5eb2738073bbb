"""An installation that cannot work is refused with the way out; one that can work needs no superuser."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import catalog
import pytest
import servers
from logins import login

import kompanion_db
from kompanion_db import embedded
from kompanion_db.dev import install_script
from kompanion_db.errors import BadArgument, PermissionDenied, UnsupportedServer
from kompanion_db.migrate import migrate, migration_ids, rollback
from kompanion_db.urls import connection_args

IDS = list(migration_ids())


@pytest.fixture
def owner(empty_db: servers.Database) -> Iterator[str]:
    """A login role without any attribute; what it owns goes with the test."""
    name = f"{empty_db.name}_owner"
    empty_db.server.run(f"create role {name} login")
    yield name
    with empty_db.connect() as conn:
        conn.execute(f"reassign owned by {name} to current_user; drop owned by {name}; drop role {name}")


def url_as(db: servers.Database, role: str) -> str:
    return db.server.url(db.name, user=role)


def test_a_missing_extension_that_the_role_may_not_create_is_asked_of_a_dba(
    empty_db: servers.Database, owner: str
) -> None:
    # A role with CREATE on the database may create it itself where pgvector is marked trusted.
    with empty_db.connect() as conn:
        conn.execute(f"create schema kompanion authorization {owner}")
    with pytest.raises(UnsupportedServer, match="create extension vector") as caught:
        migrate(url_as(empty_db, owner))
    assert caught.value.sqlstate == "KM013"
    assert caught.value.hint
    assert owner in (caught.value.detail or "")
    assert catalog.history(empty_db) == []


def test_a_database_without_schema_public_says_where_else_the_extension_may_be(one_empty_db: servers.Database) -> None:
    with one_empty_db.connect() as conn:
        conn.execute("drop schema public")
        with pytest.raises(UnsupportedServer, match="no schema public to create it in"):
            migrate(one_empty_db.url)
        conn.execute("create schema extensions; create extension vector schema extensions")
    assert migrate(one_empty_db.url) == IDS


def test_a_pgvector_older_than_0_6_is_refused(empty_db: servers.Database) -> None:
    with empty_db.connect() as conn:
        conn.execute("create extension vector")
        conn.execute("update pg_extension set extversion = '0.5.1' where extname = 'vector'")
    with pytest.raises(UnsupportedServer, match=r"pgvector 0\.5\.1 is too old") as caught:
        migrate(empty_db.url)
    assert caught.value.hint
    assert catalog.history(empty_db) == []


def test_a_pgvector_of_two_digits_is_not_taken_for_an_old_one(one_empty_db: servers.Database) -> None:
    with one_empty_db.connect() as conn:
        conn.execute("create extension vector")
        conn.execute("update pg_extension set extversion = '0.10.0' where extname = 'vector'")
    assert migrate(one_empty_db.url) == IDS


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_is_not_utf8_is_refused(one_server: servers.Server, encoding: str) -> None:
    # ICU, which a server of the user's own may have by default, has no SQL_ASCII.
    with one_server.connect(one_server.base["dbname"]) as conn:
        provider = "locale_provider libc" if conn.info.server_version >= 150000 else ""
    db = one_server.create(options=f"encoding '{encoding}' lc_collate 'C' lc_ctype 'C' {provider}")
    try:
        with pytest.raises(UnsupportedServer, match=f"encoded in {encoding}") as caught:
            migrate(db.url)
        assert caught.value.hint
        assert catalog.history(db) == []
    finally:
        db.drop()


def test_the_extension_may_live_in_a_schema_of_its_own(empty_db: servers.Database) -> None:
    with empty_db.connect() as conn:
        conn.execute("create schema extensions")
        conn.execute("create extension vector schema extensions")
        assert migrate(empty_db.url) == IDS
        paths = conn.execute(
            """select distinct s from pg_proc p, unnest(p.proconfig) s
               where p.pronamespace = 'kompanion'::regnamespace and s like 'search_path=%'"""
        ).fetchall()
        assert paths == [("search_path=kompanion, extensions, pg_temp",)]
        column = "select atttypid::regtype::text from pg_attribute where attrelid = %s::regclass and attname = %s"
        assert conn.execute(column, ("kompanion.embeddings", "vector")).fetchone() == ("extensions.vector",)
    assert rollback(empty_db.url, to="zero") == IDS[::-1]
    assert catalog.objects(empty_db) == []


def test_an_owner_who_is_no_superuser_installs_once_a_dba_has_made_the_extension(
    empty_db: servers.Database, owner: str
) -> None:
    with empty_db.connect() as conn:
        conn.execute("create extension vector")
        conn.execute(f"alter database {empty_db.name} owner to {owner}")
    assert migrate(url_as(empty_db, owner)) == IDS
    assert rollback(url_as(empty_db, owner), to="zero") == IDS[::-1]
    assert migrate(url_as(empty_db, owner)) == IDS


def test_the_right_to_create_in_the_database_is_enough(empty_db: servers.Database, owner: str) -> None:
    with empty_db.connect() as conn:
        conn.execute("create extension vector")
        with pytest.raises(PermissionDenied):
            migrate(url_as(empty_db, owner))
        conn.execute(f"grant create on database {empty_db.name} to {owner}")
    assert migrate(url_as(empty_db, owner)) == IDS
    assert migrate(empty_db.url) == []


def test_an_extension_where_everybody_may_create_objects_is_warned_of(
    empty_db: servers.Database, caplog: pytest.LogCaptureFixture
) -> None:
    # As schema public is in a database that PostgreSQL 14 made.
    with empty_db.connect() as conn:
        conn.execute("create schema open; create extension vector schema open; grant all on schema open to public")
    migrate(empty_db.url, target=IDS[0])
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "everybody may create objects in schema open" in warning
    assert "revoke create on schema open from public" in warning
    rollback(empty_db.url, to="zero")
    caplog.clear()
    with empty_db.connect() as conn:
        conn.execute("revoke create on schema open from public")
    migrate(empty_db.url, target=IDS[0])
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize(
    "closed",
    [
        "alter default privileges revoke execute on functions from public; create extension vector schema closed",
        "alter default privileges revoke usage on types from public; create extension vector schema closed",
        "create extension vector schema closed; revoke usage on schema closed from public",
    ],
)
def test_an_extension_that_is_not_open_to_everybody_is_warned_of_and_how_it_is_opened_said(
    one_empty_db: servers.Database, caplog: pytest.LogCaptureFixture, closed: str
) -> None:
    with one_empty_db.connect() as conn:
        conn.execute("create schema closed; grant usage on schema closed to public; " + closed)
    migrate(one_empty_db.url)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "the extension vector in schema closed is not open to everybody" in warning
    with one_empty_db.connect() as conn:
        conn.execute(warning[warning.index("grant usage") :])
    with kompanion_db.connect(one_empty_db.url) as store:
        store.register_model("small", 3)
    with login(one_empty_db, "kompanion_writer") as url, kompanion_db.connect(url) as store:
        store.upsert_items([{"namespace": "a", "key": "k", "content": "c", "vectors": [[1, 0, 0]]}])
        assert [hit.key for hit in store.search("a", [1, 0, 0])] == ["k"]


def test_an_owner_who_may_not_create_roles_installs_on_a_cluster_without_ours_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A cluster of its own: the roles are shared by all databases of the test servers.
    with embedded.start(tmp_path / "data") as own:
        server = servers.Server("own", own.bin_dir, {"user": "postgres", "host": _host(own.url())})
        server.run("create role plain login")
        db = server.create(options="owner plain")
        with db.connect() as conn:
            conn.execute("create extension vector")
            assert migrate(url_as(db, "plain")) == IDS
            names = "select count(*) from pg_roles where rolname like 'kompanion%'"
            assert conn.execute(names).fetchone() == (0,)
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert rollback(url_as(db, "plain"), to="zero") == IDS[::-1]
        run = db.psql("set role plain;\n" + install_script.render())
    assert run.returncode == 0, run.stderr
    for told in ("\n".join(warnings), run.stderr):
        for role in ("kompanion_reader", "kompanion_writer", "kompanion_admin"):
            assert f"role {role} is missing and plain may not create it" in told
        assert "select kompanion.grant_roles()" in told


def _host(url: str) -> str:
    return url.split("host=", 1)[1]


@pytest.mark.parametrize(("count", "seconds"), [(True, 9), ("1", 9), (1.5, 9), (-1, 9), (1, None), (1, "9"), (1, -1)])
def test_a_count_or_a_time_that_is_none_undoes_nothing(one_db: servers.Database, count: Any, seconds: Any) -> None:
    before = catalog.history(one_db)
    with pytest.raises(BadArgument, match=r"^(count|lock_timeout): "):
        rollback(one_db.url, count, lock_timeout=seconds)
    assert catalog.history(one_db) == before


@pytest.mark.parametrize("how", ["python", "psql"])
def test_what_others_put_into_public_never_runs_with_the_rights_of_who_installs(
    one_empty_db: servers.Database, how: str
) -> None:
    with one_empty_db.connect() as conn, login(one_empty_db, None) as other:
        conn.execute("create schema extensions; create extension vector schema extensions")
        conn.execute("grant usage on schema extensions to public; grant create on schema public to public")
        conn.execute("create table public.ran (as_role text, what text); grant all on public.ran to public")
        conn.execute(f"set role {connection_args(other)['user']}")
        for name, arguments, result in (  # each fits a call better than what the server has
            ("quote_ident", "name", "text"),
            ("format", "text, text", "text"),
            ("has_schema_privilege", "text, text, text", "boolean"),
            ("equal", "varchar, varchar", "boolean"),
        ):
            conn.execute(
                f"create function public.{name}({arguments}) returns {result} language plpgsql as $$ begin "
                f"insert into public.ran values (current_user, '{name}'); return null; end $$"
            )
        conn.execute("create operator public.= (leftarg = varchar, rightarg = varchar, function = public.equal)")
        conn.execute("reset role")
        if how == "python":
            migrate(one_empty_db.url)
        else:
            script = f"set search_path = public, extensions;\n{install_script.render()}\nshow search_path;"
            done = one_empty_db.psql(script)
            assert done.returncode == 0, done.stderr
            assert "public, extensions" in done.stdout
        rollback(one_empty_db.url, to="zero")
        assert conn.execute("select distinct as_role, what from public.ran").fetchall() == []


def _typed(db: servers.Database, folder: Path, lines: str) -> str:
    """What psql shows to who types these lines at a terminal."""
    pty = pytest.importorskip("pty")
    ours, its = pty.openpty()
    command = [str(db.server.bin_dir / "psql"), "-X", "--pset=pager=off", "-d", db.url]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=folder) as psql:
        os.close(its)
        os.write(ours, lines.encode())
        shown = b""
        with suppress(OSError):  # the end, on Linux
            while part := os.read(ours, 65536):
                shown += part
        psql.wait()
    os.close(ours)
    return shown.decode()


def test_a_session_in_which_an_installation_broke_off_is_as_it_was_once_one_succeeds(
    one_empty_db: servers.Database, tmp_path: Path
) -> None:
    (tmp_path / "install.psql").write_text(install_script.render())
    shown = _typed(
        one_empty_db,
        tmp_path,
        "set search_path = public, pg_catalog;\nset default_transaction_read_only = on;\n\\i install.psql\n"
        "rollback;\nset default_transaction_read_only = off;\n\\i install.psql\n"
        "\\echo then :ON_ERROR_STOP :QUIET\nshow search_path;\n\\q\n",
    )
    broken_off, then = shown.split("kompanion_db is installed, up to")
    assert "read-only transaction" in broken_off
    assert "then off off" in then
    assert "public, pg_catalog" in then
