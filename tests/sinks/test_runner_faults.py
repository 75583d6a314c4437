"""The runner and the archive together: every write of bus and store goes wrong in every way, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from fake_clock import FakeClock, eventually
from faults import Crash, Faults, FaultyBus, FaultyObjects, matrix
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from memory_sink import Destination, MemorySink
from sealed_records import sealed, strays

from schemas.evidence import EvidenceSource
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from sinks.archive import ArchiveEvidence, ArchiveSink, verify_listing
from sinks.contract import Limits, Sink
from sinks.deadletter import decode_deadletter
from sinks.runner import Runner
from stores.bus import Message

PARTITIONS = {EVENTS: 2, CONTROL: 1, DEADLETTER: 1}
SHARDS = (Shard(EVENTS, 0), Shard(EVENTS, 1), Shard(CONTROL, 0))
KEYS = MemoryKeys()
RECORDS = [*sealed(KEYS, 30), *strays(), *sealed(KEYS, 6, start=30, topic=CONTROL)]


async def filled() -> MemoryBus:
    bus = MemoryBus(PARTITIONS, clock=lambda: 1_764_000_000_000)
    await bus.append(RECORDS)
    return bus


async def run_to_the_end(sink: Sink, bus: Any, *, limits: Limits) -> None:
    """One process: from start to everything delivered, or to its death."""
    sink.limits = limits
    clock = FakeClock()
    runner = Runner(sink, bus, clock=clock, rng=random.Random(1))
    ends = {shard: (await bus.bounds(shard)).end for shard in SHARDS}
    task = asyncio.create_task(runner.run())
    await eventually(
        lambda: task.done() or {item.shard: item.position for item in runner.snapshot().shards} == ends, clock
    )
    runner.stop()
    await task


async def survive(make: Any, bus: MemoryBus, faults: Faults, *, again: Limits) -> None:
    """Run, and run again if the first process died."""
    try:
        await run_to_the_end(make(faults), FaultyBus(bus, faults), limits=Limits(6, 1 << 20, 0.0))
    except BaseExceptionGroup as group:
        died, other = group.split(Crash)
        assert died is not None
        assert other is None
        await run_to_the_end(make(Faults()), bus, limits=again)


async def everything(bus: MemoryBus, shard: Shard) -> list[Message]:
    return await bus.read(shard, Offset(0), max_records=1000, max_bytes=1 << 30)


async def verify(bus: MemoryBus, evidence: EvidenceSource, without: Sequence[tuple[Shard, int]] = ()) -> None:
    """Each offset of the bus exactly once, with its exact bytes."""
    for shard in SHARDS:
        found = [(item.offset, item.record) for item in evidence.scan(shard, Offset(0), Offset(1 << 40))]
        assert found == [
            (item.offset, item.value) for item in await everything(bus, shard) if (shard, item.offset) not in without
        ]


@pytest.mark.parametrize("again", [Limits(6, 1 << 20, 0.0), Limits(1, 1 << 20, 0.0), Limits(100, 1 << 20, 0.0)])
async def test_the_archive_survives_a_fault_at_every_write(again: Limits) -> None:
    counted = Faults()
    objects = MemoryObjects()
    bus = await filled()
    await survive(lambda faults: ArchiveSink(FaultyObjects(objects, faults)), bus, counted, again=again)  # type: ignore[arg-type]
    await verify(bus, ArchiveEvidence(objects))
    assert counted.writes > 20
    for number, fault in matrix(counted.writes):
        objects = MemoryObjects()
        bus = await filled()
        await survive(
            lambda faults, objects=objects: ArchiveSink(FaultyObjects(objects, faults)),
            bus,
            Faults({number: fault}),
            again=again,
        )
        await verify(bus, ArchiveEvidence(objects))
        verify_listing(objects)


async def test_dead_letters_survive_a_fault_at_every_write() -> None:
    """A record is delivered, or in the dead letter, or both are tried again; its letter may be there twice."""

    def make(destination: Destination) -> MemorySink:
        sink = MemorySink(destination)
        sink.rejects = lambda message: "odd one" if message.offset % 5 == 4 else None
        return sink

    counted = Faults()
    await survive(lambda faults: make(Destination()), await filled(), counted, again=Limits(3, 1 << 20, 0.0))
    for number, fault in matrix(counted.writes):
        destination, bus = Destination(), await filled()
        odd = [(item.shard, item.offset) for shard in SHARDS for item in await everything(bus, shard)]
        odd = [(shard, offset) for shard, offset in odd if offset % 5 == 4]
        await survive(
            lambda faults, destination=destination: make(destination),
            bus,
            Faults({number: fault}),
            again=Limits(6, 1 << 20, 0.0),
        )
        await verify(bus, destination, without=odd)
        letters = [decode_deadletter(item.value) for item in await everything(bus, Shard(DEADLETTER, 0))]
        assert {(letter.message.shard, letter.message.offset) for letter in letters} == set(odd), (number, fault)
