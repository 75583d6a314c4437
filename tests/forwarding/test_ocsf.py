"""Records as OCSF events: valid by the published schema, complete, and with a fingerprint that anybody can compute."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from line_receivers import JsonLines
from memory_control import MemoryControl
from memory_keys import MemoryKeys
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from sealed_records import RECEIVED_AT, events, messages, sealed, strays

from collector.sealing import Sealing
from schemas.event import Event
from schemas.ids import EVENTS, Offset, Shard, event_id, format_event_id
from schemas.metadata import Kind, Metadata
from sinks.contract import Accepted, Limits, Pause, Retry
from sinks.description import Description, describe
from sinks.forwarding import ForwardingSink, Line, Sent
from sinks.ocsf.event import canonical, encode
from sinks.ocsf.files import FileTransport
from sinks.ocsf.http import HttpConfig, HttpTransport, judge
from sinks.opening import Opening
from sinks.tls import Secret

SHARD = Shard(EVENTS, 0)
NAME = "audit.example.com"


@cache
def validator() -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
    return Draft202012Validator(schema.get_class_schema("api_activity", profiles=["ai_operation", "security_control"]))


def description(kind: Kind, **metadata: Any) -> Description:
    keys = MemoryKeys()
    name = event_id("acme", "native", "source", kind, 0)
    whole: Metadata = {
        "event_id": format_event_id(name),
        "kind": kind,
        "tenant": "acme",
        "occurred_at": RECEIVED_AT,
        "received_at": RECEIVED_AT,
        **metadata,  # type: ignore[typeddict-item]
    }
    event = Event(name, kind, "acme", "", "s", "standard", whole, b'{"text":"caf\xc3\xa9","score":0.5}', b"{}")
    (message,) = messages(Sealing(keys).seal([event]), SHARD, start=17)
    opening = Opening(keys)
    records, part_keys = opening.records([message])
    return describe(message, opening.open(message, records[0], part_keys))


RICH: dict[str, Any] = {
    "session_id": "s-1",
    "exchange_id": "x-1",
    "user_id": "u-1",
    "user_email": "ada@example.com",
    "groups": ["research"],
    "org_id": "o-1",
    "provider": "anthropic",
    "model_requested": "claude-a",
    "model_served": "claude-b",
    "input_tokens": 12,
    "output_tokens": 34,
    "total_tokens": 46,
    "client_ip": "192.0.2.7",
    "user_agent": "sdk/1",
    "http_status": 200,
    "operation": "chat",
    "outcome": "ok",
    "gateway": "litellm",
    "latency_ms": 12.5,
    "cost_amount": 0.0125,
    "started_at": RECEIVED_AT,
    "ended_at": RECEIVED_AT + 5_000_000,
    "tags": ["a", "b"],
}


@pytest.mark.parametrize(
    "kind",
    [
        "prompt",
        "response",
        "tool_call",
        "tool_result",
        "context",
        "guardrail",
        "session",
        "admin",
        "access",
        "unparsed",
    ],
)
@pytest.mark.parametrize(
    "extra",
    [
        {},
        RICH,
        RICH
        | {
            "outcome": "blocked",
            "guardrail_name": "pii",
            "policy_id": "p",
            "policy_version": "3",
            "error_message": "no",
        },
    ],
)
def test_every_kind_is_valid(kind: Kind, extra: dict[str, Any]) -> None:
    event = json.loads(encode(description(kind, **extra), NAME, "1.2.3", content=True))
    errors = [f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in validator().iter_errors(event)]
    assert not errors, errors


def test_the_schema_would_find_a_mistake() -> None:
    event = json.loads(encode(description("prompt"), NAME, "1.2.3", content=True))
    for change in ({"class_uid": 1}, {"time": "now"}, {"prompt_text": "not in 1.8"}, {"actor": {}}):
        assert list(validator().iter_errors(event | change)), change


def test_what_an_event_says() -> None:
    event = json.loads(
        encode(
            description("tool_call", **RICH, tool_name="bash", tool_server="files", call_id="c-1"),
            NAME,
            "1",
            content=True,
        )
    )
    assert event["api"] == {
        "operation": "bash",
        "service": {"name": "files"},
        "request": {"uid": "c-1"},
        "response": {"code": 200},
    }
    assert event["message_context"]["ai_role"] == "Tool"
    assert event["ai_model"] == {"name": "claude-b", "ai_provider": "anthropic"}
    assert event["actor"]["user"]["email_addr"] == "ada@example.com"
    assert event["metadata"]["sequence"] == 17
    assert event["raw_data"] == '{"text":"café","score":0.5}'
    own = event["unmapped"]["affidavit"]
    assert (own["model_requested"], own["latency_ms"], own["cost_amount"]) == ("claude-a", "12.5", "0.0125")
    assert "raw_data" not in json.loads(encode(description("prompt"), NAME, "1", content=False))


def test_a_block_is_a_denial() -> None:
    event = json.loads(
        encode(description("guardrail", outcome="blocked", guardrail_name="pii"), NAME, "1", content=False)
    )
    assert (event["action"], event["disposition"], event["severity"]) == ("Denied", "Blocked", "High")
    assert event["policy"] == {"name": "pii"}
    assert (event["status"], event["status_code"]) == ("Failure", "blocked")


def test_anybody_can_compute_the_fingerprint() -> None:
    """RFC 8785 for events without fractions: keys sorted by UTF-16 units, no spaces, shortest escapes."""
    data = encode(description("prompt", **RICH), NAME, "1", content=True)
    event = json.loads(data)
    assert (
        json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        == data
        == canonical(event)
    )
    (attestation,) = event["unmapped"]["attestation_list"]
    stated = attestation.pop("fingerprint")
    plain = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert stated["value"] == hashlib.sha256(plain).hexdigest()
    assert attestation == {"uid": "events/0@17", "authority_uid": NAME, "chain_uid": "events/0"}
    event["time"] += 1
    assert hashlib.sha256(canonical(event)).hexdigest() != stated["value"]


def lines(count: int) -> list[Line]:
    return [Line(Offset(at), json.dumps({"number": at}).encode()) for at in range(count)]


def transport(receiver: JsonLines, **settings: Any) -> HttpTransport:
    config = HttpConfig("https://x.example/ocsf", Secret("secret"), **settings)
    return HttpTransport(config, lambda config: receiver.client())


def test_batches_over_http() -> None:
    receiver = JsonLines()
    one = transport(receiver, max_body_bytes=100)
    assert one.send(lines(20)) == Sent(1)
    assert one.confirmed() == 1
    assert [event["number"] for event in receiver.events] == list(range(20))
    assert len(receiver.requests) > 2
    assert {request.headers["authorization"] for request in receiver.requests} == {"Bearer secret"}
    assert {request.headers["content-type"] for request in receiver.requests} == {"application/x-ndjson"}
    assert one.probe() == ""
    one.close()


def test_only_what_is_refused_alone_and_twice_is_rejected() -> None:
    receiver = JsonLines()
    receiver.refuses = lambda event: event["number"] in (3, 11)
    outcome = transport(receiver).send(lines(20))
    assert isinstance(outcome, Sent)
    assert [offset for offset, _ in outcome.rejected] == [3, 11]
    assert sorted(event["number"] for event in receiver.events) == sorted(set(range(20)) - {3, 11})
    receiver = JsonLines()
    receiver.script = [400]
    assert transport(receiver).send(lines(1)) == Sent(1)


def test_a_destination_that_refuses_everything_is_no_reason_to_bury_everything() -> None:
    receiver = JsonLines()
    receiver.refuses = lambda event: True
    outcome = transport(receiver).send(lines(200))
    assert isinstance(outcome, Pause)
    assert "refuses every event" in outcome.reason
    assert len(receiver.requests) < 60, "it is not asked for each"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (415, Pause),
        (503, Retry),
        (429, Retry),
        (404, Retry),
        (401, Pause),
        (302, Pause),
        (httpx.ConnectError("no"), Retry),
    ],
)
def test_answers(answer: int | Exception, outcome: type) -> None:
    receiver = JsonLines()
    receiver.script = [answer]
    one = transport(receiver)
    found = one.send(lines(3))
    assert isinstance(found, outcome)
    if answer == 503:
        assert found == Retry("https://x.example/ocsf answers 503", 7.0)
    assert one.confirmed() == 0
    receiver.script = [answer]
    assert one.probe()


def test_no_status_is_unknown() -> None:
    assert {judge(status) for status in range(100, 600)} == {"taken", "refused", "busy", "stuck"}


def test_files_whole_lines_only(tmp_path: Path) -> None:
    one = FileTransport(tmp_path, SHARD)
    assert one.probe() == ""
    assert one.send(lines(3)) == Sent(1)
    (path,) = tmp_path.rglob("*.jsonl")
    assert path.parent == tmp_path / "events" / "0"
    with path.open("ab") as file:
        file.write(b'{"number": 3, "torn')
    assert one.send([Line(Offset(3), b'{"number": 3}')]) == Sent(2)
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]


def test_a_folder_that_cannot_be_written_pauses(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("a file")
    outcome = FileTransport(tmp_path, SHARD).send(lines(1))
    assert isinstance(outcome, Pause)
    assert "ocsf.directory" in outcome.reason


def test_strays_are_told_of() -> None:
    keys, receiver = MemoryKeys(), JsonLines()
    batch = messages([*sealed(keys, 3), *strays()], SHARD)
    sink = ForwardingSink(
        "ocsf",
        lambda description: encode(description, NAME, "1", content=True),
        lambda shard: transport(receiver),
        keys,
        MemoryControl(),
        limits=Limits(100, 1 << 20, 0.0),
        content=True,
    )
    assert sink.deliver(SHARD, batch) == Accepted()
    assert [event["metadata"]["sequence"] for event in receiver.events] == list(range(8))
    for event in receiver.events:
        assert not list(validator().iter_errors(event))
    sink.close()
    assert len(events(3)) == 3
