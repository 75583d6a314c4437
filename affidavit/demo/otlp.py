"""OpenTelemetry traffic: a Claude Code session as log records, and an agent's GenAI spans.

The payloads are of our own making, from the attribute lists of OpenTelemetry.
"""

from __future__ import annotations

import datetime
import gzip
import json
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from affidavit.demo.parcel import Parcel

CODE_SESSION = "0d1f2c3b-1111-4222-8333-944455566677"
AGENT_SESSION = "conv-weather-1"

_PROMPT = "5e0a7c2e-aaaa-4bbb-8ccc-0ddd11112222"
_TRACE = bytes.fromhex("5b8efff798038103d269b633813fc60c")
_CHAT = bytes.fromhex("eee19b7ec3c1b174")
_TOOL = bytes.fromhex("a1b2c3d4e5f60718")
_ANSWER = bytes.fromhex("c0ffee0012345678")


def parcels(now: float) -> list[Parcel]:
    """A Claude Code export (JSON, chunked, without a length) and a trace export (protobuf, gzip)."""
    logs = json.dumps(claude_code(now - 90)).encode()
    spans = gzip.compress(agent_spans(now - 45).SerializeToString(), mtime=0)
    return [
        Parcel("Claude Code: a session, OTLP logs", "claude-code", "/v1/logs", "application/json", logs, chunked=True),
        Parcel("an agent's GenAI spans, OTLP traces", "otel", "/v1/traces", "application/x-protobuf", spans, gzip=True),
    ]


def claude_code(start: float) -> dict[str, Any]:
    """One user turn: the tests are run (allowed), a deletion is refused by the user, the answer says so."""
    common = {
        "session.id": CODE_SESSION,
        "prompt.id": _PROMPT,
        "organization.id": "9a1e0000-0000-4000-8000-000000000001",
        "user.id": "f3b1c0ffee",
        "user.email": "dana@example.com",
        "app.version": "2.1.231",
        "terminal.type": "vscode",
    }
    request = {"model": "claude-sonnet-5", "query_source": "repl_main_thread", "speed": "normal"}
    bash = {"tool_name": "Bash", "tool_source": "builtin"}
    run, remove = {"tool_use_id": "toolu_demo_01"}, {"tool_use_id": "toolu_demo_02"}
    tests = {"tool_parameters": json.dumps({"bash_command": "make", "full_command": "make test"})}
    deletion = {"tool_parameters": json.dumps({"bash_command": "rm", "full_command": "rm -rf build"})}
    prompt = "Run the tests and clean up."
    answer = "All 214 tests pass. I did not delete build/: you refused it."
    events: list[tuple[str, dict[str, Any]]] = [
        ("user_prompt", {"prompt": prompt, "prompt_length": len(prompt)}),
        ("api_request", {**request, **_usage(12, 240, 30112, 410), "request_id": "req_demo_code_1"}),
        ("tool_decision", {**bash, **run, **tests, "decision": "accept", "source": "config"}),
        (
            "tool_result",
            {**bash, **run, **tests, "success": "true", "duration_ms": "5321", "decision_type": "accept"},
        ),
        ("tool_decision", {**bash, **remove, **deletion, "decision": "reject", "source": "user_reject"}),
        ("api_request", {**request, **_usage(9, 61, 30522, 96), "request_id": "req_demo_code_2"}),
        (
            "assistant_response",
            {**request, "response": answer, "response_length": len(answer), "request_id": "req_demo_code_2"},
        ),
    ]
    records = [
        _log_record(start + 2 * at, at, name, common | attributes) for at, (name, attributes) in enumerate(events, 1)
    ]
    resource = {"service.name": "claude-code", "service.version": "2.1.231", "os.type": "linux"}
    scope = {"name": "com.anthropic.claude_code.events", "version": "2.1.231"}
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": _json_attributes(resource)},
                "scopeLogs": [{"scope": scope, "logRecords": records}],
            }
        ]
    }


def agent_spans(start: float) -> ExportTraceServiceRequest:
    """Three spans: a chat that asks for a tool, the tool, and the chat that answers."""
    asked = [_message("user", {"type": "text", "content": "What is the weather in Paris?"})]
    call = {"type": "tool_call", "id": "call_weather_1", "name": "get_weather", "arguments": {"city": "Paris"}}
    result = {"type": "tool_call_response", "id": "call_weather_1", "response": {"temp_c": 14, "sky": "overcast"}}
    told = {"type": "text", "content": "It is 14 degrees and overcast in Paris."}
    called = _message("assistant", call)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(
        _attributes({"service.name": "weather-bot", "service.version": "1.4.0", "enduser.id": "lee@example.com"})
    )
    scope = resource.scope_spans.add()
    scope.schema_url = "https://opentelemetry.io/schemas/1.41.0"
    scope.scope.name = "opentelemetry.instrumentation.openai_v2"
    first = _chat(asked, _message("assistant", call, "tool_call"), "resp-demo-1", ["tool_calls"], 162, 31)
    last = _chat([*asked, called, _message("tool", result)], _message("assistant", told, "stop"), "resp-demo-2",
                 ["stop"], 214, 18)  # fmt: skip
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.id": "call_weather_1",
        "gen_ai.tool.type": "function",
        "gen_ai.conversation.id": AGENT_SESSION,
        "gen_ai.tool.call.arguments": json.dumps(call["arguments"]),
        "gen_ai.tool.call.result": json.dumps(result["response"]),
    }
    scope.spans.extend(
        [
            _span(_CHAT, b"", "chat gpt-5", Span.SPAN_KIND_CLIENT, start, 1.4, first),
            _span(_TOOL, _CHAT, "execute_tool get_weather", Span.SPAN_KIND_INTERNAL, start + 1.5, 0.3, tool),
            _span(_ANSWER, _CHAT, "chat gpt-5", Span.SPAN_KIND_CLIENT, start + 1.9, 0.9, last),
        ]
    )
    return request


def _chat(
    messages: list[Any], answer: dict[str, Any], response: str, reasons: list[str], read: int, wrote: int
) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5-2026-05-01",
        "gen_ai.response.id": response,
        "gen_ai.response.finish_reasons": reasons,
        "gen_ai.conversation.id": AGENT_SESSION,
        "gen_ai.usage.input_tokens": read,
        "gen_ai.usage.output_tokens": wrote,
        "gen_ai.input.messages": json.dumps(messages),
        "gen_ai.output.messages": json.dumps([answer]),
        "server.address": "api.openai.com",
    }


def _message(role: str, part: dict[str, Any], finish_reason: str = "") -> dict[str, Any]:
    message: dict[str, Any] = {"role": role, "parts": [part]}
    return message | {"finish_reason": finish_reason} if finish_reason else message


def _span(
    span_id: bytes,
    parent: bytes,
    name: str,
    kind: Span.SpanKind.ValueType,
    start: float,
    seconds: float,
    values: dict[str, Any],
) -> Span:
    return Span(
        trace_id=_TRACE,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        kind=kind,
        start_time_unix_nano=int(start * 1e6) * 1000,
        end_time_unix_nano=int((start + seconds) * 1e6) * 1000,
        attributes=_attributes(values),
    )


def _attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any_value(value)) for key, value in values.items()]


def _any_value(value: Any) -> AnyValue:
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, list):
        wrapped = AnyValue()
        wrapped.array_value.values.extend(_any_value(item) for item in value)
        return wrapped
    return AnyValue(string_value=str(value))


def _log_record(at: float, sequence: int, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    nanoseconds = str(int(at * 1e6) * 1000)
    stamp = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
    own = {"event.name": name, "event.timestamp": stamp.replace("+00:00", "Z"), "event.sequence": sequence}
    return {
        "timeUnixNano": nanoseconds,
        "observedTimeUnixNano": nanoseconds,
        "body": {"stringValue": f"claude_code.{name}"},
        "attributes": _json_attributes(own | attributes),
    }


def _json_attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _json_value(value)} for key, value in values.items()]


def _json_value(value: Any) -> dict[str, Any]:
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _usage(uncached: int, wrote: int, cache_read: int, cache_write: int) -> dict[str, Any]:
    micros = uncached * 3 + wrote * 15 + cache_read * 3 // 10 + cache_write * 4
    return {
        "input_tokens": uncached,
        "output_tokens": wrote,
        "cache_read_tokens": cache_read,
        "cache_creation_tokens": cache_write,
        "cost_usd": micros / 1e6,
        "cost_usd_micros": micros,
        "duration_ms": 3779,
    }
