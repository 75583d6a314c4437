"""The OpenTelemetry SDK as the sender: what it exports arrives on the bus, opens, and says what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from collector_server import OpenedEvent, RunningCollector, collector_server
from faults import Fault, Faults
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.json.http import _log_exporter as json_logs
from opentelemetry.exporter.otlp.json.http import trace_exporter as json_traces
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http import _log_exporter as protobuf_logs
from opentelemetry.exporter.otlp.proto.http import trace_exporter as protobuf_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

ENCODINGS: dict[str, tuple[Any, Any]] = {
    "protobuf": (protobuf_logs.OTLPLogExporter, protobuf_traces.OTLPSpanExporter),
    "json": (json_logs.OTLPLogExporter, json_traces.OTLPSpanExporter),
    "grpc": (grpc_logs.OTLPLogExporter, grpc_traces.OTLPSpanExporter),
}
COMPRESSIONS = ("none", "gzip", "deflate")
GRPC_COMPRESSIONS = {name: value for value, name in enumerate(("none", "deflate", "gzip"))}
RECEIVERS = {"protobuf": "otlp-http", "json": "otlp-http", "grpc": "otlp-grpc"}

RESOURCE = Resource({"service.name": "billing-bot", "service.version": "1.4.0"})
MESSAGES = [{"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]}]
ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": "14 °C"}], "finish_reason": "stop"}]


@pytest.fixture
def collector() -> Iterator[RunningCollector]:
    with collector_server("otel", grpc=True) as running:
        yield running


def exporter_of(collector: RunningCollector, signal: str, encoding: str, compression: str) -> Any:
    """The SDK's exporter. Its two packages each have an enumeration of compressions."""
    exporter = ENCODINGS[encoding][signal == "traces"]
    if encoding == "grpc":
        return exporter(
            collector.grpc,
            insecure=True,
            headers={"authorization": collector.headers["Authorization"]},
            compression=grpc.Compression(GRPC_COMPRESSIONS[compression]),
            timeout=30,
        )
    words = Compression if encoding == "protobuf" else json_traces.Compression
    return exporter(
        f"{collector.url}/v1/{signal}", headers=collector.headers, compression=words(compression), timeout=30
    )


def send_spans(collector: RunningCollector, encoding: str, compression: str, count: int = 1) -> None:
    exporter = exporter_of(collector, "traces", encoding, compression)
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=10))
    tracer = provider.get_tracer("agent", "2.4b0", schema_url="https://opentelemetry.io/schemas/1.41.0")
    for index in range(count):
        with tracer.start_as_current_span("chat gpt-5", kind=SpanKind.CLIENT) as chat:
            chat.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-5",
                    "gen_ai.conversation.id": f"conv-{index}",
                    "gen_ai.input.messages": json.dumps(MESSAGES),
                    "gen_ai.output.messages": json.dumps(ANSWER, ensure_ascii=False),
                    "gen_ai.usage.input_tokens": 162,
                    "gen_ai.usage.output_tokens": 31,
                    "gen_ai.response.finish_reasons": ("stop",),
                    "custom": (1.5, 2.5),
                }
            )
            with tracer.start_as_current_span("execute_tool get_weather") as tool:
                tool.set_attributes(
                    {
                        "gen_ai.operation.name": "execute_tool",
                        "gen_ai.tool.name": "get_weather",
                        "gen_ai.tool.call.id": "call_1",
                        "gen_ai.tool.call.arguments": '{"city": "Paris"}',
                    }
                )
                tool.record_exception(ValueError("no such city"))
    assert provider.force_flush(60_000)
    provider.shutdown()


def kinds(events: list[OpenedEvent]) -> list[str]:
    return sorted(event.metadata["kind"] for event in events)


def one(events: list[OpenedEvent], kind: str) -> OpenedEvent:
    (found,) = [event for event in events if event.metadata["kind"] == kind]
    return found


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_spans(collector: RunningCollector, compression: str, encoding: str) -> None:
    send_spans(collector, encoding, compression)
    events = collector.opened()
    assert kinds(events) == ["prompt", "response", "tool_call", "tool_result"]
    prompt, response = one(events, "prompt"), one(events, "response")
    assert prompt.content == {"messages": MESSAGES}
    assert response.content == {"messages": ANSWER}
    metadata = response.metadata
    assert (metadata["tenant"], metadata["gateway"], metadata["receiver"]) == ("acme", "otel", RECEIVERS[encoding])
    assert (metadata["format"], metadata["format_version"], metadata["gateway_version"]) == ("genai", "1.41.0", "1.4.0")
    assert (metadata["input_tokens"], metadata["output_tokens"], metadata["stop_reason"]) == (162, 31, "stop")
    assert metadata["exchange_id"] == prompt.metadata["exchange_id"]
    assert json.loads(prompt.metadata["extras"]["custom"]) == [1.5, 2.5]
    call, result = one(events, "tool_call"), one(events, "tool_result")
    assert call.content == {"arguments": {"city": "Paris"}, "arguments_text": '{"city": "Paris"}'}
    assert call.metadata["parent_span_id"] == metadata["span_id"]
    assert (result.metadata["error_type"], result.metadata["error_message"]) == ("ValueError", "no such city")
    assert "exception.stacktrace" in call.metadata["extras"]["otlp.events"]
    assert prompt.source is not None
    assert call.source is not None
    assert response.source is result.source is None
    assert b"execute_tool" not in prompt.source
    assert b"chat gpt-5" not in call.source


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_logs(collector: RunningCollector, compression: str, encoding: str) -> None:
    exporter = exporter_of(collector, "logs", encoding, compression)
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("agent", "2.4b0")
    details: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.input.messages": MESSAGES,
        "gen_ai.output.messages": ANSWER,
    }
    start = 1_787_305_200_125_000_000
    for record in (
        LogRecord(timestamp=start, event_name="gen_ai.client.inference.operation.details", attributes=details),
        LogRecord(
            timestamp=start,
            event_name="gen_ai.user.message",
            attributes={"gen_ai.system": "openai"},
            body={"content": "Weather in Paris?"},
        ),
        LogRecord(timestamp=start, severity_number=SeverityNumber.WARN, severity_text="WARN", body="disk full"),
    ):
        logger.emit(record)
    assert provider.force_flush(60_000)
    provider.shutdown()
    events = collector.opened()
    assert kinds(events) == ["prompt", "prompt", "response", "session"]
    first, response, second, plain = events
    assert first.content == {"messages": MESSAGES}
    assert response.content == {"messages": ANSWER}
    assert second.content == {"messages": [{"role": "user", "content": "Weather in Paris?"}]}
    assert plain.content == {"body": "disk full"}
    assert plain.metadata["extras"]["otlp.severityText"] == '"WARN"'
    assert {event.metadata["occurred_at"] for event in events} == {start // 1000}
    assert [event.source is not None for event in events] == [True, False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_the_sdk_sends_again_until_it_is_stored(fault: Fault, encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    """One export of three fails, unstored or stored: in the end every event is there, and repeats carry the same id."""
    with collector_server("otel", Faults({2: fault}), grpc=True) as collector:
        send_spans(collector, encoding, "gzip", count=15)
        events = collector.opened()
    ids = [event.metadata["event_id"] for event in events]
    assert len(set(ids)) == 15 * 4
    sessions = {event.metadata["session_id"] for event in events if event.metadata["kind"] == "prompt"}
    assert sessions == {f"conv-{index}" for index in range(15)}
    assert len(ids) > len(set(ids)) if fault is Fault.REPORTED else len(ids) == len(set(ids))
    if encoding != "grpc":  # whose exporter keeps a message that it logged a minute ago to itself
        assert "Transient error" in caplog.text
