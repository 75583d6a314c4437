"""Any bytes in: units or a clear error out, never a traceback, and every record in exactly one unit."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_keys import MemoryKeys
from otlp_payloads import (
    MEDIA_TYPES,
    REQUESTS,
    assert_nothing_lost,
    encode,
    key_values,
    log,
    log_request,
    received,
    span,
    span_event,
    span_request,
)

from collector.assemble import Stamp, assemble
from collector.gateways import Reading, Received, claude_code, genai_attributes
from collector.gateways.genai import SIGNS_OF_INFERENCE
from collector.gateways.genai_events import MESSAGES
from collector.gateways.otlp import OUR_BUG, OtlpFormat, OtlpMetrics
from collector.gateways.otlp_telemetry import CONTAINERS, Signal
from collector.sealing import Sealing

SIGNALS: tuple[Signal, ...] = ("logs", "traces")
SEALING = Sealing(MemoryKeys())

KEYS = sorted(
    {
        *genai_attributes.FIELDS,
        *genai_attributes.USAGE,
        *claude_code.FIELDS,
        *SIGNS_OF_INFERENCE,
        *("gen_ai.provider.name", "gen_ai.system", "gen_ai.response.finish_reasons", "gen_ai.usage.cost"),
        *("gen_ai.system_instructions", "gen_ai.tool.definitions", "gen_ai.input.messages_ref", "mcp.method.name"),
        *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.response.time_to_first_chunk"),
        *("openinference.span.kind", "traceloop.span.kind", "langfuse.observation.type", "input.value", "output.value"),
        *("llm.input_messages.0.message.role", "llm.input_messages.0.message.contents.1.message_content.text"),
        *(
            "llm.input_messages.10",
            "llm.output_messages.x",
            "llm.tools.0.tool.json_schema",
            "llm.invocation_parameters",
        ),
        *(
            "gen_ai.prompt.0.role",
            "gen_ai.prompt.name",
            "gen_ai.completion.2.tool_calls.0.arguments",
            "gen_ai.prompt.0",
        ),
        *("retrieval.documents.0.document.id", "retrieval.documents.3.document.metadata", "litellm.guardrail.name"),
        *("langfuse.observation.usage_details", "langfuse.observation.cost_details", "langfuse.observation.input"),
        *("gen_ai.evaluation.name", "gen_ai.evaluation.score.label", "exception.type", "service.version", "schemaUrl"),
        *("event.name", "prompt", "prompt_text", "response", "body", "body_ref", "body_truncated", "body_length"),
        *("decision", "source", "success", "duration_ms", "tool_parameters", "tool_input", "tool_input_size_bytes"),
        *("input_tokens", "cost_usd", "anthropic.provider", "user.groups", "identity.source", "request_body_id"),
        *("prompt_length", "response_length", "message.id", "span.type", "stop_reason", "user_prompt", "full_command"),
    }
)
NAMES = [
    *MESSAGES,
    *("gen_ai.client.inference.operation.details", "gen_ai.evaluation.result", "chat gpt-5", "exception", ""),
    *(f"claude_code.{name}" for name in (*claude_code.READERS, "compaction", "interaction", "llm_request", "tool")),
    *("claude_code.tool.execution", "claude_code.tool.blocked_on_user", "tool.output", "gen_ai.content.prompt"),
]
WORDS = st.sampled_from(
    [
        *("chat", "execute_tool", "invoke_agent", "retrieval", "LLM", "TOOL", "RETRIEVER", "GUARDRAIL", "generation"),
        *("tools/call", "resources/read", "openai", "anthropic", "true", "FALSE", "12", "-1", "1e400", "NaN", "stop"),
        *('["stop"]', "<REDACTED>", "__REDACTED__", "gateway-oidc", "reject", "2026-08-21T09:00:00Z", "{", '{"a":'),
        *('{"messages":[{"role":"tool","content":"x"}]}', '[{"role":"user","parts":[{"type":"text"}]}]', "[1,2]", "é"),
        *('[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]}]', '{"input": 3}'),
        *('{"choices":[{"message":{"content":"hi"},"finish_reason":"length"}]}', '{"usage":{"input_tokens":"x"}}'),
        *('{"id":1,"content":[{"type":"tool_use","input":[]}],"usage":{"input_tokens":5}}', '"quoted"', "[]", "{}"),
    ]
)
SCALARS = st.one_of(
    WORDS,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "type", "parts", "content", "tool_calls", "message", "id", "text", "arguments"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=12)


def attempt(body: bytes, signal: Signal, media_type: str) -> Reading:
    """Read, assemble and seal: all that a body goes through before the bus."""
    known: Received = received("json")
    reading = OtlpFormat(signal).read(body, Received(**{**_fields(known), "media_type": media_type}))
    assembled = assemble(reading, known, Stamp("c-1", 0))
    SEALING.seal([event for events in assembled for event in events])
    assert all(events for events in assembled)
    assert [unit.error for unit in reading.units if unit.error.startswith(OUR_BUG)] == []
    if reading.error:
        assert [unit.source for unit in reading.units] == [body]
    return reading


def _fields(known: Received) -> dict[str, Any]:
    return {name: getattr(known, name) for name in Received.__dataclass_fields__}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(SIGNALS), st.sampled_from([*MEDIA_TYPES.values(), "", "text/plain"]))
def test_any_bytes(body: bytes, signal: Signal, media_type: str) -> None:
    attempt(body, signal, media_type)
    assert OtlpMetrics().read(body, received("json")).units == []
    assert OtlpMetrics().read(body, received("protobuf")).units == []


@settings(max_examples=300, deadline=None)
@given(ATTRIBUTES, st.sampled_from(NAMES), VALUES, ATTRIBUTES, st.sampled_from(["json", "protobuf"]))
def test_any_values_under_any_known_name_of_a_log(
    attributes: dict[str, Any], name: str, body: Any, resource: dict[str, Any], encoding: Any
) -> None:
    request = log_request([log(name, attributes, body=body)], resource)
    reading = attempt(encode(request, "logs", encoding), "logs", MEDIA_TYPES[encoding])
    assert_nothing_lost(request, reading)


@settings(max_examples=300, deadline=None)
@given(ATTRIBUTES, st.sampled_from(NAMES), ATTRIBUTES, st.sampled_from(NAMES), st.sampled_from(["json", "protobuf"]))
def test_any_values_under_any_known_name_of_a_span(
    attributes: dict[str, Any], name: str, of_event: dict[str, Any], event: str, encoding: Any
) -> None:
    request = span_request([span(name, attributes, events=[span_event(event, of_event)], status={"code": 2})])
    reading = attempt(encode(request, "traces", encoding), "traces", MEDIA_TYPES[encoding])
    assert_nothing_lost(request, reading)


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [
        *("resource", "scope", "schemaUrl", "attributes", "key", "value", "body", "traceId", "kind", "severityNumber"),
        *("status", "code", "events", "links", "startTimeUnixNano", "timeUnixNano", "droppedAttributesCount", "name"),
        *("stringValue", "intValue", "arrayValue", "kvlistValue", "values", "spans", "logRecords", "scopeSpans"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(PLACES, JSON_VALUES, st.sampled_from(SIGNALS), st.randoms(use_true_random=False))
def test_any_json_in_any_place(place: str, value: Any, signal: Signal, chance: random.Random) -> None:
    request = copy.deepcopy(seeds()[signal])
    holders = [node for node in _objects(request) if place in node] or list(_objects(request))
    chance.choice(holders)[place] = value
    attempt(json.dumps(request).encode(), signal, "application/json")


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from _objects(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _objects(inner)


def seeds() -> dict[Signal, dict[str, Any]]:
    """Requests with several scopes, events, links and every type of value."""
    values = {"session.id": "s", "gen_ai.usage.input_tokens": 3, "x": [1, {"y": [2.5, True]}], "b": b"\x00", "n": None}
    events = [span_event("exception", {"exception.type": "E"})]
    links = [{"traceId": "00" * 15 + "01", "spanId": "00" * 7 + "01", "attributes": key_values({"k": "v"})}]
    traces = span_request([span("chat m", values, events=events, links=links, status={"code": 1}), span("b", {})])
    traces["resourceSpans"] += span_request([span("c", values)], {"service.name": "two"})["resourceSpans"]
    logs = log_request([log("gen_ai.user.message", values, body={"content": "é"}), log("b", {}, body="text")])
    logs["resourceLogs"][0]["scopeLogs"].append({"logRecords": [log("claude_code.user_prompt", {"prompt": "hi"})]})
    logs["resourceLogs"][0]["schemaUrl"] = "https://opentelemetry.io/schemas/1.41.0"
    return {"logs": logs, "traces": traces}


def mutate(body: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, removed, repeated or put in."""
    out = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) or 1)
        match chance.randrange(5):
            case 0:
                out[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                del out[at : at + chance.randint(1, 9)]
            case 2:
                out[at:at] = out[at : at + chance.randint(1, 40)]
            case 3:
                out[at:at] = chance.randbytes(chance.randint(1, 4))
            case _:
                out = out[: at + 1]
    return bytes(out)


def check_mutated(signal: Signal, encoding: Any, chance: random.Random) -> None:
    body = mutate(encode(seeds()[signal], signal, encoding), chance)
    reading = attempt(body, signal, MEDIA_TYPES[encoding])
    if reading.error:
        return
    expected = list(_alone(body, signal, encoding))
    readable = [unit for unit in reading.units if _parse(unit.source, signal, encoding) is not None]
    if len(expected) == len(reading.units) == len(readable):
        assert [_parse(unit.source, signal, encoding) for unit in readable] == expected
    else:
        assert not expected or len(reading.units) >= len(expected), "a record went missing"
    for unit in reading.units:
        again = attempt(unit.source, signal, MEDIA_TYPES[encoding])
        assert [other.source for other in again.units] == [unit.source]


def _parse(source: bytes, signal: Signal, encoding: str) -> Any:
    """The request as another parser reads it, ``None`` where it does not."""
    try:
        return json.loads(source) if encoding == "json" else REQUESTS[signal].FromString(source)
    except (ValueError, DecodeError):
        return None


def _alone(body: bytes, signal: Signal, encoding: str) -> Iterator[Any]:
    """Each record alone in its request, made by the other parser."""
    parsed = _parse(body, signal, encoding)
    if parsed is None:
        return
    outer, middle, inner = CONTAINERS[signal] if encoding == "json" else _snake(signal)
    read = (lambda node, name: node.get(name) or []) if encoding == "json" else getattr
    for i, resource in enumerate(read(parsed, outer)):
        for j, scope in enumerate(read(resource, middle)):
            for k in range(len(read(scope, inner))):
                alone = copy.deepcopy(parsed)
                _keep(read(alone, outer), i)
                _keep(read(read(alone, outer)[0], middle), j)
                _keep(read(read(read(alone, outer)[0], middle)[0], inner), k)
                yield alone


def _snake(signal: Signal) -> tuple[str, str, str]:
    return ("resource_logs", "scope_logs", "log_records") if signal == "logs" else (
        "resource_spans", "scope_spans", "spans")  # fmt: skip


def _keep(items: Any, index: int) -> None:
    del items[index + 1 :]
    del items[:index]


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_mutated_requests(signal: Signal, encoding: Any) -> None:
    chance = random.Random(f"{signal} {encoding}")
    for _ in range(150):
        check_mutated(signal, encoding, chance)


@pytest.mark.soak
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_mutated_requests_by_the_thousands(signal: Signal, encoding: Any) -> None:
    chance = random.Random()
    for _ in range(20_000):
        state = chance.getstate()
        try:
            check_mutated(signal, encoding, chance)
        except BaseException:
            chance.setstate(state)
            print("failed on", mutate(encode(seeds()[signal], signal, encoding), chance))
            raise


def test_time_grows_with_the_length_of_a_body() -> None:
    """Nesting, repetition and unfinished structures: none of them costs more than a pass or two."""
    for body, media_type in (
        (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + b"{}," * 100_000, "application/json"),
        (b'{"resourceLogs":[' + b"{}," * 100_000 + b"{}]}", "application/json"),
        (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":' + b'{"arrayValue":{"values":[' * 20_000, ""),
        (b"\x0a\x00" * 100_000, "application/x-protobuf"),
        (b"\x10\x00" * 100_000, "application/x-protobuf"),
    ):
        attempt(body, "logs", media_type)
