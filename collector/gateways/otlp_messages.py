"""Protobuf messages of OTLP as :class:`~collector.gateways.otlp_telemetry.Telemetry`: plain values, none left out."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet

from collector.gateways.otlp_telemetry import (
    SPAN_KINDS,
    STATUS_CODES,
    Group,
    SpanEvent,
    Telemetry,
    add_attribute,
    finite,
)


def group_of(resource_records: Any, scope_records: Any | None) -> Group:
    """What a ``ResourceLogs``/``ResourceSpans`` and one of its scopes say of all their records."""
    resource = resource_records.resource
    rest: dict[str, Any] = {}
    if resource_records.schema_url:
        rest["resource.schemaUrl"] = resource_records.schema_url
    if resource.entity_refs:
        rest["resource.entityRefs"] = [
            {
                "schemaUrl": ref.schema_url,
                "type": ref.type,
                "idKeys": list(ref.id_keys),
                "descriptionKeys": list(ref.description_keys),
            }
            for ref in resource.entity_refs
        ]
    dropped = resource.dropped_attributes_count
    if scope_records is None:
        return Group(attributes_of(resource.attributes), {}, "", "", rest, dropped, [])
    scope = scope_records.scope
    if scope_records.schema_url:
        rest["scope.schemaUrl"] = scope_records.schema_url
    dropped += scope.dropped_attributes_count
    return Group(
        attributes_of(resource.attributes),
        attributes_of(scope.attributes),
        scope.name,
        scope.version,
        rest,
        dropped,
        [],
    )


def log_of(record: Any) -> Telemetry:
    """A ``LogRecord``."""
    time, observed = record.time_unix_nano, record.observed_time_unix_nano
    moment = time or observed
    rest: dict[str, Any] = {}
    if observed and observed != moment:
        rest["observedTimeUnixNano"] = observed
    if record.severity_number:
        rest["severityNumber"] = record.severity_number
    if record.severity_text:
        rest["severityText"] = record.severity_text
    if record.flags:
        rest["flags"] = record.flags
    dropped = record.dropped_attributes_count
    return Telemetry(
        "logs",
        attributes_of(record.attributes),
        record.event_name,
        _id(record.trace_id),
        _id(record.span_id),
        "",
        moment,
        moment,
        value_of(record.body),
        dropped=dropped,
        rest=rest,
    )


def span_of(span: Any) -> Telemetry:
    """A ``Span`` with its events and links."""
    rest: dict[str, Any] = {}
    if span.flags:
        rest["flags"] = span.flags
    if span.trace_state:
        rest["traceState"] = span.trace_state
    if span.links:
        rest["links"] = [_link(link) for link in span.links]
    kind, code = span.kind, span.status.code
    if kind >= len(SPAN_KINDS) or kind < 0:
        rest["kind"] = kind
    if code >= len(STATUS_CODES) or code < 0:
        rest["status.code"] = code
    dropped = span.dropped_attributes_count + span.dropped_events_count + span.dropped_links_count
    return Telemetry(
        "traces",
        attributes_of(span.attributes),
        span.name,
        _id(span.trace_id),
        _id(span.span_id),
        _id(span.parent_span_id),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        None,
        SPAN_KINDS[kind] if 0 <= kind < len(SPAN_KINDS) else "",
        STATUS_CODES[code] if 0 <= code < len(STATUS_CODES) else "",
        span.status.message,
        [SpanEvent(event.name, event.time_unix_nano, attributes_of(event.attributes)) for event in span.events],
        dropped + sum(event.dropped_attributes_count for event in span.events),
        rest,
    )


def attributes_of(pairs: Any) -> dict[str, Any]:
    """A list of ``KeyValue`` as a mapping."""
    attributes: dict[str, Any] = {}
    for pair in pairs:
        key = pair.key or (f"@{pair.key_strindex}" if pair.key_strindex else "")
        value = pair.value
        text = value.string_value  # "" also where another member of the oneof is set
        if text and key not in attributes:
            attributes[key] = text
        else:
            add_attribute(attributes, key, value_of(value))
    return attributes


def value_of(value: Any) -> Any:
    """An ``AnyValue`` as a JSON value: bytes as base64 text, no value as ``None``."""
    which = value.WhichOneof("value")
    match which:
        case None:
            return None
        case "string_value" | "bool_value" | "int_value":
            return getattr(value, which)
        case "double_value":
            return finite(value.double_value)
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return attributes_of(value.kvlist_value.values)
        case "bytes_value":
            return b64encode(value.bytes_value).decode("ascii")
        case _:  # an index into a profile's table of texts, which logs and spans do not have
            return {which: getattr(value, which)}


def unknown_fields(message: Any, at: str = "") -> list[dict[str, Any]]:
    """The fields of a message tree that its schema does not know: where, number, and value (bytes in hex)."""
    found = [
        {"at": at, "field": unknown.field_number, "wireType": unknown.wire_type, "value": _raw(unknown.data)}
        for unknown in UnknownFieldSet(message)
    ]
    for descriptor, value in message.ListFields():
        if descriptor.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        for index, child in enumerate([value] if hasattr(value, "DESCRIPTOR") else value):
            found += unknown_fields(child, f"{at}/{descriptor.json_name}/{index}")
    return found


def _raw(data: Any) -> Any:
    if isinstance(data, bytes):
        return data.hex()
    return data if isinstance(data, int) else [_raw(item.data) for item in data]


def _link(link: Any) -> dict[str, Any]:
    fields = {
        "traceId": _id(link.trace_id),
        "spanId": _id(link.span_id),
        "traceState": link.trace_state,
        "attributes": attributes_of(link.attributes),
        "droppedAttributesCount": link.dropped_attributes_count,
        "flags": link.flags,
    }
    return {name: value for name, value in fields.items() if value}


def _id(raw: bytes) -> str:
    return raw.hex() if any(raw) else ""
