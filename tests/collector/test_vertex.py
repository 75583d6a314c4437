"""Vertex AI: rows of Gemini and Claude in every spelling, audit entries, Pub/Sub; no leaf is lost, nothing fails."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector_server import collector_server
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.assemble import Stamp, assemble
from collector.gateways import Draft, Received, Unit
from collector.gateways.gemini import join_chunks
from collector.gateways.vertex import VertexFormat
from collector.sealing import prepare

NOW = 1_787_305_200_125_000
RECEIVED = Received("acme", "vertex", "t-1", "http", "", "application/json", "", NOW, "vertex", "ab" * 32)

GEMINI: dict[str, Any] = {
    "logging_time": "2026-08-21T09:00:04.248Z",
    "request_id": "53742052659013539840123456789012345678",
    "endpoint": "",
    "deployed_model_id": "",
    "model": "publishers/google/models/gemini-2.5-pro",
    "model_version": "default",
    "api_method": "GenerateContent",
    "request_payload": [],
    "response_payload": [],
    "full_request": {
        "contents": [
            {"role": "user", "parts": [{"text": "Where am I?"}]},
            {
                "role": "model",
                "parts": [{"function_call": {"name": "locate", "args": {}}, "thought_signature": "c2ln"}],
            },
            {
                "role": "user",
                "parts": [
                    {"function_response": {"name": "locate", "id": "fc_0", "response": {"city": "Paris"}}},
                    {"inline_data": {"mime_type": "image/png", "data": base64.b64encode(b"pixels").decode()}},
                    {"file_data": {"mime_type": "application/pdf", "file_uri": "gs://bucket/map.pdf"}},
                ],
            },
        ],
        "system_instruction": {"parts": [{"text": "You are terse."}]},
        "generation_config": {"max_output_tokens": 512},
    },
    "full_response": {
        "candidates": [
            {
                "index": 0,
                "finish_reason": "STOP",
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "I must look.", "thought": True},
                        {"function_call": {"id": "fc_1", "name": "get_weather", "args": {"city": "Paris"}}},
                    ],
                },
                "grounding_metadata": {
                    "grounding_chunks": [
                        {"retrieved_context": {"uri": "gs://docs/fr.md", "title": "France", "text": "Paris is …"}},
                        {"web": {"uri": "https://example.com/paris", "title": "Paris"}},
                    ]
                },
                "safety_ratings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "NEGLIGIBLE"}],
            }
        ],
        "usage_metadata": {
            "prompt_token_count": 3,
            "candidates_token_count": 29,
            "thoughts_token_count": 901,
            "cached_content_token_count": 1,
            "total_token_count": 933,
        },
        "model_version": "gemini-2.5-pro-001",
        "response_id": "resp-1",
        "create_time": "2026-08-21T09:00:02Z",
    },
    "metadata": {"request_latency": 1412.4, "region": "europe-west4"},
    "otel_log": None,
}

CLAUDE: dict[str, Any] = {
    **GEMINI,
    "request_id": 5374205265901353984,
    "model": "publishers/anthropic/models/claude-sonnet-4-5@20250929",
    "api_method": "RawPredict",
    "full_request": {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 512,
        "messages": [{"role": "user", "content": "Weather in Paris?"}],
        "metadata": {"user_id": "u-17"},
    },
    "full_response": {
        "id": "msg_vrtx_01X",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 380,
            "output_tokens": 31,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 7,
        },
    },
}

ENTRY: dict[str, Any] = {
    "protoPayload": {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "status": {},
        "authenticationInfo": {
            "principalEmail": "llm-gw@proj.iam.gserviceaccount.com",
            "principalSubject": "serviceAccount:llm-gw@proj.iam.gserviceaccount.com",
            "serviceAccountKeyName": "//iam.googleapis.com/projects/p/serviceAccounts/s/keys/k",
            "serviceAccountDelegationInfo": [{"principalSubject": "user:dana@example.com"}],
        },
        "requestMetadata": {
            "callerIp": "198.51.100.7",
            "callerSuppliedUserAgent": "anthropic-sdk-python/2.13.0",
            "requestAttributes": {"time": "2026-08-21T09:00:02.100Z", "auth": {}},
            "destinationAttributes": {},
        },
        "serviceName": "aiplatform.googleapis.com",
        "methodName": "google.cloud.aiplatform.v1.PredictionService.RawPredict",
        "authorizationInfo": [
            {"resource": "projects/proj/x", "permission": "aiplatform.endpoints.predict", "granted": True}
        ],
        "resourceName": "projects/proj/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5",
        "request": {"@type": "type.googleapis.com/google.cloud.aiplatform.v1.RawPredictRequest"},
    },
    "insertId": "1tif4epd6kb0",
    "resource": {
        "type": "audited_resource",
        "labels": {
            "service": "aiplatform.googleapis.com",
            "method": "google.cloud.aiplatform.v1.PredictionService.RawPredict",
            "project_id": "proj",
        },
    },
    "timestamp": "2026-08-21T09:00:02.090Z",
    "severity": "INFO",
    "logName": "projects/proj/logs/cloudaudit.googleapis.com%2Fdata_access",
    "receiveTimestamp": "2026-08-21T09:00:03.011Z",
}


def read(*records: object) -> list[Unit]:
    return VertexFormat().read(b"\n".join(json.dumps(record).encode() for record in records), RECEIVED).units


def drafts(record: object) -> list[Draft]:
    (unit,) = read(record)
    assert unit.error == ""
    return unit.drafts


def kinds(found: list[Draft]) -> list[str]:
    return [draft.kind for draft in found]


def only(found: list[Draft], kind: str) -> Draft:
    (draft,) = [draft for draft in found if draft.kind == kind]
    return draft


def camel(value: Any) -> Any:
    """A body as the REST API spells it."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {"".join(w if i == 0 else w.title() for i, w in enumerate(k.split("_"))): camel(v) for k, v in value.items()}


@pytest.mark.parametrize("row", [GEMINI, CLAUDE], ids=["gemini", "claude"])
def test_no_leaf_of_a_row_is_lost(row: dict[str, Any]) -> None:
    keep = [
        *("/model", "/api_method", "/logging_time", "/full_request/contents/0/role", "/full_request/contents/1/role"),
        *("/full_request/contents/2/role", "/full_request/contents/2/parts/1/inline_data/data"),
        *("/full_response/type", "/full_response/content/0/type"),
    ]
    row = distinct(row, keep=keep)
    assert_kept(row, drafts(row))


def test_no_leaf_of_an_entry_is_lost() -> None:
    entry = distinct(ENTRY, keep=["/protoPayload/methodName", "/protoPayload/resourceName", "/timestamp"])
    entry["resource"]["labels"]["method"] = entry["protoPayload"]["methodName"]
    entry["protoPayload"]["requestMetadata"]["requestAttributes"]["time"] = "2026-08-21T09:00:02.100Z"
    assert_kept(entry, drafts(entry))


def test_gemini_becomes_prompt_results_documents_response_and_calls() -> None:
    found = drafts(GEMINI)
    assert kinds(found) == [
        *("prompt", "tool_result", "context", "context", "context", "context", "response", "tool_call"),
    ]
    prompt, result, image, file, retrieved, web, response, call = found
    assert prompt.content == GEMINI["full_request"]
    assert (result.metadata["tool_name"], result.metadata["call_id"]) == ("locate", "fc_0")
    assert result.content == {"result": {"city": "Paris"}}
    assert image.metadata["document_sha256"] == hashlib.sha256(b"pixels").hexdigest()
    assert base64.b64encode(b"pixels").decode() not in json.dumps(image.content)
    assert (file.metadata["document_source"], file.metadata["content_state"]) == ("gs://bucket/map.pdf", "by_ref")
    assert retrieved.metadata["document_label"] == "France"
    assert retrieved.metadata["document_sha256"] == hashlib.sha256("Paris is …".encode()).hexdigest()
    assert (web.metadata["document_source"], web.metadata["content_state"]) == (
        "https://example.com/paris",
        "not_captured",
    )
    assert response.content == GEMINI["full_response"]
    assert (call.metadata["call_id"], call.metadata["tool_name"]) == ("fc_1", "get_weather")
    assert call.content == {"arguments": {"city": "Paris"}}
    assert call.pointer == "/full_response/candidates/0/content/parts/1/function_call"


def test_thoughts_are_not_in_the_candidates_count() -> None:
    metadata = only(drafts(GEMINI), "response").metadata
    assert (metadata["input_tokens"], metadata["output_tokens"], metadata["total_tokens"]) == (3, 930, 933)
    assert (metadata["reasoning_tokens"], metadata["cache_read_tokens"]) == (901, 1)
    assert metadata["input_uncached_tokens"] == 2
    assert json.loads(metadata["usage_raw"]) == GEMINI["full_response"]["usage_metadata"]


def test_what_tools_put_before_the_model_is_input() -> None:
    row = copy.deepcopy(GEMINI)
    row["full_response"]["usage_metadata"]["tool_use_prompt_token_count"] = 10
    assert only(drafts(row), "response").metadata["input_tokens"] == 13


def test_camel_case_says_the_same() -> None:
    row = {**GEMINI, "full_request": camel(GEMINI["full_request"]), "full_response": camel(GEMINI["full_response"])}
    one, other = drafts(GEMINI), drafts(row)
    assert kinds(one) == kinds(other)
    ignored = {"usage_raw", "content_gaps"}
    for left, right in zip(one, other, strict=True):
        assert {k: v for k, v in left.metadata.items() if k not in ignored} == {
            k: v for k, v in right.metadata.items() if k not in ignored
        }
    assert other[-1].pointer == "/full_response/candidates/0/content/parts/1/functionCall"


def test_who_when_and_which_model() -> None:
    metadata = only(drafts(GEMINI), "response").metadata
    assert (metadata["provider"], metadata["provider_raw"], metadata["model_path"]) == (
        "gcp.vertex_ai",
        "google",
        "vertex",
    )
    assert metadata["model_requested"] == "gemini-2.5-pro"
    assert metadata["model_routed"] == "publishers/google/models/gemini-2.5-pro"
    assert (metadata["model_served"], metadata["request_id_response"]) == ("gemini-2.5-pro-001", "resp-1")
    assert (metadata["occurred_at"], metadata["time_role"]) == (1_787_302_804_248_000, "log")
    assert (metadata["latency_ms"], metadata["outcome"], metadata["stop_reason"]) == (1412.4, "ok", "stop")
    assert (metadata["assurance"], metadata["stream"], metadata["operation"]) == ("unknown", False, "chat")


def test_a_request_id_of_38_digits_keeps_all_of_them() -> None:
    digits = "5" * 38
    (text,) = read({**GEMINI, "request_id": digits})
    (number,) = read({**GEMINI, "request_id": int(digits)})
    assert text.source_id == number.source_id == json.dumps([digits, "1787302804248000"], separators=(",", ":"))
    assert text.drafts[0].metadata["request_id_cloud"] == digits
    (cut,) = read({**GEMINI, "request_id": float(digits)})
    assert cut.source_id == ""


@pytest.mark.parametrize(
    "stated", ["2026-08-21 09:00:04.248 UTC", "2026-08-21T09:00:04.248+00:00", "1.787302804248E9", 1787302804.248]
)
def test_times_as_bigquery_writes_them(stated: object) -> None:
    (unit,) = read({**GEMINI, "logging_time": stated})
    assert unit.drafts[0].metadata["occurred_at"] == 1_787_302_804_248_000
    assert unit.source_id == read(GEMINI)[0].source_id


def test_columns_of_json_may_be_text() -> None:
    row = {
        **GEMINI,
        "full_request": json.dumps(GEMINI["full_request"]),
        "full_response": json.dumps(GEMINI["full_response"]),
        "metadata": json.dumps(GEMINI["metadata"]),
    }
    assert [draft.content for draft in drafts(row)] == [draft.content for draft in drafts(GEMINI)]
    assert only(drafts(row), "response").metadata["latency_ms"] == 1412.4


def test_old_columns_are_read_where_the_new_ones_are_empty() -> None:
    old = {
        **GEMINI,
        "full_request": None,
        "full_response": None,
        "request_payload": [json.dumps(GEMINI["full_request"])],
        "response_payload": [json.dumps(GEMINI["full_response"])],
    }
    found = drafts(old)
    assert [draft.content for draft in found] == [draft.content for draft in drafts(GEMINI)]
    assert found[-1].pointer.startswith("/response_payload/candidates/0")


def test_both_kinds_of_columns_are_kept() -> None:
    row = {**GEMINI, "request_payload": ["old"], "otel_log": {"body": "the same once more"}}
    found = drafts(row)
    assert only(found, "prompt").content == {"full_request": GEMINI["full_request"], "request_payload": ["old"]}
    assert only(found, "response").content["otel_log"] == {"body": "the same once more"}
    assert "otel_log" not in found[0].metadata["extras"]


CHUNKS: list[dict[str, Any]] = [
    {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "4 2"}]}}], "response_id": "r"},
    {"candidates": [{"index": 1, "content": {"role": "model", "parts": [{"text": "second"}]}}]},
    {
        "candidates": [
            {"index": 0, "content": {"parts": [{"text": "42"}, {"function_call": {"name": "f", "args": {}}}]}}
        ]
    },
    {
        "candidates": [{"index": 0, "finish_reason": "MAX_TOKENS"}],
        "usage_metadata": {"prompt_token_count": 1, "candidates_token_count": 2},
    },
]


def test_chunks_of_a_stream_are_put_together_by_candidate() -> None:
    assert join_chunks(CHUNKS) == {
        "response_id": "r",
        "usage_metadata": CHUNKS[3]["usage_metadata"],
        "candidates": [
            {
                "index": 0,
                "content": {
                    "role": "model",
                    "parts": [{"text": "4 242"}, {"function_call": {"name": "f", "args": {}}}],
                },
                "finish_reason": "MAX_TOKENS",
            },
            {"index": 1, "content": {"role": "model", "parts": [{"text": "second"}]}},
        ],
    }


@pytest.mark.parametrize(
    "response",
    [CHUNKS, json.dumps(CHUNKS), "".join(f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in CHUNKS)],
    ids=["array", "text", "events"],
)
def test_a_stream_is_reconstructed_and_says_so(response: object) -> None:
    found = drafts({**GEMINI, "api_method": "StreamGenerateContent", "full_response": response})
    answer = only(found, "response")
    assert answer.content == join_chunks(CHUNKS)
    assert (answer.metadata["content_state"], answer.metadata["stream"]) == ("reconstructed", True)
    assert (answer.metadata["stop_reason"], answer.metadata["output_tokens"]) == ("length", 2)
    assert only(found, "tool_call").metadata["tool_name"] == "f"


def test_chunks_in_the_old_column() -> None:
    row = {**GEMINI, "full_response": None, "response_payload": [json.dumps(chunk) for chunk in CHUNKS]}
    assert only(drafts(row), "response").content == join_chunks(CHUNKS)


def test_thoughts_and_answers_are_not_joined() -> None:
    pieces = [{"text": "a", "thought": True}, {"text": "b", "thought": True}, {"text": "c"}, {"text": "d"}]
    whole = join_chunks([{"candidates": [{"content": {"parts": [piece]}}]} for piece in pieces])
    assert whole["candidates"][0]["content"]["parts"] == [{"text": "ab", "thought": True}, {"text": "cd"}]


def test_a_prompt_that_was_blocked_has_a_verdict() -> None:
    ratings = [{"category": "HARM_CATEGORY_HATE_SPEECH", "blocked": True}, {"category": "OTHER"}]
    response = {"prompt_feedback": {"block_reason": "SAFETY", "safety_ratings": ratings}}
    found = drafts({**GEMINI, "full_response": response})
    verdict = only(found, "guardrail").metadata
    assert (verdict["guardrail_verdict"], verdict["guardrail_mode"]) == ("SAFETY", "pre_call")
    assert verdict["dlp_rules"] == ["HARM_CATEGORY_HATE_SPEECH"]
    assert only(found, "response").metadata["outcome"] == "blocked"


def test_an_answer_that_was_blocked_has_a_verdict() -> None:
    found = drafts({**GEMINI, "full_response": {"candidates": [{"finish_reason": "SAFETY", "index": 0}]}})
    assert only(found, "guardrail").metadata["guardrail_mode"] == "post_call"
    response = only(found, "response").metadata
    assert (response["outcome"], response["stop_reason"]) == ("blocked", "content_filter")


def test_an_error_is_an_answer() -> None:
    error = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}
    metadata = only(drafts({**GEMINI, "full_response": error}), "response").metadata
    assert (metadata["outcome"], metadata["error_type"], metadata["error_code"]) == (
        "error",
        "RESOURCE_EXHAUSTED",
        "429",
    )


@pytest.mark.parametrize("row", [GEMINI, CLAUDE])
def test_a_row_without_an_answer_keeps_the_prompt(row: dict[str, Any]) -> None:
    found = drafts({**row, "full_response": None, "request_id": "1"})
    assert "prompt" in kinds(found)
    assert "response" not in kinds(found)


def test_code_that_the_provider_ran() -> None:
    parts = [
        {"executable_code": {"language": "PYTHON", "code": "print(1)"}},
        {"code_execution_result": {"outcome": "OUTCOME_FAILED", "output": "boom"}},
    ]
    found = drafts({**GEMINI, "full_response": {"candidates": [{"content": {"parts": parts}}]}})
    call, result = only(found, "tool_call"), [draft for draft in found if draft.kind == "tool_result"][-1]
    assert (call.metadata["tool_name"], call.metadata["tool_kind"]) == ("code_execution", "server")
    assert result.metadata["tool_is_error"] is True


def test_claude_counts_what_was_not_cached() -> None:
    found = drafts(CLAUDE)
    assert kinds(found) == ["prompt", "response", "tool_call"]
    metadata = only(found, "response").metadata
    assert (metadata["input_tokens"], metadata["input_uncached_tokens"], metadata["output_tokens"]) == (487, 380, 31)
    assert (metadata["provider"], metadata["provider_raw"]) == ("gcp.vertex_ai", "anthropic")
    assert (metadata["end_user_id"], metadata["assurance"]) == ("u-17", "client_asserted")
    assert (metadata["outcome"], metadata["stop_reason_raw"]) == ("ok", "tool_use")
    assert metadata["model_served"] == "claude-sonnet-4-5-20250929"


def claude_events() -> list[dict[str, Any]]:
    message = {**CLAUDE["full_response"], "content": [], "stop_reason": None}
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": call},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '"Paris"}'}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 31}},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize("spelt", ["array", "events"])
def test_a_stream_of_claude_in_an_array_or_as_events(spelt: str) -> None:
    events = claude_events()
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    found = drafts({**CLAUDE, "api_method": "StreamRawPredict", "full_response": events if spelt == "array" else text})
    response = only(found, "response")
    assert response.content["content"] == CLAUDE["full_response"]["content"]
    assert (response.metadata["content_state"], response.metadata["stream"]) == ("reconstructed", True)
    assert only(found, "tool_call").content["arguments"] == {"city": "Paris"}
    cut = drafts({**CLAUDE, "full_response": events[:4]})
    assert only(cut, "response").metadata["outcome"] == "partial"


def test_an_audit_entry_says_who_called_and_that_it_has_no_content() -> None:
    (draft,) = drafts(ENTRY)
    metadata = draft.metadata
    assert draft.kind == "response"
    assert (metadata["service_account"], metadata["actor_type"]) == ("llm-gw@proj.iam.gserviceaccount.com", "service")
    assert metadata["cloud_principal"] == "serviceAccount:llm-gw@proj.iam.gserviceaccount.com"
    assert (metadata["assurance"], metadata["delegation"]) == ("provider_authenticated", ["user:dana@example.com"])
    assert (metadata["client_ip"], metadata["region"], metadata["project_id"]) == ("198.51.100.7", "us-east5", "proj")
    assert (metadata["model_requested"], metadata["provider_raw"]) == ("claude-sonnet-4-5", "anthropic")
    assert (metadata["outcome"], metadata["content_state"]) == ("ok", "not_captured")
    assert metadata["started_at"] == 1_787_302_802_100_000
    assert draft.content is None
    (unit,) = read(ENTRY)
    assert json.loads(unit.source_id) == [ENTRY["insertId"], ENTRY["logName"], ENTRY["timestamp"]]


def entry(**changed: Any) -> dict[str, Any]:
    return {**ENTRY, "protoPayload": {**ENTRY["protoPayload"], **changed}}


def test_a_call_that_was_refused() -> None:
    (draft,) = drafts(entry(status={"code": 7, "message": "permission denied"}))
    assert (draft.metadata["outcome"], draft.metadata["error_code"]) == ("error", "7")
    assert draft.metadata["error_message"] == "permission denied"
    without = {name: value for name, value in ENTRY["protoPayload"].items() if name != "status"}
    assert "outcome" not in drafts({**ENTRY, "protoPayload": without})[0].metadata


def test_the_two_entries_of_a_long_call_are_one_exchange() -> None:
    operation = {"id": "op-1", "producer": "aiplatform.googleapis.com"}
    method = "google.cloud.aiplatform.v1.LlmBidiService.BidiGenerateContent"
    first = {**entry(methodName=method), "operation": {**operation, "first": True}, "insertId": "a"}
    last = {**entry(methodName=method), "operation": {**operation, "last": True}, "insertId": "b"}
    found = [draft for unit in read(first, last) for draft in unit.drafts]
    assert kinds(found) == ["prompt", "response"]
    assert {draft.metadata["exchange_id"] for draft in found} == {"op-1"}
    assert all(draft.metadata["stream"] for draft in found)
    (short,) = drafts({**first, "operation": {**operation, "first": True, "last": True}})
    assert short.kind == "response"


def test_who_switches_logging_off_is_an_act() -> None:
    request = {"@type": "t", "publisherModelConfig": {"loggingConfig": {"enabled": False}}}
    method = "google.cloud.aiplatform.v1beta1.EndpointService.SetPublisherModelConfig"
    (draft,) = drafts(
        entry(methodName=method, request=request, authenticationInfo={"principalEmail": "dana@example.com"})
    )
    assert (draft.kind, draft.metadata["operation"]) == ("admin", "SetPublisherModelConfig")
    assert (draft.metadata["user_email"], draft.metadata["actor_type"]) == ("dana@example.com", "user")
    assert draft.content == {"request": request}


def wrapped(record: object, **message: Any) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(record).encode()).decode()
    about = {
        "data": data,
        "messageId": "136969346945",
        "message_id": "136969346945",
        "publishTime": "2026-08-21T09:00:05Z",
    }
    return {"message": {**about, **message}, "subscription": "projects/p/subscriptions/s"}


@pytest.mark.parametrize("record", [ENTRY, GEMINI])
def test_what_pubsub_wraps_is_the_same_record(record: dict[str, Any]) -> None:
    (plain,), (pushed,) = read(record), read(wrapped(record, attributes={"logging.googleapis.com/timestamp": "x"}))
    assert (pushed.source, pushed.source_id) == (plain.source, plain.source_id)
    extras = pushed.drafts[0].metadata["extras"]
    assert json.loads(extras["pubsub.messageId"]) == "136969346945"
    assert json.loads(extras["pubsub.subscription"]) == "projects/p/subscriptions/s"
    assert "pubsub.message_id" not in extras
    assert kinds(pushed.drafts) == kinds(plain.drafts)


@pytest.mark.parametrize("data", ["***", "", base64.b64encode(b"not json").decode()])
def test_a_push_that_holds_nothing_readable(data: str) -> None:
    (unit,) = read(wrapped(ENTRY, data=data))
    assert unit.error


def test_rows_and_entries_may_come_together() -> None:
    body = b"[" + json.dumps(GEMINI).encode() + b",\n " + json.dumps(ENTRY).encode() + b"]"
    one, other = VertexFormat().read(body, RECEIVED).units
    assert (one.source, other.source) == (json.dumps(GEMINI).encode(), json.dumps(ENTRY).encode())
    assert [unit.error for unit in read(7, {"a": 1})] == [
        "got int, expected a row with logging_time, or a LogEntry",
        "got an object with a, expected a row with logging_time, or a LogEntry",
    ]


def test_over_http_a_push_is_acknowledged_whatever_it_holds() -> None:
    with collector_server("vertex") as collector:
        answers = [
            httpx.post(f"{collector.url}/v1/vertex", json=record, headers=collector.headers)
            for record in (GEMINI, wrapped(ENTRY), wrapped({"odd": 1}))
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [answer.json()["unparsed"] for answer in answers] == [0, 0, 1]
        assert answers[0].json()["events"] == 8
        found = collector.opened()
    assert found[-1].metadata["kind"] == "unparsed"
    assert found[-1].source == b'{"odd": 1}'


def test_the_published_answer_keeps_every_leaf(samples: Path) -> None:
    answer = json.loads((samples / "vertex/gemini-response-tool.json").read_bytes())
    row = {**GEMINI, "full_response": answer}
    assert_kept(answer, drafts(row))
    assert only(drafts(row), "tool_call").metadata["call_id"] == "fc_get_weather_1"


NAMES = st.sampled_from(
    [
        *("logging_time", "full_request", "full_response", "request_payload", "response_payload", "metadata", "model"),
        *("contents", "candidates", "content", "parts", "functionCall", "function_response", "inline_data", "data"),
        *("usage_metadata", "usageMetadata", "prompt_token_count", "finishReason", "promptFeedback", "block_reason"),
        *("groundingMetadata", "groundingChunks", "web", "messages", "type", "role", "index", "error"),
        *("protoPayload", "logName", "insertId", "operation", "status", "authenticationInfo", "methodName"),
        *("message", "messageId", "otel_log", "request_id", "serviceAccountDelegationInfo", "safety_ratings"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["model", "2026-08-21T09:00:04Z", "google.cloud.aiplatform.v1.PredictionService.Predict", "aGk="]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=6),
    max_leaves=30,
)


@given(value=VALUES, base=st.sampled_from([GEMINI, CLAUDE, ENTRY, {}]), at=NAMES)
def test_no_record_makes_the_format_fail(value: object, base: dict[str, Any], at: str) -> None:
    for record in ({**base, at: value}, value):
        body = json.dumps(record).encode()
        assembled = assemble(VertexFormat().read(body, RECEIVED), RECEIVED, Stamp("c", 0))
        prepare([event for events in assembled for event in events])
