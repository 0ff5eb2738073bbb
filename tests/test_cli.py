"""The command line: tables for people, JSON for programs, exit codes, and errors that say the way out."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from uuid import UUID

import engines
import pytest
import servers
from cli import cli, environment, process
from embedding_server import Server, refuses

import kompanion_db
from kompanion_db import HashEmbedder


def put(home: engines.Home, key: str, content: str, *more: str) -> None:
    done = cli("put", "acme:ann", key, content, *more, "--url", home.url)
    assert done.code == 0, done.err


def test_what_was_put_is_read_and_found_again_by_processes_of_their_own(one_home: engines.Home) -> None:
    url = {"KOMPANION_DB_URL": one_home.url}
    done = process(
        "put", "acme:ann", "tea", "--metadata", '{"n": 1}', "-t", "drink", given="Ann drinks oolong.\n", **url
    )
    assert (done.code, done.out, done.err) == (0, "inserted acme:ann / tea (revision 1)\n", "")
    assert process("get", "acme:ann", "tea", "--raw", **url).out == "Ann drinks oolong."
    found = process("search", "acme", "who drinks oolong?", "--json", **url)
    assert [hit["key"] for hit in found.rows] == ["tea"]


def test_json_has_the_fields_of_the_dataclass_with_iso_times_and_ids_as_text(one_home: engines.Home) -> None:
    put(
        one_home,
        "tea",
        "Ann drinks oolong.",
        "--metadata",
        '{"n": 1}',
        "-t",
        "drink",
        "--user",
        "ann",
        "--thread",
        "t1",
    )
    (item,) = cli("get", "acme:ann", "tea", "--json", "-u", one_home.url).rows
    assert UUID(item["item_id"])
    assert datetime.fromisoformat(item["created_at"]).tzinfo is not None
    wanted = {
        "content": "Ann drinks oolong.",
        "metadata": {"n": 1},
        "tags": ["drink"],
        "user_key": "ann",
        "thread": "t1",
    }
    assert {name: item[name] for name in wanted} == wanted
    (hit,) = cli("search", "acme", "oolong", "--json", "-u", one_home.url).rows
    assert (hit["rank"], hit["namespace"], hit["key"], hit["chunk"]) == (1, "acme:ann", "tea", "Ann drinks oolong.")
    assert hit["score"] == pytest.approx(1 - hit["distance"])


def test_every_command_that_reads_prints_a_table_and_json(one_home: engines.Home) -> None:
    put(one_home, "tea", "Ann drinks oolong.")
    put(one_home, "tea", "Ann drinks sencha.", "--actor", "bob")
    commands = {
        "status": {"id", "applied", "applied_at", "in_package"},
        "history acme:ann tea": {"revision", "content", "superseded_at", "actor"},
        "list acme": {"key", "content", "cursor"},
        "search acme sencha": {"rank", "key", "score", "chunk"},
        "search acme sencha --explain": {"path", "matches", "milliseconds"},
        "stats": {"namespace", "live", "expired", "deleted", "unembedded", "bytes"},
        "models list": {"model", "dim", "is_default", "queued"},
    }
    for command, fields in commands.items():
        rows = cli(*command.split(), "--json", "--url", one_home.url).rows
        assert rows, command
        assert all(fields <= set(row) for row in rows), command
        told = cli(*command.split(), "--url", one_home.url)
        assert told.code == 0, command
        assert "\x1b" not in told.out, command
        assert max(map(len, told.out.splitlines())) <= 100, command
    assert "Ann drinks oolong." in cli("history", "acme:ann", "tea", "-u", one_home.url).out


def test_a_memory_cannot_steer_the_terminal_it_is_shown_on(one_home: engines.Home) -> None:
    put(one_home, "evil", "a \x1b[2Jb \u202e c [red]d[/red]")
    for command in (("get", "acme:ann", "evil"), ("list", "acme"), ("search", "acme", "d")):
        out = cli(*command, "-u", one_home.url).out
        assert "\x1b" not in out
        assert "\\x1b[2Jb \\u202e c [red]d[/red]" in out


def test_get_and_history_of_what_is_not_there_exit_with_3(one_home: engines.Home) -> None:
    put(one_home, "tea", "Ann drinks oolong.")
    cli("delete", "acme:ann", "tea", "-u", one_home.url)
    gone = cli("get", "acme:ann", "tea", "-u", one_home.url)
    assert (gone.code, gone.out) == (3, "")
    assert gone.err == (
        "error: there is no live item 'tea' in 'acme:ann' (KM003)\n"
        "hint: It may be deleted or expired: kompanion-db history acme:ann tea\n"
    )
    assert cli("history", "acme:ann", "tea", "-u", one_home.url).code == 0
    assert cli("history", "acme:ann", "no", "-u", one_home.url).code == 3
    assert cli("restore", "acme:ann", "tea", "-u", one_home.url).out == "restored acme:ann / tea (revision 3)\n"


@pytest.mark.parametrize(
    ("command", "code", "start"),
    [
        ("put acme:ann tea new --expected-revision 7", 1, "error: expected_revision: "),
        ("put acme::ann tea new", 1, "error: bad namespace 'acme::ann'"),
        ("put acme:ann tea new --ttl soon", 2, "error: Invalid value for --ttl: 'soon' is no duration"),
        ("put acme:ann tea new --expires-at 2030-01-01", 2, "error: Invalid value for --expires-at: "),
        ("put acme:ann tea new --metadata [1]", 2, "error: Invalid value for --metadata: is no JSON object"),
        ("put acme:ann tea new --file x", 2, "error: Invalid value for --file: the text is given twice"),
        ("put acme:ann tea --file /nowhere/at/all", 1, "error: /nowhere/at/all: No such file or directory"),
        ("search acme tea -k 0", 1, "error: k: "),
        ('search acme tea --filter {"a":{"$nope":1}}', 1, "error: filter: "),
        ("search acme tea -e bert", 2, "error: Invalid value for --embedder: 'bert' is none of hash"),
        ("search acme --vector [1,2]", 1, "error: query: "),
        ("search acme", 2, "error: Invalid value for QUERY: "),
        ("models retire nobody", 1, "error: model"),
        ("rollback", 2, "error: Invalid value for --yes: "),
        ("rollback --yes --count 0 --to zero", 1, "error: count: is given beside to"),
        ("migrate --lock-timeout nan", 1, "error: lock_timeout: nan is no finite number"),
        ("index --metadata-key n --lists 3", 2, "error: Invalid value for --lists: goes with a vector index"),
        ("index --type number", 2, "error: Invalid value for --type: goes with --metadata-key"),
        ("index --advice --kind hnsw", 2, "error: Invalid value for --kind: says what to build; --advice only tells"),
        ("nonsense", 2, "error: No such command 'nonsense'"),
    ],
)
def test_an_error_is_a_line_and_a_hint_and_changes_nothing(
    one_home: engines.Home, command: str, code: int, start: str
) -> None:
    put(one_home, "tea", "Ann drinks oolong.")
    words = command.split() if command == "nonsense" else [*command.split(), "--url", one_home.url]
    done = cli(*words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(start)
    assert [line.split(":")[0] for line in done.err.splitlines()] in (["error"], ["error", "hint"])
    assert [row["revision"] for row in cli("list", "--json", "-u", one_home.url).rows] == [1]


def test_without_a_database_the_command_says_how_to_name_one() -> None:
    done = cli("stats")
    assert done.code == 2
    assert "KOMPANION_DB_URL" in done.err
    assert cli("migrate", "postgresql:///a", "--url", "postgresql:///b").code == 2


def test_a_password_is_never_printed() -> None:
    url = "postgresql://ann:s3cr@et@127.0.0.1:1/x"
    for words in (["stats", "-u", url], ["status", url], ["stats", url, url], ["psql", url, "-c", "select 1"]):
        done = process(*words)
        assert done.code != 0, words
        assert "s3cr" not in done.out + done.err, words
        assert "Traceback" not in done.err, words


def test_an_empty_database_names_the_command_that_installs_and_that_command_works(
    one_empty_db: servers.Database,
) -> None:
    done = cli("stats", "-u", one_empty_db.url)
    assert done.code == 1
    assert "(KM014)" in done.err
    command = done.err.split("hint: Run: kompanion-db ")[1].strip().replace("'", "").split()
    assert command[0] == "migrate"
    assert cli("status", one_empty_db.url, "--check").code == 1
    assert cli(*command).out.startswith("applied pg_0001")
    assert cli("status", one_empty_db.url, "--check").code == 0
    undone = cli("rollback", one_empty_db.url, "--yes", "--json").rows[0]["undone"]
    assert len(undone) == 1
    assert cli("rollback", one_empty_db.url, "--yes", "--to", "zero").code == 0
    assert not any(row["applied"] for row in cli("status", one_empty_db.url, "--json").rows)


def test_text_is_not_embedded_with_another_model_than_the_default_by_mistake(one_home: engines.Home) -> None:
    assert cli("models", "register", "bge-m3", "8", "-u", one_home.url).code == 0
    for command in (("put", "acme", "tea", "oolong"), ("search", "acme", "oolong"), ("embed",)):
        done = cli(*command, "-u", one_home.url)
        assert done.code == 1
        assert "the default model of this database is bge-m3" in done.err
        assert "--embedder openai:bge-m3@http" in done.err
    assert cli("put", "acme", "tea", "oolong", "-e", "none", "-u", one_home.url).code == 0
    assert cli("search", "acme", "--vector", "[1,0,0,0,0,0,0,0]", "-u", one_home.url).out == "Nothing found.\n"


def test_an_embedding_server_named_on_the_command_line_embeds_text_and_questions(one_home: engines.Home) -> None:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        named = ("--embedder", f"openai:org/m@v2@{running.url}")
        put(one_home, "tea", "Ann drinks oolong.", *named)
        found = cli("search", "acme", "Ann drinks oolong.", *named, "--json", "-u", one_home.url).rows
        assert found[0]["distance"] == pytest.approx(0, abs=1e-6)
        assert {seen["model"] for seen in running.seen} == {"org/m@v2"}
        running.otherwise = refuses(401, "bad key")
        done = cli("search", "acme", "x", *named, "-u", one_home.url)
        assert (done.code, "(KM016)" in done.err) == (1, True)
        running.shutdown()


def test_a_search_by_a_reader_writes_nothing(one_home: engines.Home) -> None:
    done = cli("search", "acme", "oolong", "-u", one_home.url)
    assert done.code == 1
    assert "(KM005)" in done.err
    assert cli("models", "list", "--json", "-u", one_home.url).rows == []


def test_what_was_stored_without_vectors_is_embedded_later_and_a_new_model_is_filled(one_home: engines.Home) -> None:
    for n in range(7):
        put(one_home, f"k{n}", f"Note number {n} about tea.", "-e", "none")
    assert cli("search", "acme", "tea", "-u", one_home.url).code == 1
    assert cli("embed", "--batch", "3", "--json", "-u", one_home.url).rows == [
        {"model": HashEmbedder().name, "stored": 7, "waiting": 0}
    ]
    assert len(cli("search", "acme", "tea", "--json", "-u", one_home.url).rows) == 7
    assert cli("embed", "-e", "hash:64", "--json", "-u", one_home.url).rows[0]["stored"] == 7
    switched = cli("models", "set-default", HashEmbedder(64).name, "--json", "-u", one_home.url)
    assert switched.rows == [{"default": HashEmbedder(64).name, "former": HashEmbedder().name}]
    retired = cli("models", "retire", HashEmbedder().name, "--delete-vectors", "-u", one_home.url)
    assert retired.out == f"{HashEmbedder().name} is retired; 7 vectors were removed.\n"
    put(one_home, "k7", "The default is the embedder without being named.")
    assert cli("stats", "--json", "-u", one_home.url).rows
    assert {hit["key"] for hit in cli("search", "acme", "default embedder", "--json", "-u", one_home.url).rows} >= {
        "k7"
    }


def test_upkeep_commands_do_what_their_functions_do(one_home: engines.Home) -> None:
    put(one_home, "tea", "Ann drinks oolong.")
    put(one_home, "tea", "Ann drinks sencha.")
    assert cli("index", "--advice", "-u", one_home.url).code == 0
    built = cli("index", "--kind", "hnsw", "--json", "-u", one_home.url).rows
    assert any("using hnsw" in step["statement"] for step in built)
    assert cli("models", "list", "--json", "-u", one_home.url).rows[0]["index_kind"] == "hnsw"
    key = ("--metadata-key", "n", "--type", "number")
    statement = cli("index", *key, "--json", "-u", one_home.url).rows[0]["statement"]
    assert "metadata_number" in statement
    assert "{n}" in statement
    purged = cli("purge", "--history", "--keep-for", "0s", "--json", "-u", one_home.url)
    assert purged.rows == [{"items": 0, "revisions": 1, "namespaces": 0}]
    with kompanion_db.connect(one_home.url) as store:
        assert [r.content for r in store.item_history("acme:ann", "tea")] == ["Ann drinks sencha."]


def test_a_reader_that_has_had_enough_ends_it_in_silence(one_home: engines.Home) -> None:
    for n in range(3):
        put(one_home, f"k{n}", "tea " * 20_000)
    for words in (["list", "--json"], ["export"], ["get", "acme:ann", "k0"]):
        command = [sys.executable, "-m", "kompanion_db", *words, "--url", one_home.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as running:
            assert running.stdout
            assert running.stderr
            running.stdout.read(10)
            running.stdout.close()
            assert running.stderr.read() == b"", words
        assert running.returncode == 141, words


def test_text_comes_out_whatever_the_encoding_of_the_terminal(one_home: engines.Home) -> None:
    put(one_home, "tea", "Chá, 茶")
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert process("get", "acme:ann", "tea", "--json", "-u", one_home.url, **ascii_only).rows[0]["content"] == "Chá, 茶"
    assert "Ch\\xe1, \\u8336" in process("get", "acme:ann", "tea", "-u", one_home.url, **ascii_only).out
    refused = process("put", "acme:ann", "tea", "-u", one_home.url, given=b"Ch\xe1")
    assert (refused.code, refused.err.split(";")[0].startswith("error: content: stdin is not UTF-8")) == (1, True)


def test_ctrl_c_ends_it_in_silence_with_130(one_db: servers.Database) -> None:
    command = [sys.executable, "-m", "kompanion_db", "import", "-", "--url", one_db.url]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        # A suite that was started in the background ignores SIGINT, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as running:
        with one_db.connect() as conn:  # it has connected, so it reads
            asked = "select count(*) from pg_stat_activity where datname = %s and application_name = 'kompanion_db'"
            while not (conn.execute(asked, (one_db.name,)).fetchone() or (0,))[0]:
                assert running.poll() is None
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, b"", b"")


def test_help_tells_the_exit_codes_and_version_the_version() -> None:
    assert "Exit codes" in cli("--help").out
    assert cli().out == cli("--help").out
    assert cli("--version").out == f"kompanion-db {kompanion_db.__version__}\n"
