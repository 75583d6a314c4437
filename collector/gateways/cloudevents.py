"""CloudEvents 1.0 over HTTP, in its three modes: binary, structured, batch.

What an event carries is read as an event of the native API where its data has one of our kinds, as a model call where
it has the bodies of a provider (``request``, ``response``), and is kept whole otherwise. Source: cloudevents/spec,
``spec.md``, ``formats/json-format.md`` and ``bindings/http-protocol-binding.md`` (collector/pages/cloudevents.md).
"""

from __future__ import annotations

import base64
from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.bodies import read_body
from collector.gateways.cloudevents_headers import MODES, Binary, format_binary, is_json, mode_of, read_binary
from collector.gateways.exchange import Exchange, exchange_drafts, name_provider
from collector.gateways.gaps import state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.native import NATIVE_KINDS, read_event
from collector.gateways.source_ids import joined_id
from collector.gateways.times import from_text
from collector.json_units import encode_content, parse_json, split_json
from schemas.metadata import Metadata

_REQUIRED = ("id", "source", "specversion", "type")


class CloudEventsFormat:
    """See the module. ``POST /v1/cloudevents``."""

    name = "cloudevents"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per event. In binary mode half of the record is in the headers, so the source of its unit has them
        before the body, as an HTTP message has (``cloudevents_headers``)."""
        mode = mode_of(received, body)
        if mode == "batch":
            if body.lstrip()[:1] != b"[":
                return _refused(body, "got a batch that is not a JSON array")
            return Reading([_unit(one.source, one.value, one.error, at) for at, one in enumerate(split_json(body))])
        if mode == "structured":
            one = parse_json(body)
            unit = _unit(body, one.value, one.error)
            return Reading([unit])
        binary = read_binary(received, body)
        if binary is None:
            return _refused(body, f"got no CloudEvent, expected {MODES}")
        return Reading([_binary_unit(binary)])


def _refused(body: bytes, error: str) -> Reading:
    return Reading([Unit(body, error=error)], error)


def _binary_unit(binary: Binary) -> Unit:
    source = format_binary(binary)
    if binary.error:
        return Unit(source, error=binary.error)
    event: dict[str, Any] = dict(binary.attributes)
    media_type = binary.attributes.get("datacontenttype", "")
    if not binary.data:
        pass
    elif is_json(media_type):
        one = parse_json(binary.data)
        if one.error and not media_type:
            event |= _as_text(binary.data)
        elif one.error:
            return Unit(source, _key(event), error=f"got data that says it is {media_type} and is {one.error}")
        else:
            event["data"] = one.value
    else:
        event |= _as_text(binary.data)
    return _unit(source, event, "")


def _as_text(data: bytes) -> dict[str, Any]:
    """Data of another type than JSON: its text, or its bytes in base64."""
    try:
        return {"data": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def _unit(source: bytes, event: Any, error: str, index: int | None = None) -> Unit:
    at = "" if index is None else f"/{index}"
    if error:
        return Unit(source, error=error, pointer=at)
    if not isinstance(event, dict):
        return Unit(source, error=f"got {type(event).__name__}, expected a CloudEvent: an object", pointer=at)
    missing = [name for name in _REQUIRED if not isinstance(event.get(name), str) or not event[name]]
    if missing:
        return Unit(source, error=f"got a CloudEvent without {', '.join(missing)}", pointer=at)
    if "data" in event and "data_base64" in event:
        return Unit(source, _key(event), error="got both data and data_base64, expected one of them", pointer=at)
    return _read_event(source, event, at)


def _key(event: dict[str, Any]) -> str:
    return joined_id(event.get("source"), event.get("id"))


def _read_event(source: bytes, event: dict[str, Any], at: str) -> Unit:
    fields = Fields(event)
    data, encoded = _take_data(fields)
    shared = _take_attributes(fields)
    if isinstance(data, dict) and data.get("kind") in NATIVE_KINDS:
        unit = _native(source, data, shared)
    elif isinstance(data, dict) and (_is_body(data, "request") or _is_body(data, "response")):
        unit = Unit(source, drafts=_exchange(data, shared))
    else:
        content = {"data_base64": encoded} if encoded is not None else None if data is None else {"data": data}
        unit = Unit(source, drafts=[Draft("session", shared, content, "/data" if content else "")])
    unit.source_id, unit.pointer = _key(event), at
    for draft in unit.drafts:
        if "content_state" not in draft.metadata:
            state_gaps(draft.metadata, [])
    if unit.drafts:
        first = unit.drafts[0].metadata
        first["extras"] = {**_named(fields), **first.get("extras", {})}
    return unit


def _named(fields: Fields) -> dict[str, str]:
    """Attributes without a field of ours, as ``ce.…``."""
    return {f"ce.{name}": value for name, value in fields.leftovers().items()}


def _take_data(fields: Fields) -> tuple[Any, str | None]:
    """The data as a value, or as base64 of what is no JSON. A JSON string in ``data`` is a string: it is not parsed."""
    encoded = fields.take("data_base64")
    if not isinstance(encoded, str):
        return fields.take("data") if encoded is None else encoded, None
    media_type = fields.peek("datacontenttype")
    if isinstance(media_type, str) and is_json(media_type):
        try:
            one = parse_json(base64.b64decode(encoded, validate=True))
        except ValueError:
            return None, encoded
        if not one.error:
            return one.value, None
    return None, encoded


def _take_attributes(fields: Fields) -> Metadata:
    """What the attributes say. ``traceparent`` is an extension of the specification's own (Distributed Tracing)."""
    shared: Metadata = {
        "request_id_client": fields.take_text("id"),
        "format_version": fields.take_text("specversion"),
        "api": fields.take_text("type"),
        "assurance": "unknown",
    }
    moment = from_text(fields.peek("time")) if isinstance(fields.peek("time"), str) else None
    if moment is not None:
        fields.take("time")
        shared["occurred_at"], shared["time_precision"], shared["time_role"] = moment.micros, moment.precision, "emit"
    parts = str(fields.peek("traceparent")).split("-")
    if len(parts) == 4 and (len(parts[1]), len(parts[2])) == (32, 16):
        shared["trace_id"], shared["span_id"] = parts[1], parts[2]
    return shared


def _native(source: bytes, data: dict[str, Any], shared: Metadata) -> Unit:
    """An event of the native API; what it states itself goes before what the envelope says."""
    own_id = data.get("id")
    unit = read_event(source, data)
    if unit.error:
        unit.error = f"data: {unit.error}"
        return unit
    (draft,) = unit.drafts
    if "occurred_at" in draft.metadata:
        shared = {name: value for name, value in shared.items() if name not in _MOMENT}  # type: ignore[assignment]
    draft.metadata = {**shared, **draft.metadata}
    if isinstance(own_id, str) and own_id:
        draft.metadata["extras"] = {**draft.metadata.get("extras", {}), "data.id": encode_content(own_id).decode()}
    draft.pointer = "/data"
    return unit


_MOMENT = ("occurred_at", "time_precision", "time_role")


def _is_body(data: dict[str, Any], name: str) -> bool:
    return isinstance(data.get(name), dict | str) and bool(data[name])


def _exchange(data: dict[str, Any], shared: Metadata) -> list[Draft]:
    """A model call: the bodies of both sides, and beside them what the gateway says."""
    fields = Fields(data)
    times: Metadata = {}
    for name in _MOMENT:
        if name in shared:
            times[name] = shared.pop(name)  # type: ignore[literal-required,misc]
    for name in ("session_id", "conversation_id", "user_id", "user_email", "end_user_id"):
        value = fields.take_text(name)
        if value:
            shared[name] = value  # type: ignore[literal-required]
    if any(name in shared for name in ("user_id", "user_email", "end_user_id")):
        shared["assurance"] = "client_asserted"
    shared["model_requested"] = fields.take_text("model")
    if fields.peek("provider"):
        name_provider(shared, fields.take_text("provider"))
    measured: Metadata = {}
    status = fields.take_count("status")
    if status is not None and 100 <= status <= 599:
        measured["http_status"] = status
    elif status is not None:
        shared["extras"] = {"data.status": str(status)}
    request, response = read_body(fields.take("request")), read_body(fields.take("response"))
    kept = shared.pop("extras", {})
    exchange = Exchange(request, response, "/data/request", "/data/response", shared, times, measured)
    drafts = exchange_drafts(exchange)
    left = {f"data.{name}": value for name, value in fields.leftovers().items()}
    drafts[0].metadata["extras"] = {**drafts[0].metadata.get("extras", {}), **kept, **left}
    return drafts
