"""The collector's spool: how fast it fills while the bus is away, and how fast it empties when the bus is back.

The bus behind it answers at once and keeps nothing, so what is measured is the spool. It must empty faster than a
collector can fill it, or an outage would never end: the last row says by how much, and how little new arrivals suffer.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure
from schemas.entry import pack_commitments
from schemas.errors import Unavailable
from schemas.fingerprints import RECORD_V1
from schemas.ids import EVENTS, Offset, Shard
from schemas.parts import CONTENT, METADATA, SOURCE
from stores.bus import Bounds, Outgoing, Position
from stores.bus.spool import SpoolLimits
from stores.bus.spool.bus import SpoolingBus
from stores.bus.spool.circuit import Pace
from stores.bus.spool.store import Spool

MESSAGES = 60_000
BATCH = 500
SINGLES = 300
VALUE_BYTES = 1400
INGEST = 12_000
"""Events a second that a collector is to take (DESIGN §9): the drain must be faster."""


class Nowhere:
    """A bus that is away, or takes everything and keeps nothing."""

    def __init__(self) -> None:
        self.away = False
        self.taken = 0

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        if self.away:
            raise Unavailable("the bus is away")
        self.taken += len(messages)
        return [Position(Shard(EVENTS, 0), Offset(self.taken), 0)] * len(messages)

    async def bounds(self, shard: Shard) -> Bounds:
        return Bounds(Offset(0), Offset(0))

    async def close(self) -> None:
        """Nothing to release."""


def measure() -> Sequence[Figure]:
    """All of it, in about ten seconds."""
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(_measure(Path(name)))


async def _measure(folder: Path) -> list[Figure]:
    inner: Any = Nowhere()
    spool = Spool(folder / "spool.db")
    bus = SpoolingBus(inner, spool, SpoolLimits(1 << 40, 1e9), pace=Pace(first=0.01, longest=0.05))
    try:
        direct = await _singles(bus)
        inner.away = True
        wall, processor = await _append(bus)
        spooled = await _singles(bus)
        records, held = bus.snapshot().records, bus.snapshot().bytes
        disk = (folder / "spool.db").stat().st_size + (folder / "spool.db-wal").stat().st_size
        drain_wall, drain_processor = await _drain(bus, inner)
        inner.away = True
        await _append(bus)
        beside = await _beside(bus, inner)
    finally:
        await bus.close()
    calls = f"{VALUE_BYTES} byte values, {BATCH} a call; {MESSAGES / wall:,.0f}/s by the wall clock"
    drained = f"to a bus that answers at once; {records / drain_wall:,.0f}/s by the wall clock"
    return [
        Figure("spool: append", MESSAGES / processor, "messages/s", 30_000, note=calls),
        Figure("spool: append one, p50", spooled[SINGLES // 2] * 1000, "ms", note="one fsync, through its thread"),
        Figure("spool: append one, p99", spooled[SINGLES * 99 // 100] * 1000, "ms"),
        Figure("spool: cost of being there, bus up, p50", direct[SINGLES // 2] * 1e6, "µs", note="nothing spooled"),
        Figure("spool: drain", records / drain_processor, "messages/s", INGEST, note=drained),
        Figure(
            "spool: drain beside appends", beside, "ratio", 1.0, note="moved for each that comes in, as fast as both go"
        ),
        Figure("spool: bytes on disk per byte held", disk / held, "ratio", note="file and log"),
    ]


async def _append(bus: SpoolingBus) -> tuple[float, float]:
    batch = [_message(number) for number in range(BATCH)]
    lanes = asyncio.Semaphore(8)

    async def append() -> None:
        async with lanes:
            await bus.append(batch)

    wall, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*[append() for _ in range(MESSAGES // BATCH)])
    return time.perf_counter() - wall, time.process_time() - processor


async def _singles(bus: SpoolingBus) -> list[float]:
    times = []
    for number in range(SINGLES):
        message = _message(number)
        begun = time.perf_counter()
        await bus.append([message])
        times.append(time.perf_counter() - begun)
    return sorted(times)


async def _drain(bus: SpoolingBus, inner: Nowhere) -> tuple[float, float]:
    inner.away = False
    wall, processor = time.perf_counter(), time.process_time()
    while bus.snapshot().bytes:  # noqa: ASYNC110  there is no event for it
        await asyncio.sleep(0.002)
    return time.perf_counter() - wall, time.process_time() - processor


async def _beside(bus: SpoolingBus, inner: Nowhere) -> float:
    """Messages moved for each that is appended, while both go on at once."""
    batch = [_message(number) for number in range(BATCH)]
    begun = bus.snapshot()
    inner.away = False
    while bus.snapshot().records:
        await bus.append(batch)
    now = bus.snapshot()
    return (now.drained_total - begun.drained_total) / max(1, now.spooled_total - begun.spooled_total)


def _message(number: int) -> Outgoing:
    commitments = pack_commitments([(part, os.urandom(32)) for part in (METADATA, CONTENT, SOURCE)])
    value = os.urandom(VALUE_BYTES)
    return Outgoing(EVENTS, b"session %d" % (number % 97), value, 1, os.urandom(16), commitments, RECORD_V1)
