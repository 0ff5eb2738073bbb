"""OpenAIEmbedder against a real HTTP server on this machine that misbehaves on demand."""

from __future__ import annotations

import base64
import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from embedding_server import Server, at_most, cut, drips, http_date, late, refuses, right, rows, says, vector

from kompanion_db.embedders import OpenAIEmbedder, _http
from kompanion_db.errors import BadArgument, EmbedderError

KEY = "sk-very-secret-4711"


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def make(server) -> Iterator[Callable[..., OpenAIEmbedder]]:
    made = []

    def build(**settings) -> OpenAIEmbedder:
        quick = {"base_url": server.url, "model": "tiny", "backoff": 0.001, "max_wait": 0.05, "timeout": 5.0}
        made.append(OpenAIEmbedder(**{**quick, **settings}))
        return made[-1]

    yield build
    for embedder in made:
        embedder.close()


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that an embedder asks to sleep, which it does not."""
    asked = []
    monkeypatch.setattr(_http, "time", SimpleNamespace(monotonic=time.monotonic, sleep=asked.append))
    return asked


def test_documents_and_queries_become_float32_vectors(make, server):
    embedder = make(query_prefix="q: ", document_prefix="d: ")
    documents = embedder.embed_documents(["über", "b"])
    assert documents.dtype == np.float32
    np.testing.assert_array_equal(documents, [vector("d: über"), vector("d: b")])
    np.testing.assert_array_equal(embedder.embed_query("c"), vector("q: c"))
    assert server.seen[0]["path"] == "/v1/embeddings"
    assert (server.seen[0]["model"], server.seen[0]["encoding_format"]) == ("tiny", "float")
    assert "Authorization" not in server.seen[0]["headers"]


def test_texts_are_sent_in_batches_and_come_back_in_order(make, server):
    texts = [f"{'x' * i}" for i in range(1, 8)]
    np.testing.assert_array_equal(make(batch_size=3).embed_documents(texts)[:, 0], range(1, 8))
    assert [len(request["input"]) for request in server.seen] == [3, 3, 1]


def test_the_dimension_is_asked_for_once_and_only_when_needed(make, server):
    embedder = make()
    assert server.seen == []
    assert (embedder.dim, embedder.dim, len(server.seen)) == (3, 3, 1)
    assert make().embed_documents([]).shape == (0, 3)
    learns = make()
    learns.embed_query("hello")
    assert (learns.dim, len(server.seen)) == (3, 3)


def test_a_shorter_dimension_is_sent_along_when_asked(make, server):
    make(dim=3, send_dimensions=True, encoding_format=None).embed_query("a")
    assert server.seen[0]["dimensions"] == 3
    assert "encoding_format" not in server.seen[0]


def test_answers_in_another_order_are_put_right(make, server):
    server.otherwise = says(lambda texts: {"data": rows(texts)[::-1]})
    np.testing.assert_array_equal(make().embed_documents(["a", "bb", "ccc"])[:, 0], [1, 2, 3])


def test_answers_without_an_index_keep_their_order(make, server):
    server.otherwise = says(lambda texts: {"data": [{"embedding": vector(text)} for text in texts]})
    np.testing.assert_array_equal(make().embed_documents(["a", "bb"])[:, 0], [1, 2])


def test_base64_answers_are_understood(make, server):
    def packed(text: str) -> str:
        return base64.b64encode(struct.pack("<3f", *vector(text))).decode()

    answer = says(lambda texts: {"data": [{"index": i, "embedding": packed(t)} for i, t in enumerate(texts)]})
    server.otherwise = answer
    np.testing.assert_array_equal(make(encoding_format="base64").embed_query("abc"), vector("abc"))


@pytest.mark.parametrize(
    "trouble",
    [refuses(500), refuses(503), refuses(408), refuses(429), refuses(429, Retry_After="soon"), cut],
)
def test_passing_trouble_is_retried(make, server, trouble):
    server.plan = [trouble, trouble]
    np.testing.assert_array_equal(make().embed_query("a"), vector("a"))
    assert len(server.seen) == 3


@pytest.mark.parametrize("slow", [late, drips])
def test_an_answer_past_the_timeout_is_retried_and_then_given_up(make, server, slow):
    server.plan = [slow]
    np.testing.assert_array_equal(make(timeout=0.08).embed_query("a"), vector("a"))
    server.plan = [slow, slow]
    with pytest.raises(EmbedderError, match=r"no full answer within 0\.08 s.*Tried 2 times.*Raise timeout"):
        make(timeout=0.08, max_retries=1).embed_query("a")


@pytest.mark.parametrize("form", [str, http_date])
def test_retry_after_is_honoured_up_to_the_longest_wait(make, server, waits, form):
    for longest in (0.15, 7200.0):
        server.plan = [refuses(429, Retry_After=form(3600))]
        make(max_wait=longest).embed_query("a")
    assert waits == [0.15, pytest.approx(3600, abs=100)]


@pytest.mark.parametrize("value", ["Sun, 06 Nov 1994 08:49:37 GMT", "-5", "nan", "0"])
def test_a_retry_after_that_is_past_does_not_wait(make, server, waits, value):
    server.plan = [refuses(503, Retry_After=value)]
    make(max_wait=30.0, backoff=0.5).embed_query("a")
    assert waits == [pytest.approx(0.375, abs=0.125)], "half of the backoff to the whole of it"


def test_endless_trouble_is_given_up_with_what_the_server_says(make, server):
    server.otherwise = refuses(503, "model is loading")
    with pytest.raises(EmbedderError, match=r"503 Service Unavailable.*model is loading.*Tried 4 times"):
        make(max_retries=3).embed_query("a")
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (refuses(401, f"bad key {KEY}"), r'401 Unauthorized.*"bad key \*\*\*".*Hint: Set OPENAI_API_KEY'),
        (refuses(403), "403 Forbidden.*Hint: Check that the key"),
        (
            says({"error": "model tiny not found"}, 404),
            "404.*model tiny not found.*Hint: Check the model name",
        ),
        (says({"detail": [{"msg": "bad"}]}, 400), "400.*bad.*Hint: Check the model name"),
        (says(b"<h1>" + b"no " * 5000, 418), r"418.{,200}(no ){20,100}"),
        (refuses(429, "insufficient_quota"), "429.*Hint: Check the account's quota"),
        (refuses(307, Location="http://u:pw@other/v1?k=1"), "307.*Hint: Set base_url .* http://other/v1$"),
    ],
)
def test_a_refusal_is_told_at_once_with_a_hint(make, server, behaviour, error):
    server.otherwise = behaviour
    with pytest.raises(EmbedderError, match=f"(?s)'tiny'.*{error}") as caught:
        make(api_key=KEY).embed_query("a")
    assert len(str(caught.value)) < 700
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome</html>",
        b'{"data": [{"index": 0, "embed',
        b"\xff\xfe",
        b"[" * 100_000,
        b"",
        [],
        {"error": {"message": "overloaded"}},
        {"data": None},
        {"data": ["a", "b"]},
        {"data": rows(["a"])},
        {"data": rows(["a", "b", "c"])},
        {"data": rows(["a"]) * 2},
        {"data": [{"index": i, "embedding": [1.0, 2.0]} for i in (0, 1)]},
        {"data": [{"index": i, "embedding": [1.0, float("nan"), 2.0]} for i in (0, 1)]},
        {"data": [{"index": i, "embedding": [1.0, None, 2.0]} for i in (0, 1)]},
        {"data": [{"index": i, "embedding": [0.0, 0.0, 0.0]} for i in (0, 1)]},
        {"data": [{"index": i, "embedding": None} for i in (0, 1)]},
        {"data": [{"index": i, "embedding": "no base64!"} for i in (0, 1)]},
        {"data": [{"index": i, "embedding": "AAAA"} for i in (0, 1)]},
    ],
)
def test_an_answer_that_is_not_one_good_vector_per_text_is_an_error(make, server, body):
    server.otherwise = says(body)
    with pytest.raises(EmbedderError, match="'tiny'"):
        make(dim=3).embed_documents(["a", "b"])
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_too_large_is_halved(make, server, status):
    server.otherwise = at_most(3, status)
    texts = ["x" * i for i in range(1, 21)]
    np.testing.assert_array_equal(make().embed_documents(texts)[:, 0], range(1, 21))
    assert [len(request["input"]) for request in server.seen][:4] == [20, 10, 5, 3]


def test_a_single_text_that_is_too_large_is_named(make, server):
    server.otherwise = lambda handler, texts: (refuses(400) if "bad" in texts else right)(handler, texts)
    with pytest.raises(EmbedderError, match=r"400.*texts\[2\]"):
        make().embed_documents(["a", "b", "bad", "c"])


def test_a_server_that_is_not_there_is_an_error_with_a_hint(make, server):
    server.server_close()
    with pytest.raises(EmbedderError, match=r"cannot connect.*Tried 2 times.*Check base_url"):
        make(max_retries=1).embed_query("a")


def assert_secrets_stay_secret(embedder: OpenAIEmbedder, server: Server, caplog) -> None:
    """Even where the server sends them back in its error."""
    caplog.set_level(logging.DEBUG)
    server.plan = [lambda handler, texts: handler.reply(401, {"message": str(handler.headers)})]
    with pytest.raises(EmbedderError, match=r"\*\*\*") as caught:
        embedder.embed_query("a")
    assert caught.value.__suppress_context__
    shown = repr(embedder) + repr(vars(embedder)) + str(caught.value) + caplog.text
    assert "4711" not in shown
    assert base64.b64encode(b"user:pass4711").decode() not in shown


def test_the_key_comes_from_the_environment_and_is_never_shown(make, server, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert_secrets_stay_secret(make(), server, caplog)
    assert server.seen[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    make(api_key="").embed_query("a")
    make(headers={"authorization": "Token t"}).embed_query("a")
    assert [seen["headers"].get_all("Authorization") for seen in server.seen[1:]] == [None, ["Token t"]]


def test_secret_headers_and_a_password_in_the_url_are_sent_and_never_shown(make, server, caplog):
    url = server.url.replace("//", "//user:pass4711@") + "?version=2"
    assert_secrets_stay_secret(make(base_url=url, headers={"api-key": "azure4711"}), server, caplog)
    assert server.seen[0]["path"] == "/v1/embeddings?version=2"
    assert server.seen[0]["headers"]["api-key"] == "azure4711"
    assert server.seen[0]["headers"]["Authorization"] == "Basic dXNlcjpwYXNzNDcxMQ=="


def test_threads_may_share_an_embedder(make):
    embedder = make(batch_size=2)
    texts = ["x" * i for i in range(1, 6)]
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(embedder.embed_documents, [texts] * 40):
            np.testing.assert_array_equal(answer[:, 0], range(1, 6))


def test_a_closed_embedder_says_so(make, server):
    with make() as embedder:
        embedder.embed_query("a")
    embedder.close()
    with pytest.raises(EmbedderError, match="closed"):
        embedder.embed_query("a")


BAD_SETTINGS = (
    *({"base_url": url} for url in ("localhost:11434/v1", "ftp://host/v1", "http://[::1/v1", "")),
    *({"base_url": f"http://{host}/v1"} for host in ("a..b", "xn--a.de", "a" * 64)),
    *({"timeout": wrong} for wrong in (0, None, "5", float("inf"), float("nan"), 1e10)),
    {"model": ""}, {"model": b"m"}, {"model": "\ud800"}, {"name": 5}, {"query_prefix": None}, {"dim": 0}, {"dim": "3"},
    {"batch_size": 0}, {"batch_size": 2.5}, {"max_retries": -1}, {"max_retries": None}, {"backoff": -1}, {"backoff": 1e300},
    {"max_wait": 1e300}, {"send_dimensions": True}, {"encoding_format": "hex"}, {"encoding_format": ["float"]},
    {"api_key": f"{KEY}\nX: 1"}, {"api_key": f"{KEY}é"}, {"api_key": 5}, {"headers": {"a": 5}}, {"headers": KEY},
)  # fmt: skip


@pytest.mark.parametrize("settings", BAD_SETTINGS)
def test_settings_out_of_range_are_refused(make, settings):
    with pytest.raises(BadArgument) as caught:
        make(**settings)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("text", ["", "  ", "\ud800"])
def test_a_text_without_content_never_reaches_the_server(make, server, text):
    with pytest.raises(BadArgument):
        make().embed_documents(["a", text])
    assert server.seen == []
