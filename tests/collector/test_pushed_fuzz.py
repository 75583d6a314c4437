"""Records of Kong, Portkey, Cloudflare and Helicone, damaged anywhere: events that can be sealed, or ``unparsed`` with
the exact bytes, and never an exception."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from cloudflare_lines import line, private_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.assemble import Stamp, assemble
from collector.cloudflare_keys import decrypt_with
from collector.gateways import Attachment, Format, Received
from collector.gateways.cloudflare import CloudflareFormat
from collector.gateways.helicone import HeliconeFormat
from collector.gateways.helicone_log import HeliconeLogFormat
from collector.gateways.kong import KongFormat
from collector.gateways.portkey import PortkeyFormat
from collector.sealing import prepare

NOW = 1_787_305_200_125_000
ASKED = {
    "model": "m",
    "stream": True,
    "user": "u",
    "metadata": {"user_id": "x"},
    "conversation": {"id": "c"},
    "messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]},
                {"type": "document", "title": "d", "source": {"type": "base64", "data": "aGVsbG8="}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
            ],
        },
    ],
}
ANSWERED = {
    "id": "r",
    "model": "m",
    "choices": [{"finish_reason": "stop", "message": {"content": "c", "tool_calls": [{"id": "1", "function": {}}]}}],
    "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}, "cache_creation": {"x": 1}},
    "error": {"type": "t", "code": 1, "message": "m"},
    "hook_results": {"before_request_hooks": [{"id": "h", "verdict": False, "checks": [{"id": "c"}]}]},
}
STREAM = 'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'
URL = "https://s3.example/a?X-Amz-Signature=x"

_RPC = {"method": "tools/call", "id": 1, "payload": {"request": '{"params":{"name":"n"}}', "response": '{"result":{}}'}}
RECORDS: dict[str, tuple[Format, Any]] = {
    "kong": (
        KongFormat(),
        {
            "request": {
                "id": "1",
                "headers": {"traceparent": "00-a-b-01"},
                "querystring": {"key": "k"},
                "url": "/u?key=v",
            },
            "response": {"status": 200, "headers": {"x-request-id": "r"}},
            "latencies": {"kong": 1, "request": 2, "proxy": -1},
            "started_at": 1787305200125,
            "consumer": {"id": "c", "custom_id": "u"},
            "authenticated_groups": [{"name": "g"}],
            "ai": {
                "payload": {"request": json.dumps(ASKED)},
                "proxy": {
                    "meta": {"provider_name": "openai", "llm_latency": 1, "request_mode": "stream"},
                    "usage": {"prompt_tokens": 1, "cost": 0.1, "time_to_first_token": 1},
                    "payload": {"request": ASKED, "response": STREAM},
                    "cache": {"cache_status": "Hit"},
                    "rag-inject": {"chunk_ids": ["a"], "vector_db": "v"},
                    "lakera-guard": {"input_block_reason": "r"},
                },
                "sanitizer": {"pii_sanitized": 1, "sanitized_items": [{"entity_type": "EMAIL"}]},
                "audit": {"azure": {"Hate": 1}},
                "mcp": {"mcp_session_id": "m", "rpc": [_RPC], "audit": [{"action": "deny", "consumer": {"name": "n"}}]},
                "a2a": {"rpc": [{"method": "message/send", "payload": {"request": "{}"}}]},
            },
        },
    ),
    "portkey": (
        PortkeyFormat(),
        {
            "_id": "p",
            "request": {
                "url": "u",
                "headers": {},
                "body": ASKED,
                "portkeyHeaders": {"x-portkey-metadata": '{"_user":1}'},
            },
            "response": {"status": 446, "headers": {"x-portkey-retry-attempt-count": "1"}, "body": ANSWERED, "time": 1},
            "metadata": {"traceId": "t", "spanId": "s"},
            "created_at": "2026-08-21T09:00:00.404Z",
        },
    ),
    "portkey check": (
        PortkeyFormat(),
        {
            "request": {"json": ASKED, "text": "t", "isStreamingRequest": True, "headers": {"x-portkey-trace-id": "t"}},
            "response": {"json": ANSWERED, "text": "t", "statusCode": 200},
            "provider": "openai",
            "requestType": "chatComplete",
        },
    ),
    "cloudflare": (CloudflareFormat(), line(RequestBody=ASKED, ResponseBody=ANSWERED)),
    "cloudflare sealed": (CloudflareFormat(decrypt_with([private_key()])), line(private_key())),
    "cloudflare portal": (
        CloudflareFormat(),
        {"PortalID": "p", "Method": "tools/call", "ToolCallName": "n", "Success": False, "ServerResponseDurationMs": 1},
    ),
    "cloudflare log": (
        CloudflareFormat(),
        {
            "id": "l",
            "created_at": "2026-08-21T09:00:00Z",
            "provider": "openai",
            "model": "m",
            "tokens_in": 1,
            "step": 0,
            "metadata": "{}",
            "request_head": "{",
            "request_head_complete": False,
            "request_size": 9,
        },
    ),
    "helicone": (
        HeliconeFormat(),
        {
            "request_id": "r",
            "request_body": "Body too large for webhook, please fetch",
            "response_body": ANSWERED,
            "request_response_url": URL,
            "metadata": {"cost": 1, "promptTokens": 1, "latencyMs": 1},
        },
    ),
    "helicone log": (
        HeliconeLogFormat(),
        {
            "providerRequest": {"url": "u", "json": {"_type": "tool", "toolName": "n", "input": 1}},
            "providerResponse": {"status": -3, "json": ANSWERED, "textBody": '{"object":"chat.completion.chunk"}\n{}'},
            "timing": {
                "startTime": {"seconds": 1, "milliseconds": 2},
                "endTime": {"seconds": 3},
                "timeToFirstToken": 1,
            },
        },
    ),
}

ODD = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1 << 80, -(1 << 63), 1e308, float("inf"), float("nan"), 0.5, ""),
        *(
            "x",
            "\ud800",
            "\x00",
            "[",
            "{",
            '{"a":',
            "data: {}\n\n",
            "data: [DONE]",
            "::",
            "9" * 30,
            "https://[",
            "{}\n{}",
        ),
        *("2026-13-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "%%%", "====", "Bearer abcdefgh12345678"),
        *([], {}, [[]], [{}], [None], {"": ""}, {"error": []}, {"type": []}, {"a/b~c": {"d": ["\udfff"]}}),
    ]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every node below ``value``."""
    found = [at] if at else []
    if isinstance(value, dict):
        return found + [place for key, item in value.items() for place in places(item, (*at, key))]
    if isinstance(value, list):
        return found + [place for index, item in enumerate(value) for place in places(item, (*at, index))]
    return found


def put(value: Any, at: tuple[Any, ...], what: Any) -> Any:
    """A copy of ``value`` with ``what`` at a path."""
    if not at:
        return what
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(copy[at[0]], at[1:], what)
    return copy


def check(source: Format, body: bytes) -> list[str]:
    """Read, assemble and prepare; the kinds of the events."""
    attachments = {URL: Attachment(json.dumps({"request": ASKED, "response": STREAM}).encode())}
    headers = {"helicone-user-id": "u"}
    received = Received("acme", "g", "t", "http", "", "", "", NOW, source.name, "ab" * 32, headers, "", attachments)
    reading = source.read(body, received)
    assembled = assemble(reading, received, Stamp("c", 0))
    assert all(assembled)
    events = [event for events in assembled for event in events]
    prepare(events)
    for unit in reading.units:
        assert unit.source in body or unit.source == attachments[URL].data or body.startswith(b"\x1f\x8b")
    return [event.kind for event in events]


records = pytest.mark.parametrize("name", RECORDS)


@records
def test_as_it_is_a_record_is_read(name: str) -> None:
    source, record = RECORDS[name]
    assert "unparsed" not in check(source, json.dumps(record).encode())


@records
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_with_anything_in_any_place(name: str, data: st.DataObject) -> None:
    source, record = RECORDS[name]
    for _ in range(data.draw(st.integers(1, 3))):
        record = put(record, data.draw(st.sampled_from(places(record))), data.draw(ODD))
        if not places(record):
            break
    check(source, json.dumps(record).encode())


@records
@given(data=st.data())
def test_cut_or_with_another_byte(name: str, data: st.DataObject) -> None:
    source, record = RECORDS[name]
    body = bytearray(json.dumps(record).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    check(source, bytes(body[: data.draw(st.sampled_from([at, len(body)]))]))


@records
def test_the_ways_in_which_json_goes_wrong(name: str) -> None:
    source, record = RECORDS[name]
    text = json.dumps(record)
    deep = "[" * 100_000 + "]" * 100_000
    first = next(iter(record))
    for body in (
        text.replace("{", '{"d": ' + deep + ", ", 1),
        text.replace("{", f'{{"{first}": 1, "{first}": 2, ', 1),
        text.replace("{", '{"n": ' + "9" * 10_000 + ', "e": 1e999999, ', 1),
        json.dumps(record | {f"attribute {index}": index for index in range(10_000)}),
        json.dumps(dict.fromkeys(record, deep)),
        json.dumps([record, None, 1, [record]]),
    ):
        assert check(source, body.encode())
        assert check(source, gzip.compress(body.encode()))
        assert check(source, gzip.compress(body.encode())[:-9])


@pytest.mark.parametrize("moment", [0, -1, 1, 10**9, 10**12, 10**15, 10**18, 10**21, 4_102_444_800_000])
def test_a_clock_that_is_years_off_is_kept_or_stated(moment: int) -> None:
    for name, field in (("kong", "started_at"), ("cloudflare", "Datetime"), ("portkey", "created_at")):
        source, record = RECORDS[name]
        assert "unparsed" not in check(source, json.dumps(record | {field: moment}).encode())
