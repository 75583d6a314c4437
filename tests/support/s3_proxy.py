"""An HTTP proxy in front of an S3 service: it counts requests by what they ask, and lets chosen ones go wrong.

with S3Proxy(server.endpoint) as proxy:
    objects = S3Objects(server.config(endpoint=proxy.endpoint))
    proxy.fault = once("PUT object", Reply(503, "SlowDown"))
    proxy.counts                       # Counter({"PUT object": 3, "LIST versions": 1})
"""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Reply:
    """Answered by the proxy, and not passed on."""

    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Dropped:
    """The connection is cut: before the service gets the request, or when it has answered."""

    after: bool


@dataclass(frozen=True)
class Damaged:
    """Passed on, and the first byte of the answer's body is another."""


Fault = Reply | Dropped | Damaged
Choice = Callable[[str, str], Fault | None]
"""From operation and path to what goes wrong."""

SUBRESOURCES = {"versions": "LIST versions", "delete": "POST delete"} | {
    name: name for name in ("retention", "legal-hold", "versioning", "object-lock")
}


def nth(operation: str, number: int, fault: Fault) -> Choice:
    """The ``number``-th request of a kind goes wrong, counted from 1."""
    seen, lock = Counter[str](), threading.Lock()

    def choose(asked: str, path: str) -> Fault | None:
        with lock:
            seen[asked] += 1
            return fault if asked == operation and seen[asked] == number else None

    return choose


def once(operation: str, fault: Fault) -> Choice:
    """The next request of a kind goes wrong."""
    return nth(operation, 1, fault)


def always(operation: str, fault: Fault) -> Choice:
    """All requests of a kind go wrong."""
    return lambda asked, path: fault if asked == operation else None


def operation(method: str, path: str) -> str:
    """What a request asks, in words."""
    url = urlsplit(path)
    for name in parse_qs(url.query, keep_blank_values=True):
        if name in SUBRESOURCES:
            known = SUBRESOURCES[name]
            return known if " " in known else f"{method} {known}"
    return f"{method} {'object' if url.path.strip('/').count('/') else 'bucket'}"


class S3Proxy:
    """Forwards from a free loopback port to ``endpoint``. Set :attr:`fault` to make requests go wrong."""

    def __init__(self, endpoint: str) -> None:
        self.counts: Counter[str] = Counter()
        self.fault: Choice = lambda operation, path: None
        self.target = urlsplit(endpoint).netloc
        self.counting = threading.Lock()
        self._server = Listener(self)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Listener(ThreadingHTTPServer):
    """The proxy's port."""

    daemon_threads = True

    def __init__(self, proxy: S3Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def forward(self) -> None:
        proxy, asked = self.server.proxy, operation(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with proxy.counting:
            proxy.counts[asked] += 1
        match proxy.fault(asked, self.path):
            case Reply() as reply:
                self.answer_as_told(reply)
            case Dropped(after):
                if after:
                    self.ask(body)
                self.close_connection = True
            case damaged:
                self.pass_on(body, damaged)

    def ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.server.proxy.target, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def pass_on(self, body: bytes, damaged: Damaged | None) -> None:
        response, content = self.ask(body)
        if damaged and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        if response.status != 204:
            self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    def answer_as_told(self, reply: Reply) -> None:
        content = f"<Error><Code>{reply.code}</Code><Message>as told</Message></Error>".encode()
        self.send_response(reply.status)
        for name, value in (*reply.headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

    def log_message(self, format: str, *args: object) -> None:
        return None
