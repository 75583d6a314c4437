"""The activities of Anthropic and the audit entries of OpenAI: what becomes of each field, and that none is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.assemble import Stamp, assemble
from collector.gateways import Draft, Format, Received, Unit
from collector.gateways.anthropic_compliance import AnthropicComplianceFormat
from collector.gateways.lists import split_list
from collector.gateways.openai_audit import OpenAIAuditFormat
from collector.sealing import prepare

NOW = 1_787_305_200_125_000
RECEIVED = Received("acme", "feed", "feed/a", "poll", "", "application/json", "", NOW, "any", "ab" * 32)
FORMATS: dict[str, Format] = {"anthropic": AnthropicComplianceFormat(), "openai": OpenAIAuditFormat()}
every = pytest.mark.parametrize("name", FORMATS)

ACTIVITY: dict[str, Any] = {
    "id": "activity_01XyDM",
    "created_at": "2026-08-21T09:00:00.123456Z",
    "organization_id": "org_01Wv6Q",
    "organization_uuid": "abcdef01-2345-6789-abcd-ef0123456789",
    "actor": {
        "type": "user_actor",
        "email_address": "dana@example.com",
        "user_id": "user_01TuVw",
        "ip_address": "192.0.2.34",
        "user_agent": "Mozilla/5.0",
        "new_field": "of tomorrow",
    },
    "type": "claude_chat_created",
    "claude_chat_id": "claude_chat_01XyDM",
    "claude_project_id": "claude_proj_01KGp4",
    "changes": [{"from": "a", "to": "b"}],
}

ENTRY: dict[str, Any] = {
    "id": "audit_log-xxx_20260821",
    "type": "api_key.updated",
    "effective_at": 1787305200,
    "project": {"id": "proj_1", "name": "Payments"},
    "actor": {
        "type": "session",
        "session": {
            "user": {"id": "user-xxx", "email": "dana@example.com"},
            "ip_address": "192.0.2.34",
            "user_agent": "Mozilla/5.0",
            "ja3": "a497151c",
            "ja4": "q13d0313h3",
            "ip_address_details": {"country": "CH", "asn": "1234"},
        },
    },
    "api_key.updated": {"id": "key_xxxx", "changes_requested": {"scopes": ["api.model.request"]}},
}


def units(name: str, *records: object) -> list[Unit]:
    body = json.dumps({"data": list(records), "has_more": False, "first_id": "a", "last_id": "b"}).encode()
    return FORMATS[name].read(body, RECEIVED).units


def draft(name: str, record: object) -> Draft:
    (unit,) = units(name, record)
    assert unit.error == ""
    (only,) = unit.drafts
    assert only.kind == "admin"
    return only


def extras(only: Draft) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in only.metadata["extras"].items()}


@pytest.mark.parametrize(("name", "record"), [("anthropic", ACTIVITY), ("openai", ENTRY)])
def test_no_leaf_is_lost(name: str, record: dict[str, Any]) -> None:
    keep = ["/type", "/actor/type", "/created_at", "/effective_at"]
    record = distinct(record, keep=keep)
    assert_kept(record, units(name, record)[0].drafts)


@pytest.mark.parametrize(("name", "record"), [("anthropic", ACTIVITY), ("openai", ENTRY)])
def test_each_record_is_a_unit_with_its_exact_bytes_and_its_id(name: str, record: dict[str, Any]) -> None:
    exact = json.dumps(record, indent=3).encode()
    body = b'{ "has_more" :true,\n"data" : [ ' + exact + b" , " + json.dumps(record).encode() + b"]\n}"
    first, second = FORMATS[name].read(body, RECEIVED).units
    assert first.source == exact
    assert (first.source_id, second.source_id) == (record["id"], record["id"])
    (alone,) = FORMATS[name].read(exact, RECEIVED).units
    assert (alone.source, alone.drafts) == (exact, first.drafts)
    assert [unit.source_id for unit in FORMATS[name].read(b"[" + exact + b"]", RECEIVED).units] == [record["id"]]


def test_an_activity_says_who_and_who_vouches() -> None:
    metadata = draft("anthropic", ACTIVITY).metadata
    assert metadata["operation"] == "claude_chat_created"
    assert (metadata["user_id"], metadata["user_email"]) == ("user_01TuVw", "dana@example.com")
    assert (metadata["actor_type"], metadata["assurance"]) == ("user", "provider_authenticated")
    assert (metadata["client_ip"], metadata["user_agent"]) == ("192.0.2.34", "Mozilla/5.0")
    assert metadata["session_id"] == metadata["conversation_id"] == "claude_chat_01XyDM"
    assert (metadata["occurred_at"], metadata["time_precision"]) == (1_787_302_800_123_456, "us")
    assert metadata["org_id"] == "org_01Wv6Q"


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ({"type": "api_actor", "api_key_id": "k"}, ("service", "provider_authenticated", "k", "")),
        ({"type": "admin_api_key_actor", "admin_api_key_id": "k"}, ("service", "provider_authenticated", "k", "")),
        (
            {"type": "unauthenticated_user_actor", "unauthenticated_email_address": "x@example.com"},
            ("user", "client_asserted", "", "x@example.com"),
        ),
        ({"type": "anthropic_actor", "email_address": None}, ("system", "provider_authenticated", "", "")),
        (
            {"type": "scim_directory_sync_actor", "workos_event_id": "w", "directory_id": "d"},
            ("system", "provider_authenticated", "", ""),
        ),
        ({"type": "actor_of_tomorrow", "badge": "7"}, ("", "unknown", "", "")),
        (None, ("", "unknown", "", "")),
    ],
)
def test_each_kind_of_actor(actor: dict[str, Any] | None, expected: tuple[str, str, str, str]) -> None:
    only = draft("anthropic", {**ACTIVITY, "actor": actor})
    metadata = only.metadata
    found = (metadata["actor_type"], metadata["assurance"], metadata["api_key_id"], metadata["user_email"])
    assert found == expected
    assert_kept({"actor": actor}, [only])


def test_access_to_the_feed_is_an_activity_like_all_others() -> None:
    accessed = {
        **ACTIVITY,
        "type": "compliance_api_accessed",
        "organization_id": None,
        "url": "/v1/compliance/activities",
    }
    only = draft("anthropic", accessed)
    assert only.metadata["operation"] == "compliance_api_accessed"
    assert extras(only)["url"] == "/v1/compliance/activities"


def test_details_lie_under_the_type_with_its_dot() -> None:
    only = draft("openai", ENTRY)
    assert only.metadata["operation"] == "api_key.updated"
    assert extras(only)["api_key.updated.id"] == "key_xxxx"
    assert extras(only)["api_key.updated.changes_requested"] == {"scopes": ["api.model.request"]}
    assert (only.metadata["project_id"], extras(only)["project.name"]) == ("proj_1", "Payments")
    assert (only.metadata["occurred_at"], only.metadata["time_precision"]) == (1_787_305_200_000_000, "s")


def test_details_with_an_underscore_are_read_as_well() -> None:
    entry = {name: value for name, value in ENTRY.items() if name != "api_key.updated"}
    only = draft("openai", {**entry, "api_key_updated": {"id": "key_xxxx"}})
    assert extras(only)["api_key_updated.id"] == "key_xxxx"


def test_a_login_that_failed_says_why() -> None:
    failed = {"id": "a", "type": "login.failed", "login.failed": {"error_code": "mfa", "error_message": "no code"}}
    metadata = draft("openai", failed).metadata
    assert (metadata["outcome"], metadata["error_code"], metadata["error_message"]) == ("error", "mfa", "no code")
    assert "outcome" not in draft("openai", {"id": "a", "type": "login.succeeded", "login.succeeded": {}}).metadata


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (
            {"type": "api_key", "api_key": {"id": "k", "type": "user", "user": {"id": "u", "email": "d@example.com"}}},
            ("user", "provider_authenticated", "k", "u", ""),
        ),
        (
            {"type": "api_key", "api_key": {"type": "service_account", "service_account": {"id": "svc"}}},
            ("service", "provider_authenticated", "", "", "svc"),
        ),
        (None, ("", "unknown", "", "", "")),
        ("odd", ("", "unknown", "", "", "")),
    ],
)
def test_each_kind_of_actor_of_openai(actor: object, expected: tuple[str, ...]) -> None:
    only = draft("openai", {**ENTRY, "actor": actor})
    names = ("actor_type", "assurance", "api_key_id", "user_id", "service_account")
    assert tuple(only.metadata.get(name, "") for name in names) == expected
    assert_kept({"actor": actor}, [only])


@every
def test_what_is_no_record_is_kept_as_it_is(name: str) -> None:
    body = b'{"data":[{"id":7,"type":"t"},{"id":"a"},null,"x"],"has_more":false}'
    found = FORMATS[name].read(body, RECEIVED).units
    assert [unit.source for unit in found] == [b'{"id":7,"type":"t"}', b'{"id":"a"}', b"null", b'"x"']
    assert all("expected an" in unit.error for unit in found)


@every
def test_a_page_that_is_cut_off_loses_no_byte(name: str) -> None:
    whole = json.dumps({"data": [ACTIVITY, ENTRY], "has_more": False}).encode()
    for end in range(0, len(whole), 7):
        found = FORMATS[name].read(whole[:end], RECEIVED).units
        assert b"".join(unit.source for unit in found).split() == whole[:end].split() or end == len(whole)


@every
def test_what_a_page_says_beside_its_list_is_kept(name: str) -> None:
    body = json.dumps({"data": [{"id": "a", "type": "t"}, {"id": "b", "type": "t"}], "notice": "degraded"}).encode()
    first, second = FORMATS[name].read(body, RECEIVED).units
    assert extras(first.drafts[0]) == {"page.notice": "degraded"}
    assert extras(second.drafts[0]) == {}


@every
def test_a_secret_does_not_reach_the_derived_view(name: str) -> None:
    record = {"id": "a", "type": "t.x", "t.x": {"note": "Bearer abcdefgh12345678"}, "headers": {"x-api-key": "k-1234"}}
    body = json.dumps({"data": [record], "has_more": False}).encode()
    ((event,),) = assemble(FORMATS[name].read(body, RECEIVED), RECEIVED, Stamp("c", 0))
    assert "abcdefgh" not in str(event.metadata)
    assert "k-1234" not in str(event.metadata)


def test_real_samples_keep_every_leaf(samples: Path) -> None:
    activity = json.loads((samples / "anthropic-compliance/activity-mcp-server-created.json").read_bytes())
    assert_kept(activity, [draft("anthropic", activity)])
    page = (samples / "openai-audit/list-audit-logs.json").read_bytes()
    found = FORMATS["openai"].read(page, RECEIVED).units
    for record, unit in zip(json.loads(page)["data"], found, strict=True):
        assert_kept(record, unit.drafts)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"data":1}',
        b'{"data":[1]',
        b'{"data":[1]} x',
        b"\xff",
        b'{"data" [1]}',
        b'{"data":[1] "a":2}',
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    assert split_list(body) is None


def test_two_lists_of_one_name_are_both_read() -> None:
    page = split_list(b'{"data":[1], "data":[2,3]}')
    assert page is not None
    assert [record.source for record in page.records] == [b"1", b"2", b"3"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "actor", "session", "user", "api_key", "created_at", "effective_at", "project"]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@every
@given(records=st.lists(VALUES, max_size=3), raw=st.binary(max_size=100), paged=st.booleans())
def test_no_body_makes_a_format_fail(name: str, records: list[object], raw: bytes, paged: bool) -> None:
    for body in (raw, json.dumps({"data": records, "has_more": False} if paged else records).encode()):
        reading = FORMATS[name].read(body, RECEIVED)
        assembled = assemble(reading, RECEIVED, Stamp("c", 0))
        prepare([event for events in assembled for event in events])


@every
@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[' + b"[" * 100_000,
        b'{"data":[{"id":"a","type":"t","n":' + b"9" * 10_000 + b"}]}",
        b'{"data":[{"id":"a\\ud800","type":"t","created_at":"9999-12-31T23:59:59Z","effective_at":1e300}]}',
        b'{"data":[{"id":"a","id":"b","type":"t","type":"u"}]}',
        b'{"data":[{"id":"a","type":"t",' + b",".join(b'"k%d":%d' % (n, n) for n in range(10_000)) + b"}]}",
    ],
)
def test_hostile_bodies(name: str, body: bytes) -> None:
    reading = FORMATS[name].read(body, RECEIVED)
    assembled = assemble(reading, RECEIVED, Stamp("c", 0))
    assert all(assembled)
    prepare([event for events in assembled for event in events])
