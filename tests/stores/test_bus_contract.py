"""The contract of stores.bus.Bus, over every implementation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bus_messages import COMMITMENTS, PRINT, message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka_bus import config, open_bus
from memory_bus import MemoryBus
from spools import spooling

from schemas.entry import pack_commitments
from schemas.errors import ConfigurationError
from schemas.ids import Offset, Shard
from stores.bus import Bounds, Message, Outgoing, Position
from stores.bus.headers import Foreign, write_headers
from stores.bus.sqlite import SqliteBus

EVENTS0, EVENTS1 = Shard("events", 0), Shard("events", 1)


class Clock:
    """Milliseconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(which: str, path: Path, clock: Clock) -> Any:
    """A bus whose clock a test moves."""
    if which == "spooling":
        return spooling(MemoryBus(clock=clock), path, clock=clock)
    return MemoryBus(clock=clock) if which == "memory" else SqliteBus(path, clock=clock)


@pytest.fixture(params=["sqlite", "memory", "spooling"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[str], Any]:
    return lambda name: made(request.param, tmp_path / name, clock)


@pytest.fixture
async def clocked(make: Callable[[str], Any]) -> AsyncIterator[Any]:
    opened = make("bus.db")
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "memory", "spooling", "kafka"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Any]:
    """Every bus. The clock of Kafka is its brokers'."""
    if request.param == "kafka":
        opened = await open_bus(config(request.getfixturevalue("kafka")))
    else:
        opened = made(request.param, tmp_path / "bus.db", clock)
    yield opened
    await opened.close()


def as_read(position: Position, sent: Outgoing, *, values: bool = True) -> Message:
    """What a message of ours must read as."""
    key, value = (sent.key, sent.value) if values else (b"", b"")
    return Message(*position, key, value, sent.kind, sent.event_id, sent.commitments)


async def read_all(bus: Any, shard: Shard, *, values: bool = True) -> list[Message]:
    found: list[Message] = []
    while batch := await bus.read(shard, Offset(len(found)), max_records=100, max_bytes=1 << 20, values=values):
        found += batch
    return found


async def test_an_empty_bus(bus: Any) -> None:
    assert await bus.shards("events") == [EVENTS0, EVENTS1]
    assert await bus.shards("control") == [Shard("control", 0)]
    assert await bus.bounds(EVENTS0) == Bounds(Offset(0), Offset(0))
    assert await bus.read(EVENTS0, Offset(0), max_records=10, max_bytes=1000) == []
    assert await bus.read(EVENTS0, Offset(5), max_records=10, max_bytes=1000) == []
    assert await bus.append([]) == []
    assert await bus.committed("sink", EVENTS0) is None


async def test_messages_read_as_they_were_written(bus: Any) -> None:
    sent = [message(number, b"key %d" % (number % 7)) for number in range(1000)]
    positions = await bus.append(sent)
    assert {position.shard for position in positions} == {EVENTS0, EVENTS1}
    for shard in (EVENTS0, EVENTS1):
        expected = [as_read(*pair) for pair in zip(positions, sent, strict=True) if pair[0].shard == shard]
        assert [one.offset for one in expected] == list(range(len(expected)))
        assert await read_all(bus, shard) == expected
        assert await bus.bounds(shard) == Bounds(Offset(0), Offset(len(expected)))


async def test_headers_alone(bus: Any) -> None:
    sent = [message(number) for number in range(300)]
    positions = await bus.append(sent)
    found = await read_all(bus, positions[0].shard, values=False)
    assert found == [as_read(*pair, values=False) for pair in zip(positions, sent, strict=True)]


async def test_reading_from_any_offset(bus: Any) -> None:
    sent = [message(number) for number in range(600)]
    positions = [position for begin in range(0, 600, 7) for position in await bus.append(sent[begin : begin + 7])]
    everything = [as_read(*pair) for pair in zip(positions, sent, strict=True)]
    for offset in (0, 1, 6, 7, 8, 255, 256, 599):
        found = await bus.read(positions[0].shard, Offset(offset), max_records=10, max_bytes=1 << 20)
        assert found == everything[offset : offset + 10]
    assert await bus.read(positions[0].shard, Offset(600), max_records=10, max_bytes=1 << 20) == []


async def test_reads_are_bounded_but_never_stuck(bus: Any) -> None:
    (first, *_) = await bus.append([message(number, value=b"x" * 1000) for number in range(10)])
    assert len(await bus.read(first.shard, Offset(0), max_records=3, max_bytes=1 << 20)) == 3
    assert len(await bus.read(first.shard, Offset(0), max_records=10, max_bytes=3500)) == 3
    assert len(await bus.read(first.shard, Offset(4), max_records=10, max_bytes=1)) == 1


async def test_equal_keys_stay_on_one_shard_in_order(bus: Any) -> None:
    sent = [message(number, b"key %d" % (number % 5)) for number in range(50)]
    positions = await bus.append(sent[:20]) + await bus.append(sent[20:])
    for key in range(5):
        of_key = positions[key::5]
        assert len({position.shard for position in of_key}) == 1
        assert of_key == sorted(of_key, key=lambda position: position.offset)


async def test_time_never_goes_back(clocked: Any, clock: Clock) -> None:
    times = []
    for now in (1000, 2000, 500, 1999, 2001):
        clock.now = now
        times += [position.time_ms for position in await clocked.append([message(0), message(1)])]
    assert times == [1000, 1000, 2000, 2000, 2000, 2000, 2000, 2000, 2001, 2001]


async def test_concurrent_appends_leave_no_gaps(bus: Any) -> None:
    batches = [[message(batch * 5 + number, b"%d" % batch) for number in range(5)] for batch in range(60)]
    results = await asyncio.gather(*[bus.append(batch) for batch in batches])
    positions = [position for result in results for position in result]
    for shard in (EVENTS0, EVENTS1):
        offsets = sorted(position.offset for position in positions if position.shard == shard)
        assert offsets == list(range((await bus.bounds(shard)).end))
    for result, batch in zip(results, batches, strict=True):
        (found,) = await bus.read(result[4].shard, result[4].offset, max_records=1, max_bytes=1)
        assert found == as_read(result[4], batch[4])


async def test_topics_do_not_mix(bus: Any) -> None:
    positions = await bus.append([message(0), message(1, topic="control"), message(2, topic="deadletter")])
    assert [position.shard.topic for position in positions] == ["events", "control", "deadletter"]
    assert [position.offset for position in positions] == [0, 0, 0]
    identities = {await bus.identity(topic) for topic in ("events", "control", "deadletter")}
    assert len(identities) == 3


HEADERS = (
    (),
    (("traceparent", b"00-1"),),
    (("c", b"short"), ("id", bytes(16)), ("k", b"\x01"), ("s", PRINT)),
    (("c", COMMITMENTS), ("c", COMMITMENTS)),
    (("c", b"x" * 70_000), ("", b""), ("ü", b"\x00\xff")),
    (("k", b"12"), ("id", b"x"), ("s", b"")),
)


@pytest.mark.parametrize("headers", HEADERS)
async def test_a_message_without_valid_commitments_comes_whole(bus: Any, headers: tuple[Any, ...]) -> None:
    (position,) = await bus.append([Foreign("events", b"key", b"raw", headers)])
    for values in (True, False):
        (found,) = await bus.read(position.shard, position.offset, max_records=1, max_bytes=1, values=values)
        assert (found.key, found.value, found.headers) == (b"key", b"raw", headers)
        assert found[:3] == position


async def test_a_stray_message_keeps_what_headers_it_shares_with_ours(bus: Any) -> None:
    headers = (("c", COMMITMENTS), ("id", b"i" * 16), ("k", b"\x02"), ("x", b"y"))
    (position,) = await bus.append([Foreign("events", b"key", b"raw", headers)])
    (found,) = await bus.read(position.shard, Offset(0), max_records=1, max_bytes=1)
    assert found == Message(*position, b"key", b"raw", 2, b"i" * 16, COMMITMENTS, headers)


async def test_our_message_from_another_producer_is_ours(bus: Any) -> None:
    headers = (("s", PRINT), ("k", b"\x02"), ("id", b"i" * 16), ("c", COMMITMENTS))
    (position,) = await bus.append([Foreign("events", b"key", b"raw", headers)])
    (found,) = await bus.read(position.shard, Offset(0), max_records=1, max_bytes=1)
    assert found == Message(*position, b"key", b"raw", 2, b"i" * 16, COMMITMENTS)


async def test_a_message_of_an_unknown_schema_keeps_all_headers(bus: Any) -> None:
    """A later version may have written it: without header ``s`` nobody could say how to read it."""
    sent = [message(0, fingerprint=b"later-v2"), message(1)]
    first, second = await bus.append(sent)
    for values in (True, False):
        later, ours = await bus.read(first.shard, Offset(0), max_records=9, max_bytes=1000, values=values)
        assert (later.kind, later.event_id, later.commitments) == sent[0][3:6]
        if values:
            assert later.headers == write_headers(sent[0])
        assert (ours[:3], ours.headers) == (second, ())


@pytest.mark.parametrize("changes", [{"commitments": b"bad"}, {"commitments": b""}])
async def test_our_message_with_invalid_commitments_shows_its_headers(bus: Any, changes: dict[str, bytes]) -> None:
    sent = message(3, **changes)
    position = (await bus.append([message(1), sent, message(2)]))[1]
    (found,) = await bus.read(position.shard, Offset(1), max_records=1, max_bytes=1, values=False)
    assert (found.key, found.value) == (sent.key, sent.value)
    assert dict(found.headers) == {"c": sent.commitments, "id": sent.event_id, "k": bytes([sent.kind]), "s": PRINT}


async def test_whole_and_bare_messages_beside_each_other(bus: Any) -> None:
    sent = [message(0), Foreign("events", b"session", b"raw", (("x", b"y"),)), message(1)]
    (first, *_) = await bus.append(sent)
    found = await bus.read(first.shard, Offset(0), max_records=9, max_bytes=1000, values=False)
    assert [one.value for one in found if not one.commitments] == [b"raw"]
    assert [one.commitments for one in found] == [COMMITMENTS, b"", COMMITMENTS]


async def test_waiting(bus: Any) -> None:
    (position,) = await bus.append([message(0)])
    assert await bus.wait(position.shard, Offset(0), 10)
    assert not await bus.wait(position.shard, Offset(1), 0.01)
    waiting = [asyncio.create_task(bus.wait(position.shard, Offset(offset), 10)) for offset in (1, 2)]
    await bus.append([message(1)])
    assert await waiting[0]
    await bus.append([message(2)])
    assert await waiting[1]


async def test_a_waiter_that_gives_up_harms_nobody(bus: Any) -> None:
    waiting = asyncio.create_task(bus.wait(EVENTS0, Offset(0), 10))
    other = asyncio.create_task(bus.wait(EVENTS1, Offset(0), 10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await bus.append([message(number, b"key %d" % number) for number in range(20)])
    assert await other


async def test_hints(bus: Any) -> None:
    await bus.commit("sink", EVENTS0, Offset(7))
    await bus.commit("sink", EVENTS0, Offset(5))
    await bus.commit("other", EVENTS0, Offset(9))
    assert await bus.committed("sink", EVENTS0) == 5
    assert await bus.committed("other", EVENTS0) == 9
    assert await bus.committed("sink", EVENTS1) is None


class Owning:
    """Notes what it is told to work on."""

    def __init__(self) -> None:
        self.shards: set[Shard] = set()
        self.changed = asyncio.Event()

    async def take(self, shards: Sequence[Shard]) -> None:
        assert not self.shards & set(shards)
        self.shards |= set(shards)
        self.changed.set()

    async def give_up(self, shards: Sequence[Shard]) -> None:
        self.shards -= set(shards)


async def test_who_owns_alone_owns_every_shard_until_it_stops(bus: Any) -> None:
    owner, stop = Owning(), asyncio.Event()
    owning = asyncio.create_task(bus.own("sink", ["events", "control"], owner, stop))
    async with asyncio.timeout(30):
        while len(owner.shards) < 3:
            await owner.changed.wait()
            owner.changed.clear()
    assert owner.shards == {EVENTS0, EVENTS1, Shard("control", 0)}
    stop.set()
    await owning
    assert owner.shards == set()


@pytest.mark.parametrize("shard", [Shard("events", 2), Shard("events", -1), Shard("none", 0)])
async def test_shards_that_are_not_there(bus: Any, shard: Shard) -> None:
    for ask in (
        bus.bounds(shard),
        bus.read(shard, Offset(0), max_records=1, max_bytes=1),
        bus.wait(shard, Offset(0), 1),
        bus.commit("sink", shard, Offset(0)),
    ):
        with pytest.raises(ConfigurationError, match="has no shard"):
            await ask
    with pytest.raises(ConfigurationError, match="has no topic 'none'"):
        await bus.append([message(0), message(1, topic="none")])
    assert (await bus.bounds(EVENTS0)).end == (await bus.bounds(EVENTS1)).end == 0


BYTES = st.binary(max_size=40)
NAMES = st.sampled_from(["c", "id", "k", "s", "x"]) | st.text(max_size=5)
VALUES = BYTES | st.just(COMMITMENTS) | st.just(bytes(16)) | st.just(PRINT) | st.just(b"\x01")
FOREIGN = st.builds(Foreign, st.just("events"), BYTES, BYTES, st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple))
OURS = st.builds(
    Outgoing,
    st.just("events"),
    BYTES,
    BYTES,
    st.integers(0, 255),
    st.binary(min_size=16, max_size=16),
    st.integers(1, 32).map(lambda count: pack_commitments([(kind, os.urandom(32)) for kind in range(1, count + 1)])),
    st.just(PRINT) | st.binary(min_size=8, max_size=8),
)


@given(batches=st.lists(st.lists(FOREIGN | OURS, min_size=1, max_size=6), max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_messages_read_the_same_as_from_memory(
    make: Callable[[str], Any], clock: Clock, batches: list[list[Outgoing | Foreign]]
) -> None:
    bus, reference = make(os.urandom(8).hex()), MemoryBus(clock=clock)
    try:
        for batch in batches:
            assert await bus.append(batch) == await reference.append(batch)
        for shard in (EVENTS0, EVENTS1):
            for values in (True, False):
                assert await read_all(bus, shard, values=values) == await read_all(reference, shard, values=values)
    finally:
        await bus.close()
