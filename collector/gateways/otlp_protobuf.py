"""OTLP in protobuf: cutting a request into requests of one record each, and decoding them.

**Cut.** A record's source must be bytes that were received, and must mean something alone. So a unit is the request
with every sibling left out: the walk copies, at each of the three levels, all fields as they lie in the body
(resource, scope, schema URLs, and fields that nobody knows yet) around the one record, and writes anew only the
lengths of the enclosing messages. Such a unit is again a valid ``Export…ServiceRequest``.

::

    request         …other fields…  1: resource_logs ┐
    resource_logs   1: resource, 3: schema_url, …    └ 2: scope_logs ┐
    scope_logs      1: scope, 3: schema_url, …                       └ 2: log_records: one, as received

Spans have the same numbers (opentelemetry-proto ``logs_service.proto``, ``trace_service.proto``).

**Decode.** The body is parsed once, by the C parser; walk and parser meet the records in the same order. If the parse
of the whole fails, each unit is parsed by itself, so that one record with broken text costs only itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.gateways.otlp_messages import group_of, log_of, span_of, unknown_fields
from collector.gateways.otlp_telemetry import CONTAINERS, Cut, Group, Signal, Telemetry
from schemas.errors import MalformedInput

_REQUESTS: dict[Signal, Any] = {"logs": ExportLogsServiceRequest, "traces": ExportTraceServiceRequest}
_LISTS: dict[Signal, tuple[str, str, str]] = {
    "logs": ("resource_logs", "scope_logs", "log_records"),
    "traces": ("resource_spans", "scope_spans", "spans"),
}
LEVELS = ((1, frozenset[int]()), (2, frozenset((1, 3))), (2, frozenset((1, 3))))
"""Per level: the number of its list of children, and the numbers of the other fields it is known to have."""

NOT_DECODED = "got protobuf that does not decode, expected a record"
NO_RECORDS = "got no records, only fields that this version does not know"

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
LONGEST_MESSAGE = (1 << 31) - 1
"""Protobuf's own limit on the length of a field."""


class _Child(NamedTuple):
    """One entry of a level's list. ``before`` counts the level's other fields that precede it."""

    before: int
    tag: bytes
    payload: bytes
    whole: bytes


@dataclass(slots=True)
class _Level:
    """One message of the walk, taken apart."""

    others: list[bytes] = field(default_factory=list)
    children: list[_Child] = field(default_factory=list)
    strange: bool = False
    _sides: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)

    def around(self, child: _Child) -> tuple[bytes, bytes]:
        """The level's bytes before and behind a child, its siblings left out."""
        sides = self._sides.get(child.before)
        if sides is None:
            sides = b"".join(self.others[: child.before]), b"".join(self.others[child.before :])
            self._sides[child.before] = sides
        return sides


class Place(NamedTuple):
    """A unit and where it was. ``record`` is -1 where a level without records carried fields that nobody knows."""

    resource: int
    scope: int
    record: int
    source: bytes


def read_protobuf(body: bytes, signal: Signal) -> list[Group]:
    """Cut and decode a request.

    Raises:
        MalformedInput: its three outer levels are not protobuf.
    """
    places = _cut(body)
    parsed = _parse(body, signal)
    if parsed is None:
        return [decode_alone(place, signal) for place in places]
    outer, middle, inner = _LISTS[signal]
    groups = []
    for (i, j), members in groupby(places, key=lambda place: (place.resource, place.scope)):
        resource = getattr(parsed, outer)[i]
        scope = getattr(resource, middle)[j] if j >= 0 else None
        group = group_of(resource, scope)
        records = getattr(scope, inner) if scope is not None else ()
        group.cuts = [_decode(place, records, signal) for place in members]
        groups.append(group)
    if _has_unknown_fields(parsed):
        _note_unknown_fields(groups, signal)
    return groups


def _decode(place: Place, records: Any, signal: Signal) -> Cut:
    pointer = pointer_to(place, signal)
    if place.record < 0:
        return Cut(place.source, None, pointer, NO_RECORDS)
    telemetry = log_of(records[place.record]) if signal == "logs" else span_of(records[place.record])
    return Cut(place.source, telemetry, pointer)


def decode_alone(place: Place, signal: Signal) -> Group:
    """Decode one unit without the rest of its body."""
    parsed = _parse(place.source, signal)
    if parsed is None or place.record < 0:
        error = NOT_DECODED if parsed is None else NO_RECORDS
        return Group({}, {}, "", "", {}, 0, [Cut(place.source, None, pointer_to(place, signal), error)])
    outer, middle, inner = _LISTS[signal]
    resource = getattr(parsed, outer)[0]
    scope = getattr(resource, middle)[0]
    group = group_of(resource, scope)
    group.cuts = [_decode(place, {place.record: getattr(scope, inner)[0]}, signal)]
    if _has_unknown_fields(parsed):
        _note_unknown_fields([group], signal)
    return group


def _parse(data: bytes, signal: Signal) -> Any | None:
    try:
        return _REQUESTS[signal].FromString(data)
    except DecodeError:
        return None


def _has_unknown_fields(parsed: Any) -> bool:
    """Whether the message grows smaller without what its schema does not know. Takes those fields out of it."""
    size = parsed.ByteSize()
    parsed.DiscardUnknownFields()
    return bool(parsed.ByteSize() != size)


def _note_unknown_fields(groups: list[Group], signal: Signal) -> None:
    for group in groups:
        for cut in group.cuts:
            parsed = _parse(cut.source, signal)
            if parsed is not None and isinstance(cut.telemetry, Telemetry):
                found = unknown_fields(parsed)
                if found:
                    cut.telemetry.rest["unknownFields"] = found


def pointer_to(place: Place, signal: Signal) -> str:
    """JSON pointer to a record, as the request would have it in JSON."""
    names = CONTAINERS[signal]
    pointer = f"/{names[0]}/{place.resource}"
    if place.scope >= 0:
        pointer += f"/{names[1]}/{place.scope}"
    return f"{pointer}/{names[2]}/{place.record}" if place.record >= 0 else pointer


def _cut(body: bytes) -> list[Place]:
    """Every record of a request as a request of its own."""
    request = take_apart(body, 0)
    if request.strange and not request.children:
        raise MalformedInput("got protobuf without any list of records, expected an export request")
    places = []
    for i, outer in enumerate(request.children):
        resource = take_apart(outer.payload, 1)
        outside = request.around(outer)
        if resource.strange and not resource.children:
            places.append(Place(i, -1, -1, _enclose(outer.tag, outer.payload, outside)))
        for j, middle in enumerate(resource.children):
            scope = take_apart(middle.payload, 2)
            between = resource.around(middle)
            if scope.strange and not scope.children:
                inside = _enclose(middle.tag, middle.payload, between)
                places.append(Place(i, j, -1, _enclose(outer.tag, inside, outside)))
            for k, record in enumerate(scope.children):
                head, tail = scope.around(record)
                inside = _enclose(middle.tag, head + record.whole + tail, between)
                places.append(Place(i, j, k, _enclose(outer.tag, inside, outside)))
    return places


def _enclose(tag: bytes, payload: bytes, sides: tuple[bytes, bytes]) -> bytes:
    return b"".join((sides[0], tag, varint(len(payload)), payload, sides[1]))


def take_apart(data: bytes, depth: int) -> _Level:
    """Split one message into its list of children and its other fields."""
    list_number, known = LEVELS[depth]
    level, at, end = _Level(), 0, len(data)
    while at < end:
        start = at
        tag, tag_end = read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _LENGTH:
            size, payload = read_varint(data, tag_end)
            at = payload + size if size <= LONGEST_MESSAGE else end + 1
        elif wire_type == _VARINT:
            at = read_varint(data, tag_end)[1]
        elif wire_type in (_FIXED64, _FIXED32):
            at = tag_end + (8 if wire_type == _FIXED64 else 4)
        else:
            raise MalformedInput(f"got protobuf wire type {wire_type} at byte {start}, expected 0, 1, 2 or 5")
        if at > end or number == 0:
            raise MalformedInput(f"got a protobuf field at byte {start} that ends at {at}, expected at most {end}")
        if number == list_number and wire_type == _LENGTH:
            child = _Child(len(level.others), data[start:tag_end], data[payload:at], data[start:at])
            level.children.append(child)
        else:
            level.others.append(data[start:at])
            level.strange = level.strange or number not in known
    return level


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number and the position behind it; longer spellings of the same number are as valid to protobuf."""
    try:
        byte = data[at]
        if byte < 0x80:
            return byte, at + 1
        value, shift = byte & 0x7F, 7
        for position in range(at + 1, at + _LONGEST_VARINT):
            byte = data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position + 1
            shift += 7
    except IndexError:
        raise MalformedInput(f"got {len(data)} bytes, expected a protobuf number at byte {at} to end in them") from None
    raise MalformedInput(f"got a protobuf number of more than {_LONGEST_VARINT} bytes at byte {at}")


def varint(value: int) -> bytes:
    """A number in base 128, in its shortest spelling."""
    out = bytearray()
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
