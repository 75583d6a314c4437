"""OTLP requests for tests: written as attributes, sent in either encoding, and checked leaf by leaf.

request = span_request([span("chat gpt-5", {"gen_ai.operation.name": "chat"})])
reading = read(request, "traces", "protobuf")
assert_nothing_lost(request, reading)
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any, Literal

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.gateways import Draft, Reading, Received
from collector.gateways.otlp import OtlpFormat
from collector.gateways.otlp_telemetry import Signal

Encoding = Literal["json", "protobuf"]
MEDIA_TYPES = {"json": "application/json", "protobuf": "application/x-protobuf"}
REQUESTS = {"logs": ExportLogsServiceRequest, "traces": ExportTraceServiceRequest}

TRACE = "5b8efff798038103d269b633813fc60c"
SPAN = "eee19b7ec3c1b174"
START = 1_787_305_200_125_000_000
END = START + 1_400_000_000


def any_value(value: Any) -> dict[str, Any]:
    """``AnyValue`` in JSON."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case bytes():
            return {"bytesValue": base64.b64encode(value).decode()}
        case list():
            return {"arrayValue": {"values": [any_value(item) for item in value]}}
        case dict():
            return {"kvlistValue": {"values": key_values(value)}}
        case _:
            return {}


def key_values(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def span(name: str, attributes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(END),
        "attributes": key_values(attributes),
        **fields,
    }


def span_event(name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "timeUnixNano": str(START + 5), "attributes": key_values(attributes)}


def log(name: str, attributes: dict[str, Any], body: Any = None, **fields: Any) -> dict[str, Any]:
    record = {
        "timeUnixNano": str(START),
        "observedTimeUnixNano": str(START + 1000),
        "severityNumber": 9,
        "eventName": name,
        "traceId": TRACE,
        "spanId": SPAN,
        "attributes": key_values(attributes),
        **fields,
    }
    return record if body is None else {**record, "body": any_value(body)}


def span_request(spans: list[Any], resource: dict[str, Any] | None = None, scope: str = "agent") -> dict[str, Any]:
    return _request("resourceSpans", "scopeSpans", "spans", spans, resource, scope)


def log_request(logs: list[Any], resource: dict[str, Any] | None = None, scope: str = "agent") -> dict[str, Any]:
    return _request("resourceLogs", "scopeLogs", "logRecords", logs, resource, scope)


def _request(
    outer: str, middle: str, inner: str, records: list[Any], resource: dict[str, Any] | None, scope: str
) -> dict[str, Any]:
    attributes = {"service.name": "billing-bot", "service.version": "1.4.0"} if resource is None else resource
    scoped = {"scope": {"name": scope, "version": "2.4b0"}, inner: records}
    return {outer: [{"resource": {"attributes": key_values(attributes)}, middle: [scoped]}]}


def encode(request: dict[str, Any], signal: Signal, encoding: Encoding) -> bytes:
    """The body that a sender of this encoding makes."""
    if encoding == "json":
        return json.dumps(request, indent=1).encode()
    message = ParseDict(_with_base64_ids(copy.deepcopy(request)), REQUESTS[signal]())
    body: bytes = message.SerializeToString()
    return body


def _with_base64_ids(node: Any) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("traceId", "spanId", "parentSpanId"):
                node[key] = base64.b64encode(bytes.fromhex(value)).decode()
            else:
                _with_base64_ids(value)
    elif isinstance(node, list):
        for item in node:
            _with_base64_ids(item)
    return node


def received(encoding: Encoding, gateway: str = "otel") -> Received:
    return Received("acme", gateway, "t0", "otlp-http", "127.0.0.1", MEDIA_TYPES[encoding], "", END // 1000)


def read(request: dict[str, Any], signal: Signal, encoding: Encoding) -> Reading:
    return OtlpFormat(signal).read(encode(request, signal, encoding), received(encoding))


def drafts_of(reading: Reading) -> list[Draft]:
    """All events, after checking that every unit was read."""
    assert not reading.error
    assert [unit.error for unit in reading.units if unit.error] == []
    return [draft for unit in reading.units for draft in unit.drafts]


def by_kind(reading: Reading, kind: str) -> list[Draft]:
    return [draft for draft in drafts_of(reading) if draft.kind == kind]


def assert_nothing_lost(request: dict[str, Any], reading: Reading) -> None:
    """Every leaf of the request is in a field, the content or the extras of one of its events."""
    kept: set[str] = set()
    for draft in drafts_of(reading):
        for value in (draft.metadata, draft.content):
            kept.update(_kept(value))
    lost = [(at, value) for at, value in _leaves(request) if not _is_kept(at, value, kept)]
    assert not lost, f"lost: {lost}"


def _kept(value: Any) -> Iterator[str]:
    """Every scalar, as text; JSON inside of text is opened as well."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _kept(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _kept(inner)
    else:
        yield str(value)
        yield _number(value)
        if isinstance(value, str) and value[:1] in '{["0123456789-tfn':
            try:
                opened = json.loads(value)
            except ValueError:
                return
            if opened != value:
                yield from _kept(opened)


def _leaves(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key != "key":
                yield from _leaves(value, f"{at}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{at}/{index}")
    else:
        yield at, node


def _number(value: Any) -> str:
    """A number that came as text, or went into a field of doubles."""
    try:
        return str(float(value))
    except (TypeError, ValueError):
        return str(value)


_DEFAULTS = (0, "", None, "0", "STATUS_CODE_UNSET")
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


def _is_kept(at: str, value: Any, kept: set[str]) -> bool:
    name = at.rpartition("/")[2]
    if str(value) in kept or _number(value) in kept or str(value).capitalize() in kept:
        return True
    if "/attributes/" not in at and "/body/" not in at and value in _DEFAULTS:
        return True  # the protocol's own defaults say nothing
    if name.endswith("TimeUnixNano") or name == "timeUnixNano":
        return str(int(value) // 1000) in kept
    if name in ("traceId", "spanId", "parentSpanId"):
        return str(value).lower() in kept or base64.b64decode(str(value)).hex() in kept
    if name == "kind":
        word = _KINDS[value] if isinstance(value, int) else str(value).removeprefix("SPAN_KIND_").lower()
        return word in kept
    if name == "code":
        word = ("unset", "ok", "error")[value] if isinstance(value, int) else str(value).removeprefix("STATUS_CODE_")
        return word.lower() in kept
    return isinstance(value, str) and _text_is_kept(value, kept)


def _text_is_kept(value: str, kept: set[str]) -> bool:
    """Text that was opened, or that names the event whose name is kept without its prefix."""
    if value.removeprefix("claude_code.") in kept:
        return True
    try:
        opened = json.loads(value)
    except ValueError:
        return False
    return not isinstance(opened, str) and all(str(leaf) in kept for _, leaf in _all(opened))


def _all(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _all(value)
    elif isinstance(node, list):
        for value in node:
            yield from _all(value)
    else:
        yield "", node
