"""Fuzz of every format that faces the outside: not one exception, and no body whose events cannot be sealed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.assemble import Stamp, assemble
from collector.formats import http_routes
from collector.gateways import Received
from collector.sealing import prepare

FORMATS = {route.paths[0]: route.format for route in http_routes() if route.paths[0] != "/v1/metrics"}
NAMES = st.sampled_from(
    [
        *("kind", "id", "content", "extras", "occurred_at", "call_type", "messages", "response", "metadata", "choices"),
        *(
            "resourceLogs",
            "scopeLogs",
            "logRecords",
            "resourceSpans",
            "scopeSpans",
            "spans",
            "attributes",
            "key",
            "value",
        ),
        *("stringValue", "kvlistValue", "arrayValue", "values", "role", "tool_calls", "usage", "guardrail_information"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["prompt", "tool"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)
PROTOBUF_BITS = st.sampled_from(
    [b"\x0a", b"\x12", b"\x1a", b"\x00", b"\xff" * 9 + b"\x01", b"\x05hello", b"\x0a\x02\x08"]
)
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(JSON, max_size=4).map(lambda values: "\n".join(json.dumps(value) for value in values).encode())
    | st.lists(PROTOBUF_BITS | st.binary(max_size=8), max_size=20).map(b"".join)
)


everywhere = pytest.mark.parametrize(
    ("path", "media_type"),
    [(path, media_type) for path in FORMATS for media_type in ("application/json", "application/x-protobuf")],
)


def check(path: str, media_type: str, body: bytes) -> None:
    received = Received("acme", "any", "t", "http", "", media_type, "", 1_787_305_200_125_000, "any", "ab" * 32)
    reading = FORMATS[path].read(body, received)
    assembled = assemble(reading, received, Stamp("c", 0))
    assert all(assembled)
    prepare([event for events in assembled for event in events])
    if reading.error:
        assert b"".join(unit.source for unit in reading.units) == body


@everywhere
@given(body=BODIES)
def test_no_body_makes_a_format_fail(path: str, media_type: str, body: bytes) -> None:
    check(path, media_type, body)


@pytest.mark.soak
@pytest.mark.timeout(0)
@everywhere
@settings(max_examples=20_000)
@given(body=BODIES)
def test_no_body_of_twenty_thousand_makes_a_format_fail(path: str, media_type: str, body: bytes) -> None:
    check(path, media_type, body)
