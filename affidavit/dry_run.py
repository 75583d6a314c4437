"""What a payload would become: read and assembled like any other, and stored nowhere. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from collector.assemble import Stamp, assemble
from collector.catalogue import Gateway
from collector.gateways import Format, Reading, Received, Unit
from collector.inflate import inflate
from collector.scrub import is_secret_name
from schemas.event import Event

GZIP = b"\x1f\x8b"

_RECEIVER_KNOWS = frozenset(
    {
        *("tenant", "gateway", "token_id", "receiver", "peer_ip", "media_type", "content_encoding", "received_at"),
        *("body_sha256", "collector_id", "collector_sequence", "unit_count", "unit_index", "retention_class"),
        *(
            "event_id",
            "kind",
            "source_id",
            "source_event_id",
            "source_pointer",
            "extras",
            "content_gaps",
            "ordinal",
            "format",
        ),
    }
)
"""Fields that say how a record got here, or that are shown in a place of their own."""


@dataclass(frozen=True, slots=True)
class DryEvent:
    """One event that would be recorded.

    Attributes:
        event_id: the same each time this payload is sent for this tenant and gateway.
        fields: metadata that the source gave, by name.
        content: the content part, any JSON; ``None`` when there is none.
        not_mapped: what has no field of ours, name → JSON text; it is kept in ``extras``.
        withheld: places that are not in full, as ``content_gaps`` states them.
    """

    event_id: str
    kind: str
    fields: Mapping[str, Any]
    content: Any
    not_mapped: Mapping[str, str]
    withheld: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class DryRecord:
    """One record of the source: its key, its size in bytes, its events; ``error`` when it would be ``unparsed``."""

    key: str
    size: int
    error: str
    events: tuple[DryEvent, ...]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What came of a payload. ``error`` is set when it is not of the format at all."""

    format: str
    error: str
    records: tuple[DryRecord, ...]

    @property
    def unread(self) -> int:
        """Records that would be ``unparsed``."""
        return sum(bool(record.error) for record in self.records)


def dry_run(gateway: Gateway, body: bytes, received: Received, limit: int) -> DryRun:
    """Read ``body`` as that gateway's, in the one of its formats that understands most of it.

    Args:
        body: as it would be sent; gzip is undone.
        received: what the receiver would know; an empty ``media_type`` is guessed from the bytes.
        limit: bytes of the body after decompression.

    Raises:
        LimitExceeded, MalformedInput: it does not inflate.
    """
    if body.startswith(GZIP):
        body = inflate(body, ["gzip"], limit)
    tried = [(one, one.read(body, _told(received, one, gateway, body))) for one in gateway.formats]
    chosen, reading = min(tried, key=lambda pair: _misread(pair[1]))
    events = assemble(reading, _told(received, chosen, gateway, body), Stamp("dry-run", 1))
    records = tuple(
        _record(unit, own, unit.error or reading.error) for unit, own in zip(reading.units, events, strict=True)
    )
    return DryRun(chosen.name, reading.error, records)


def credentials_left_out(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as a format sees them: names in lower case, without those that carry credentials."""
    return {name.lower(): value for name, value in headers.items() if not is_secret_name(name)}


def _told(received: Received, chosen: Format, gateway: Gateway, body: bytes) -> Received:
    media_type = received.media_type
    if not media_type:
        is_json = body.lstrip()[:1] in (b"{", b"[")
        otlp = "otlp-http" in gateway.receivers
        media_type = "application/json" if is_json else "application/x-protobuf" if otlp else "text/plain"
    return replace(received, media_type=media_type, format=chosen.name)


def _misread(reading: Reading) -> tuple[bool, float, int]:
    """Whether all of it, then how much of it was not understood; then whether little was made of it."""
    units = reading.units
    wrong = sum(bool(unit.error) for unit in units) / len(units) if units else 1.0
    return bool(reading.error), wrong, -sum(len(unit.drafts) for unit in units)


def _record(unit: Unit, events: Sequence[Event], error: str) -> DryRecord:
    key = events[0].metadata["source_id"]
    return DryRecord(key, len(unit.source), error, tuple(_event(event) for event in events))


def _event(event: Event) -> DryEvent:
    metadata = event.metadata
    return DryEvent(
        metadata["event_id"],
        event.kind,
        {
            name: value
            for name, value in metadata.items()
            if name not in _RECEIVER_KNOWS and value not in ("", None, [], {})
        },
        json.loads(event.content) if event.content else None,
        metadata.get("extras", {}),
        json.loads(metadata.get("content_gaps") or "[]"),
    )
