"""Embedder over HTTP for any server with OpenAI's ``/embeddings`` endpoint: Ollama, vLLM, OpenAI, ..."""

from __future__ import annotations

import base64
import binascii
import json
import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx
import numpy as np

from kompanion_db import arguments
from kompanion_db.embedders._http import Endpoint, RequestRefused, server_message
from kompanion_db.embedders.base import FloatArray, check_texts, check_vectors
from kompanion_db.errors import BadArgument, EmbedderError


class OpenAIEmbedder:
    """Asks a server with OpenAI's embeddings API for vectors: ``POST <base_url>/embeddings``.

    ``base_url``        such as ``http://localhost:11434/v1`` (Ollama). Redirects are not followed. A user
                        and password in it are kept as secret as the key; a query after ``?`` is not.
    ``model``           the server's name of the model.
    ``dim``             number of elements of a vector; None asks the server when first needed.
    ``name``            name to register the vectors under; ``model`` if None.
    ``api_key``         sent as a bearer token; if None, the environment variable ``api_key_env``, if set.
                        ``""`` sends none. It is not shown in ``repr``, logs or errors.
    ``batch_size``      most texts in one request; halved for the rest of a call if the server refuses.
    ``timeout``         seconds to connect in, and seconds for the whole answer to one request.
    ``max_retries``     further tries after 408, 429, 5xx, a timeout, or a failed or broken connection.
    ``backoff``         seconds before the first retry, doubled for each next one; a random part of up to
                        a half is taken off, so that clients do not come back all at once.
    ``max_wait``        most seconds between two tries, also where the server's Retry-After asks for more.
    ``query_prefix``, ``document_prefix``   put before each text, as some models ask for.
    ``send_dimensions`` sends ``dim`` along, for models that can shorten their vectors.
    ``encoding_format`` ``"float"``, ``"base64"`` (less to send and to parse), or None to send no choice.
    ``headers``         more headers, such as ``{"api-key": ...}`` for Azure; kept as secret as the key, which
                        an ``Authorization`` among them replaces.

    Threads may share it. Close it after use, or use it in a ``with`` block. Raises ``BadArgument`` for a
    setting out of range. API: https://platform.openai.com/docs/api-reference/embeddings
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        dim: int | None = None,
        name: str | None = None,
        api_key: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        batch_size: int = 128,
        timeout: float = 30.0,
        max_retries: int = 5,
        backoff: float = 0.5,
        max_wait: float = 60.0,
        query_prefix: str = "",
        document_prefix: str = "",
        send_dimensions: bool = False,
        encoding_format: str | None = "float",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        _require(bool(arguments.text("model", model)), "model must not be empty.")
        for setting, prefix in (("query_prefix", query_prefix), ("document_prefix", document_prefix)):
            _require(arguments.text(setting, prefix) is not None, f"{setting} must be a text.")
        for setting, text in (("name", name), ("api_key", api_key), ("api_key_env", api_key_env)):
            arguments.text(setting, text)
        dim = arguments.integer("dim", dim)
        _require(dim is None or dim >= 1, "dim must be at least 1, or None.")
        _require((arguments.integer("batch_size", batch_size) or 0) >= 1, "batch_size must be at least 1.")
        retries = arguments.integer("max_retries", max_retries)
        _require(retries is not None and retries >= 0, "max_retries must not be negative.")
        _require(_seconds("timeout", timeout) > 0, "timeout must be more than 0 seconds.")
        for setting, seconds in (("backoff", backoff), ("max_wait", max_wait)):
            _require(_seconds(setting, seconds) >= 0, f"{setting} must not be negative.")
        _require(not send_dimensions or dim is not None, "send_dimensions needs dim.")
        _require(encoding_format in ("float", "base64", None), "encoding_format must be float or base64.")
        self.model = model
        self._name = name or model
        self._dim = dim
        self._dim_lock = threading.Lock()
        self._batch_size = batch_size
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        self._request: dict[str, Any] = {"model": model}
        if encoding_format is not None:
            self._request["encoding_format"] = encoding_format
        if send_dimensions:
            self._request["dimensions"] = dim
        sent = _headers(headers)
        key = (os.environ.get(api_key_env, "") if api_key is None else api_key).strip()
        if key and not any(header.lower() == "authorization" for header in sent):
            sent["Authorization"] = f"Bearer {key}"
        self._endpoint = Endpoint(
            self._name,
            _embeddings_url(base_url),
            headers=sent,
            key_env=api_key_env,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
            max_wait=max_wait,
        )

    @property
    def name(self) -> str:
        """Name of the embedding model, as registered in the database."""
        return self._name

    @property
    def dim(self) -> int:
        """Number of elements of each vector.

        If neither given nor yet seen, one word is embedded to find out, which raises as embedding does.
        """
        if self._dim is None:
            return len(self._embed([self._document_prefix + "dimension"])[0])
        return self._dim

    def __repr__(self) -> str:
        return f"OpenAIEmbedder('{self._endpoint}', model={self.model!r}, dim={self._dim})"

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of ``texts``, in their order: shape ``(len(texts), dim)``, float32, of the server's length.

        Raises ``EmbedderError`` when the server cannot be reached, refuses, or answers with anything
        but one finite vector of ``dim`` elements per text; ``BadArgument`` for an empty text.
        """
        checked = check_texts(texts)
        if not checked:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self._embed([self._document_prefix + text for text in checked])

    def embed_query(self, text: str) -> FloatArray:
        """Vector of a search text: shape ``(dim,)``, float32. Raises as ``embed_documents`` does."""
        vector: FloatArray = self._embed([self._query_prefix + check_texts([text])[0]])[0]
        return vector

    def close(self) -> None:
        """Close the connections; later embeddings raise ``EmbedderError``. Closing twice does no harm."""
        self._endpoint.close()

    def __enter__(self) -> OpenAIEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _embed(self, texts: list[str]) -> FloatArray:
        parts: list[FloatArray] = []
        start, size = 0, self._batch_size
        while start < len(texts):
            batch = texts[start : start + size]
            try:
                content = self._endpoint.post({**self._request, "input": batch})
            except RequestRefused as exc:
                if len(batch) > 1:
                    size = (len(batch) + 1) // 2
                    continue
                place = f" It was asked for texts[{start}] alone." if len(texts) > 1 else ""
                raise EmbedderError(exc.message, detail=f"{exc.detail}{place}", hint=exc.hint) from None
            parts.append(self._vectors(content, len(batch)))
            start += len(batch)
        return np.concatenate(parts)

    def _vectors(self, content: bytes, n: int) -> FloatArray:
        """The vectors in an answer, in the order of the ``n`` texts sent: shape ``(n, dim)``."""
        fail = self._endpoint.error
        begins = self._endpoint.clean(server_message(content[:10_000]))
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise fail(
                "the answer is not JSON", f"It begins: {begins}", "Check base_url: it usually ends in /v1."
            ) from None
        rows = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise fail("the answer has no list of embeddings under 'data'", f"It begins: {begins}")
        if len(rows) != n:
            raise fail(f"{n} texts were sent and {len(rows)} embeddings came back")
        # Where a server leaves the index out, the order is that of the texts.
        order = [row.get("index", position) for position, row in enumerate(rows)]
        if not all(isinstance(index, int) for index in order) or sorted(order) != list(range(n)):
            raise fail("the indexes of the answer are not those of the texts")
        vectors: list[Any] = [None] * n
        for index, row in zip(order, rows, strict=True):
            vectors[index] = _decoded(row.get("embedding"))
        if any(vector is None or len(vector) == 0 for vector in vectors):
            raise fail("the answer has an embedding that is not a list of numbers")
        with self._dim_lock:
            checked = check_vectors(vectors, n, self._dim or len(vectors[0]), self.name)
            self._dim = checked.shape[1]
        return checked


def _decoded(embedding: Any) -> Any:
    """A JSON list as it is, base64 as an array of its little-endian float32, anything else as None."""
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
        except (binascii.Error, ValueError):
            return None
    return embedding if isinstance(embedding, list) else None


def _seconds(setting: str, value: float) -> float:
    """A number of seconds that a thread and a socket can wait."""
    found = arguments.number(setting, value)
    _require(found is not None and found <= _LONGEST, f"{setting} must be at most {_LONGEST:,} seconds.")
    return found or 0.0


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers as a dict. What is wrong is not shown: it may be a key."""
    sent = headers if headers is not None else {}
    good = isinstance(sent, Mapping) and all(isinstance(part, str) for pair in sent.items() for part in pair)
    _require(good, "headers must be a dict of texts.", 'For example {"api-key": "..."}.')
    return dict(sent)


def _embeddings_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
        url.host.encode("idna")  # as the system is asked for it
    except (httpx.InvalidURL, TypeError, UnicodeError):
        url = httpx.URL("")
    # The URL is not shown: it may hold a password.
    _require(
        url.scheme in {"http", "https"} and bool(url.host),
        "base_url must be an http or https address.",
        "For Ollama on this machine it is http://localhost:11434/v1",
    )
    return url.copy_with(path=url.path.rstrip("/").removesuffix("/embeddings") + "/embeddings")


_LONGEST = 1_000_000  # longer than anybody waits, and less than what threads cannot wait


def _require(holds: bool, message: str, hint: str | None = None) -> None:
    if not holds:
        raise BadArgument(message, hint=hint)
