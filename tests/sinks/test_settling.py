"""The runner over a sink whose destination confirms later: the position follows what is durable, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from fake_clock import FakeClock, eventually
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from sealed_records import sealed

from schemas.errors import Unavailable
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from sinks.contract import Accepted, Limits, Outcome, Wait
from sinks.runner import Runner
from sinks.snapshot import ShardSnapshot
from stores.bus import Message

SHARD = Shard(EVENTS, 0)


class LateSink:
    """Takes at once, and confirms what ``confirm`` was called for. ``sent`` lists the offsets of every call."""

    name = "late"
    topics: tuple[str, ...] = (EVENTS,)

    def __init__(self, bus: MemoryBus) -> None:
        self.limits = Limits(10, 1 << 20, 0.0)
        self.sent: list[range] = []
        self.kept = self.durable = 0
        self.lost = self.away = False
        self.full = 0
        self.rejects: set[int] = set()
        self.letters_at_settle: list[int] = []
        self._bus = bus

    def open(self) -> None: ...

    def close(self) -> None: ...

    def resume(self, shard: Shard, start: Offset) -> Offset:
        return Offset(self.kept)

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        if self.full:
            self.full -= 1
            return Wait("enough is under way", 1.0)
        self.sent.append(range(batch[0].offset, batch[-1].offset + 1))
        return Accepted(tuple((message.offset, "odd") for message in batch if message.offset in self.rejects))

    def settle(self, shard: Shard) -> Offset | None:
        if self.away:
            raise Unavailable("the database is away")
        if self.lost:
            self.lost = False
            return None
        self.letters_at_settle.append(asyncio.run(self._bus.bounds(Shard(DEADLETTER, 0))).end)
        self.kept = self.durable
        return Offset(self.kept)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus({EVENTS: 1, CONTROL: 1, DEADLETTER: 1})


@pytest.fixture
def sink(bus: MemoryBus) -> LateSink:
    return LateSink(bus)


@asynccontextmanager
async def running(sink: LateSink, bus: MemoryBus, clock: FakeClock) -> AsyncIterator[Runner]:
    runner = Runner(sink, bus, clock=clock, rng=random.Random(1))
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        runner.stop()
        await eventually(task.done, clock)
        task.result()


def shard(runner: Runner) -> ShardSnapshot:
    return next(iter(runner.snapshot().shards))


async def test_the_position_follows_what_is_durable(sink: LateSink, bus: MemoryBus, clock: FakeClock) -> None:
    await bus.append(sealed(MemoryKeys(), 25))
    async with running(sink, bus, clock) as runner:
        await eventually(lambda: len(sink.sent) == 3 and shard(runner).unsettled == 25, clock)
        assert (shard(runner).position, shard(runner).lag) == (0, 25)
        assert await bus.committed("late", SHARD) is None
        sink.durable = 10
        await eventually(lambda: shard(runner).position == 10, clock)
        assert shard(runner).unsettled == 15
        sink.durable = 25
        await eventually(lambda: shard(runner).position == 25, clock)
    assert await bus.committed("late", SHARD) == 25
    assert sink.sent == [range(10), range(10, 20), range(20, 25)]


async def test_what_did_not_last_is_delivered_again(sink: LateSink, bus: MemoryBus, clock: FakeClock) -> None:
    await bus.append(sealed(MemoryKeys(), 25))
    async with running(sink, bus, clock) as runner:
        sink.durable = 10
        await eventually(lambda: shard(runner).position == 10 if runner.snapshot().shards else False, clock)
        sink.lost = True
        await eventually(lambda: len(sink.sent) == 5, clock)
        sink.durable = 25
        await eventually(lambda: shard(runner).position == 25, clock)
    assert sink.sent[3:] == [range(10, 20), range(20, 25)]


async def test_dead_letters_are_written_before_anything_settles(
    sink: LateSink, bus: MemoryBus, clock: FakeClock
) -> None:
    sink.rejects, sink.durable = {3}, 10
    await bus.append(sealed(MemoryKeys(), 10))
    async with running(sink, bus, clock) as runner:
        await eventually(lambda: bool(runner.snapshot().shards) and shard(runner).position == 10, clock)
        assert (shard(runner).delivered, shard(runner).rejected) == (9, 1)
    assert set(sink.letters_at_settle) == {1}


async def test_a_sink_that_is_full_is_no_error(sink: LateSink, bus: MemoryBus, clock: FakeClock) -> None:
    sink.full = 20
    await bus.append(sealed(MemoryKeys(), 5))
    async with running(sink, bus, clock) as runner:
        await eventually(lambda: len(sink.sent) == 1, clock)
        sink.durable = 5
        await eventually(lambda: shard(runner).position == 5, clock)
        assert (shard(runner).retries, shard(runner).state) == (0, "running")
    assert sink.sent == [range(5)]


async def test_a_database_that_is_away_is_asked_again(sink: LateSink, bus: MemoryBus, clock: FakeClock) -> None:
    sink.away, sink.durable = True, 5
    await bus.append(sealed(MemoryKeys(), 5))
    async with running(sink, bus, clock) as runner:
        await eventually(lambda: bool(runner.snapshot().shards) and shard(runner).retries > 2, clock)
        assert shard(runner).last_reason == "the database is away"
        sink.away = False
        await eventually(lambda: shard(runner).position == 5, clock)
    assert sink.sent == [range(5)]


async def test_a_stop_waits_for_what_is_under_way(sink: LateSink, bus: MemoryBus, clock: FakeClock) -> None:
    await bus.append(sealed(MemoryKeys(), 5))
    async with running(sink, bus, clock) as runner:
        await eventually(lambda: len(sink.sent) == 1, clock)
        runner.stop()
        await eventually(lambda: clock.asleep > 0)
        sink.durable = 5
    assert sink.kept == 5


async def test_a_stop_does_not_wait_for_ever(sink: LateSink, bus: MemoryBus, clock: FakeClock) -> None:
    await bus.append(sealed(MemoryKeys(), 5))
    begun = clock.monotonic()
    async with running(sink, bus, clock):
        await eventually(lambda: len(sink.sent) == 1, clock)
    assert clock.monotonic() - begun < 30
    assert sink.kept == 0
