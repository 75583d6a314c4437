"""One log record or span, decoded: what the two encodings of OTLP have in common.

A :class:`Group` is what one resource and one scope share; it is decoded once, its telemetry one by one. Attribute
values are plain JSON values. What the protocol defines but no mapping needs is in ``rest`` under the protocol's own
JSON name, so that nothing is lost on the way to the extras.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, field
from typing import Any, Literal

Signal = Literal["logs", "traces"]

CONTAINERS: dict[Signal, tuple[str, str, str]] = {
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
    "traces": ("resourceSpans", "scopeSpans", "spans"),
}
"""The three nested lists of a request, outermost first, by their JSON names."""

SPAN_KINDS = ("", "internal", "server", "client", "producer", "consumer")
STATUS_CODES = ("", "ok", "error")


@dataclass(slots=True)
class SpanEvent:
    """Something at one instant of a span. ``time`` is nanoseconds since 1970, 0 where unknown."""

    name: str
    time: int
    attributes: dict[str, Any]


@dataclass(slots=True)
class Telemetry:
    """One log record or span.

    Attributes:
        name: the span's name, or the log record's event name.
        trace_id, span_id, parent_span_id: lower-case hex; ``""`` where absent or all zeros.
        started, ended: nanoseconds since 1970; a log record has one time, in both. 0 where absent.
        attributes: of the record alone. Mappings take out what they map; the remainder becomes extras.
        body: of a log record.
        span_kind, status: words of :data:`SPAN_KINDS` and :data:`STATUS_CODES`.
        dropped: attributes, events and links that the sender says it left out.
        rest: fields of the protocol without a mapping, by their JSON names.
    """

    signal: Signal
    attributes: dict[str, Any]
    name: str = ""
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    started: int = 0
    ended: int = 0
    body: Any = None
    span_kind: str = ""
    status: str = ""
    status_message: str = ""
    events: list[SpanEvent] = field(default_factory=list)
    dropped: int = 0
    rest: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Cut:
    """One record as it lay in the body.

    Attributes:
        source: a request of its own with this one record (see the two encodings' modules).
        telemetry: decoded; ``None`` where ``error`` says why not.
        pointer: JSON pointer to the record in the body.
    """

    source: bytes
    telemetry: Telemetry | None
    pointer: str
    error: str = ""


@dataclass(slots=True)
class Group:
    """The records of one scope of one resource, and what they share.

    Attributes:
        resource, scope: attributes; ``scope_name`` and ``scope_version`` apart.
        rest: what else the levels above the record carry, under dotted names such as ``resource.schemaUrl``.
        dropped: attributes left out of resource and scope.
    """

    resource: dict[str, Any]
    scope: dict[str, Any]
    scope_name: str
    scope_version: str
    rest: dict[str, Any]
    dropped: int
    cuts: list[Cut]

    @property
    def schema_url(self) -> str:
        """The semantic conventions in force: the scope's, or else the resource's."""
        return str(self.rest.get("scope.schemaUrl") or self.rest.get("resource.schemaUrl") or "")


def add_attribute(attributes: dict[str, Any], key: str, value: object) -> None:
    """Put one attribute in. A key that occurs again, which the specification forbids, gets a number: the first value
    is the one that mappings read, and none is lost."""
    if key not in attributes:
        attributes[key] = value
        return
    taken, free = 0, 1
    while f"{key}[{free}]" in attributes:
        taken, free = free, 2 * free
    while free - taken > 1:  # so that a million of the same key do not cost the square of that
        middle = (taken + free) // 2
        taken, free = (middle, free) if f"{key}[{middle}]" in attributes else (taken, middle)
    attributes[f"{key}[{free}]"] = value


def finite(value: float) -> float | str:
    """A double as JSON can hold it: those that JSON cannot spell become protobuf's words for them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def hex_id(value: object, size: int) -> str:
    """An id of ``size`` bytes as lower-case hex, from hex or base64 text; text of another form stays as it is."""
    if not isinstance(value, str) or not value.strip("0"):
        return ""
    if len(value) == 2 * size:
        try:
            return bytes.fromhex(value).hex()
        except ValueError:
            return value
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return value
    return (raw.hex() if any(raw) else "") if len(raw) == size else value
