"""What senders are told: the statuses and bodies that the OTLP specification gives them to act on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from collector_server import RunningCollector, collector_server
from faults import Fault, Faults
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from otlp_payloads import MEDIA_TYPES, encode, log, log_request, span, span_request

from collector.otlp_answers import otlp_answering
from collector.routes import Failed
from schemas.errors import InvariantError, LimitExceeded, Unavailable

ENCODINGS = ("json", "protobuf")
STATUS_PREFIX = {3: b"\x08\x03\x12", 16: b"\x08\x10\x12", 14: b"\x08\x0e\x12"}


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with collector_server("otel") as running:
        yield running


def post(collector: RunningCollector, path: str, body: bytes, encoding: str, **headers: str) -> httpx.Response:
    own = {**collector.headers, "content-type": MEDIA_TYPES[encoding], **headers}
    return httpx.post(collector.url + path, content=body, headers=own)


def code_of(response: httpx.Response, encoding: str) -> tuple[int, str]:
    """Code and message of a ``google.rpc.Status``."""
    assert response.headers["content-type"] == MEDIA_TYPES[encoding]
    if encoding == "json":
        return response.json()["code"], response.json()["message"]
    body = response.content
    assert (body[0], body[2]) == (0x08, 0x12)
    at = 4 if body[3] < 0x80 else 5
    assert len(body) - at == (body[3] & 0x7F) + ((body[4] << 7) if at == 5 else 0)
    return body[1], body[at:].decode()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("prefix", ["", "/otlp"])
def test_success_has_no_partial_success(collector: RunningCollector, encoding: Any, prefix: str) -> None:
    body = encode(log_request([log("x", {})]), "logs", encoding)
    for content, headers in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
        response = post(collector, prefix + "/v1/logs", content, encoding, **headers)
        assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPES[encoding])
        assert response.content == (b"{}" if encoding == "json" else b"")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_chunked_body_has_no_length(collector: RunningCollector, encoding: Any) -> None:
    """As Claude Code sent its events for a while."""
    body = encode(log_request([log("chunked", {"encoding": encoding})]), "logs", encoding)
    request = httpx.Request(
        "POST",
        collector.url + "/v1/logs",
        content=(body[at : at + 50] for at in range(0, len(body), 50)),
        headers={**collector.headers, "content-type": MEDIA_TYPES[encoding]},
    )
    assert (request.headers["transfer-encoding"], "content-length" in request.headers) == ("chunked", False)
    with httpx.Client() as client:
        assert client.send(request).status_code == 200
    assert body in [event.source for event in collector.opened()]


@pytest.mark.parametrize("path", ["/v1/logs", "/v1/traces", "/v1/metrics"])
def test_an_empty_request_is_a_success(collector: RunningCollector, path: str) -> None:
    assert post(collector, path, b"", "protobuf").content == b""
    response = post(collector, path, b"{}", "json")
    assert (response.status_code, response.content) == (200, b"{}")


def test_records_that_cannot_be_read_are_counted_and_kept(collector: RunningCollector) -> None:
    request = log_request([log("fine", {}), 7, log("fine too", {}), None])
    response = post(collector, "/v1/logs", json.dumps(request).encode(), "json")
    partial = response.json()["partialSuccess"]
    assert (response.status_code, partial["rejectedLogRecords"]) == (200, "2")
    assert "2 of 4 log records" in partial["errorMessage"]
    assert "/resourceLogs/0/scopeLogs/0/logRecords/1: got a record that is int" in partial["errorMessage"]

    def field(number: int, payload: bytes) -> bytes:
        return bytes((number << 3 | 2, len(payload))) + payload

    bad = field(5, field(1, b"\xff"))
    body = field(1, field(2, field(2, bad)))
    answer = ExportLogsServiceResponse.FromString(post(collector, "/v1/logs", body, "protobuf").content)
    assert answer.partial_success.rejected_log_records == 1
    answer = ExportTraceServiceResponse.FromString(post(collector, "/v1/traces", body, "protobuf").content)
    assert answer.partial_success.rejected_spans == 1
    kept = [event.source for event in collector.opened() if event.metadata["kind"] == "unparsed"]
    assert kept.count(body) == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_no_request_is_refused_and_kept(collector: RunningCollector, encoding: Any) -> None:
    body = b"\xff not a request " + encoding.encode()
    code, message = code_of(post(collector, "/v1/traces", body, encoding), encoding)
    assert code == 3
    assert "recorded as unparsed" in message
    assert body in [event.source for event in collector.opened()]
    response = post(collector, "/v1/logs", b"not gzip", encoding, **{"content-encoding": "gzip"})
    assert (response.status_code, code_of(response, encoding)[0]) == (400, 3)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_who_may_not_send_is_told_in_the_encoding(collector: RunningCollector, encoding: Any) -> None:
    response = post(collector, "/v1/logs", b"", encoding, Authorization="Bearer wrong")
    assert (response.status_code, code_of(response, encoding)[0]) == (401, 16)
    assert "www-authenticate" in response.headers


def test_metrics_are_declined_in_the_protocols_own_way(collector: RunningCollector) -> None:
    before = len(collector.opened())
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="tokens")
    metric.sum.data_points.add(as_int=1)
    metric.sum.data_points.add(as_int=2)
    response = post(collector, "/v1/metrics", request.SerializeToString(), "protobuf")
    partial = ExportMetricsServiceResponse.FromString(response.content).partial_success
    assert (response.status_code, partial.rejected_data_points) == (200, 2)
    assert "keeps no metrics" in partial.error_message
    assert post(collector, "/v1/metrics", b"{", "json").status_code == 400
    assert len(collector.opened()) == before


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_a_bus_that_is_away_asks_for_the_same_again(encoding: Any, fault: Fault) -> None:
    body = encode(span_request([span("chat", {"gen_ai.operation.name": "chat"})]), "traces", encoding)
    with collector_server("otel", Faults({1: fault})) as collector:
        response = post(collector, "/v1/traces", body, encoding)
        assert (response.status_code, code_of(response, encoding)[0]) == (503, 14)
        assert int(response.headers["retry-after"]) >= 1
        assert post(collector, "/v1/traces", body, encoding).status_code == 200
        ids = {event.metadata["event_id"] for event in collector.opened()}
        assert len(ids) == 2


def test_nothing_that_could_be_sent_again_is_answered_500() -> None:
    answer = otlp_answering("logs")
    bug = answer(Failed(InvariantError("a secret detail"), 500), "application/json")
    assert (bug.status, bug.headers["retry-after"]) == (503, "5")
    assert b"secret" not in bug.body
    away = answer(Failed(Unavailable("the bus is away", retry_after=2.4), 503), "application/x-protobuf")
    assert (away.status, away.headers["retry-after"]) == (503, "2")
    large = answer(Failed(LimitExceeded("too large"), 413), "")
    assert (large.status, json.loads(large.body)) == (413, {"code": 8, "message": "too large"})
