"""The contract of :mod:`sinks.contract`, clause by clause, over every sink that there is."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_clock import eventually
from memory_bus import MemoryBus
from sealed_records import messages, sealed, strays
from sink_subjects import OPEN, REMEMBERING, SHARED, SUBJECTS, Subject

from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from sinks.contract import Accepted, Delivered, Limits, More, Outcome, Remembering, Retry, Settling, Sink
from sinks.deadletter import decode_deadletter
from sinks.identity import entry_commitments
from sinks.runner import Runner
from stores.bus import Message

SHARD = Shard(EVENTS, 0)
SHARDS = (SHARD, Shard(EVENTS, 1), Shard(CONTROL, 0))


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with SUBJECTS[request.param](tmp_path / "destination") as subject:
        subject.restart().open()
        yield subject


def records(subject: Subject, count: int, shard: Shard = SHARD, *, start: int = 0) -> list[Message]:
    return messages(sealed(subject.keys, count, topic=shard.topic), shard, start=start)


def deliver(sink: Sink, batch: Sequence[Message]) -> None:
    outcome = sink.deliver(batch[0].shard, batch)
    assert settled(sink, batch, outcome) == Delivered()


def settled(sink: Sink, batch: Sequence[Message], outcome: Outcome) -> Outcome:
    """What the outcome is once the destination has confirmed; for most sinks it has."""
    if not isinstance(outcome, Accepted):
        return outcome
    assert isinstance(sink, Settling)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (position := sink.settle(batch[0].shard)) is not None and position > batch[-1].offset:
            return Delivered(outcome.rejected)
        if position is None:
            return Retry("something that was sent is lost, or the position is another's")
        time.sleep(0.001)
    raise AssertionError("it did not settle")


def check(subject: Subject, batch: Sequence[Message]) -> None:
    """Every record once, in order, exact, and nothing else on its shard."""
    assert subject.held(batch[0].shard) == [
        (message.offset, message.event_id, message.value if subject.exact else b"") for message in batch
    ]


def test_the_shape(subject: Subject) -> None:
    sink = subject.restart()
    assert sink.name
    assert set(sink.topics) == {EVENTS, CONTROL}
    assert sink.limits.max_records >= 1
    assert sink.limits.max_bytes >= 1
    assert sink.limits.linger >= 0


def test_1_an_empty_destination_begins_at_the_start_given(subject: Subject) -> None:
    sink = subject.restart()
    assert [sink.resume(shard, Offset(0)) for shard in SHARDS] == [0, 0, 0]


def test_1_a_new_process_goes_on_where_the_destination_ends(subject: Subject) -> None:
    there = {shard: records(subject, 5 + 3 * at, shard) for at, shard in enumerate(SHARDS)}
    sink = subject.restart()
    for shard, batch in there.items():
        sink.resume(shard, Offset(0))
        deliver(sink, batch)
    sink = subject.restart()
    assert [sink.resume(shard, Offset(0)) for shard in SHARDS] == [5, 8, 11]


@pytest.mark.parametrize("again", [(0, 20), (0, 12), (12, 20), (5, 9), (0, 30), (12, 30), (19, 21)])
@pytest.mark.parametrize("restarted", [True, False])
def test_2_what_is_there_is_not_written_twice(subject: Subject, again: tuple[int, int], restarted: bool) -> None:
    batch = records(subject, 30)
    sink = subject.restart()
    sink.resume(SHARD, Offset(0))
    deliver(sink, batch[:12])
    deliver(sink, batch[12:20])
    sink = subject.restart() if restarted else sink
    deliver(sink, batch[slice(*again)])
    check(subject, batch[: max(20, again[1])])
    sink = subject.restart()
    deliver(sink, batch[sink.resume(SHARD, Offset(0)) :] or batch[-1:])
    check(subject, batch)


def test_2_a_restart_may_begin_before_its_position(subject: Subject) -> None:
    """As the runner does, with batches whose edges are others than before, and end within what is there."""
    batch = records(subject, 30)
    sink = subject.restart()
    sink.resume(SHARD, Offset(0))
    deliver(sink, batch[:20])
    sink = subject.restart()
    assert sink.resume(SHARD, Offset(0)) == 20
    deliver(sink, batch[10:15])
    deliver(sink, batch[15:30])
    check(subject, batch)


def test_3_batches_keep_their_order_and_any_size(subject: Subject) -> None:
    batch = records(subject, 60)
    sink = subject.restart()
    position = int(sink.resume(SHARD, Offset(0)))
    rng = random.Random(60)
    while position < 60:
        size = rng.choice([1, 1, 2, 5, 13])
        deliver(sink, batch[position : position + size])
        position = min(60, position + size)
    check(subject, batch)


def test_3_shards_run_side_by_side(subject: Subject) -> None:
    there = {shard: records(subject, 40, shard) for shard in SHARDS}
    sink = subject.restart()

    def feed(shard: Shard) -> None:
        position = sink.resume(shard, Offset(0))
        for start in range(position, 40, 8):
            deliver(sink, there[shard][start : start + 8])

    with ThreadPoolExecutor(len(SHARDS)) as threads:
        list(threads.map(feed, SHARDS))
    for shard in SHARDS:
        check(subject, there[shard])


def test_4_a_batch_is_a_sequence_of_any_kind(subject: Subject) -> None:
    batch = records(subject, 6)
    sink = subject.restart()
    sink.resume(SHARD, Offset(0))
    deliver(sink, tuple(batch))
    check(subject, batch)


def test_5_strays_are_delivered_or_rejected_with_a_reason(subject: Subject) -> None:
    outgoing: list[Any] = sealed(subject.keys, 20)
    outgoing[7:7] = strays()
    batch = messages(outgoing, SHARD)
    sink = subject.restart()
    sink.resume(SHARD, Offset(0))
    outcome = settled(sink, batch, sink.deliver(SHARD, batch))
    assert isinstance(outcome, Delivered)
    assert all(reason and 7 <= offset < 12 for offset, reason in outcome.rejected)
    there = {offset for offset, _, _ in subject.held(SHARD)}
    assert there | {offset for offset, _ in outcome.rejected} == set(range(25))
    assert len(there) == len(subject.held(SHARD))


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_batches_and_restarts(subject: Subject, seed: int) -> None:
    """Starts, repeats and overlaps in random order: each offset once in the end."""
    rng = random.Random(seed)
    batch = records(subject, 80)
    sink = subject.restart()
    position = int(sink.resume(SHARD, Offset(0)))
    for _ in range(25):
        start = rng.randrange(max(0, position - 15), position + 1)
        end = min(80, start + rng.choice([1, 2, 7, 20]))
        if rng.random() < 0.3:
            sink = subject.restart()
            assert sink.resume(SHARD, Offset(0)) == position
        if start < end:
            deliver(sink, batch[start:end])
            position = max(position, end)
    check(subject, batch[:position])


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with SUBJECTS[request.param](tmp_path / "destination") as subject:
        subject.restart().open()
        yield subject


@pytest.fixture(params=REMEMBERING)
def remembering(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with SUBJECTS[request.param](tmp_path / "destination") as subject:
        subject.restart().open()
        yield subject


def go_on(sink: Sink, there: Sequence[Message], start: int, end: int) -> int:
    """Deliver as a lane does, whatever the destination asks for; returns where to go on. No person is needed."""
    for tries in range(12):
        if tries % 4 == 3:
            sink.resume(there[start].shard, Offset(0))
        batch = there[start:end]
        match outcome := settled(sink, batch, sink.deliver(batch[0].shard, batch)):
            case Delivered():
                return end
            case More(until):
                assert until > end
                end = until
            case _:
                assert isinstance(outcome, Retry)
    raise AssertionError(f"the destination never took offsets {start} to {end}")


def test_6_a_ghost_that_wakes_up_does_no_harm(shared: Subject) -> None:
    """It was paused between its look and its delivery, and the successor went on, with other edges, and further."""
    batch = records(shared, 60)
    ghost = shared.restart()
    ghost.resume(SHARD, Offset(0))
    assert go_on(ghost, batch, 0, 20) == 20
    successor = shared.restart()
    assert successor.resume(SHARD, Offset(0)) == 20
    for start, end in ((15, 25), (25, 40)):
        assert go_on(successor, batch, start, end) == end
    for start, end in ((20, 30), (30, 35), (35, 45)):
        assert go_on(ghost, batch, start, end) == end
    check(shared, batch[:45])
    assert go_on(successor, batch, 40, 60) == 60
    assert go_on(ghost, batch, 45, 50) == 50
    check(shared, batch)
    assert shared.restart().resume(SHARD, Offset(0)) == 60


@pytest.mark.parametrize("seed", range(3))
def test_6_any_interleaving_of_owners(shared: Subject, seed: int) -> None:
    """Owners that all believe that the shard is theirs; now and then one starts again."""
    rng = random.Random(seed)
    batch = records(shared, 80)
    owners = [(shared.restart(), 0) for _ in range(3)]
    reached = 0
    for _ in range(60):
        at = rng.randrange(len(owners))
        sink, position = owners[at]
        if position == 0 or rng.random() < 0.2:
            sink = shared.restart()
            position = max(0, sink.resume(SHARD, Offset(0)) - rng.randrange(4))
        if position < 80:
            position = go_on(sink, batch, position, min(80, position + rng.choice([1, 2, 5, 9])))
        owners[at] = (sink, position)
        reached = max(reached, position)
        check(shared, batch[:reached])
    assert reached == 80


@pytest.mark.parametrize("shared", OPEN, indirect=True)
def test_6_owners_at_the_same_time(shared: Subject) -> None:
    batch = records(shared, 120)

    def feed(size: int) -> None:
        sink = shared.restart()
        position = int(sink.resume(SHARD, Offset(0)))
        while position < 120:
            position = go_on(sink, batch, position, min(120, position + size))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(feed, (7, 10, 11)))
    check(shared, batch)


def test_what_is_remembered_is_what_was_delivered(remembering: Subject) -> None:
    """The commitments as the ledger has them, of strays too, and nothing where there is nothing."""
    outgoing: list[Any] = sealed(remembering.keys, 12)
    outgoing[3:3] = strays()
    batch = messages(outgoing, SHARD)
    sink = remembering.restart()
    sink.resume(SHARD, Offset(0))
    for count in (0, 5, 17):
        if count:
            assert isinstance(sink.deliver(SHARD, batch[:count]), Delivered)
        for asked in (sink, remembering.restart()):
            assert isinstance(asked, Remembering)
            assert [asked.last(SHARD, message.offset) for message in batch] == [
                entry_commitments(message.commitments, message.key, message.value, message.headers)
                if message.offset < count
                else None
                for message in batch
            ]
            assert asked.last(Shard(EVENTS, 1), Offset(3)) is None


async def test_the_runner_leaves_nothing_out(subject: Subject) -> None:
    bus = MemoryBus({EVENTS: 2, CONTROL: 1, DEADLETTER: 1})
    await bus.append(sealed(subject.keys, 120))
    await bus.append([*strays(), *strays(CONTROL)])
    sink = subject.restart()
    sink.limits = Limits(16, 1 << 20, 0.0)
    await run_to_the_end(sink, bus)
    await bus.append(sealed(subject.keys, 40, start=120))
    await run_to_the_end(subject.restart(), bus)
    dead = await bus.read(Shard(DEADLETTER, 0), Offset(0), max_records=1000, max_bytes=1 << 30)
    letters = {(message.shard, message.offset) for message in (decode_deadletter(item.value).message for item in dead)}
    for shard in SHARDS:
        end = (await bus.bounds(shard)).end
        held = [offset for offset, _, _ in await asyncio.to_thread(subject.held, shard)]
        assert held == sorted(set(held))
        assert {(shard, offset) for offset in held} | letters >= {(shard, Offset(offset)) for offset in range(end)}


async def run_to_the_end(sink: Sink, bus: MemoryBus) -> None:
    sink.limits = Limits(sink.limits.max_records, sink.limits.max_bytes, 0.0)
    runner = Runner(sink, bus)
    task = asyncio.create_task(runner.run())
    ends = {shard: (await bus.bounds(shard)).end for shard in SHARDS}
    await eventually(
        lambda: task.done() or {item.shard: item.position for item in runner.snapshot().shards} == ends, seconds=60
    )
    runner.stop()
    await task
