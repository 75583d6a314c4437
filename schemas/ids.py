"""Identifiers: shards, offsets, event ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from schemas.errors import MalformedInput

EventId = NewType("EventId", bytes)
"""16 raw bytes of a UUID."""

KeyId = NewType("KeyId", bytes)
"""16 random bytes that name a subject key."""

Offset = NewType("Offset", int)
"""Position on a shard, from 0, without gaps."""

EVENTS = "events"
CONTROL = "control"
DEADLETTER = "deadletter"
TOPICS = (EVENTS, CONTROL, DEADLETTER)

ANCHOR = "anchor"
"""No topic of the bus: ``Shard(ANCHOR, 0)`` names the log of checkpoint sets wherever a log is named by its shard."""

NAMESPACE = UUID("6f1d9a54-3c0e-5b8a-9d5e-0a4f6d1c7b20")
"""Namespace of event ids (RFC 9562 §5.5). Fixed for ever: another value gives other ids for the same events."""

_NAMESPACE_HASH = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)
"""Copied for each id: OpenSSL takes longer to look SHA-1 up than to hash a name."""


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One partition of one topic: the unit of order, of ownership and of signing.

    ``topic`` is one of :data:`TOPICS`; the bus maps it to its own name (``affidavit.events`` on Kafka).
    """

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


def parse_shard(text: str) -> Shard:
    """Read what ``str(shard)`` wrote, e.g. ``events/0``."""
    topic, _, partition = text.partition("/")
    plain = partition.isascii() and partition.isdigit() and str(int(partition)) == partition
    if topic not in (*TOPICS, ANCHOR) or not plain:
        raise MalformedInput(f"got shard {text!r}, expected <topic>/<partition> with topic one of {', '.join(TOPICS)}")
    return Shard(topic, int(partition))


def event_id(tenant: str, gateway: str, source_id: str, kind: str, ordinal: int) -> EventId:
    """UUIDv5 over the five parts that make an event the same event when its gateway sends it again.

    Each part is written with its length, so that no two tuples share a name.
    """
    named = b""
    for part in (tenant, gateway, source_id, kind, str(ordinal)):
        raw = part.encode("utf-8", "surrogatepass")
        named += len(raw).to_bytes(4, "big") + raw
    digest = _NAMESPACE_HASH.copy()
    digest.update(named)
    uuid = bytearray(digest.digest()[:16])
    uuid[6] = (uuid[6] & 0x0F) | 0x50
    uuid[8] = (uuid[8] & 0x3F) | 0x80
    return EventId(bytes(uuid))


def format_event_id(value: EventId | bytes) -> str:
    """Canonical text form of a UUID, lower case with hyphens."""
    text = value.hex()
    if len(text) != 32:
        raise MalformedInput(f"got an event id of {len(value)} bytes, expected 16")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_event_id(text: str) -> EventId:
    """Read the canonical text form; any other spelling of the same UUID is refused."""
    try:
        value = EventId(bytes.fromhex(text.replace("-", "")))
    except ValueError:
        raise MalformedInput(
            f"got event id {text!r}, expected a UUID such as 0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11"
        ) from None
    if len(value) != 16 or format_event_id(value) != text:
        raise MalformedInput(f"got event id {text!r}, expected a lower-case UUID with hyphens")
    return value
