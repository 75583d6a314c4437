"""Kong's log records: what becomes of each field, under every name that its plugins and versions use. Documented
payloads; a Kong itself was not at hand."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest
from collector_server import collector_server
from kept_leaves import assert_kept, distinct

from collector.gateways import Draft, Received, Unit
from collector.gateways.kong import KongFormat

NOW = 1_787_305_200_125_000

ASKED = {"model": "gpt-5", "messages": [{"role": "user", "content": "Weather in Paris?"}]}
ANSWERED = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5-2026-05-01",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                    }
                ],
            },
        }
    ],
}

RECORD: dict[str, Any] = {
    "request": {
        "id": "9f2c1d5e7a8b",
        "uri": "/chat?tier=gold",
        "url": "https://gw.example:8443/chat?tier=gold",
        "method": "POST",
        "headers": {"host": "gw.example", "authorization": "REDACTED", "user-agent": "curl/8", "x-team": ["a", "b"]},
        "querystring": {"tier": "gold"},
        "size": 512,
        "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "client_verify": "NONE"},
    },
    "response": {
        "status": 200,
        "headers": {"content-type": "application/json", "x-kong-llm-model": "openai/gpt-5", "x-request-id": "req_1"},
        "size": 1210,
    },
    "upstream_uri": "/v1/chat/completions",
    "upstream_status": "200",
    "latencies": {"kong": 4, "proxy": 1690, "request": 1702, "receive": 8},
    "tries": [{"ip": "203.0.113.9", "port": 443, "balancer_latency": 1}],
    "client_ip": "10.0.0.9",
    "started_at": 1787305200125,
    "consumer": {"id": "c0ffee00", "username": "payments", "custom_id": "u-17", "tags": ["x"]},
    "authenticated_entity": {"id": "k-1", "consumer_id": "c0ffee00"},
    "route": {"id": "r-1", "name": "chat"},
    "service": {"id": "s-1", "name": "llm"},
    "workspace": "w-1",
    "workspace_name": "default",
    "source": "upstream",
    "ai": {
        "proxy": {
            "meta": {
                "plugin_id": "6e7c40f6",
                "provider_name": "openai",
                "request_model": "gpt-5",
                "response_model": "gpt-5-2026-05-01",
                "llm_latency": 1688,
                "request_mode": "oneshot",
            },
            "usage": {
                "prompt_tokens": 25,
                "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
                "completion_tokens": 12,
                "completion_tokens_details": {"reasoning_tokens": 3},
                "total_tokens": 37,
                "time_per_token": 140.7,
                "time_to_first_token": 631.5,
                "cost": 0.00037,
            },
            "payload": {"request": json.dumps(ASKED), "response": json.dumps(ANSWERED)},
            "cache": {"cache_status": "Miss", "fetch_latency": 12, "embeddings_model": "text-embedding-3-small"},
        }
    },
    "a_field_of_next_year": {"nested": ["value"]},
}

DERIVED = ("/request/headers/authorization", "/ai/proxy/meta/request_mode", "/started_at")
"""Kept in another form: scrubbed, as the flag of a stream, in microseconds."""


def received() -> Received:
    return Received("acme", "kong", "t-1", "http", "192.0.2.1", "application/json", "", NOW, "kong", "ab" * 32)


def unit_of(record: object) -> Unit:
    (unit,) = KongFormat().read(json.dumps(record).encode(), received()).units
    assert unit.error == ""
    return unit


def kinds(record: object) -> list[str]:
    return [draft.kind for draft in unit_of(record).drafts]


def drafts_of(record: object) -> dict[str, Draft]:
    """The first draft of each kind."""
    found: dict[str, Draft] = {}
    for draft in unit_of(record).drafts:
        found.setdefault(draft.kind, draft)
    return found


def with_ai(**ai: Any) -> dict[str, Any]:
    return copy.deepcopy(RECORD) | {"ai": ai}


def test_a_model_call_becomes_its_events() -> None:
    assert kinds(RECORD) == ["prompt", "response", "tool_call"]
    drafts = drafts_of(RECORD)
    assert drafts["prompt"].content == ASKED
    assert drafts["response"].content == ANSWERED
    assert drafts["tool_call"].metadata["call_id"] == "call_1"
    assert drafts["tool_call"].pointer == "/ai/proxy/payload/response/choices/0/message/tool_calls/0"


def test_no_leaf_of_a_record_is_lost() -> None:
    record = distinct(RECORD, keep=DERIVED)
    assert_kept(record, unit_of(record).drafts, dropped=DERIVED)
    assert_kept(RECORD, unit_of(RECORD).drafts, dropped=[*DERIVED, "/ai/proxy/payload/request", *PAYLOADS])


PAYLOADS = ("/ai/proxy/payload/request", "/ai/proxy/payload/response")
"""Text in the record, its value in the event."""


def test_no_leaf_is_lost_when_a_field_is_of_another_type_than_ever_before() -> None:
    for name in RECORD:
        for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242):
            record = copy.deepcopy(RECORD) | {name: strange}
            assert_kept(record, unit_of(record).drafts, dropped=[*DERIVED, *PAYLOADS])


def test_who_called_is_vouched_for_by_kong() -> None:
    for draft in unit_of(RECORD).drafts:
        metadata = draft.metadata
        assert (metadata["user_id"], metadata["user_name"], metadata["api_key_id"]) == ("u-17", "payments", "k-1")
        assert metadata["assurance"] == "gateway_authenticated"
    nobody = copy.deepcopy(RECORD) | {"consumer": None, "authenticated_entity": None}
    assert drafts_of(nobody)["prompt"].metadata["assurance"] == "unknown"


def test_times_and_latencies() -> None:
    drafts = drafts_of(RECORD)
    metadata = drafts["response"].metadata
    assert metadata["started_at"] == 1787305200125000
    assert metadata["ended_at"] == metadata["occurred_at"] == 1787305201827000
    assert (metadata["latency_ms"], metadata["gateway_ms"], metadata["provider_ms"]) == (1702, 4, 1688)
    assert metadata["time_to_first_token_ms"] == 631.5
    assert drafts["prompt"].metadata["occurred_at"] == 1787305200125000
    refused = copy.deepcopy(RECORD) | {"latencies": {"kong": 4, "proxy": -1, "request": 5}}
    first = drafts_of(refused)["prompt"].metadata
    assert first["extras"]["latencies.proxy"] == "-1"


def test_usage_is_kongs_unless_the_body_has_the_providers_own() -> None:
    metadata = drafts_of(RECORD)["response"].metadata
    assert (metadata["input_tokens"], metadata["input_uncached_tokens"], metadata["cache_read_tokens"]) == (25, 20, 5)
    assert (metadata["output_tokens"], metadata["reasoning_tokens"], metadata["usage_semantics"]) == (12, 3, "total")
    assert (metadata["cost_amount"], metadata["cost_computed_by"]) == (0.00037, "kong")
    record = copy.deepcopy(RECORD)
    usage = {"input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 7}
    record["ai"]["proxy"]["payload"]["response"] = json.dumps({"type": "message", "content": [], "usage": usage})
    record["ai"]["proxy"]["meta"]["provider_name"] = "anthropic"
    metadata = drafts_of(record)["response"].metadata
    assert (metadata["input_tokens"], metadata["usage_semantics"]) == (120, "uncached")
    assert json.loads(metadata["usage_raw"])["prompt_tokens"] == 25
    record["ai"]["proxy"]["payload"]["response"] = "{}"
    assert drafts_of(record)["response"].metadata["usage_semantics"] == "unknown"


@pytest.mark.parametrize("name", ["proxy", "ai-proxy", "ai-proxy-advanced", "ai-request-transformer", "of-next-year"])
def test_any_name_below_ai_is_taken(name: str) -> None:
    record = with_ai(**{name: RECORD["ai"]["proxy"]})
    assert kinds(record) == ["prompt", "response", "tool_call"]
    assert drafts_of(record)["response"].pointer == f"/ai/{name}/payload/response"


def test_two_plugins_in_one_request_are_two_calls_of_one_exchange() -> None:
    record = with_ai(**{"ai-request-transformer": RECORD["ai"]["proxy"], "proxy": RECORD["ai"]["proxy"]})
    drafts = unit_of(record).drafts
    assert [draft.kind for draft in drafts] == ["prompt", "response", "tool_call"] * 2
    assert {draft.metadata["exchange_id"] for draft in drafts} == {"9f2c1d5e7a8b"}


def test_older_spellings() -> None:
    """Singular token names, and the request at the root of ``ai``."""
    old = {
        "usage": {"prompt_token": 28, "completion_token": 20, "total_tokens": 48},
        "meta": {"provider_name": "azure"},
    }
    record = with_ai(payload={"request": json.dumps(ASKED)}, **{"ai-proxy": old | {"payload": {"response": "hello"}}})
    drafts = drafts_of(record)
    assert drafts["prompt"].content == ASKED
    assert drafts["prompt"].pointer == "/ai/payload/request"
    assert drafts["response"].content == {"text": "hello"}
    assert (drafts["response"].metadata["input_tokens"], drafts["response"].metadata["output_tokens"]) == (28, 20)
    assert kinds(with_ai(payload={"request": json.dumps(ASKED)})) == ["prompt", "response"]


def test_payloads_that_kong_was_not_told_to_log_are_gaps() -> None:
    drafts = drafts_of(with_ai(proxy={"meta": {"provider_name": "openai"}, "usage": {"prompt_tokens": 1}}))
    for kind in ("prompt", "response"):
        assert drafts[kind].content is None
        assert drafts[kind].metadata["content_state"] == "not_captured"
        assert "log_payloads" in drafts[kind].metadata["content_gaps"]


def test_a_streamed_payload_is_put_together() -> None:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-5", "choices": []}
    deltas = [
        {"index": 0, "delta": {"role": "assistant", "content": "hel"}},
        {"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"},
    ]
    text = "".join(f"data: {json.dumps(chunk | {'choices': [delta]})}\n\n" for delta in deltas)
    payload = {"request": json.dumps(ASKED), "response": text + "data: [DONE]\n\n"}
    metadata, content = _response(payload)
    assert content["choices"][0]["message"]["content"] == "hello"
    assert (metadata["content_state"], metadata["stop_reason"], metadata["stream"]) == ("reconstructed", "stop", True)
    metadata, content = _response(payload | {"response": text.split("\n\n")[0]})
    assert content["choices"][0]["message"]["content"] == "hel"
    assert (metadata["content_state"], metadata["outcome"]) == ("truncated", "partial")


def _response(payload: dict[str, Any]) -> tuple[Any, Any]:
    draft = drafts_of(with_ai(proxy={"meta": {"provider_name": "openai"}, "payload": payload}))["response"]
    return draft.metadata, draft.content


def test_luas_empty_objects_for_empty_lists_say_nothing() -> None:
    record = copy.deepcopy(RECORD) | {"tries": {}, "authenticated_groups": {}}
    record["request"]["querystring"] = []
    record["ai"] = {"mcp": {"rpc": {}, "audit": {}}, "payload": {}}
    assert kinds(record) == ["session"]


def test_a_cached_answer_has_no_latency_and_came_from_the_gateway() -> None:
    proxy = copy.deepcopy(RECORD["ai"]["proxy"])
    del proxy["meta"]["llm_latency"]
    proxy["cache"] = {"cache_status": "Hit", "fetch_latency": 21}
    metadata = drafts_of(with_ai(proxy=proxy))["response"].metadata
    assert (metadata["model_path"], metadata.get("provider_ms")) == ("gateway", None)


def test_a_request_without_ai_is_a_session() -> None:
    record = {name: value for name, value in RECORD.items() if name != "ai"}
    (draft,) = unit_of(record).drafts
    assert (draft.kind, draft.metadata["operation"], draft.metadata["http_status"]) == ("session", "http_request", 200)
    assert draft.metadata["outcome"] == "ok"
    assert_kept(record, [draft], dropped=DERIVED)


def test_a_refusal_is_an_error() -> None:
    record = copy.deepcopy(RECORD)
    record["response"]["status"] = 429
    record["ai"]["proxy"]["payload"]["response"] = json.dumps({"error": {"message": "slow down", "type": "rate_limit"}})
    metadata = drafts_of(record)["response"].metadata
    assert (metadata["outcome"], metadata["http_status"], metadata["error_stage"]) == ("error", 429, "provider")
    assert (metadata["error_type"], metadata["error_message"]) == ("rate_limit", "slow down")


def test_guards_documents_and_masking() -> None:
    proxy = RECORD["ai"]["proxy"] | {
        "lakera-guard": {"input_block_reason": "moderated_content/hate", "lakera_project_id": "p-1"},
        "aws-guardrails": {"guardrails_id": "gr-1", "guardrails_version": "RELEASE", "aws_region": "us-west-2"},
        "rag-inject": {"vector_db": "pgvector", "injected": True, "chunk_ids": ["chunk-1", "chunk-2"]},
    }
    items = [{"entity_type": "EMAIL", "original": "jane@example.com", "sanitized": "[REDACTED]"}]
    sanitizer = {"pii_identified": 3, "pii_sanitized": 3, "duration": 65, "sanitized_items": items}
    record = with_ai(proxy=proxy, sanitizer=sanitizer, audit={"azure_content_safety": {"Hate": "High"}})
    drafts = unit_of(record).drafts
    assert_kept(record, drafts, dropped=[*DERIVED, *PAYLOADS])
    verdicts = {draft.metadata["guardrail_name"]: draft.metadata for draft in drafts if draft.kind == "guardrail"}
    assert set(verdicts) == {"lakera-guard", "aws-guardrails", "ai-sanitizer", "azure_content_safety"}
    assert verdicts["lakera-guard"]["outcome"] == "blocked"
    assert {verdict["model_requested"] for verdict in verdicts.values()} == {"gpt-5"}
    assert {verdict["assurance"] for verdict in verdicts.values()} == {"gateway_authenticated"}
    assert verdicts["aws-guardrails"]["policy_version"] == "RELEASE"
    assert (verdicts["ai-sanitizer"]["data_categories"], verdicts["ai-sanitizer"]["dlp_verdict"]) == (
        ["EMAIL"],
        "masked",
    )
    documents = [draft.metadata for draft in drafts if draft.kind == "context"]
    assert [document["document_id"] for document in documents] == ["chunk-1", "chunk-2"]
    assert {document["content_state"] for document in documents} == {"not_captured"}


def test_mcp_calls_and_what_access_control_said() -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "list", "arguments": {"of": "orders"}},
    }
    failure = {"jsonrpc": "2.0", "id": 7, "result": {"isError": True, "content": [{"type": "text", "text": "no"}]}}
    rpc = {
        "id": "7",
        "method": "tools/call",
        "tool_name": "list",
        "latency": 6,
        "response_body_size": 5030,
        "payload": {"request": json.dumps(call), "response": json.dumps(failure)},
    }
    decision = {
        "primitive_name": "list",
        "primitive": "tool",
        "action": "deny",
        "scope": "primitive",
        "consumer": {"id": "6c95", "name": "admins", "identifier": "consumer_group"},
    }
    listing = {"method": "tools/list", "id": 8, "latency": 3}
    record = with_ai(mcp={"mcp_session_id": "m-1", "rpc": [rpc, listing], "audit": [decision]})
    drafts = unit_of(record).drafts
    assert [draft.kind for draft in drafts] == ["guardrail", "tool_call", "tool_result", "session"]
    call_text, answer_text = (f"/ai/mcp/rpc/0/payload/{side}" for side in ("request", "response"))
    dropped = [*DERIVED, call_text, answer_text, "/ai/mcp/rpc/0/id", "/ai/mcp/rpc/0/method", "/ai/mcp/rpc/1/method"]
    assert_kept(record, drafts, dropped=dropped)
    acl, asked, answered, listed = (draft.metadata for draft in drafts)
    assert (acl["outcome"], acl["tool_decision"], acl["tool_decision_rule"]) == ("blocked", "deny", "admins")
    assert (asked["tool_name"], asked["tool_session_id"], asked["tool_kind"]) == ("list", "m-1", "mcp")
    assert asked["jsonrpc_id"] == '"7"', "an id of text stays text"
    assert listed["jsonrpc_id"] == "8"
    assert drafts[1].content["arguments"] == {"of": "orders"}
    assert (answered["tool_is_error"], answered["outcome"], answered["tool_duration_ms"]) == (True, "error", 6)


def test_mcp_calls_without_payloads_say_so() -> None:
    record = with_ai(mcp={"rpc": [{"method": "tools/call", "id": "2", "latency": 6, "tool_name": "list_orders"}]})
    call, result = unit_of(record).drafts
    assert (call.metadata["content_state"], result.metadata["content_state"]) == ("not_captured", "not_captured")
    assert result.metadata["tool_is_error"] is None


def test_messages_between_agents() -> None:
    rpc = {"method": "message/send", "id": "1", "payload": {"request": '{"params":{"m":"hi"}}', "response": '{"r":1}'}}
    assert kinds(with_ai(a2a={"rpc": [rpc]})) == ["prompt", "response"]


SECRETS = ("s3cr3t-key-one", "s3cr3t-key-two", "s3cr3t-cookie", "s3cr3t-query", "s3cr3t-set")


def test_secrets_do_not_reach_the_derived_view() -> None:
    record = copy.deepcopy(RECORD)
    record["request"]["headers"] |= {"x-api-key": SECRETS[0], "api-key": SECRETS[1], "cookie": f"sid={SECRETS[2]}"}
    record["request"]["querystring"] |= {"key": SECRETS[3]}
    record["request"]["uri"] = record["request"]["url"] = f"https://gw.example/v1beta?key={SECRETS[3]}"
    record["response"]["headers"]["set-cookie"] = f"a={SECRETS[4]}"
    record["upstream_uri"] = f"/v1beta?key={SECRETS[3]}"
    with collector_server("kong") as collector:
        response = httpx.post(f"{collector.url}/v1/kong", json=record, headers=collector.headers)
        assert response.status_code == 200
        events = collector.opened()
    text = "".join(json.dumps([event.metadata, event.content]) for event in events)
    assert not [secret for secret in SECRETS if secret in text]
    assert all(secret.encode() in (events[0].source or b"") for secret in SECRETS), "the source keeps what came"
    assert json.loads(events[0].metadata["content_gaps"])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_over_http_by_each_method_with_the_token_in_the_url(method: str) -> None:
    """``http_endpoint: http://any:TOKEN@host/v1/kong`` is Basic on the wire."""
    with collector_server("kong") as collector:
        body = json.dumps([RECORD, RECORD | {"started_at": 1}, "nonsense"])
        answer = httpx.request(method, f"{collector.url}/v1/kong", content=body, auth=("kong", collector.token))
        assert answer.status_code == 200
        assert (answer.json()["accepted"], answer.json()["unparsed"]) == (2, 1)
        again = httpx.request(method, f"{collector.url}/v1/kong", json=RECORD, auth=("kong", collector.token))
        assert again.status_code == 200
        ids = [event.metadata["event_id"] for event in collector.opened()]
        assert len(ids) == 10
        assert len(set(ids)) == 7, "a record sent again is a repeat"
        assert {event.metadata["time_role"] for event in collector.opened()} >= {"start", "end"}


def test_what_is_no_record_is_answered_with_a_2xx_so_that_kong_goes_on() -> None:
    with collector_server("kong") as collector:
        answer = httpx.post(f"{collector.url}/v1/kong", content=b'{"hello": 1}', headers=collector.headers)
        assert (answer.status_code, answer.json()["unparsed"]) == (200, 1)
        (event,) = collector.opened()
        assert (event.metadata["kind"], event.source) == ("unparsed", b'{"hello": 1}')
