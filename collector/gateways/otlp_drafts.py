"""What every OTLP record becomes, whatever it says: ids, times and outcome in front, the remainder in extras.

Extras carry attributes under their own names, those of the resource and the scope under ``resource.`` and ``scope.``,
and fields of the protocol itself under ``otlp.``. They go to the first event of a record, beside its source part; the
name of the service is on all of them.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_attributes import take_fields
from collector.gateways.otlp_telemetry import Group, SpanEvent, Telemetry, add_attribute
from collector.json_units import encode_content
from schemas.metadata import Metadata

_ACTORS = ("user_id", "user_email", "end_user_id")
_EVENT = "exception"


def shared_metadata(group: Group) -> Metadata:
    """What a resource says of all its records: version, and the person or region it was configured with."""
    fields: Metadata = {}
    take_fields(dict(group.resource), fields)
    version = group.resource.get("service.version")
    if isinstance(version, str):
        fields["gateway_version"] = version
    url = group.schema_url
    if url:
        fields["format_version"] = url.rpartition("/")[2]
    return fields


def shared_extras(group: Group) -> dict[str, str]:
    """Everything of the resource, the scope and the levels above, as extras."""
    extras = {f"resource.{key}": _json(value) for key, value in group.resource.items()}
    extras |= {f"scope.{key}": _json(value) for key, value in group.scope.items()}
    own = {"scope.name": group.scope_name, "scope.version": group.scope_version}
    for name, value in own.items():
        if value:
            add_attribute(extras, name, _json(value))
    return extras | {f"otlp.{name}": _json(value) for name, value in group.rest.items()}


def base_metadata(telemetry: Telemetry, shared: Metadata) -> Metadata:
    """Ids, times and the fields that attributes name. What the record says itself goes before its resource."""
    metadata: Metadata = {"time_precision": "ns"}
    if telemetry.trace_id:
        metadata["trace_id"] = telemetry.trace_id
    if telemetry.span_id:
        metadata["span_id"] = telemetry.span_id
    if telemetry.parent_span_id:
        metadata["parent_span_id"] = telemetry.parent_span_id
    take_fields(telemetry.attributes, metadata)
    for name, value in shared.items():
        metadata.setdefault(name, value)  # type: ignore[misc]
    if telemetry.signal == "traces":
        if telemetry.started:
            metadata["started_at"] = telemetry.started // 1000
        if telemetry.ended:
            metadata["ended_at"] = telemetry.ended // 1000
    kind = metadata.get("error_type", "")
    if "http_status" not in metadata and len(kind) == 3 and kind.isascii() and kind.isdigit():
        metadata["http_status"] = int(kind)
    metadata["assurance"] = _assurance(metadata)
    return metadata


def _assurance(metadata: Metadata) -> str:
    """A gateway that names the API key has checked it; a person in telemetry is as the instrumented program says."""
    if metadata.get("api_key_id"):
        return "gateway_authenticated"
    return "client_asserted" if any(name in metadata for name in _ACTORS) else "unknown"


def correlate(metadata: Metadata, telemetry: Telemetry) -> None:
    """The exchange is the span; the session is what the source calls so, or its conversation, or the whole trace."""
    if "exchange_id" not in metadata and telemetry.trace_id and telemetry.span_id:
        metadata["exchange_id"] = f"{telemetry.trace_id}:{telemetry.span_id}"
    if "session_id" not in metadata:
        session = metadata.get("conversation_id") or telemetry.trace_id
        if session:
            metadata["session_id"] = session


def starting(base: Metadata, telemetry: Telemetry) -> Metadata:
    """Metadata of an event at the beginning of a span, or at the time of a log record."""
    role = "start" if telemetry.signal == "traces" else "log"
    return {**base, "occurred_at": telemetry.started // 1000, "time_role": role}


def ending(base: Metadata, telemetry: Telemetry) -> Metadata:
    """Metadata of an event at the end of a span, with its duration, or at the time of a log record."""
    if telemetry.signal == "logs":
        return {**base, "occurred_at": telemetry.ended // 1000, "time_role": "log"}
    if not telemetry.ended:
        return starting(base, telemetry)
    metadata: Metadata = {**base, "occurred_at": telemetry.ended // 1000, "time_role": "end"}
    if 0 < telemetry.started <= telemetry.ended:
        metadata["latency_ms"] = (telemetry.ended - telemetry.started) / 1e6
    return metadata


def take_failure(telemetry: Telemetry, base: Metadata) -> bool:
    """Move what went wrong to its fields; whether anything did. Stack traces stay with their events, in extras."""
    for event in telemetry.events:
        if event.name == _EVENT:
            kind, message = event.attributes.get("exception.type"), event.attributes.get("exception.message")
            if isinstance(kind, str):
                base.setdefault("error_type", kind)
            if isinstance(message, str):
                base.setdefault("error_message", message)
    if telemetry.status_message and base.setdefault("error_message", telemetry.status_message) == (
        telemetry.status_message
    ):
        telemetry.status_message = ""
    failed = telemetry.status == "error" or (base.get("http_status") or 0) >= 400
    return failed or bool(base.get("error_type"))


def outcome_of(failed: bool, metadata: Metadata) -> str:
    """``ok``, ``error``, or ``blocked`` where a filter ended the answer."""
    if metadata.get("stop_reason") == "content_filter":
        return "blocked"
    return "error" if failed else "ok"


def finish(drafts: list[Draft], telemetry: Telemetry, extras: dict[str, str], dropped: int) -> None:
    """Give the drafts of a record what no mapping took, and say what the sender left out of it."""
    first = drafts[0]
    own = {key: _json(value) for key, value in telemetry.attributes.items()}
    own |= {f"otlp.{name}": _json(value) for name, value in telemetry.rest.items()}
    if telemetry.name:
        own["otlp.name" if telemetry.signal == "traces" else "otlp.eventName"] = _json(telemetry.name)
    if telemetry.span_kind:
        own["otlp.kind"] = _json(telemetry.span_kind)
    if telemetry.status:
        own["otlp.status.code"] = _json(telemetry.status)
    if telemetry.status_message:
        own["otlp.status.message"] = _json(telemetry.status_message)
    if telemetry.events:
        own["otlp.events"] = _json([_event(event) for event in telemetry.events])
    if telemetry.body is not None:
        _keep_body(first, telemetry.body, own)
    service = extras.get("resource.service.name")
    for draft in drafts:
        if draft is first:
            draft.metadata["extras"] = {**extras, **own, **draft.metadata.get("extras", {})}
        elif service is not None:
            draft.metadata["extras"] = {"resource.service.name": service, **draft.metadata.get("extras", {})}
        missing = dropped + telemetry.dropped
        if missing:
            place = "/extras" if draft.content is None else "/content"
            note = f"the sender left out {missing} attributes, events or links"
            state_gaps(draft.metadata, [Gap(place, "truncated", note=note)])
        elif "content_state" not in draft.metadata:
            draft.metadata["content_state"] = "full"


def _keep_body(draft: Draft, body: Any, own: dict[str, str]) -> None:
    """A body that no mapping read is content: it may hold anything."""
    if draft.content is None:
        draft.content = {"body": body}
    elif isinstance(draft.content, dict) and "body" not in draft.content:
        draft.content = {**draft.content, "body": body}
    else:
        own["otlp.body"] = _json(body)


def _event(event: SpanEvent) -> dict[str, Any]:
    return {"name": event.name, "timeUnixNano": event.time, "attributes": event.attributes}


def _json(value: Any) -> str:
    return encode_content(value).decode("utf-8")
