"""From a body to a reading: small ones as they are, large ones without their long strings, or some records at a time.

CPU work, and reads of the body. A format never raises; should one do so, that is our bug, and the body is recorded as
``unparsed``.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from collector.gateways import Format, Reading, Received, Unit
from collector.gateways.media import with_documents
from collector.gateways.otlp import OtlpFormat, speaks_json
from collector.gateways.otlp_protobuf import NOT_DECODED, pointer_to
from collector.large.lighten import BOUNDS, AtHand, Bounds, Cutter, Light, Readable, lighten
from collector.large.otlp_records import FoundRecord, find_records, place_in
from collector.large.pieces import LongRun, Pieces
from collector.large.restore import Restoring, restore
from collector.large.segments import SEGMENT_BYTES, Segment, find_segments
from collector.large.spool import Spool
from schemas.errors import AffidavitError, MalformedInput

log = logging.getLogger(__name__)

HEAVY_BYTES = 8 * 1024 * 1024
"""What a format must read in one piece, and is larger, takes several times its size in memory: one at a time."""


TEXT_BOUNDS = (BOUNDS.text, 64 * 1024, 8 * 1024)
"""From which length on texts are cut out, of a body that stays heavier than :data:`HEAVY_BYTES` with the one before."""


def with_hash(received: Received, body: bytes) -> Received:
    """``received`` with the SHA-256 of its body."""
    return replace(received, body_sha256=hashlib.sha256(body).hexdigest())


def read_body(body: bytes, source: Format, received: Received) -> tuple[Reading, Received]:
    """Read a body that is at hand; returns ``received`` with its hash."""
    received = with_hash(received, body)
    whole = AtHand(body)
    if len(body) < BOUNDS.run or not _takes_light(source, body[:64]):
        return _read(body, whole, source, received), received
    light = lighten(whole)
    if not light.cuts:
        return _read(body, whole, source, received), received
    return _read_light(light.read(0, light.size), light, source, received), received


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A body on disk, and how to read it: as one piece, or in several."""

    light: Light
    segments: tuple[Segment, ...]

    @property
    def units(self) -> int:
        """How many there are, where they are read some at a time; 0 otherwise."""
        return sum(segment.units for segment in self.segments) if len(self.segments) > 1 else 0

    @property
    def is_heavy(self) -> bool:
        """Whether it takes much memory."""
        return any(segment.stop - segment.start > HEAVY_BYTES for segment in self.segments)

    def read(self, segment: Segment, source: Format, received: Received) -> Reading:
        """Read one of the segments."""
        return _read_light(segment.read(self.light), self.light, source, received)


@dataclass(frozen=True, slots=True)
class OtlpBody:
    """An OTLP request in protobuf on disk, read record by record.

    Attributes:
        segments: ``start`` and ``stop`` are numbers of records.
        error: why there are none.
    """

    body: Readable
    records: tuple[FoundRecord, ...]
    segments: tuple[Segment, ...]
    error: str = ""

    @property
    def units(self) -> int:
        """See :class:`SpooledBody`."""
        return len(self.records) if len(self.segments) > 1 else 0

    @property
    def is_heavy(self) -> bool:
        """Whether it takes much memory: of a large record, what is no text is read whole."""
        return any(record.size > HEAVY_BYTES for record in self.records)

    def read(self, segment: Segment, source: Format, received: Received) -> Reading:
        """Read the records of one of the segments."""
        assert isinstance(source, OtlpFormat)
        if self.error:
            return Reading([Unit(b"", whole=Pieces(self.body, [(0, self.body.size)]))], self.error)
        found = self.records[segment.start : segment.stop]
        return _guarded(lambda: Reading([self._unit(record, source) for record in found]), self.body, source, received)

    def _unit(self, record: FoundRecord, source: OtlpFormat) -> Unit:
        parts = record.parts(self.body)
        whole = Pieces(self.body, parts)
        try:
            cutter = Cutter(self.body, self._bounds(record, source))
            light = record.light(self.body, source.signal, cutter)
        except MalformedInput:
            return Unit(b"", error=NOT_DECODED, pointer=pointer_to(record.place, source.signal), whole=whole)
        unit = _told(Reading([source.read_record(record.place._replace(source=light))]), source).units[0]
        if not cutter.cuts:
            return unit
        placed = [(place_in(parts, cut), cut) for cut in cutter.cuts]
        places = {cut.marker: at for at, cut in reversed(placed)}
        runs = sorted(LongRun(at, at + cut.size, cut.sha256) for at, cut in placed)
        return Restoring(cutter.light(), places).unit_of(unit, Pieces(self.body, parts, runs))

    def _bounds(self, record: FoundRecord, source: OtlpFormat) -> Bounds:
        """As in :func:`_light`, by the sizes of its texts."""
        if record.size <= HEAVY_BYTES:
            return BOUNDS
        sizes = record.texts(self.body, source.signal, TEXT_BOUNDS[-1])
        fitting = (
            text for text in TEXT_BOUNDS if record.size - sum(one for one in sizes if one >= text) <= HEAVY_BYTES
        )
        return Bounds(BOUNDS.run, next(fitting, TEXT_BOUNDS[-1]))


def look_into(body: Spool, source: Format, received: Received) -> SpooledBody | OtlpBody:
    """Look how to read a body on disk."""
    large_otlp = isinstance(source, OtlpFormat) and body.size > SEGMENT_BYTES
    if large_otlp and not speaks_json(body.read(0, 64), received.media_type):
        return look_into_otlp(body)
    light = _light(body) if _takes_light(source, body.read(0, 64)) else Light(body, [], b"\0")
    if getattr(source, "per_value", False) and light.size > SEGMENT_BYTES:
        return SpooledBody(light, tuple(find_segments(light)))
    return SpooledBody(light, (Segment(0, light.size, 0),))


def look_into_otlp(body: Readable, segment_bytes: int = SEGMENT_BYTES) -> OtlpBody:
    """Look where its records lie."""
    try:
        records = tuple(find_records(body))
    except MalformedInput as error:
        return OtlpBody(body, (), (Segment(0, 0, 0),), str(error))
    segments, start, size = [], 0, 0
    for index, record in enumerate(records):
        size += record.size
        if size >= segment_bytes or index + 1 == len(records):
            segments.append(Segment(start, index + 1, index + 1 - start))
            start, size = index + 1, 0
    return OtlpBody(body, records, tuple(segments))


def _light(body: Spool) -> Light:
    """The body without its long strings: without shorter ones, too, while it would take much memory."""
    for text in TEXT_BOUNDS:
        light = lighten(body, Bounds(BOUNDS.run, text))
        if light.size <= HEAVY_BYTES:
            break
    return light


def unread(body: Spool, error: str) -> Reading:
    """A body on disk that could not be read, as one unit."""
    return Reading([Unit(b"", error=error, whole=Pieces(body, [(0, body.size)]))], error=error)


def without_bytes(unit: Unit) -> Unit:
    """What the sender's answer needs of a unit that is durable."""
    return Unit(b"", unit.source_id, [], unit.error, unit.pointer)


def _takes_light(source: Format, head: bytes) -> bool:
    """Whether the format may be given a light body in place of this one, which begins like this."""
    begins = head.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")[:1]
    return begins in (b"{", b"[", b'"') and getattr(source, "light", False)


def _read_light(body: bytes, light: Light, source: Format, received: Received) -> Reading:
    """Read ``body``, which is a light body or a piece of it."""
    if not light.cuts or light.prefix not in body:
        return _read(body, light.body, source, received)
    return _guarded(
        lambda: restore(_told(source.read(body, received), source), light),
        light.body,
        source,
        received,
    )


def _read(body: bytes, whole: Readable, source: Format, received: Received) -> Reading:
    """Read ``body``, which is ``whole`` or a piece of it."""
    return _guarded(
        lambda: _told(source.read(body, received), source),
        whole,
        source,
        received,
    )


def _told(reading: Reading, source: Format) -> Reading:
    """The reading with the documents in its prompts, where the format does not tell them."""
    if not getattr(source, "tells_documents", False):
        for unit in reading.units:
            unit.drafts = with_documents(unit.drafts)
    return reading


def _guarded(read: Callable[[], Reading], whole: Readable, source: Format, received: Received) -> Reading:
    try:
        return read()
    except AffidavitError:
        raise  # the disk, not the format
    except Exception as error:
        log.exception("format %s failed on the body with SHA-256 %s", source.name, received.body_sha256)
        reason = f"internal error of format {source.name}: {type(error).__name__}"
        if isinstance(whole, AtHand):
            return Reading([Unit(whole.data, error=reason)], error=reason)
        return Reading([Unit(b"", error=reason, whole=Pieces(whole, [(0, whole.size)]))], error=reason)
