"""The gRPC receiver: the three services of OTLP, on the same admission, formats and ingest as HTTP.

The way of a call: token, then message, then format, then bus. The handlers take a stream of one message, which on the
wire is the same as the unary call that senders make, because the library reads a unary message before it calls
anybody: so a sender without a token is refused before its message is read. The message reaches the format as the
bytes that were sent; nothing here parses it.

Compression is undone here and not by the library, under the same limit as over HTTP, and what does not inflate is kept
as ``unparsed`` rather than refused with a code that says nothing. The library does not tell handlers whether a message
was compressed. It need not: no message of OTLP begins with the bytes of gzip or zlib, because in protobuf those would
be a field that does not exist (15), or a wire type that does not exist (7).

A call that its sender gives up is carried to its end all the same: half an append is no state to leave behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import unquote

import grpc
from grpc import aio

from collector.auth import INGEST, ScopeLacking, require_scope
from collector.body import BodyReader
from collector.gateways import Received
from collector.grpc_answers import GrpcAnswer, grpc_answer
from collector.http import Receiver, store_body
from collector.otlp_answers import PROTOBUF
from collector.otlp_routes import grpc_routes
from collector.routes import Failed, Outcome, Route, failed
from collector.scrub import is_secret_name
from collector.server import DRAIN_SECONDS
from schemas.errors import AffidavitError, ConfigurationError, InvariantError, MalformedInput, Unavailable
from stores.control import Token

log = logging.getLogger(__name__)

HEALTH = "grpc.health.v1.Health"
"""The standard health service: what Kubernetes and load balancers ask. Needs no token, because it says nothing."""

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""``HealthCheckResponse`` with its one field, ``status``."""

READS = 32
"""Messages read at the same time; only senders with a token get that far."""

QUICK_SECONDS = 0.05
SLOW_READS = 16
"""The library takes a message whole before it can be counted against the budget. A small one is there at once, for it
fits into the window that HTTP/2 opens before anybody reads. Of others, so many may be read at the same time; who comes
then is told to come back. This bounds what lies in the library beside the budget."""

READ_SECONDS = 60.0
"""How long a message may take from its first byte to its last."""

DETAILS = "grpc-status-details-bin"

Finished = Callable[[str, int, int, float], None]
"""Told of each call that ended: ``(path, HTTP status that its answer stands for, bytes received, seconds)``. The
status is 0 for a call that was not answered."""


def _ignore(path: str, status: int, size: int, seconds: float) -> None:
    """Nobody counts."""


async def serve_grpc(
    receiver: Receiver,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    started: Callable[[int], None] = lambda port: None,
    routes: Sequence[Route] | None = None,
    finished: Finished = _ignore,
) -> None:
    """Serve OTLP over gRPC until ``stop`` is set, then let calls in flight finish.

    Args:
        port: 0 takes a free one; ``started`` is told which, once calls are accepted.
        routes: :func:`~collector.otlp_routes.grpc_routes`, unless their answers are to be counted.
        finished: told of each call.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    calls = _Calls(receiver, finished)
    server = aio.server(options=_options(receiver.limits.max_bytes))
    server.add_generic_rpc_handlers([*map(calls.handler, routes or grpc_routes()), _health(receiver)])
    bound = _bind(server, host, port)
    await server.start()
    try:
        started(bound)
        await stop.wait()
    finally:
        await server.stop(DRAIN_SECONDS)
        await calls.drain()


def _options(max_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.per_message_decompression", 0),
        ("grpc.so_reuseport", 0),  # or a second process takes the same port, and half of the senders, unnoticed
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _bind(server: Any, host: str, port: int) -> int:
    try:
        bound: int = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError:
        raise ConfigurationError(f"cannot listen on {host}:{port} for gRPC; choose another port") from None
    return bound


class _Calls:
    """The calls of one server."""

    def __init__(self, receiver: Receiver, finished: Finished) -> None:
        self._receiver = receiver
        self._finished = finished
        self._reads = asyncio.Semaphore(READS)
        self.slow_reads = 0
        self._working: set[asyncio.Task[Outcome]] = set()

    def handler(self, route: Route) -> Any:
        """What gRPC calls for a route."""

        async def export(messages: AsyncIterator[bytes], context: Any) -> bytes:
            exchange = _Exchange(route.paths[0], self._finished)
            try:
                answer = exchange.answered(route, await self._outcome(route, messages, context, exchange))
            finally:
                exchange.end()
            if answer.code:
                trailer = ((DETAILS, answer.details),)
                await context.abort(_CODES[answer.code], answer.message, trailer)
            return answer.body

        _, service, method = route.paths[0].split("/")
        return grpc.method_handlers_generic_handler(service, {method: grpc.stream_unary_rpc_method_handler(export)})

    async def drain(self) -> None:
        """Wait for what is being stored for senders that went away."""
        await asyncio.gather(*self._working, return_exceptions=True)

    async def _outcome(
        self, route: Route, messages: AsyncIterator[bytes], context: Any, exchange: _Exchange
    ) -> Outcome:
        try:
            token = await self._admit(context)
            wire = await self._read(messages)
            exchange.received = len(wire)
            received = _received(self._receiver, route, context, token, coding_of(wire))
            held = [wire]
            del wire  # so that a large one is gone from memory once it lies on disk
            working = asyncio.create_task(self._store(route, held, received))
        except ScopeLacking as error:
            return Failed(error, 403)
        except AffidavitError as error:
            return failed(error)
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        return await asyncio.shield(working)

    async def _admit(self, context: Any) -> Token:
        metadata = dict(context.invocation_metadata() or ())
        token = await self._receiver.tokens.admit(_text(metadata.get("authorization")))
        require_scope(token, INGEST)
        return token

    async def _read(self, messages: AsyncIterator[bytes]) -> bytes:
        """The one message of a call."""
        async with self._reads:
            self._receiver.ingest.budget.take(0)
            reading = asyncio.ensure_future(anext(messages))
            try:
                done, _ = await asyncio.wait({reading}, timeout=QUICK_SECONDS)
                return reading.result() if done else await self._read_slowly(reading)
            except StopAsyncIteration:
                raise MalformedInput("got a call without a message, expected one") from None
            finally:
                reading.cancel()

    async def _read_slowly(self, reading: asyncio.Future[bytes]) -> bytes:
        if self.slow_reads >= SLOW_READS:
            raise Unavailable(
                f"got more than {SLOW_READS} large messages at once; send again later, or smaller batches"
            )
        self.slow_reads += 1
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await reading
        except TimeoutError:
            raise Unavailable(f"got no whole message within {READ_SECONDS:g} s; send smaller batches") from None
        finally:
            self.slow_reads -= 1

    async def _store(self, route: Route, held: list[bytes], received: Received) -> Outcome:
        """Store the message, which is taken out of ``held``. Never raises: nobody may be left to hear of it."""
        ingest = self._receiver.ingest
        reader = BodyReader(self._receiver.limits, ingest.budget, ingest.spools)
        try:
            applied = [received.content_encoding] if received.content_encoding else []
            return await store_body(self._receiver, route, received, await reader.keep(held), applied, reader)
        except AffidavitError as error:
            return failed(error)
        except Exception:
            log.exception("a call of %s failed", route.paths[0])
            return failed(InvariantError("internal error"))
        finally:
            reader.release()


class _Exchange:
    """One call, as its counts see it."""

    def __init__(self, path: str, finished: Finished) -> None:
        self._path, self._finished = path, finished
        self._began = time.perf_counter()
        self.received = 0
        self.status = 0

    def answered(self, route: Route, outcome: Outcome) -> GrpcAnswer:
        answer = route.answer(outcome, PROTOBUF)
        self.status = answer.status
        return grpc_answer(answer)

    def end(self) -> None:
        self._finished(self._path, self.status, self.received, time.perf_counter() - self._began)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _received(receiver: Receiver, route: Route, context: Any, token: Token, coding: str) -> Received:
    metadata = {name: _text(value) for name, value in context.invocation_metadata() or ()}
    return Received(
        tenant=token.tenant,
        gateway=token.gateway,
        token_id=token.token_id,
        receiver=route.receiver,
        peer_ip=peer_ip(context.peer()),
        media_type=PROTOBUF,
        content_encoding=coding,
        received_at=receiver.now_micros(),
        format=route.format.name,
        headers={name: value or "" for name, value in metadata.items() if not is_secret_name(name)},
    )


def coding_of(message: bytes) -> str:
    """``gzip``, ``deflate`` or ``""``: how a message was compressed, by its first bytes (RFC 1952 §2.3.1, RFC 1950
    §2.2)."""
    if message[:2] == b"\x1f\x8b":
        return "gzip"
    is_zlib = len(message) > 1 and message[0] & 0x0F == 8 and int.from_bytes(message[:2], "big") % 31 == 0
    return "deflate" if is_zlib and message[0] == 0x78 else ""


def peer_ip(peer: str) -> str:
    """The address in what gRPC calls a peer: ``ipv4:192.0.2.1:5317``, ``ipv6:%5B::1%5D:5317``."""
    family, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]") if family in ("ipv4", "ipv6") else ""


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _health(receiver: Receiver) -> Any:
    async def check(message: bytes, context: Any) -> bytes:
        try:
            await receiver.ready()
        except Unavailable:
            return _NOT_SERVING
        return _SERVING

    return grpc.method_handlers_generic_handler(HEALTH, {"Check": grpc.unary_unary_rpc_method_handler(check)})
