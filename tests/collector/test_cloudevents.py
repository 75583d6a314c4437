"""CloudEvents: modes, headers, data rules, and what becomes of what an event carries."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from collector_server import collector_server
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept

from collector.gateways import Reading, Received, Unit
from collector.gateways.cloudevents import CloudEventsFormat
from collector.gateways.cloudevents_headers import decode_value, is_json

REQUIRED = {"specversion": "1.0", "type": "com.example.llm.v1", "source": "/gateways/prod-1", "id": "01J5-7"}
EVENT: dict[str, Any] = {
    **REQUIRED,
    "time": "2026-08-21T09:00:00.125Z",
    "datacontenttype": "application/json",
    "dataschema": "https://example.com/schema",
    "subject": "user/dana",
    "traceparent": "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01",
    "partitionkey": "p1",
    "data": {
        "model": "gpt-5",
        "provider": "openai",
        "user_email": "dana@example.com",
        "session_id": "s-1",
        "ticket": {"id": "INC-7"},
        "request": {
            "model": "gpt-5",
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "tool_calls": [{"id": "c0", "function": {"name": "look", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c0", "content": "seen"},
            ],
        },
        "response": {
            "id": "chatcmpl-1",
            "model": "gpt-5-2026",
            "choices": [
                {
                    "finish_reason": "tool_calls",
                    "message": {
                        "role": "assistant",
                        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
                    },
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        },
    },
}
CE_HEADERS = {f"ce-{name}": value for name, value in REQUIRED.items()}


def received(media_type: str, headers: dict[str, str] | None = None) -> Received:
    return Received("acme", "ce", "t", "http", "", media_type, "", 1, "cloudevents", headers=headers or {})


def read(
    body: object, media_type: str = "application/cloudevents+json", headers: dict[str, str] | None = None
) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CloudEventsFormat().read(raw, received(media_type, headers))


def unit_of(
    body: object, media_type: str = "application/cloudevents+json", headers: dict[str, str] | None = None
) -> Unit:
    (unit,) = read(body, media_type, headers).units
    return unit


def test_a_model_call_is_its_prompt_results_response_and_calls() -> None:
    unit = unit_of(EVENT)
    assert [draft.kind for draft in unit.drafts] == ["prompt", "tool_result", "response", "tool_call"]
    assert unit.source_id == '["/gateways/prod-1","01J5-7"]'
    prompt, _, response, _ = unit.drafts
    assert prompt.content == EVENT["data"]["request"]
    assert (response.metadata["input_tokens"], response.metadata["model_served"]) == (7, "gpt-5-2026")
    assert response.pointer == "/data/response"
    for draft in unit.drafts:
        metadata = draft.metadata
        assert metadata["occurred_at"] == 1787302800125000
        assert metadata["trace_id"] == "5b8efff798038103d269b633813fc60c"
        assert (metadata["session_id"], metadata["user_email"]) == ("s-1", "dana@example.com")
        assert (metadata["provider"], metadata["assurance"]) == ("openai", "client_asserted")


NATIVE = {
    "kind": "tool_call",
    "id": "n-1",
    "tool_name": "look",
    "content": {"arguments": {"a": 1}},
    "extras": {"x": [1]},
}


@pytest.mark.parametrize(
    "data",
    [
        EVENT["data"],
        NATIVE,
        {"anything": ["else", 5]},
        ["a", "list"],
        "text",
        17,
        False,
        {"request": "bare text"},
        {"request": 5},
    ],
    ids=repr,
)
def test_no_leaf_of_an_event_is_lost(data: Any) -> None:
    event = EVENT | {"data": data}
    assert_kept(event, unit_of(event).drafts)


def test_an_event_of_the_native_api_is_one() -> None:
    (draft,) = unit_of(EVENT | {"data": NATIVE}).drafts
    assert (draft.kind, draft.content) == ("tool_call", {"arguments": {"a": 1}})
    assert (draft.metadata["tool_name"], draft.metadata["occurred_at"]) == ("look", 1787302800125000)
    assert unit_of(EVENT | {"data": NATIVE}).source_id == '["/gateways/prod-1","01J5-7"]', "not the data's own id"
    (timed,) = unit_of(EVENT | {"data": NATIVE | {"occurred_at": "2026-08-21T10:00:00Z"}}).drafts
    assert timed.metadata["occurred_at"] == 1787306400000000


def test_a_misspelt_field_of_the_native_api_is_told() -> None:
    unit = unit_of(EVENT | {"data": NATIVE | {"user_emial": "x"}})
    assert unit.error.startswith("data: field 'user_emial' is unknown: did you mean user_email?")
    assert json.loads(unit.source)["id"] == unit.source_id.split('"')[3]


BATCH = "application/cloudevents-batch+json"


@pytest.mark.parametrize("media_type", [BATCH, "Application/CloudEvents-Batch+JSON; charset=utf-8"])
def test_batch_is_asked_for_before_structured(media_type: str) -> None:
    other = EVENT | {"id": "2"}
    body = json.dumps([EVENT, 5, other], indent=1).encode()
    first, bad, last = read(body, media_type).units
    assert json.loads(first.source) == EVENT
    assert first.source in body
    assert (last.source_id, last.pointer) == ('["/gateways/prod-1","2"]', "/2")
    assert "expected a CloudEvent" in bad.error
    assert read([], media_type).units == []
    assert read(EVENT, media_type).error == "got a batch that is not a JSON array"


def test_binary_mode_is_headers_and_body() -> None:
    headers = {**CE_HEADERS, "ce-subject": "user/Euro%20%E2%82%AC", "ce-rank": '"a \\"b\\""', "x-other": "1"}
    unit = unit_of(b'{"odd":  "data"}', "application/json; charset=utf-8", headers)
    (draft,) = unit.drafts
    assert (draft.kind, draft.content) == ("session", {"data": {"odd": "data"}})
    assert draft.metadata["extras"] == {
        "ce.subject": '"user/Euro €"',
        "ce.rank": '"a \\"b\\""',
        "ce.datacontenttype": '"application/json; charset=utf-8"',
        "ce.source": '"/gateways/prod-1"',
    }
    assert unit.source_id == '["/gateways/prod-1","01J5-7"]'
    assert unit.source == (
        b'ce-id: 01J5-7\r\nce-rank: "a \\"b\\""\r\nce-source: /gateways/prod-1\r\nce-specversion: 1.0\r\n'
        b"ce-subject: user/Euro%20%E2%82%AC\r\nce-type: com.example.llm.v1\r\n"
        b'content-type: application/json; charset=utf-8\r\n\r\n{"odd":  "data"}'
    )


def test_the_source_of_binary_mode_can_be_read_again() -> None:
    first = unit_of(b"{}", "application/json", CE_HEADERS | {"ce-subject": "%E2%82%AC"})
    again = unit_of(first.source, "")
    assert (again.source, again.source_id, again.drafts) == (first.source, first.source_id, first.drafts)


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("100%2525", "100%25"),
        ("50%", "50%"),
        ("%zz", "%zz"),
        ('"quoted \\"twice\\" %20"', 'quoted "twice"  '),
        ('"', '"'),
        ("\u00e2\u0082\u00ac", "€"),
    ],
)
def test_header_values_are_decoded_once(value: str, means: str) -> None:
    assert decode_value(value) == means


@pytest.mark.parametrize("value", ["%C3%28", "%ED%A0%80", "\u00ff", "%FF"])
def test_a_header_that_is_not_utf8_is_refused(value: str) -> None:
    unit = unit_of(b"{}", "application/json", CE_HEADERS | {"ce-subject": value})
    assert "not UTF-8" in unit.error
    assert b"ce-subject: " + value.encode("latin-1") in unit.source


@pytest.mark.parametrize(
    ("media_type", "data", "content"),
    [
        ("application/json", b'"{\\"a\\":1}"', {"data": '{"a":1}'}),
        ("application/problem+json", b"[1]", {"data": [1]}),
        ("text/plain", b'{"a":1}', {"data": '{"a":1}'}),
        ("audio/wav", b"RIFF\xff", {"data_base64": "UklGRv8="}),
        ("", b'{"a":1}', {"data": {"a": 1}}),
        ("", b"words", {"data": "words"}),
        ("application/json", b"", None),
    ],
)
def test_data_of_binary_mode_is_what_its_type_says(media_type: str, data: bytes, content: object) -> None:
    (draft,) = unit_of(data, media_type, CE_HEADERS).drafts
    assert draft.content == content


@pytest.mark.parametrize(
    ("event", "content"),
    [
        ({"data": '{"a": 1}'}, {"data": '{"a": 1}'}),
        ({"data": '{"a": 1}', "datacontenttype": "application/xml"}, {"data": '{"a": 1}'}),
        ({"data_base64": "UklGRg==", "datacontenttype": "audio/wav"}, {"data_base64": "UklGRg=="}),
        ({"data_base64": "eyJhIjoxfQ==", "datacontenttype": "application/json"}, {"data": {"a": 1}}),
        ({"data_base64": "eyJhIjoxfQ=="}, {"data_base64": "eyJhIjoxfQ=="}),
        ({"data_base64": "???", "datacontenttype": "application/json"}, {"data_base64": "???"}),
        ({"data": None}, None),
        ({}, None),
    ],
)
def test_data_of_structured_mode(event: dict[str, Any], content: object) -> None:
    """A JSON string is a string, whatever it looks like; base64 without a type stays as it is."""
    (draft,) = unit_of({**REQUIRED, **event}).drafts
    assert draft.content == content


def test_base64_may_hold_a_model_call() -> None:
    data = base64.b64encode(json.dumps(EVENT["data"]).encode()).decode()
    event = {**REQUIRED, "datacontenttype": "application/json", "data_base64": data}
    assert [draft.kind for draft in unit_of(event).drafts][:1] == ["prompt"]


@pytest.mark.parametrize("missing", list(REQUIRED))
def test_what_lacks_a_required_attribute_is_refused(missing: str) -> None:
    event = {name: value for name, value in EVENT.items() if name != missing}
    assert unit_of(event).error == f"got a CloudEvent without {missing}"
    headers = {name: value for name, value in CE_HEADERS.items() if name != f"ce-{missing}"}
    assert unit_of(b"{}", "application/json", headers).error == f"got a CloudEvent without {missing}"


@pytest.mark.parametrize(
    ("body", "media_type", "headers", "says"),
    [
        (b"{}", "application/json", {}, "got no CloudEvent"),
        (b"", "", {}, "got no CloudEvent"),
        (b"{", "application/cloudevents+json", {}, "not JSON"),
        (b"[]", "application/cloudevents+json", {}, "expected a CloudEvent: an object"),
        (json.dumps(EVENT | {"data_base64": "AA=="}).encode(), "application/cloudevents+json", {}, "both data and"),
        (b"{", "application/json", CE_HEADERS, "says it is application/json"),
        (b"{}", "application/json", CE_HEADERS | {"ce-Bad_Name": "x"}, "expected a name of a-z"),
    ],
)
def test_what_is_none_is_kept_with_its_bytes(body: bytes, media_type: str, headers: dict[str, str], says: str) -> None:
    unit = unit_of(body, media_type, headers)
    assert says in unit.error
    assert unit.source.endswith(body)


def test_media_types() -> None:
    assert [is_json(one) for one in ("", "application/json", "TEXT/JSON", "a/b+json; x=y")] == [True] * 4
    assert [is_json(one) for one in ("text/plain", "application/jsonlines", "application/xml")] == [False] * 3


@given(
    st.dictionaries(st.text(max_size=8), st.text(max_size=20)),
    st.binary(max_size=50),
    st.sampled_from(["", "application/json", BATCH]),
)
def test_no_headers_make_it_fail(headers: dict[str, str], body: bytes, media_type: str) -> None:
    named = {f"ce-{name.lower()}": value for name, value in headers.items()}
    for unit in read(body, media_type, named | CE_HEADERS).units + read(body, media_type, named).units:
        assert unit.error or unit.drafts


@given(
    st.dictionaries(
        st.sampled_from([*EVENT, "data_base64"]), st.none() | st.text(max_size=9) | st.integers() | st.just(NATIVE)
    )
)
def test_no_event_makes_it_fail(event: dict[str, Any]) -> None:
    for unit in read(REQUIRED | event).units:
        assert unit.error or unit.drafts


def test_over_http_with_the_handshake_of_webhooks() -> None:
    with collector_server("cloudevents") as collector:
        url = f"{collector.url}/v1/cloudevents"
        asked = httpx.options(
            url, headers={"webhook-request-origin": "events.example.com", "webhook-request-rate": "120"}
        )
        assert asked.status_code == 200
        assert asked.headers["webhook-allowed-origin"] == "events.example.com"
        assert asked.headers["webhook-allowed-rate"] == "*"
        assert "POST" in asked.headers["allow"]
        assert "webhook-allowed-origin" not in httpx.options(url).headers
        assert httpx.post(url, json=EVENT["data"], headers=CE_HEADERS).status_code == 401
        sent = httpx.post(url, json=EVENT["data"], headers=collector.headers | CE_HEADERS)
        assert (sent.status_code, sent.json()["events"]) == (200, 4)
        batch = [EVENT | {"id": "2"}, {"specversion": "1.0"}]
        mixed = httpx.post(url, content=json.dumps(batch), headers=collector.headers | {"content-type": BATCH})
        assert (mixed.status_code, mixed.json()["accepted"], mixed.json()["unparsed"]) == (200, 1, 1)
        empty = httpx.post(url, content=b"[]", headers=collector.headers | {"content-type": BATCH})
        assert empty.status_code == 200
        refused = httpx.post(url, json={}, headers=collector.headers)
        assert (refused.status_code, refused.json()["unparsed"]) == (400, 1)
        sources = [event.source for event in collector.opened() if event.source]
        assert all("aff_" not in source.decode() for source in sources)
