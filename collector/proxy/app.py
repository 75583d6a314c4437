"""The proxy as an ASGI application: whose request it is, where it goes, and what must be on record before it goes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from starlette.types import Receive, Scope, Send

from collector.auth import INGEST, Tokens, require_scope
from collector.ingest import Ingest
from collector.proxy import ProxyConfig
from collector.proxy.heads import TOKEN, Headers, for_upstream, value
from collector.proxy.recorder import Lose, Loss, Recorder, RecorderSnapshot
from collector.proxy.recording import Recording, Sender
from collector.proxy.refusals import refusal
from collector.proxy.relay import CallerGone, RequestBody, answer, relay
from collector.proxy.routing import Routed, destinations, route
from collector.proxy.tape import TapeStore
from collector.proxy.upstream import Upstreams
from collector.routes import Answer
from schemas.errors import AccessDenied, AffidavitError, Unavailable

log = logging.getLogger(__name__)

TOKEN_SECONDS = 2.0
"""How long a caller waits for the token database; then it is let through, to be asked for again when its exchange is
recorded, unless some tenant fails closed."""

_UNRECORDED = ("HEAD", "OPTIONS")
"""Methods whose answers say nothing."""


class Refused(Exception):
    """The request is not passed on."""

    def __init__(self, status: int, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, slots=True)
class ProxySnapshot:
    """What the proxy has done and holds. ``memory_bytes`` and ``disk_bytes`` are copies of bodies."""

    recorder: RecorderSnapshot
    memory_bytes: int
    disk_bytes: int


class Proxy:
    """Use as an ASGI application, inside ``async with``: leaving waits for what is still to be recorded."""

    def __init__(
        self,
        config: ProxyConfig,
        ingest: Ingest,
        tokens: Tokens,
        *,
        lose: Lose = lambda loss: None,
        now_micros: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._config, self._tokens, self._now_micros = config, tokens, now_micros
        self._known = destinations(config.by_name())
        self._tapes = TapeStore(config.folder, config.memory_bytes, config.disk_bytes)
        self._recorder = Recorder(ingest, tokens, config, lose, now_micros=now_micros)
        self._upstreams = Upstreams(config)

    async def __aenter__(self) -> Self:
        self._recorder.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._recorder.stop(self._config.ready_seconds)
        await self._upstreams.aclose()

    def snapshot(self) -> ProxySnapshot:
        """Counts for metrics."""
        return ProxySnapshot(self._recorder.snapshot(), self._tapes.memory_used, self._tapes.disk_used)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the server speaks HTTP alone"
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if path in (b"/healthz", b"/readyz"):
            await answer(send, Answer(200, {"content-type": "application/json"}, b'{"status":"ok"}'))
            return
        routed = route(self._known, path, scope["query_string"])
        if routed is None:
            names = ", ".join(f"/{name}/…" for name in self._config.by_name())
            await answer(send, refusal("", 404, f"got a path that names no upstream, expected one of {names}"))
            return
        try:
            await self._exchange(scope, routed, receive, send)
        except Refused as error:
            own = refusal(routed.destination.upstream.api, error.status, str(error), retry_after=error.retry_after)
            await answer(send, own)

    async def _exchange(self, scope: Scope, routed: Routed, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        _check_passable(scope["method"], headers)
        peer_ip = scope["client"][0] if scope.get("client") else ""
        token = value(headers, TOKEN).decode("latin-1") or routed.token
        sender = await self._sender(routed, token, peer_ip)
        passed = for_upstream(headers, routed.destination.host)
        recording = Recording(
            self._tapes,
            sender,
            f"Bearer {token}",
            peer_ip,
            routed.destination.upstream.name,
            routed.destination.upstream.api,
            routed.destination.origin + routed.target.decode("latin-1"),
            scope["method"],
            routed.target,
            passed,
            headers,
            self._now_micros,
            self._config.fingerprint_key,
        )
        body = RequestBody(receive, recording)
        recorded = recording.method not in _UNRECORDED
        if recorded:
            self._recorder.begun(recording)
        try:
            if sender is not None and sender.tenant in self._config.fail_closed and recorded:
                await self._record_first(recording, body)
            await relay(self._upstreams, routed, recording, passed, body, receive, send)
        except CallerGone:
            recording.finish("cancelled")
        finally:
            recording.finish("broken", "the proxy was stopped")
            if recorded:
                self._recorder.ended(recording)
            else:
                recording.close()

    async def _sender(self, routed: Routed, token: str, peer_ip: str) -> Sender | None:
        """Whose request it is; ``None`` when it may go, but nobody could be asked."""
        upstream = routed.destination.upstream
        if not token:
            if upstream.bound is None:
                raise Refused(
                    401,
                    f"got no token; send header {TOKEN.decode()}, or use the base URL /t/TOKEN/{upstream.name}",
                )
            if not _is_loopback(peer_ip):
                raise Refused(401, f"got no token from {peer_ip}, expected one from everybody but loopback")
            return Sender(upstream.bound.tenant, upstream.bound.gateway, f"bound:{upstream.name}")
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                known = await self._tokens.admit(f"Bearer {token}")
            require_scope(known, INGEST)
        except AccessDenied as error:
            raise Refused(401, str(error).replace("Authorization: Bearer aff_…", f"{TOKEN.decode()}: aff_…")) from None
        except (Unavailable, TimeoutError):
            if self._config.fail_closed:
                raise Refused(503, "the token cannot be checked now; send again", 1) from None
            return None
        return Sender(known.tenant, known.gateway, known.token_id)

    async def _record_first(self, recording: Recording, body: RequestBody) -> None:
        """What follows happens only when the prompt is durable."""
        await body.take()
        try:
            if recording.request.lost:
                raise Unavailable("no room for a copy of the request")
            await self._recorder.record_now(recording)
        except (AffidavitError, TimeoutError) as error:
            recording.finish("unreachable", "refused: the request could not be made durable")
            log.error("exchange %s was refused: its prompt cannot be made durable: %s", recording.exchange_id, error)
            raise Refused(
                503, "the request cannot be recorded now, and this tenant fails closed; send again", 1
            ) from None


def create_proxy(
    config: ProxyConfig,
    ingest: Ingest,
    tokens: Tokens,
    *,
    lose: Callable[[Loss], None] = lambda loss: None,
    now_micros: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Proxy:
    """The recording proxy.

    Args:
        config: upstreams and behaviour.
        ingest: where exchanges go.
        tokens: who may send.
        lose: told of exchanges that were passed on and could not be recorded.
        now_micros: microseconds since 1970 UTC.

    Raises:
        ConfigurationError: an upstream's name or base URL cannot be one.
    """
    return Proxy(config, ingest, tokens, lose=lose, now_micros=now_micros)


def _check_passable(method: str, headers: Headers) -> None:
    if value(headers, b"upgrade").lower() == b"websocket":
        raise Refused(501, "got a WebSocket, expected plain HTTP; switch realtime connections off, or send them direct")
    if method in ("CONNECT", "TRACE"):
        raise Refused(501, f"got method {method}, expected a request to an API; this is no forward proxy")


def _is_loopback(peer_ip: str) -> bool:
    try:
        return ipaddress.ip_address(peer_ip).is_loopback
    except ValueError:
        return False
