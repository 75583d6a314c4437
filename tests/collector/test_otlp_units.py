"""Units: each a request of its own, with everything around its record and nothing of its siblings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_payloads import (
    END,
    MEDIA_TYPES,
    REQUESTS,
    SPAN,
    START,
    TRACE,
    assert_nothing_lost,
    drafts_of,
    encode,
    key_values,
    log,
    log_request,
    read,
    received,
    span,
    span_event,
    span_request,
)

from collector.gateways.otlp import Declined, OtlpFormat, OtlpMetrics
from collector.gateways.otlp_telemetry import CONTAINERS

ENCODINGS = ("json", "protobuf")


def two_scopes() -> dict[str, Any]:
    request = log_request([log("a", {"n": 1}), log("b", {"n": 2})], {"service.name": "one"})
    request["resourceLogs"] += log_request([log("c", {"n": 3})], {"service.name": "two"})["resourceLogs"]
    request["resourceLogs"][0]["scopeLogs"].append({"scope": {"name": "other"}, "logRecords": [log("d", {"n": 4})]})
    request["resourceLogs"][0]["schemaUrl"] = "https://opentelemetry.io/schemas/1.41.0"
    return request


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_unit_is_a_request_with_one_record(encoding: Any) -> None:
    request = two_scopes()
    units = read(request, "logs", encoding).units
    assert [unit.pointer for unit in units] == [
        "/resourceLogs/0/scopeLogs/0/logRecords/0",
        "/resourceLogs/0/scopeLogs/0/logRecords/1",
        "/resourceLogs/0/scopeLogs/1/logRecords/0",
        "/resourceLogs/1/scopeLogs/0/logRecords/0",
    ]
    for unit, (i, j, k) in zip(units, [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)], strict=True):
        alone = two_scopes()
        resource = alone["resourceLogs"][i]
        scope = resource["scopeLogs"][j]
        scope["logRecords"] = [scope["logRecords"][k]]
        resource["scopeLogs"] = [scope]
        alone["resourceLogs"] = [resource]
        if encoding == "json":
            assert json.loads(unit.source) == alone
        else:
            expected = ExportLogsServiceRequest.FromString(encode(alone, "logs", "protobuf"))
            assert ExportLogsServiceRequest.FromString(unit.source) == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_unit_read_alone_gives_the_same_events(encoding: Any) -> None:
    request = span_request([span("one", {"gen_ai.operation.name": "chat"}), span("two", {"x": [1, {"y": b"z"}]})])
    for unit in read(request, "traces", encoding).units:
        (again,) = OtlpFormat("traces").read(unit.source, received(encoding)).units
        assert again.source == unit.source
        assert [draft.metadata for draft in again.drafts] == [draft.metadata for draft in unit.drafts]
        assert [draft.content for draft in again.drafts] == [draft.content for draft in unit.drafts]


def test_json_text_is_kept_as_received() -> None:
    body = b"""  {"x" : 1.50, "resourceLogs": [ {"resource":{}, "new":[1,  2], "scopeLogs":[{ "logRecords" : [
        {"body":{"stringValue":"\\u00e9 1"}, "future": {"a":1e2}} ,{"body":{"stringValue":"2"}}] , "s":null}]}]  } """
    first, second = OtlpFormat("logs").read(body, received("json")).units
    assert first.source == (
        b"""  {"x" : 1.50, "resourceLogs": [ {"resource":{}, "new":[1,  2], "scopeLogs":[{ "logRecords" : [
        {"body":{"stringValue":"\\u00e9 1"}, "future": {"a":1e2}}] , "s":null}]}]  } """
    )
    (again,) = OtlpFormat("logs").read(first.source, received("json")).units
    assert again.source == first.source
    assert b'"2"' in second.source
    assert b"future" not in second.source
    extras = first.drafts[0].metadata["extras"]
    assert extras["otlp.future"] == '{"a":100.0}'
    assert extras["otlp.request.x"] == "1.5"
    assert extras["otlp.resource.new"] == "[1,2]"


def field(number: int, payload: bytes) -> bytes:
    assert len(payload) < 128
    return bytes((number << 3 | 2, len(payload))) + payload


def test_unknown_protobuf_fields_are_kept_at_every_level() -> None:
    record, sibling = field(5, field(1, b"one")) + field(15, b"new in record"), field(5, field(1, b"two"))
    scope = field(14, b"scope") + field(2, record) + field(2, sibling) + field(13, b"behind")
    resource = field(12, b"resource") + field(2, scope)
    body = field(11, b"request") + field(1, resource)
    first, second = OtlpFormat("logs").read(body, received("protobuf")).units
    alone = field(14, b"scope") + field(2, record) + field(13, b"behind")
    assert first.source == field(11, b"request") + field(1, field(12, b"resource") + field(2, alone))
    found = json.loads(first.drafts[0].metadata["extras"]["otlp.unknownFields"])
    assert {entry["field"]: bytes.fromhex(entry["value"]) for entry in found} == {
        11: b"request",
        12: b"resource",
        13: b"behind",
        14: b"scope",
        15: b"new in record",
    }
    assert b"new in record" not in second.source


def test_a_record_with_broken_text_costs_only_itself() -> None:
    good, bad = field(5, field(1, b"fine")), field(5, field(1, b"\xff\xfe"))
    body = field(1, field(2, field(2, good) + field(2, bad) + field(2, good)))
    units = OtlpFormat("logs").read(body, received("protobuf")).units
    assert [bool(unit.error) for unit in units] == [False, True, False]
    assert units[1].source == field(1, field(2, field(2, bad)))
    assert [unit.pointer[-1] for unit in units] == ["0", "1", "2"]

    text = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"\xff"}},{"severityText":"x"},7]}]}]}'
    units = OtlpFormat("logs").read(text, received("json")).units
    assert [unit.error[:20] for unit in units] == ["got bytes that are n", "", "got a record that is"]


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("json", b"[1]", "expected an object"),
        ("json", b'{"resourceLogs":', "not JSON"),
        ("json", b'{"resourceLogs":{}}', "expected a list"),
        ("json", b'{"resourceLogs":[1]}', "expected an object"),
        ("json", b'{"resourceLogs":[],"resourceLogs":[]}', "twice"),
        ("json", b'{"resourceSpans":[]}', "expected an export request"),
        ("json", b"[" * 100_000, "expected an object"),
        ("json", b'{"a":' + b"[" * 100_000, "nested too deeply"),
        ("json", b"{} {}", "more text"),
        ("protobuf", b"\x0a\xff", "expected"),
        ("protobuf", b"\x0b", "wire type 3"),
        ("protobuf", b'{"resourceLogs":[]}', "protobuf"),
        ("protobuf", b"\x80" * 11, "more than 10 bytes"),
    ],
)
def test_what_is_no_request_is_kept_whole(encoding: Any, body: bytes, reason: str) -> None:
    reading = OtlpFormat("logs").read(body, received(encoding))
    assert reason in reading.error
    assert [unit.source for unit in reading.units] == [body]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b' {"resourceLogs":[]} ',
        b'{"resourceLogs":null}',
        b'{"resourceLogs":[{"scopeLogs":[{"scope":{}}]}]}',
    ],
)
def test_an_empty_request_is_fine(body: bytes) -> None:
    reading = OtlpFormat("logs").read(body, received("json"))
    assert (reading.units, reading.error) == ([], "")
    assert OtlpFormat("logs").read(b"", received("protobuf")).units == []


def test_levels_without_records_but_with_new_fields_are_kept() -> None:
    body = b'{"resourceLogs":[{"resource":{},"instrumentationLibraryLogs":[{"logRecords":[{}]}]}]}'
    (unit,) = OtlpFormat("logs").read(body, received("json")).units
    assert unit.source == body
    assert "not known" in unit.error
    body = field(1, field(9, b"new"))
    (unit,) = OtlpFormat("logs").read(body, received("protobuf")).units
    assert (unit.source, bool(unit.error)) == (body, True)


def test_ids_numbers_and_enums_in_every_form_that_senders_use() -> None:
    forms = {
        "traceId": ["5B8EFFF798038103D269B633813FC60C", "W47/95gDgQPSabYzgT/GDA=="],
        "spanId": ["EEE19B7EC3C1B174", "7uGbfsPBsXQ="],
        "startTimeUnixNano": ["1787305200125000000", 1787305200125000000],
        "kind": [3, "SPAN_KIND_CLIENT", "client"],
        "status": [{"code": 2}, {"code": "STATUS_CODE_ERROR"}, {"code": "2"}],
    }
    expected = drafts_of(read(span_request([span("s", {}, status={"code": 2})]), "traces", "json"))[0].metadata
    for name, spellings in forms.items():
        for spelling in spellings:
            request = span_request([span("s", {}, **{"status": {"code": 2}, name: spelling})])
            (draft,) = drafts_of(OtlpFormat("traces").read(json.dumps(request).encode(), received("json")))
            assert draft.metadata == expected, name
    snake = json.dumps(span_request([span("s", {}, status={"code": 2})]))
    for name in ("resourceSpans", "scopeSpans", "startTimeUnixNano", "traceId", "stringValue", "endTimeUnixNano"):
        snake = snake.replace(name, "".join("_" + c.lower() if c.isupper() else c for c in name))
    (draft,) = drafts_of(OtlpFormat("traces").read(snake.encode(), received("json")))
    assert draft.metadata == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_values_of_every_type_survive(encoding: Any) -> None:
    values = {
        "text": "é😀",
        "empty": "",
        "int": -(1 << 63),
        "double": 637.704,
        "yes": True,
        "no": False,
        "bytes": b"\x00\xff",
        "list": [1, "two", [3.5], {}],
        "map": {"a": {"b": [None]}},
        "nothing": None,
    }
    request = log_request([log("x", values, body=values)])
    reading = read(request, "logs", encoding)
    (draft,) = drafts_of(reading)
    expected = {**values, "bytes": "AP8="}
    assert draft.content == {"body": expected}
    extras = draft.metadata["extras"]
    assert {name: json.loads(extras[name]) for name in values} == expected
    assert_nothing_lost(request, reading)


def test_not_a_number_is_spelled_out() -> None:
    request = REQUESTS["logs"]()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    for name, value in (("nan", float("nan")), ("up", float("inf")), ("down", float("-inf"))):
        pair = record.attributes.add(key=name)
        pair.value.double_value = value
    (draft,) = drafts_of(OtlpFormat("logs").read(request.SerializeToString(), received("protobuf")))
    extras = draft.metadata["extras"]
    assert [extras[name] for name in ("nan", "up", "down")] == ['"NaN"', '"Infinity"', '"-Infinity"']


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_attribute_that_occurs_twice_is_kept_twice(encoding: Any) -> None:
    record = log("x", {"session.id": "first"})
    record["attributes"] += [{"key": "session.id", "value": {"stringValue": "second"}}] * 2
    (draft,) = drafts_of(read(log_request([record]), "logs", encoding))
    assert draft.metadata["session_id"] == "first"
    extras = draft.metadata["extras"]
    assert (extras["session.id[1]"], extras["session.id[2]"]) == ('"second"', '"second"')


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_the_sender_left_out_is_stated(encoding: Any) -> None:
    request = span_request([span("chat", {"gen_ai.operation.name": "chat"}, droppedAttributesCount=3)])
    for draft in drafts_of(read(request, "traces", encoding)):
        assert draft.metadata["content_state"] in ("truncated", "not_captured")
        assert "left out 3 attributes" in draft.metadata["content_gaps"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_telemetry_about_anything_else_is_recorded(encoding: Any) -> None:
    failed = span(
        "GET /users",
        {"http.request.method": "GET", "http.response.status_code": 500},
        events=[span_event("exception", {"exception.type": "ValueError", "exception.message": "no"})],
        links=[{"traceId": TRACE, "spanId": SPAN, "attributes": key_values({"k": "v"})}],
        traceState="a=b",
        flags=257,
    )
    reading = read(span_request([failed]), "traces", encoding)
    (draft,) = drafts_of(reading)
    assert draft.kind == "session"
    metadata = draft.metadata
    assert (metadata["outcome"], metadata["error_type"], metadata["error_message"]) == ("error", "ValueError", "no")
    assert (metadata["operation"], metadata["http_status"]) == ("GET /users", 500)
    assert (metadata["started_at"], metadata["ended_at"], metadata["latency_ms"]) == (
        START // 1000,
        END // 1000,
        1400.0,
    )
    assert (metadata["time_role"], metadata["time_precision"]) == ("end", "ns")
    assert (metadata["session_id"], metadata["exchange_id"]) == (TRACE, f"{TRACE}:{SPAN}")
    assert reading.units[0].source_id == f"{TRACE}/{SPAN}"
    assert_nothing_lost(span_request([failed]), reading)


@pytest.mark.parametrize("name", ["logs", "trace"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_protocols_own_examples(samples: Path, name: str, encoding: Any) -> None:
    signal: Any = {"logs": "logs", "trace": "traces"}[name]
    request = json.loads((samples / "otlp" / f"{name}.json").read_text())
    reading = read(request, signal, encoding)
    (draft,) = drafts_of(reading)
    assert draft.kind == "session"
    assert json.loads(draft.metadata["extras"]["resource.service.name"]) == "my.service"
    assert_nothing_lost(request, reading)


def test_names_of_the_three_levels_match_the_protocol() -> None:
    for signal, names in CONTAINERS.items():
        descriptor = REQUESTS[signal].DESCRIPTOR
        for name in names:
            field_descriptor = next(field for field in descriptor.fields if field.json_name == name)
            descriptor = field_descriptor.message_type


def test_metrics_are_counted_and_declined() -> None:
    points = {"dataPoints": [{"asInt": "1"}, {"asInt": "2"}]}
    request = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "a", "sum": points}]}]}]}
    reading = OtlpMetrics().read(json.dumps(request).encode(), received("json"))
    assert isinstance(reading, Declined)
    assert (reading.units, reading.rejected, reading.error) == ([], 2, "")
    assert OtlpMetrics().read(b"", received("protobuf")) == Declined([])
    assert OtlpMetrics().read(b"\xff", received("protobuf")).error
    assert OtlpMetrics().read(b"{", received("json")).error
    assert MEDIA_TYPES.keys() == set(ENCODINGS)


def test_the_check_for_lost_leaves_sees_one() -> None:
    request = log_request([log("x", {"only.here": "a value"})])
    reading = read(request, "logs", "json")
    assert_nothing_lost(request, reading)
    del reading.units[0].drafts[0].metadata["extras"]["only.here"]
    with pytest.raises(AssertionError, match=r"lost: .*a value"):
        assert_nothing_lost(request, reading)
