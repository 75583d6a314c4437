"""An event: one thing that happened, normalised, before it is sealed."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.ids import EventId
from schemas.metadata import Kind, Metadata
from schemas.part_streams import Sized


@dataclass(frozen=True, slots=True)
class Event:
    """One prompt, response, tool call … with the three parts that a record keeps apart.

    Attributes:
        event_id: 16 bytes, the same for every repeat of the event (:func:`schemas.ids.event_id`).
        kind: see :data:`schemas.metadata.Kind`.
        tenant: whose it is.
        subject: the data subject under whose keys the parts are sealed; ``""`` is the tenant itself.
        session: orders the bus: events of one session stay on one shard. Without a session, the exchange.
        retention_class: names the retention rule.
        metadata: complete, ready for :func:`schemas.parts.encode_metadata`.
        content: UTF-8 JSON; ``b""`` when the event has none (its record then has no content part).
        source: the exact bytes received; ``None`` when another event of the same unit carries them.
        whole: the exact bytes in place of ``source``, where they are too large for memory.
    """

    event_id: EventId
    kind: Kind
    tenant: str
    subject: str
    session: str
    retention_class: str
    metadata: Metadata
    content: bytes
    source: bytes | None
    whole: Sized | None = None
