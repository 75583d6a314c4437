"""Asking the upstream, over HTTP/1.1 with connections that are kept: one transport for one connection at a time.

A pool of httpx looks at every connection it has whenever a request comes or goes, which with two thousand open streams
takes longer than the first token may. So each connection has a transport of its own, and those that are free are a
stack.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from collector.proxy import ProxyConfig
from collector.proxy.routing import Routed

KEPT = 200
"""Free connections kept per upstream."""

KEEP_SECONDS = 55.0
"""Less than the minute after which load balancers in front of the providers close them."""


class Upstreams:
    """Connections to all upstreams. For one event loop.

    Raises:
        httpx.TransportError: from :meth:`ask`, as httpx has it.
    """

    def __init__(self, config: ProxyConfig) -> None:
        self._verify = _trusted(config.ca_file)
        self._timeout = httpx.Timeout(
            connect=config.connect_seconds, read=config.silence_seconds, write=config.silence_seconds, pool=None
        ).as_dict()
        self._free: dict[str, list[httpx.AsyncHTTPTransport]] = {}

    @asynccontextmanager
    async def ask(
        self, routed: Routed, method: str, headers: list[tuple[bytes, bytes]], body: httpx.AsyncByteStream
    ) -> AsyncIterator[httpx.Response]:
        """Send a request; gives the response when its head is here, its body still to come.

        The connection is used again only when the body was read to its end.
        """
        origin = routed.destination.origin
        free = self._free.setdefault(origin, [])
        transport = free.pop() if free else self._transport()
        extensions = {"timeout": self._timeout, "target": routed.target}
        request = httpx.Request(method, origin, headers=headers, stream=body, extensions=extensions)
        reusable = False
        try:
            response = await transport.handle_async_request(request)
            try:
                yield response
                reusable = True
            finally:
                await response.aclose()
        finally:
            if reusable and len(free) < KEPT:
                free.append(transport)
            else:
                await transport.aclose()

    async def aclose(self) -> None:
        """Close what is kept."""
        for free in self._free.values():
            while free:
                await free.pop().aclose()

    def _transport(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_SECONDS)
        return httpx.AsyncHTTPTransport(verify=self._verify, http1=True, http2=False, limits=limits)


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file)) if ca_file else httpx.create_ssl_context()
