"""From events to messages: the parts are committed to, encrypted, and packed into a record for the bus.

CPU work only, apart from the keys: one look-up for a whole batch, which touches the database when a key is new.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from collector.assemble import fitted
from schemas.entry import pack_commitments
from schemas.errors import MalformedInput
from schemas.event import Event
from schemas.fingerprints import RECORD_V1
from schemas.ids import EVENTS
from schemas.metadata import KIND_CODES
from schemas.metadata_binary import encode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Sealer, SubjectKey
from schemas.record import Record, encode_record
from stores.bus import Outgoing
from stores.keys import Keys, KeyScope

Parts = tuple[tuple[int, bytes], ...]
Owner = tuple[str, str, str, str]
"""Tenant, subject, retention class, month of receipt: a key scope but for the type of the part."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events with their plain parts, and the key scopes that sealing them takes, each once."""

    events: Sequence[Event]
    plain: Sequence[Parts]
    owners: Sequence[Owner]
    scopes: Sequence[KeyScope]


class Sealing:
    """Seals batches of events. Safe to use from any number of threads: each has a compressor of its own.

    :meth:`seal` is three steps, for a caller that wants only the one that blocks on a thread of its own.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._here = threading.local()

    def seal(self, events: Sequence[Event], topic: str = EVENTS) -> list[Outgoing]:
        """Seal events into messages for ``topic``, in the order given. Blocks while a new key becomes durable.

        Raises:
            Unavailable: the keys cannot be had; nothing was sealed.
        """
        batch = prepare(events)
        return self.seal_batch(batch, self.subject_keys(batch), topic)

    def subject_keys(self, batch: Batch) -> list[SubjectKey]:
        """The key of each scope of the batch, in one look-up. Blocks.

        Raises:
            Unavailable: they cannot be had.
        """
        return self._keys.for_scopes(batch.scopes)

    def seal_batch(self, batch: Batch, keys: Sequence[SubjectKey], topic: str = EVENTS) -> list[Outgoing]:
        """Seal a batch under the keys of its scopes. CPU work only."""
        by_owner: dict[Owner, dict[int, SubjectKey]] = {}
        for (tenant, subject, retention_class, part_type, month), key in zip(batch.scopes, keys, strict=True):
            by_owner.setdefault((tenant, subject, retention_class, month), {})[part_type] = key
        sealer = self._sealer()
        return [
            _seal(event, parts, by_owner[owner], topic, sealer)
            for event, parts, owner in zip(batch.events, batch.plain, batch.owners, strict=True)
        ]

    def _sealer(self) -> Sealer:
        sealer: Sealer | None = getattr(self._here, "sealer", None)
        if sealer is None:
            sealer = self._here.sealer = Sealer()
        return sealer


def prepare(events: Sequence[Event]) -> Batch:
    """Encode the parts of events and gather the scopes of the keys. CPU work only."""
    plain = [_parts(event) for event in events]
    owners = [
        (event.tenant, event.subject, event.retention_class, _month_of_day(event.metadata["received_at"] // _DAY))
        for event in events
    ]
    wanted = dict.fromkeys(
        (owner, part_type) for owner, parts in zip(owners, plain, strict=True) for part_type, _ in parts
    )
    scopes = [
        KeyScope(tenant, subject, retention_class, part_type, month)
        for (tenant, subject, retention_class, month), part_type in wanted
    ]
    return Batch(events, plain, owners, scopes)


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


def _seal(event: Event, parts: Parts, keys: dict[int, SubjectKey], topic: str, sealer: Sealer) -> Outgoing:
    sealed, commitments = sealer.seal_all(parts, event.event_id, [keys[part_type] for part_type, _ in parts])
    record = Record(event.event_id, event.tenant, event.retention_class, tuple(sealed))
    return Outgoing(
        topic,
        event.session.encode("utf-8", "surrogatepass"),
        encode_record(record),
        KIND_CODES[event.kind],
        event.event_id,
        pack_commitments(commitments),
        RECORD_V1,
    )


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> str:
    """``YYYY-MM``, UTC, of a day since 1970."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m")


_DAY = 86_400_000_000
