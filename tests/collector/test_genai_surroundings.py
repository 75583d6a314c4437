"""Tools, MCP, retrieval, guardrails, agents: what each kind of span becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otlp_payloads import TRACE, assert_nothing_lost, by_kind, drafts_of, log, log_request, read, span, span_request

ENCODINGS = ("json", "protobuf")

EXECUTE_TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.tool.type": "function",
    "gen_ai.tool.description": "The weather.",
    "gen_ai.tool.call.arguments": '{"city": "Paris"}',
    "gen_ai.tool.call.result": '{"temp_c": 14}',
}
MCP = {
    "mcp.method.name": "tools/call",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "call_1",
    "mcp.session.id": "m-1",
    "mcp.protocol.version": "2026-07-28",
    "jsonrpc.request.id": "7",
    "network.transport": "tcp",
    "gen_ai.tool.call.arguments": {"city": "Paris"},
    "gen_ai.tool.call.result": {"content": [{"type": "text", "text": "no"}], "isError": True},
}
OPENINFERENCE = {
    "openinference.span.kind": "TOOL",
    "tool.name": "get_weather",
    "tool_call.id": "call_1",
    "tool_call.function.arguments": '{"city": "Paris"}',
    "input.value": '{"city": "Paris"}',
    "output.value": "14 C",
}
TRACELOOP = {
    "traceloop.span.kind": "tool",
    "traceloop.entity.name": "get_weather",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "call_1",
    "traceloop.entity.input": '{"city": "Paris"}',
    "traceloop.entity.output": '"14 C"',
}
LANGFUSE = {
    "langfuse.observation.type": "tool",
    "langfuse.observation.input": '{"city": "Paris"}',
    "langfuse.observation.output": "14 C",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "call_1",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("attributes", [EXECUTE_TOOL, MCP, OPENINFERENCE, TRACELOOP, LANGFUSE])
def test_a_tool_span_is_a_call_and_its_result(attributes: dict[str, Any], encoding: Any) -> None:
    request = span_request([span("execute_tool get_weather", attributes, parentSpanId="00000000000000ff")])
    reading = read(request, "traces", encoding)
    call, result = drafts_of(reading)
    assert (call.kind, result.kind) == ("tool_call", "tool_result")
    for draft in (call, result):
        metadata = draft.metadata
        assert (metadata["call_id"], metadata["tool_name"]) == ("call_1", "get_weather")
        assert (metadata["parent_span_id"], metadata["session_id"]) == ("00000000000000ff", TRACE)
    assert "Paris" in json.dumps(call.content)
    assert (call.metadata["time_role"], result.metadata["time_role"]) == ("start", "end")
    assert result.metadata["tool_duration_ms"] == 1400.0
    assert result.metadata["tool_is_error"] is (attributes is MCP)
    assert_nothing_lost(request, reading)


def test_fields_of_a_tool_span() -> None:
    call, result = drafts_of(read(span_request([span("t", EXECUTE_TOOL)]), "traces", "json"))
    assert call.content == {"arguments": {"city": "Paris"}, "arguments_text": '{"city": "Paris"}'}
    assert result.content == {"result": '{"temp_c": 14}'}
    assert (call.metadata["tool_kind"], call.metadata["operation"]) == ("function", "execute_tool")
    call, result = drafts_of(read(span_request([span("tools/call get_weather", MCP)]), "traces", "json"))
    assert (call.metadata["tool_kind"], call.metadata["operation"]) == ("mcp", "mcp.tools/call")
    assert (call.metadata["tool_session_id"], call.metadata["jsonrpc_id"]) == ("m-1", "7")
    assert result.metadata["outcome"] == "error"


def test_a_tool_span_without_content_says_so() -> None:
    old = {"mcp.tool.name": "get_weather", "mcp.request.id": "7", "mcp.transport": "http"}
    call, result = drafts_of(read(span_request([span("CallTool", old)]), "traces", "json"))
    assert call.content is result.content is None
    assert call.metadata["content_state"] == result.metadata["content_state"] == "not_captured"
    assert (call.metadata["tool_name"], call.metadata["tool_kind"]) == ("get_weather", "mcp")


def test_the_protocols_handshakes_are_sessions() -> None:
    request = span_request([span("initialize", {"mcp.method.name": "initialize", "mcp.session.id": "m-1"})])
    (draft,) = drafts_of(read(request, "traces", "json"))
    assert (draft.kind, draft.metadata["operation"]) == ("session", "mcp.initialize")
    request = span_request([span("r", {"mcp.method.name": "resources/read", "mcp.resource.uri": "file:///a"})])
    (draft,) = drafts_of(read(request, "traces", "json"))
    assert (draft.kind, draft.metadata["document_source"]) == ("context", "file:///a")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_retrieved_document_is_context(encoding: Any) -> None:
    attributes = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": "weather in Paris",
        "retrieval.documents.0.document.id": "d1",
        "retrieval.documents.0.document.content": "It rains.",
        "retrieval.documents.0.document.score": 0.9,
        "retrieval.documents.0.document.metadata": '{"source": "almanac"}',
        "retrieval.documents.1.document.id": "d2",
        "retrieval.documents.1.document.content": "It pours.",
    }
    request = span_request([span("retrieve", attributes)])
    reading = read(request, "traces", encoding)
    first, second = by_kind(reading, "context")
    assert (first.metadata["document_id"], second.metadata["document_id"]) == ("d1", "d2")
    assert first.content["document"] == {
        "id": "d1",
        "content": "It rains.",
        "score": 0.9,
        "metadata": {"source": "almanac"},
    }
    assert first.content["input"] == "weather in Paris"
    assert second.content == {"document": {"id": "d2", "content": "It pours."}}
    assert_nothing_lost(request, reading)


def test_a_retrieval_of_the_current_spelling() -> None:
    attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "kb-1",
        "gen_ai.retrieval.query.text": "weather",
        "gen_ai.retrieval.documents": [{"id": "d1", "score": 0.5}],
    }
    request = span_request([span("retrieval kb-1", attributes)])
    reading = read(request, "traces", "json")
    (draft,) = by_kind(reading, "context")
    assert (draft.metadata["document_id"], draft.metadata["document_source"]) == ("d1", "kb-1")
    assert draft.content == {"query": "weather", "document": {"id": "d1", "score": 0.5}}
    assert_nothing_lost(request, reading)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {
                "litellm.guardrail.name": "pii",
                "litellm.guardrail.mode": "pre_call",
                "litellm.guardrail.status": "guardrail_intervened",
            },
            {"guardrail_name": "pii", "guardrail_mode": "pre_call", "outcome": "blocked"},
        ),
        (
            {"openinference.span.kind": "GUARDRAIL", "input.value": "text", "output.value": "pass"},
            {"guardrail_name": "check", "outcome": "ok"},
        ),
    ],
)
def test_guardrails(attributes: dict[str, Any], expected: dict[str, str]) -> None:
    request = span_request([span("check", attributes)])
    reading = read(request, "traces", "json")
    (draft,) = by_kind(reading, "guardrail")
    assert {name: draft.metadata[name] for name in expected} == expected  # type: ignore[literal-required]
    assert_nothing_lost(request, reading)


def test_an_evaluation_is_a_verdict() -> None:
    attributes = {
        "gen_ai.evaluation.name": "toxicity",
        "gen_ai.evaluation.score.value": 0.02,
        "gen_ai.evaluation.score.label": "pass",
        "gen_ai.evaluation.explanation": "polite",
        "gen_ai.response.id": "chatcmpl-1",
    }
    request = log_request([log("gen_ai.evaluation.result", attributes)])
    reading = read(request, "logs", "json")
    (draft,) = by_kind(reading, "guardrail")
    metadata = draft.metadata
    assert (metadata["guardrail_name"], metadata["guardrail_verdict"]) == ("toxicity", "pass")
    assert (metadata["request_id_response"], draft.content) == ("chatcmpl-1", {"explanation": "polite"})
    assert_nothing_lost(request, reading)


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner", "gen_ai.agent.id": "a-1"},
        {"gen_ai.operation.name": "create_agent", "gen_ai.agent.name": "planner"},
        {"openinference.span.kind": "AGENT", "agent.name": "planner", "input.value": "do", "output.value": "done"},
        {"traceloop.span.kind": "workflow", "traceloop.entity.input": "{}", "traceloop.entity.output": "[1]"},
        {"langfuse.observation.type": "span", "langfuse.trace.name": "x"},
    ],
)
def test_agents_and_workflows_are_sessions(attributes: dict[str, Any]) -> None:
    request = span_request([span("agent", attributes)])
    reading = read(request, "traces", "json")
    assert [draft.kind for draft in drafts_of(reading)] == ["session"]
    assert_nothing_lost(request, reading)


def test_an_agent_call_that_carries_messages_is_an_exchange() -> None:
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "do"}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "done"}]}]),
    }
    reading = read(span_request([span("invoke_agent planner", attributes)]), "traces", "json")
    assert [draft.kind for draft in drafts_of(reading)] == ["prompt", "response"]
