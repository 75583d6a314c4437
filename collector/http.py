"""The HTTP receiver: one table of routes, one way through it for every format.

The order of things: token, then encoding, then body, then format, then bus. A sender without a token cannot make us
read a byte of its body, and nobody gets a 2xx before the bus has it, or the spool that stands in for it.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from collector.auth import INGEST, ScopeLacking, Tokens, require_scope
from collector.body import BodyLimits, BodyReader
from collector.docs_page import render_docs
from collector.fetching import HttpsFetcher, store_referred
from collector.gateways import Reading, Received, Unit
from collector.inflate import UnknownCoding, codings
from collector.ingest import Ingest
from collector.large.spool import Spool
from collector.late import Attempt, Latecomers
from collector.losses import Losses
from collector.openapi import describe
from collector.reading import unread, with_hash
from collector.routes import Answer, Failed, Greeting, Outcome, Route, Webhook, failed
from collector.scrub import is_secret_name
from schemas.errors import AccessDenied, AffidavitError, InvariantError, MalformedInput, Unavailable

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
        webhooks: who may send to the routes that check signatures, by name.
        fetcher: gets what records refer to; without one, the reference is all there is.
        losses: what could not be made durable and is sent by nobody again.
        latecomers: bodies whose senders were answered before they were durable; wait for them at the end.
    """

    ingest: Ingest
    tokens: Tokens
    ready: Ready
    limits: BodyLimits = field(default_factory=BodyLimits)
    now_micros: Callable[[], int] = lambda: time.time_ns() // 1000
    webhooks: Mapping[str, Webhook] = field(default_factory=dict)
    fetcher: HttpsFetcher | None = None
    losses: Losses = field(default_factory=Losses)
    latecomers: Latecomers = field(default_factory=Latecomers)


ROUTE = "affidavit.route"
"""Where a request's scope says which path of the table it came by."""


def create_app(receiver: Receiver, routes: Sequence[Route], greetings: Sequence[Greeting] = ()) -> Starlette:
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
                StarletteRoute(path, _endpoint(receiver, route, path), methods=list(route.methods), name=path)
                for route in routes
                for path in route.paths
            ),
            *(StarletteRoute(one.path, _greet(one), methods=[one.method]) for one in greetings),
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


def _greet(greeting: Greeting) -> Callable[[Request], Awaitable[Response]]:
    async def greet(request: Request) -> Response:
        return _response(greeting.answer(request.headers), closing=False)

    return greet


def _endpoint(receiver: Receiver, route: Route, path: str) -> Callable[[Request], Awaitable[Response]]:
    async def receive(request: Request) -> Response:
        request.scope[ROUTE] = path
        media_type = request.headers.get("content-type", "")
        if route.late is not None:
            attempt = Attempt(route.late, receiver.losses, receiver.now_micros)
            working = asyncio.create_task(_receive(receiver, route, request, attempt))
            return _response(await receiver.latecomers.answer(attempt, working, route, media_type), closing=False)
        outcome = await _receive(receiver, route, request)
        answer = route.answer(outcome, media_type)
        return _response(answer, closing=isinstance(outcome, Failed))

    return receive


async def _receive(receiver: Receiver, route: Route, request: Request, attempt: Attempt | None = None) -> Outcome:
    reader = BodyReader(receiver.limits, receiver.ingest.budget, receiver.ingest.spools)
    try:
        if route.verify is None:
            sender = await _bearer(receiver, request)
        else:
            sender = _webhook(receiver, request)
        applied = codings(request.headers.get("content-encoding", ""))
        length = request.headers.get("content-length")
        if route.verify is None:
            spooled = await reader.read_large(request.stream(), length)
            received = _received(receiver, route, request, sender)
            return await store_body(receiver, route, received, spooled, applied, reader)
        wire = await reader.read(request.stream(), length)
        webhook = receiver.webhooks.get(sender.name)
        if webhook is not None:
            route.verify(request.headers, wire, webhook.secrets, receiver.now_micros())
        received = _received(receiver, route, request, sender)
        if attempt is None or webhook is None:
            return await store_body(receiver, route, received, wire, applied, reader)
        attempt.at_hand(webhook, request.headers, wire)
        return await attempt.store(lambda: store_body(receiver, route, received, wire, applied, reader))
    except ClientDisconnect:
        return Failed(MalformedInput("the sender hung up before the end of its body"), 400)
    except ScopeLacking as error:
        return Failed(error, 403)
    except UnknownCoding as error:
        return Failed(error, 415)
    except AffidavitError as error:
        return failed(error)
    except Exception:
        log.exception("a request to %s failed", route.paths[0])
        return failed(InvariantError("internal error"))
    finally:
        reader.release()


class _Sender(NamedTuple):
    """Whose event this is: from a token, or from the webhook that it came by (``name``)."""

    tenant: str
    gateway: str
    token_id: str
    name: str = ""


async def _bearer(receiver: Receiver, request: Request) -> _Sender:
    token = await receiver.tokens.admit(request.headers.get("authorization"))
    require_scope(token, INGEST)
    return _Sender(token.tenant, token.gateway, token.token_id)


def _webhook(receiver: Receiver, request: Request) -> _Sender:
    name = request.path_params["webhook"]
    webhook = receiver.webhooks.get(name)
    if webhook is None:
        raise AccessDenied(
            f"got webhook {name[:64]!r}, which the settings do not name; add a section [webhooks.NAME] with its secret"
        )
    return _Sender(webhook.tenant, webhook.gateway, f"webhook:{name}", name)


async def store_body(
    receiver: Receiver, route: Route, received: Received, wire: bytes | Spool, applied: list[str], reader: BodyReader
) -> Outcome:
    """Inflate, read, store. A body that does not inflate is evidence too: its bytes are kept as they came, and the
    sender learns that there is no use in sending them again."""
    ingest = receiver.ingest
    body = wire
    if applied:
        try:
            run = ingest.beside if isinstance(wire, Spool) else ingest.in_thread
            body = await run(lambda: reader.inflate(wire, applied))
        except MalformedInput as error:
            await _keep(ingest, wire, str(error), received)
            return failed(MalformedInput(f"{error}; the bytes are recorded as unparsed"))
    if isinstance(body, Spool):
        return await ingest.accept_spooled(body, route.format, received)
    if body is not wire:
        reader.hold(len(body))
    stored = await ingest.accept_body(body, route.format, received)
    if receiver.fetcher is not None:
        await store_referred(receiver.fetcher, ingest, route.format, body, received, stored)
    return stored


async def _keep(ingest: Ingest, wire: bytes | Spool, error: str, received: Received) -> None:
    if isinstance(wire, Spool):
        await ingest.accept(unread(wire, error), replace(received, body_sha256=wire.sha256))
        return
    reading = Reading([Unit(wire, error=error)], error=error)
    await ingest.accept(reading, await ingest.in_thread(lambda: with_hash(received, wire)))


def _received(receiver: Receiver, route: Route, request: Request, sender: _Sender) -> Received:
    return Received(
        tenant=sender.tenant,
        gateway=sender.gateway,
        token_id=sender.token_id,
        receiver=route.receiver,
        peer_ip=request.client.host if request.client else "",
        media_type=request.headers.get("content-type", ""),
        content_encoding=request.headers.get("content-encoding", ""),
        received_at=receiver.now_micros(),
        format=route.format.name,
        headers={name: value for name, value in request.headers.items() if not is_secret_name(name)},
        name=sender.name,
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
