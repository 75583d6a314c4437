"""Envoy AI Gateway's access log: keys of the operator's choice, no content, and what its flags tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.assemble import Stamp, assemble
from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.envoy import EnvoyFormat

RECEIVED = Received("acme", "envoy", "t", "http", "192.0.2.1", "application/json", "", 1_787_305_300_000_000, "envoy")

LLM: dict[str, Any] = {
    "start_time": "2026-08-21T09:00:00.125Z",
    "method": "POST",
    "x-envoy-origin-path": "/v1/chat/completions",
    "response_code": 200,
    "response_flags": "-",
    "duration": 1526,
    "x-request-id": "83b63da3",
    "x-forwarded-for": "192.0.2.9",
    "user-agent": "curl/8",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.request.model_override": None,
    "gen_ai.response.model": "gpt-5-mini-2026-05-01",
    "gen_ai.provider.name": "default/openai/route/llm/rule/0/ref/0",
    "gen_ai.usage.input_tokens": 15,
    "gen_ai.usage.output_tokens": 7,
    "gen_ai.usage.total_tokens": 22,
    "mcp.method.name": None,
    "mcp.tool.name": None,
    "jsonrpc.request.id": None,
    "mcp.session.id": None,
    "mcp.provider.name": None,
    "x-envoy-upstream-service-time": "451",
    "team": "payments",
}
MCP = {
    "start_time": "2026-08-21T09:00:01Z",
    "x-envoy-origin-path": "/mcp",
    "response_code": 200,
    "duration": 12,
    "x-request-id": "9a",
    "mcp.method.name": "tools/call",
    "mcp.tool.name": "github__list_issues",
    "jsonrpc.request.id": "7",
    "mcp.session.id": "m-1",
    "mcp.provider.name": "github",
    "gen_ai.request.model": None,
}


def read(*records: object) -> Reading:
    return EnvoyFormat().read("\n".join(json.dumps(record) for record in records).encode(), RECEIVED)


def unit_of(record: object) -> Unit:
    (unit,) = read(record).units
    assert unit.error == ""
    return unit


def drafts_of(record: object) -> dict[str, Draft]:
    return {draft.kind: draft for draft in unit_of(record).drafts}


def test_a_model_call_is_a_prompt_and_a_response_without_content() -> None:
    drafts = drafts_of(LLM)
    assert list(drafts) == ["prompt", "response"]
    prompt, response = drafts["prompt"].metadata, drafts["response"].metadata
    assert drafts["prompt"].content is drafts["response"].content is None
    assert prompt["content_state"] == response["content_state"] == "not_captured"
    assert (prompt["occurred_at"], prompt["time_precision"]) == (1_787_302_800_125_000, "ms")
    assert (response["occurred_at"], response["latency_ms"]) == (1_787_302_801_651_000, 1526.0)
    assert (response["input_tokens"], response["output_tokens"], response["total_tokens"]) == (15, 7, 22)
    assert (response["model_requested"], response["model_served"]) == ("gpt-5-mini", "gpt-5-mini-2026-05-01")
    assert (response["operation"], response["api"], response["outcome"]) == ("chat", "/v1/chat/completions", "ok")
    assert (response["http_status"], response["client_ip"], response["user_agent"]) == (200, "192.0.2.9", "curl/8")
    assert prompt["exchange_id"] == prompt["request_id_gateway"] == "83b63da3"
    assert "format" not in prompt
    assert prompt["extras"]["team"] == '"payments"'


def test_a_backend_is_no_provider() -> None:
    metadata = drafts_of(LLM)["response"].metadata
    assert "provider" not in metadata
    assert metadata["deployment_id"] == "default/openai/route/llm/rule/0/ref/0"


def test_an_mcp_call_is_a_tool_call_and_its_result() -> None:
    drafts = drafts_of(MCP)
    assert list(drafts) == ["tool_call", "tool_result"]
    for draft in drafts.values():
        metadata = draft.metadata
        assert (metadata["tool_name"], metadata["tool_server"]) == ("github__list_issues", "github")
        assert (metadata["tool_session_id"], metadata["jsonrpc_id"], metadata["tool_kind"]) == ("m-1", "7", "mcp")
        assert metadata["content_state"] == "not_captured"
    assert drafts["tool_result"].metadata["tool_is_error"] is None


def test_what_is_neither_is_kept_as_what_went_on() -> None:
    drafts = drafts_of({"start_time": "2026-08-21T09:00:01Z", "path": "/v1/models", "response_code": 200})
    assert list(drafts) == ["session"]


def test_without_counts_the_path_tells_a_model_call() -> None:
    record = {name: value for name, value in LLM.items() if not name.startswith("gen_ai.")}
    assert list(drafts_of(record)) == ["prompt", "response"]


@pytest.mark.parametrize(
    ("flags", "status", "outcome"),
    [
        ("-", 200, "ok"),
        ("-", 500, "error"),
        ("UC", 200, "partial"),  # a stream that broke after its first byte
        ("SI", 200, "partial"),
        ("UF,URX", 503, "error"),
        ("DC", 0, "cancelled"),
        ("DC", 200, "cancelled"),
        ("RL", 429, "blocked"),
        ("UAEX", 403, "blocked"),
    ],
)
def test_how_it_ended(flags: str, status: int, outcome: str) -> None:
    record = {**LLM, "response_flags": flags, "response_code": status, "response_code_details": "details"}
    response = drafts_of(record)["response"].metadata
    assert response["outcome"] == outcome
    assert "outcome" not in drafts_of(record)["prompt"].metadata
    assert response.get("error_code", "") == ("" if flags == "-" else flags)


def test_a_list_of_addresses_is_nobodys_address() -> None:
    forged = {**LLM, "x-forwarded-for": "203.0.113.7, 192.0.2.9", "downstream_remote_address": "198.51.100.4:64484"}
    prompt = drafts_of(forged)["prompt"].metadata
    assert prompt["client_ip"] == "198.51.100.4"
    assert prompt["extras"]["x-forwarded-for"] == '"203.0.113.7, 192.0.2.9"'


def test_a_query_stays_out_of_the_fields() -> None:
    prompt = drafts_of({**LLM, "x-envoy-origin-path": "/v1/messages?key=hunter2"})["prompt"].metadata
    assert prompt["api"] == "/v1/messages"


def test_the_key_is_request_and_start() -> None:
    again = {**LLM, "x-request-id": "other"}
    assert unit_of(LLM).source_id == unit_of({**LLM, "team": "other"}).source_id != unit_of(again).source_id
    assert unit_of({"start_time": "2026-08-21T09:00:00Z", "response_code": 200}).source_id == ""


def test_no_leaf_is_lost() -> None:
    kept = ("/start_time", "/response_code", "/duration", "/response_flags", "/x-envoy-origin-path")
    for record in (LLM, MCP):
        made = distinct(record, keep=kept)
        assert_kept(made, unit_of(made).drafts, dropped=("/duration",))
        for name in record:
            for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242, True):
                changed = {**record, name: strange}
                assert_kept(changed, unit_of(changed).drafts, dropped=("/duration",))


def test_the_published_sample(samples: Path) -> None:
    body = (samples / "envoy-accesslog" / "llm-access-log.json").read_bytes()
    (unit,) = EnvoyFormat().read(body, RECEIVED).units
    assert unit.error == ""
    assert unit.source == body.strip()
    assert [draft.kind for draft in unit.drafts] == ["prompt", "response"]
    assert_kept(json.loads(body), unit.drafts, dropped=("/duration",))


def test_lines_and_arrays_are_cut_byte_for_byte() -> None:
    lines = [json.dumps(LLM, indent=None).encode(), b'{"response_code":  404}', b"not JSON", b"{}", b'{"a": null}']
    reading = EnvoyFormat().read(b"\r\n".join(lines) + b"\r\n", RECEIVED)
    assert [unit.source for unit in reading.units] == lines
    assert [bool(unit.error) for unit in reading.units] == [False, False, True, True, True]
    array = b"[" + lines[0] + b" ,\n" + lines[1] + b"]"
    assert [unit.source for unit in EnvoyFormat().read(array, RECEIVED).units] == lines[:2]


KEYS = st.sampled_from([*LLM, *MCP, "status", "path", "downstream_remote_address"])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("-") | st.just("DC")


@given(st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=2), max_size=12))
def test_no_values_make_it_fail(record: dict[str, Any]) -> None:
    reading = read(record)
    assert all(assemble(reading, RECEIVED, Stamp("c", 0)))
