"""LiteLLM's records: what becomes of each field, that none is lost, and that nothing can make the format fail."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.litellm import LiteLLMFormat

NOW = 1_787_305_200_125_000

RECORD: dict[str, Any] = {
    "id": "chatcmpl-9d2f",
    "litellm_call_id": "0b0f7d0e",
    "trace_id": "3f0c6a52",
    "session_id": "sess-42",
    "call_type": "acompletion",
    "stream": True,
    "status": "success",
    "status_fields": {"llm_api_status": "success", "guardrail_status": "success"},
    "custom_llm_provider": "anthropic",
    "model": "anthropic/claude-sonnet-5",
    "model_group": "sonnet",
    "model_id": "dep-7f",
    "api_base": "https://api.anthropic.com/v1/messages",
    "startTime": 1787305200.125,
    "endTime": 1787305203.904,
    "completionStartTime": 1787305200.871,
    "response_time": 0.746,
    "prompt_tokens": 700,
    "completion_tokens": 120,
    "total_tokens": 820,
    "response_cost": 0.00391,
    "cost_breakdown": {"input_cost": 0.0021, "output_cost": 0.0018, "total_cost": 0.00391},
    "saved_cache_cost": 0.5,
    "cost_finalized": True,
    "cache_hit": False,
    "cache_key": "k-1",
    "request_tags": ["prod", "emea"],
    "request_model_access_groups": ["beta"],
    "end_user": "cust-9",
    "requester_ip_address": "192.0.2.4",
    "user_agent": "openai-python/2.1",
    "model_map_information": {"model_map_key": "claude-sonnet-5", "model_map_value": {"max_tokens": 8192}},
    "metadata": {
        "user_api_key_hash": "88dc28d0",
        "user_api_key_alias": "ci-bot",
        "user_api_key_user_id": "u-17",
        "user_api_key_user_email": "dana@example.com",
        "user_api_key_team_id": "t-3",
        "user_api_key_team_alias": "payments",
        "user_api_key_org_id": "o-1",
        "user_api_key_org_alias": "example",
        "user_api_key_project_id": "p-1",
        "user_api_key_end_user_id": "cust-9",
        "user_api_key_request_route": "/v1/chat/completions",
        "user_api_key_spend": 1.25,
        "requester_ip_address": "192.0.2.4",
        "user_agent": "openai-python/2.1",
        "requester_metadata": {"ticket": "INC-7"},
        "requester_custom_headers": {"x-request-source": "cron"},
        "vector_store_request_metadata": [
            {
                "vector_store_id": "vs-1",
                "query": "capital of France",
                "start_time": 1787305200.2,
                "end_time": 1787305200.3,
                "vector_store_search_response": {
                    "object": "page",
                    "data": [
                        {"score": 0.9, "file_id": "f-1", "filename": "fr.md", "content": [{"text": "Paris"}]},
                        {"score": 0.8, "file_id": "f-2", "content": [{"text": "Lyon"}]},
                    ],
                },
            }
        ],
        "applied_guardrails": ["pii-mask"],
        "usage_object": {
            "prompt_tokens": 700,
            "completion_tokens": 120,
            "total_tokens": 820,
            "prompt_tokens_details": {"cached_tokens": 100, "cache_creation_tokens": 50},
            "completion_tokens_details": {"reasoning_tokens": 16},
            "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
        },
    },
    "messages": [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Weather in Paris?"},
        {"role": "assistant", "tool_calls": [{"id": "call_0", "function": {"name": "locate", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_0", "name": "locate", "content": "Paris, FR"},
    ],
    "response": {
        "id": "chatcmpl-9d2f",
        "object": "chat.completion",
        "model": "claude-sonnet-5-20260501",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "Let me look.",
                    "tool_calls": [
                        {
                            "id": "toolu_01A",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                        }
                    ],
                },
            }
        ],
        "usage": {"prompt_tokens": 700, "completion_tokens": 120, "total_tokens": 820},
    },
    "model_parameters": {"max_tokens": 512, "tools": [{"type": "function", "function": {"name": "get_weather"}}]},
    "hidden_params": {
        "model_id": "dep-7f",
        "api_base": "https://api.anthropic.com",
        "response_cost": 0.00391,
        "litellm_overhead_time_ms": 3.2,
        "additional_headers": {
            "llm_provider-request-id": "req_011C",
            "llm_provider-x-amzn-requestid": "amzn-1",
            "x-litellm-attempted-retries": 1,
            "llm_provider-anthropic-ratelimit": "99",
        },
        "litellm_model_name": "anthropic/claude-sonnet-5",
    },
    "guardrail_information": [
        {
            "guardrail_name": "pii-mask",
            "guardrail_provider": "presidio",
            "guardrail_mode": "pre_call",
            "guardrail_status": "success",
            "start_time": 1787305200.13,
            "end_time": 1787305200.16,
            "duration": 0.03,
            "masked_entity_count": {"EMAIL_ADDRESS": 1},
        }
    ],
    "error_str": None,
    "error_information": {"error_code": "", "error_class": "", "llm_provider": "", "traceback": ""},
    "standard_built_in_tools_params": {"web_search_options": {"size": "low"}, "file_search": None},
    "a_field_of_next_year": {"nested": ["value"]},
}


DERIVED = ("/status", "/status_fields/llm_api_status", "/hidden_params/additional_headers/x-litellm-attempted-retries")
"""Kept in another form: the outcome is ``ok`` or ``error``, the attempt counts from 1."""


def received() -> Received:
    return Received("acme", "litellm", "t-1", "http", "192.0.2.1", "application/json", "", NOW, "litellm", "ab" * 32)


def read(*records: object) -> Reading:
    return LiteLLMFormat().read(json.dumps(list(records)).encode(), received())


def unit_of(record: object) -> Unit:
    (unit,) = read(record).units
    assert unit.error == ""
    return unit


def drafts_of(record: object) -> dict[str, Draft]:
    """The first draft of each kind."""
    found: dict[str, Draft] = {}
    for draft in unit_of(record).drafts:
        found.setdefault(draft.kind, draft)
    return found


def changed(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(RECORD) | fields


def test_an_exchange_becomes_its_events_in_causal_order() -> None:
    kinds = [draft.kind for draft in unit_of(RECORD).drafts]
    assert kinds == ["prompt", "tool_result", "context", "context", "guardrail", "response", "tool_call"]


def test_no_leaf_of_a_record_is_lost() -> None:
    record = distinct(RECORD, keep=DERIVED)
    assert_kept(record, unit_of(record).drafts, dropped=DERIVED)


def test_no_leaf_is_lost_when_a_field_is_of_another_type_than_ever_before() -> None:
    for name in RECORD:
        for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242):
            record = changed(**{name: strange})
            assert_kept(record, unit_of(record).drafts, dropped=[at for at in DERIVED if not at.endswith(name)])


def test_no_leaf_of_a_real_record_is_lost(samples: Path) -> None:
    body = (samples / "litellm" / "standard_logging_payload.json").read_bytes()
    (unit,) = LiteLLMFormat().read(body, received()).units
    assert unit.source == body.strip()
    assert_kept(json.loads(body), unit.drafts, dropped=DERIVED)
    assert unit.drafts[0].metadata["occurred_at"] == 1737710446847371


def test_who_called_is_vouched_for_by_the_proxy() -> None:
    for draft in unit_of(RECORD).drafts:
        assert draft.metadata["user_id"] == "u-17"
        assert draft.metadata["user_email"] == "dana@example.com"
        assert draft.metadata["end_user_id"] == "cust-9"
        assert draft.metadata["assurance"] == "gateway_authenticated"
    anonymous = drafts_of(changed(metadata={}))["prompt"].metadata
    assert (anonymous["end_user_id"], anonymous["assurance"]) == ("cust-9", "client_asserted")


def test_ids_keep_their_roles_apart() -> None:
    metadata = drafts_of(RECORD)["response"].metadata
    assert metadata["request_id_gateway"] == metadata["exchange_id"] == "0b0f7d0e"
    assert metadata["request_id_response"] == "chatcmpl-9d2f"
    assert metadata["request_id_provider"] == "req_011C"
    assert metadata["request_id_cloud"] == "amzn-1"
    assert (metadata["session_id"], metadata["trace_id"], metadata["attempt"]) == ("sess-42", "3f0c6a52", 2)


def test_the_model_is_told_as_asked_routed_and_served() -> None:
    metadata = drafts_of(RECORD)["response"].metadata
    assert metadata["model_requested"] == "sonnet"
    assert metadata["model_routed"] == "anthropic/claude-sonnet-5"
    assert metadata["model_served"] == "claude-sonnet-5-20260501"
    assert (metadata["provider"], metadata["model_path"]) == ("anthropic", "direct")
    alias = changed(response={"model": "sonnet", "choices": []}, custom_llm_provider=None, cache_hit=True)
    metadata = drafts_of(alias)["response"].metadata
    assert metadata["model_served"] == "claude-sonnet-5"
    assert (metadata["provider"], metadata["model_path"]) == ("anthropic", "gateway")


def test_input_tokens_include_cached_ones() -> None:
    metadata = drafts_of(RECORD)["response"].metadata
    assert metadata["input_tokens"] == 700
    assert metadata["cache_read_tokens"] == 100
    assert metadata["cache_write_tokens"] == 50
    assert metadata["input_uncached_tokens"] == 550
    assert (metadata["cache_write_5m_tokens"], metadata["cache_write_1h_tokens"]) == (30, 20)
    assert (metadata["output_tokens"], metadata["reasoning_tokens"]) == (120, 16)
    assert metadata["usage_semantics"] == "total"
    assert json.loads(metadata["usage_raw"]) == RECORD["metadata"]["usage_object"]
    assert (metadata["cost_amount"], metadata["cost_currency"]) == (0.00391, "USD")
    assert "input_tokens" not in drafts_of(RECORD)["prompt"].metadata


def test_more_cached_than_counted_is_called_unknown() -> None:
    record = changed(prompt_tokens=20)
    assert drafts_of(record)["response"].metadata["usage_semantics"] == "unknown"


def test_times_of_a_stream() -> None:
    metadata = drafts_of(RECORD)["response"].metadata
    assert metadata["started_at"] == 1787305200125000
    assert metadata["occurred_at"] == metadata["ended_at"] == 1787305203904000
    assert metadata["latency_ms"] == pytest.approx(3779)
    assert metadata["time_to_first_token_ms"] == pytest.approx(746)
    assert metadata["gateway_ms"] == 3.2
    whole = drafts_of(changed(stream=None))["response"].metadata
    assert "time_to_first_token_ms" not in whole
    assert drafts_of(RECORD)["prompt"].metadata["occurred_at"] == 1787305200125000


def test_times_may_be_text() -> None:
    record = changed(startTime="2025-01-24 09:20:46.847371", endTime="2025-01-24 09:20:46.851954")
    metadata = drafts_of(record)["response"].metadata
    assert (metadata["started_at"], metadata["latency_ms"]) == (1737710446847371, 4.583)


def test_a_tool_call_keeps_the_exact_text_of_its_arguments() -> None:
    call = drafts_of(RECORD)["tool_call"]
    assert call.content == {"arguments": {"city": "Paris"}, "arguments_text": '{"city": "Paris"}'}
    assert (call.metadata["call_id"], call.metadata["tool_name"]) == ("toolu_01A", "get_weather")
    assert call.pointer == "/response/choices/0/message/tool_calls/0"


def test_only_results_that_are_new_in_this_turn_are_events() -> None:
    result = drafts_of(RECORD)["tool_result"]
    assert (result.metadata["call_id"], result.content) == ("call_0", {"result": "Paris, FR"})
    messages = [*RECORD["messages"], {"role": "assistant", "content": "Sunny."}, {"role": "user", "content": "Thanks"}]
    assert "tool_result" not in drafts_of(changed(messages=messages))


ANTHROPIC = {
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "stop_reason": "tool_use",
    "content": [
        {"type": "text", "text": "One moment."},
        {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {"city": "Paris"}},
        {"type": "mcp_tool_use", "id": "mcp_1", "name": "search", "server_name": "wiki", "input": {"q": "Paris"}},
        {"type": "mcp_tool_result", "tool_use_id": "mcp_1", "is_error": True, "content": "no such page"},
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "Paris"}},
        {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
    ],
}


def test_anthropic_bodies_are_read_as_well() -> None:
    asked = [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "x"}]}
    ]
    record = changed(call_type="anthropic_messages", response=ANTHROPIC, messages=asked)
    drafts = unit_of(record).drafts
    calls = [draft for draft in drafts if draft.kind == "tool_call"]
    assert [(call.metadata["call_id"], call.metadata["tool_kind"], call.metadata["tool_server"]) for call in calls] == [
        ("toolu_2", "function", ""),
        ("mcp_1", "mcp", "wiki"),
        ("srv_1", "server", ""),
    ]
    results = [
        (draft.metadata["call_id"], draft.metadata["tool_is_error"]) for draft in drafts if draft.kind == "tool_result"
    ]
    assert results == [("t", True), ("mcp_1", True), ("srv_1", None)]
    metadata = drafts_of(record)["response"].metadata
    assert (metadata["stop_reason"], metadata["stop_reason_raw"]) == ("tool_call", "tool_use")
    assert metadata["operation"] == "chat"


@pytest.mark.parametrize("name", ["openai/chat-response-tool_call", "openai/responses-tool", "anthropic/response-tool"])
def test_tool_calls_in_real_responses_are_found(samples: Path, name: str) -> None:
    body = json.loads((samples / f"{name}.json").read_bytes())
    record = changed(response=body)
    assert_kept(record, unit_of(record).drafts, dropped=DERIVED)
    calls = [draft for draft in unit_of(record).drafts if draft.kind == "tool_call"]
    assert {call.metadata["tool_name"] for call in calls} >= {"get_weather"}
    assert all(call.metadata["call_id"] for call in calls)
    assert drafts_of(record)["response"].metadata["stop_reason"] == "tool_call"


def test_results_in_a_real_request_are_found(samples: Path) -> None:
    messages = json.loads((samples / "openai" / "chat-request-multi-turn-tools.json").read_bytes())["messages"]
    result = drafts_of(changed(messages=messages))["tool_result"]
    assert (result.metadata["call_id"], result.content) == ("call_2", {"result": '{"temp":9}'})


def test_a_failure_keeps_the_request_and_tells_the_error() -> None:
    record = changed(
        status="failure",
        response={},
        error_str="litellm.RateLimitError: slow down",
        error_information={
            "error_code": "429",
            "error_class": "RateLimitError",
            "llm_provider": "anthropic",
            "error_message": "litellm.RateLimitError: slow down",
            "error_provider_request_id": "req_9",
            "traceback": "File …",
        },
        prompt_tokens=0,
        completion_tokens=0,
        total_tokens=0,
        hidden_params={},
    )
    drafts = drafts_of(record)
    assert drafts["prompt"].content["messages"] == RECORD["messages"]
    metadata = drafts["response"].metadata
    assert drafts["response"].content is None
    assert (metadata["outcome"], metadata["http_status"], metadata["error_stage"]) == ("error", 429, "provider")
    assert metadata["error_type"] == "RateLimitError"
    assert metadata["request_id_provider"] == "req_9"
    assert "input_tokens" not in metadata, "zeros of a failure are nobody's count"
    assert_kept(record, unit_of(record).drafts, dropped=DERIVED)


def test_a_prompt_that_a_guardrail_stopped_is_blocked() -> None:
    verdict = {"guardrail_name": "dlp", "guardrail_status": "guardrail_intervened", "violation_categories": ["bank"]}
    record = changed(
        status="failure",
        status_fields={"llm_api_status": "failure", "guardrail_status": "guardrail_intervened"},
        guardrail_information=[verdict],
        response={},
    )
    drafts = drafts_of(record)
    assert drafts["guardrail"].metadata["outcome"] == "blocked"
    assert drafts["guardrail"].metadata["dlp_rules"] == ["bank"]
    assert drafts["response"].metadata["outcome"] == "blocked"
    assert drafts["response"].metadata["error_stage"] == "guardrail"


def test_a_guardrail_says_what_it_masked() -> None:
    metadata = drafts_of(RECORD)["guardrail"].metadata
    assert (metadata["guardrail_name"], metadata["guardrail_provider"]) == ("pii-mask", "presidio")
    assert (metadata["data_categories"], metadata["dlp_verdict"]) == (["EMAIL_ADDRESS"], "masked")
    assert metadata["latency_ms"] == pytest.approx(30)


def test_retrieved_documents_are_context() -> None:
    first, second = (draft for draft in unit_of(RECORD).drafts if draft.kind == "context")
    assert (first.metadata["document_source"], first.metadata["document_id"]) == ("vs-1", "f-1")
    assert (first.metadata["document_label"], second.metadata["document_id"]) == ("fr.md", "f-2")
    assert first.content["query"] == "capital of France"
    assert second.content == {"document": {"score": 0.8, "file_id": "f-2", "content": [{"text": "Lyon"}]}}
    assert second.pointer == "/metadata/vector_store_request_metadata/0/vector_store_search_response/data/1"
    search = {"vector_store_id": "vs-1", "query": "nothing", "vector_store_search_response": {"data": []}}
    context = drafts_of(changed(metadata={"vector_store_request_metadata": [search]}))["context"]
    assert context.content == search


def test_an_mcp_call_is_a_call_and_its_result() -> None:
    mcp = {
        "name": "search",
        "namespaced_tool_name": "wiki/search",
        "arguments": {"q": "Paris"},
        "result": {"isError": True, "content": [{"type": "text", "text": "not found"}]},
        "mcp_server_name": "wiki",
        "mcp_session_id": "m-1",
        "mcp_auth_mode": "oauth",
    }
    record = changed(call_type="call_mcp_tool", messages=None, response=None, metadata={"mcp_tool_call_metadata": mcp})
    drafts = unit_of(record).drafts
    assert [draft.kind for draft in drafts] == ["tool_call", "guardrail", "tool_result"]
    assert drafts[0].content == {"arguments": {"q": "Paris"}}
    assert drafts[0].metadata["call_id"] == drafts[2].metadata["call_id"] == "0b0f7d0e"
    assert (drafts[0].metadata["tool_server"], drafts[0].metadata["tool_kind"]) == ("wiki", "mcp")
    assert drafts[2].metadata["tool_is_error"] is True
    assert_kept(record, drafts, dropped=DERIVED)


def test_what_litellm_cut_is_stated_with_its_place() -> None:
    messages = [
        {"role": "user", "content": "redacted-by-litellm"},
        {"role": "user", "content": [{"image_url": {"url": "data:image/png;base64,[base64_data truncated: 1.5KB]"}}]},
    ]
    metadata = drafts_of(changed(messages=messages))["prompt"].metadata
    gaps = json.loads(metadata["content_gaps"])
    assert [(gap["pointer"], gap["state"]) for gap in gaps] == [
        ("/content/messages/0/content", "redacted"),
        ("/content/messages/1/content/0/image_url/url", "truncated"),
    ]
    assert gaps[1]["original_size"] == 1536
    assert metadata["content_state"] == "redacted"
    assert drafts_of(RECORD)["prompt"].metadata["content_state"] == "full"


def test_the_key_of_a_record_tells_retries_and_cache_hits_apart() -> None:
    keys = {
        unit_of(record).source_id
        for record in (RECORD, changed(status="failure"), changed(startTime=1.5), changed(id="x_cache_hit1787305"))
    }
    assert len(keys) == 4
    assert unit_of(RECORD).source_id == unit_of(changed(response={})).source_id
    assert unit_of(changed(id=None)).source_id == ""


def test_a_change_of_a_key_is_an_admin_event() -> None:
    record = {
        "id": "audit-1",
        "updated_at": "2026-08-21T09:00:00.125Z",
        "changed_by": "dana@example.com",
        "changed_by_api_key": "88dc",
        "action": "rotated",
        "table_name": "LiteLLM_VerificationToken",
        "object_id": "tok-1",
        "before_value": '{"a": 1}',
        "updated_values": '{"a": 2}',
        "litellm_changed_by": "someone",
    }
    (draft,) = unit_of(record).drafts
    assert (draft.kind, draft.metadata["operation"], draft.metadata["user_id"]) == (
        "admin",
        "rotated",
        "dana@example.com",
    )
    assert draft.metadata["occurred_at"] == 1787302800125000
    assert_kept(record, [draft])


def test_the_old_form_is_kept_as_the_text_it_is() -> None:
    record = {
        "id": "c-1",
        "call_type": "completion",
        "cache_hit": "None",
        "startTime": "2026-08-21 09:00:00.125000",
        "endTime": "2026-08-21 09:00:01",
        "model": "gpt-4o",
        "user": "cust-9",
        "modelParameters": "{'stream': True}",
        "messages": "[{'role': 'user'}]",
        "response": "ModelResponse(id='c-1')",
        "usage": "Usage(total_tokens=30)",
        "metadata": "{}",
        "cost": "0.1",
    }
    prompt, response = unit_of(record).drafts
    assert (prompt.kind, response.kind) == ("prompt", "response")
    assert response.content == {"response": "ModelResponse(id='c-1')"}
    assert prompt.metadata["format_version"] == "v1"
    assert_kept(record, [prompt, response])


@pytest.mark.parametrize("framing", ["array", "lines", "single"])
def test_the_three_framings_say_the_same(framing: str) -> None:
    records = [RECORD, changed(id="two")]
    if framing == "array":
        body = json.dumps(records).encode()
    elif framing == "lines":
        body = "\n".join(json.dumps(record) for record in records).encode()
    else:
        body = json.dumps(records[0]).encode()
    units = LiteLLMFormat().read(body, received()).units
    assert [json.loads(unit.source) for unit in units] == (records if framing != "single" else records[:1])
    assert not any(unit.error for unit in units)


@pytest.mark.parametrize(
    ("record", "says"),
    [(None, "got null"), (5, "expected an object"), ({"a": 1}, "got an object with a,"), ({}, "no fields")],
)
def test_what_is_no_record_says_why(record: object, says: str) -> None:
    (unit,) = read(record).units
    assert says in unit.error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({*RECORD, *RECORD["metadata"], "action", "table_name", "object_id", "modelParameters"})


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.sampled_from([RECORD["metadata"], RECORD["messages"]])))
def test_no_record_makes_the_format_fail_or_lose_its_bytes(record: dict[str, Any]) -> None:
    body = json.dumps(record).encode()
    (unit,) = LiteLLMFormat().read(body, received()).units
    assert unit.source == body
    assert unit.error or unit.drafts


@given(st.binary())
def test_no_bytes_make_the_format_fail(body: bytes) -> None:
    for unit in LiteLLMFormat().read(body, received()).units:
        assert unit.source in body
        assert unit.error or unit.drafts
