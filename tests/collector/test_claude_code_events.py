"""Claude Code's log events, each as the event that an auditor looks for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otlp_payloads import (
    START,
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

from collector.gateways import Draft, Reading

SCOPE = "com.anthropic.claude_code.events"
RESOURCE = {"service.name": "claude-code", "service.version": "2.1.331", "enduser.id": "dana@example.com"}
COMMON = {
    "user.id": "f3b1c0ffee",
    "session.id": "0d1f2c3b-1111-4222-8333-944455566677",
    "event.timestamp": "2026-08-21T09:00:00.125Z",
    "event.sequence": 14,
    "prompt.id": "5e0a7c2e-aaaa-4bbb-8ccc-0ddd11112222",
    "organization.id": "9a1e0000-0000-4000-8000-000000000001",
    "anthropic.provider": "firstParty",
    "terminal.type": "vscode",
}
ACCOUNT = {"user.account_uuid": "11111111-2222-4333-8444-555555555555", "user.email": "dana@example.com"}


def events(*pairs: tuple[str, dict[str, Any]], encoding: Any = "json") -> tuple[dict[str, Any], Reading]:
    records = []
    for name, attributes in pairs:
        record = log("", {**COMMON, "event.name": name, **attributes}, body=f"claude_code.{name}")
        del record["eventName"]
        records.append(record)
    request = log_request(records, RESOURCE, SCOPE)
    return request, read(request, "logs", encoding)


def event(name: str, attributes: dict[str, Any]) -> Draft:
    request, reading = events((name, attributes))
    assert_nothing_lost(request, reading)
    return drafts_of(reading)[0]


EVERY_EVENT: dict[str, tuple[str, dict[str, Any]]] = {
    "user_prompt": ("prompt", {"prompt": "Clean up.", "prompt_length": "9", "message.uuid": "u-1"}),
    "assistant_response": ("response", {"response": "Done.", "response_length": 5, "model": "claude-sonnet-5"}),
    "tool_decision": ("tool_call", {"tool_name": "Bash", "decision": "accept", "source": "config"}),
    "tool_result": ("tool_result", {"tool_name": "Bash", "success": "true", "duration_ms": "44"}),
    "api_request": ("response", {"model": "claude-sonnet-5", "input_tokens": 12, "output_tokens": 240}),
    "api_error": ("response", {"model": "claude-sonnet-5", "error": "Overloaded", "status_code": "529", "attempt": 3}),
    "api_retries_exhausted": ("response", {"model": "claude-sonnet-5", "error": "Overloaded", "total_attempts": 11}),
    "api_refusal": ("response", {"model": "claude-sonnet-5", "request_id": "req_1", "category": "x"}),
    "api_request_body": ("prompt", {"body": '{"model":"m","messages":[]}', "body_length": "27"}),
    "api_response_body": ("response", {"body": '{"id":"msg_1","content":[]}', "request_id": "req_1"}),
    "permission_mode_changed": ("session", {"from_mode": "default", "to_mode": "bypassPermissions", "trigger": "x"}),
    "auth": ("session", {"action": "login", "success": "true", "auth_method": "oauth"}),
    "mcp_server_connection": ("session", {"status": "failed", "server_name": "db", "error": "refused"}),
    "plugin_installed": ("session", {"plugin.name": "p", "marketplace.name": "m"}),
    "plugin_loaded": ("session", {"plugin.name": "p", "has_hooks": True}),
    "skill_activated": ("session", {"skill.name": "s"}),
    "at_mention": ("session", {"mention_type": "file", "success": "true"}),
    "hook_registered": ("session", {"hook_event": "PreToolUse"}),
    "hook_execution_start": ("session", {"hook_name": "PreToolUse:Bash", "num_hooks": "1"}),
    "hook_execution_complete": ("session", {"hook_name": "PreToolUse:Bash", "num_blocking": "0"}),
    "hook_plugin_metrics": ("session", {"plugin.name": "p"}),
    "compaction": ("session", {"trigger": "auto", "pre_tokens": 150000, "post_tokens": 20000}),
    "subagent_completed": ("session", {"agent_type": "Explore", "total_tokens": 1200}),
    "internal_error": ("session", {"error_name": "TypeError", "error_code": "E1"}),
    "feedback_survey": ("session", {"rating": "good"}),
    "retention_sweep": ("session", {"deleted": 3}),
    "managed_settings_resolved": ("session", {"managed_settings.sources": []}),
    "something_new": ("session", {"detail": {"a": [1, 2.5, True]}}),
}


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_every_event_has_its_kind_and_loses_nothing(encoding: Any) -> None:
    request, reading = events(*((name, own) for name, (_, own) in EVERY_EVENT.items()), encoding=encoding)
    assert [unit.drafts[0].kind for unit in reading.units] == [kind for kind, _ in EVERY_EVENT.values()]
    assert_nothing_lost(request, reading)
    for unit in reading.units:
        metadata = unit.drafts[0].metadata
        assert (metadata["format"], metadata["gateway_version"]) == ("claude_code", "2.1.331")
        assert (metadata["session_id"], metadata["prompt_id"]) == (COMMON["session.id"], COMMON["prompt.id"])
        assert (metadata["sequence"], metadata["org_id"]) == (14, COMMON["organization.id"])
        assert (metadata["occurred_at"], metadata["time_role"]) == (START // 1000, "log")


@pytest.mark.parametrize(
    ("name", "attributes", "body", "scope"),
    [
        ("claude_code.user_prompt", {}, None, "x"),
        ("", {}, "claude_code.user_prompt", "x"),
        ("", {"event.name": "claude_code.user_prompt"}, None, "x"),
        ("", {"event.name": "user_prompt"}, None, SCOPE),
        ("user_prompt", {"event.name": "user_prompt"}, "claude_code.user_prompt", SCOPE),
    ],
)
def test_an_event_is_known_by_any_of_its_names(name: str, attributes: dict[str, Any], body: Any, scope: str) -> None:
    request = log_request([log(name, {"prompt": "hi", **attributes}, body=body)], scope=scope)
    (draft,) = drafts_of(read(request, "logs", "json"))
    assert (draft.kind, draft.metadata["format"]) == ("prompt", "claude_code")
    assert draft.content == {"messages": [{"role": "user", "content": "hi"}]}
    assert draft.metadata["session_id"] == TRACE


def test_a_name_without_prefix_from_elsewhere_is_not_claude_codes() -> None:
    request = log_request([log("", {"event.name": "user_prompt", "prompt": "hi"})], scope="other")
    (draft,) = drafts_of(read(request, "logs", "json"))
    assert draft.kind == "session"


def test_a_refused_call_is_a_call() -> None:
    draft = event(
        "tool_decision",
        {
            "tool_name": "Bash",
            "tool_use_id": "toolu_01A",
            "decision": "reject",
            "source": "user_reject",
            "tool_source": "builtin",
            "tool_parameters": '{"bash_command":"rm","full_command":"rm -rf build"}',
        },
    )
    metadata = draft.metadata
    assert (metadata["call_id"], metadata["tool_name"], metadata["tool_kind"]) == ("toolu_01A", "Bash", "builtin")
    assert (metadata["tool_decision"], metadata["tool_decision_by"]) == ("reject", "user_reject")
    assert (metadata["outcome"], metadata["content_state"]) == ("blocked", "full")
    assert draft.content == {
        "arguments": {"bash_command": "rm", "full_command": "rm -rf build"},
        "arguments_text": '{"bash_command":"rm","full_command":"rm -rf build"}',
    }
    assert event("tool_decision", {"tool_name": "mcp_tool"}).metadata["content_state"] == "not_captured"


def test_a_result_says_that_the_answer_is_elsewhere() -> None:
    draft = event(
        "tool_result",
        {
            "tool_name": "Bash",
            "tool_use_id": "toolu_01A",
            "success": "false",
            "duration_ms": "44",
            "error": "exit 1",
            "error_type": "ShellError",
            "decision_type": "accept",
            "decision_source": "config",
            "tool_parameters": '{"full_command":"make"}',
            "tool_input": '{"command":"make"}',
            "tool_input_size_bytes": "900",
            "tool_result_size_bytes": "4096",
        },
    )
    metadata = draft.metadata
    assert (metadata["tool_is_error"], metadata["outcome"]) == (True, "error")
    assert (metadata["tool_duration_ms"], metadata["error_type"]) == (44.0, "ShellError")
    assert (metadata["tool_decision"], metadata["tool_decision_by"]) == ("accept", "config")
    assert json.loads(metadata["content_gaps"]) == [
        {"pointer": "/content/result", "state": "not_captured", "original_size": 4096},
        {"pointer": "/content/input", "state": "truncated", "original_size": 900},
    ]
    assert draft.content["parameters"] == {"full_command": "make"}


def test_the_input_of_a_request_counts_the_cache() -> None:
    metadata = event(
        "api_request",
        {
            "model": "claude-sonnet-5",
            "input_tokens": "12",
            "output_tokens": 240,
            "cache_read_tokens": "30112",
            "cache_creation_tokens": 410,
            "cost_usd": 0.0143,
            "cost_usd_micros": 14300,
            "duration_ms": "3779",
            "ttft_ms": 17,
            "request_id": "req_011",
            "client_request_id": "c3d1",
        },
    ).metadata
    assert (metadata["input_tokens"], metadata["input_uncached_tokens"]) == (30534, 12)
    assert (metadata["cache_read_tokens"], metadata["cache_write_tokens"]) == (30112, 410)
    assert (metadata["output_tokens"], metadata["total_tokens"]) == (240, 30774)
    assert (metadata["usage_semantics"], json.loads(metadata["usage_raw"])["input_tokens"]) == ("uncached", "12")
    assert (metadata["cost_amount"], metadata["latency_ms"], metadata["time_to_first_token_ms"]) == (0.0143, 3779, 17)
    assert (metadata["request_id_provider"], metadata["request_id_client"]) == ("req_011", "c3d1")
    assert (metadata["exchange_id"], metadata["outcome"], metadata["provider"]) == ("req_011", "ok", "anthropic")


def test_failures_and_refusals() -> None:
    metadata = event("api_error", EVERY_EVENT["api_error"][1]).metadata
    assert (metadata["outcome"], metadata["http_status"], metadata["attempt"]) == ("error", 529, 3)
    assert metadata["error_message"] == "Overloaded"
    metadata = event("api_refusal", EVERY_EVENT["api_refusal"][1]).metadata
    assert (metadata["outcome"], metadata["stop_reason"]) == ("blocked", "content_filter")
    metadata = event("mcp_server_connection", EVERY_EVENT["mcp_server_connection"][1]).metadata
    assert (metadata["outcome"], metadata["tool_server"], metadata["operation"]) == (
        "error",
        "db",
        "mcp_server_connection",
    )


@pytest.mark.parametrize(
    ("own", "state", "size"),
    [
        ({"prompt": "<REDACTED>", "prompt_length": "26"}, "redacted", 26),
        ({"prompt": "Print", "prompt_length": 26}, "truncated", 26),
        ({"prompt_length": 26}, "not_captured", 26),
        ({"prompt": "Grüße 😀", "prompt_length": 8}, "full", None),
    ],
)
def test_what_is_hidden_or_cut_is_stated(own: dict[str, Any], state: str, size: int | None) -> None:
    metadata = event("user_prompt", own).metadata
    assert metadata["content_state"] == state
    gaps = json.loads(metadata.get("content_gaps", "[]"))
    assert [gap["original_size"] for gap in gaps] == ([] if size is None else [size])


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ("dana@example.com", "configured", "f3b1c0ffee")),
        (ACCOUNT, (ACCOUNT["user.account_uuid"], "account", "f3b1c0ffee")),
        ({"identity.source": "gateway-oidc", "user.groups": ["dev"]}, ("f3b1c0ffee", "sso_subject", None)),
    ],
)
def test_who_it_was(own: dict[str, Any], expected: tuple[str, str, str | None]) -> None:
    metadata = event("user_prompt", {"prompt": "hi", **own}).metadata
    assert (metadata["user_id"], metadata["user_id_kind"], metadata.get("device_id")) == expected
    assert metadata["assurance"] == ("gateway_authenticated" if "identity.source" in own else "client_asserted")


def test_an_installation_alone_names_itself() -> None:
    request = log_request([log("claude_code.user_prompt", {"user.id": "f3b1", "prompt": "hi"})], {}, SCOPE)
    (draft,) = drafts_of(read(request, "logs", "json"))
    assert (draft.metadata["user_id"], draft.metadata["user_id_kind"]) == ("f3b1", "install_id")


def test_the_key_of_a_record_survives_a_restarted_count() -> None:
    _, reading = events(
        ("user_prompt", {"prompt": "a"}),
        ("user_prompt", {"prompt": "b", "event.timestamp": "2026-08-22T09:00:00.125Z"}),
        ("tool_result", {}),
        ("user_prompt", {"prompt": "c", "event.sequence": 15}),
    )
    ids = [unit.source_id for unit in reading.units]
    assert ids[0] == f"{COMMON['session.id']}/14/user_prompt/2026-08-21T09:00:00.125Z"
    assert len(set(ids)) == 4
    request = log_request([log("claude_code.user_prompt", {"session.id": "s", "event.sequence": 1})])
    assert read(request, "logs", "json").units[0].source_id == ""


REQUEST_BODY = {
    "model": "claude-sonnet-5",
    "max_tokens": 512,
    "system": [{"type": "text", "text": "You are terse."}],
    "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "Build it."},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"c": "make"}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": "exit 2"}],
        },
    ],
}
RESPONSE_BODY = {
    "id": "msg_01X",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-20260801",
    "content": [
        {"type": "thinking", "thinking": "<REDACTED>", "signature": "EqQB"},
        {"type": "tool_use", "id": "toolu_2", "name": "Bash", "input": {"command": "make clean"}},
    ],
    "stop_reason": "tool_use",
    "usage": {
        "input_tokens": 12,
        "cache_read_input_tokens": 30112,
        "cache_creation_input_tokens": 410,
        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 10},
        "output_tokens": 31,
    },
}


def test_raw_bodies_are_the_prompt_the_response_and_what_lies_in_them() -> None:
    request, reading = events(
        ("api_request_body", {"body": json.dumps(REQUEST_BODY), "request_body_id": "b-1", "model": "claude-sonnet-5"}),
        ("api_response_body", {"body": json.dumps(RESPONSE_BODY), "request_body_id": "b-1", "request_id": "req_1"}),
    )
    prompt, result, response, call = drafts_of(reading)
    assert [draft.kind for draft in (prompt, result, response, call)] == [
        "prompt",
        "tool_result",
        "response",
        "tool_call",
    ]
    assert {draft.metadata["exchange_id"] for draft in drafts_of(reading)} == {"b-1"}
    assert prompt.content == REQUEST_BODY
    assert (result.metadata["call_id"], result.metadata["tool_is_error"]) == ("toolu_1", True)
    assert result.content == {"result": "exit 2"}
    metadata = response.metadata
    assert (metadata["request_id_response"], metadata["model_served"]) == ("msg_01X", "claude-sonnet-5-20260801")
    assert (metadata["input_tokens"], metadata["input_uncached_tokens"], metadata["total_tokens"]) == (30534, 12, 30565)
    assert (metadata["cache_write_5m_tokens"], metadata["cache_write_1h_tokens"]) == (400, 10)
    assert (metadata["stop_reason"], metadata["content_state"]) == ("tool_call", "redacted")
    (gap,) = json.loads(metadata["content_gaps"])
    assert gap["pointer"] == "/content/messages/0/content/0/thinking"
    assert (call.metadata["call_id"], call.metadata["tool_name"]) == ("toolu_2", "Bash")
    assert call.content == {"arguments": {"command": "make clean"}}
    assert "sequence" not in call.metadata
    assert_nothing_lost(request, reading)


@pytest.mark.parametrize(
    ("own", "state", "ref"),
    [
        ({"body_ref": "/home/dana/bodies/1.json", "body_length": "900"}, "by_ref", "/home/dana/bodies/1.json"),
        ({"body": '{"model":"m","mess', "body_truncated": "true", "body_length": "900"}, "truncated", None),
        ({}, "not_captured", None),
    ],
)
def test_bodies_that_are_not_whole(own: dict[str, Any], state: str, ref: str | None) -> None:
    draft = event("api_request_body", own)
    assert draft.metadata["content_state"] == state
    (gap,) = json.loads(draft.metadata["content_gaps"])
    assert gap.get("ref") == ref
    assert draft.content == ({"body": own["body"]} if "body" in own else None)


def test_spans_of_a_turn() -> None:
    common = {"user.id": "f3b1", "session.id": "s-1", "gen_ai.provider.name": "anthropic"}
    usage = {"input_tokens": 12, "output_tokens": 31, "cache_read_tokens": 30112, "cache_creation_tokens": 410}
    llm = {
        **usage,
        "span.type": "llm_request",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "claude-opus-5-5",
        "model": "claude-opus-5-5",
        "request_id": "req_1",
        "gen_ai.response.id": "req_1",
        "stop_reason": "tool_use",
        "gen_ai.usage.input_tokens": 30534,
        "success": True,
        "duration_ms": 69,
        "ttft_ms": 17,
    }
    tool = {"span.type": "tool", "tool_name": "Bash", "tool_use_id": "toolu_1", "full_command": "make"}
    spans = [
        span("claude_code.interaction", {**common, "span.type": "interaction", "user_prompt": "Build it."}),
        span("claude_code.llm_request", {**common, **llm}),
        span("claude_code.tool", {**common, **tool}, events=[span_event("tool.output", {"output": "ok"})]),
        span("claude_code.tool.execution", {**common, "tool_use_id": "toolu_1", "success": False, "span.type": "x"}),
        span("claude_code.tool.blocked_on_user", {**common, "decision": "reject", "source": "user", "span.type": "y"}),
    ]
    request = span_request(spans, RESOURCE, "com.anthropic.claude_code.tracing")
    reading = read(request, "traces", "protobuf")
    kinds = [[draft.kind for draft in unit.drafts] for unit in reading.units]
    assert kinds == [["prompt"], ["response"], ["tool_call", "tool_result"], ["tool_result"], ["session"]]
    prompt, response, call, output, execution, wait = drafts_of(reading)
    assert prompt.content == {"messages": [{"role": "user", "content": "Build it."}]}
    metadata = response.metadata
    assert (metadata["input_tokens"], metadata["input_uncached_tokens"]) == (30534, 12)
    assert (metadata["exchange_id"], metadata["request_id_provider"]) == ("req_1", "req_1")
    assert "request_id_response" not in metadata
    assert (metadata["latency_ms"], metadata["time_to_first_token_ms"]) == (1400.0, 17)
    assert (call.metadata["call_id"], call.content) == ("toolu_1", {"arguments": {"full_command": "make"}})
    assert output.content == {"result": {"output": "ok"}}
    assert (execution.metadata["tool_is_error"], execution.metadata["call_id"]) == (True, "toolu_1")
    assert (wait.metadata["tool_decision"], wait.metadata["outcome"]) == ("reject", "blocked")
    assert_nothing_lost(request, reading)
