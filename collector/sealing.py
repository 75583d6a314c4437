"""From events to messages: the parts are committed to, encrypted, and packed into a record for the bus.

CPU work only, apart from the keys: one look-up for a whole batch, which touches the database when a key is new.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from collector.assemble import fitted
from collector.history import LONGEST_SOURCE, History, Plan
from collector.large.blobs import Blobs
from collector.large.pieces import Pieces, WholeBytes
from collector.large.sharing import RunOf, placed, rest_of, shared_runs
from schemas.chunks import encode_manifest
from schemas.entry import pack_commitments
from schemas.errors import MalformedInput
from schemas.event import Event
from schemas.fingerprints import RECORD_V1
from schemas.ids import EVENTS
from schemas.metadata import KIND_CODES
from schemas.metadata_binary import encode_metadata
from schemas.part_streams import seal_shared
from schemas.parts import CONTENT, METADATA, SOURCE, SealedPart, Sealer, SubjectKey
from schemas.record import Record, encode_record
from schemas.shared import REST_CHUNKS, REST_RAW, Shared
from stores.bus import Outgoing
from stores.keys import Keys, KeyScope

Parts = tuple[tuple[int, bytes], ...]
Large = dict[int, tuple[SealedPart, bytes]]
"""Parts that were sealed into the object store, by type, with their commitments."""

Owner = tuple[str, str, str, str]
"""Tenant, subject, retention class, month of receipt: a key scope but for the type of the part."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events with their plain parts, and the key scopes that sealing them takes, each once."""

    events: Sequence[Event]
    plain: Sequence[Parts]
    owners: Sequence[Owner]
    scopes: Sequence[KeyScope]


class Sealed(NamedTuple):
    """Messages for the bus, and what to remember of each when it is there (:meth:`collector.history.History.learn`)."""

    messages: list[Outgoing]
    plans: list[Plan | None]


class Sealing:
    """Seals batches of events. Safe to use from any number of threads: each has a compressor of its own.

    :meth:`seal` is three steps, for a caller that wants only the one that blocks on a thread of its own.

    Args:
        keys: under which to seal.
        history: what earlier records hold, so that sources need not repeat it.
        blobs: takes parts that are too large for the bus.
    """

    def __init__(self, keys: Keys, history: History | None = None, blobs: Blobs | None = None) -> None:
        self._keys = keys
        self._history = history
        self._blobs = blobs
        self._record_bytes = sys.maxsize if blobs is None else blobs.record_bytes
        self._here = threading.local()

    def seal(self, events: Sequence[Event], topic: str = EVENTS) -> list[Outgoing]:
        """Seal events into messages for ``topic``, in the order given. Blocks while a new key becomes durable.

        Raises:
            Unavailable: the keys cannot be had; nothing was sealed.
        """
        batch = prepare(events)
        return self.seal_batch(batch, self.subject_keys(batch), topic).messages

    def subject_keys(self, batch: Batch) -> list[SubjectKey]:
        """The key of each scope of the batch, in one look-up. Blocks.

        Raises:
            Unavailable: they cannot be had.
        """
        return self._keys.for_scopes(batch.scopes)

    def seal_batch(self, batch: Batch, keys: Sequence[SubjectKey], topic: str = EVENTS) -> Sealed:
        """Seal a batch under the keys of its scopes. CPU work only, but for parts that are too large for the bus.

        Raises:
            Unavailable: such a part cannot be put into the object store now; nothing is to be appended.
        """
        by_owner: dict[Owner, dict[int, SubjectKey]] = {}
        for (tenant, subject, retention_class, part_type, month), key in zip(batch.scopes, keys, strict=True):
            by_owner.setdefault((tenant, subject, retention_class, month), {})[part_type] = key
        sealer = self._sealer()
        sealed = Sealed([], [])
        for event, parts, owner in zip(batch.events, batch.plain, batch.owners, strict=True):
            own = by_owner[owner]
            plan = self._plan(event, event.source, own[SOURCE]) if event.source is not None else None
            large: Large = {}
            shared = self._share(event, own[SOURCE]) if event.whole is not None else None
            if shared is not None:
                large[SOURCE], plan = shared
                parts = tuple(part for part in parts if part[0] != SOURCE)
            if event.whole is not None or sum([len(data) for _, data in parts]) > self._record_bytes:
                parts, outside = self._outside(event, parts, own, plan)
                large |= outside
                plan = None if SOURCE in outside else plan
            sealed.messages.append(_seal(event, parts, own, topic, sealer, None if shared else plan, large))
            sealed.plans.append(plan)
        return sealed

    def _share(self, event: Event, key: SubjectKey) -> tuple[tuple[SealedPart, bytes], Plan | None] | None:
        """Seal a source whose long runs get blobs of their own, which other records share; ``None``: it has none, or
        too much is left without them."""
        source = event.whole
        if self._blobs is None or not isinstance(source, Pieces) or not (runs := shared_runs(source)):
            return None
        if source.size - sum(run.stop - run.start for run in runs) > LONGEST_SOURCE:
            return None
        rest = rest_of(source, runs)
        plan = self._plan(event, rest, key, b"\0runs")
        packed = encode_manifest(plan.manifest) if plan is not None and plan.manifest is not None else None
        first = {run.sha256: run for run in reversed(runs)}
        blobs = {
            run.sha256: self._blobs.seal_run(SOURCE, RunOf(source, run), run.sha256, key)
            for run in sorted(first.values())
        }
        states = Shared(
            placed(runs, {sha256: opens for sha256, (_, opens) in blobs.items()}),
            REST_RAW if packed is None else REST_CHUNKS,
            len(rest),
            rest if packed is None else packed,
        )
        sealed = seal_shared(SOURCE, source, states, [at for at, _ in blobs.values()], event.event_id, key)
        return (sealed, plan) if len(sealed[0].ciphertext) <= 2 * self._blobs.part_bytes else None

    def _outside(
        self, event: Event, parts: Parts, keys: Mapping[int, SubjectKey], plan: Plan | None
    ) -> tuple[Parts, Large]:
        """Seal the large parts of an event into the object store; returns the other parts, and them."""
        small: list[tuple[int, bytes]] = []
        large: Large = {}
        for part_type, data in parts:
            is_whole = part_type == SOURCE and event.whole is not None
            sized = event.whole if is_whole and event.whole is not None else WholeBytes(data)
            told = part_type == SOURCE and plan is not None and plan.manifest is not None
            if self._blobs is not None and not told and (is_whole or sized.size > self._blobs.part_bytes):
                large[part_type] = self._blobs.seal(part_type, sized, event.event_id, keys[part_type])
            else:
                small.append((part_type, b"".join(sized.chunks()) if is_whole else data))
        return tuple(small), large

    def _plan(self, event: Event, source: bytes, key: SubjectKey, kind: bytes = b"") -> Plan | None:
        """What a source repeats of earlier ones of its session and ``kind``."""
        if self._history is None:
            return None
        session = _session(event)
        return self._history.plan(key.key_id, session + kind if session else b"", event.metadata["received_at"], source)

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
    source = b"" if event.whole is not None else event.source  # what lies in pieces is sealed in pieces
    if source is None:
        return ((METADATA, metadata), (CONTENT, event.content)) if event.content else ((METADATA, metadata),)
    if not event.content:
        return (METADATA, metadata), (SOURCE, source)
    return (METADATA, metadata), (CONTENT, event.content), (SOURCE, source)


def _seal(
    event: Event,
    parts: Parts,
    keys: Mapping[int, SubjectKey],
    topic: str,
    sealer: Sealer,
    plan: Plan | None,
    large: Large,
) -> Outgoing:
    manifests = {SOURCE: plan.manifest} if plan is not None and plan.manifest is not None else {}
    own = [keys[part_type] for part_type, _ in parts]
    sealed, commitments = sealer.seal_all(parts, event.event_id, own, manifests)
    if large:
        sealed = sorted([*sealed, *(part for part, _ in large.values())])
        commitments = sorted([*commitments, *((kind, commitment) for kind, (_, commitment) in large.items())])
    record = Record(event.event_id, event.tenant, event.retention_class, tuple(sealed))
    return Outgoing(
        topic,
        _session(event),
        encode_record(record),
        KIND_CODES[event.kind],
        event.event_id,
        pack_commitments(commitments),
        RECORD_V1,
    )


def _session(event: Event) -> bytes:
    """The key that orders the bus."""
    return event.session.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> str:
    """``YYYY-MM``, UTC, of a day since 1970."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m")


_DAY = 86_400_000_000
