"""The runner over the reference sink: what it does with every outcome, with a full bus, and with a stop."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fake_clock import FakeClock, eventually
from faults import Fault, Faults, FaultyBus
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from memory_sink import Destination, MemorySink
from sealed_records import sealed, strays

from schemas.errors import (
    ConfigurationError,
    EvidenceIncomplete,
    InvariantError,
    LedgerContradiction,
    LimitExceeded,
    Unavailable,
)
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from sinks.contract import Limits, More, Outcome, Pause, Retry
from sinks.deadletter import decode_deadletter
from sinks.runner import Runner
from sinks.snapshot import ShardSnapshot
from stores.bus import Bus, Message, Position

FIRST = Shard(EVENTS, 0)
ONE_SHARD = {EVENTS: 1, CONTROL: 1, DEADLETTER: 1}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus(ONE_SHARD)


@asynccontextmanager
async def running(runner: Runner, clock: FakeClock | None = None) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        runner.stop()
        await eventually(task.done, clock)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def run_until_failed(runner: Runner, clock: FakeClock, condition: Callable[[], bool] = lambda: True) -> None:
    """Run until a shard has failed and ``condition`` holds, then stop, and raise what :meth:`Runner.run` raises."""
    async with running(runner, clock):
        await eventually(lambda: not runner.snapshot().healthy and condition(), clock)


def only(runner: Runner, shard: Shard = FIRST) -> ShardSnapshot:
    (found,) = [snapshot for snapshot in runner.snapshot().shards if snapshot.shard == shard]
    return found


def runner_of(sink: MemorySink, bus: Bus, clock: FakeClock, **options: Any) -> Runner:
    return Runner(sink, bus, clock=clock, rng=random.Random(1), **options)


def of(destination: Destination, shard: Shard = FIRST) -> list[int]:
    return [record.offset for record in destination.scan(shard, Offset(0), Offset(1 << 40))]


async def letters(bus: MemoryBus) -> list[Message]:
    return await bus.read(Shard(DEADLETTER, 0), Offset(0), max_records=1000, max_bytes=1 << 30)


async def fill(bus: Bus, count: int, *, start: int = 0) -> None:
    await bus.append(sealed(MemoryKeys(), count, start=start))


async def test_everything_arrives_once_and_in_order(clock: FakeClock) -> None:
    bus, destination = MemoryBus({EVENTS: 3, CONTROL: 1, DEADLETTER: 1}), Destination()
    sink = MemorySink(destination, limits=Limits(7, 1 << 20, 0.0))
    await fill(bus, 100)
    await bus.append(sealed(MemoryKeys(), 5, topic=CONTROL))
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().delivered == 105, clock)
        await fill(bus, 50, start=100)
        await eventually(lambda: runner.snapshot().delivered == 155, clock)
    for shard in [*await bus.shards(EVENTS), *await bus.shards(CONTROL)]:
        end = (await bus.bounds(shard)).end
        assert of(destination, shard) == list(range(end))
        assert await bus.committed("memory", shard) == (end or None)
    assert runner.snapshot().lag == 0
    assert all(count <= 7 for _, _, count in sink.batches)
    assert {len(threads) for threads in sink.threads.values()} == {1}
    assert (sink.opened, sink.closed) == (1, 1)


async def test_the_destination_and_not_the_bus_says_where_to_resume(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    await fill(bus, 10)
    await bus.commit("memory", FIRST, Offset(8))
    destination.passed[FIRST] = 3
    runner = runner_of(MemorySink(destination), bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().delivered == 7, clock)
    assert of(destination) == list(range(3, 10))


async def test_a_batch_waits_for_its_linger_and_no_longer(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    runner = runner_of(MemorySink(destination, limits=Limits(10, 1 << 20, 8.0)), bus, clock)
    async with running(runner, clock):
        await eventually(lambda: bool(runner.snapshot().shards))
        await fill(bus, 3)
        await eventually(lambda: clock.asleep > 0)
        begun = clock.monotonic()
        await fill(bus, 3, start=3)
        await eventually(lambda: len(of(destination)) == 6, clock)
        assert clock.monotonic() - begun == pytest.approx(8.0)
        await fill(bus, 12, start=6)  # a full batch does not wait
        await eventually(lambda: len(of(destination)) == 16)


async def test_batches_are_bounded_in_bytes_and_shards_share_the_memory(clock: FakeClock) -> None:
    bus, sink = MemoryBus({EVENTS: 2, CONTROL: 1, DEADLETTER: 1}), MemorySink(Destination())
    messages = sealed(MemoryKeys(), 60)
    largest = max(len(message.value) for message in messages)
    await bus.append(messages)
    runner = runner_of(sink, bus, clock, memory_bytes=2 * 3 * 4 * largest)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().delivered == 60, clock)
    assert 1 < max(count for _, _, count in sink.batches) <= 6


async def test_retry_sends_the_same_batch_after_growing_waits(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    sink = MemorySink(destination)
    sink.script = [Retry("busy", 2.0) for _ in range(12)]
    await fill(bus, 5)
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: len(sink.batches) == 4, clock)
        shard = only(runner)
        assert (shard.state, shard.position, shard.lag) == ("retrying", 0, 5)
        assert (shard.last_error, shard.last_reason) == ("Retry", "busy")
        await eventually(lambda: runner.snapshot().delivered == 5, clock)
        waits = [seconds for seconds in clock.slept if seconds >= 2.0]
    assert set(sink.batches) == {(FIRST, 0, 5)}
    assert runner.snapshot().retries == 12
    assert len(waits) == 12
    assert all(2.0 <= wait <= 2.0 + min(30.0, 0.25 * 2**tries) for tries, wait in enumerate(waits))
    assert max(waits) > 10.0
    assert of(destination) == list(range(5))


async def test_pause_is_loud_keeps_the_position_and_probes(
    bus: MemoryBus, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    destination = Destination()
    sink = MemorySink(destination)
    sink.script = [Pause("the token was revoked", 30.0)] * 3
    await fill(bus, 5)
    begun = clock.time()
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: clock.asleep > 0)
        await fill(bus, 4, start=5)
        clock.skip()
        await eventually(lambda: len(sink.batches) == 2 and clock.asleep > 0)
        shard = only(runner)
        assert (shard.state, shard.position, shard.lag) == ("paused", 0, 9)
        assert shard.paused_since == begun
        assert not runner.snapshot().healthy
        await eventually(lambda: runner.snapshot().delivered == 9, clock)
        shard = only(runner)
        assert (shard.state, shard.paused_since) == ("running", None)
    assert clock.slept.count(30.0) == 3
    assert "paused at offset 0, needs a person: the token was revoked" in caplog.text
    assert of(destination) == list(range(9))


async def test_a_rejected_record_goes_to_the_dead_letter_whole(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    sink = MemorySink(destination)
    sink.rejects = lambda message: "odd one" if message.offset % 4 == 3 else None
    await fill(bus, 10)
    await bus.append([*strays()])
    there = await bus.read(FIRST, Offset(0), max_records=100, max_bytes=1 << 30)
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().lag == 0 and runner.snapshot().rejected == 3, clock)
    assert of(destination) == [offset for offset in range(15) if offset % 4 != 3]
    found = [decode_deadletter(message.value) for message in await letters(bus)]
    assert [letter.message for letter in found] == [there[3], there[7], there[11]]
    assert {(letter.sink, letter.reason, letter.rejected_ms, letter.whole) for letter in found} == {
        ("memory", "odd one", int(clock.time() * 1000), True)
    }


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
async def test_a_position_never_passes_a_dead_letter_that_is_not_written(
    bus: MemoryBus, clock: FakeClock, fault: Fault
) -> None:
    destination = Destination()
    sink = MemorySink(destination)
    sink.rejects = lambda message: "odd one" if message.offset == 2 else None
    await fill(bus, 5)
    faulty = FaultyBus(bus, Faults({1: fault, 2: fault}))
    runner = runner_of(sink, faulty, clock)  # type: ignore[arg-type]
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().retries == 1 and clock.asleep > 0)
        assert runner.snapshot().lag == 5
        await eventually(lambda: runner.snapshot().rejected == 1, clock)
    offsets = [decode_deadletter(message.value).message.offset for message in await letters(bus)]
    assert offsets == [2] * (1 if fault is Fault.LOST else 3)
    assert of(destination) == [0, 1, 3, 4]


async def test_a_dead_letter_that_the_bus_finds_too_large_keeps_the_address(clock: FakeClock) -> None:
    class NarrowBus(MemoryBus):
        async def append(self, messages: Sequence[Any]) -> list[Position]:
            if any(message.topic == DEADLETTER and len(message.value) > 500 for message in messages):
                raise LimitExceeded("got a message that is too large")
            return await super().append(messages)

    bus, sink = NarrowBus(ONE_SHARD), MemorySink(Destination())
    sink.rejects = lambda message: "odd one" if message.offset == 2 else None
    await fill(bus, 5)
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().rejected == 1, clock)
    (letter,) = [decode_deadletter(message.value) for message in await letters(bus)]
    assert (letter.whole, letter.message.value) == (False, b"")
    assert (letter.message.shard, letter.message.offset) == (FIRST, 2)


async def test_a_gap_on_the_bus_stops_its_shard_and_no_other(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    class HoledBus(MemoryBus):
        async def read(self, shard: Shard, offset: Offset, **options: Any) -> list[Message]:
            found = await super().read(shard, offset, **options)
            return [message for message in found if (message.shard, message.offset) != (FIRST, 4)]

    bus, destination = HoledBus({EVENTS: 2, CONTROL: 1, DEADLETTER: 1}), Destination()
    other = Shard(EVENTS, 1)
    await fill(bus, 40)
    runner = runner_of(MemorySink(destination, limits=Limits(2, 1 << 20, 0.0)), bus, clock)
    end = (await bus.bounds(other)).end
    with pytest.raises(InvariantError, match="got events/0 offset 5 from the bus, expected events/0 offset 4"):
        await run_until_failed(runner, clock, lambda: of(destination, other) == list(range(end)))
    assert (only(runner).state, only(runner, other).state) == ("failed", "stopped")
    assert of(destination) == [0, 1, 2, 3]
    assert "stopped at offset 4" in caplog.text


@pytest.mark.parametrize("error", [InvariantError("an impossible state"), ValueError("a bug")])
async def test_what_no_sink_may_raise_stops_the_shard(bus: MemoryBus, clock: FakeClock, error: Exception) -> None:
    sink = MemorySink(Destination())
    sink.script = [error]
    await fill(bus, 5)
    runner = runner_of(sink, bus, clock)
    with pytest.raises(type(error), match=str(error)):
        await run_until_failed(runner, clock)
    assert (only(runner).last_error, only(runner).position) == (type(error).__name__, 0)


async def test_a_destination_ahead_of_the_bus_is_a_contradiction(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    destination.passed[FIRST] = 11
    await fill(bus, 10)
    with pytest.raises(LedgerContradiction, match="ends at offset 11 and the bus at 10"):
        await run_until_failed(runner_of(MemorySink(destination), bus, clock), clock)


async def test_records_that_left_the_bus_undelivered_are_reported(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    destination.passed[FIRST] = 4
    await fill(bus, 10)
    bus.trim(FIRST, Offset(6))
    with pytest.raises(EvidenceIncomplete, match="ends at offset 4 and the bus begins at 6"):
        await run_until_failed(runner_of(MemorySink(destination), bus, clock), clock)


async def test_a_new_destination_begins_where_the_bus_begins(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    await fill(bus, 10)
    bus.trim(FIRST, Offset(6))
    runner = runner_of(MemorySink(destination), bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().delivered == 4, clock)
    assert of(destination) == [6, 7, 8, 9]


class BlockingSink(MemorySink):
    """Stays in ``deliver`` until it is let go."""

    def __init__(self, destination: Destination, **options: Any) -> None:
        super().__init__(destination, **options)
        self.inside, self.go_on = threading.Event(), threading.Event()

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        self.inside.set()
        assert self.go_on.wait(30), "nobody let the sink go on"
        return super().deliver(shard, batch)


async def test_one_batch_is_read_ahead_and_no_more(clock: FakeClock) -> None:
    read: list[int] = []

    class WatchedBus(MemoryBus):
        async def read(self, shard: Shard, offset: Offset, **options: Any) -> list[Message]:
            found = await super().read(shard, offset, **options)
            read.extend(message.offset for message in found if shard == FIRST)
            return found

    bus, sink = WatchedBus(ONE_SHARD), BlockingSink(Destination(), limits=Limits(3, 1 << 20, 0.0))
    await fill(bus, 30)
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(sink.inside.is_set)
        await eventually(lambda: read == [0, 1, 2, 3, 4, 5])
        for _ in range(50):
            await asyncio.sleep(0)
        assert read == [0, 1, 2, 3, 4, 5]
        sink.go_on.set()
        await eventually(lambda: runner.snapshot().delivered == 30, clock)


async def test_a_stop_delivers_what_is_gathered(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    sink = MemorySink(destination, limits=Limits(100, 1 << 20, 300.0))
    await fill(bus, 5)
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: clock.asleep > 0)
        assert of(destination) == []
    assert of(destination) == list(range(5))
    assert sink.closed == 1
    assert {shard.state for shard in runner.snapshot().shards} == {"stopped"}


async def test_a_stop_finishes_what_is_in_flight(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    sink = BlockingSink(destination)
    await fill(bus, 5)
    runner = runner_of(sink, bus, clock, stop_seconds=10.0)
    task = asyncio.create_task(runner.run())
    await eventually(sink.inside.is_set)
    runner.stop()
    await eventually(lambda: 10.0 in clock.slept)
    clock.advance(9.0)
    sink.go_on.set()
    await eventually(task.done)
    assert task.exception() is None
    assert of(destination) == list(range(5))
    assert sink.closed == 1


async def test_a_call_that_hangs_is_left_behind_at_the_deadline(
    bus: MemoryBus, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    sink = BlockingSink(Destination())
    await fill(bus, 5)
    runner = runner_of(sink, bus, clock, stop_seconds=10.0)
    async with running(runner, clock):
        await eventually(sink.inside.is_set)
    assert sink.closed == 0
    assert "still busy at the deadline" in caplog.text
    sink.go_on.set()


@pytest.mark.parametrize("outcome", [Retry("down", 1.0), Pause("refused", 30.0)])
async def test_a_stop_does_not_wait_for_a_destination_that_is_down(
    bus: MemoryBus, clock: FakeClock, outcome: Outcome
) -> None:
    destination = Destination()
    sink = MemorySink(destination)
    sink.script = [outcome] * 1000
    await fill(bus, 5)
    runner = runner_of(sink, bus, clock, stop_seconds=10.0)
    async with running(runner, clock):
        await eventually(lambda: clock.asleep > 0)
        begun = clock.monotonic()
    assert clock.monotonic() - begun <= 10.0
    assert of(destination) == []
    assert sink.closed == 1


async def test_a_sink_may_ask_for_a_longer_batch(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    sink = MemorySink(destination, limits=Limits(4, 1 << 20, 0.0))
    sink.script = [More(Offset(11))]
    await fill(bus, 20)
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().delivered == 20, clock)
    assert sink.batches[:3] == [(FIRST, 0, 4), (FIRST, 0, 11), (FIRST, 11, 4)]
    assert of(destination) == list(range(20))


async def test_a_sink_that_asks_for_what_the_bus_lost_stops_the_shard(bus: MemoryBus, clock: FakeClock) -> None:
    sink = MemorySink(Destination())
    sink.script = [More(Offset(11))]
    await fill(bus, 10)
    runner = runner_of(sink, bus, clock)
    with pytest.raises(InvariantError, match="the bus ends at 10, expected 11"):
        await run_until_failed(runner, clock)


async def test_a_bus_that_is_away_is_asked_again(bus: MemoryBus, clock: FakeClock) -> None:
    class SlowStart(MemoryBus):
        failures = 0

        async def read(self, shard: Shard, offset: Offset, **options: Any) -> list[Message]:
            if shard == FIRST and self.failures < 5:
                self.failures += 1
                raise Unavailable("the bus is away")
            return await super().read(shard, offset, **options)

    bus, destination = SlowStart(ONE_SHARD), Destination()
    await fill(bus, 5)
    runner = runner_of(MemorySink(destination), bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().retries == 1 and clock.asleep > 0)
        shard = only(runner)
        assert (shard.state, shard.last_error) == ("retrying", "Unavailable")
        await eventually(lambda: runner.snapshot().delivered == 5, clock)
    assert runner.snapshot().retries == 5
    assert of(destination) == list(range(5))


async def test_a_sink_that_comes_up_late_is_opened_again(bus: MemoryBus, clock: FakeClock) -> None:
    class LateSink(MemorySink):
        def open(self) -> None:
            super().open()
            if self.opened < 4:
                raise Unavailable("not up yet")

    destination = Destination()
    sink = LateSink(destination)
    await fill(bus, 5)
    async with running(runner_of(sink, bus, clock), clock):
        await eventually(lambda: len(of(destination)) == 5, clock)
    assert sink.opened == 4


async def test_a_sink_that_cannot_be_opened_refuses_the_start(bus: MemoryBus, clock: FakeClock) -> None:
    class BrokenSink(MemorySink):
        def open(self) -> None:
            raise ConfigurationError("no such bucket: create it")

    with pytest.raises(ConfigurationError, match="no such bucket: create it"):
        await runner_of(BrokenSink(Destination()), bus, clock).run()


async def test_a_lost_hint_does_no_harm(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    await fill(bus, 5)
    faulty = FaultyBus(bus, Faults({1: Fault.LOST}))
    runner = runner_of(MemorySink(destination), faulty, clock)  # type: ignore[arg-type]
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().delivered == 5, clock)
    assert await bus.committed("memory", FIRST) is None
    assert of(destination) == list(range(5))


async def test_a_runner_that_is_stopped_before_it_runs_does_nothing(bus: MemoryBus, clock: FakeClock) -> None:
    sink = MemorySink(Destination())
    runner = runner_of(sink, bus, clock)
    runner.stop()
    await runner.run()
    assert sink.opened == 0
    assert runner.snapshot().shards == ()


async def test_a_restart_begins_with_the_batch_whose_letters_may_be_missing(bus: MemoryBus, clock: FakeClock) -> None:
    """The destination has taken a batch, and the process died before the dead letter and the hint."""
    destination = Destination()
    await fill(bus, 30)
    there = await bus.read(FIRST, Offset(0), max_records=100, max_bytes=1 << 30)
    rejects = {12, 25}

    def restarted() -> MemorySink:
        sink = MemorySink(destination, limits=Limits(10, 1 << 20, 0.0))
        sink.rejects = lambda message: "odd one" if message.offset in rejects else None
        return sink

    for start in (0, 10, 20):
        restarted().deliver(FIRST, there[start : start + 10])
    await bus.commit("memory", FIRST, Offset(20))
    sink = restarted()
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().lag == 0 and runner.snapshot().delivered > 0, clock)
    assert sink.batches == [(FIRST, 20, 10)]
    assert [decode_deadletter(message.value).message.offset for message in await letters(bus)] == [25]
    assert of(destination) == [offset for offset in range(30) if offset not in rejects]
    sink = restarted()
    async with running(runner_of(sink, bus, clock), clock):
        await eventually(lambda: sink.opened == 1, clock)
    assert sink.batches == []


async def test_a_restart_without_a_hint_begins_one_batch_back(bus: MemoryBus, clock: FakeClock) -> None:
    destination = Destination()
    await fill(bus, 30)
    there = await bus.read(FIRST, Offset(0), max_records=100, max_bytes=1 << 30)
    MemorySink(destination).deliver(FIRST, there)
    sink = MemorySink(destination, limits=Limits(7, 1 << 20, 0.0))
    runner = runner_of(sink, bus, clock)
    async with running(runner, clock):
        await eventually(lambda: runner.snapshot().lag == 0 and runner.snapshot().delivered > 0, clock)
    assert sink.batches == [(FIRST, 23, 7)]
    assert of(destination) == list(range(30))
