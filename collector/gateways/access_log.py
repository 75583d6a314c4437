"""Lines of access logs that name their fields as OpenTelemetry does: one line, one exchange.

Envoy AI Gateway and agentgateway write per request what a span would say, without content: which model or tool, how
many tokens, how it ended. So a line is read by the same mappings as a span, with its start and its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collector.gateways import Draft
from collector.gateways.genai import Role, genai_drafts, speaks_genai
from collector.gateways.genai_surroundings import plain_drafts
from collector.gateways.otlp_drafts import base_metadata, correlate, finish, take_failure
from collector.gateways.otlp_telemetry import Telemetry
from collector.gateways.times import Time
from schemas.metadata import Metadata

ABSENT = (None, "-", "")
"""How access logs say that a field has no value."""


@dataclass(slots=True)
class Line:
    """What a line says.

    Attributes:
        attributes: by the names that the mappings of spans know, or by the line's own; the remainder becomes extras.
        known: fields that the format itself found.
        started: when the request began; ``None`` where the line does not say.
        ended: when it was answered, in microseconds since 1970; 0 where that is not known.
        trace_id, span_id: in hex, ``""`` without.
        failed: whether it says so, in a way that the shared mappings do not know.
        outcome: of the exchange, where ``ok`` or ``error`` would not be the word.
        role: what the line reports, where the format knows better than the attributes do.
    """

    attributes: dict[str, Any]
    known: Metadata
    started: Time | None = None
    ended: int = 0
    trace_id: str = ""
    span_id: str = ""
    failed: bool = False
    outcome: str = ""
    role: Role | None = None


def line_drafts(line: Line) -> list[Draft]:
    """The events of a line, in causal order; at least one. A field without a value is an extra, and says nothing."""
    attributes = {name: value for name, value in line.attributes.items() if value not in ABSENT}
    empty = {name: value for name, value in line.attributes.items() if value == "-"}
    started = line.started.micros * 1000 if line.started else 0
    telemetry = Telemetry(
        "traces",
        attributes,
        trace_id=line.trace_id,
        span_id=line.span_id,
        started=started or line.ended * 1000,
        ended=line.ended * 1000,
        status="error" if line.failed else "",
    )
    base = base_metadata(telemetry, {})
    base["time_precision"] = line.started.precision if line.started else ""
    _add(base, line.known, attributes)
    if line.role or speaks_genai(telemetry) or base.get("operation"):
        drafts = genai_drafts(telemetry, base, line.role)
    else:
        correlate(base, telemetry)
        drafts = plain_drafts(telemetry, base, take_failure(telemetry, base))
    telemetry.attributes |= empty
    telemetry.status = ""
    finish(drafts, telemetry, {}, 0)
    for draft in drafts:
        draft.metadata.pop("format", None)
        if line.outcome and draft.kind in _ENDINGS:
            draft.metadata["outcome"] = line.outcome
    return drafts


_ENDINGS = ("response", "tool_result", "context", "session")
"""Kinds of events that say how something ended."""


def _add(base: Metadata, known: Metadata, attributes: dict[str, Any]) -> None:
    """What the format found goes before what the shared mappings made of the same line."""
    fields: dict[str, Any] = base  # type: ignore[assignment]
    for name, value in known.items():
        if value in (None, ""):
            continue
        displaced = fields.get(name)
        if displaced not in (None, "", value) and name != "assurance":
            attributes[f"displaced.{name}"] = displaced
        fields[name] = value


def host_of(address: Any) -> str:
    """``192.0.2.1:5317`` or ``[2001:db8::1]:5317`` without its port; ``""`` for anything else."""
    if not isinstance(address, str):
        return ""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        return ""
    if host.startswith("["):
        return host.strip("[]")
    return "" if ":" in host else host
