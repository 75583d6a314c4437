"""Large OTLP requests in protobuf, read record by record from disk: what comes of them is what comes of them whole."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otlp_payloads import REQUESTS, encode, log, log_request, received, span, span_event, span_request

from collector.assemble import Event, Stamp, assemble
from collector.gateways import Reading, Unit
from collector.gateways.otlp import OtlpFormat
from collector.gateways.otlp_protobuf import NOT_DECODED
from collector.gateways.otlp_telemetry import Signal
from collector.large.lighten import AtHand
from collector.large.otlp_records import MESSAGES
from collector.reading import HEAVY_BYTES, TEXT_BOUNDS, look_into_otlp, read_body
from schemas.part_streams import Sized

IMAGE = 20_000


def image(rng: random.Random) -> str:
    return base64.b64encode(rng.randbytes(IMAGE)).decode()


def messages(rng: random.Random) -> str:
    parts: list[dict[str, Any]] = [{"type": "text", "content": 'Où est-ce ? "là"\n' * rng.randrange(1, 40)}]
    if rng.random() < 0.5:
        parts.append({"type": "blob", "mime_type": "image/png", "content": image(rng)})
    return json.dumps([{"role": "user", "parts": parts}], ensure_ascii=rng.random() < 0.5)


def request(signal: Signal, rng: random.Random) -> bytes:
    """Several resources and scopes, in one body: fields of one kind that occur again are joined, as protobuf allows."""
    bodies = []
    for _ in range(rng.randrange(1, 4)):
        records = [record(signal, rng) for _ in range(rng.randrange(0, 5))]
        resource = {"service.name": f"s{rng.randrange(3)}", "note": "n" * rng.choice((3, 9000))}
        made = (log_request if signal == "logs" else span_request)(records, resource, scope=f"scope {rng.randrange(3)}")
        bodies.append(encode(made, signal, "protobuf"))
    if rng.random() < 0.3:
        bodies.append(b"\xfa\x07\x03abc")  # a field that nobody knows
    return b"".join(bodies)


def record(signal: Signal, rng: random.Random) -> dict[str, Any]:
    attributes: dict[str, Any] = {"small": "x", "number": 7, "list": ["a", 1, {"b": True}]}
    attributes |= {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"} if rng.random() < 0.7 else {}
    if rng.random() < 0.7:
        attributes["gen_ai.input.messages"] = messages(rng)
        attributes["gen_ai.output.messages"] = messages(rng)
    trace = f"{rng.getrandbits(128):032x}"
    if signal == "logs":
        return log("", attributes, rng.choice((None, "text", {"text": image(rng)}, [image(rng), "b"])), traceId=trace)
    events = [span_event("e", {"gen_ai.event.content": "a small one"})] if rng.random() < 0.3 else []
    return span("chat m", attributes, events=events, traceId=trace)


def events(reading: Reading) -> list[list[Event]]:
    return assemble(reading, received("protobuf"), Stamp("c", 0, "default"))


def exact(source: bytes | None, whole: Sized | None) -> bytes | None:
    return source if whole is None else b"".join(whole.chunks())


def shown(event: Event) -> dict[str, Any]:
    """All that is recorded of an event."""
    return {
        "source": exact(event.source, event.whole),
        "content": event.content,
        **event.metadata,
        "key": event.event_id,
    }


def by_records(body: bytes, signal: Signal, segment_bytes: int = 1 << 22) -> Reading:
    source, told = OtlpFormat(signal), received("protobuf")
    found = look_into_otlp(AtHand(body), segment_bytes)
    readings = [found.read(segment, source, told) for segment in found.segments]
    units = [unit for reading in readings for unit in reading.units]
    assert sum(segment.units for segment in found.segments) == len(units) or found.error
    return Reading(units, readings[0].error if readings else "")


@pytest.mark.parametrize("signal", ["logs", "traces"])
@pytest.mark.parametrize("seed", range(40))
def test_the_records_are_those_of_the_whole(signal: Signal, seed: int) -> None:
    rng = random.Random(seed)
    body = request(signal, rng)
    expected, _ = read_body(body, OtlpFormat(signal), received("protobuf"))
    found = by_records(body, signal, rng.choice((1, 30_000, 1 << 22)))
    assert found.error == expected.error
    assert [(unit.pointer, unit.error) for unit in found.units] == [
        (unit.pointer, unit.error) for unit in expected.units
    ]
    assert [exact(unit.source, unit.whole) for unit in found.units] == [unit.source for unit in expected.units]
    for own, others in zip(events(found), events(expected), strict=True):
        for event, other in zip(own, others, strict=True):
            assert without_order(shown(event)) == without_order(shown(other))


def without_order(event: dict[str, Any]) -> dict[str, Any]:
    """Gaps may be told in another order."""
    gaps = json.loads(event.get("content_gaps") or "[]")
    return {**event, "content_gaps": sorted(json.dumps(gap, sort_keys=True) for gap in gaps)}


@given(st.binary(max_size=200), st.sampled_from(["logs", "traces"]))
def test_any_bytes_are_read_as_they_are_whole(body: bytes, signal: Signal) -> None:
    expected = OtlpFormat(signal).read(body, received("protobuf")) if body else Reading([])
    found = by_records(body, signal) if body else Reading([])
    assert bool(found.error) == bool(expected.error)
    assert [exact(unit.source, unit.whole) for unit in found.units] == [unit.source for unit in expected.units]
    assert [bool(unit.error) for unit in found.units] == [bool(unit.error) for unit in expected.units]


@pytest.mark.parametrize("seed", range(30))
def test_damage_costs_what_it_costs_whole(seed: int) -> None:
    rng = random.Random(seed)
    body = bytearray(request("traces", rng) or b"\n\0")
    for _ in range(rng.randrange(1, 4)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    expected = OtlpFormat("traces").read(bytes(body), received("protobuf"))
    found = by_records(bytes(body), "traces")
    assert bool(found.error) == bool(expected.error)
    assert [exact(unit.source, unit.whole) for unit in found.units] == [unit.source for unit in expected.units]
    assert [bool(unit.error) for unit in found.units] == [bool(unit.error) for unit in expected.units]


def only(body: bytes) -> Unit:
    (unit,) = by_records(body, "traces").units
    return unit


def test_a_long_text_is_told_by_its_hash_and_its_place() -> None:
    text = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "word " * 300_000}]}])
    made = span_request([span("chat m", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": text})])
    body = encode(made, "traces", "protobuf")
    unit = only(body)
    assert exact(unit.source, unit.whole) == body
    ((prompt, *_),) = events(Reading([unit]))
    gaps = json.loads(prompt.metadata["content_gaps"])
    (gap,) = [gap for gap in gaps if gap["state"] == "by_ref"]
    at, _, size = gap["ref"].removeprefix("source:").partition("+")
    assert body[int(at) : int(at) + int(size)] == text.encode()
    assert len(prompt.content) < 2000


def test_many_texts_that_are_not_long_are_cut_out_while_they_are_too_many() -> None:
    attributes = {f"a{number}": f"{number} " + "y " * 20_000 for number in range(300)}
    body = encode(span_request([span("s", attributes)]), "traces", "protobuf")
    assert len(body) > HEAVY_BYTES
    unit = only(body)
    assert exact(unit.source, unit.whole) == body
    assert unit.source == b""
    told = json.dumps(unit.drafts[0].metadata["extras"])
    assert len(told) < 200_000
    assert TEXT_BOUNDS[-1] < 40_000


def test_a_record_that_does_not_decode_costs_itself() -> None:
    good = encode(span_request([span("s", {"a": "b"})]), "traces", "protobuf")
    bad = good.replace(b"\x0a\x01a\x12\x03\x0a\x01b", b"\x0a\x01\xff\x12\x03\x0a\x01b")
    assert bad != good
    units = by_records(good + bad, "traces").units
    assert [unit.error for unit in units] == ["", NOT_DECODED]


def test_a_large_body_that_is_no_request_is_kept_whole() -> None:
    body = b"\x0f" * 5000
    (unit,) = by_records(body, "logs").units
    assert exact(unit.source, unit.whole) == body
    assert by_records(body, "logs").error.startswith("got protobuf wire type 7")


def test_messages_of_the_schema_are_known_by_their_numbers() -> None:
    """The walk knows numbers; the generated classes know names. They must mean the same."""
    record_of = {
        "logs": REQUESTS["logs"].DESCRIPTOR.fields_by_name["resource_logs"].message_type,
        "traces": REQUESTS["traces"].DESCRIPTOR.fields_by_name["resource_spans"].message_type,
    }
    for signal, (scopes, records) in {
        "logs": ("scope_logs", "log_records"),
        "traces": ("scope_spans", "spans"),
    }.items():
        outer = record_of[signal]
        scope = outer.fields_by_name[scopes].message_type
        todo = [
            (signal, scope.fields_by_name[records].message_type),
            ("resource", outer.fields_by_number[1].message_type),
        ]
        todo.append(("scope", scope.fields_by_number[1].message_type))
        seen = set()
        while todo:
            kind, descriptor = todo.pop()
            if kind in seen:
                continue
            seen.add(kind)
            known = MESSAGES[kind]
            for number, field in descriptor.fields_by_number.items():
                if field.message_type is not None and field.message_type.name != "EntityRef":
                    assert number in known, (kind, field.name)
                    todo.append((known[number], field.message_type))
                else:
                    assert known.get(number, "text") == "text", (kind, field.name)
                    assert field.type != field.TYPE_STRING or number in known or field.name.endswith("url"), field.name
