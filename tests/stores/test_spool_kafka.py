"""The spool before a real broker that is killed, frozen and started again, under senders that never stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from bus_messages import message
from fake_clock import eventually
from kafka_broker import KafkaCluster
from kafka_bus import config, open_bus
from spools import spooling

from schemas.ids import Offset
from stores.bus import Outgoing
from stores.bus.kafka import KafkaBus
from stores.bus.spool.bus import SpoolingBus
from stores.bus.spool.circuit import Pace

PACE = Pace(first=0.1, longest=0.5)


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=1) as cluster:
        yield cluster


class Sender:
    """Appends one message after the other under one key. Never is one refused."""

    def __init__(self, bus: SpoolingBus, key: bytes) -> None:
        self._bus, self._key = bus, key
        self.acknowledged: list[Outgoing] = []
        self.spooled = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number = len(self.acknowledged)
            sent = message(number, self._key, value=b"%d" % number * 50)
            (position,) = await self._bus.append([sent])
            self.spooled += position.spooled
            self.acknowledged.append(sent)


async def on_kafka(bus: KafkaBus) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Event ids and values by key, in order, each once where it came first."""
    found: dict[bytes, dict[tuple[bytes, bytes], None]] = {}
    for shard in await bus.shards("events"):
        offset = 0
        while batch := await bus.read(shard, Offset(offset), max_records=5000, max_bytes=1 << 24):
            offset += len(batch)
            for one in batch:
                assert one.headers == ()  # exactly ours
                found.setdefault(one.key, {})[one.event_id, one.value] = None
    return {key: list(values) for key, values in found.items()}


@pytest.mark.slow
@pytest.mark.alone
async def test_senders_never_notice_that_the_broker_was_killed_and_frozen(broker: KafkaCluster, tmp_path: Path) -> None:
    kafka = await open_bus(config(broker.bootstrap, append_seconds=1.0, request_seconds=1.0))
    bus = spooling(kafka, tmp_path / "spool.db", answer_seconds=1.5, pace=PACE)
    senders, stop = [Sender(bus, b"key %d" % number) for number in range(4)], asyncio.Event()
    sending = [asyncio.create_task(sender.run(stop)) for sender in senders]

    async def progress(*, spooled: bool) -> None:
        aims = [(sender.spooled if spooled else len(sender.acknowledged)) + 50 for sender in senders]
        await eventually(
            lambda: all(
                (sender.spooled if spooled else len(sender.acknowledged)) >= aim
                for sender, aim in zip(senders, aims, strict=True)
            ),
            seconds=60,
        )

    async def well() -> None:
        await eventually(lambda: bus.snapshot().bus_state == "up" and not bus.snapshot().records, seconds=60)

    await progress(spooled=False)
    for fail, mend in ((broker.kill, broker.start), (broker.pause, broker.resume)):
        await asyncio.to_thread(fail, 0)
        await progress(spooled=True)
        await eventually(lambda: bus.snapshot().bus_state == "down", seconds=60)
        await asyncio.to_thread(mend, 0)
        await well()
        await progress(spooled=False)
    stop.set()
    await asyncio.gather(*sending)
    await well()
    found = await on_kafka(kafka)
    await bus.close()
    for sender in senders:
        sent = [(one.event_id, one.value) for one in sender.acknowledged]
        assert found[sender.acknowledged[0].key] == sent
    assert len(bus.take_outages()) >= 2
