"""The native format: what an event may say, what it may not, and how it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept

from collector.assemble import Stamp, assemble
from collector.gateways import Received, Unit
from collector.gateways.native import COLLECTOR_FIELDS, FIELDS, NativeFormat
from collector.openapi import describe
from schemas.metadata import Metadata, schema
from schemas.metadata_binary import decode_metadata, encode_metadata

NOW = 1_787_305_200_125_000

EVENT: dict[str, Any] = {
    "id": "chat-81/2",
    "kind": "tool_call",
    "session_id": "chat-81",
    "occurred_at": "2026-08-21T09:00:00.125Z",
    "started_at": 1787302800000001,
    "ended_at": None,
    "user_email": "dana@example.com",
    "roles": ["analyst"],
    "stream": False,
    "input_tokens": 12,
    "cost_amount": 1,
    "latency_ms": 12.5,
    "approval_tier": 2,
    "usage_raw": {"prompt": 12},
    "cost_raw": "free",
    "content": {"arguments": {"q": 1}},
    "extras": {"ticket": "INC-7", "nested": {"a": [1, None]}},
}


def received(media_type: str = "application/json") -> Received:
    return Received("acme", "native", "t-1", "http", "192.0.2.1", media_type, "", NOW, "native", "ab" * 32)


def unit_of(event: object) -> Unit:
    (unit,) = NativeFormat().read(json.dumps(event).encode(), received()).units
    return unit


def metadata_of(event: object) -> Metadata:
    unit = unit_of(event)
    assert unit.error == ""
    return unit.drafts[0].metadata


def error_of(**fields: Any) -> str:
    unit = unit_of({"kind": "prompt"} | fields)
    assert unit.drafts == []
    return unit.error


def test_an_event_is_taken_as_it_is_written() -> None:
    unit = unit_of(EVENT)
    (draft,) = unit.drafts
    assert (unit.source_id, draft.kind, draft.content) == ("chat-81/2", "tool_call", {"arguments": {"q": 1}})
    assert draft.metadata["occurred_at"] == 1787302800125000
    assert draft.metadata["time_precision"] == "ms"
    assert draft.metadata["started_at"] == 1787302800000001
    assert "ended_at" not in draft.metadata
    assert draft.metadata["extras"] == {"ticket": '"INC-7"', "nested": '{"a":[1,null]}'}
    assert (draft.metadata["usage_raw"], draft.metadata["cost_raw"]) == ('{"prompt":12}', "free")
    assert_kept(EVENT, unit.drafts, dropped=["/id"])


def test_every_field_of_the_schema_is_either_the_senders_or_the_collectors() -> None:
    names = {field["name"] for field in schema("metadata.v1")["fields"]}
    assert names <= set(FIELDS) | COLLECTOR_FIELDS
    assert set(FIELDS) - names == {"id", "content"}
    assert not set(FIELDS) & COLLECTOR_FIELDS


@pytest.mark.parametrize("name", sorted(COLLECTOR_FIELDS))
def test_what_the_collector_knows_better_is_refused(name: str) -> None:
    assert error_of(**{name: "x"}).startswith(f"field {name} is set by the collector")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"user_emial": "x"}, "field 'user_emial' is unknown: did you mean user_email?"),
        ({"zzzzzz": 1}, "field 'zzzzzz' is unknown: put it into extras"),
        ({"kind": "prompts"}, "field kind: input should be 'prompt'"),
        ({"kind": "unparsed"}, "field kind: input should be 'prompt'"),
        ({"input_tokens": "12"}, "field input_tokens: input should be a valid integer"),
        ({"input_tokens": True}, "field input_tokens: input should be a valid integer"),
        ({"occurred_at": "yesterday"}, "field occurred_at: got 'yesterday', expected a time such as"),
        ({"occurred_at": 1787302800}, "field occurred_at: got 1787302800"),
        ({"ended_at": 10**18}, "field ended_at: got 1000000000000000000, expected microseconds"),
        ({"roles": "admin"}, "field roles: input should be a valid list"),
        ({"approval_tier": 4}, "field approval_tier: input should be 1, 2 or 3"),
        ({"assurance": "trust me"}, "field assurance: input should be"),
        ({"content_gaps": [{"pointer": "/content"}]}, "field content_gaps: expected objects with pointer, state"),
        ({"content_gaps": [{"pointer": "/content", "state": "lost"}]}, "field content_gaps: expected each state"),
        ({"content_gaps": [{"pointer": "/c", "state": []}]}, "field content_gaps: expected each state"),
        ({"a": 1, "b": 2}, "(and 1 more)"),
    ],
)
def test_an_error_names_the_field_and_the_remedy(fields: dict[str, Any], says: str) -> None:
    assert says in error_of(**fields)


@pytest.mark.parametrize("value", [None, 5, "text", [], True, 1.5])
def test_what_is_no_object_is_named(value: object) -> None:
    body = json.dumps([value]).encode()
    (unit,) = NativeFormat().read(body, received()).units
    assert "expected a JSON object" in unit.error


def test_an_object_without_kind_is_told_the_kinds() -> None:
    assert unit_of({"content": 1}).error.startswith("field kind is missing, expected one of prompt, response")


def test_gaps_set_the_state_of_the_content() -> None:
    metadata = metadata_of(
        {"kind": "prompt", "content_gaps": [{"pointer": "/content/x", "state": "truncated", "limit": 512}]}
    )
    assert metadata["content_state"] == "truncated"
    assert json.loads(metadata["content_gaps"]) == [{"pointer": "/content/x", "state": "truncated", "limit": 512}]


def test_the_openapi_document_describes_every_field() -> None:
    event = describe([])["components"]["schemas"]["Event"]
    assert set(event["properties"]) == set(FIELDS)
    assert event["required"] == ["kind"]
    assert event["additionalProperties"] is False
    assert "UUIDv5" not in json.dumps(event), "fields of the collector are not on offer"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON, max_size=8), st.sampled_from(["prompt", "access", "x"]))
def test_any_event_is_normalised_or_refused_and_always_fits_its_record(fields: dict[str, Any], kind: str) -> None:
    body = json.dumps(fields | {"kind": kind}).encode()
    reading = NativeFormat().read(body, received())
    assert [unit.source for unit in reading.units] == [body]
    ((event,),) = assemble(reading, received(), Stamp("c-1", 0))
    assert (event.kind == "unparsed") == bool(reading.units[0].error)
    if all(not isinstance(value, int) or abs(value) < 2**63 for value in fields.values()):
        assert decode_metadata(encode_metadata(event.metadata))["kind"] == event.kind


@given(st.binary())
def test_no_bytes_make_the_format_fail(body: bytes) -> None:
    for unit in NativeFormat().read(body, received()).units:
        assert unit.source in body
        assert unit.error or unit.drafts
