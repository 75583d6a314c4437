"""Several runners of one sink: shards move between them, and each offset arrives exactly once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from fake_clock import eventually
from faults import Fault, Faults, FaultyBus, FaultyObjects
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from memory_sink import Destination, MemorySink
from sealed_records import sealed
from shared_bus import SharedBus

from schemas.errors import InvariantError, LedgerContradiction, Unavailable
from schemas.evidence import EvidenceSource
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from sinks.archive import ArchiveEvidence, ArchiveSink, verify_listing
from sinks.contract import Limits, Outcome, Retry, Sink
from sinks.runner import Runner
from stores.bus import Message

PARTITIONS = {EVENTS: 3, CONTROL: 1, DEADLETTER: 1}
LIMITS = Limits(5, 1 << 20, 0.0)
KEYS = MemoryKeys()
RECORDS = sealed(KEYS, 300)


@asynccontextmanager
async def running(*runners: Runner, drain: bool = False) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(runner.run()) for runner in runners]
    try:
        yield tasks
    finally:
        for runner in runners:
            runner.stop(drain=drain)
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error


def runner_of(sink: Sink, bus: Any, **options: Any) -> Runner:
    return Runner(sink, bus, rng=random.Random(1), **options)


def owned(runner: Runner) -> set[Shard]:
    return {item.shard for item in runner.snapshot().shards if item.owned}


async def shards_of(bus: MemoryBus) -> list[Shard]:
    return [*await bus.shards(EVENTS), *await bus.shards(CONTROL)]


async def complete(bus: MemoryBus, evidence: EvidenceSource) -> None:
    """Each offset of the bus exactly once, with its exact bytes."""
    for shard in await shards_of(bus):
        there = await bus.read(shard, Offset(0), max_records=10_000, max_bytes=1 << 30)
        found = [(item.offset, item.record) for item in evidence.scan(shard, Offset(0), Offset(1 << 40))]
        assert found == [(message.offset, message.value) for message in there]


async def delivered(bus: MemoryBus, evidence: EvidenceSource) -> None:
    ends = {shard: (await bus.bounds(shard)).end for shard in await shards_of(bus)}
    await eventually(lambda: all(evidence.end(shard) >= end for shard, end in ends.items()), seconds=60)


async def test_shards_are_shared_and_come_back() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    first, second = (runner_of(MemorySink(destination, limits=LIMITS), bus) for _ in range(2))
    async with running(first):
        await eventually(lambda: len(owned(first)) == 4)
        await bus.append(RECORDS[:100])
        async with running(second):
            await eventually(lambda: len(owned(first)) == 3 and len(owned(second)) == 1)
            assert not owned(first) & owned(second)
            assert first.opened
            assert second.opened
            await bus.append(RECORDS[100:200])
            await delivered(bus, destination)
        assert {item.owned for item in second.snapshot().shards} == {False}
        await eventually(lambda: len(owned(first)) == 4)
        await bus.append(RECORDS[200:])
        await delivered(bus, destination)
    await complete(bus, destination)
    assert first.snapshot().delivered + second.snapshot().delivered == 300


async def test_totals_never_fall_when_a_shard_leaves() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    first, second = (runner_of(MemorySink(destination, limits=LIMITS), bus) for _ in range(2))
    await bus.append(RECORDS)
    async with running(first):
        await eventually(lambda: first.snapshot().delivered == 300)
        before = first.snapshot()
        async with running(second):
            await eventually(lambda: len(owned(second)) == 1)
            after = first.snapshot()
            assert (after.delivered, after.batches, after.bytes) == (300, before.batches, before.bytes)
            assert {item.shard for item in after.former} == owned(second)
    assert first.snapshot().bytes == sum(len(message.value) for message in RECORDS)
    assert first.snapshot().deliver_seconds > 0
    for item in first.snapshot().shards:
        assert item.delivered == 0 or 1 <= item.last_records <= 5
        assert item.batches >= item.delivered / 5


async def test_a_shard_that_is_added_is_taken() -> None:
    bus, destination = SharedBus({EVENTS: 1, CONTROL: 1, DEADLETTER: 1}), Destination()
    runner = runner_of(MemorySink(destination, limits=LIMITS), bus)
    async with running(runner):
        await eventually(lambda: len(owned(runner)) == 2)
        await bus.grow(EVENTS, 4)
        assert len(owned(runner)) == 5
        await bus.append(RECORDS)
        await delivered(bus, destination)
    await complete(bus, destination)


async def test_a_bus_that_cannot_share_is_asked_again() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    bus.refusals = 2
    runner = runner_of(MemorySink(destination, limits=LIMITS), bus)
    await bus.append(RECORDS[:100])
    async with running(runner):
        await delivered(bus, destination)
        bus.fail(refusals=1)
        await eventually(lambda: owned(runner) == set())
        await bus.append(RECORDS[100:])
        await delivered(bus, destination)
    await complete(bus, destination)
    assert bus.refusals == 0


async def test_a_bus_that_forgets_to_take_back_what_it_lost() -> None:
    """``own`` raises without giving up: nothing is owned any more, says the contract, so nothing may go on."""

    class Rude(MemoryBus):
        calls = 0

        async def own(self, group: str, topics: Sequence[str], owner: Any, stop: asyncio.Event) -> None:
            self.calls += 1
            if self.calls == 1:
                await owner.take([Shard(EVENTS, 0)])
                raise Unavailable("gone", retry_after=0.0)
            await stop.wait()

    bus = Rude(PARTITIONS)
    runner = runner_of(MemorySink(Destination()), bus)
    async with running(runner):
        await eventually(lambda: bus.calls == 2)
        assert owned(runner) == set()


async def test_a_stop_while_the_bus_cannot_share_ends() -> None:
    bus = SharedBus(PARTITIONS)
    bus.refusals = 1 << 30
    runner = runner_of(MemorySink(Destination()), bus)
    async with running(runner):
        await eventually(lambda: bus.refusals < 1 << 30)
    assert runner.snapshot().shards == ()


class Gate(MemorySink):
    """Stays in ``deliver`` until it is let go; ``inside`` counts who is in there, by shard."""

    def __init__(self, destination: Destination, **options: Any) -> None:
        super().__init__(destination, **options)
        self.inside: list[Shard] = []
        self.go_on = threading.Event()

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        self.inside.append(shard)
        assert self.go_on.wait(30), "nobody let the sink go on"
        return super().deliver(shard, batch)


async def test_giving_up_waits_for_what_is_in_flight() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    slow = Gate(destination, limits=LIMITS)
    first, second = runner_of(slow, bus), runner_of(MemorySink(destination, limits=LIMITS), bus)
    await bus.append(RECORDS[:60])
    async with running(first):
        await eventually(lambda: len(slow.inside) >= 3)
        async with running(second):
            await eventually(lambda: len(bus.owned("memory")) == 2)
            for _ in range(20):
                await asyncio.sleep(0.001)
                assert owned(second) == set()
            slow.go_on.set()
            await delivered(bus, destination)
    await complete(bus, destination)


async def test_a_call_that_hangs_is_left_behind_and_its_shard_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    bus, destination = SharedBus({EVENTS: 1, CONTROL: 1, DEADLETTER: 1}), Destination()
    slow = Gate(destination, limits=LIMITS)
    runner = runner_of(slow, bus, give_up_seconds=0.05)
    await bus.append(RECORDS[:20])
    async with running(runner):
        await eventually(lambda: len(slow.inside) == 1)
        bus.fail()
        await eventually(lambda: "left behind" in caplog.text)
        await eventually(lambda: len(owned(runner)) == 2)
        await eventually(lambda: "waits for a call" in caplog.text)
        assert slow.inside == [Shard(EVENTS, 0)]
        assert slow.closed == 0
        slow.go_on.set()
        await delivered(bus, destination)
    await complete(bus, destination)
    assert slow.closed == 1


async def test_a_lane_that_waits_for_the_bus_is_cancelled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(MemoryBus):
        async def read(self, shard: Shard, offset: Offset, **options: Any) -> list[Message]:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr("sinks.lanes.LATE_SECONDS", 0.05)
    bus, sink = Stuck(PARTITIONS), MemorySink(Destination())
    runner = runner_of(sink, bus, stop_seconds=0.05)
    async with running(runner):
        await eventually(lambda: len(owned(runner)) == 4)
        await eventually(lambda: all(item.state == "running" for item in runner.snapshot().shards))
    assert "is cancelled while it waits for the bus" in caplog.text
    assert sink.closed == 1


async def test_a_failed_shard_shows_until_it_is_given_up() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    sink = MemorySink(destination, limits=LIMITS)
    sink.script = [InvariantError("an impossible state")]
    first, second = runner_of(sink, bus), runner_of(MemorySink(destination, limits=LIMITS), bus)
    await bus.append(RECORDS[:1])
    (failed,) = [shard for shard in await shards_of(bus) if (await bus.bounds(shard)).end]
    async with running(first):
        await eventually(lambda: not first.snapshot().healthy)
        assert failed in owned(first)
        async with running(second):
            rng = random.Random(1)
            while failed not in owned(second):
                await bus.move(rng)
            assert first.snapshot().healthy
            await delivered(bus, destination)
    await complete(bus, destination)


async def test_a_stop_that_drains_delivers_what_was_on_the_bus() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    sink = MemorySink(destination, limits=Limits(7, 1 << 20, 300.0))
    runner = runner_of(sink, bus)
    async with running(runner, drain=True):
        await eventually(lambda: len(owned(runner)) == 4)
        await bus.append(RECORDS)
    await complete(bus, destination)
    assert sink.closed == 1
    assert {item.state for item in runner.snapshot().shards} == {"stopped"}


async def test_a_stop_that_does_not_drain_delivers_what_is_gathered_alone() -> None:
    bus, destination = MemoryBus({EVENTS: 1, CONTROL: 1, DEADLETTER: 1}), Destination()
    slow = Gate(destination, limits=LIMITS)
    runner = runner_of(slow, bus)
    await bus.append(RECORDS[:100])
    async with running(runner):
        await eventually(lambda: len(slow.inside) == 1)
        slow.go_on.set()
        runner.stop()
    assert 5 <= destination.end(Shard(EVENTS, 0)) <= 20


async def test_a_drain_begins_before_the_destination_is_known() -> None:
    """A runner that is told to stop as soon as it runs still delivers everything."""
    bus, destination = SharedBus(PARTITIONS), Destination()
    runner = runner_of(MemorySink(destination, limits=LIMITS), bus)
    await bus.append(RECORDS)
    async with running(runner, drain=True):
        await eventually(lambda: runner.opened)
    await complete(bus, destination)


async def test_a_drain_ends_when_its_time_is_up() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    sink = MemorySink(destination, limits=LIMITS)
    sink.script = [Retry("down", 0.01)] * 10_000
    runner = runner_of(sink, bus, stop_seconds=0.3)
    await bus.append(RECORDS)
    async with running(runner, drain=True):
        await eventually(lambda: runner.snapshot().retries > 0)
    assert destination.end(Shard(EVENTS, 0)) == 0
    assert sink.closed == 1


async def test_a_drain_touches_owned_shards_alone() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    slow = Gate(destination, limits=LIMITS)
    other = runner_of(slow, bus)
    async with running(other):
        await eventually(lambda: len(owned(other)) == 4)
        mine = runner_of(MemorySink(destination, limits=Limits(5, 1 << 20, 300.0)), bus)
        async with running(mine, drain=True):
            await eventually(lambda: len(owned(mine)) == 1 and len(owned(other)) == 3)
            (shard,) = owned(mine)
            await bus.append(RECORDS)
            end = (await bus.bounds(shard)).end
            assert end > 5
        assert destination.end(shard) == end
        assert {found for found, messages in destination.records.items() if messages} == {shard}
        slow.go_on.set()
        await delivered(bus, destination)
    await complete(bus, destination)


@given(seed=st.integers(0, 2**32), runners=st.integers(2, 3), moves=st.integers(1, 8), faulty=st.booleans())
@settings(max_examples=25, deadline=None)
def test_however_shards_move_each_offset_arrives_once(seed: int, runners: int, moves: int, faulty: bool) -> None:
    asyncio.run(_shuffle(seed, runners, moves, faulty))


async def _shuffle(seed: int, count: int, moves: int, faulty: bool) -> None:
    """Shards move, processes join and leave, the coordinator fails, batches differ, and hints get lost."""
    rng = random.Random(seed)
    bus, destination = SharedBus(PARTITIONS), Destination()
    faults = Faults({number: Fault.LOST for number in range(1, 400) if faulty and rng.random() < 0.2})

    def runner() -> Runner:
        shared: Any = FaultyBus(bus, faults)
        return runner_of(MemorySink(destination, limits=Limits(rng.randint(1, 9), 1 << 20, 0.0)), shared)

    runners = [runner() for _ in range(count)]
    tasks = [asyncio.create_task(item.run()) for item in runners]
    for at in range(moves):
        await bus.append(RECORDS[at * 30 : at * 30 + 30])
        await asyncio.sleep(rng.random() * 0.01)
        match rng.randrange(4):
            case 0 | 1:
                await bus.move(rng)
            case 2:
                bus.fail()
            case _:
                runners[0].stop(drain=rng.random() < 0.5)
                await tasks.pop(0)
                runners = [*runners[1:], runner()]
                tasks.append(asyncio.create_task(runners[-1].run()))
    await delivered(bus, destination)
    for item in runners:
        item.stop()
    await asyncio.gather(*tasks)
    await complete(bus, destination)


@pytest.mark.parametrize("seed", range(4))
async def test_the_archive_moves_between_processes_that_fail(seed: int) -> None:
    """Writes of the store get lost, or are reported as lost, while shards move between two archives."""
    rng = random.Random(seed)
    bus, objects = SharedBus(PARTITIONS), MemoryObjects()
    faults = Faults(
        {number: rng.choice([Fault.LOST, Fault.REPORTED]) for number in range(1, 2000) if rng.random() < 0.05}
    )
    runners = []
    for _ in range(2):
        store: Any = FaultyObjects(objects, faults)
        runners.append(runner_of(ArchiveSink(store, limits=Limits(rng.randint(3, 20), 1 << 20, 0.0)), bus))
    async with running(*runners):
        for at in range(10):
            await bus.append(RECORDS[at * 30 : at * 30 + 30])
            await asyncio.sleep(0.002)
            await bus.move(rng)
        await eventually(lambda: sum(item.lag for runner in runners for item in runner.snapshot().shards) == 0)
        await delivered(bus, ArchiveEvidence(objects))
        await eventually(
            lambda: all(item.state == "running" for runner in runners for item in runner.snapshot().shards)
        )
    await complete(bus, ArchiveEvidence(objects))
    verify_listing(objects)


async def test_a_topic_that_is_created_again_stops_its_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.reader.IDLE_SECONDS", 0.02)
    bus = SharedBus(PARTITIONS)
    runner = runner_of(MemorySink(Destination(), limits=LIMITS), bus)

    async def scene() -> None:
        async with running(runner):
            await bus.append(RECORDS[:50])
            await eventually(lambda: runner.snapshot().delivered == 50)
            bus.recreate(EVENTS)
            await eventually(lambda: [item.state for item in runner.snapshot().shards].count("failed") == 3)
            assert [item.state for item in runner.snapshot().shards if item.shard.topic == CONTROL] == ["running"]

    with pytest.raises(LedgerContradiction, match=r"topic events: got identity .*, expected .*: it was deleted"):
        await scene()


async def test_a_topic_that_was_created_again_is_found_when_its_shards_are_taken() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    runner = runner_of(MemorySink(destination, limits=LIMITS), bus)

    async def scene() -> None:
        async with running(runner):
            await bus.append(RECORDS[:50])
            await eventually(lambda: runner.snapshot().delivered == 50)
            bus.recreate(EVENTS)
            await bus.append(RECORDS[100:])
            bus.fail()
            await eventually(lambda: [item.state for item in runner.snapshot().shards].count("failed") == 3)

    with pytest.raises(LedgerContradiction, match="it was deleted and created again"):
        await scene()
    assert sum(map(len, destination.records.values())) == 50


@pytest.mark.parametrize("archive", [True, False])
async def test_a_topic_that_outgrew_its_former_self_is_found_by_a_new_process(archive: bool) -> None:
    """The new topic is longer than the old one was, and nothing but the destination remembers the old one."""
    bus, destination, objects = SharedBus(PARTITIONS), Destination(), MemoryObjects()

    def restarted() -> Runner:
        sink: Any = ArchiveSink(objects, limits=LIMITS) if archive else MemorySink(destination, limits=LIMITS)
        return runner_of(sink, bus)

    evidence: EvidenceSource = ArchiveEvidence(objects) if archive else destination
    await bus.append(RECORDS[:50])
    async with running(restarted()):
        await delivered(bus, evidence)
    async with running(again := restarted()):
        await eventually(lambda: sum(item.state == "running" for item in again.snapshot().shards) == 4)
    before = {shard: evidence.end(shard) for shard in await shards_of(bus)}
    bus.recreate(EVENTS)
    await bus.append(RECORDS[100:])
    runner = restarted()
    expected = r"the record at offset \d+ has commitments 0\w+… on the bus and 0\w+… in the destination: .*restore"

    async def scene() -> None:
        async with running(runner):
            await eventually(lambda: [item.state for item in runner.snapshot().shards].count("failed") == 3)

    with pytest.raises(LedgerContradiction, match=expected):
        await scene()
    assert {shard: evidence.end(shard) for shard in await shards_of(bus)} == before


async def test_a_shard_that_a_ghost_took_is_taken_back() -> None:
    """A destination that takes from one owner alone: the last one that asked where to resume."""

    class Fenced(MemorySink):
        holders: ClassVar[dict[Shard, MemorySink]] = {}

        def resume(self, shard: Shard, start: Offset) -> Offset:
            self.holders[shard] = self
            return super().resume(shard, start)

        def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
            if self.holders[shard] is not self:
                return Retry("somebody else has the shard", 0.0)
            return super().deliver(shard, batch)

    bus, destination = SharedBus(PARTITIONS), Destination()
    sink, ghost = Fenced(destination, limits=LIMITS), Fenced(destination, limits=LIMITS)
    runner = runner_of(sink, bus)
    async with running(runner):
        await bus.append(RECORDS[:40])
        await delivered(bus, destination)
        for shard in await shards_of(bus):
            ghost.resume(shard, Offset(0))
        await bus.append(RECORDS[40:])
        await delivered(bus, destination)
        await eventually(lambda: all(item.state == "running" for item in runner.snapshot().shards))
    await complete(bus, destination)
    assert runner.snapshot().retries == 3 * sum(map(bool, [(await bus.bounds(item)).end for item in sink.holders]))


async def test_a_gap_that_the_bus_reports_stops_the_shard_with_the_remedy() -> None:
    class Holed(MemoryBus):
        async def read(self, shard: Shard, offset: Offset, **options: Any) -> list[Message]:
            if shard == Shard(EVENTS, 0) and offset >= 4:
                raise LedgerContradiction(f"{shard}: goes on at offset 9, expected {offset}")
            found = await super().read(shard, offset, **options)
            return [message for message in found if shard != Shard(EVENTS, 0) or message.offset < 4]

    bus, destination = Holed({EVENTS: 1, CONTROL: 1, DEADLETTER: 1}), Destination()
    await bus.append(RECORDS[:20])
    runner = runner_of(MemorySink(destination, limits=Limits(4, 1 << 20, 0.0)), bus)

    async def scene() -> None:
        async with running(runner):
            await eventually(lambda: not runner.snapshot().healthy)
            (item,) = [item for item in runner.snapshot().shards if item.shard == Shard(EVENTS, 0)]
            assert (item.last_error, item.position) == ("LedgerContradiction", 4)
            assert "restore the missing records" in item.last_reason

    with pytest.raises(LedgerContradiction, match="goes on at offset 9, expected 4; what lies before offset 4 is"):
        await scene()


async def test_a_lane_that_starts_later_keeps_to_the_memory_that_is_left() -> None:
    """One lane fills the memory; a second shard comes, and waits until there is room for its first batch."""
    size = max(len(message.value) for message in RECORDS)
    total = 16 * size
    destination = Destination()
    gate = Gate(destination, limits=Limits(1000, 1 << 30, 0.0))
    gate.topics = (EVENTS,)
    held: list[int] = []

    class Watched(SharedBus):
        async def read(self, shard: Shard, offset: Offset, **options: Any) -> list[Message]:
            found = await super().read(shard, offset, **options)
            held.append(runner._common.budget.held)
            return found

    bus = Watched({EVENTS: 1, CONTROL: 1, DEADLETTER: 1})
    runner = runner_of(gate, bus, memory_bytes=total)
    await bus.append(RECORDS[:60])
    async with running(runner):
        await eventually(lambda: len(gate.inside) == 1)
        await eventually(lambda: runner._common.budget.held > total - 3 * size)
        await bus.grow(EVENTS, 4)
        await bus.append(RECORDS[60:])
        await asyncio.sleep(0.01)
        assert set(gate.inside) == {Shard(EVENTS, 0)}
        gate.go_on.set()
        await eventually(lambda: runner.snapshot().delivered == 300)
    assert max(held) <= total
    assert runner._common.budget.held == 0


async def test_a_snapshot_can_be_read_from_any_thread() -> None:
    bus, destination = SharedBus(PARTITIONS), Destination()
    runner = runner_of(MemorySink(destination, limits=Limits(1, 1 << 20, 0.0)), bus)
    done, seen = threading.Event(), []

    def watch() -> None:
        while not done.is_set():
            seen.append(runner.snapshot())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        async with running(runner):
            await bus.append(RECORDS[:60])
            for seed in range(10):
                await bus.move(random.Random(seed))
                bus.fail()
            await delivered(bus, destination)
    finally:
        done.set()
        watcher.join()
    totals = [snapshot.delivered for snapshot in seen]
    assert totals == sorted(totals)
    for item in (item for snapshot in seen for item in snapshot.shards):
        assert item.position <= item.end
        assert item.batches == item.delivered
