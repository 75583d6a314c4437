"""The native format: one JSON object per event, flat, with the field names of ``schemas.metadata``.

A body is an object, an array of them, or NDJSON. Beside the metadata fields an event has ``content`` (any JSON), ``id``
(the sender's own key: the same id sent again is the same event) and ``kind``, the only one required. An unknown field
is an error that names it: a misspelt ``user_emial`` in an audit log is worse than a refused event. What has no field of
its own goes into ``extras``, where every value is welcome.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal, Required, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.times import from_text, in_range
from collector.json_units import encode_content, split_json
from schemas.metadata import CONTENT_STATES, Kind, Metadata

COLLECTOR_FIELDS = frozenset(
    {
        *("event_id", "tenant", "gateway", "token_id", "ordinal", "source_id", "source_event_id", "source_pointer"),
        *("received_at", "format", "receiver", "peer_ip", "media_type", "content_encoding", "time_precision"),
        *("collector_id", "collector_sequence", "body_sha256", "unit_index", "unit_count", "retention_class"),
    }
)
"""What a sender may not state: it is either bound to the token or observed by the collector. Refused, not overwritten,
so that nobody believes a value that had no effect."""

TIME_FIELDS = ("occurred_at", "started_at", "ended_at", "first_token_at")
JSON_FIELDS = ("usage_raw", "cost_raw")

EARLIEST_INTEGER = 10**14
"""March 1973. A smaller number is seconds or milliseconds, and would silently be a time in 1970."""

NATIVE_KINDS = ("prompt", "response", "tool_call", "tool_result", "context", "guardrail", "session", "admin", "access")
"""What a sender may say that happened."""

_SPECIAL: dict[str, Any] = {
    "kind": Required[Literal[NATIVE_KINDS]],
    "id": str,
    "content": Any,
    "content_gaps": list[dict[str, Any]],
    "content_state": Literal[CONTENT_STATES],
    "extras": dict[str, Any],
    "assurance": Literal["gateway_authenticated", "provider_authenticated", "client_asserted", "unknown"],
    "outcome": Literal["ok", "error", "blocked", "partial", "cancelled"],
    "approval_tier": Literal[1, 2, 3] | None,
    **dict.fromkeys(TIME_FIELDS, int | str | None),
    **dict.fromkeys(JSON_FIELDS, Any),
}

FIELDS: dict[str, Any] = {
    name: hint for name, hint in get_type_hints(Metadata).items() if name not in COLLECTOR_FIELDS
} | _SPECIAL
"""Every field of a native event, with its type."""

NativeEvent = TypedDict("NativeEvent", FIELDS, total=False)  # type: ignore[misc]
NativeEvent.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]

ADAPTER: TypeAdapter[Any] = TypeAdapter(NativeEvent)
_VALIDATOR = ADAPTER.validator


class NativeFormat:
    """See the module. ``POST /v1/events``."""

    name = "native"
    light = per_value = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per JSON value of the body."""
        units = split_json(body)
        return Reading([Unit(one.source, error=one.error) if one.error else read_event(*one[:2]) for one in units])


def read_event(source: bytes, value: Any) -> Unit:
    """The unit of one event: its bytes, and the JSON value that it is."""
    if not isinstance(value, dict):
        return Unit(source, error=f"got {_json_type(value)}, expected a JSON object with at least the field kind")
    try:
        fields: dict[str, Any] = _VALIDATOR.validate_python(value)
    except ValidationError as invalid:
        return Unit(source, error=_explain(invalid))
    content = fields.pop("content", None)
    source_id = fields.pop("id", "")
    problem = _convert(fields)
    if problem:
        return Unit(source, error=problem)
    return Unit(source, source_id, [Draft(cast(Kind, fields["kind"]), cast(Metadata, fields), content)])


def _convert(fields: dict[str, Any]) -> str:
    """Bring validated fields into the form of metadata; return what is wrong with them, or ``""``."""
    for name in TIME_FIELDS:
        if name in fields:
            problem = _convert_time(fields, name)
            if problem:
                return problem
    for name in JSON_FIELDS:
        if name in fields and not isinstance(fields[name], str):
            fields[name] = encode_content(fields[name]).decode()
    if "extras" in fields:
        fields["extras"] = {name: encode_content(value).decode() for name, value in fields["extras"].items()}
    if "content_gaps" in fields:
        return _convert_gaps(fields)
    return ""


def _convert_time(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    precision = "us"
    if isinstance(value, str):
        moment = from_text(value)
        if moment is None:
            return f"field {name}: got {value[:64]!r}, expected a time such as 2026-08-21T09:00:00.125Z"
        fields[name], precision = moment
    elif value is None:
        del fields[name]
        return ""
    elif not (in_range(value) and value >= EARLIEST_INTEGER):
        return f"field {name}: got {value}, expected microseconds since 1970, such as 1787302800125000, or RFC 3339"
    if name == "occurred_at":
        fields["time_precision"] = precision
    return ""


def _convert_gaps(fields: dict[str, Any]) -> str:
    gaps = fields.pop("content_gaps")
    try:
        stated = [Gap(**gap) for gap in gaps]
    except TypeError:
        return "field content_gaps: expected objects with pointer, state and optionally limit, original_size, ref, note"
    if any(gap.state not in CONTENT_STATES for gap in stated):
        return f"field content_gaps: expected each state to be one of {', '.join(CONTENT_STATES)}"
    state_gaps(cast(Metadata, fields), stated)
    return ""


def _explain(invalid: ValidationError) -> str:
    """The first problem, in a line that says what to change."""
    first = invalid.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(step) for step in first["loc"])
    name = str(first["loc"][0]) if first["loc"] else ""
    more = f" (and {invalid.error_count() - 1} more)" if invalid.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return _unknown_field(name) + more
    if first["type"] == "missing":
        return f"field {path} is missing, expected one of {_kinds()}{more}"
    return f"field {path}: {first['msg'][:1].lower()}{first['msg'][1:]}{more}"


def _unknown_field(name: str) -> str:
    if name in COLLECTOR_FIELDS:
        remedy = "send your own key as id" if name in ("event_id", "source_id") else "leave it out"
        return f"field {name} is set by the collector: {remedy}"
    near = difflib.get_close_matches(name, FIELDS, n=1)
    remedy = f"did you mean {near[0]}? Otherwise put it into extras" if near else "put it into extras"
    return f"field {name[:64]!r} is unknown: {remedy}"


def _kinds() -> str:
    return ", ".join(NATIVE_KINDS)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "an array"}.get(type(value), "?")
