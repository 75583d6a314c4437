"""OTLP: from the body of a request to sealed messages, in both encodings. The bus is measured in ``bench.ingest``.

The rate per core is the processor time of the process, so that it says the same on a shared machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from affidavit.demo.otlp import agent_spans, claude_code
from bench.figures import Figure
from collector.assemble import Stamp, assemble
from collector.gateways import Received
from collector.gateways.otlp import OtlpFormat
from collector.gateways.otlp_telemetry import Signal
from collector.sealing import Sealing
from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.keys import KeyScope

BUDGET = 8_000
ROUNDS = 12
COPIES = 70
"""Copies of the demonstration's traffic in one body: 490 log records, or 210 spans."""

PROTOBUF, JSON = "application/x-protobuf", "application/json"


def measure() -> Sequence[Figure]:
    """Claude Code's log events and an agent's spans, in protobuf and JSON."""
    figures = []
    for name, signal, media_type, body in bodies():
        units, events, read, sealed = _rates(signal, media_type, body)
        size = len(body) / units
        note = f"{events / units:.1f} events and {size:,.0f} bytes per unit"
        figures.append(Figure(f"OTLP {name}: read", units / read, "units/s per core", note=note))
        figures.append(Figure(f"OTLP {name}: read and seal", units / sealed, "units/s per core", BUDGET, note=note))
    return figures


def rates() -> dict[str, float]:
    """Figure name → units per second and core."""
    return {figure.path: figure.value for figure in measure()}


class _Keys:
    """One key for everybody: looking keys up is measured with the store that holds them."""

    _key = SubjectKey(KeyId(bytes(16)), bytes(32))

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        return [self._key for _ in scopes]

    def by_id(self, key_ids: Any) -> dict[KeyId, bytes]:
        return dict.fromkeys(key_ids, self._key.secret)


def bodies() -> list[tuple[str, Signal, str, bytes]]:
    """Name, signal, media type and body: some hundred records each."""
    logs: dict[str, Any] = {"resourceLogs": []}
    spans = ExportTraceServiceRequest()
    for copy in range(COPIES):
        for resource in claude_code(1_787_305_200.0 + copy)["resourceLogs"]:
            _merge(logs, resource)
        _merge_spans(spans, agent_spans(1_787_305_200.0 + copy), copy)
    logs_protobuf = _logs_in_protobuf(logs)
    return [
        ("logs, protobuf", "logs", PROTOBUF, logs_protobuf),
        ("logs, JSON", "logs", JSON, json.dumps(logs).encode()),
        ("spans, protobuf", "traces", PROTOBUF, spans.SerializeToString()),
    ]


def _merge(logs: dict[str, Any], resource: dict[str, Any]) -> None:
    """All copies under one resource and scope, as a sender batches them."""
    if not logs["resourceLogs"]:
        logs["resourceLogs"].append(resource)
    else:
        logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"] += resource["scopeLogs"][0]["logRecords"]


def _merge_spans(spans: ExportTraceServiceRequest, more: ExportTraceServiceRequest, copy: int) -> None:
    for span in more.resource_spans[0].scope_spans[0].spans:
        span.span_id = copy.to_bytes(4, "big") + span.span_id[4:]
    if not spans.resource_spans:
        spans.CopyFrom(more)
    else:
        spans.resource_spans[0].scope_spans[0].spans.extend(more.resource_spans[0].scope_spans[0].spans)


def _logs_in_protobuf(logs: dict[str, Any]) -> bytes:
    message = ParseDict(logs, ExportLogsServiceRequest())
    body: bytes = message.SerializeToString()
    return body


def _rates(signal: Signal, media_type: str, body: bytes) -> tuple[int, int, float, float]:
    """Units and events of a body, and seconds of processor time to read it, and to read, assemble and seal it."""
    source, sealing = OtlpFormat(signal), Sealing(_Keys())
    received = Received("acme", "otel", "t0", "otlp-http", "127.0.0.1", media_type, "", 1_787_305_300_000_000, "otlp")
    reading = source.read(body, received)
    events = sum(len(unit.drafts) for unit in reading.units)

    def seal() -> None:
        assembled = assemble(source.read(body, received), received, Stamp("bench", 0))
        sealing.seal([event for unit in assembled for event in unit])

    return len(reading.units), events, _time(lambda: source.read(body, received)), _time(seal)


def _time(work: Callable[[], object]) -> float:
    """The least processor time of several rounds: what the work costs when nothing else interferes."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.path}: {figure.value:,.0f} {figure.unit} ({figure.note})")
