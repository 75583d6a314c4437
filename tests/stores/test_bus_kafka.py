"""The bus on one Kafka broker: what the contract leaves to each bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition
from bus_messages import COMMITMENTS, message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka_broker import free_ports
from kafka_bus import config, open_bus

from schemas.errors import ConfigurationError, EvidenceIncomplete, LedgerContradiction, LimitExceeded, Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Message, Position
from stores.bus.headers import Foreign, read_headers, write_headers
from stores.bus.kafka import KafkaBus, KafkaTopics
from stores.bus.kafka.partitioner import partition_of

EVENTS0, EVENTS1 = Shard("events", 0), Shard("events", 1)


@pytest.fixture
async def bus(kafka: str) -> AsyncIterator[KafkaBus]:
    opened = await open_bus(config(kafka))
    yield opened
    await opened.close()


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


async def read_all(bus: KafkaBus, shard: Shard, *, values: bool = True, max_records: int = 100) -> list[Message]:
    found: list[Message] = []
    while batch := await bus.read(shard, Offset(len(found)), max_records=max_records, max_bytes=1 << 20, values=values):
        found += batch
    return found


async def settings_of(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def alter(admin: AIOKafkaAdminClient, topic: str, changes: dict[str, str]) -> None:
    """Change settings of a topic; they reach the broker a moment after they are acknowledged."""
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, _WANTED | changes)])
    async with asyncio.timeout(20):
        while not (_WANTED | changes).items() <= (await settings_of(admin, topic)).items():
            await asyncio.sleep(0.02)


async def delete(admin: AIOKafkaAdminClient, topic: str) -> None:
    """Delete a topic; likewise."""
    await admin.delete_topics([topic])
    async with asyncio.timeout(20):
        while topic in await admin.list_topics():
            await asyncio.sleep(0.02)


_WANTED = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
    "min.insync.replicas": "1",
    "retention.ms": str(KafkaTopics().retention_ms),
    "max.message.bytes": str(KafkaTopics().max_message_bytes),
}

BYTES = st.binary(max_size=40)
FOREIGN = st.builds(
    Foreign,
    st.just("events"),
    BYTES,
    BYTES,
    st.lists(st.tuples(st.sampled_from(["c", "id", "k", "s"]) | st.text(max_size=5), BYTES), max_size=5).map(tuple),
)
OURS = st.builds(message, st.integers(0, 1000), BYTES, value=BYTES)


@given(batches=st.lists(st.lists(FOREIGN | OURS, min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_messages_read_as_they_were_written(kafka: str, batches: list[list[Any]]) -> None:
    bus = await open_bus(config(kafka))
    try:
        expected: dict[Shard, list[Message]] = {EVENTS0: [], EVENTS1: []}
        for batch in batches:
            for position, sent in zip(await bus.append(batch), batch, strict=True):
                assert position.shard.partition == partition_of(sent.key, 2)
                headers = sent.headers if isinstance(sent, Foreign) else write_headers(sent)
                ours = read_headers(headers)
                rest = () if ours.exact else tuple(headers)
                expected[position.shard].append(
                    Message(*position, sent.key, sent.value, ours.kind, ours.event_id, ours.commitments, rest)
                )
        for shard, messages in expected.items():
            assert [one.offset for one in messages] == list(range(len(messages)))
            assert await read_all(bus, shard) == messages
    finally:
        await bus.close()


async def test_other_producers_put_keys_where_we_do(kafka: str, bus: KafkaBus) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in range(20):
            key = b"session %d" % number
            theirs = await producer.send_and_wait(bus.config.topic("events"), b"v", key)
            (ours,) = await bus.append([message(number, key)])
            assert theirs.partition == ours.shard.partition


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
async def test_compressed_shards_read_the_same(kafka: str, compression: Any) -> None:
    bus = await open_bus(config(kafka, compression=compression))
    try:
        sent = [message(number, value=b"v%d " % number * 300) for number in range(500)]
        await bus.append(sent)
        shard = Shard("events", partition_of(sent[0].key, 2))
        assert [one.value for one in await read_all(bus, shard)] == [one.value for one in sent]
    finally:
        await bus.close()


async def test_an_append_larger_than_a_batch_keeps_its_order(bus: KafkaBus) -> None:
    sent = [message(number, value=b"%05d" % number * 2000) for number in range(400)]
    positions = await bus.append(sent)
    assert [position.offset for position in positions] == list(range(400))
    found = await read_all(bus, positions[0].shard, max_records=1000)
    assert [one.value for one in found] == [one.value for one in sent]


async def test_a_message_too_large_is_refused_with_its_size_and_nothing_is_written(bus: KafkaBus) -> None:
    large = message(1, value=bytes(bus.config.topics.max_message_bytes))
    with pytest.raises(LimitExceeded, match=r"got a message of 10\d\d\d\d\d bytes, expected at most 1049600"):
        await bus.append([message(0), large])
    assert (await bus.bounds(EVENTS0)).end == (await bus.bounds(EVENTS1)).end == 0
    (position,) = await bus.append([message(2, value=bytes(bus.config.topics.max_message_bytes - 500))])
    (found,) = await bus.read(position.shard, position.offset, max_records=9, max_bytes=1)
    assert len(found.value) == bus.config.topics.max_message_bytes - 500


async def test_a_limit_lowered_later_refuses_too(bus: KafkaBus, admin: AIOKafkaAdminClient) -> None:
    await bus.append([message(0)])
    await alter(admin, bus.config.topic("events"), {"max.message.bytes": "5000"})
    with pytest.raises(LimitExceeded, match=r"MESSAGE_TOO_LARGE.*raise max\.message\.bytes"):
        await bus.append([message(1, value=bytes(10_000))])
    (position,) = await bus.append([message(2)])
    assert position.offset == 1


async def test_nulls_of_other_producers(kafka: str, bus: KafkaBus) -> None:
    topic = bus.config.topic("control")
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(topic, None, b"key", headers=[("c", COMMITMENTS), ("x", None)])
        await producer.send_and_wait(topic, b"value", None)
    first, second = await read_all(bus, Shard("control", 0))
    assert (first.key, first.value, first.headers) == (b"key", b"", (("c", COMMITMENTS), ("x", b"")))
    assert (second.key, second.value, second.headers) == (b"", b"value", ())


async def test_a_transactional_producer_leaves_gaps_that_stop_the_reader(kafka: str, bus: KafkaBus) -> None:
    await bus.append([message(0, topic="control")])
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=bus.config.prefix)
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(bus.config.topic("control"), b"value", b"key")
    finally:
        await producer.stop()
    shard = Shard("control", 0)
    async with asyncio.timeout(10):
        while (await bus.bounds(shard)).end < 3:  # the marker comes a moment later
            await asyncio.sleep(0.02)
    assert [one.offset for one in await bus.read(shard, Offset(0), max_records=9, max_bytes=999)] == [0, 1]
    with pytest.raises(LedgerContradiction, match="control/0: got no message at offsets 2 to 2"):
        await bus.read(shard, Offset(2), max_records=9, max_bytes=999)
    (position,) = await bus.append([message(3, topic="control")])
    assert position.offset == 3
    with pytest.raises(LedgerContradiction, match="at offsets 2 to 2, expected one at each: a transactional"):
        await bus.read(shard, Offset(2), max_records=9, max_bytes=999)
    assert len(await bus.read(shard, Offset(3), max_records=9, max_bytes=999)) == 1


async def test_what_retention_removed_is_missed(bus: KafkaBus, admin: AIOKafkaAdminClient) -> None:
    positions = await bus.append([message(number) for number in range(10)])
    shard = positions[0].shard
    partition = TopicPartition(bus.config.topic("events"), shard.partition)
    await admin.delete_records({partition: RecordsToDelete(before_offset=4)})
    assert await bus.bounds(shard) == (4, 10)
    with pytest.raises(EvidenceIncomplete, match=r"events/\d offset 3: no longer on the bus, which begins at 4"):
        await bus.read(shard, Offset(3), max_records=9, max_bytes=999)
    found = await bus.read(shard, Offset(4), max_records=99, max_bytes=999)
    assert [one.offset for one in found] == list(range(4, 10))


async def test_a_topic_created_again_is_another_topic(kafka: str, admin: AIOKafkaAdminClient) -> None:
    bus = await open_bus(config(kafka))
    try:
        await bus.append([message(number, b"%d" % number) for number in range(20)])
        before = {topic: await bus.identity(topic) for topic in ("events", "control", "deadletter")}
        assert len(set(before.values())) == 3
        assert await bus.wait(EVENTS0, Offset(0), 5)  # keeps what it brought
        waiting = asyncio.create_task(bus.wait(EVENTS1, Offset(1000), 30))
        await delete(admin, bus.config.topic("events"))
        another = KafkaBus(bus.config)
        try:
            assert await another.create_topics() == [bus.config.topic("events")]
            after = await another.identity("events")
        finally:
            await another.close()
        assert after != before["events"]
        assert await bus.identity("events") == after
        assert await bus.identity("control") == before["control"]
        with pytest.raises(LedgerContradiction, match=f"got topic id {after}, expected {before['events']}"):
            await bus.bounds(EVENTS0)
        with pytest.raises(LedgerContradiction, match="deleted and created again"):
            await bus.read(EVENTS0, Offset(0), max_records=1, max_bytes=1)
        with pytest.raises(LedgerContradiction, match="deleted"):
            await waiting
    finally:
        await bus.close()


async def test_a_topic_that_is_gone_is_a_contradiction(kafka: str, admin: AIOKafkaAdminClient) -> None:
    bus = await open_bus(config(kafka, request_seconds=1.0, append_seconds=1.0))
    try:
        await bus.append([message(0, topic="control")])
        await delete(admin, bus.config.topic("control"))
        with pytest.raises(LedgerContradiction, match=r"got no such topic, expected .*: it was deleted"):
            await bus.read(Shard("control", 0), Offset(0), max_records=1, max_bytes=1)
        with pytest.raises(ConfigurationError, match="has no topic 'control'"):
            await bus.append([message(1, topic="control")])
    finally:
        await bus.close()


async def test_shards_that_are_added_are_seen_and_used(bus: KafkaBus, admin: AIOKafkaAdminClient) -> None:
    assert await bus.shards("events") == [EVENTS0, EVENTS1]
    await admin.create_partitions({bus.config.topic("events"): NewPartitions(4)})
    expected = [Shard("events", partition) for partition in range(4)]
    async with asyncio.timeout(10):
        while await bus.shards("events") != expected:
            await asyncio.sleep(0.1)
    positions = await bus.append([message(number, b"key %d" % number) for number in range(50)])
    assert {position.shard for position in positions} == set(expected)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("cleanup.policy", "compact", "got cleanup.policy=compact, expected delete"),
        ("message.timestamp.type", "CreateTime", "expected LogAppendTime"),
        ("unclean.leader.election.enable", "true", "expected false"),
        ("retention.ms", "1000", "got retention.ms=1000"),
        ("max.message.bytes", "1000", "got max.message.bytes=1000"),
    ],
)
async def test_topics_set_otherwise_are_refused_until_they_are_mended(
    kafka: str, admin: AIOKafkaAdminClient, setting: str, value: str, words: str
) -> None:
    made = await open_bus(config(kafka))
    await made.close()
    bus = KafkaBus(made.config)
    topic = made.config.topic("control")
    try:
        await alter(admin, topic, {setting: value})
        with pytest.raises(ConfigurationError, match=rf"topic {topic}: .*{words}.*kafka-configs\.sh.*--add-config"):
            await bus.append([message(0)])
        with pytest.raises(ConfigurationError, match=words):
            await bus.read(EVENTS0, Offset(0), max_records=1, max_bytes=1)
        await alter(admin, topic, {})
        await bus.append([message(0)])
    finally:
        await bus.close()


async def test_topics_are_created_once(kafka: str) -> None:
    bus = KafkaBus(config(kafka))
    try:
        with pytest.raises(ConfigurationError, match=r"no topic t.*\.events; run affidavit init, or kafka-topics.sh"):
            await bus.shards("events")
        names = [bus.config.topic(name) for name in ("events", "control", "deadletter")]
        assert await bus.create_topics() == names
        assert await bus.create_topics() == []
        assert await bus.shards("events") == [EVENTS0, EVENTS1]
    finally:
        await bus.close()


async def test_more_replicas_than_brokers_are_refused(kafka: str) -> None:
    bus = KafkaBus(config(kafka, replication=7))
    try:
        with pytest.raises(ConfigurationError, match="INVALID_REPLICATION_FACTOR"):
            await bus.create_topics()
    finally:
        await bus.close()


async def test_control_with_two_partitions_is_refused(kafka: str, admin: AIOKafkaAdminClient) -> None:
    settings_ = config(kafka)
    await admin.create_topics([NewTopic(settings_.topic("control"), 2, 1, topic_configs=_WANTED)])
    bus = await open_bus(settings_)
    try:
        with pytest.raises(ConfigurationError, match=r"\.control: got 2 partitions, expected exactly 1"):
            await bus.append([message(0)])
    finally:
        await bus.close()


async def test_nobody_there() -> None:
    (port,) = free_ports(1)
    bus = KafkaBus(config(f"127.0.0.1:{port}", append_seconds=1.0, request_seconds=1.0))
    try:
        for ask in (bus.append([message(0)]), bus.bounds(EVENTS0), bus.shards("events"), bus.identity("events")):
            begun = time.monotonic()
            with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port}"):
                await ask
            assert time.monotonic() - begun < 6.0
    finally:
        await bus.close()


async def test_several_readers_of_a_shard_each_have_their_place(bus: KafkaBus) -> None:
    positions = await bus.append([message(number, value=b"x" * 500) for number in range(2000)])
    shard = positions[0].shard

    async def follow(step: int, values: bool) -> int:
        offset = 0
        while found := await bus.read(shard, Offset(offset), max_records=step, max_bytes=1 << 20, values=values):
            assert [one.offset for one in found] == list(range(offset, offset + len(found)))
            offset += len(found)
        return offset

    assert await asyncio.gather(follow(100, False), follow(33, True), follow(1000, True)) == [2000] * 3


async def test_a_read_after_a_wait_brings_all_there_is(bus: KafkaBus) -> None:
    (first,) = await bus.append([message(0)])
    assert await bus.wait(first.shard, Offset(0), 10)
    await bus.append([message(number) for number in range(1, 50)])
    found = await bus.read(first.shard, Offset(0), max_records=1000, max_bytes=1 << 20)
    assert [one.offset for one in found] == list(range(50))


async def test_a_reader_is_woken_by_another_process_s_append_promptly(bus: KafkaBus) -> None:
    writer = KafkaBus(bus.config)
    try:
        (first,) = await writer.append([message(0)])
        delays = []
        for number in range(1, 12):
            waiting = asyncio.create_task(bus.wait(first.shard, Offset(number), 10))
            await asyncio.sleep(0.02)
            begun = time.monotonic()
            await writer.append([message(number)])
            assert await waiting
            delays.append(time.monotonic() - begun)
        assert sorted(delays)[len(delays) // 2] < 0.1
    finally:
        await writer.close()


async def test_a_wait_far_beyond_the_end(bus: KafkaBus) -> None:
    waiting = asyncio.create_task(bus.wait(Shard("control", 0), Offset(5), 20))
    for number in range(6):
        assert not waiting.done()
        await bus.append([message(number, topic="control")])
    assert await waiting


async def test_loops_of_short_life_and_many_threads_share_a_bus(kafka: str) -> None:
    bus = await open_bus(config(kafka))

    def live_shortly(number: int) -> list[Position]:
        return asyncio.run(bus.append([message(number, b"%d" % number)]))

    try:
        with ThreadPoolExecutor(4) as threads:
            loop = asyncio.get_running_loop()
            found = await asyncio.gather(*[loop.run_in_executor(threads, live_shortly, number) for number in range(40)])
        ends = (await bus.bounds(EVENTS0)).end + (await bus.bounds(EVENTS1)).end
        assert len({(one.shard, one.offset) for (one,) in found}) == ends == 40
    finally:
        await bus.close()


async def test_pending_appends_finish_before_a_close(kafka: str) -> None:
    bus = await open_bus(config(kafka))
    await bus.shards("events")
    appending = [asyncio.create_task(bus.append([message(number)])) for number in range(50)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(bus.wait(EVENTS0, Offset(1000), 30))
    await asyncio.sleep(0.05)
    await asyncio.gather(bus.close(), bus.close())
    await bus.close()
    assert sorted(position.offset for (position,) in await asyncio.gather(*appending)) == list(range(50))
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="the bus is closed"):
        await bus.append([message(0)])


async def test_a_bus_that_was_never_used_closes(kafka: str) -> None:
    bus = KafkaBus(config(kafka))
    await bus.close()
    await bus.close()


async def test_cancelled_calls_harm_nobody(bus: KafkaBus) -> None:
    await bus.shards("events")
    for number in range(20):
        calls = [
            asyncio.create_task(bus.append([message(number)])),
            asyncio.create_task(bus.wait(EVENTS0, Offset(9999), 10)),
            asyncio.create_task(bus.read(EVENTS0, Offset(0), max_records=9, max_bytes=9)),
        ]
        await asyncio.sleep(0.001 * (number % 4))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    (position,) = await bus.append([message(99)])
    found = await read_all(bus, position.shard)
    assert [one.offset for one in found] == list(range(len(found)))
    assert found[-1].event_id == message(99).event_id


async def test_hints_are_what_lag_tools_see(kafka: str, bus: KafkaBus) -> None:
    await bus.commit("sink.archive", EVENTS1, Offset(12))
    group = bus.config.offsets_group("sink.archive")
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False) as consumer:
        assert await consumer.committed(TopicPartition(bus.config.topic("events"), 1)) == 12


async def test_too_much_waiting_is_refused_at_once(kafka: str) -> None:
    bus = await open_bus(replace(config(kafka), queue_bytes=100_000))
    try:
        await bus.shards("events")
        results = await asyncio.gather(
            *[bus.append([message(number, value=bytes(60_000))]) for number in range(20)], return_exceptions=True
        )
        refused = [one for one in results if isinstance(one, Unavailable)]
        assert refused
        assert "wait for Kafka already" in str(refused[0])
        assert len(refused) < 20
        await bus.append([message(0)])
    finally:
        await bus.close()
