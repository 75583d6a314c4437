"""Gateways that speak OTLP in words of their own: Envoy, agentgateway, ContextForge, Docker, Cloudflare, Portkey and
LiteLLM."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otlp_payloads import (
    SPAN,
    TRACE,
    assert_nothing_lost,
    drafts_of,
    log,
    log_request,
    read,
    span,
    span_event,
    span_request,
)

from collector.gateways import Draft
from collector.gateways.otlp_telemetry import add_attribute

ENCODINGS = ("json", "protobuf")
both = pytest.mark.parametrize("encoding", ENCODINGS)

QUESTION = [{"role": "user", "content": "Weather in Paris?"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}


def spans(encoding: Any, *made: dict[str, Any], scope: str = "agent", **resource: Any) -> list[Draft]:
    request = span_request(list(made), resource or None, scope)
    reading = read(request, "traces", encoding)
    assert_nothing_lost(request, reading)
    return drafts_of(reading)


def kinds(drafts: list[Draft]) -> list[str]:
    return [draft.kind for draft in drafts]


# --- Envoy AI Gateway

ROUTED = span_event(
    "route to backend", {"mcp.backend.name": "github", "mcp.session.id": "backend-1", "mcp.session.new": True}
)


@both
def test_envoy_calls_tools_in_its_older_words(encoding: Any) -> None:
    attributes = {
        "mcp.protocol.version": "2025-06-18",
        "mcp.transport": "http",
        "mcp.request.id": "7",
        "mcp.method.name": "tools/call",
        "mcp.tool.name": "list_issues",
    }
    call, result = spans(encoding, span("CallTool", attributes, events=[ROUTED]))
    assert kinds([call, result]) == ["tool_call", "tool_result"]
    assert (call.metadata["tool_name"], call.metadata["tool_server"]) == ("list_issues", "github")
    assert call.metadata["jsonrpc_id"] == "7"
    assert call.metadata.get("tool_session_id", "") == ""  # that of the event is the gateway's own
    assert call.metadata["content_state"] == result.metadata["content_state"] == "not_captured"
    assert result.metadata["tool_is_error"] is None


@both
def test_envoy_calls_tools_in_the_words_of_the_conventions(encoding: Any) -> None:
    attributes = {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "list_issues",
        "gen_ai.tool.call.arguments": '{"repo":"a/b"}',
        "gen_ai.tool.call.result": '{"content":[{"type":"text","text":"denied"}],"isError":true}',
        "jsonrpc.request.id": "7",
        "mcp.session.id": "client-1",
        "network.transport": "tcp",
    }
    call, result = spans(encoding, span("tools/call list_issues", attributes, events=[ROUTED]))
    assert call.content["arguments"] == {"repo": "a/b"}
    assert (call.metadata["tool_session_id"], call.metadata["tool_server"]) == ("client-1", "github")
    assert (result.metadata["tool_is_error"], result.metadata["outcome"]) == (True, "error")


@both
def test_envoy_lists_tools_of_several_servers(encoding: Any) -> None:
    other = span_event("route to backend", {"mcp.backend.name": "jira", "mcp.session.id": "b-2"})
    (listed,) = spans(encoding, span("ListTools", {"mcp.method.name": "tools/list"}, events=[ROUTED, other]))
    assert (listed.kind, listed.metadata.get("tool_server", "")) == ("session", "")


@both
def test_envoy_leaves_out_what_is_no_text(encoding: Any) -> None:
    messages = [
        {"role": "user", "parts": [{"type": "text", "content": "Look"}, {"type": "image"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_0", "content": "sunny"}]},
    ]
    answer = [{"role": "assistant", "parts": [{"type": "reasoning"}, {"type": "text", "content": "ok"}]}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.anthropic",
        "gen_ai.input.messages": json.dumps(messages),
        "gen_ai.output.messages": json.dumps(answer),
    }
    prompt, given, response = spans(encoding, span("chat claude", attributes))
    assert given.content == {"result": "sunny"}
    assert response.metadata["provider"] == "gcp.vertex_ai"
    (cut,) = json.loads(prompt.metadata["content_gaps"])
    assert (cut["pointer"], cut["state"]) == ("/content/messages/0/parts/1", "omitted")
    (thought,) = json.loads(response.metadata["content_gaps"])
    assert (thought["pointer"], thought["state"]) == ("/content/messages/0/parts/0", "omitted")


# --- agentgateway

AGENTGATEWAY = {
    "gateway": "default/gw",
    "src.addr": "192.0.2.9:40512",
    "http.status": 200,
    "jwt.sub": "dana@example.com",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.usage.input_tokens": 162,
    "gen_ai.usage.input_audio_tokens": 4,
    "agw.ai.time_to_first_token": 0.25,
    "agw.ai.usage.cost.total": "0.0125",
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": "Weather in Paris?",
    "gen_ai.completion.0.content": "14",
    "duration": "1400ms",
}


@both
def test_agentgateway_says_who_and_vouches_for_it(encoding: Any) -> None:
    prompt, response = spans(encoding, span("POST /*", AGENTGATEWAY), scope="agentgateway")
    assert prompt.content == {"messages": [{"role": "user", "content": "Weather in Paris?"}]}
    metadata = response.metadata
    assert (metadata["user_id"], metadata["assurance"]) == ("dana@example.com", "gateway_authenticated")
    assert (metadata["client_ip"], metadata["http_status"]) == ("192.0.2.9", 200)
    assert (metadata["time_to_first_token_ms"], metadata["cost_amount"]) == (250.0, 0.0125)
    assert metadata["audio_input_tokens"] == 4


@both
def test_agentgateways_access_log_over_otlp(encoding: Any) -> None:
    attributes = {"mcp.method.name": "tools/call", "mcp.target": "github", "gen_ai.tool.name": "list_issues",
                  "mcp.session.id": "m-1", "jwt.sub": "dana", "trace.id": TRACE, "span.id": SPAN}  # fmt: skip
    request = log_request([log("", attributes)], scope="agentgateway.access")
    reading = read(request, "logs", encoding)
    assert_nothing_lost(request, reading)
    call, _ = drafts_of(reading)
    assert (call.metadata["tool_server"], call.metadata["user_id"]) == ("github", "dana")


@both
def test_the_subject_of_a_token_is_only_believed_of_a_gateway(encoding: Any) -> None:
    drafts = spans(encoding, span("chat", {"gen_ai.operation.name": "chat", "jwt.sub": "root"}))
    assert {draft.metadata.get("user_id", "") for draft in drafts} == {""}


# --- IBM ContextForge

INVOKE = {
    "tool.name": "get_weather",
    "tool.id": "row-17",
    "tool.integration_type": "MCP",
    "tool.gateway_id": "gw-1",
    "arguments_count": 1,
    "has_headers": True,
    "user.email": "dana@example.com",
    "team.name": "payments",
    "correlation_id": "c-1",
    "success": True,
    "duration.ms": 12.5,
}


@both
def test_one_call_of_contextforge_is_one_call(encoding: Any) -> None:
    below = [
        span(name, {"tool.name": "get_weather", "tool.id": "row-17", "mcp.tool.name": "weather"}, spanId=f"{n:016x}")
        for n, name in enumerate(("tool.lookup", "mcp.client.call", "tool.gateway_call", "tool.post_process"), 1)
    ]
    drafts = spans(encoding, span("tool.invoke", INVOKE), *below, scope="mcp-gateway")
    assert kinds(drafts) == ["tool_call", "tool_result", *["session"] * 4]
    metadata = drafts[0].metadata
    assert (metadata["tool_name"], metadata["tool_server"], metadata["tool_kind"]) == ("get_weather", "gw-1", "mcp")
    assert metadata.get("call_id", "") == ""
    assert metadata["extras"]["tool.id"] == '"row-17"'
    assert (metadata["user_email"], metadata["assurance"]) == ("dana@example.com", "gateway_authenticated")
    assert metadata["content_state"] == "not_captured"


@both
def test_a_tool_that_failed_without_an_error(encoding: Any) -> None:
    _, result = spans(encoding, span("tool.invoke", {**INVOKE, "success": False}), scope="mcp-gateway")
    assert (result.metadata["tool_is_error"], result.metadata["outcome"]) == (True, "error")


@both
def test_payloads_of_contextforge_and_what_it_cut(encoding: Any) -> None:
    payloads = {
        "langfuse.observation.input": '{"city":"Paris","password":"***"}',
        "langfuse.observation.output": '{"_truncated":true,"_original_size":40000,"_preview":"{\\"t\\":"}',
    }
    call, result = spans(encoding, span("tool.invoke", {**INVOKE, **payloads}), scope="mcp-gateway")
    assert call.content["arguments"] == {"city": "Paris", "password": "***"}
    hidden = json.loads(call.metadata["content_gaps"])
    assert [gap["pointer"] for gap in hidden] == ["/content/arguments/password", "/content/arguments_text"]
    assert {gap["state"] for gap in hidden} == {"redacted"}
    assert result.metadata["content_state"] == "truncated"
    assert json.loads(result.metadata["content_gaps"])[0]["original_size"] == 40000


@both
def test_anonymous_is_nobody(encoding: Any) -> None:
    call, _ = spans(encoding, span("tool.invoke", {**INVOKE, "user.email": "anonymous"}), scope="mcp-gateway")
    assert call.metadata.get("user_email", "") == ""
    assert call.metadata["assurance"] == "unknown"


@both
def test_what_contextforge_puts_before_a_model(encoding: Any) -> None:
    made = (
        span("resource.read", {"resource.uri": "file:///a.md", "success": True}),
        span("prompt.render", {"prompt.id": "greet", "success": True}, spanId="00000000000000aa"),
    )
    document, template = spans(encoding, *made, scope="mcp-gateway")
    assert (document.kind, document.metadata["document_source"]) == ("context", "file:///a.md")
    assert (template.kind, template.metadata["document_id"]) == ("context", "greet")


# --- Docker MCP Gateway


@both
def test_docker_mcp_gateway(encoding: Any) -> None:
    server = {"mcp.server.name": "github", "mcp.server.type": "docker", "mcp.server.endpoint": "https://mcp.example"}
    made = (
        span("mcp.tool.call", {"mcp.tool.name": "list_issues", **server}, status={"code": 1}),
        span("mcp.prompt.get", {"mcp.prompt.name": "triage", **server}, spanId="00000000000000aa"),
        span(
            "mcp.resource.read",
            {"mcp.resource.uri": "repo://a", "mcp.server.origin": "github"},
            spanId="00000000000000ab",
        ),
        span("mcp.list.tools", {"mcp.list.type": "tools"}, spanId="00000000000000ac"),
    )
    drafts = spans(encoding, *made, scope="github.com/docker/mcp-gateway")
    assert kinds(drafts) == ["tool_call", "tool_result", "context", "context", "session"]
    call, result, prompt, resource, _ = (draft.metadata for draft in drafts)
    assert (call["tool_server"], call["tool_server_url"]) == ("github", "https://mcp.example")
    assert result["tool_is_error"] is None
    assert prompt["document_id"] == "triage"
    assert (resource["document_source"], resource["tool_server"]) == ("repo://a", "github")


# --- Cloudflare, Portkey, LiteLLM


@both
def test_cloudflares_own_attributes(encoding: Any) -> None:
    attributes = {
        "gen_ai.request.model": "gpt-5",
        "gen_ai.model.provider": "openai",
        "gen_ai.usage.input_tokens": 25,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.cost": 0.00037,
        "gen_ai.prompt_json": json.dumps({"model": "gpt-5", "messages": QUESTION, "temperature": 0.5}),
        "gen_ai.completion_json": json.dumps({"choices": [{"index": 0, "finish_reason": "tool_calls",
                                              "message": {"role": "assistant", "tool_calls": [CALL]}}]}),
        "team": "payments",
        "user_id": "dana",
    }  # fmt: skip
    drafts = spans(encoding, span("gateway", attributes))
    assert kinds(drafts) == ["prompt", "response", "tool_call"]
    prompt, response, call = drafts
    assert prompt.content["messages"] == QUESTION
    assert prompt.content["temperature" if "temperature" in prompt.content else "gen_ai.prompt_json.temperature"] == 0.5
    assert (response.metadata["provider"], response.metadata["cost_amount"]) == ("openai", 0.00037)
    assert response.metadata["stop_reason"] == "tool_call"
    assert call.content["arguments"] == {"city": "Paris"}
    assert prompt.metadata["extras"]["team"] == '"payments"'


@both
def test_portkeys_spans(encoding: Any) -> None:
    attributes = {
        "otel.semconv.version": "1.40.0",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "You are terse."}]),
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}]),
        "error.type": "429",
    }
    resource = {"service.name": "portkey"}
    drafts = spans(encoding, span("chat gpt-5", attributes), scope="custom.genai.instrumentation", **resource)
    prompt, response = drafts
    assert prompt.content["system"] == [{"type": "text", "content": "You are terse."}]
    metadata = response.metadata
    assert (metadata["outcome"], metadata["error_type"], metadata["http_status"]) == ("error", "429", 429)


@both
def test_litellm_writes_openais_messages_where_parts_should_be(encoding: Any) -> None:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.input.messages": json.dumps([
            *QUESTION,
            {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "call_0"}]},
            {"role": "tool", "tool_call_id": "call_0", "content": "14 °C"},
        ]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "gen_ai.tool.0.name": "get_weather",
        "gen_ai.tool.0.description": "the weather",
        "gen_ai.tool.0.parameters": '{"type":"object"}',
        "litellm.call_id": "c-1",
        "litellm.api_key.hash": "88dc28d0",
    }  # fmt: skip
    drafts = spans(encoding, span("chat gpt-5", attributes))
    assert kinds(drafts) == ["prompt", "tool_result", "response", "tool_call"]
    prompt, given, response, call = drafts
    assert prompt.content["tools"][0]["name"] == "get_weather"
    assert (given.metadata["call_id"], given.content) == ("call_0", {"result": "14 °C"})
    assert (response.metadata["stop_reason"], response.metadata["request_id_gateway"]) == ("tool_call", "c-1")
    assert (call.metadata["call_id"], call.content["arguments"]) == ("call_1", {"city": "Paris"})
    assert call.metadata["assurance"] == "gateway_authenticated"


# --- All


def test_a_key_a_hundred_thousand_times_costs_no_square() -> None:
    attributes: dict[str, Any] = {}
    for number in range(100_000):
        add_attribute(attributes, "k", number)
    assert sorted(attributes.values()) == list(range(100_000))
