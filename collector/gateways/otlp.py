"""OTLP logs and traces: one log record or span is one unit, read by whichever convention it speaks.

**Units.** The source of a unit is the received request with every other record left out, in the encoding it came in:
itself a valid request, with the resource, the scope, the schema URLs and every field that nobody knows. The two
encodings' modules say how the bytes are cut.

**Which reader.** Claude Code by its names; GenAI conventions by their attributes (:mod:`collector.gateways.genai`);
everything else is recorded as a ``session`` event with its attributes as extras and a log's body as content. It was
sent to an audit log, so it is kept; a sender that wants less sends less.

**Keys.** A span is its trace and span id. A log record has no id, so the hash of its unit is its key, which covers the
resource and the scope. Claude Code's events number themselves.

**Metrics** are not kept: they are counts of what the log proves one by one. They are declined in the protocol's own
way, a partial success that says so, which no sender repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.gateways import Draft, Reading, Received, Unit, claude_code
from collector.gateways.claude_code_spans import claude_code_span_drafts, is_claude_code_span
from collector.gateways.gaps import state_gaps
from collector.gateways.genai import genai_drafts, speaks_genai
from collector.gateways.genai_events import MESSAGES, message_drafts
from collector.gateways.genai_surroundings import plain_drafts
from collector.gateways.otlp_dialects import read_base, settle_usage
from collector.gateways.otlp_drafts import (
    base_metadata,
    correlate,
    finish,
    shared_extras,
    shared_metadata,
    take_failure,
)
from collector.gateways.otlp_json import read_json
from collector.gateways.otlp_protobuf import Place, decode_alone, read_protobuf
from collector.gateways.otlp_telemetry import Cut, Group, Signal, Telemetry
from collector.json_units import parse_json
from schemas.errors import MalformedInput
from schemas.metadata import Metadata

OUR_BUG = "affidavit could not read this record, which is a bug; its bytes are kept"


class OtlpFormat:
    """Requests of one signal. ``POST /v1/logs`` and ``POST /v1/traces``."""

    def __init__(self, signal: Signal) -> None:
        self.name = f"otlp_{signal}"
        self._signal = signal
        self.light = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per record; an empty request has none, and is fine."""
        if not body:
            return Reading([])
        read = read_json if speaks_json(body, received.media_type) else read_protobuf
        try:
            groups = read(body, self._signal)
        except MalformedInput as error:
            return Reading([Unit(body)], str(error))
        return Reading([unit for group in groups for unit in _units(group)])

    def read_record(self, place: Place) -> Unit:
        """One record of a request in protobuf, from its unit; as :meth:`read` has it among the others."""
        (unit,) = _units(decode_alone(place, self._signal))
        return unit

    @property
    def signal(self) -> Signal:
        """Which list a request holds."""
        return self._signal


@dataclass(slots=True)
class Declined(Reading):
    """A body of metrics: nothing of it is kept. ``rejected`` counts its data points."""

    rejected: int = 0


class OtlpMetrics:
    """Metrics, politely declined. ``POST /v1/metrics``."""

    name = "otlp_metrics"

    def read(self, body: bytes, received: Received) -> Reading:
        """No units, and the number of data points that were not kept."""
        if speaks_json(body, received.media_type):
            unit = parse_json(body or b"{}")
            if unit.error:
                return Declined([], unit.error)
            return Declined([], rejected=_count_points(unit.value))
        try:
            request = ExportMetricsServiceRequest.FromString(body)
        except DecodeError:
            return Declined([], "got bytes that are not a metrics export request in protobuf")
        return Declined([], rejected=_count_protobuf_points(request))


def speaks_json(body: bytes, media_type: str) -> bool:
    """Whether a body is JSON: by its media type, or, where that says nothing, by its first character."""
    kind = media_type.partition(";")[0].strip().lower()
    if "json" in kind:
        return True
    return "protobuf" not in kind and body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def _units(group: Group) -> list[Unit]:
    shared, extras = shared_metadata(group), shared_extras(group)
    return [_unit(cut, group, shared, extras) for cut in group.cuts]


def _unit(cut: Cut, group: Group, shared: Metadata, extras: dict[str, str]) -> Unit:
    if cut.telemetry is None:
        return Unit(cut.source, error=cut.error, pointer=cut.pointer)
    try:
        source_id, drafts = _read(cut.telemetry, group, shared)
        finish(drafts, cut.telemetry, extras, group.dropped)
    except RecursionError:
        return Unit(cut.source, error="got values nested too deeply to read", pointer=cut.pointer)
    except Exception as bug:  # a mistake of a mapping may cost the view of one record, never the record or its batch
        return Unit(cut.source, error=f"{OUR_BUG}: {type(bug).__name__}", pointer=cut.pointer)
    for draft in drafts:
        draft.pointer = cut.pointer
    return Unit(cut.source, source_id, drafts, pointer=cut.pointer)


def _read(telemetry: Telemetry, group: Group, shared: Metadata) -> tuple[str, list[Draft]]:
    """The record's key, and its events."""
    if telemetry.signal == "logs":
        return _read_log(telemetry, group, shared)
    source_id = f"{telemetry.trace_id}/{telemetry.span_id}" if telemetry.trace_id and telemetry.span_id else ""
    if is_claude_code_span(telemetry, group):
        return source_id, claude_code_span_drafts(telemetry, base_metadata(telemetry, shared))
    return source_id, _read_any(telemetry, group, shared)


def _read_log(telemetry: Telemetry, group: Group, shared: Metadata) -> tuple[str, list[Draft]]:
    name = claude_code.event_name(telemetry, group)
    if name:
        source_id = claude_code.source_id(telemetry, name)
        return source_id, claude_code.claude_code_drafts(telemetry, name, base_metadata(telemetry, shared))
    _adopt_name(telemetry)
    if telemetry.name in MESSAGES:
        return "", message_drafts(telemetry, base_metadata(telemetry, shared))
    return "", _read_any(telemetry, group, shared)


def _read_any(telemetry: Telemetry, group: Group, shared: Metadata) -> list[Draft]:
    genai = speaks_genai(telemetry)
    base, role, find_gaps = read_base(telemetry, group, shared)
    if genai or role:
        drafts = genai_drafts(telemetry, base, role)
        settle_usage(drafts, group)
        if find_gaps is not None:
            for draft in drafts:
                state_gaps(draft.metadata, find_gaps(draft.content, "/content"))
        return drafts
    correlate(base, telemetry)
    return plain_drafts(telemetry, base, take_failure(telemetry, base))


def _adopt_name(telemetry: Telemetry) -> None:
    """Older SDKs put the name of an event into an attribute."""
    name = telemetry.attributes.get("event.name")
    if not telemetry.name and isinstance(name, str):
        telemetry.name = name
        del telemetry.attributes["event.name"]


def _count_points(value: Any) -> int:
    """Data points of a JSON metrics request: the elements of every list of that name."""
    total, work = 0, [value]
    while work:
        item = work.pop()
        if isinstance(item, list):
            work += item
        elif isinstance(item, dict):
            for name, inner in item.items():
                if name in ("dataPoints", "data_points") and isinstance(inner, list):
                    total += len(inner)
                else:
                    work.append(inner)
    return total


def _count_protobuf_points(request: Any) -> int:
    total = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                which = metric.WhichOneof("data")
                total += len(getattr(metric, which).data_points) if which else 0
    return total
