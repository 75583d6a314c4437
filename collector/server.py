"""Uvicorn, embedded: one ASGI application on one socket, until told to stop, then drained."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schemas.errors import ConfigurationError

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 64 * 1024
"""Request line and headers together; the parser itself knows no limit."""

MAX_CONNECTIONS = 1000
DRAIN_SECONDS = 10
"""How long a stop waits for requests in flight; their senders then see a broken connection and send again."""


class BoundedHttp(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with a limit on the size of a request's head."""

    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEADER_BYTES:
            raise httptools.HttpParserError(f"got headers of more than {MAX_HEADER_BYTES} bytes")


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    started: Callable[[int], None] = lambda port: None,
    connections: int = MAX_CONNECTIONS,
    dated: bool = True,
) -> None:
    """Serve ``app`` until ``stop`` is set, then let requests in flight finish.

    Args:
        port: 0 takes a free one; ``started`` is told which, once connections are accepted.
        connections: how many at a time; others are told to come back.
        dated: whether answers get a ``date`` header; not where the application passes on somebody else's.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    listener = _listen(host, port)
    server = _Server(_config(app, connections, dated), lambda: started(listener.getsockname()[1]))
    watch = asyncio.create_task(_watch(stop, server))
    try:
        await server.serve(sockets=[listener])
    finally:
        watch.cancel()
        listener.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the process it is part of, and says when it accepts."""

    def __init__(self, config: uvicorn.Config, accepting: Callable[[], None]) -> None:
        super().__init__(config)
        self._accepting = accepting

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._accepting()


async def _watch(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True


def _config(app: ASGIApp, connections: int, dated: bool) -> uvicorn.Config:
    settings: dict[str, Any] = {
        "http": BoundedHttp,
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": dated,
        "proxy_headers": False,
        "limit_concurrency": connections,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": DRAIN_SECONDS,
    }
    return uvicorn.Config(app, **settings)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only for sockets that say they are TCP, and
    # with it on, an answer in two writes waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from None
    listener.setblocking(False)
    return listener
