"""Gateway formats: one pure file per format, bytes in, events out. The words they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from schemas.metadata import Kind, Metadata


@dataclass(frozen=True, slots=True)
class Received:
    """What the receiver knows of a body before anybody reads it.

    Attributes:
        tenant, gateway, token_id: from the bearer token; a body cannot name another tenant.
        receiver: ``http``, ``otlp-http``, ``otlp-grpc``, ``poll``, ``file`` or ``internal``.
        peer_ip: address of the sender, ``""`` where there is none.
        media_type, content_encoding: as received.
        received_at: microseconds since 1970 UTC.
        format: name of the format that reads the body; a draft may name a more exact one.
        body_sha256: SHA-256 of the decompressed body, in hex.
    """

    tenant: str
    gateway: str
    token_id: str
    receiver: str
    peer_ip: str
    media_type: str
    content_encoding: str
    received_at: int
    format: str = ""
    body_sha256: str = ""


@dataclass(slots=True)
class Draft:
    """An event as its format knows it; ``collector.assemble`` adds ids, times and everything that the receiver knows.

    ``content`` is any JSON value (``None``: no content part). ``pointer`` says where in the unit it was found, as a
    JSON pointer (RFC 6901).
    """

    kind: Kind
    metadata: Metadata
    content: object = None
    pointer: str = ""


@dataclass(slots=True)
class Unit:
    """One source record: the smallest piece of a body that stands for itself (an array element, a line, a log record).

    Attributes:
        source: the exact bytes received, cut out of the body, never re-serialised. They become the source part of the
            unit's first event.
        source_id: the source's own key for it (docs/gateways.md says which, per format); ``""`` lets
            the hash of ``source`` stand in. Two units with the same key are the same record, sent again.
        drafts: in causal order: prompt, context, guardrail, response, tool_call, tool_result. Never empty unless
            ``error`` is set.
        error: why this unit could not be normalised; it is then recorded as one ``unparsed`` event, bytes and all.
        pointer: where in the body it was found, as a JSON pointer.
    """

    source: bytes
    source_id: str = ""
    drafts: list[Draft] = field(default_factory=list)
    error: str = ""
    pointer: str = ""


@dataclass(slots=True)
class Reading:
    """What a format made of one body: its units, in order. ``error`` is set when the body as a whole is not of the
    format; ``units`` then holds one unit with the whole body, and it is recorded as ``unparsed``."""

    units: list[Unit]
    error: str = ""


class Format(Protocol):
    """A gateway format. ``read`` is pure, and total: any bytes give a :class:`Reading`, never an exception. ``name``
    goes to metadata field ``format``."""

    name: str

    def read(self, body: bytes, received: Received) -> Reading:
        """Split a decompressed body into units and normalise each."""
        ...
