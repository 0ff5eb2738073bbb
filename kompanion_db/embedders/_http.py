"""POST to an embedding server: retries, time limits, and errors that explain without showing secrets."""

from __future__ import annotations

import base64
import json
import math
import random
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from kompanion_db.errors import BadArgument, EmbedderError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_RETRIED = {408, 429}
# Too much at once: OpenAI answers 400, proxies 413, Hugging Face text-embeddings-inference 422.
_TOO_MUCH = {400, 413, 422}
_MOST_SHOWN = 300


class RequestRefused(EmbedderError):
    """The server refused this request, but may take one with fewer texts."""


class Endpoint:
    """One URL that takes JSON by POST, on behalf of the embedder called ``name``.

    The values of ``headers`` and a user and password in ``url`` are secret: they are sent, and
    not shown in errors or logs. The other settings are those of ``OpenAIEmbedder``. Raises
    ``BadArgument`` for a URL or a header that cannot be sent.
    """

    def __init__(
        self,
        name: str,
        url: httpx.URL,
        *,
        headers: Mapping[str, str],
        key_env: str,
        timeout: float,
        max_retries: int,
        backoff: float,
        max_wait: float,
    ) -> None:
        sent = httpx.Headers(dict(headers), encoding="utf-8")
        if url.username:
            # httpx logs the URL of each request, so the password leaves it and goes into a header.
            pair = f"{url.username}:{url.password}".encode()
            sent.setdefault("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        for header, value in sent.items():
            # httpx would refuse these too, but with the value in its error.
            if not (header.isascii() and value.isascii() and value.isprintable()):
                raise BadArgument(f"The API key or header '{header}' holds a character that cannot be sent.")
        self._name = name
        self._url = url.copy_with(userinfo=b"")
        self._secrets = tuple(sent)
        self._key_env = key_env
        self._timeout = timeout
        self._max_retries = max_retries
        self._backoff = backoff
        self._max_wait = max_wait
        self._client = httpx.Client(
            headers=sent,
            timeout=timeout,
            # A proxy set for the outside world cannot reach a server on this machine.
            trust_env=url.host not in _LOOPBACK,
        )

    def __str__(self) -> str:
        return shown(self._url)

    def close(self) -> None:
        """Close the connections. Closing twice does no harm."""
        self._client.close()

    def post(self, payload: Mapping[str, Any]) -> bytes:
        """Body of the answer, of status 2xx, to ``payload`` as JSON; retries what may pass.

        Raises ``RequestRefused`` for the statuses that fewer texts may cure, else ``EmbedderError``.
        """
        if self._client.is_closed:
            raise EmbedderError(f"Embedder '{self._name}' is closed.", hint="Make a new one.")
        body = json.dumps(payload, ensure_ascii=False).encode()
        tries = 0
        while True:
            tries += 1
            asked_wait = 0.0
            try:
                response = self._send(body)
            except httpx.HTTPError as exc:
                failure, retry = self._not_reached(exc, tries)
            else:
                if response.is_success:
                    return response.content
                failure, retry = self._refused(response, tries)
                asked_wait = retry_after(response.headers.get("Retry-After"))
            if not retry or tries > self._max_retries:
                # `from None`: what httpx chains may show what was sent.
                raise failure from None
            # Exponential backoff with "equal jitter", M. Brooker, AWS Architecture Blog, 2015.
            wait = self._backoff * 2.0 ** min(tries - 1, 30) * random.uniform(0.5, 1.0)
            time.sleep(min(max(wait, asked_wait), self._max_wait))

    def _send(self, body: bytes) -> httpx.Response:
        # httpx's timeout starts anew with each read: a server that drips would never run into it.
        deadline = time.monotonic() + self._timeout
        kind = {"Content-Type": "application/json"}
        with self._client.stream("POST", self._url, content=body, headers=kind) as response:
            blocks = []
            for block in response.iter_bytes():
                blocks.append(block)
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer takes too long")
        kept = {k: v for k, v in response.headers.items() if k in {"retry-after", "location"}}
        return httpx.Response(response.status_code, headers=kept, content=b"".join(blocks))

    def error(self, what: str, detail: str = "", hint: str | None = None) -> EmbedderError:
        """An error that names the embedder and the server."""
        message = f"Embedder '{self._name}' failed: {what}."
        return EmbedderError(message, detail=f"Server {self}. {detail}".strip(), hint=hint)

    def clean(self, text: str) -> str:
        """``text`` from the server, fit to be shown: short, on one line, without our secrets."""
        for header in self._secrets:
            value = self._client.headers.get(header, "")
            for secret in (value, value.rpartition(" ")[2]):
                if secret:
                    text = text.replace(secret, "***")
        line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
        return line if len(line) <= _MOST_SHOWN else line[:_MOST_SHOWN] + "..."

    def _not_reached(self, exc: httpx.HTTPError, tries: int) -> tuple[EmbedderError, bool]:
        times = f"Tried {tries} times." if tries > 1 else ""
        if isinstance(exc, httpx.TimeoutException):
            what = f"no full answer within {self._timeout:g} s"
            return self.error(what, times, "Raise timeout, or lower batch_size."), True
        reason = f"{self.clean(str(exc)) or type(exc).__name__}. {times}".strip()
        if isinstance(exc, httpx.ConnectError):
            # A certificate does not become valid by asking again.
            retry = "CERTIFICATE" not in str(exc)
            return self.error("cannot connect", reason, "Check base_url and that the server runs."), retry
        # The ones not worth a retry: an unreadable encoding of the body, a proxy set up wrongly.
        retry = isinstance(exc, (httpx.NetworkError, httpx.RemoteProtocolError))
        return self.error("the connection broke", reason), retry

    def _refused(self, response: httpx.Response, tries: int) -> tuple[EmbedderError, bool]:
        status = response.status_code
        says = self.clean(server_message(response.content))
        detail = f'It says: "{says}".' if says else ""
        if tries > 1:
            detail = f"{detail} Tried {tries} times.".strip()
        what = f"the server answered {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
        if response.has_redirect_location:
            target = self._url.join(response.headers["Location"])
            hint = f"Set base_url to the address it points to: {shown(target)}"
            return self.error(what, detail, hint), False
        # OpenAI's 429 for an empty account; waiting does not fill it.
        paid_up = b"insufficient_quota" not in response.content
        hints = {
            400: "Check the model name, and that no text is longer than the model takes.",
            401: f"Set {self._key_env}, or pass api_key.",
            403: f"Check that the key in {self._key_env} or api_key may use this model.",
            404: "Check the model name, and that base_url ends where /embeddings follows, usually in /v1.",
            413: "Shorten the text.",
            429: "Wait, or lower the rate." if paid_up else "Check the account's quota and billing.",
        }
        error = self.error(what, detail, hints.get(status))
        if status in _TOO_MUCH:
            return RequestRefused(error.message, detail=error.detail, hint=error.hint), False
        return error, (status in _RETRIED or status >= 500) and paid_up


def shown(url: httpx.URL) -> str:
    """``url`` without user, password, query and fragment, which may hold secrets."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), 0 if it cannot be read."""
    try:
        seconds = float(value or 0)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value or "")
        except (TypeError, ValueError):
            return 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    return 0.0 if math.isnan(seconds) else max(seconds, 0.0)


def server_message(content: bytes) -> str:
    """The message in a server's error body, in the forms that are about; else the body itself."""
    text = content.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    # {"error": {"message": m}}, {"error": m}, {"detail": m} and {"message": m}
    for _ in range(2):
        if isinstance(found, dict):
            found = next((found[k] for k in ("error", "message", "detail") if found.get(k)), found)
    return found if isinstance(found, str) else json.dumps(found)
