"""Portkey's logs: objects of log store and insert API as documented, checks as the real gateway posts them."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest
from collector_server import collector_server
from kept_leaves import assert_kept, distinct

from collector.gateways import Draft, Received, Unit
from collector.gateways.portkey import PortkeyFormat

NOW = 1_787_305_200_125_000
MASKED = "ab********xyz"

RECORD: dict[str, Any] = {
    "_id": "046b73bd-87da-4c0f-b716-2906d5f3f0aa",
    "request": {
        "url": "https://api.openai.com/v1/chat/completions",
        "method": "POST",
        "headers": {"content-type": "application/json", "user-agent": "node"},
        "body": {"model": "gpt-5", "messages": [{"role": "user", "content": "Hello!"}]},
        "portkeyHeaders": {
            "x-portkey-api-key": MASKED,
            "x-portkey-trace-id": "8ecf39a3",
            "x-portkey-span-id": "sp-1",
            "x-portkey-parent-span-id": "sp-0",
            "x-portkey-provider": "openai",
            "x-portkey-metadata": '{"_user": "dana", "_environment": "prod"}',
            "x-portkey-config": '{"provider": "openai", "api_key": "sk-******abc", "retry": {"attempts": 2}}',
        },
    },
    "response": {
        "status": 200,
        "headers": {
            "content-type": "application/json",
            "x-request-id": "req_03a3",
            "x-portkey-retry-attempt-count": "1",
            "x-portkey-cache-status": "MISS",
        },
        "body": {
            "id": "chatcmpl-9R",
            "object": "chat.completion",
            "created": 1787305200,
            "model": "gpt-5-2026-05-01",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
        },
        "responseTime": 517,
        "lastUsedOptionJsonPath": "config.targets[0]",
    },
    "organisation_id": "56916995",
    "created_at": "2026-08-21T09:00:00.404Z",
    "a_field_of_next_year": {"nested": ["value"]},
}

DERIVED = (
    "/response/headers/x-portkey-retry-attempt-count",
    "/request/portkeyHeaders/x-portkey-metadata",
    "/request/portkeyHeaders/x-portkey-api-key",
)
"""Kept in another form."""


def received() -> Received:
    return Received("acme", "portkey", "t-1", "http", "192.0.2.1", "application/json", "", NOW, "portkey", "ab" * 32)


def unit_of(record: object) -> Unit:
    (unit,) = PortkeyFormat().read(json.dumps(record).encode(), received()).units
    assert unit.error == ""
    return unit


def drafts_of(record: object) -> dict[str, Draft]:
    """The first draft of each kind."""
    return {draft.kind: draft for draft in reversed(unit_of(record).drafts)}


def test_an_object_of_the_log_store() -> None:
    drafts = drafts_of(RECORD)
    assert [draft.kind for draft in unit_of(RECORD).drafts] == ["prompt", "response"]
    assert drafts["prompt"].content == RECORD["request"]["body"]
    assert drafts["response"].content == RECORD["response"]["body"]
    assert drafts["response"].pointer == "/response/body"
    metadata = drafts["response"].metadata
    assert (metadata["end_user_id"], metadata["api_key_alias"]) == ("dana", MASKED)
    assert metadata["assurance"] == "gateway_authenticated"
    assert (metadata["trace_id"], metadata["span_id"], metadata["parent_span_id"]) == ("8ecf39a3", "sp-1", "sp-0")
    assert (metadata["request_id_provider"], metadata["attempt"]) == ("req_03a3", 2)
    assert (metadata["latency_ms"], metadata["http_status"], metadata["outcome"]) == (517, 200, "ok")
    assert (metadata["input_tokens"], metadata["provider"]) == (9, "openai")
    assert metadata["occurred_at"] == 1787302800404000


def test_no_leaf_is_lost() -> None:
    record = distinct(RECORD, keep=DERIVED)
    assert_kept(record, unit_of(record).drafts, dropped=DERIVED)
    for side in ("response", "organisation_id", "created_at", "_id", "a_field_of_next_year"):
        for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242):
            record = copy.deepcopy(RECORD) | {side: strange}
            assert_kept(record, unit_of(record).drafts, dropped=DERIVED)


def test_an_object_of_the_insert_api() -> None:
    record = {
        "request": {
            "url": "https://x.example/v1/messages",
            "provider": "anthropic",
            "method": "POST",
            "body": {"a": "b"},
        },
        "response": {"status": 529, "body": {"error": {"type": "overloaded_error", "message": "later"}}, "time": 12},
        "metadata": {"traceId": "t-1", "spanId": "s-1", "parentSpanId": "s-0", "spanName": "call", "user": "dana"},
    }
    unit = unit_of(record)
    assert unit.source_id == '["t-1","s-1"]'
    assert_kept(record, unit.drafts)
    metadata = drafts_of(record)["response"].metadata
    assert (metadata["outcome"], metadata["error_type"], metadata["latency_ms"]) == ("error", "overloaded_error", 12)
    assert (metadata["trace_id"], metadata["operation"], metadata["provider"]) == ("t-1", "chat", "anthropic")
    assert (metadata["end_user_id"], metadata["assurance"]) == ("dana", "client_asserted")


def test_a_streamed_body_is_put_together() -> None:
    text = (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
        '"role":"assistant","model":"claude","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
        '{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        '{"type":"text_delta","text":"hi"}}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
        '"usage":{"output_tokens":5}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    record = copy.deepcopy(RECORD)
    record["response"]["body"] = text
    response = drafts_of(record)["response"]
    assert response.content["content"] == [{"type": "text", "text": "hi"}]
    assert (response.metadata["content_state"], response.metadata["output_tokens"]) == ("reconstructed", 5)
    assert (response.metadata["usage_semantics"], response.metadata["stop_reason"]) == ("uncached", "stop")


def test_a_cached_answer_came_from_the_gateway() -> None:
    record = copy.deepcopy(RECORD)
    record["response"]["headers"]["x-portkey-cache-status"] = "SEMANTIC HIT"
    assert drafts_of(record)["response"].metadata["model_path"] == "gateway"


def test_verdicts_of_guardrails() -> None:
    record = copy.deepcopy(RECORD)
    failed = {"id": "default.regexMatch", "verdict": False, "data": {"explanation": "no match"}}
    hook = {"id": "hg-1", "verdict": False, "deny": True, "execution_time": 4, "checks": [failed]}
    record["response"] |= {"status": 446, "body": {"hook_results": {"before_request_hooks": [hook]}}}
    drafts = drafts_of(record)
    verdict = drafts["guardrail"].metadata
    assert (verdict["guardrail_name"], verdict["outcome"], verdict["guardrail_mode"]) == ("hg-1", "blocked", "input")
    assert verdict["dlp_rules"] == ["default.regexMatch"]
    assert (drafts["response"].metadata["outcome"], drafts["response"].metadata["error_stage"]) == (
        "blocked",
        "guardrail",
    )


CHECK: dict[str, Any] = {
    "request": {
        "json": {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}]},
        "text": "hi",
        "isStreamingRequest": False,
        "isTransformed": False,
        "headers": {"user-agent": "python-httpx/0.28.1", "x-portkey-trace-id": "tr-1", "host": "gw"},
    },
    "response": {"json": RECORD["response"]["body"], "text": "Hello!", "statusCode": 200, "isTransformed": False},
    "provider": "openai",
    "requestType": "chatComplete",
    "metadata": {"_user": "dana", "team": "x"},
}


def test_what_the_check_of_the_gateway_posts() -> None:
    unit = unit_of(CHECK)
    assert unit.source_id == "", "it has no id: the bytes stand in"
    assert_kept(CHECK, unit.drafts, dropped=["/request/isStreamingRequest"])
    prompt, response = unit.drafts
    assert (prompt.content, response.content) == (CHECK["request"]["json"], CHECK["response"]["json"])
    assert (prompt.metadata["trace_id"], prompt.metadata["end_user_id"]) == ("tr-1", "dana")
    assert (response.metadata["http_status"], response.metadata["operation"]) == (200, "chat")
    assert "hi" not in prompt.metadata["extras"].values()


def test_before_the_call_there_is_only_a_prompt() -> None:
    before = CHECK | {"response": {"json": {}, "text": "", "statusCode": None, "isTransformed": False}}
    assert [draft.kind for draft in unit_of(before).drafts] == ["prompt"]


def test_a_streamed_answer_that_the_check_did_not_see_is_a_gap() -> None:
    record = copy.deepcopy(CHECK) | {"response": {"json": None, "text": "", "statusCode": 200}}
    record["request"]["isStreamingRequest"] = True
    response = drafts_of(record)["response"]
    assert (response.content, response.metadata["content_state"]) == (None, "not_captured")
    assert response.metadata["stream"] is True


def test_secrets_do_not_reach_the_derived_view() -> None:
    record = copy.deepcopy(RECORD)
    secrets = ["s3cr3t-cookie-value", "sk-s3cr3t0123456789abcdef", "s3cr3t-provider", "s3cr3tkeyinurl"]
    record["response"]["headers"]["set-cookie"] = f"__cf={secrets[0]}"
    record["request"]["portkeyHeaders"]["x-portkey-config"] = json.dumps({"api_key": secrets[1]})
    record["request"]["headers"]["authorization"] = f"Bearer {secrets[2]}"
    record["request"]["url"] = f"https://generativelanguage.example/v1beta/x:generateContent?key={secrets[3]}"
    with collector_server("portkey") as collector:
        answer = httpx.post(f"{collector.url}/v1/portkey/logs", json=[record, record], headers=collector.headers)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
        events = collector.opened()
    text = json.dumps([[event.metadata, event.content] for event in events])
    assert not [secret for secret in secrets if secret in text]
    assert len({event.metadata["event_id"] for event in events}) == len(events) // 2, "sent again, it is a repeat"


@pytest.mark.parametrize("body", [b"[1]", b'{"request": 1}', b'{"hello": {}}', b"\xff", b"{"])
def test_what_is_no_log_is_recorded_and_refused(body: bytes) -> None:
    with collector_server("portkey") as collector:
        assert httpx.post(f"{collector.url}/v1/portkey", content=body, headers=collector.headers).status_code == 400
        (event,) = collector.opened()
        assert event.metadata["kind"] == "unparsed"
