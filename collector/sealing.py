"""From events to messages: the parts are committed to, encrypted, and packed into a record for the bus.

CPU work only, apart from the keys: one look-up for a whole batch, which touches the database when a key is new.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from fastavro.schema import fingerprint, to_parsing_canonical_form

from collector.assemble import fitted
from schemas.entry import pack_commitments
from schemas.errors import MalformedInput
from schemas.event import Event
from schemas.ids import EVENTS
from schemas.metadata import KIND_CODES, schema
from schemas.parts import CONTENT, METADATA, SOURCE, SealedPart, Sealer, SubjectKey, encode_metadata
from schemas.record import Record, encode_record
from stores.bus import Outgoing
from stores.keys import Keys, KeyScope

_SCHEMA: Any = schema("record.v1")

RECORD_FINGERPRINT = bytes.fromhex(fingerprint(to_parsing_canonical_form(_SCHEMA), "CRC-64-AVRO"))
"""CRC-64-AVRO of ``record.v1.avsc`` (Avro 1.12 §Schema Fingerprints), little-endian: header ``s``."""

Parts = tuple[tuple[int, bytes], ...]


class Sealing:
    """Seals batches of events. Safe to use from any number of threads: each has a compressor of its own."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._here = threading.local()

    def seal(self, events: Sequence[Event], topic: str = EVENTS) -> list[Outgoing]:
        """Seal events into messages for ``topic``, in the order given. Blocks while a new key becomes durable.

        Raises:
            Unavailable: the keys cannot be had; nothing was sealed.
        """
        plain = [_parts(event) for event in events]
        wanted = [
            [
                KeyScope(event.tenant, event.subject, event.retention_class, part_type, _month(event))
                for part_type, _ in parts
            ]
            for event, parts in zip(events, plain, strict=True)
        ]
        keys = self._subject_keys(wanted)
        sealer = self._sealer()
        return [
            _seal(event, parts, [keys[scope] for scope in scopes], topic, sealer)
            for event, parts, scopes in zip(events, plain, wanted, strict=True)
        ]

    def _subject_keys(self, wanted: Iterable[Iterable[KeyScope]]) -> dict[KeyScope, SubjectKey]:
        scopes = list(dict.fromkeys(scope for own in wanted for scope in own))
        return dict(zip(scopes, self._keys.for_scopes(scopes), strict=True))

    def _sealer(self) -> Sealer:
        sealer: Sealer | None = getattr(self._here, "sealer", None)
        if sealer is None:
            sealer = self._here.sealer = Sealer()
        return sealer


def _parts(event: Event) -> Parts:
    """The plain parts of an event, sorted by type."""
    try:
        metadata = encode_metadata(event.metadata)
    except MalformedInput:
        metadata = encode_metadata(fitted(event.metadata))
    if event.source is None:
        return ((METADATA, metadata), (CONTENT, event.content)) if event.content else ((METADATA, metadata),)
    if not event.content:
        return (METADATA, metadata), (SOURCE, event.source)
    return (METADATA, metadata), (CONTENT, event.content), (SOURCE, event.source)


def _seal(event: Event, parts: Parts, keys: Sequence[SubjectKey], topic: str, sealer: Sealer) -> Outgoing:
    sealed: list[SealedPart] = []
    commitments: list[tuple[int, bytes]] = []
    for (part_type, data), key in zip(parts, keys, strict=True):
        part, commitment = sealer.seal(part_type, data, event.event_id, key)
        sealed.append(part)
        commitments.append((part_type, commitment))
    record = Record(event.event_id, event.tenant, event.retention_class, tuple(sealed))
    return Outgoing(
        topic,
        event.session.encode("utf-8", "surrogatepass"),
        encode_record(record),
        KIND_CODES[event.kind],
        event.event_id,
        pack_commitments(commitments),
        RECORD_FINGERPRINT,
    )


def _month(event: Event) -> str:
    """The month of receipt, ``YYYY-MM``, UTC."""
    return _month_of_day(event.metadata["received_at"] // _DAY)


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m")


_DAY = 86_400_000_000
