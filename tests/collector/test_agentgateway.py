"""agentgateway's access log, as JSON and as text, and what text cannot be trusted with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.assemble import Stamp, assemble
from collector.gateways import Draft, Received, Unit
from collector.gateways.agentgateway import AgentgatewayFormat

RECEIVED = Received("acme", "agw", "t", "http", "192.0.2.1", "text/plain", "", 1_787_305_300_000_000, "agentgateway")

LLM: dict[str, Any] = {
    "level": "info",
    "time": "2026-08-21T09:00:01.651000Z",
    "scope": "request",
    "gateway": "default/gw",
    "listener": "http",
    "route": "default/llm",
    "endpoint": "api.openai.com:443",
    "src.addr": "192.0.2.9:40512",
    "http.method": "POST",
    "http.host": "gw.example",
    "http.path": "/v1/chat/completions",
    "http.version": "HTTP/1.1",
    "http.status": 200,
    "trace.id": "5b8efff798038103d269b633813fc60c",
    "span.id": "eee19b7ec3c1b174",
    "jwt.sub": "dana@example.com",
    "protocol": "llm",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-05-01",
    "gen_ai.usage.input_tokens": 162,
    "gen_ai.usage.cache_read.input_tokens": 100,
    "gen_ai.usage.output_tokens": 31,
    "gen_ai.usage.reasoning_tokens": 9,
    "agw.ai.time_to_first_token": 0.25,
    "agw.ai.usage.cost.total": "0.0125",
    "gen_ai.request.temperature": 0.5,
    "retry.attempt": "1",
    "llm.prompt": [{"role": "user", "content": "Weather in Paris?"}],
    "llm.completion": ["14 °C"],
    "duration": "1526ms",
}
MCP_TEXT = (
    "2026-08-21T09:00:01.651000Z\tinfo\trequest gateway=default/gw listener=http route=default/mcp "
    "src.addr=[2001:db8::9]:40512 http.method=POST http.path=/mcp http.status=200 protocol=mcp "
    "mcp.method.name=tools/call mcp.target=github gen_ai.tool.name=list_issues mcp.session.id=m-1 duration=12ms"
)


def units_of(body: bytes) -> list[Unit]:
    return AgentgatewayFormat().read(body, RECEIVED).units


def drafts_of(line: dict[str, Any] | str) -> dict[str, Draft]:
    (unit,) = units_of((json.dumps(line) if isinstance(line, dict) else line).encode())
    assert unit.error == ""
    return {draft.kind: draft for draft in unit.drafts}


def test_a_model_call() -> None:
    drafts = drafts_of(LLM)
    assert list(drafts) == ["prompt", "response"]
    prompt, response = drafts["prompt"], drafts["response"]
    assert prompt.content == {"messages": [{"role": "user", "content": "Weather in Paris?"}]}
    assert response.content == {"messages": ["14 °C"]}
    metadata = response.metadata
    assert (metadata["occurred_at"], metadata["latency_ms"]) == (1_787_302_801_651_000, 1526.0)
    assert (metadata["user_id"], metadata["user_id_kind"]) == ("dana@example.com", "jwt_subject")
    assert metadata["assurance"] == "gateway_authenticated"
    assert (metadata["client_ip"], metadata["http_status"], metadata["attempt"]) == ("192.0.2.9", 200, 2)
    assert (metadata["input_tokens"], metadata["cache_read_tokens"], metadata["reasoning_tokens"]) == (162, 100, 9)
    assert (metadata["time_to_first_token_ms"], metadata["cost_amount"]) == (250.0, 0.0125)
    assert (metadata["provider"], metadata["model_served"]) == ("openai", "gpt-5-2026-05-01")
    assert metadata["exchange_id"] == "5b8efff798038103d269b633813fc60c:eee19b7ec3c1b174"
    assert (metadata["content_state"], metadata["api"]) == ("full", "/v1/chat/completions")


def test_a_prompt_that_an_expression_flattened() -> None:
    bare = {name: value for name, value in LLM.items() if not name.startswith("llm.")}
    flat = {"llm.prompt.0.role": "user", "llm.prompt.0.content": "Weather in Paris?", "llm.completion.0.content": "14"}
    drafts = drafts_of(bare | flat)
    assert drafts["prompt"].content == {"messages": [{"role": "user", "content": "Weather in Paris?"}]}
    assert drafts["response"].content == {"messages": [{"content": "14"}]}


def test_a_model_call_without_expressions_has_no_content() -> None:
    bare = {name: value for name, value in LLM.items() if not name.startswith("llm.")}
    assert {draft.metadata["content_state"] for draft in drafts_of(bare).values()} == {"not_captured"}


def test_a_tool_call_as_text() -> None:
    drafts = drafts_of(MCP_TEXT)
    assert list(drafts) == ["tool_call", "tool_result"]
    for draft in drafts.values():
        metadata = draft.metadata
        assert (metadata["tool_name"], metadata["tool_server"]) == ("list_issues", "github")
        assert (metadata["tool_session_id"], metadata["client_ip"]) == ("m-1", "2001:db8::9")
    assert drafts["tool_result"].metadata["tool_duration_ms"] == 12.0
    assert drafts["tool_result"].metadata["occurred_at"] == 1_787_302_801_651_000


def test_a_failed_tool_call() -> None:
    failed = MCP_TEXT.replace(" duration", ' mcp.error.code=-32602 mcp.error.message="no such tool=x y=z" duration')
    result = drafts_of(failed)["tool_result"].metadata
    assert (result["outcome"], result["tool_is_error"]) == ("error", True)
    assert (result["error_code"], result["error_message"]) == ("-32602", "no such tool=x y=z")


def test_text_does_not_vouch_for_a_person() -> None:
    """The name of a tool comes from the client, and could be ``x jwt.sub=root``."""
    forged = MCP_TEXT.replace("list_issues", "x jwt.sub=root")
    metadata = drafts_of(forged)["tool_call"].metadata
    assert (metadata["user_id"], metadata["assurance"]) == ("root", "client_asserted")


def test_a_key_that_occurs_twice_is_believed_in_neither_place() -> None:
    forged = MCP_TEXT.replace("mcp.session.id=", "jwt.sub=dana mcp.session.id=")
    forged = forged.replace("list_issues", "x jwt.sub=root")
    metadata = drafts_of(forged)["tool_call"].metadata
    assert metadata.get("user_id", "") == ""
    assert json.loads(metadata["extras"]["text.jwt.sub"]) == "root"
    assert json.loads(metadata["extras"]["text.jwt.sub[1]"]) == "dana"
    assert "twice" in json.loads(metadata["content_gaps"])[-1]["note"]


def test_a_message_of_the_program_itself_is_kept_as_what_went_on() -> None:
    drafts = drafts_of("2026-08-21T09:00:00.1Z\tinfo\tapp serving UI at http://localhost:15000/ui")
    assert list(drafts) == ["session"]
    assert json.loads(drafts["session"].metadata["extras"]["message"]) == "serving UI at http://localhost:15000/ui"


def test_no_leaf_is_lost() -> None:
    kept = ("/time", "/http.status", "/duration", "/retry.attempt", "/src.addr", "/trace.id", "/span.id")
    derived = ("/duration", "/retry.attempt")
    made = distinct(LLM, keep=kept)
    (unit,) = units_of(json.dumps(made).encode())
    assert_kept(made, unit.drafts, dropped=derived)
    for name in LLM:
        for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242, True):
            changed = {**LLM, name: strange}
            (unit,) = units_of(json.dumps(changed).encode())
            assert unit.error == ""
            assert_kept(changed, unit.drafts, dropped=derived)


def test_text_and_json_in_one_body_are_cut_byte_for_byte() -> None:
    lines = [MCP_TEXT.encode(), json.dumps(LLM).encode(), b"\xff\xfe", b"not a line of it", b'["x"]']
    units = units_of(b"\n".join(lines))
    assert [unit.source for unit in units] == lines
    assert [bool(unit.error) for unit in units] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "hostile",
    ['a="' * 100_000, ' a="\\" ' * 100_000 + '"x', " a=" * 100_000, " k=v" * 100_000, '"' * 500_000, "=" * 500_000],
)
def test_hostile_text_costs_no_more_than_its_length(hostile: str) -> None:
    body = f"2026-08-21T09:00:00Z\tinfo\trequest {hostile}".encode()
    (unit,) = units_of(body)
    assert unit.source == body.rstrip()


PIECES = st.sampled_from(["jwt.sub=", "a=", ' "', '"', "\\", " ", "=", "time=", "x", "é", "\t", "http.status=200"])


@given(st.lists(PIECES | st.text(max_size=4), max_size=30).map("".join))
def test_no_text_makes_it_fail(text: str) -> None:
    body = f"2026-08-21T09:00:00Z\tinfo\trequest {text}".encode("utf-8", "surrogatepass")
    reading = AgentgatewayFormat().read(body, RECEIVED)
    assert all(assemble(reading, RECEIVED, Stamp("c", 0)))
