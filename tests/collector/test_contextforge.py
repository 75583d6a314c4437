"""ContextForge's records: events of its SIEM export, rows of its audit trail, lines of its log."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.assemble import Stamp, assemble
from collector.gateways import Draft, Received, Unit
from collector.gateways.contextforge import ContextForgeFormat

RECEIVED = Received("acme", "forge", "t", "http", "", "application/json", "", 1_787_305_300_000_000, "contextforge")

EVENT: dict[str, Any] = {
    "schema_version": "1.0",
    "event_id": "evt_0123456789ab",
    "timestamp": "2026-08-21T09:00:00.125000+00:00",
    "event_type": "audit_update",
    "severity": "LOW",
    "category": "audit",
    "description": "Audit action UPDATE on tool/t-1 (get_weather)",
    "source": {"service": "mcpgateway", "version": "1.0.8", "instance_id": "pod-1", "event_source": "audit"},
    "actor": {
        "user_id": "dana",
        "user_email": "***REDACTED***",
        "client_ip": "192.0.2.9",
        "user_agent": "curl/8",
        "geo": None,
    },
    "threat": {"score": 0.1, "failed_attempts": 3, "indicators": ["night"]},
    "context": {
        "action": "UPDATE",
        "resource_type": "tool",
        "resource_id": "t-1",
        "resource_name": "get_weather",
        "data_classification": "internal",
        "requires_review": False,
        "success": True,
        "correlation_id": "c-1",
        "details": {"note": "renamed"},
    },
    "action_taken": "allowed",
    "_meta": {"attempt": 0},
}
ROW: dict[str, Any] = {
    "id": "0f8b6c1e",
    "timestamp": "2026-08-21T09:00:00.125Z",
    "correlation_id": "c-1",
    "request_id": "r-1",
    "action": "UPDATE",
    "resource_type": "tool",
    "resource_id": "t-1",
    "resource_name": "get_weather",
    "user_id": "dana",
    "user_email": "dana@example.com",
    "team_id": "team-1",
    "client_ip": "192.0.2.9",
    "user_agent": "curl/8",
    "request_path": "/tools/t-1",
    "request_method": "PUT",
    "old_values": {"name": "weather"},
    "new_values": {"name": "get_weather"},
    "changes": {"name": ["weather", "get_weather"]},
    "data_classification": "internal",
    "requires_review": False,
    "success": True,
    "error_message": None,
    "context": {"details": {"note": "renamed"}},
    "auth_method": "bearer",
    "acting_as": "svc-ci",
    "delegation_chain": {"chain": ["dana", "svc-ci"]},
}
LOG: dict[str, Any] = {
    "asctime": "2026-08-21T09:00:00",
    "name": "mcpgateway.services.tool_service",
    "levelname": "ERROR",
    "message": "Tool invocation failed",
    "@timestamp": "2026-08-21T09:00:00.125000Z",
    "hostname": "pod-1",
    "process_id": 17,
    "request_id": "c-1",
    "trace_id": "5b8efff798038103d269b633813fc60c",
    "span_id": "eee19b7ec3c1b174",
    "trace_flags": "01",
}


def unit_of(record: object) -> Unit:
    (unit,) = ContextForgeFormat().read(json.dumps(record).encode(), RECEIVED).units
    assert unit.error == ""
    return unit


def draft_of(record: object) -> Draft:
    (draft,) = unit_of(record).drafts
    return draft


def test_an_event_of_the_audit() -> None:
    draft = draft_of(EVENT)
    metadata = draft.metadata
    assert (draft.kind, draft.content) == ("admin", {"message": "Audit action UPDATE on tool/t-1 (get_weather)"})
    assert (metadata["operation"], metadata["outcome"]) == ("audit_update", "ok")
    assert (metadata["user_id"], metadata["client_ip"], metadata["assurance"]) == (
        "dana",
        "192.0.2.9",
        "gateway_authenticated",
    )
    assert (metadata["occurred_at"], metadata["time_precision"]) == (1_787_302_800_125_000, "us")
    assert (metadata["gateway_version"], metadata["request_id_gateway"]) == ("1.0.8", "c-1")


def test_what_the_export_redacted_is_no_address() -> None:
    metadata = draft_of(EVENT).metadata
    assert "user_email" not in metadata
    (gap,) = json.loads(metadata["content_gaps"])
    assert (gap["pointer"], gap["state"]) == ("/extras/actor.user_email", "redacted")
    assert draft_of({**EVENT, "actor": {"client_ip": "unknown"}}).metadata.get("client_ip", "") == ""


def test_an_event_that_is_sent_again_has_the_same_key() -> None:
    again = {**EVENT, "_meta": {"attempt": 3}}
    assert unit_of(EVENT).source_id == unit_of(again).source_id == "evt_0123456789ab"


def test_a_refusal_is_a_verdict() -> None:
    draft = draft_of({**EVENT, "category": "security", "event_type": "rbac_denied", "action_taken": "denied"})
    metadata = draft.metadata
    assert (draft.kind, metadata["outcome"]) == ("guardrail", "blocked")
    assert (metadata["guardrail_name"], metadata["guardrail_verdict"]) == ("rbac_denied", "denied")
    assert draft_of({**EVENT, "category": "auth", "event_type": "login"}).kind == "session"


def test_a_row_of_the_audit_trail() -> None:
    draft = draft_of(ROW)
    metadata = draft.metadata
    assert (draft.kind, unit_of(ROW).source_id) == ("admin", "0f8b6c1e")
    assert draft.content == {name: ROW[name] for name in ("old_values", "new_values", "changes")}
    assert (metadata["user_email"], metadata["team_id"]) == ("dana@example.com", "team-1")
    assert (metadata["acting_as"], metadata["delegation"]) == ("svc-ci", ["dana", "svc-ci"])
    assert metadata["extras"]["auth_method"] == '"bearer"'
    failed = draft_of({**ROW, "success": False, "error_message": "no such tool"}).metadata
    assert (failed["outcome"], failed["error_message"]) == ("error", "no such tool")


def test_a_row_of_an_execution_is_a_call_without_its_arguments() -> None:
    draft = draft_of({**ROW, "action": "EXECUTE", "old_values": None, "new_values": None, "changes": None})
    assert (draft.kind, draft.metadata["tool_name"], draft.content) == ("tool_call", "get_weather", None)
    assert draft.metadata["content_state"] == "not_captured"


def test_a_line_of_the_log() -> None:
    draft = draft_of(LOG)
    metadata = draft.metadata
    assert (draft.kind, draft.content) == ("session", {"message": "Tool invocation failed"})
    assert (metadata["trace_id"], metadata["outcome"]) == ("5b8efff798038103d269b633813fc60c", "error")
    assert (metadata["occurred_at"], metadata["request_id_gateway"]) == (1_787_302_800_125_000, "c-1")


DERIVED = ("/context/success", "/success", "/delegation_chain/chain/0", "/delegation_chain/chain/1")


def test_no_leaf_is_lost() -> None:
    kept = ("/timestamp", "/@timestamp", "/category", "/action", "/action_taken", "/actor/user_email", "/levelname")
    for record in (EVENT, {**EVENT, "category": "auth", "action_taken": "denied"}, ROW, LOG):
        made = distinct(record, keep=kept)
        assert_kept(made, unit_of(made).drafts, dropped=DERIVED)
        for name in record:
            for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242):
                changed = {**record, name: strange}
                assert_kept(changed, unit_of(changed).drafts, dropped=DERIVED)


def test_what_is_none_of_them_says_what_to_send() -> None:
    body = b'{"a": 1}\nplain text\n[]'
    units = ContextForgeFormat().read(body, RECEIVED).units
    assert b"\n".join(unit.source for unit in units) == body
    assert "expected an event, row or log line" in units[0].error
    assert "LOG_FORMAT=json" in units[1].error


KEYS = st.sampled_from([*EVENT, *ROW, *LOG])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("***")


@given(st.dictionaries(KEYS, VALUES | st.lists(VALUES) | st.dictionaries(KEYS, VALUES, max_size=3), max_size=12))
def test_no_values_make_it_fail(record: dict[str, Any]) -> None:
    reading = ContextForgeFormat().read(json.dumps(record).encode(), RECEIVED)
    assert all(assemble(reading, RECEIVED, Stamp("c", 0)))
