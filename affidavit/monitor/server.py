"""The monitor's HTTP server: ``/metrics``, ``/livez``, ``/readyz``, on a listener, a thread and a loop of its own.

Its own, because it must answer most of all when a role does not.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from affidavit.monitor.readiness import Finding
from collector.server import serve
from schemas.errors import InvariantError

log = logging.getLogger(__name__)

STOP_SECONDS = 12.0
"""How long the thread may take to stop: a little more than the server's own drain."""

NEVER_KEPT = {"cache-control": "no-store"}


class Watched(Protocol):
    """What the server asks, from threads of its own, at any time."""

    registry: CollectorRegistry

    def stuck(self) -> Sequence[Finding]:
        """The roles whose event loop does not answer."""
        ...

    def unready(self) -> Sequence[Finding]:
        """The roles that cannot do their work."""
        ...

    def roles(self) -> Sequence[str]:
        """All roles of the process."""
        ...


def create_app(watched: Watched, token: str | None = None) -> Starlette:
    """The monitor's ASGI application.

    Args:
        token: what scrapers must bear. ``/livez`` and ``/readyz`` answer anybody, because orchestrators have no token,
            but tell the reasons to bearers only.
    """

    def admitted(request: Request) -> bool:
        given = request.headers.get("authorization", "").encode("utf-8", "surrogatepass")
        return token is None or hmac.compare_digest(given, f"Bearer {token}".encode())

    # Snapshots are read on other threads: should one hang, /livez still answers.

    async def metrics(request: Request) -> Response:
        if not admitted(request):
            refusal = "got no token or another one, expected Authorization: Bearer with the token of the monitor\n"
            return PlainTextResponse(refusal, 401, {"www-authenticate": "Bearer"} | NEVER_KEPT)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        text = await asyncio.to_thread(encode, watched.registry)
        return Response(text, headers={"content-type": media_type} | NEVER_KEPT)

    async def livez(request: Request) -> Response:
        return _told(request, "live", watched.stuck(), watched.roles(), whole=admitted(request))

    async def readyz(request: Request) -> Response:
        found = await asyncio.to_thread(watched.unready)
        return _told(request, "ready", found, watched.roles(), whole=admitted(request))

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/livez", livez), Route("/readyz", readyz)],
        middleware=[Middleware(GZipMiddleware, minimum_size=2048, compresslevel=3)],
    )


@contextmanager
def serving(watched: Watched, host: str, port: int, token: str | None = None) -> Iterator[str]:
    """Serve for as long as the context lasts; gives the URL.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    from affidavit.receiving import base_url

    told: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    stopping = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        event = asyncio.Event()
        stop.append((asyncio.get_running_loop(), event))
        await serve(create_app(watched, token), host, port, event, started=told.put)

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            if not stopping.is_set():
                log.error("the monitor has ended: %s", error)
            told.put(error)
        else:
            told.put(InvariantError("the monitor's server returned before it listened"))  # read only if that is so

    thread = threading.Thread(target=run, name="monitor", daemon=True)
    thread.start()
    answer = told.get()
    if isinstance(answer, BaseException):
        raise answer
    try:
        yield base_url(host, answer)
    finally:
        stopping.set()
        loop, event = stop[0]
        loop.call_soon_threadsafe(event.set)
        thread.join(STOP_SECONDS)


def _told(request: Request, word: str, findings: Sequence[Finding], roles: Sequence[str], *, whole: bool) -> Response:
    """200 when nothing was found, else 503; in JSON where the request asks for it."""
    status = 503 if findings else 200
    if "verbose" in request.query_params or "application/json" in request.headers.get("accept", ""):
        by_role = {finding.role: finding.reason if whole else "" for finding in findings}
        body = {
            "status": f"not {word}" if findings else word,
            "roles": {
                role: {word: role not in by_role} | ({"reason": by_role[role]} if by_role.get(role) else {})
                for role in roles
            },
        }
        return JSONResponse(body, status, NEVER_KEPT)
    lines = [f"{finding.role}: {finding.reason}" if whole else finding.role for finding in findings]
    text = "".join(f"{line}\n" for line in [f"not {word}" if findings else word, *lines])
    return PlainTextResponse(text, status, NEVER_KEPT)
