"""Whatever takes lines: an HTTP endpoint for newline-delimited JSON, and a syslog receiver, on loopback."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx


class JsonLines(httpx.BaseTransport):
    """Takes NDJSON without a socket: ``httpx.Client(transport=…)``. ``script``: what to answer next, in place of 200.

    An event that ``refuses`` says no to makes the whole request a 400.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.script: list[int | Exception] = []
        self.refuses: Callable[[dict[str, Any]], bool] = lambda event: False
        self.requests: list[httpx.Request] = []

    def client(self) -> httpx.Client:
        return httpx.Client(transport=self)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.script.pop(0) if self.script else 200
        if isinstance(status, Exception):
            raise status
        events = [json.loads(line) for line in gzip.decompress(request.read()).splitlines()]
        if status == 200 and any(map(self.refuses, events)):
            status = 400
        if status == 200:
            self.events += events
        return httpx.Response(status, headers={"Retry-After": "7"} if status == 503 else {}, request=request)


class SyslogReceiver:
    """Messages framed by their length (RFC 5425 §4.3). ``messages`` in the order of arrival, over all connections."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        self.messages: list[bytes] = []
        self.connections: list[socket.socket] = []
        self._listener, self._context = listener, context
        self.port: int = listener.getsockname()[1]

    def drop(self) -> None:
        """End all connections."""
        for one in self.connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.connections.clear()

    def accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            stream = self._context.wrap_socket(plain, server_side=True) if self._context else plain
        except OSError:
            plain.close()
            return
        self.connections.append(stream)
        try:
            with stream, stream.makefile("rb") as file:
                while True:
                    length = b""
                    while not length.endswith(b" "):
                        byte = file.read(1)
                        if not byte:
                            return
                        length += byte
                    data = file.read(int(length))
                    if len(data) < int(length):
                        return
                    self.messages.append(data)
        except (OSError, ValueError):
            return


@contextmanager
def syslog_receiver(context: ssl.SSLContext | None = None) -> Iterator[SyslogReceiver]:
    """Listen until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    receiver = SyslogReceiver(listener, context)
    thread = threading.Thread(target=receiver.accept, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        receiver.drop()
        thread.join(5)
