"""Heartbeats: how far a collector has come, said while it runs and once when it stops."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from faults import Fault, Faults, FaultyBus
from memory_bus import MemoryBus
from memory_keys import MemoryKeys

from collector.gateways import Received
from collector.gateways.native import NativeFormat
from collector.heartbeat import OPERATION, Heartbeat
from collector.ingest import Ingest
from collector.internal import SelfAudit
from schemas.entry import unpack_commitments
from schemas.errors import Unavailable
from schemas.ids import CONTROL, Offset, Shard
from schemas.metadata import Metadata
from schemas.metadata_binary import decode_metadata
from schemas.parts import METADATA, Opener, part_key
from schemas.record import decode_record
from stores.bus import Bus

RECEIVED = Received("acme", "kong", "t-1", "http", "", "application/json", "", 1_787_305_200_125_000, "native")


async def acts(bus: MemoryBus, keys: MemoryKeys) -> list[dict[str, Any]]:
    """The extras of all heartbeats, decoded."""
    found = []
    for message in await bus.read(Shard(CONTROL, 0), Offset(0), max_records=1000, max_bytes=1 << 20):
        part = next(part for part in decode_record(message.value).parts if part.type == METADATA)
        key = part_key(keys.by_id([part.key_id])[part.key_id], message.event_id, METADATA)
        commitment = unpack_commitments(message.commitments)[METADATA]
        metadata: Metadata = decode_metadata(Opener().open(part, commitment, message.event_id, key).data)
        if metadata["operation"] == OPERATION:
            found.append({name: json.loads(value) for name, value in metadata["extras"].items()})
    return found


async def beating(bus: MemoryBus, keys: MemoryKeys, into: Bus | None = None) -> tuple[Ingest, Heartbeat]:
    ingest = Ingest(into or bus, keys, collector_id="c-1")
    return ingest, Heartbeat(ingest.counts, SelfAudit(bus, keys, "host"), role="collector", interval=0.01)


async def test_a_heartbeat_says_how_far_the_collector_is() -> None:
    bus, keys = MemoryBus(), MemoryKeys()
    ingest, heartbeat = await beating(bus, keys)
    await ingest.accept_body(b'{"kind":"prompt"}\n{"kind":"response"}', NativeFormat(), RECEIVED)
    await heartbeat.end()
    (one,) = await acts(bus, keys)
    assert one == one | {
        "collector_id": "c-1", "role": "collector", "settled": 2, "lost": 0, "acknowledged": {"kong": 2},
        "spooled": 0, "final": True,
    }  # fmt: skip
    ingest.close()


async def test_numbers_that_were_lost_are_settled_and_counted() -> None:
    bus, keys = MemoryBus(), MemoryKeys()
    ingest, heartbeat = await beating(bus, keys, FaultyBus(bus, Faults({1: Fault.LOST})))
    with pytest.raises(Unavailable):
        await ingest.accept_body(b'{"kind":"prompt"}', NativeFormat(), RECEIVED)
    await heartbeat.end()
    (one,) = await acts(bus, keys)
    assert (one["settled"], one["lost"], one["acknowledged"]) == (1, 1, {})
    ingest.close()


async def test_what_is_in_flight_is_not_settled() -> None:
    bus, keys = MemoryBus(), MemoryKeys()

    class Hanging(MemoryBus):
        async def append(self, messages: Any) -> Any:
            await release.wait()
            return await bus.append(messages)

    release = asyncio.Event()
    ingest = Ingest(Hanging(), keys, collector_id="c-1")
    body = b'{"kind":"prompt"}'
    accepting = asyncio.create_task(ingest.accept_body(body, NativeFormat(), RECEIVED))
    while ingest.counts().settled or not accepting or not ingest._in_flight:
        await asyncio.sleep(0)
    assert ingest.counts().settled == 0
    release.set()
    await accepting
    assert (ingest.counts().settled, ingest.counts().acknowledged) == (1, {"kong": 1})
    ingest.close()


async def test_heartbeats_come_at_once_and_again_until_the_stop() -> None:
    bus, keys = MemoryBus(), MemoryKeys()
    ingest, heartbeat = await beating(bus, keys)
    stop = asyncio.Event()
    running = asyncio.create_task(heartbeat.run(stop))
    while len(await acts(bus, keys)) < 3:
        await asyncio.sleep(0)
    stop.set()
    await running
    assert not any(one["final"] for one in await acts(bus, keys))
    ingest.close()


async def test_a_heartbeat_that_cannot_be_recorded_ends_nothing() -> None:
    bus, keys = MemoryBus(), MemoryKeys()
    ingest = Ingest(bus, keys, collector_id="c-1")
    audit = SelfAudit(FaultyBus(bus, Faults({1: Fault.LOST})), keys, "host")
    heartbeat = Heartbeat(ingest.counts, audit, role="collector")
    await heartbeat.end()
    await heartbeat.end()
    assert len(await acts(bus, keys)) == 1
    ingest.close()
