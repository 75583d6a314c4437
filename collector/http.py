"""The HTTP receiver: one table of routes, one way through it for every format.

The order of things: token, then encoding, then body, then format, then bus. A sender without a token cannot make us
read a byte of its body, and nobody gets a 2xx before the bus has it.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from collector.auth import INGEST, Tokens, require_scope
from collector.body import BodyLimits, BodyReader
from collector.docs_page import render_docs
from collector.gateways import Reading, Received, Unit
from collector.inflate import codings, inflate
from collector.ingest import Ingest, with_hash
from collector.openapi import describe
from collector.routes import Answer, Failed, Outcome, Route, failed
from schemas.errors import AccessDenied, AffidavitError, InvariantError, MalformedInput, Unavailable
from stores.control import Token

log = logging.getLogger(__name__)

Ready = Callable[[], Awaitable[None]]
"""Raises :class:`~schemas.errors.Unavailable` while something that is needed to take events is away."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """What the routes share.

    Attributes:
        ingest: where readings go.
        tokens: who may send.
        ready: asked by ``/readyz``.
        limits: of bodies.
        now_micros: microseconds since 1970 UTC.
    """

    ingest: Ingest
    tokens: Tokens
    ready: Ready
    limits: BodyLimits = field(default_factory=BodyLimits)
    now_micros: Callable[[], int] = lambda: time.time_ns() // 1000


def create_app(receiver: Receiver, routes: Sequence[Route]) -> Starlette:
    """The collector's ASGI application."""
    described = describe(routes)
    document, page = orjson.dumps(described), render_docs(described)
    known = [path for route in routes for path in route.paths] + ["/healthz", "/readyz", "/openapi.json", "/docs"]

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        try:
            await receiver.ready()
        except Unavailable as error:
            return JSONResponse({"status": "unavailable", "error": str(error)}, 503, {"retry-after": "1"})
        return JSONResponse({"status": "ready"})

    async def openapi(request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def docs(request: Request) -> Response:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _refusal(request, error, known)

    return Starlette(
        routes=[
            *(
                StarletteRoute(path, _endpoint(receiver, route), methods=["POST"], name=path)
                for route in routes
                for path in route.paths
            ),
            StarletteRoute("/healthz", healthz),
            StarletteRoute("/readyz", readyz),
            StarletteRoute("/openapi.json", openapi),
            StarletteRoute("/docs", docs),
        ],
        exception_handlers={HTTPException: refuse},
    )


PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
}
"""The page of the API needs nothing from anywhere, and no script."""


def _endpoint(receiver: Receiver, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def receive(request: Request) -> Response:
        media_type = request.headers.get("content-type", "")
        outcome = await _receive(receiver, route, request)
        answer = route.answer(outcome, media_type)
        return _response(answer, closing=isinstance(outcome, Failed))

    return receive


async def _receive(receiver: Receiver, route: Route, request: Request) -> Outcome:
    reader = BodyReader(receiver.limits, receiver.ingest.budget)
    try:
        token = await receiver.tokens.admit(request.headers.get("authorization"))
        try:
            require_scope(token, INGEST)
        except AccessDenied as error:
            return Failed(error, 403)
        try:
            applied = codings(request.headers.get("content-encoding", ""))
        except MalformedInput as error:
            return Failed(error, 415)
        wire = await reader.read(request.stream(), request.headers.get("content-length"))
        return await _store(receiver, route, _received(receiver, route, request, token), wire, applied, reader)
    except ClientDisconnect:
        return Failed(MalformedInput("the sender hung up before the end of its body"), 400)
    except AffidavitError as error:
        return failed(error)
    except Exception:
        log.exception("a request to %s failed", route.paths[0])
        return failed(InvariantError("internal error"))
    finally:
        reader.release()


async def _store(
    receiver: Receiver, route: Route, received: Received, wire: bytes, applied: list[str], reader: BodyReader
) -> Outcome:
    """Inflate, read, store. A body that does not inflate is evidence too: its bytes are kept as they came, and the
    sender learns that there is no use in sending them again."""
    ingest = receiver.ingest
    body = wire
    if applied:
        try:
            body = await ingest.in_thread(lambda: inflate(wire, applied, receiver.limits.max_bytes))
        except MalformedInput as error:
            reading = Reading([Unit(wire, error=str(error))], error=str(error))
            await ingest.accept(reading, await ingest.in_thread(lambda: with_hash(received, wire)))
            return failed(MalformedInput(f"{error}; the bytes are recorded as unparsed"))
        reader.hold(len(body))
    return await ingest.accept_body(body, route.format, received)


def _received(receiver: Receiver, route: Route, request: Request, token: Token) -> Received:
    return Received(
        tenant=token.tenant,
        gateway=token.gateway,
        token_id=token.token_id,
        receiver=route.receiver,
        peer_ip=request.client.host if request.client else "",
        media_type=request.headers.get("content-type", ""),
        content_encoding=request.headers.get("content-encoding", ""),
        received_at=receiver.now_micros(),
        format=route.format.name,
    )


def _response(answer: Answer, *, closing: bool) -> Response:
    """A failure may leave part of the body unread, so the connection is not used again."""
    headers = dict(answer.headers)
    if closing and answer.status != 503:
        headers["connection"] = "close"
    return Response(answer.body, answer.status, headers)


def _refusal(request: Request, error: HTTPException, known: Sequence[str]) -> Response:
    path = request.url.path
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "POST")
        text = f"got {request.method} {path[:128]}, expected {allow}; see /docs"
        return JSONResponse({"error": text}, 405, {"allow": allow})
    near = difflib.get_close_matches(path, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return JSONResponse({"error": f"there is no {path[:128]}: {hint} See /docs"}, error.status_code)
