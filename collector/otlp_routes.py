"""The routes of OTLP, for the receivers' tables: three paths over HTTP, three services over gRPC."""

from __future__ import annotations

from typing import Any

from collector.gateways.otlp import OtlpFormat, OtlpMetrics
from collector.openapi import operation
from collector.otlp_answers import JSON, PROTOBUF, otlp_answering
from collector.routes import Route

_ANSWER = {"type": "object", "properties": {"partialSuccess": {"type": "object"}}}
_SHARED = (
    "Protobuf or JSON, told apart by Content-Type, whole or gzip; the answer comes in the same encoding. A record that "
    "cannot be read is kept as `unparsed` and counted in `partialSuccess`. Anything that a sender should send again is "
    "503 with `Retry-After`."
)


_TRACES = ("/v1/traces", "/otlp/v1/traces", "/api/public/otel/v1/traces")
"""The last is where Langfuse's SDKs send their spans."""


def otlp_routes() -> list[Route]:
    """``/v1/logs``, ``/v1/traces``, ``/v1/metrics``; also below ``/otlp``, where other receivers have them."""
    logs = _operation("Export log records", "`ExportLogsServiceRequest`: GenAI events, Claude Code, any other logs.")
    traces = _operation("Export spans", "`ExportTraceServiceRequest`: GenAI and MCP spans of any spelling, any other.")
    metrics = _operation("Decline metrics", "They are not kept, and `partialSuccess` says so; nobody sends them again.")
    return [
        Route(("/v1/logs", "/otlp/v1/logs"), OtlpFormat("logs"), otlp_answering("logs"), "otlp-http", logs),
        Route(_TRACES, OtlpFormat("traces"), otlp_answering("traces"), "otlp-http", traces),
        Route(("/v1/metrics", "/otlp/v1/metrics"), OtlpMetrics(), otlp_answering("metrics"), "otlp-http", metrics),
    ]


def grpc_routes() -> list[Route]:
    """The ``Export`` methods of the logs, traces and metrics services, by their paths on the wire."""
    logs, traces, metrics = (f"/opentelemetry.proto.collector.{name}Service/Export" for name in _SERVICES)
    return [
        Route((logs,), OtlpFormat("logs"), otlp_answering("logs"), "otlp-grpc"),
        Route((traces,), OtlpFormat("traces"), otlp_answering("traces"), "otlp-grpc"),
        Route((metrics,), OtlpMetrics(), otlp_answering("metrics"), "otlp-grpc"),
    ]


_SERVICES = ("logs.v1.Logs", "trace.v1.Trace", "metrics.v1.Metrics")


def _operation(summary: str, what: str) -> dict[str, Any]:
    return operation(summary, f"{what} {_SHARED}", [PROTOBUF, JSON], {"type": "object"}, _ANSWER)
