"""Signing and verifying: on the SQLite bus, the local object store and the control database.

Rates are per core: they count the processor time of the process. Latencies are by the wall clock, fsync and all.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.figures import Figure
from schemas.entry import pack_commitments, unpack_commitments
from schemas.evidence import Evidence, Status
from schemas.fingerprints import RECORD_V1
from schemas.ids import EVENTS, EventId, KeyId, Offset, Shard, format_event_id
from schemas.metadata_binary import encode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Opener, PartKeys, Sealer, SubjectKey
from schemas.record import Record, decode_record, encode_record
from signer.anchorer import Anchorer
from signer.keyfile import FileKey, deployment_vkey
from signer.loop import Signed, Signer
from signer.policy import policy_of
from signer.trust import Trust, parse_trust
from signer.verify_event import verify_event
from signer.verify_ledger import Scope, verify_ledger
from stores.bus import Message, Outgoing
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys import KeyScope
from stores.objects.local import LocalObjects

MESSAGES = 196_607
RECORDS = 20_000
TRICKLE = 150
DEPLOYMENT = "audit.example.com"
SHARD = Shard(EVENTS, 0)
CONTENT_JSON = json.dumps({"messages": [{"role": "user", "content": "What does the contract say? " * 30}]}).encode()


class Place:
    """The stores of one measurement, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.bus = SqliteBus(folder / "bus.db", {"events": 1, "control": 1, "deadletter": 1})
        self.control = ControlDatabase(f"sqlite:///{folder}/control.db")
        self.control.migrate()
        self.objects = LocalObjects(folder / "objects")
        self.key = FileKey(Ed25519PrivateKey.generate())
        self.signed: list[tuple[Signed, float]] = []

    @property
    def trust(self) -> Trust:
        return parse_trust([deployment_vkey(self.key, DEPLOYMENT)])

    async def close(self) -> None:
        await self.bus.close()
        self.control.close()
        self.objects.close()

    async def anchor(self) -> None:
        stop = asyncio.Event()
        stop.set()
        await Anchorer(self.control, self.objects, self.key, DEPLOYMENT).run(stop)

    async def sign(self, count: int) -> None:
        """Run a signer until ``count`` records are signed."""
        stop = asyncio.Event()

        def told(signed: Signed) -> None:
            self.signed.append((signed, time.perf_counter()))
            if signed.size > count:
                stop.set()

        signer = Signer(self.bus, self.control, self.objects, self.key, DEPLOYMENT, on_signed=told)
        await signer.sign([SHARD], stop)


def measure() -> Sequence[Figure]:
    """All of it, in about a minute."""
    with tempfile.TemporaryDirectory() as name:
        figures = asyncio.run(_headers(Path(name)))
    with tempfile.TemporaryDirectory() as name:
        figures += asyncio.run(_parts(Path(name)))
    return figures


async def _headers(folder: Path) -> list[Figure]:
    place = Place(folder)
    try:
        figures = await _sign(place)
        await place.anchor()
        figures += _structure(place)
        figures += await _latency(place)
    finally:
        await place.close()
    return figures


async def _sign(place: Place) -> list[Figure]:
    for start in range(0, MESSAGES, 1000):
        count = min(1000, MESSAGES - start)
        await place.bus.append([plain_message(bytes(32), start + number) for number in range(count)])
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    await place.sign(MESSAGES)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    stored = sum(info.size for info in place.objects.list("ledger/"))
    batches = len(place.signed)
    note = f"{batches} batches, all letters A to I; {MESSAGES / wall:,.0f}/s by the wall clock"
    return [
        Figure("signer", MESSAGES / processor, "records/s", 100_000, note=note),
        Figure("permanent ledger bytes per event", stored / MESSAGES, "bytes", 160, at_most=True, note="three parts"),
    ]


def _structure(place: Place) -> list[Figure]:
    best = min(_seconds(lambda: _need(verify_ledger(place.objects, place.trust).exit_code == 0)) for _ in range(3))
    events = min(
        _seconds(lambda: verify_event(place.objects, policy_of(place.trust), SHARD, MESSAGES // 3)) for _ in range(20)
    )
    return [
        Figure("verify: structure", MESSAGES / best, "entries/s", 500_000, note="14 steps, chain included"),
        Figure("verify: one event", events * 1000, "ms", note=f"inclusion proof among {MESSAGES:,}"),
    ]


async def _latency(place: Place) -> list[Figure]:
    """One batch of ten records every 20 ms: from before the append to the published checkpoint."""
    place.signed.clear()
    task = asyncio.create_task(place.sign(MESSAGES + 10 * TRICKLE))
    begun: list[tuple[int, float]] = []
    for number in range(TRICKLE):
        at = time.perf_counter()
        positions = await place.bus.append([plain_message(bytes(32), number) for _ in range(10)])
        begun.append((positions[-1].offset, at))
        await asyncio.sleep(0.02)
    await task
    waits = sorted(next(when for signed, when in place.signed if signed.size - 1 > offset) - at for offset, at in begun)
    return [
        Figure("ingest to signed checkpoint, p50", waits[len(waits) // 2] * 1000, "ms", note="10 records every 20 ms"),
        Figure("ingest to signed checkpoint, p99", waits[len(waits) * 99 // 100] * 1000, "ms", 1000, at_most=True),
    ]


async def _parts(folder: Path) -> list[Figure]:
    place = Place(folder)
    key = SubjectKey(KeyId(os.urandom(16)), os.urandom(32))
    try:
        for start in range(0, RECORDS, 500):
            await place.bus.append([_record(number, key) for number in range(start, start + 500)])
        await place.sign(RECORDS)
        await place.anchor()
        held = await place.bus.read(SHARD, Offset(0), max_records=RECORDS, max_bytes=1 << 40)
    finally:
        await place.bus.close()
    try:
        clear = _compare(place, _clear(held, key), None)
        sealed = _compare(place, _sealed(held), OneKey(key))
    finally:
        place.control.close()
        place.objects.close()
    return [
        Figure("verify: with parts in the clear", RECORDS / clear, "records/s", 50_000, note="3 parts, 1.4 KB"),
        Figure("verify: with sealed parts", RECORDS / sealed, "records/s", note="decrypt, inflate, commit"),
    ]


def _compare(place: Place, held: list[Evidence], keys: OneKey | None) -> float:
    scope = Scope(source=Held(held), keys=keys)

    def verify() -> None:
        report = verify_ledger(place.objects, place.trust, scope)
        _need(report.exit_code == 0 and report.statuses[Status.OK] == 3 * RECORDS)

    return min(_seconds(verify) for _ in range(3))


class OneKey:
    """A :class:`stores.keys.Keys` that holds one key."""

    def __init__(self, key: SubjectKey) -> None:
        self._key = key

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        return [self._key for _ in scopes]

    def by_id(self, key_ids: object) -> dict[KeyId, bytes]:
        return {self._key.key_id: self._key.secret}


class Held:
    """An :class:`schemas.evidence.EvidenceSource` over a list."""

    name = "list"

    def __init__(self, held: list[Evidence]) -> None:
        self._held = held

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        return iter(self._held[start:end]) if shard == SHARD else iter(())

    def end(self, shard: Shard) -> Offset:
        return Offset(len(self._held) if shard == SHARD else 0)


def plain_message(value: bytes, number: int) -> Outgoing:
    commitments = pack_commitments([(part, os.urandom(32)) for part in (METADATA, CONTENT, SOURCE)])
    return Outgoing(EVENTS, b"session", value, 1, number.to_bytes(16, "big"), commitments, RECORD_V1)


def _record(number: int, key: SubjectKey) -> Outgoing:
    """A sealed record, of 1.4 KB in the clear."""
    event_id = EventId(number.to_bytes(16, "big"))
    metadata = encode_metadata({"event_id": format_event_id(event_id), "kind": "prompt", "tenant": "acme"})
    parts = [(METADATA, metadata), (CONTENT, CONTENT_JSON), (SOURCE, b'{"n": %d}' % number * 10)]
    sealed, commitments = _SEALER.seal_all(parts, event_id, [key] * 3)
    value = encode_record(Record(event_id, "acme", "standard", tuple(sealed)))
    return Outgoing(EVENTS, b"session", value, 1, event_id, pack_commitments(commitments), RECORD_V1)


_SEALER = Sealer()


def _sealed(held: Sequence[Message]) -> list[Evidence]:
    return [Evidence(SHARD, item.offset, item.event_id, item.value, (), b"", b"", "bus") for item in held]


def _clear(held: Sequence[Message], key: SubjectKey) -> list[Evidence]:
    """The same records as a destination holds them that has opened them."""
    opener, keys = Opener(), PartKeys(key.secret)
    found = []
    for item in held:
        record, commitments = decode_record(item.value), unpack_commitments(item.commitments)
        parts = tuple(
            opener.open(part, commitments[part.type], item.event_id, keys.key(item.event_id, part.type))
            for part in record.parts
        )
        found.append(Evidence(SHARD, item.offset, item.event_id, b"", parts, b"", b"", "table"))
    return found


def _seconds(act: Callable[[], object]) -> float:
    begun = time.process_time()
    act()
    return time.process_time() - begun


def _need(held: bool) -> None:
    if not held:
        raise SystemExit("the measured run did not verify")
