"""OTLP over gRPC: who may call, what each ending is called, and that what was sent is what is kept."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import pytest
from collector_server import RunningCollector, collector_server
from fake_clock import eventually
from faults import Fault, Faults
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from otlp_payloads import encode, log, log_request, span, span_request

from collector.auth import INGEST, Tokens, mint_token
from collector.body import BodyLimits
from collector.grpc import DETAILS, HEALTH, SLOW_READS, _Calls, coding_of, peer_ip, serve_grpc
from collector.http import Receiver
from collector.ingest import Ingest
from collector.otlp_routes import grpc_routes
from schemas.errors import ConfigurationError, MalformedInput, Unavailable
from schemas.ids import EVENTS
from stores.bus import Bus, Outgoing, Position

LOGS, TRACES, METRICS = (route.paths[0] for route in grpc_routes())
SPANS = encode(
    span_request([span("chat gpt-5", {"gen_ai.operation.name": "chat", "note": "n" * 90})]), "traces", "protobuf"
)
WARNING = encode(log_request([log("", {}, "disk full")]), "logs", "protobuf")


class Ended(NamedTuple):
    code: grpc.StatusCode
    message: bytes
    text: str = ""
    status: Status | None = None

    @property
    def retry_after(self) -> int:
        """Seconds of its RetryInfo, 0 without one."""
        for detail in self.status.details if self.status else ():
            info = RetryInfo()
            assert detail.Unpack(info)
            return int(info.retry_delay.seconds)
        return 0


def call(
    collector: RunningCollector,
    path: str,
    message: bytes,
    *,
    authorization: str | None = "",
    metadata: Sequence[tuple[str, str]] = (),
    **options: Any,
) -> Ended:
    """One call with the collector's token; ``None`` sends none."""
    text = collector.headers["Authorization"] if authorization == "" else authorization
    sent = [*metadata, *([("authorization", text)] if text else [])]
    with grpc.insecure_channel(collector.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        try:
            return Ended(grpc.StatusCode.OK, channel.unary_unary(path)(message, metadata=sent, timeout=30, **options))
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            status = Status.FromString(trailers[DETAILS]) if DETAILS in trailers else None
            return Ended(error.code(), b"", error.details(), status)


@pytest.fixture
def collector() -> Iterator[RunningCollector]:
    with collector_server("otel", limits=BodyLimits(1 << 20), grpc=True) as running:
        yield running


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_a_message_is_kept_byte_for_byte(collector: RunningCollector, compression: grpc.Compression) -> None:
    sent = [("x-tenant-hint", "billing"), ("x-api-key", "hunter2"), ("trace-bin", b"\x00\xff")]
    assert call(collector, TRACES, SPANS, compression=compression, metadata=sent) == Ended(grpc.StatusCode.OK, b"")
    prompt, response = collector.opened()
    assert (prompt.source, response.source) == (SPANS, None)
    metadata = prompt.metadata
    assert (metadata["receiver"], metadata["peer_ip"], metadata["tenant"]) == ("otlp-grpc", "127.0.0.1", "acme")
    assert metadata["media_type"] == "application/x-protobuf"
    words = {grpc.Compression.Gzip: "gzip", grpc.Compression.Deflate: "deflate"}
    assert metadata["content_encoding"] == words.get(compression, "")
    assert metadata["gateway"] == "otel"


def test_a_message_of_123_bytes_is_not_taken_for_json(collector: RunningCollector) -> None:
    """Its first bytes are then a newline and a brace."""
    sizes = (encode(log_request([log("", {}, "x" * n)], {}), "logs", "protobuf") for n in range(100))
    padded = next(body for body in sizes if len(body) == 125)
    assert padded[:2] == b"\n{"
    assert call(collector, LOGS, padded).code is grpc.StatusCode.OK
    assert [event.metadata["kind"] for event in collector.opened()] == ["session"]


def test_an_empty_request_is_fine(collector: RunningCollector) -> None:
    assert call(collector, LOGS, b"") == Ended(grpc.StatusCode.OK, b"")
    assert collector.opened() == []


def test_metrics_are_declined(collector: RunningCollector) -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.gauge.data_points.add()
    answer = call(collector, METRICS, request.SerializeToString())
    partial = ExportMetricsServiceResponse.FromString(answer.message).partial_success
    assert (answer.code, partial.rejected_data_points) == (grpc.StatusCode.OK, 1)
    assert "keeps no metrics" in partial.error_message
    assert collector.opened() == []


def test_a_record_that_cannot_be_read_is_kept_and_told_of(collector: RunningCollector) -> None:
    broken = b"\x0a\x0b\x12\x09" + b"\x12\x01\xff" + WARNING[-4:]  # a ResourceLogs with a scope that does not parse
    answer = call(collector, LOGS, WARNING + broken)
    events = collector.opened()
    if answer.code is grpc.StatusCode.OK:
        partial = ExportLogsServiceResponse.FromString(answer.message).partial_success
        assert partial.rejected_log_records == 1
    assert "unparsed" in [event.metadata["kind"] for event in events]


@pytest.mark.parametrize("path", [LOGS, TRACES])
def test_what_is_no_request_is_refused_and_kept(collector: RunningCollector, path: str) -> None:
    answer = call(collector, path, b"\xff" * 40)
    assert (answer.code, answer.retry_after) == (grpc.StatusCode.INVALID_ARGUMENT, 0)
    assert "recorded as unparsed" in answer.text
    assert answer.status is not None
    assert (answer.status.code, answer.status.message) == (3, answer.text)
    (event,) = collector.opened()
    assert (event.metadata["kind"], event.source) == ("unparsed", b"\xff" * 40)


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Bearer aff_000000000000_" + "a" * 43, "Digest x"])
def test_without_a_good_token(collector: RunningCollector, authorization: str | None) -> None:
    answer = call(collector, TRACES, SPANS, authorization=authorization)
    assert (answer.code, answer.retry_after) == (grpc.StatusCode.UNAUTHENTICATED, 0)
    assert "affidavit token create" in answer.text
    assert "aff_0000" not in answer.text
    assert collector.opened() == []


def test_a_message_that_is_too_large(collector: RunningCollector) -> None:
    answer = call(collector, LOGS, encode(log_request([log("", {}, "x" * (1 << 20))]), "logs", "protobuf"))
    assert (answer.code, answer.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
    assert collector.opened() == []


def test_a_message_that_is_too_large_once_inflated(collector: RunningCollector) -> None:
    bomb = b"\x0a" * (64 << 20)
    answer = call(collector, LOGS, bomb, compression=grpc.Compression.Gzip)
    assert (answer.code, answer.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
    assert "after decompression" in answer.text


@pytest.mark.parametrize("damage", [lambda body: body[:-9], lambda body: body[:30] + b"\x00\x00" + body[32:]])
def test_a_message_that_does_not_inflate_is_refused_and_kept(
    collector: RunningCollector, damage: Callable[[bytes], bytes]
) -> None:
    damaged = damage(gzip.compress(SPANS))
    answer = call(collector, TRACES, damaged)
    assert (answer.code, answer.retry_after) == (grpc.StatusCode.INVALID_ARGUMENT, 0)
    (event,) = collector.opened()
    assert (event.metadata["kind"], event.source) == ("unparsed", damaged)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_an_outage_asks_for_the_same_again(fault: Fault) -> None:
    with collector_server("otel", Faults({1: fault}), grpc=True) as collector:
        answer = call(collector, TRACES, SPANS)
        assert answer.code is grpc.StatusCode.UNAVAILABLE
        assert answer.retry_after >= 1
        assert call(collector, TRACES, SPANS).code is grpc.StatusCode.OK
        ids = [event.metadata["event_id"] for event in collector.opened()]
    assert len(set(ids)) == 2
    assert len(ids) == (4 if fault is Fault.REPORTED else 2)


def test_a_bug_of_ours_asks_for_the_same_again_too() -> None:
    """INTERNAL and UNKNOWN would make the sender drop it."""

    class Broken(MemoryBus):
        async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
            raise RuntimeError("a bug")

    with collector_server("otel", before=lambda bus: Broken(), grpc=True) as collector:
        answer = call(collector, TRACES, SPANS)
    assert answer.code is grpc.StatusCode.UNAVAILABLE
    assert answer.retry_after >= 1
    assert "a bug" not in answer.text


def test_health(collector: RunningCollector) -> None:
    assert call(collector, f"/{HEALTH}/Check", b"", authorization=None).message == b"\x08\x01"
    assert call(collector, f"/{HEALTH}/Watch", b"", authorization=None).code is grpc.StatusCode.UNIMPLEMENTED


def test_a_method_that_nobody_has(collector: RunningCollector) -> None:
    profiles = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
    assert call(collector, profiles, b"").code is grpc.StatusCode.UNIMPLEMENTED


def test_codings_and_peers() -> None:
    assert coding_of(gzip.compress(b"")) == "gzip"
    assert [coding_of(zlib.compress(SPANS, level)) for level in range(10)] == ["deflate"] * 10
    assert [coding_of(body) for body in (SPANS, WARNING, b"", b"\x1f", b"x", b"x\x9d")] == [""] * 6
    assert peer_ip("ipv4:192.0.2.1:5317") == "192.0.2.1"
    assert peer_ip("ipv6:%5B2001:db8::1%5D:5317") == "2001:db8::1"
    assert peer_ip("unix:/run/otlp.sock") == peer_ip("") == ""


class Held(MemoryBus):
    """A bus whose appends wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        self.entered.set()
        await self.go.wait()
        return await super().append(messages)


@contextmanager
def receiving(bus: Bus, scopes: Sequence[str] = (INGEST,), **options: Any) -> Iterator[tuple[Receiver, str]]:
    control = MemoryControl()
    minted = mint_token("acme", "otel", scopes, now_ms=0)
    control.add_token(minted.row)
    ingest = Ingest(bus, MemoryKeys(), collector_id="c-1", **options)

    async def ready() -> None:
        raise Unavailable("the bus is away")

    try:
        yield Receiver(ingest, Tokens(control), ready), f"Bearer {minted.text}"
    finally:
        ingest.close()


async def serving(receiver: Receiver, stop: asyncio.Event, **options: Any) -> tuple[asyncio.Task[None], str]:
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve_grpc(receiver, "127.0.0.1", 0, stop, started=bound.set_result, **options))
    return task, f"127.0.0.1:{await bound}"


async def test_a_stop_lets_calls_in_flight_end() -> None:
    bus, stop, seen = Held(), asyncio.Event(), []
    with receiving(bus) as (receiver, token):
        server, target = await serving(receiver, stop, finished=lambda *told: seen.append(told))
        async with grpc.aio.insecure_channel(target) as channel:
            export = channel.unary_unary(TRACES)(SPANS, metadata=(("authorization", token),))
            await bus.entered.wait()
            stop.set()
            bus.go.set()
            assert await export == b""
        await server
    ((path, status, size, seconds),) = seen
    assert (path, status, size) == (TRACES, 200, len(SPANS))
    assert seconds > 0


async def test_what_a_sender_gave_up_is_stored_all_the_same() -> None:
    bus, stop = Held(), asyncio.Event()
    with receiving(bus) as (receiver, token):
        server, target = await serving(receiver, stop)
        async with grpc.aio.insecure_channel(target) as channel:
            export = channel.unary_unary(TRACES)(SPANS, metadata=(("authorization", token),))
            await bus.entered.wait()
            export.cancel()
            with pytest.raises(asyncio.CancelledError):
                await export
            stop.set()
            bus.go.set()
        await server
        assert receiver.ingest.budget.used == 0
    assert sum([(await bus.bounds(shard)).end for shard in await bus.shards(EVENTS)]) == 2


async def test_too_much_in_flight_is_told_to_come_back() -> None:
    bus, stop = Held(), asyncio.Event()
    with receiving(bus, max_in_flight=len(SPANS)) as (receiver, token):
        server, target = await serving(receiver, stop)
        async with grpc.aio.insecure_channel(target) as channel:
            first = channel.unary_unary(TRACES)(SPANS, metadata=(("authorization", token),))
            await bus.entered.wait()
            with pytest.raises(grpc.aio.AioRpcError, match="in flight") as refused:
                await channel.unary_unary(TRACES)(SPANS, metadata=(("authorization", token),))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            bus.go.set()
            assert await first == b""
        stop.set()
        await server


async def test_large_messages_are_read_a_few_at_a_time() -> None:
    """A message that is there at once is read all the same."""
    go = asyncio.Event()

    async def arriving() -> AsyncIterator[bytes]:
        await go.wait()
        yield b"late"

    async def there() -> AsyncIterator[bytes]:
        yield b"at once"

    with receiving(MemoryBus()) as (receiver, _):
        calls = _Calls(receiver, lambda *told: None)
        slow = [asyncio.create_task(calls._read(arriving())) for _ in range(SLOW_READS)]
        await eventually(lambda: calls.slow_reads == SLOW_READS)
        with pytest.raises(Unavailable, match="large messages at once"):
            await calls._read(arriving())
        assert await calls._read(there()) == b"at once"
        go.set()
        assert await asyncio.gather(*slow) == [b"late"] * SLOW_READS
        assert await calls._read(arriving()) == b"late"


async def test_a_call_without_a_message_is_refused() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    with receiving(MemoryBus()) as (receiver, _), pytest.raises(MalformedInput, match="without a message"):
        await _Calls(receiver, lambda *told: None)._read(nothing())


async def test_a_token_that_was_made_for_something_else() -> None:
    stop = asyncio.Event()
    with receiving(MemoryBus(), ["query"]) as (receiver, token):
        server, target = await serving(receiver, stop)
        async with grpc.aio.insecure_channel(target) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="expected ingest") as refused:
                await channel.unary_unary(TRACES)(SPANS, metadata=(("authorization", token),))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert await channel.unary_unary(f"/{HEALTH}/Check")(b"") == b"\x08\x02"
        stop.set()
        await server


async def test_two_servers_do_not_share_a_port() -> None:
    stop = asyncio.Event()
    with receiving(MemoryBus()) as (receiver, _):
        server, target = await serving(receiver, stop)
        with pytest.raises(ConfigurationError, match="choose another port"):
            await serve_grpc(receiver, "127.0.0.1", int(target.rpartition(":")[2]), stop)
        stop.set()
        await server
