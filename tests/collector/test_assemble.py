"""From readings to events: ids, order, times, subjects, and what never leaves in the clear."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.assemble import MAX_NAME, Stamp, assemble, count_events, fitted
from collector.gateways import Draft, Reading, Received, Unit
from collector.scrub import MARKER, SECRET_NAMES, is_secret_name, scrub_extras, scrub_url
from schemas.event import Event
from schemas.ids import event_id, format_event_id
from schemas.metadata import Metadata
from schemas.metadata_binary import decode_metadata, encode_metadata

NOW = 1_787_305_200_125_000
RECEIVED = Received(
    tenant="acme",
    gateway="litellm-eu",
    token_id="t-1",
    receiver="http",
    peer_ip="192.0.2.1",
    media_type="application/json",
    content_encoding="gzip",
    received_at=NOW,
    format="litellm",
    body_sha256="ab" * 32,
)
STAMP = Stamp("c-1", 40)


def unit(*drafts: Draft, source: bytes = b'{"a":1}', source_id: str = "key", error: str = "") -> Unit:
    return Unit(source, source_id, list(drafts), error)


def events_of(*units: Unit, error: str = "") -> list[Event]:
    return [event for events in assemble(Reading(list(units), error), RECEIVED, STAMP) for event in events]


def event_of(metadata: Metadata, content: Any = None) -> Event:
    (event,) = events_of(unit(Draft("prompt", metadata, content, "/here")))
    return event


def test_what_only_the_receiver_knows_is_on_every_event() -> None:
    first, second, third = events_of(unit(Draft("prompt", {}), Draft("response", {})), unit(Draft("prompt", {})))
    for event in (first, second, third):
        own = event.metadata
        assert (own["tenant"], own["gateway"], own["token_id"]) == ("acme", "litellm-eu", "t-1")
        assert (own["receiver"], own["peer_ip"], own["format"]) == ("http", "192.0.2.1", "litellm")
        assert (own["media_type"], own["content_encoding"]) == ("application/json", "gzip")
        assert (own["received_at"], own["body_sha256"], own["collector_id"]) == (NOW, "ab" * 32, "c-1")
        assert own["unit_count"] == 2
        assert event.retention_class == own["retention_class"] == "default"
    assert [event.metadata["unit_index"] for event in (first, second, third)] == [0, 0, 1]
    assert [event.metadata["collector_sequence"] for event in (first, second, third)] == [40, 41, 42]


def test_a_draft_cannot_say_who_sent_it() -> None:
    own = event_of({"tenant": "other", "gateway": "other", "token_id": "x", "received_at": 1, "event_id": "x"}).metadata
    assert (own["tenant"], own["gateway"], own["token_id"], own["received_at"]) == ("acme", "litellm-eu", "t-1", NOW)


def test_a_draft_may_name_a_more_exact_format() -> None:
    assert event_of({"format": "claude-code"}).metadata["format"] == "claude-code"


def test_ids_come_from_the_source_key_the_kind_and_the_ordinal() -> None:
    drafts = [Draft("tool_call", {}), Draft("response", {}), Draft("tool_call", {})]
    events = events_of(unit(*drafts))
    assert [event.event_id for event in events] == [
        event_id("acme", "litellm-eu", "key", kind, ordinal)
        for kind, ordinal in (("tool_call", 0), ("response", 0), ("tool_call", 1))
    ]
    assert [event.metadata["ordinal"] for event in events] == [0, 0, 1]
    assert events[0].metadata["event_id"] == format_event_id(events[0].event_id)


def test_without_a_key_the_bytes_are_the_key() -> None:
    event, other = events_of(
        unit(Draft("prompt", {}), source_id=""), unit(Draft("prompt", {}), source_id="", source=b"2")
    )
    assert event.metadata["source_id"] == hashlib.sha256(b'{"a":1}').hexdigest()
    assert event.event_id != other.event_id


def test_the_first_event_carries_the_source_and_all_name_it() -> None:
    first, second = events_of(unit(Draft("prompt", {}), Draft("response", {})))
    assert (first.source, second.source) == (b'{"a":1}', None)
    assert first.metadata["source_event_id"] == second.metadata["source_event_id"] == first.metadata["event_id"]


@pytest.mark.parametrize(
    ("units", "body_error", "says"),
    [
        ((unit(Draft("prompt", {}), error="no good"),), "", "no good"),
        ((unit(),), "", "the format found nothing in these bytes"),
        ((unit(Draft("prompt", {})),), "not of this format", "not of this format"),
    ],
)
def test_what_cannot_be_normalised_is_one_event_with_its_bytes(
    units: tuple[Unit, ...], body_error: str, says: str
) -> None:
    (event,) = events_of(*units, error=body_error)
    assert (event.kind, event.source, event.content) == ("unparsed", b'{"a":1}', b"")
    assert event.metadata["error_message"] == says
    assert count_events(units, body_error) == 1


def test_times_default_to_the_receipt() -> None:
    own = event_of({}).metadata
    assert (own["occurred_at"], own["time_role"], own["time_precision"]) == (NOW, "received", "")
    own = event_of({"occurred_at": 5, "time_role": "start", "time_precision": "s"}).metadata
    assert (own["occurred_at"], own["time_role"]) == (5, "start")


@pytest.mark.parametrize("impossible", [-1, 10**17, 2**70])
def test_an_impossible_time_is_kept_as_an_extra(impossible: int) -> None:
    own = event_of({"occurred_at": impossible}).metadata
    assert (own["occurred_at"], own["time_role"]) == (NOW, "received")
    assert own["extras"]["occurred_at"] == str(impossible)


def test_the_exchange_defaults_to_the_key_and_the_session_orders() -> None:
    event = event_of({})
    assert event.metadata["exchange_id"] == event.session == "key"
    event = event_of({"exchange_id": "x", "session_id": "s"})
    assert (event.metadata["exchange_id"], event.session) == ("x", "s")


@pytest.mark.parametrize(
    ("metadata", "subject"),
    [
        ({}, ""),
        ({"cloud_principal": "arn"}, "arn"),
        ({"api_key_id": "k", "cloud_principal": "arn"}, "k"),
        ({"service_account": "s", "api_key_id": "k"}, "s"),
        ({"end_user_id": "e", "service_account": "s"}, "e"),
        ({"user_email": "dana@example.com", "end_user_id": "e"}, "dana@example.com"),
        ({"user_id": "u", "user_email": "dana@example.com"}, "u"),
        ({"user_id": "", "user_email": "dana@example.com"}, "dana@example.com"),
        ({"user_id": "\ud800x"}, "\ufffdx"),
        ({"user_id": "ü" * MAX_NAME}, "sha256:" + hashlib.sha256(("ü" * MAX_NAME).encode()).hexdigest()),
    ],
)
def test_the_subject_is_the_first_who_is_named(metadata: Metadata, subject: str) -> None:
    assert event_of(metadata).subject == subject


def test_content_is_json_and_none_is_none() -> None:
    assert event_of({}, {"a": [1]}).content == b'{"a":[1]}'
    assert event_of({}).content == b""


def test_secrets_in_extras_are_replaced_and_noted() -> None:
    extras = {"headers": '{"Authorization":"Bearer abcdefgh12345678","x-trace":"1"}', "n": "1"}
    own = event_of({"extras": extras, "content_state": "full"}).metadata
    assert json.loads(own["extras"]["headers"]) == {"Authorization": MARKER, "x-trace": "1"}
    assert own["extras"]["n"] == "1"
    assert json.loads(own["content_gaps"]) == [
        {"pointer": "/extras/headers/Authorization", "state": "redacted", "note": "secret"}
    ]
    assert own["content_state"] == "full", "nothing was withheld from us"


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("h", {"X-Api-Key": "abc"}, "abc"),
        ("h", {"api_key": ["abc1", "abc2"]}, "abc"),
        ("h", [{"name": "cookie", "value": "sid=abc"}], "abc"),
        ("h", [["Set-Cookie", "sid=abc"]], "abc"),
        ("metadata.requester_custom_headers.x-litellm-api-key", "abc", "abc"),
        ("body", '{"password": "abc"}', "abc"),
        ("note", "use Bearer abcdefghijklmnop please", "abcdefghijklmnop"),
        ("note", "key sk-abcdefghijklmnopqrst", "sk-abc"),
        ("note", ["aff_0123456789ab_abcdefghijklmnopqrstuvwxyz"], "abcdefghij"),
        ("deep", {"a": [{"b": {"client_secret": {"c": "abc"}}}]}, "abc"),
        ("url", "https://x.example/v1beta/m:generateContent?alt=sse&key=abc", "abc"),
        ("url", ["/a?X-Amz-Signature=abc&X-Amz-Expires=1800"], "abc"),
        ("url", {"at": "?sig=abc"}, "abc"),
    ],
)
def test_every_way_to_write_a_secret_is_found(name: str, value: object, hidden: str) -> None:
    clean, cut = scrub_extras({name: json.dumps(value)})
    assert hidden not in clean[name]
    assert cut


@given(st.sampled_from(sorted(SECRET_NAMES)), st.integers(0), st.sampled_from([MARKER[:3], "x" * 300, "highly basic "]))
def test_a_secret_is_found_however_its_name_is_spelt(name: str, spelling: int, around: str) -> None:
    spelt = "".join(
        ("_" if letter == "-" else letter.upper()) if spelling >> at & 1 else letter for at, letter in enumerate(name)
    )
    for value in ({spelt: "hush"}, [{"name": spelt, "value": "hush"}], json.dumps({"in": {f"a.{spelt}": "hush"}})):
        clean, cut = scrub_extras({"body": json.dumps([around, value])})
        assert "hush" not in clean["body"]
        assert cut


def test_what_is_no_secret_is_left_byte_for_byte() -> None:
    extras = {"user_api_key_alias": '"ci-bot"', "note": '{ "basic" : "income" , "tokens": 5}', "secretary": '"x"'}
    assert scrub_extras(extras) == (extras, [])
    assert not is_secret_name("metadata.user_api_key_hash")


def test_only_the_value_of_a_parameter_is_taken_out_of_a_url() -> None:
    assert scrub_url("https://x.example/a?key=abc&b=c#d") == f"https://x.example/a?key={MARKER}&b=c#d"
    assert scrub_url(scrub_url("/a?token=abc")) == f"/a?token={MARKER}", "once is enough"
    assert scrub_url("/a?monkey=abc&keyword=x") == "/a?monkey=abc&keyword=x"


def test_metadata_that_does_not_fit_is_made_to() -> None:
    metadata: Metadata = {"user_name": "\ud800", "input_tokens": 2**80, "extras": {"\udfff": "1"}, "roles": ["\ud800"]}
    fit = fitted(metadata)
    read = decode_metadata(encode_metadata(fit))
    assert (read["user_name"], read["roles"]) == ("\ufffd", ["\ufffd"])
    assert read["extras"] == {"\ufffd": "1", "input_tokens": str(2**80)}
    assert json.loads(read["content_gaps"])[0]["ref"] == "/extras/input_tokens"
