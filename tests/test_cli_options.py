"""The options of commands: each does what the argument of the store's call of its name does, on both engines."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import clusters
import engines
import pytest
from cli import Outcome, cli, environment
from embedding_server import Handler, Server, refuses, right

import kompanion_db
from kompanion_db import HashEmbedder
from kompanion_db.copying import copy

TAGS = (["a"], ["a", "b"], ["c"])


def _run(home: engines.Home, *words: str) -> Outcome:
    done = cli(*words, "--url", home.url)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def filled(one_engine: engines.Engine) -> Iterator[engines.Home]:
    """Notes with all that can be asked for, cut into several chunks each; some of them with vectors of a second model."""
    home = one_engine.home()
    with kompanion_db.connect(home.url, embedder=HashEmbedder(), chunk_characters=40) as store:
        for n in range(9):
            store.upsert_item(
                "acme:ann",
                f"k{n}",
                f"Note {n} is about tea. Ann drinks oolong at {n} o'clock. Bob drinks nothing.",
                metadata={"n": n},
                tags=TAGS[n % 3],
                thread="t1" if n % 2 else None,
            )
        store.register_model("other", 2)
        chunks = store.pending_embeddings("other", batch=9)
        store.put_embeddings(chunks, [[1.0, n] for n in range(9)], model="other")
    yield home
    home.drop()


NARROWED: dict[str, dict[str, Any]] = {
    "--tag a": {"tags_all": ["a"]},
    "--tag a --tag b": {"tags_all": ["a", "b"]},
    "--tag-any b --tag-any c": {"tags_any": ["b", "c"]},
    "--tag-none b --tag-none c": {"tags_none": ["b", "c"]},
    "--thread t1": {"thread": "t1"},
    '--filter {"n":{"$gte":5}}': {"filter": {"n": {"$gte": 5}}},
    '-f {"n":{"$lt":8}} --tag a --tag-none b --thread t1': {
        "filter": {"n": {"$lt": 8}}, "tags_all": ["a"], "tags_none": ["b"], "thread": "t1",
    },
}  # fmt: skip


@pytest.mark.parametrize("options", NARROWED)
def test_what_is_listed_or_searched_is_narrowed_as_the_store_does(filled: engines.Home, options: str) -> None:
    with kompanion_db.connect(filled.url, embedder=HashEmbedder()) as store:
        listed = [item.key for item in store.list_items("acme", **NARROWED[options])]
        found = [hit.key for hit in store.search("acme", "oolong", 50, **NARROWED[options])]
    assert 0 < len(listed) < 9
    assert sorted(found) == sorted(listed)
    words = (*options.split(), "--json")
    assert [row["key"] for row in _run(filled, "list", "acme", *words).rows] == listed
    assert [row["key"] for row in _run(filled, "search", "acme", "oolong", "-k", "50", *words).rows] == found


def test_a_list_goes_on_after_the_cursor_it_ended_with(filled: engines.Home) -> None:
    first = _run(filled, "list", "-n", "4")
    cursor = first.err.removeprefix("There may be more: --after ").strip()
    (*_, last) = _run(filled, "list", "--limit", "4", "--json").rows
    assert last["cursor"] == cursor
    rest = _run(filled, "list", "--after", cursor, "--json").rows
    assert [row["key"] for row in rest] == ["k4", "k3", "k2", "k1", "k0"]


def test_a_search_shows_each_chunk_or_asks_another_model_where_it_is_told_to(filled: engines.Home) -> None:
    with kompanion_db.connect(filled.url, embedder=HashEmbedder()) as store:
        chunks = [(hit.key, hit.chunk) for hit in store.search("acme", "oolong", 20, per_chunk=True)]
        others = [(hit.key, hit.chunk) for hit in store.search("acme", [1.0, 0.0], 20, model="other")]
    rows = _run(filled, "search", "acme", "oolong", "-k", "20", "--per-chunk", "--json").rows
    assert [(row["key"], row["chunk"]) for row in rows] == chunks
    assert len(chunks) == 20
    rows = _run(filled, "search", "acme", "--vector", "[1, 0]", "--model", "other", "-k", "20", "--json").rows
    assert [(row["key"], row["chunk"]) for row in rows] == others
    assert 0 < len(others) < 9
    refused = cli("search", "acme", "oolong", "--model", "other", "-u", filled.url)
    assert (refused.code, refused.err.startswith("error: Invalid value for --model: ")) == (2, True)


def test_an_item_is_shown_as_it_was_at_a_time(one_home: engines.Home) -> None:
    moments = []
    with kompanion_db.connect(one_home.url) as store:
        for content in ("first", "second"):
            store.upsert_item("acme", "k", content)
            item = store.get_item("acme", "k")
            assert item is not None
            moments.append(item.updated_at)
    for at, content in zip(moments, ("first", "second"), strict=True):
        assert _run(one_home, "get", "acme", "k", "--raw", "--at", at.isoformat()).out == content
    early = (moments[0] - timedelta(seconds=1)).isoformat()
    none = cli("get", "acme", "k", "--at", early, "-u", one_home.url)
    assert (none.code, f"no live item 'k' in 'acme' at {early} (KM003)" in none.err) == (3, True)


def test_what_is_restored_lives_as_long_as_is_said(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        for key, *options in (("k", "--ttl", "2h"), ("l", "--expires-at", "2099-01-31T12:00:00Z")):
            store.upsert_item("acme", key, "text")
            store.delete_item("acme", key)
            _run(one_home, "restore", "acme", key, *options)
        life = {item.key: (item.expires_at, item.updated_at) for item in store.list_items("acme")}
    expires, restored = life["k"]
    assert expires is not None
    assert timedelta(minutes=119) < expires - restored < timedelta(minutes=121)
    assert life["l"][0] == datetime.fromisoformat("2099-01-31T12:00:00+00:00")


def test_a_purge_of_the_history_keeps_the_last_of_each_item(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        for n in range(6):
            store.upsert_item("acme", "k", f"text {n}")
        purged = _run(one_home, "purge", "--history", "--keep-for", "0s", "--keep-last", "2", "--json")
        assert purged.rows == [{"items": 0, "revisions": 3, "namespaces": 0}]
        assert [revision.content for revision in store.item_history("acme", "k")] == ["text 3", "text 4", "text 5"]
        assert _run(one_home, "purge", "--history", "--keep-for", "0s").out == (
            "Removed 0 items, 2 revisions, 0 namespaces.\n"
        )
    assert cli("purge", "--keep-last", "2", "-u", one_home.url).code == 2


def test_a_model_is_registered_with_its_metric_and_becomes_the_default_where_that_is_asked_for(
    one_home: engines.Home,
) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("first", 3)
        (told,) = _run(one_home, "models", "register", "second", "2", "--metric", "l2", "--default", "--json").rows
        assert (told["model"], told["is_default"]) == ("second", True)
        store.upsert_item("acme", "k", "text", vectors=[[1.0, 2.0]])
        assert _run(one_home, "models", "register", "third", "2").out == "third: 1 chunks wait for a vector.\n"
        assert cli("models", "set-default", "third", "-u", one_home.url).code == 1
        done = _run(one_home, "models", "set-default", "third", "--force")
        assert done.out == "The default is now third; it was second.\n"
        again = _run(one_home, "models", "set-default", "third", "--force")
        assert again.out == "The default is third, and no other was before.\n"
        models = {model.model: (model.metric, model.is_default) for model in store.list_models()}
    assert models == {"first": ("cosine", False), "second": ("l2", False), "third": ("cosine", True)}


def test_the_name_of_a_model_cannot_steer_the_terminal_it_is_shown_on(one_home: engines.Home) -> None:
    evil = "m\x1b[2J"
    for words in (("register", evil, "2"), ("register", "other", "2", "--default"), ("set-default", evil), ("list",)):
        assert "\x1b" not in _run(one_home, "models", *words).out
    assert "it was m\\x1b[2J" in _run(one_home, "models", "set-default", "other").out


def test_embed_works_under_the_name_it_is_given_and_first_queues_what_never_was_where_asked(
    one_home: engines.Home,
) -> None:
    workers = []

    def look(handler: Handler, texts: list[str]) -> None:
        with one_home.by_hand() as by_hand:
            workers.extend(by_hand.rows("embedding_queue", "worker"))
        right(handler, texts)

    _run(one_home, "models", "register", "tiny", "3")
    _run(one_home, "put", "acme", "k", "text", "-e", "none")
    with one_home.by_hand() as by_hand:
        by_hand.delete("embedding_queue")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        running.otherwise = look
        embed = ("embed", "--embedder", f"openai:tiny@{running.url}", "--json")
        assert _run(one_home, *embed).rows == [{"model": "tiny", "stored": 0, "waiting": 0}]
        assert _run(one_home, *embed, "--missing", "--worker", "ann").rows == [
            {"model": "tiny", "stored": 1, "waiting": 0}
        ]
        running.shutdown()
    assert ("ann",) in workers


@pytest.mark.parametrize("batch", ["1", "2", "50"])
def test_a_text_that_the_embedder_refuses_stops_no_other_and_is_told_in_the_end(
    one_home: engines.Home, batch: str
) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("tiny", 3)
        for n, text in enumerate(["bad", "bad", "bad", "tea", "bad", "rain"]):
            store.upsert_item("acme", f"k{n}", text)
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        running.otherwise = lambda handler, texts: (refuses(400, "foul words") if "bad" in texts else right)(
            handler, texts
        )
        embed = ("embed", "--embedder", f"openai:tiny@{running.url}", "--batch", batch, "--url", one_home.url)
        done = cli(*embed)
        running.shutdown()
    assert done.code == 1
    assert "2 chunks embedded with tiny; 4 were refused" in done.out
    assert "foul words" in done.err
    with kompanion_db.connect(one_home.url) as store:
        assert {hit.key for hit in store.search("acme", [3, 116, 0.5], model="tiny")} == {"k3", "k5"}


def test_a_copy_is_compared_unless_that_is_not_wanted(one_home: engines.Home, tmp_path: Path) -> None:
    _run(one_home, "put", "acme", "k", "text")
    target = f"sqlite:///{tmp_path / 'copy.db'}"
    (told,) = cli("copy", one_home.url, target, "--no-verify", "--json").rows
    assert (told["items"], told["digest"]) == (1, None)
    assert cli("copy", one_home.url, target, "--no-verify").out == "Copied 0 items; 1 were there already.\n"
    (told,) = cli("copy", one_home.url, target, "--json").rows
    with kompanion_db.connect(one_home.url) as source, kompanion_db.connect(target) as there:
        assert told["digest"] == copy(source, there).digest is not None


def test_an_index_is_built_measured_and_tuned_on_either_engine(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as by_hand:
        store.register_model("m", clusters.DIM)
        store.upsert_items(clusters.items(range(1000)))
        by_hand.set_setting("index_min_rows", 1000)
        index = ("index", "m", "--kind", "ivfflat", "--json")
        assert "calibrate('m')" in _run(one_home, *index, "--lists", "20").rows[-1]["statement"]
        assert store.list_models()[0].index_lists == 20
        blocking = [step["statement"] for step in _run(one_home, *index, "--lists", "4", "--block").rows]
        assert not [statement for statement in blocking if "concurrently" in statement or "calibrate" in statement]
        assert store.list_models()[0].index_lists == 4
        points = _run(one_home, "calibrate", "m", "--sample", "12", "--seconds", "60", "--json").rows
        assert {point["share"] for point in points} >= {1.0, 0.3, 0.1, 0.03, 0.01}
        assert by_hand.rows("embedding_models", "calibration")[0][0]["queries"] == 12
        asked = ("--scope", "acme:main", "--sample", "5", "-k", "3", "--target-recall", "1")
        (measured,) = _run(one_home, "measure-recall", "m", *asked, "--json").rows
        assert (measured["asked"], measured["recall"], measured["by_index"]) == (5, 1.0, 0)
        keyed = _run(one_home, "index", "--metadata-key", "n", "--type", "number", "--json").rows
        assert [row["statement"] for row in keyed] == store.index_metadata_key("n", type="number")
        tune = ("tune-index", "m", "--kind", "ivfflat", "--sample", "10", "--target-recall", "0.8", "--json")
        (best,) = [row for row in _run(one_home, *tune, "--share", "0.5", "--dry-run").rows if row["chosen"]]
        ((choice,),) = by_hand.rows("embedding_models", "index_choice")
        assert (choice["lists"], choice["share"], choice["target_recall"]) == (best["lists"], 0.5, 0.8)
        assert store.list_models()[0].index_lists == 4
        advice = store.index_advice()
        assert len(_run(one_home, "index", "--advice", "--json").rows) == len(advice) > 0
        script = _run(one_home, "index", "--advice").out.splitlines()
        assert script == [line for a in advice for line in (f"-- {a.model}: {a.advice}", a.statement)]
        (best,) = [row for row in _run(one_home, *tune).rows if row["chosen"]]
        assert store.list_models()[0].index_lists == best["lists"]
        assert _run(one_home, "index", "--advice").out == "All is well.\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *[(words.split(), 141) for words in ("list --json", "list", "digest", "--help", "list --help", "--version")],
        (["list", "--jsn"], 2),
    ],
)
@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_command_whose_output_came_closed_ends_as_with_a_reader_that_has_gone(
    one_home: engines.Home, words: list[str], code: int, closed: str
) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.upsert_item("acme", "k", "tea")
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "kompanion_db", *words]
    found = environment(KOMPANION_DB_URL=one_home.url)
    done = subprocess.run(command, capture_output=True, env=found, check=False)
    assert done.returncode == code
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert (b"error: " in done.stderr) == (code == 2 and "2>" not in closed)
