"""The bus on Apache Kafka, against one broker on the same machine: client and broker share the processor.

By the wall clock, for the broker's part counts. ``AFFIDAVIT_TEST_KAFKA=host:port`` measures against another broker.
Values are ciphertext, as the bus carries it: it does not compress, and what compression costs and gains is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer

from bench.figures import Figure
from schemas.entry import pack_commitments
from schemas.fingerprints import RECORD_V1
from schemas.ids import EVENTS, EventId, KeyId, Offset
from schemas.parts import CONTENT, METADATA, SOURCE, Sealer, SubjectKey
from schemas.record import Record, encode_record
from stores.bus import Outgoing
from stores.bus.headers import write_headers
from stores.bus.kafka import KafkaBus
from stores.bus.kafka.config import COMPRESSIONS, Compression

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

MESSAGES = 60_000
BATCH = 500
LANES = 8
SINGLES = 500
PARTITIONS = 2

_BATCH_QUEUE = asyncio.Lock()


def measure() -> Sequence[Figure]:
    """All of it, in about a minute."""
    from kafka_bus import running_kafka

    with running_kafka() as bootstrap:
        return asyncio.run(_measure(bootstrap))


async def _measure(bootstrap: str) -> list[Figure]:
    messages = _messages(BATCH * 20)
    value = sum(len(message.value) for message in messages) / len(messages)
    figures = []
    rates = {compression: await _append(bootstrap, messages, compression) for compression in COMPRESSIONS}
    for compression, rate in rates.items():
        budget = 30_000 if compression == "none" else None
        note = f"{value:,.0f} byte values, {BATCH} a call, {LANES} calls at a time, {PARTITIONS} shards"
        figures.append(Figure(f"kafka: append, {compression}", rate, "messages/s", budget, note=note))
    for name, ways in (("send", _by_send), ("batch builder", _by_batch)):
        rate = await _producer(bootstrap, messages, ways)
        figures.append(
            Figure(f"kafka: aiokafka's producer, {name}", rate, "messages/s", note="same messages and calls")
        )
    return [*figures, *await _reads(bootstrap, messages)]


def _messages(count: int) -> list[Outgoing]:
    """Records as the collector seals them: about 1.4 KB."""
    sealer, key = Sealer(), SubjectKey(KeyId(os.urandom(16)), os.urandom(32))
    parts = ((METADATA, os.urandom(300)), (CONTENT, os.urandom(400)), (SOURCE, os.urandom(400)))
    found = []
    for number in range(count):
        event = EventId(os.urandom(16))
        sealed = [sealer.seal(part, data, event, key) for part, data in parts]
        value = encode_record(Record(event, "acme", "standard", tuple(part for part, _ in sealed)))
        commitments = pack_commitments([(part.type, commitment) for part, commitment in sealed])
        found.append(Outgoing(EVENTS, b"session %d" % (number % 997), value, 1, event, commitments, RECORD_V1))
    return found


async def _open(bootstrap: str, compression: Compression = "none") -> KafkaBus:
    from kafka_bus import config, open_bus

    return await open_bus(config(bootstrap, partitions=PARTITIONS, compression=compression, append_seconds=30.0))


async def _append(bootstrap: str, messages: Sequence[Outgoing], compression: Compression) -> float:
    bus = await _open(bootstrap, compression)
    try:
        await _timed(bus.append, messages, MESSAGES // 6)
        return MESSAGES / await _timed(bus.append, messages, MESSAGES)
    finally:
        await bus.close()


async def _timed(
    append: Callable[[Sequence[Outgoing]], Awaitable[object]], messages: Sequence[Outgoing], count: int
) -> float:
    batches = itertools.cycle([messages[at : at + BATCH] for at in range(0, len(messages), BATCH)])
    lanes = asyncio.Semaphore(LANES)

    async def one() -> None:
        async with lanes:
            await append(next(batches))

    begun = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(count // BATCH)])
    return time.perf_counter() - begun


async def _producer(bootstrap: str, messages: Sequence[Outgoing], way: Callable[..., Awaitable[None]]) -> float:
    bus = await _open(bootstrap)
    topic = bus.config.topic(EVENTS)
    await bus.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=1_000_000)
    await producer.start()
    try:
        await _timed(lambda batch: way(producer, topic, batch), messages, MESSAGES // 6)
        return MESSAGES / await _timed(lambda batch: way(producer, topic, batch), messages, MESSAGES)
    finally:
        await producer.stop()


async def _by_send(producer: AIOKafkaProducer, topic: str, batch: Sequence[Outgoing]) -> None:
    futures = [
        await producer.send(topic, message.value, message.key, headers=list(write_headers(message)))
        for message in batch
    ]
    await asyncio.gather(*futures)


async def _by_batch(producer: AIOKafkaProducer, topic: str, batch: Sequence[Outgoing]) -> None:
    builders = [producer.create_batch() for _ in range(PARTITIONS)]
    for message in batch:
        builders[hash(message.key) % PARTITIONS].append(
            key=message.key, value=message.value, timestamp=None, headers=list(write_headers(message))
        )
    async with _BATCH_QUEUE:  # several calls that wait for their turn run out of time early in aiokafka 0.14
        futures = [
            await producer.send_batch(builder, topic, partition=partition) for partition, builder in enumerate(builders)
        ]
    await asyncio.gather(*futures)


async def _reads(bootstrap: str, messages: Sequence[Outgoing]) -> list[Figure]:
    bus = await _open(bootstrap)
    try:
        await _timed(bus.append, messages, MESSAGES)
        heads = max([await _read(bus, 32_768, values=False) for _ in range(2)])
        wholes = max([await _read(bus, 4096, values=True) for _ in range(2)])
        alone = await _singles(bus, messages)
        woken = await _wakings(bootstrap, bus, messages)
    finally:
        await bus.close()
    return [
        Figure("kafka: read headers", heads, "messages/s", 100_000, note="32,768 a call, as the signer reads"),
        Figure("kafka: read whole messages", wholes, "messages/s", note="4096 a call, as a sink reads"),
        Figure("kafka: append one, p50", alone[SINGLES // 2] * 1000, "ms"),
        Figure("kafka: append one, p99", alone[SINGLES * 99 // 100] * 1000, "ms"),
        Figure("kafka: append to woken reader, p50", woken[len(woken) // 2] * 1000, "ms", note="another bus object"),
    ]


async def _read(bus: KafkaBus, records: int, *, values: bool) -> float:
    count, begun = 0, time.perf_counter()
    for shard in await bus.shards(EVENTS):
        offset = 0
        while batch := await bus.read(shard, Offset(offset), max_records=records, max_bytes=64 << 20, values=values):
            offset += len(batch)
        count += offset
    return count / (time.perf_counter() - begun)


async def _singles(bus: KafkaBus, messages: Sequence[Outgoing]) -> list[float]:
    times = []
    for message in messages[:SINGLES]:
        begun = time.perf_counter()
        await bus.append([message])
        times.append(time.perf_counter() - begun)
    return sorted(times)


async def _wakings(bootstrap: str, bus: KafkaBus, messages: Sequence[Outgoing]) -> list[float]:
    reader = KafkaBus(bus.config)
    times = []
    try:
        for message in messages[:100]:
            (position,) = await bus.append([message])
            waiting = asyncio.create_task(reader.wait(position.shard, Offset(position.offset + 1), 10.0))
            await asyncio.sleep(0.005)
            begun = time.perf_counter()
            await bus.append([message])
            await waiting
            times.append(time.perf_counter() - begun)
    finally:
        await reader.close()
    return sorted(times)
