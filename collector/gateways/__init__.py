"""Gateway formats: one pure file per format, bytes in, events out. The words they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from schemas.metadata import Kind, Metadata
from schemas.part_streams import Sized


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a body refers to, fetched beside it: the exact ``data``, or, where it could not be had, ``problem``."""

    data: bytes = b""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """What the receiver knows of a body before anybody reads it.

    Attributes:
        tenant, gateway, token_id: from the bearer token; a body cannot name another tenant.
        receiver: ``http``, ``otlp-http``, ``otlp-grpc``, ``poll``, ``objects``, ``file``, ``proxy`` or ``internal``.
        peer_ip: address of the sender, ``""`` where there is none.
        media_type, content_encoding: as received.
        received_at: microseconds since 1970 UTC.
        format: name of the format that reads the body; a draft may name a more exact one.
        body_sha256: SHA-256 of the decompressed body, in hex.
        headers: of the request, names in lower case, without those that carry credentials; for formats that have a part
            of the record there (CloudEvents in binary mode). Empty where there was no request.
        name: what the receiver calls this body: the key of an object, the name of a file, the id of a page.
        attachments: by reference, what :meth:`ReferencingFormat.references` asked for. Empty where nobody fetches.
        first_unit, unit_count: where a large body is read some units at a time, how many units of it were read before,
            and how many there are; 0 and 0 where it is read whole.
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
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    first_unit: int = 0
    unit_count: int = 0


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
        source_id: the source's own key for it (collector/pages says which, per gateway); ``""`` lets
            the hash of ``source`` stand in. Two units with the same key are the same record, sent again.
        drafts: in causal order: prompt, context, guardrail, response, tool_call, tool_result. Never empty unless
            ``error`` is set.
        error: why this unit could not be normalised; it is then recorded as one ``unparsed`` event, bytes and all.
        pointer: where in the body it was found, as a JSON pointer.
        whole: the exact bytes where they are too large for memory; formats leave it alone, and ``source`` is then what
            stands for them (:mod:`collector.large.lighten`).
    """

    source: bytes
    source_id: str = ""
    drafts: list[Draft] = field(default_factory=list)
    error: str = ""
    pointer: str = ""
    whole: Sized | None = None


@dataclass(slots=True)
class Reading:
    """What a format made of one body: its units, in order. ``error`` is set when the body as a whole is not of the
    format; ``units`` then holds one unit with the whole body, and it is recorded as ``unparsed``."""

    units: list[Unit]
    error: str = ""


class Format(Protocol):
    """A gateway format. ``read`` is pure, and total: any bytes give a :class:`Reading`, never an exception. ``name``
    goes to metadata field ``format``.

    Attributes that are false where a format has not got them tell how to read large bodies, and what is left to do:

    * ``light``: it reads JSON, and never decodes base64, so that it may be given a body in which long strings are
      replaced by markers (:mod:`collector.large.lighten`).
    * ``per_value``: its units are the values of :func:`~collector.json_units.split_json`, each read for itself, so that
      a large body can be read some values at a time.
    * ``tells_documents``: it makes ``context`` drafts of all documents itself (:mod:`collector.gateways.media` does so
      for the others).
    """

    name: str

    def read(self, body: bytes, received: Received) -> Reading:
        """Split a decompressed body into units and normalise each."""
        ...


@runtime_checkable
class ReferencingFormat(Format, Protocol):
    """A format whose records leave large things elsewhere and say where. A receiver that can fetch does so before
    ``read`` and puts what it got into ``Received.attachments``. The format then makes each of them a unit of its own,
    whose source is the exact bytes fetched, right behind the unit that refers to it and with its exchange id.

    Attributes:
        scheme: of the addresses, ``s3`` or ``https``: who can fetch them.
    """

    scheme: str

    def references(self, body: bytes, fetched: Mapping[str, Attachment]) -> list[str]:
        """All that is to be fetched, each once, in the words of the source; what was ``fetched`` may refer to more.
        Pure and total, as ``read``."""
        ...
