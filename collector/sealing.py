"""From events to messages: the parts are committed to, encrypted, and packed into a record for the bus.

CPU work only, apart from the keys: one look-up for a whole batch, which touches the database when a key is new.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from collector.assemble import fitted
from schemas.entry import pack_commitments
from schemas.errors import MalformedInput
from schemas.event import Event
from schemas.fingerprints import RECORD_V1
from schemas.ids import EVENTS, KeyId
from schemas.metadata import KIND_CODES
from schemas.metadata_binary import encode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Sealer, SubjectKey
from schemas.record import Record, encode_record
from stores.bus import Outgoing
from stores.keys import Keys, KeyScope

Parts = tuple[tuple[int, bytes], ...]
Owner = tuple[str, str, str, str]
"""Tenant, subject, retention class, month of receipt: a key scope but for the type of the part."""

_NO_KEY = SubjectKey(KeyId(b""), b"")


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
        owners = [
            (event.tenant, event.subject, event.retention_class, _month_of_day(event.metadata["received_at"] // _DAY))
            for event in events
        ]
        keys = self._subject_keys(owners, plain)
        sealer = self._sealer()
        return [
            _seal(event, parts, keys[owner], topic, sealer)
            for event, parts, owner in zip(events, plain, owners, strict=True)
        ]

    def _subject_keys(self, owners: Sequence[Owner], plain: Sequence[Parts]) -> dict[Owner, dict[int, SubjectKey]]:
        """The keys of every owner, by part type, in one look-up."""
        wanted: dict[Owner, dict[int, SubjectKey]] = {}
        scopes: list[KeyScope] = []
        for owner, parts in zip(owners, plain, strict=True):
            own = wanted.setdefault(owner, {})
            for part_type, _ in parts:
                if part_type not in own:
                    own[part_type] = _NO_KEY
                    tenant, subject, retention_class, month = owner
                    scopes.append(KeyScope(tenant, subject, retention_class, part_type, month))
        for scope, key in zip(scopes, self._keys.for_scopes(scopes), strict=True):
            wanted[scope.tenant, scope.subject, scope.retention_class, scope.month][scope.part_type] = key
        return wanted

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
