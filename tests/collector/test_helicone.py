"""Helicone's webhook and its manual loggers: signatures, bodies that are not there, and what was behind the address.
The webhook is tested on payloads as Helicone's source builds them; the logger is the real one, elsewhere."""

from __future__ import annotations

import asyncio
import copy
import gzip
import hashlib
import hmac
import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector_server import RunningCollector, collector_server
from faults import Fault, Faults
from helicone_helpers import HeliconeManualLogger
from https_objects import https_objects
from kept_leaves import assert_kept, distinct

from collector.body import BodyLimits
from collector.fetching import FetchLimits, HttpsFetcher
from collector.gateways import Attachment, Draft, Received, Unit
from collector.gateways.helicone import HeliconeFormat
from collector.gateways.helicone_log import HeliconeLogFormat
from collector.routes import Webhook

NOW = 1_787_305_200_125_000
LOOPBACK = ip_network("127.0.0.0/8")
SECRET, FORMER = b"hmac-key-in-force", b"hmac-key-before"
HOOKS = {"prod": Webhook("prod", "acme", "helicone", (SECRET, FORMER))}

ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "test message"}]}
ANSWERED = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hey!"}, "finish_reason": "stop"}],
}
ADDRESS = "https://s3.us-west-2.amazonaws.com/request-response-storage/organizations/o-1/requests/r-1/body"
SIGNATURE = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=1800&X-Amz-Signature=s1gn4tur3s3cr3t"
TOO_LARGE = "Body too large for webhook, please fetch the full request and response from Helicone"
PAYLOAD: dict[str, Any] = {
    "request_id": "550e8400-e29b-41d4-a716-446655440000",
    "user_id": "dana",
    "request_body": json.dumps(ASKED),
    "response_body": json.dumps(ANSWERED),
    "request_response_url": f"{ADDRESS}?{SIGNATURE}",
    "model": "gpt-4o-2024-08-06",
    "provider": "OPENAI",
    "metadata": {"cost": 0.0015, "promptTokens": 13, "completionTokens": 17, "totalTokens": 30, "latencyMs": 930},
    "a_field_of_next_year": {"nested": ["value"]},
}
DERIVED = ("/request_response_url",)
"""Kept without its signature."""


def units_of(record: object, attachments: dict[str, Attachment] | None = None) -> list[Unit]:
    around = Received(
        "acme", "helicone", "w", "http", "", "", "", NOW, "helicone", "ab" * 32, attachments=attachments or {}
    )
    return HeliconeFormat().read(json.dumps(record).encode(), around).units


def drafts_of(record: object) -> dict[str, Draft]:
    (unit,) = units_of(record)
    assert unit.error == ""
    return {draft.kind: draft for draft in reversed(unit.drafts)}


def changed(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(PAYLOAD) | fields


def signed(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "helicone-signature": hmac.new(secret, body, hashlib.sha256).hexdigest(),
    }


def send(collector: RunningCollector, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{collector.url}/v1/helicone/prod", content=body, headers=signed(body) | headers)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_payload_becomes_its_events(as_text: bool) -> None:
    record = PAYLOAD if as_text else changed(request_body=ASKED, response_body=ANSWERED)
    drafts = drafts_of(record)
    assert (drafts["prompt"].content, drafts["response"].content) == (ASKED, ANSWERED)
    metadata = drafts["response"].metadata
    assert (metadata["end_user_id"], metadata["assurance"]) == ("dana", "client_asserted")
    assert (metadata["provider"], metadata["model_requested"]) == ("openai", "gpt-4o")
    assert (metadata["input_tokens"], metadata["output_tokens"], metadata["latency_ms"]) == (13, 17, 930)
    assert (metadata["cost_amount"], metadata["content_state"]) == (0.0015, "full")


def test_no_leaf_of_a_payload_is_lost() -> None:
    record = distinct(changed(request_body={"a": "x"}, response_body={"b": "y"}), keep=DERIVED)
    (unit,) = units_of(record)
    assert_kept(record, unit.drafts, dropped=DERIVED)
    for name in PAYLOAD:
        for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242):
            record = changed(**{name: strange})
            (unit,) = units_of(record)
            assert_kept(record, unit.drafts, dropped=[*DERIVED, "/request_body", "/response_body"])


def test_a_body_that_the_webhook_left_out_says_where_it_is_without_what_opens_it() -> None:
    drafts = drafts_of(changed(request_body=TOO_LARGE))
    metadata = drafts["prompt"].metadata
    (gap,) = json.loads(metadata["content_gaps"])
    assert (gap["state"], gap["limit"], gap["ref"]) == ("by_ref", 10240, ADDRESS)
    assert drafts["prompt"].content is None
    assert drafts["response"].metadata["content_state"] == "full"
    for draft in drafts.values():
        assert "s1gn4tur3s3cr3t" not in json.dumps([draft.metadata, draft.content])
    without = drafts_of(changed(request_body=TOO_LARGE, request_response_url=None))
    assert without["prompt"].metadata["content_state"] == "not_captured"


def test_a_body_that_ends_in_its_midst_is_truncated() -> None:
    metadata = drafts_of(changed(response_body=json.dumps(ANSWERED)[:60]))["response"].metadata
    assert metadata["content_state"] == "truncated"


def test_only_what_is_not_there_is_fetched() -> None:
    def read(body: bytes) -> list[str]:
        return HeliconeFormat().references(body, {})

    assert read(json.dumps(PAYLOAD).encode()) == []
    assert read(json.dumps(changed(response_body=TOO_LARGE)).encode()) == [PAYLOAD["request_response_url"]]
    assert read(b"\xff{") == []


def test_what_was_fetched_is_a_unit_of_its_own_in_the_same_exchange() -> None:
    record = changed(request_body=TOO_LARGE, response_body=TOO_LARGE)
    data = gzip.compress(json.dumps({"request": ASKED, "response": ANSWERED}).encode())
    first, second = units_of(record, {record["request_response_url"]: Attachment(data)})
    assert second.source == data
    assert second.source_id != first.source_id
    assert [draft.kind for draft in second.drafts] == ["prompt", "response"]
    assert [draft.content for draft in second.drafts] == [ASKED, ANSWERED]
    assert {draft.metadata["exchange_id"] for draft in first.drafts + second.drafts} == {record["request_id"]}
    stated = json.loads(second.drafts[0].metadata["extras"]["fetched"])
    assert stated == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "from": ADDRESS}


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"\x1f\x8b\x08", b'{"request": 1', b"\xff"])
def test_what_was_fetched_and_is_something_else_is_kept(data: bytes) -> None:
    record = changed(request_body=TOO_LARGE)
    _, second = units_of(record, {record["request_response_url"]: Attachment(data)})
    assert second.error
    assert second.source == data


def test_over_http_with_an_address_that_still_opens(tmp_path: Path) -> None:
    data = gzip.compress(json.dumps({"request": ASKED, "response": ANSWERED}).encode())
    with https_objects(tmp_path) as objects:
        objects.bodies["/o/r-1"] = (200, {"content-encoding": "gzip"}, data)
        limits = FetchLimits(allowed=(LOOPBACK,))
        fetcher = HttpsFetcher(limits, context=objects.context())
        body = json.dumps(
            changed(request_body=TOO_LARGE, request_response_url=f"{objects.url}/o/r-1?{SIGNATURE}")
        ).encode()
        with collector_server("helicone", webhooks=HOOKS, fetcher=fetcher) as collector:
            assert send(collector, body).status_code == 200
            assert send(collector, body).status_code == 200
            events = collector.opened()
    assert objects.asked == [f"/o/r-1?{SIGNATURE}"] * 2
    assert [event.source for event in events if event.source is not None] == [body, data] * 2
    ids = [event.metadata["event_id"] for event in events]
    assert len(ids) == 8
    assert len(set(ids)) == 4, "a replay is a repeat: the same event ids"
    assert "s1gn4tur3s3cr3t" not in json.dumps([[event.metadata, event.content] for event in events])


@pytest.mark.parametrize("allowed", [True, False])
def test_an_address_that_gives_nothing_leaves_the_reason(tmp_path: Path, allowed: bool, caplog: Any) -> None:
    with https_objects(tmp_path) as objects:
        objects.bodies["/o/r-1"] = (403, {}, b"<Error>Request has expired</Error>")
        limits = FetchLimits(allowed=(LOOPBACK,) if allowed else ())
        fetcher = HttpsFetcher(limits, context=objects.context())
        body = json.dumps(
            changed(request_body=TOO_LARGE, request_response_url=f"{objects.url}/o/r-1?{SIGNATURE}")
        ).encode()
        with collector_server("helicone", webhooks=HOOKS, fetcher=fetcher) as collector:
            assert send(collector, body).status_code == 200
            events = collector.opened()
    assert len(objects.asked) == int(allowed)
    *_, last = events
    assert (last.metadata["kind"], last.metadata["error_stage"], last.source) == ("response", "fetch", b"")
    assert ("status 403" if allowed else "not public") in last.metadata["error_message"]
    assert last.metadata["content_state"] == "not_captured"
    assert "s1gn4tur3s3cr3t" not in caplog.text


def test_the_payload_is_durable_before_anything_is_asked(tmp_path: Path) -> None:
    """The second append fails: what was fetched is lost, and the record is not."""
    with https_objects(tmp_path) as objects:
        objects.bodies["/o"] = (200, {}, b"{}")
        fetcher = HttpsFetcher(FetchLimits(allowed=(LOOPBACK,)), context=objects.context())
        body = json.dumps(changed(request_body=TOO_LARGE, request_response_url=f"{objects.url}/o")).encode()
        faults = Faults({2: Fault.LOST})
        with collector_server("helicone", faults, webhooks=HOOKS, fetcher=fetcher) as collector:
            assert send(collector, body).status_code == 200
            assert [event.source for event in collector.opened() if event.source is not None] == [body]


LOG: dict[str, Any] = {
    "providerRequest": {"url": "https://api.example/v1/chat/completions", "json": ASKED, "meta": {"m": "1"}},
    "providerResponse": {"headers": {"x-a": "b"}, "status": 200, "json": ANSWERED, "textBody": None},
    "timing": {
        "startTime": {"seconds": 1787305200, "milliseconds": 125},
        "endTime": {"seconds": 1787305201, "milliseconds": 55},
        "timeToFirstToken": 210.5,
    },
}


def logged(record: object, **headers: str) -> list[Draft]:
    around = Received("acme", "helicone", "t", "http", "", "", "", NOW, headers={**headers})
    (unit,) = HeliconeLogFormat().read(json.dumps(record).encode(), around).units
    assert unit.error == ""
    return unit.drafts


def test_a_log_object() -> None:
    headers = {"helicone-user-id": "dana", "helicone-session-id": "s-1", "helicone-property-team": "x"}
    prompt, response = logged(LOG, **headers)
    assert_kept({name: LOG[name] for name in ("providerRequest", "providerResponse")}, [prompt, response])
    assert (prompt.metadata["occurred_at"], response.metadata["occurred_at"]) == (1787305200125000, 1787305201055000)
    metadata = response.metadata
    assert (metadata["latency_ms"], metadata["time_to_first_token_ms"], metadata["http_status"]) == (930, 210.5, 200)
    assert (metadata["end_user_id"], metadata["session_id"]) == ("dana", "s-1")
    assert prompt.metadata["extras"]["helicone-property-team"] == '"x"'


def test_a_logged_stream_is_put_together() -> None:
    chunks = [
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "he"}}]},
        {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": "y"}, "finish_reason": "stop"}],
        },
    ]
    text = "\n".join(map(json.dumps, chunks))
    answered = {"status": -3, "json": {}, "textBody": text}
    _, response = logged(LOG | {"providerResponse": answered})
    assert response.content["choices"][0]["message"]["content"] == "hey"
    assert response.metadata["outcome"] == "cancelled"


def test_a_logged_tool_and_a_logged_search() -> None:
    tool = {"_type": "tool", "toolName": "get_weather", "input": {"city": "Paris"}}
    record = LOG | {"providerRequest": {"url": "custom-model-nopath", "json": tool}}
    call, result = logged(record)
    assert (call.kind, call.metadata["tool_name"], call.content["arguments"]) == (
        "tool_call",
        "get_weather",
        {"city": "Paris"},
    )
    assert (result.kind, result.metadata["tool_is_error"]) == ("tool_result", False)
    search = {"_type": "vector_db", "operation": "search", "databaseName": "pinecone", "text": "Paris"}
    (found,) = logged(LOG | {"providerRequest": {"json": search}})
    assert (found.kind, found.metadata["document_source"]) == ("context", "pinecone")
    assert_kept(search, [found])


# --- the seam of signed senders, on this route


def test_an_unknown_webhook_is_refused_with_the_remedy() -> None:
    body = json.dumps(PAYLOAD).encode()
    with collector_server("helicone", webhooks=HOOKS) as collector:
        answer = httpx.post(f"{collector.url}/v1/helicone/other", content=body, headers=signed(body))
        assert answer.status_code == 401
        assert "add a section [webhooks.NAME]" in answer.json()["error"]
        assert collector.opened() == []


def test_a_wrong_signature_is_refused_and_nothing_is_recorded() -> None:
    body = json.dumps(PAYLOAD).encode()
    with collector_server("helicone", webhooks=HOOKS) as collector:
        for headers in (
            {},
            {"helicone-signature": ""},
            {"helicone-signature": "é"},
            signed(body, b"another"),
            signed(body + b" "),
            {"helicone-signature": "0" * 64},
        ):
            answer = httpx.post(
                f"{collector.url}/v1/helicone/prod",
                content=body,
                headers={name: value.encode() for name, value in headers.items()},
            )
            assert answer.status_code == 401
            assert "Helicone-Signature" in answer.json()["error"]
        token = httpx.post(f"{collector.url}/v1/helicone/prod", content=body, headers=collector.headers)
        assert token.status_code == 401, "a token is no signature"
        assert collector.opened() == []


def test_while_a_secret_is_changed_both_are_good() -> None:
    body = json.dumps(PAYLOAD).encode()
    with collector_server("helicone", webhooks=HOOKS) as collector:
        for secret in (SECRET, FORMER):
            assert send(collector, body, **signed(body, secret)).status_code == 200
        assert {event.metadata["token_id"] for event in collector.opened()} == {"webhook:prod"}


def test_the_signature_is_over_the_bytes_as_sent() -> None:
    """Not over what JSON makes of them: other spaces, escapes or order are another body."""
    body = b'{ "response_body":"\\u0041" ,"request_id" : "r-1", "request_body": "1e2" }'
    with collector_server("helicone", webhooks=HOOKS) as collector:
        assert send(collector, body).status_code == 200
        compact = json.dumps(json.loads(body)).encode()
        assert httpx.post(f"{collector.url}/v1/helicone/prod", content=compact, headers=signed(body)).status_code == 401
        zipped = gzip.compress(body)
        assert send(collector, zipped, **{"content-encoding": "gzip"}).status_code == 200, "the wire is what is signed"


def test_the_body_is_bounded_before_it_is_verified() -> None:
    with collector_server("helicone", limits=BodyLimits(max_bytes=1000), webhooks=HOOKS) as collector:
        assert send(collector, b" " * 1001).status_code == 413


def test_what_is_no_payload_is_recorded_and_refused() -> None:
    with collector_server("helicone", webhooks=HOOKS) as collector:
        assert send(collector, b'{"hello": 1}').status_code == 400
        (event,) = collector.opened()
        assert (event.metadata["kind"], event.source) == ("unparsed", b'{"hello": 1}')


# --- the real logger


def test_the_real_logger_logs_here() -> None:
    """``helicone-helpers`` with our address for its own: a call, a stream that was given up, an error."""
    with collector_server("helicone") as collector:
        logger = HeliconeManualLogger(
            collector.token,
            headers={"Helicone-User-Id": "dana", "Helicone-Session-Id": "s-1"},
            logging_endpoint=f"{collector.url}/v1/helicone-async",
        )
        logger.log_request(ASKED, lambda recorder: recorder.append_results(ANSWERED), provider="openai")
        stream = logger.new_builder(ASKED)
        chunk = {"id": "c-2", "object": "chat.completion.chunk", "model": "gpt-4o"}
        stream.add_chunk(chunk | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]})
        stream.add_chunk(chunk | {"choices": [{"index": 0, "delta": {"content": "lo"}}]})
        asyncio.run(stream.send_log())
        broken = logger.new_builder(ASKED)
        broken.set_error(ValueError("no such model"))
        asyncio.run(broken.send_log())
        events = collector.opened()
    responses = [event for event in events if event.metadata["kind"] == "response"]
    assert [event.metadata["kind"] for event in events] == ["prompt", "response"] * 3
    assert {event.metadata["end_user_id"] for event in events} == {"dana"}
    assert {event.metadata["session_id"] for event in events} == {"s-1"}
    assert responses[0].content["choices"] == ANSWERED["choices"]
    assert responses[0].content["toolName"] == "unknown", "the logger adds this itself"
    assert responses[1].content["choices"][0]["message"]["content"] == "Hello"
    assert responses[1].metadata["outcome"] == "partial"
    assert "no such model" in responses[2].content["text"]
    assert all(event.metadata["time_role"] in ("start", "end") for event in events)
