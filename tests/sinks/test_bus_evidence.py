"""The bus as evidence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from sealed_records import sealed, strays

from schemas.errors import MalformedInput, VerificationError
from schemas.evidence import Evidence
from schemas.ids import DEADLETTER, EVENTS, Offset, Shard
from sinks.bus_evidence import BusEvidence
from stores.bus import Message

SHARD = Shard(EVENTS, 0)


async def filled(bus: MemoryBus) -> MemoryBus:
    await bus.append([*sealed(MemoryKeys(), 20), *strays()])
    return bus


@pytest.fixture
async def bus() -> MemoryBus:
    return await filled(MemoryBus({EVENTS: 1, DEADLETTER: 1}))


async def scan(bus: MemoryBus, start: int, end: int) -> list[Evidence]:
    evidence = BusEvidence(bus, asyncio.get_running_loop())
    return await asyncio.to_thread(lambda: list(evidence.scan(SHARD, Offset(start), Offset(end))))


class SmallReads(MemoryBus):
    """Gives at most seven messages at a time, as a bus may."""

    async def read(self, shard: Shard, offset: Offset, *, max_records: int, **options: Any) -> list[Message]:
        return await super().read(shard, offset, max_records=min(7, max_records), **options)


async def test_everything_on_the_bus_is_evidence() -> None:
    bus = await filled(SmallReads({EVENTS: 1, DEADLETTER: 1}))
    there = await MemoryBus.read(bus, SHARD, Offset(0), max_records=100, max_bytes=1 << 30)
    found = await scan(bus, 0, 1000)
    assert [(item.offset, item.event_id, item.record) for item in found] == [
        (message.offset, message.event_id, message.value) for message in there
    ]
    assert [(item.key, item.headers) for item in found[20:]] == [(item.key, item.headers) for item in there[20:]]
    assert {item.key for item in found[:20]} == {b""}
    assert [item.offset for item in await scan(bus, 5, 9)] == [5, 6, 7, 8]
    assert await asyncio.to_thread(BusEvidence(bus, asyncio.get_running_loop()).end, SHARD) == 25


async def test_what_retention_removed_is_left_out(bus: MemoryBus) -> None:
    bus.trim(SHARD, Offset(12))
    assert [item.offset for item in await scan(bus, 0, 15)] == [12, 13, 14]


class BrokenBus(MemoryBus):
    """Its rows cannot be parsed."""

    async def read(self, shard: Shard, offset: Offset, **options: Any) -> list[Message]:
        raise MalformedInput(f"{shard} offset {offset}: got a row whose sizes do not add up")


async def test_a_bus_that_cannot_be_parsed_fails_the_verification() -> None:
    with pytest.raises(VerificationError, match="step bus: bus: events/0 offset 0: got a row"):
        await scan(BrokenBus({EVENTS: 1}), 0, 10)
