"""Sealing and the way to the bus: acknowledged means durable, and a gap in the numbers has an explanation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from faults import Fault, Faults, FaultyBus
from memory_bus import MemoryBus
from memory_keys import MemoryKeys

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.native import NativeFormat
from collector.ingest import CHUNK_EVENTS, Budget, Ingest
from collector.internal import SYSTEM, Act, SelfAudit, operator
from collector.sealing import Sealing
from schemas.entry import unpack_commitments
from schemas.errors import Unavailable
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from schemas.metadata import KIND_CODES, Metadata
from schemas.metadata_binary import decode_metadata
from schemas.parts import CHUNKS, CONTENT, METADATA, SOURCE, ZSTD, Opener, part_key
from schemas.record import Record, decode_record
from stores.bus import Bus, Message

NOW = 1_787_305_200_125_000
RECEIVED = Received("acme", "native", "t-1", "http", "192.0.2.1", "application/json", "", NOW, "native")


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
async def ingest(bus: MemoryBus, keys: MemoryKeys) -> AsyncIterator[Ingest]:
    made = Ingest(bus, keys, collector_id="c-1")
    yield made
    made.close()


async def messages(bus: Bus, topic: str = EVENTS) -> list[Message]:
    found = []
    for shard in await bus.shards(topic):
        found += await bus.read(shard, Offset(0), max_records=100_000, max_bytes=1 << 30)
    return found


def opened(message: Message, keys: MemoryKeys) -> tuple[Record, dict[int, bytes]]:
    record = decode_record(message.value)
    commitments = unpack_commitments(message.commitments)
    parts = {}
    for part in record.parts:
        secret = keys.by_id([part.key_id])[part.key_id]
        key = part_key(secret, message.event_id, part.type)
        parts[part.type] = Opener().open(part, commitments[part.type], message.event_id, key).data
    assert set(parts) == set(commitments)
    return record, parts


def metadata_of(message: Message, keys: MemoryKeys) -> Metadata:
    return decode_metadata(opened(message, keys)[1][METADATA])


async def test_what_is_accepted_is_on_the_bus_and_opens_under_its_keys(
    ingest: Ingest, bus: MemoryBus, keys: MemoryKeys
) -> None:
    body = b'{"kind": "prompt", "id": "a", "user_id": "u", "content": {"text": "hello"}}'
    stored = await ingest.accept_body(body, NativeFormat(), RECEIVED)
    (accepted,) = stored.accepted
    (message,) = await messages(bus)
    assert accepted.events[0].position == message[:3]
    assert (message.kind, message.event_id) == (KIND_CODES["prompt"], accepted.events[0].event_id)
    assert message.headers == ()
    record, parts = opened(message, keys)
    assert (record.tenant, record.retention_class) == ("acme", "default")
    assert parts[SOURCE] == body
    assert parts[CONTENT] == b'{"text":"hello"}'
    assert decode_metadata(parts[METADATA])["user_id"] == "u"


async def test_parts_of_other_subjects_and_types_have_other_keys(ingest: Ingest, bus: MemoryBus) -> None:
    body = b'{"kind":"prompt","user_id":"a","content":1}{"kind":"prompt","user_id":"b","content":1}'
    await ingest.accept_body(body, NativeFormat(), RECEIVED)
    key_ids = [part.key_id for message in await messages(bus) for part in decode_record(message.value).parts]
    assert len(set(key_ids)) == 6


async def test_metadata_that_does_not_encode_is_repaired_and_stored(
    ingest: Ingest, bus: MemoryBus, keys: MemoryKeys
) -> None:
    reading = Reading([Unit(b"x", "k", [Draft("prompt", {"input_tokens": 2**80, "user_name": "\ud800"})])])
    await ingest.accept(reading, RECEIVED)
    (message,) = await messages(bus)
    assert metadata_of(message, keys)["extras"] == {"input_tokens": str(2**80)}


class BrokenFormat:
    """A format with a bug."""

    name = "broken"

    def read(self, body: bytes, received: Received) -> Reading:
        raise RuntimeError("the bug")


async def test_a_format_that_fails_costs_no_byte(
    ingest: Ingest, bus: MemoryBus, keys: MemoryKeys, caplog: pytest.LogCaptureFixture
) -> None:
    stored = await ingest.accept_body(b"precious", BrokenFormat(), RECEIVED)
    assert stored.accepted[0].error == "internal error of format broken: RuntimeError"
    (message,) = await messages(bus)
    assert opened(message, keys)[1][SOURCE] == b"precious"
    assert "the bug" in caplog.text
    assert "precious" not in caplog.text


async def test_a_large_body_goes_in_steps_and_keeps_its_order(ingest: Ingest, bus: MemoryBus, keys: MemoryKeys) -> None:
    count = CHUNK_EVENTS * 2 + 5
    body = b"\n".join(b'{"kind":"prompt","id":"%d","session_id":"s"}' % at for at in range(count))
    stored = await ingest.accept_body(body, NativeFormat(), RECEIVED)
    assert [accepted.index for accepted in stored.accepted] == list(range(count))
    offsets = [accepted.events[0].position.offset for accepted in stored.accepted]
    assert offsets == list(range(count))
    found = await messages(bus)
    for at in (0, CHUNK_EVENTS, count - 1):
        own = metadata_of(found[at], keys)
        assert (own["unit_index"], own["unit_count"], own["collector_sequence"]) == (at, count, at)


async def test_nothing_in_a_body_is_nothing_on_the_bus(ingest: Ingest, bus: MemoryBus) -> None:
    assert (await ingest.accept_body(b"[]", NativeFormat(), RECEIVED)).accepted == []
    assert await messages(bus) == []


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
async def test_a_gap_in_the_numbers_is_explained_once_the_bus_is_back(
    fault: Fault, bus: MemoryBus, keys: MemoryKeys
) -> None:
    audit = SelfAudit(bus, keys, "c-1")
    ingest = Ingest(FaultyBus(bus, Faults({1: fault, 2: fault})), keys, collector_id="c-1", report_gap=audit.report_gap)
    body = b'{"kind":"prompt","id":"a"}{"kind":"prompt","id":"b"}'
    for _ in range(2):
        with pytest.raises(Unavailable, match="injected at write"):
            await ingest.accept_body(body, NativeFormat(), RECEIVED)
    await ingest.accept_body(body, NativeFormat(), RECEIVED)
    await ingest.accept_body(body, NativeFormat(), RECEIVED)
    ingest.close()
    numbers = {metadata_of(message, keys)["collector_sequence"] for message in await messages(bus)}
    assert {4, 5, 6, 7} <= numbers
    (report,) = await messages(bus, CONTROL)
    details = json.loads(opened(report, keys)[1][CONTENT])
    assert details == {"collector_id": "c-1", "first_and_last": [[0, 1], [2, 3]]}
    assert numbers | {0, 1, 2, 3} == set(range(8))


class UnreachableKeys(MemoryKeys):
    """Keys whose database is away."""

    def for_scopes(self, scopes: Sequence[object]) -> list[object]:  # type: ignore[override]
        raise Unavailable("the control database is away")


async def test_without_keys_nothing_is_sealed_and_nothing_appended(bus: MemoryBus) -> None:
    ingest = Ingest(bus, UnreachableKeys(), collector_id="c-1")
    with pytest.raises(Unavailable, match="the control database is away"):
        await ingest.accept_body(b'{"kind":"prompt"}', NativeFormat(), RECEIVED)
    ingest.close()
    assert await messages(bus) == []


def test_the_budget_has_an_upper_bound_and_lets_a_lone_giant_through() -> None:
    budget = Budget(100)
    budget.take(80)
    with pytest.raises(Unavailable, match="got 30 bytes more with 80 in flight, expected at most 100"):
        budget.take(30)
    budget.give_back(80)
    budget.take(500)
    budget.take(500, held=500)
    assert budget.used == 1000


def test_an_empty_batch_seals_to_nothing(keys: MemoryKeys) -> None:
    assert Sealing(keys).seal([]) == []


async def test_acts_are_on_the_control_shard_with_who_and_what(bus: MemoryBus, keys: MemoryKeys) -> None:
    audit = SelfAudit(bus, keys, "c-1", now_micros=lambda: NOW)
    act = Act("token.create", "admin", "dana", peer_ip="192.0.2.9", details={"token_id": "abc"})
    positions = await audit.record(act, Act("component.start", "session", "up", "system"))
    assert [position.shard for position in positions] == [Shard(CONTROL, 0)] * 2
    first, second = await messages(bus, CONTROL)
    own = metadata_of(first, keys)
    assert (own["kind"], own["operation"], own["user_id"]) == ("admin", "token.create", "dana")
    assert (own["tenant"], own["gateway"], own["receiver"], own["occurred_at"]) == (SYSTEM, SYSTEM, "internal", NOW)
    assert json.loads(opened(first, keys)[1][SOURCE])["details"] == {"token_id": "abc"}
    assert metadata_of(second, keys)["service_account"] == "up"
    assert [metadata_of(message, keys)["collector_sequence"] for message in (first, second)] == [0, 1]
    assert first.event_id != second.event_id
    assert await messages(bus) == []


def test_the_command_line_records_without_an_event_loop(bus: MemoryBus, keys: MemoryKeys) -> None:
    act = Act("content.read", "access", operator(), tenant="acme", outcome="blocked")
    (position,) = SelfAudit(bus, keys, "cli").record_blocking(act)
    (message,) = asyncio.run(messages(bus, CONTROL))
    assert position.offset == message.offset
    assert metadata_of(message, keys)["outcome"] == "blocked"
    assert decode_record(message.value).tenant == "acme"


LONG = [json.dumps({"kind": "prompt", "id": name, "session_id": "s", "content": "x y z " * 2000}) for name in "abc"]


async def sources(bus: MemoryBus) -> list[int]:
    """The codec of each source, in order."""
    found = [decode_record(message.value).parts for message in await messages(bus)]
    return [part.codec for parts in found for part in parts if part.type == SOURCE]


@pytest.fixture
def timely() -> MemoryBus:
    """A bus whose clock shows when the events were received."""
    return MemoryBus(clock=lambda: NOW // 1000)


async def test_what_is_sent_again_refers_to_what_was_acknowledged(timely: MemoryBus, keys: MemoryKeys) -> None:
    ingest = Ingest(timely, keys, collector_id="c-1")
    for body in LONG:
        await ingest.accept_body(body.encode(), NativeFormat(), RECEIVED)
    ingest.close()
    assert await sources(timely) == [ZSTD, CHUNKS, CHUNKS]


async def test_a_topic_that_was_created_again_is_noticed(timely: MemoryBus, keys: MemoryKeys) -> None:
    ingest = Ingest(timely, keys, collector_id="c-1")
    await ingest.accept_body(LONG[0].encode(), NativeFormat(), RECEIVED)
    timely._identities[EVENTS] = "another"
    ingest._watch_again = 0.0
    for body in LONG[1:]:
        await ingest.accept_body(body.encode(), NativeFormat(), RECEIVED)
    ingest.close()
    assert await sources(timely) == [ZSTD, CHUNKS, ZSTD]
