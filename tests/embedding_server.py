"""A real HTTP server with OpenAI's ``/embeddings`` endpoint that misbehaves on demand.

Each request takes the next ``Behaviour`` of ``Server.plan``, or ``Server.otherwise`` when there is none.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def vector(text: str) -> list[float]:
    return [float(len(text)), float(ord(text[0])), 0.5]


def rows(texts: list[str]) -> list[dict]:
    return [{"index": i, "embedding": vector(text)} for i, text in enumerate(texts)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append({"path": self.path, "headers": self.headers, **request})
            behave = self.server.plan.pop(0) if self.server.plan else self.server.otherwise
        behave(self, request["input"])

    def reply(self, status: int, body: object, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for header, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


Behaviour = Callable[[Handler, list[str]], None]


def right(handler: Handler, texts: list[str]) -> None:
    handler.reply(200, {"object": "list", "data": rows(texts)})


def http_date(wait: float) -> str:
    """A moment so many seconds from now, as headers have it."""
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=wait), usegmt=True)


def says(body: object, status: int = 200, **headers: str) -> Behaviour:
    return lambda handler, texts: handler.reply(status, body(texts) if callable(body) else body, **headers)


def refuses(status: int, message: str = "no", **headers: str) -> Behaviour:
    return says({"error": {"message": message}}, status, **headers)


def late(handler: Handler, texts: list[str]) -> None:
    time.sleep(0.2)
    right(handler, texts)


def drips(handler: Handler, texts: list[str]) -> None:
    """Every byte comes within the timeout, the whole never does."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(8):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)
    handler.close_connection = True


def cut(handler: Handler, texts: list[str]) -> None:
    """The connection closes in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [{"index": 0, "embed')
    handler.close_connection = True


def at_most(n: int, status: int) -> Behaviour:
    def behave(handler: Handler, texts: list[str]) -> None:
        (right if len(texts) <= n else refuses(status, "too many inputs"))(handler, texts)

    return behave


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[Behaviour] = []
        self.otherwise: Behaviour = right
        self.seen: list[dict] = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *args: object) -> None:
        """A client that has hung up is part of these tests."""
