"""The Kafka bus while brokers die, hang, lead no more, or are too few."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bus_messages import message
from kafka_broker import KafkaCluster
from kafka_bus import config, open_bus

from schemas.errors import Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Message, Position
from stores.bus.kafka import KafkaBus

EVENTS0, EVENTS1 = Shard("events", 0), Shard("events", 1)


@pytest.fixture(scope="module")
def single() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=3) as cluster:
        yield cluster


@pytest.fixture
def three(cluster: KafkaCluster) -> KafkaCluster:
    """All three, even when the test before ended while some were down."""
    cluster.start_all()
    return cluster


class Writer:
    """Appends one message after the other, each in turn of a key, and notes which were acknowledged, in order.

    What got ``Unavailable`` is sent again under the same id, as a client does, until it is acknowledged.
    """

    def __init__(self, bus: KafkaBus, key: bytes) -> None:
        self._bus, self._key = bus, key
        self.acknowledged: list[tuple[Position, bytes]] = []
        self.failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            sent = message(number, self._key)
            while True:
                try:
                    (position,) = await self._bus.append([sent])
                    break
                except Unavailable:
                    self.failures += 1
                    if stop.is_set():
                        return
            self.acknowledged.append((position, sent.event_id))


async def everything(bus: KafkaBus, shard: Shard) -> list[Message]:
    found: list[Message] = []
    while batch := await bus.read(shard, Offset(len(found)), max_records=1000, max_bytes=1 << 20):
        found += batch
    return found


async def written(bus: KafkaBus, writers: list[Writer]) -> None:
    """Assert that all that was acknowledged lies where it was said to lie, in order, and that ids came in order."""
    shards = {shard: await everything(bus, shard) for shard in (EVENTS0, EVENTS1)}
    for messages in shards.values():
        assert [one.offset for one in messages] == list(range(len(messages)))
    for writer in writers:
        offsets = [position.offset for position, _ in writer.acknowledged]
        assert offsets == sorted(set(offsets))
        for position, event_id in writer.acknowledged:
            there = shards[position.shard][position.offset]
            assert (there.event_id, there.time_ms) == (event_id, position.time_ms)


async def progress(writers: list[Writer]) -> None:
    """Return when every writer has got some more acknowledged."""
    aims = [len(writer.acknowledged) + 5 for writer in writers]
    await until(lambda: all(len(writer.acknowledged) > aim for writer, aim in zip(writers, aims, strict=True)))


async def refused(bus: KafkaBus, words: str) -> None:
    """Append until that is refused with these words. The first appends may find what is gone still there."""
    async with asyncio.timeout(60):
        while True:
            try:
                await bus.append([message(0)])
            except Unavailable as error:
                if words in str(error):
                    return


async def accepted(bus: KafkaBus, number: int) -> Position:
    """Append one message, however often that takes."""
    async with asyncio.timeout(120):
        while True:
            try:
                (position,) = await bus.append([message(number)])
                return position
            except Unavailable:
                continue


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.alone
async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(single: KafkaCluster) -> None:
    bus = await open_bus(config(single.bootstrap, append_seconds=2.0))
    stop = asyncio.Event()
    writers = [Writer(bus, b"key %d" % number) for number in range(6)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                tasks.create_task(writer.run(stop))
            for _ in range(2):
                await progress(writers)
                await asyncio.to_thread(single.kill, 0)
                await until(lambda: all(writer.failures for writer in writers))
                await asyncio.to_thread(single.start, 0)
            await progress(writers)
            stop.set()
        await written(bus, writers)
    finally:
        await bus.close()


@pytest.mark.slow
@pytest.mark.alone
async def test_a_broker_that_hangs_makes_the_bus_unavailable_in_time_and_not_for_ever(single: KafkaCluster) -> None:
    bus = await open_bus(config(single.bootstrap, append_seconds=2.0, request_seconds=2.0))
    try:
        (first,) = await bus.append([message(0)])
        await asyncio.to_thread(single.pause, 0)
        try:
            begun = time.monotonic()
            for ask in (
                [bus.append([message(number)]) for number in range(1, 4)]
                + [bus.bounds(EVENTS0), bus.shards("events"), bus.identity("events")]
                + [bus.read(first.shard, Offset(0), max_records=1, max_bytes=1)]
                + [bus.commit("sink", EVENTS0, Offset(1))]
            ):
                begun = time.monotonic()
                with pytest.raises(Unavailable, match=r"Kafka is unavailable|in time"):
                    await ask
                assert time.monotonic() - begun < 8.0, ask.__qualname__
        finally:
            await asyncio.to_thread(single.resume, 0)
        (last,) = await bus.append([message(9)])
        found = await everything(bus, first.shard)
        assert [one.offset for one in found] == list(range(len(found)))
        assert found[last.offset].event_id == message(9).event_id
        assert found[0].event_id == message(0).event_id
    finally:
        await bus.close()


@pytest.mark.slow
@pytest.mark.alone
async def test_a_waiting_reader_outlives_the_broker(single: KafkaCluster) -> None:
    bus = await open_bus(config(single.bootstrap, append_seconds=20.0))
    try:
        (first,) = await bus.append([message(0)])
        waiting = asyncio.create_task(bus.wait(first.shard, Offset(1), 60))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(single.kill, 0)
        appending = asyncio.create_task(bus.append([message(1)]))
        await asyncio.to_thread(single.start, 0)
        assert (await appending)[0].offset == 1
        while not waiting.done() or waiting.exception() is not None:
            if waiting.done():
                assert isinstance(waiting.exception(), Unavailable)
                waiting = asyncio.create_task(bus.wait(first.shard, Offset(1), 60))
            await asyncio.wait([waiting])
        assert await waiting
    finally:
        await bus.close()


@pytest.mark.slow
@pytest.mark.alone
async def test_leaders_move_and_the_bus_follows(three: KafkaCluster) -> None:
    bus = await open_bus(config(three.bootstrap, replication=3, min_insync=2, append_seconds=4.0))
    stop = asyncio.Event()
    writers = [Writer(bus, b"key %d" % number) for number in range(6)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                tasks.create_task(writer.run(stop))
            for number in (0, 1, 2):
                await progress(writers)
                down, up = (three.kill, three.start) if number != 1 else (three.pause, three.resume)
                await asyncio.to_thread(down, number)
                await progress(writers)
                await asyncio.to_thread(up, number)
                await in_sync(bus, 3)
            stop.set()
        await written(bus, writers)
    finally:
        three.resume(1)
        await bus.close()


@pytest.mark.slow
@pytest.mark.alone
async def test_too_few_replicas_make_the_bus_unavailable_until_they_are_back(three: KafkaCluster) -> None:
    bus = await open_bus(config(three.bootstrap, replication=3, min_insync=3, append_seconds=2.0))
    try:
        await bus.append([message(0)])
        # Now, for later it may be unknown: the end of a partition that another broker leads by then rises no more while
        # replicas are missing, and is not told before it has.
        end = (await bus.bounds(EVENTS0)).end, (await bus.bounds(EVENTS1)).end
        await asyncio.to_thread(three.kill, 2)
        await refused(bus, "fewer replicas are in sync than min.insync.replicas demands")
        await asyncio.to_thread(three.start, 2)
        position = await accepted(bus, 300)
        assert position.offset >= end[position.shard.partition]
        found = await everything(bus, position.shard)
        assert found[position.offset].event_id == message(300).event_id
    finally:
        await bus.close()


@pytest.mark.slow
@pytest.mark.alone
async def test_without_a_quorum_nothing_is_acknowledged(three: KafkaCluster) -> None:
    bus = await open_bus(config(three.bootstrap, replication=3, min_insync=2, append_seconds=2.0))
    try:
        await bus.append([message(0)])
        await asyncio.to_thread(three.kill, 0)
        await asyncio.to_thread(three.kill, 1)
        await refused(bus, "Kafka is unavailable")
        await refused(bus, "Kafka is unavailable")
        for node in (0, 1):
            await asyncio.to_thread(three.start, node)
        position = await accepted(bus, 2000)
        found = await everything(bus, position.shard)
        assert [one.offset for one in found] == list(range(len(found)))
        assert found[position.offset].event_id == message(2000).event_id
    finally:
        await bus.close()


async def in_sync(bus: KafkaBus, replicas: int) -> None:
    """Return when all partitions of the events topic have so many replicas in sync."""
    from aiokafka.admin import AIOKafkaAdminClient

    topic = bus.config.topic("events")
    async with asyncio.timeout(60):
        while True:
            client = AIOKafkaAdminClient(bootstrap_servers=bus.config.bootstrap)
            try:
                await client.start()
                (found,) = await client.describe_topics([topic])
                if all(len(partition["isr"]) == replicas for partition in found["partitions"]):
                    return
            finally:
                await client.close()
            await asyncio.sleep(0.2)
