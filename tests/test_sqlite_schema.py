"""The SQLite schema: applied and undone as one, its invariants kept by triggers in pure SQL."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from rights import as_user

import kompanion_db
from kompanion_db.errors import BadArgument, NamespaceDeleted, PermissionDenied
from kompanion_db.migrate import migrate, migration_ids, migrations_folder, rollback, status
from kompanion_db.namespaces import namespace_id
from kompanion_db.sqlite.database import Database, open_connection
from kompanion_db.sqlite.files import Place, place_of
from kompanion_db.sqlite.registry import functions
from kompanion_db.sqlite.upkeep import doctor


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.fixture
def conn(url: str) -> Iterator[apsw.Connection]:
    migrate(url)
    with closing(open_connection(place_of(url))) as opened:
        opened.execute("insert into namespaces (namespace_id, path) values (randomblob(16), 'acme:ann')")
        opened.execute("insert into embedding_models (name, dim) values ('m', 2)")
        opened.execute(
            "insert into memory_items (namespace_no, key, content, tags) values (1, 'k', 'first', jsonb('[\"a\"]'))"
        )
        yield opened


def test_migrations_are_applied_once_and_undone_whole(url: str) -> None:
    known = list(migration_ids(migrations_folder("sqlite")))
    assert [m.applied for m in status(url)] == [False] * len(known)
    assert migrate(url) == known
    assert migrate(url) == []
    assert all(m.applied for m in status(url))
    assert rollback(url, to="zero") == known[::-1]
    with closing(open_connection(place_of(url))) as opened:
        left = opened.execute("select name from sqlite_schema where name not like '%yoyo%' and name not like 'sqlite%'")
        assert left.fetchall() == []


def test_many_processes_that_migrate_at_once_apply_everything_once(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        done = pool.map(migrate, [url] * 4)
    assert sorted(map(len, done))[:-1] == [0, 0, 0]


def _opens(url: str) -> int:
    with kompanion_db.connect(url) as store:
        return store.upsert_item("acme", "k", str(os.getpid())).revision


def test_many_processes_that_open_a_new_store_at_once_all_have_it(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sorted(pool.map(_opens, [url] * 8, chunksize=1))[0] == 1
    assert all(m.applied for m in status(url))


@pytest.mark.parametrize("killed", [True, False])
def test_a_store_opens_though_another_process_has_begun_to_make_it(url: str, killed: bool) -> None:
    with closing(open_connection(place_of(url), create=True)) as other:
        if killed:
            other.close()
        assert place_of(url).path.stat().st_size > 0
        assert _opens(url) == 1


def test_a_store_whose_schema_was_undone_is_made_anew(url: str) -> None:
    assert _opens(url) == 1
    rollback(url, to="zero")
    assert _opens(url) == 1


def test_a_plain_update_is_the_next_revision_and_the_former_is_kept(conn: apsw.Connection) -> None:
    conn.execute("update memory_items set content = 'second', tags = jsonb('[\"b\"]')")
    conn.execute("update memory_items set content = content")
    item = conn.execute("select revision, content_revision, content from memory_items").fetchall()
    assert item == [(2, 2, "second")]
    kept = conn.execute("select revision, content, superseded_at > updated_at from memory_item_revisions").fetchall()
    assert kept == [(1, "first", 1)]
    assert conn.execute("select tag from item_tags").fetchall() == [("b",)]


def test_changed_content_is_cut_anew_and_waits_for_a_vector(conn: apsw.Connection) -> None:
    conn.execute("update memory_items set content = 'second'")
    conn.execute("insert into embedding_vectors (chunk_id, model, vector) values (1, 'm', zeroblob(8))")
    assert conn.execute("select chunk_id from embedding_queue").fetchall() == []
    conn.execute("update memory_items set content = 'third'")
    assert conn.execute("select content, content_revision from memory_chunks").fetchall() == [("third", 3)]
    assert conn.execute("select count(*) from embeddings").fetchall() == [(0,)]
    assert conn.execute("select count(*) from embedding_queue").fetchall() == [(1,)]
    conn.execute("update memory_items set content = ' \u2003 '")
    assert conn.execute("select count(*) from memory_chunks").fetchall() == [(0,)]


def test_what_is_deleted_or_expired_is_in_no_live_view(conn: apsw.Connection) -> None:
    assert conn.execute("select namespace, key from live_items").fetchall() == [("acme:ann", "k")]
    for change in ("deleted_at = 1", "deleted_at = null, expires_at = 1"):
        conn.execute(f"update memory_items set {change}")
        assert conn.execute("select key from live_items").fetchall() == []
    conn.execute("update memory_items set expires_at = null")
    conn.execute("update namespaces set deleted_at = 1")
    assert conn.execute("select key from live_items").fetchall() == []


@pytest.mark.parametrize(("statement", "left"), [
    ("delete from memory_items where key < 'k2'", 200),
    ("delete from memory_chunks where content < 'k2'", 200),
    ("delete from namespaces where path = 'acme:ann'", 150),
])  # fmt: skip
def test_a_plain_delete_takes_along_what_hangs_on_the_row_though_foreign_keys_are_off(
    url: str, statement: str, left: int
) -> None:
    with kompanion_db.connect(url) as store:
        store.register_model("m", 2)
        for revision in ("first", "second"):
            store.upsert_items(
                {"namespace": "acme:ann" if n % 2 else "acme:bob", "key": f"k{n}", "content": f"k{n}", "tags": ["a"],
                 "thread": "daily", "user_key": "ann", "metadata": {revision: 1}, "vectors": [[1.0, n]]}
                for n in range(100, 400)
            )  # fmt: skip
        with closing(apsw.Connection(str(place_of(url).path))) as theirs:
            assert theirs.execute("pragma foreign_keys").fetchall() == [(0,)]
            theirs.execute(statement)
            assert theirs.execute("pragma foreign_key_check").fetchall() == []
        assert len(store.search("acme", [1.0, 0.0], 1000)) == left
        assert len(store.search("acme", [1.0, 0.0], 1000, tags_all=["a"])) == left
        assert store.doctor() == []


@pytest.mark.parametrize(("statement", "code"), [
    ("insert into embedding_vectors (chunk_id, model, vector) values (1, 'other', zeroblob(8))", "KM005"),
    ("insert into embedding_vectors (chunk_id, model, vector) values (9, 'm', zeroblob(8))", "KM003"),
    ("insert into embedding_vectors (chunk_id, model, vector) values (1, 'm', zeroblob(4))", "KM004"),
    ("update memory_items set namespace_no = 2", "KM007"),
    ("update memory_items set revision = 7", "KM007"),
])  # fmt: skip
def test_what_breaks_a_rule_is_refused_with_its_code(conn: apsw.Connection, statement: str, code: str) -> None:
    conn.execute("update memory_items set content = 'second'")
    conn.execute("update memory_chunks set chunk_id = 1")
    with pytest.raises(apsw.ConstraintError, match=code):
        conn.execute(statement)


@pytest.mark.parametrize("seconds", [3e6, 1e299])
def test_a_migration_may_be_told_to_wait_for_years(url: str, seconds: float) -> None:
    assert migrate(url, lock_timeout=seconds)


@pytest.mark.parametrize("seconds", [-1, 1e300, float("nan"), 10**400, 10**5000], ids=range(5))
def test_what_nobody_can_wait_is_refused(url: str, seconds: float) -> None:
    with pytest.raises(BadArgument, match="lock_timeout:"):
        migrate(url, lock_timeout=seconds)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///x.db?mode=ro", "sqlite:x.db"]
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(BadArgument, match="url:"):
        place_of(url)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/x.db", "x" * 5000])
def test_a_name_too_long_is_refused_as_such(tmp_path: Path, name: str) -> None:
    wrong = f"sqlite:///{tmp_path / name}"
    with kompanion_db.connect(f"sqlite:///{tmp_path}/store.db") as store:
        for call in (
            lambda: kompanion_db.connect(wrong),
            lambda: status(wrong),
            lambda: doctor(wrong),
            lambda: store.backup(tmp_path / name),
        ):
            with pytest.raises(BadArgument, match=r"too long.*shorter"):
                call()


def test_a_name_that_leaves_no_room_for_those_of_the_files_beside_it_is_refused_and_no_file_is_left(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadArgument, match=r"too long.*shorter"):
        kompanion_db.connect(f"sqlite:///{tmp_path}/{'x' * 248}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused_as_such(tmp_path: Path) -> None:
    for call in (kompanion_db.connect, migrate, status, doctor):
        with pytest.raises(BadArgument, match=r"is a folder.*Name a file in it"):
            call(f"sqlite:///{tmp_path}")


def test_a_folder_that_may_not_be_looked_into_is_no_place_without_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path, **options: Any) -> os.stat_result:
        if path.is_relative_to(tmp_path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return allowed(path, **options)

    allowed = Path.stat
    url = f"sqlite:///{tmp_path}/x.db"
    kompanion_db.connect(url).close()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", forbidden)
        for call in (kompanion_db.connect, status, doctor):
            with pytest.raises(PermissionDenied, match=r"Permission denied.*readable and writable"):
                call(url)


@pytest.mark.skipif(os.name == "nt", reason="folders of Windows have no such rights")
def test_who_may_not_write_to_the_folder_cannot_read_a_store_but_a_copy_of_it_as_the_error_says(tmp_path: Path) -> None:
    kept, copy = tmp_path / "kept", tmp_path / "copy"
    kept.mkdir()
    with kompanion_db.connect(f"sqlite:///{kept}/x.db") as store:
        store.upsert_item("acme", "k", "tea")
    shutil.copytree(kept, copy)
    for path in (kept / "x.db", copy / "x.db", kept):
        path.chmod(0o500)
    refused = as_user("list", "--url", f"sqlite:///{kept}/x.db")
    assert (refused.returncode, PermissionDenied.sqlstate in refused.stderr) == (1, True)
    assert "Or read a copy in another folder" in refused.stderr
    assert "tea" in as_user("list", "--url", f"sqlite:///{copy}/x.db").stdout


def test_three_slashes_are_a_file_here_and_four_one_by_its_full_path() -> None:
    assert place_of("sqlite:///a%20b.db").path == Path.cwd() / "a b.db"
    place = place_of("sqlite:////var/x.db?synchronous=normal")
    assert place == Place(Path("/var/x.db"), "normal")
    assert place.folder == Path("/var/x.db.vec")


@pytest.mark.parametrize("name", ["a%20b/x.db", "what?.db", "100%.db", "a b.db", " x.db ", "Tür/ö.db", "a#b&c=d.db"])
def test_the_url_of_a_place_names_it_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    for place in (Place(tmp_path / name), Place(tmp_path / name, "normal")):
        assert place_of(place.url) == place
    place.path.parent.mkdir(exist_ok=True)
    with kompanion_db.connect(place.url) as store:
        assert store.url == place.url
        assert store.doctor() == []
    assert [path for path in tmp_path.rglob("*") if path.suffix.strip() == ".db"] == [place.path]


def test_a_namespace_below_a_deleted_one_is_refused_and_look_alikes_are_not(url: str) -> None:
    migrate(url)
    database = Database(place_of(url))

    def call(name: str, **arguments: object) -> list[dict[str, object]]:
        with database.session(functions()[name].runs == "write") as session:
            return functions()[name].body(session, **arguments)

    for path in ("acme:ann", "acme2", "a_b", "axb", "acme-x:y"):
        assert call("ensure_namespace", path=path) == [{"ensure_namespace": namespace_id(path)}]
    assert [row["namespace"] for row in call("list_namespaces")] == ["a_b", "acme:ann", "acme-x:y", "acme2", "axb"]
    assert [row["namespace"] for row in call("list_namespaces", scope="acme")] == ["acme:ann"]
    assert [row["namespace"] for row in call("list_namespaces", scope="a_b")] == ["a_b"]
    assert call("delete_namespace", path="acme") == [{"delete_namespace": 2}]
    with pytest.raises(NamespaceDeleted, match="namespace 'acme' is deleted"):
        call("ensure_namespace", path="acme:bob")
    assert call("restore_namespace", path="acme") == [{"restore_namespace": 2}]
    database.close()
