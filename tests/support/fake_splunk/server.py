"""The fake over HTTP or HTTPS on loopback, and as a transport for httpx that needs no socket."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from fake_splunk.hec import FakeSplunk

Clock = Callable[[], float]


class _Transport(httpx.BaseTransport):
    def __init__(self, splunk: FakeSplunk, clock: Clock) -> None:
        self._splunk, self._clock = splunk, clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        target = request.url.raw_path.decode()
        reply = self._splunk.handle(request.method, target, dict(request.headers), body, self._clock())
        if reply.cut:
            raise httpx.RemoteProtocolError("server disconnected without sending a response", request=request)
        return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body, request=request)


def client(splunk: FakeSplunk, clock: Clock = time.monotonic) -> httpx.Client:
    """A client whose requests all go to the fake; it keeps cookies like any other."""
    return httpx.Client(transport=_Transport(splunk, clock))


@dataclass(frozen=True, slots=True)
class ServedSplunk:
    """``url`` of a fake that listens."""

    splunk: FakeSplunk
    url: str
    port: int


@contextmanager
def served(splunk: FakeSplunk, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[ServedSplunk]:
    """Listen on loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b"".join(self._chunks())
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = splunk.handle(self.command, self.path, dict(self.headers.items()), body, time.monotonic())
            if reply.cut:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away is no error of ours."""

    server = Server(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    number = server.server_address[1]
    try:
        yield ServedSplunk(splunk, f"{'https' if tls else 'http'}://127.0.0.1:{number}", number)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
