"""One chat with a tool call, told in each spelling: the same events come of it, and nothing of the source is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from otlp_payloads import (
    END,
    SPAN,
    START,
    TRACE,
    assert_nothing_lost,
    by_kind,
    drafts_of,
    log,
    log_request,
    read,
    span_event,
    span_request,
)
from otlp_payloads import span as make_span

ENCODINGS = ("json", "protobuf")
QUESTION = "Weather in Paris?"
ARGUMENTS = '{"city":"Paris"}'

PARTS_IN = [
    {"role": "user", "parts": [{"type": "text", "content": "Earlier?"}]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "call_0", "name": "old", "arguments": {}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_0", "response": {"t": 3}}]},
    {"role": "user", "parts": [{"type": "text", "content": QUESTION}]},
]
PARTS_OUT = [
    {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "Need the tool."},
            {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": {"city": "Paris"}},
        ],
        "finish_reason": "tool_call",
    }
]
OPENAI_OUT = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}],
}

CURRENT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-05-01",
    "gen_ai.response.id": "chatcmpl-9xyz",
    "gen_ai.conversation.id": "conv-1",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.request.stream": True,
    "gen_ai.response.finish_reasons": ["tool_call"],
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.usage.input_tokens": 162,
    "gen_ai.usage.output_tokens": 31,
    "gen_ai.usage.cache_read.input_tokens": 100,
    "gen_ai.system_instructions": [{"type": "text", "content": "You are terse."}],
    "gen_ai.tool.definitions": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
    "gen_ai.input.messages": PARTS_IN,
    "gen_ai.output.messages": PARTS_OUT,
    "server.address": "api.openai.com",
    "server.port": 443,
    "enduser.id": "dana@example.com",
}
AS_TEXT = {
    key: json.dumps(value) if isinstance(value, list) and key != "gen_ai.response.finish_reasons" else value
    for key, value in CURRENT.items()
}
RENAMED = {
    **{key: value for key, value in AS_TEXT.items() if "cache_read" not in key},
    "gen_ai.usage.cache_write.input_tokens": 10,
    "gen_ai.usage.text.input_tokens": 62,
    "gen_ai.request.reasoning.level": "high",
    "gen_ai.request.previous_response.id": "resp_0",
}
DEPRECATED = {
    "gen_ai.system": "openai",
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.prompt": json.dumps([{"role": "user", "content": QUESTION}]),
    "gen_ai.completion": json.dumps([OPENAI_OUT]),
    "gen_ai.usage.prompt_tokens": 162,
    "gen_ai.usage.completion_tokens": 31,
    "gen_ai.response.finish_reasons": ["tool_calls"],
}
OPENLLMETRY = {
    "gen_ai.system": "openai",
    "llm.request.type": "chat",
    "gen_ai.request.model": "gpt-5",
    "llm.is_streaming": "false",
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "You are terse.",
    **{f"gen_ai.prompt.{n}.role": "user" for n in range(1, 11)},
    **{f"gen_ai.prompt.{n}.content": f"message {n}" for n in range(1, 10)},
    "gen_ai.prompt.10.content": QUESTION,
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.finish_reason": "tool_calls",
    "gen_ai.completion.0.tool_calls.0.id": "call_1",
    "gen_ai.completion.0.tool_calls.0.name": "get_weather",
    "gen_ai.completion.0.tool_calls.0.arguments": ARGUMENTS,
    "llm.request.functions.0.name": "get_weather",
    "llm.request.functions.0.parameters": '{"type": "object"}',
    "gen_ai.usage.prompt_tokens": 162,
    "gen_ai.usage.completion_tokens": 31,
    "llm.usage.total_tokens": 193,
    "gen_ai.usage.cache_read_input_tokens": 100,
    "traceloop.association.properties.user_id": "dana",
    "traceloop.association.properties.session_id": "s-1",
    "traceloop.workflow.name": "weather",
}
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.system": "openai",
    "llm.model_name": "gpt-5",
    "llm.invocation_parameters": '{"temperature": 0.5}',
    "input.value": json.dumps({"messages": [{"role": "user", "content": QUESTION}]}),
    "input.mime_type": "application/json",
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.contents.0.message_content.type": "text",
    "llm.input_messages.0.message.contents.0.message_content.text": QUESTION,
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.tool_calls.0.tool_call.id": "call_1",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_weather",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": ARGUMENTS,
    "llm.tools.0.tool.json_schema": '{"type": "function"}',
    "llm.token_count.prompt": 162,
    "llm.token_count.completion": 31,
    "llm.token_count.total": 193,
    "llm.token_count.prompt_details.cache_read": 100,
    "llm.token_count.completion_details.reasoning": 9,
    "llm.cost.total": 0.0125,
    "session.id": "s-1",
    "user.id": "dana",
    "tag.tags": ["a", "b"],
    "metadata": '{"ticket": "INC-7"}',
}
LANGFUSE = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gpt-5",
    "langfuse.observation.model.parameters": '{"temperature": 0.5}',
    "langfuse.observation.input": json.dumps([{"role": "user", "content": QUESTION}]),
    "langfuse.observation.output": json.dumps(OPENAI_OUT),
    "langfuse.observation.usage_details": '{"input": 162, "output": 31, "total": 193}',
    "langfuse.observation.cost_details": '{"total": 0.0125}',
    "langfuse.observation.completion_start_time": '"2026-08-21T09:00:00.250Z"',
    "langfuse.trace.name": "weather",
    "gen_ai.system": "openai",
    "session.id": "s-1",
    "user.id": "dana",
}
CLOUDFLARE = {
    "gen_ai.model.provider": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.prompt_json": json.dumps([{"role": "user", "content": QUESTION}]),
    "gen_ai.completion_json": json.dumps({"choices": [{"message": OPENAI_OUT, "finish_reason": "tool_calls"}]}),
    "gen_ai.usage.prompt_tokens": 162,
    "gen_ai.usage.completion_tokens": 31,
    "gen_ai.usage.cost": 0.0125,
}
LITELLM_V2 = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.input.messages": json.dumps([{"role": "user", "content": QUESTION}]),
    "gen_ai.output.messages": json.dumps([OPENAI_OUT]),
    "gen_ai.usage.input_tokens": 162,
    "gen_ai.usage.output_tokens": 31,
    "gen_ai.response.finish_reasons": ["tool_calls"],
    "gen_ai.tool.0.name": "get_weather",
    "gen_ai.tool.0.parameters": '{"type": "object"}',
    "litellm.call_id": "c-1",
    "litellm.team.id": "team-1",
    "litellm.api_key.hash": "88dc28d0",
    "litellm.model_group": "gpt",
    "litellm.request.streaming": False,
    "litellm.cost.total_cost": 0.0125,
}
SPELLINGS = {
    "current": CURRENT,
    "current as text": AS_TEXT,
    "renamed": RENAMED,
    "deprecated": DEPRECATED,
    "openllmetry": OPENLLMETRY,
    "openinference": OPENINFERENCE,
    "langfuse": LANGFUSE,
    "cloudflare": CLOUDFLARE,
    "litellm": LITELLM_V2,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_chat_span_gives_prompt_response_and_call(spelling: str, encoding: Any) -> None:
    request = span_request([make_span("chat gpt-5", SPELLINGS[spelling])])
    reading = read(request, "traces", encoding)
    drafts = drafts_of(reading)
    assert [draft.kind for draft in drafts if draft.kind != "tool_result"] == ["prompt", "response", "tool_call"]
    prompt, (response,), (call,) = drafts[0], by_kind(reading, "response"), by_kind(reading, "tool_call")

    assert QUESTION in json.dumps(prompt.content["messages"][-1])
    asked, answered = prompt.metadata, response.metadata
    assert (asked["occurred_at"], asked["time_role"]) == (START // 1000, "start")
    assert (answered["occurred_at"], answered["time_role"], answered["latency_ms"]) == (END // 1000, "end", 1400.0)
    for metadata in (asked, answered, call.metadata):
        assert metadata["exchange_id"] == f"{TRACE}:{SPAN}"
        assert metadata["operation"] == "chat"
        assert metadata["provider"] == "openai"
        assert "gpt-5" in (metadata.get("model_requested"), metadata.get("model_served"))
        assert metadata["content_state"] == "full"
    assert (answered["input_tokens"], answered["output_tokens"]) == (162, 31)
    assert "input_tokens" not in asked
    assert json.loads(answered["usage_raw"])
    assert answered["outcome"] == "ok"
    if "finish" in json.dumps(SPELLINGS[spelling]):
        assert answered["stop_reason"] == "tool_call"
    assert (call.metadata["call_id"], call.metadata["tool_name"]) == ("call_1", "get_weather")
    assert call.content["arguments"] == {"city": "Paris"}
    if "current" not in spelling and spelling != "renamed":
        assert call.content["arguments_text"] == ARGUMENTS
    assert_nothing_lost(request, reading)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_only_results_behind_the_last_answer_are_new(encoding: Any) -> None:
    (result,) = by_kind(read(span_request([make_span("chat", CURRENT)]), "traces", encoding), "tool_result")
    assert (result.metadata["call_id"], result.content) == ("call_0", {"result": {"t": 3}})
    again = [*PARTS_IN, PARTS_OUT[0], {"role": "user", "parts": [{"type": "text", "content": "thanks"}]}]
    request = span_request([make_span("chat", {**CURRENT, "gen_ai.input.messages": again})])
    assert by_kind(read(request, "traces", encoding), "tool_result") == []


@pytest.mark.parametrize("name", ["response", "result", "content"])
def test_a_tool_result_under_any_of_its_names(name: str) -> None:
    messages = [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", name: "14 C"}]}]
    request = span_request([make_span("chat", {**CURRENT, "gen_ai.input.messages": messages})])
    (result,) = by_kind(read(request, "traces", "json"), "tool_result")
    assert (result.metadata["call_id"], result.content) == ("call_1", {"result": "14 C"})


def test_fields_of_the_current_spelling() -> None:
    reading = read(span_request([make_span("chat gpt-5", CURRENT)]), "traces", "json")
    (response,) = by_kind(reading, "response")
    metadata = response.metadata
    assert metadata["conversation_id"] == metadata["session_id"] == "conv-1"
    assert (metadata["model_served"], metadata["request_id_response"]) == ("gpt-5-2026-05-01", "chatcmpl-9xyz")
    assert (metadata["end_user_id"], metadata["assurance"]) == ("dana@example.com", "client_asserted")
    assert (metadata["endpoint"], metadata["stream"], metadata["model_path"]) == ("api.openai.com", True, "direct")
    assert (metadata["cache_read_tokens"], metadata["input_uncached_tokens"]) == (100, 62)
    assert (metadata["usage_semantics"], metadata["time_to_first_token_ms"]) == ("total", 250.0)
    prompt = drafts_of(reading)[0]
    assert prompt.content["system"] == [{"type": "text", "content": "You are terse."}]
    assert prompt.content["tools"][0]["name"] == "get_weather"
    extras = prompt.metadata["extras"]
    assert (extras["gen_ai.request.temperature"], extras["server.port"]) == ("0.2", "443")
    assert extras["resource.service.name"] == response.metadata["extras"]["resource.service.name"] == '"billing-bot"'
    assert prompt.metadata["gateway_version"] == "1.4.0"


def test_fields_of_the_other_spellings() -> None:
    def response(attributes: dict[str, Any]) -> Any:
        return by_kind(read(span_request([make_span("x", attributes)]), "traces", "json"), "response")[0].metadata

    metadata = response(OPENLLMETRY)
    assert (metadata["format"], metadata["session_id"], metadata["user_id"]) == ("openllmetry", "s-1", "dana")
    assert (metadata["stream"], metadata["total_tokens"], metadata["cache_read_tokens"]) == (False, 193, 100)
    metadata = response(OPENINFERENCE)
    assert (metadata["format"], metadata["session_id"], metadata["user_id"]) == ("openinference", "s-1", "dana")
    assert (metadata["reasoning_tokens"], metadata["cost_amount"], metadata["tags"]) == (9, 0.0125, ["a", "b"])
    metadata = response(LANGFUSE)
    assert (metadata["format"], metadata["cost_amount"], metadata["first_token_at"]) == (
        "langfuse",
        0.0125,
        1_787_302_800_250_000,
    )
    metadata = response(LITELLM_V2)
    assert (metadata["request_id_gateway"], metadata["team_id"], metadata["model_routed"]) == ("c-1", "team-1", "gpt")
    assert metadata["assurance"] == "gateway_authenticated"


def test_flattened_lists_are_sorted_as_numbers() -> None:
    prompt = drafts_of(read(span_request([make_span("x", OPENLLMETRY)]), "traces", "json"))[0]
    assert [message["content"] for message in prompt.content["messages"]] == [
        "You are terse.",
        *(f"message {n}" for n in range(1, 10)),
        QUESTION,
    ]


@pytest.mark.parametrize(
    ("provider", "usage", "expected"),
    [
        ("openai", {"input_tokens": 162, "cache_read.input_tokens": 100}, (162, 62, "total")),
        ("anthropic", {"input_tokens": 162}, (162, 162, "total")),
        ("anthropic", {"input_tokens": 12, "cache_read.input_tokens": 100}, (112, 12, "uncached")),
        (
            "anthropic",
            {"input_tokens": 12, "cache_read.input_tokens": 100, "cache_creation.input_tokens": 5},
            (117, 12, "uncached"),
        ),
        ("anthropic", {"input_tokens": 162, "cache_read.input_tokens": 100}, (162, None, "unknown")),
        ("bedrock", {"input_tokens": 162, "cache_read_input_tokens": 100}, (162, None, "unknown")),
    ],
)
def test_what_input_counts(provider: str, usage: dict[str, int], expected: tuple[int, int | None, str]) -> None:
    attributes = {"gen_ai.system": provider, "gen_ai.request.model": "m"}
    attributes |= {f"gen_ai.usage.{name}": value for name, value in usage.items()}
    (response,) = by_kind(read(span_request([make_span("chat m", attributes)]), "traces", "json"), "response")
    metadata = response.metadata
    found = metadata["input_tokens"], metadata.get("input_uncached_tokens"), metadata["usage_semantics"]
    assert found == expected


def test_without_content_it_is_said_that_there_is_none() -> None:
    attributes = {key: value for key, value in CURRENT.items() if "messages" not in key and "instruct" not in key}
    del attributes["gen_ai.tool.definitions"]
    prompt, response = drafts_of(read(span_request([make_span("chat", attributes)]), "traces", "json"))
    assert prompt.content is response.content is None
    assert prompt.metadata["content_state"] == response.metadata["content_state"] == "not_captured"


def test_content_by_reference() -> None:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.input.messages_ref": "s3://b/in.json"}
    attributes["gen_ai.output.messages_ref"] = "s3://b/out.json"
    prompt, response = drafts_of(read(span_request([make_span("chat", attributes)]), "traces", "json"))
    for draft, ref in ((prompt, "s3://b/in.json"), (response, "s3://b/out.json")):
        (gap,) = json.loads(draft.metadata["content_gaps"])
        assert (gap["state"], gap["ref"], gap["pointer"]) == ("by_ref", ref, "/content/messages")


def test_a_failed_call_keeps_its_prompt() -> None:
    attributes = {**CURRENT, "error.type": "RateLimitError"}
    del attributes["gen_ai.output.messages"]
    failed = make_span(
        "chat",
        attributes,
        status={"code": 2, "message": "429 slow down"},
        events=[span_event("exception", {"exception.type": "RateLimitError", "exception.stacktrace": "at line 1"})],
    )
    reading = read(span_request([failed]), "traces", "json")
    (response,) = by_kind(reading, "response")
    metadata = response.metadata
    assert (metadata["outcome"], metadata["error_type"]) == ("error", "RateLimitError")
    assert (metadata["error_message"], metadata["content_state"]) == ("429 slow down", "full")
    assert_nothing_lost(span_request([failed]), reading)


def test_a_filtered_answer_is_blocked() -> None:
    request = span_request([make_span("chat", {**CURRENT, "gen_ai.response.finish_reasons": ["content_filter"]})])
    (response,) = by_kind(read(request, "traces", "json"), "response")
    assert (response.metadata["outcome"], response.metadata["stop_reason"]) == ("blocked", "content_filter")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_messages_as_span_events(encoding: Any) -> None:
    events = [
        span_event("gen_ai.user.message", {"content": QUESTION, "gen_ai.system": "openai"}),
        span_event("gen_ai.choice", {"index": 0, "finish_reason": "tool_calls", "message": json.dumps(OPENAI_OUT)}),
        span_event("cache.lookup", {"hit": False}),
    ]
    request = span_request([make_span("chat gpt-5", {"gen_ai.request.model": "gpt-5"}, events=events)])
    reading = read(request, "traces", encoding)
    assert [draft.kind for draft in drafts_of(reading)] == ["prompt", "response", "tool_call"]
    assert by_kind(reading, "response")[0].metadata["stop_reason"] == "tool_call"
    assert_nothing_lost(request, reading)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_details_event_is_read_like_a_span(encoding: Any) -> None:
    request = log_request([log("gen_ai.client.inference.operation.details", CURRENT)])
    reading = read(request, "logs", encoding)
    kinds = [draft.kind for draft in drafts_of(reading)]
    assert kinds == ["prompt", "tool_result", "response", "tool_call"]
    assert {draft.metadata["time_role"] for draft in drafts_of(reading)} == {"log"}
    assert reading.units[0].source_id == ""
    assert_nothing_lost(request, reading)
    attributes = {key: value for key, value in CURRENT.items() if "messages" not in key}
    body = {key: CURRENT[key] for key in ("gen_ai.input.messages", "gen_ai.output.messages")}
    request = log_request([log("gen_ai.client.inference.operation.details", attributes, body=body)])
    assert [draft.kind for draft in drafts_of(read(request, "logs", encoding))] == kinds


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("named_by", ["eventName", "event.name"])
def test_one_log_record_per_message(named_by: str, encoding: Any) -> None:
    system = {"gen_ai.system": "openai"}
    records = [
        log("gen_ai.system.message", system, body={"content": "You are terse."}),
        log("gen_ai.user.message", system, body={"content": QUESTION}),
        log("gen_ai.assistant.message", system, body={"content": "Hm.", "tool_calls": OPENAI_OUT["tool_calls"]}),
        log("gen_ai.tool.message", system, body={"id": "call_1", "content": "14 C"}),
        log("gen_ai.choice", system, body={"index": 0, "finish_reason": "tool_calls", "message": OPENAI_OUT}),
        log("gen_ai.user.message", system, body={"role": "user"}),
    ]
    if named_by == "event.name":
        for record in records:
            record["attributes"].append({"key": "event.name", "value": {"stringValue": record.pop("eventName")}})
    request = log_request(records)
    reading = read(request, "logs", encoding)
    kinds = [[draft.kind for draft in unit.drafts] for unit in reading.units]
    assert kinds == [["prompt"], ["prompt"], ["prompt"], ["tool_result"], ["response", "tool_call"], ["prompt"]]
    drafts = drafts_of(reading)
    assert {draft.metadata["exchange_id"] for draft in drafts} == {f"{TRACE}:{SPAN}"}
    assert drafts[0].content == {"messages": [{"role": "system", "content": "You are terse."}]}
    assert (drafts[3].metadata["call_id"], drafts[3].content) == ("call_1", {"result": "14 C"})
    assert drafts[4].metadata["stop_reason"] == "tool_call"
    assert drafts[5].content["arguments_text"] == ARGUMENTS
    assert drafts[6].metadata["content_state"] == "not_captured"
    assert_nothing_lost(request, reading)


def test_the_exception_event_is_a_failed_response() -> None:
    attributes = {"gen_ai.provider.name": "openai", "exception.type": "TimeoutError", "exception.message": "10 s"}
    reading = read(log_request([log("gen_ai.client.operation.exception", attributes)]), "logs", "json")
    (response,) = by_kind(reading, "response")
    assert (response.metadata["outcome"], response.metadata["error_type"]) == ("error", "TimeoutError")
    assert response.metadata["error_message"] == "10 s"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_span_of_envoy_as_it_was_recorded(samples: Path, encoding: Any) -> None:
    recorded = json.loads((samples / "envoy-openinference" / "chat-tools.json").read_text())
    recorded |= {"traceId": TRACE, "spanId": SPAN}
    reading = read(span_request([recorded]), "traces", encoding)
    prompt, response, call = drafts_of(reading)
    assert prompt.content["messages"][0]["content"] == "What is the weather like in Boston today?"
    assert call.content["arguments"] == {"location": "Boston, MA", "unit": "fahrenheit"}
    assert (response.metadata["reasoning_tokens"], response.metadata["outcome"]) == (256, "ok")
    assert_nothing_lost(span_request([recorded]), reading)
