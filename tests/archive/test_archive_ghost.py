"""Two archives of one shard, one of them a ghost, in every order of their writes: each offset once, nobody halts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from faults import Crash
from interleaved import Stage, Step, Stepped, Writer, every_order, some_orders
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import messages, sealed

from schemas.errors import VerificationError
from schemas.ids import EVENTS, Offset, Shard
from sinks.archive import ArchiveEvidence, ArchiveSink, Locks, verify_listing
from sinks.archive.catalog import FIRST_PLAN, plans_from
from sinks.archive.names import plan_key
from sinks.contract import Delivered, More, Pause, Retry
from stores.bus import Message
from stores.objects import Objects

SHARD = Shard(EVENTS, 0)
BUS = messages(sealed(MemoryKeys(), 8, tenants=["acme"]), SHARD)
TWO_TENANTS = messages(sealed(MemoryKeys(), 8), SHARD)


def feed(sink: ArchiveSink, bus: Sequence[Message], edges: Sequence[int], start: int = 0, back: int = 0) -> None:
    """What a lane does: resume (``back`` records further back), and batches that end at ``edges``, each until it is
    delivered. Nothing may need a person, and nothing may take for ever."""
    position = max(start, sink.resume(SHARD, Offset(start)) - back)
    for edge in edges:
        end, tries = edge, 0
        while position < end:
            outcome = sink.deliver(SHARD, bus[position:end])
            match outcome:
                case Delivered():
                    position = end
                case More(until):
                    end = until
                case Retry():
                    tries += 1
                    assert tries < 5
                case Pause(reason):
                    raise AssertionError(reason)


def writer(
    objects: Objects, bus: Sequence[Message], edges: Sequence[int], *, reads: bool = False, **options: Any
) -> Writer:
    def write(step: Step) -> None:
        store: Any = Stepped(objects, step, reads=reads)
        feed(ArchiveSink(store), bus, edges, **options)

    return write


def verify(objects: Objects, bus: Sequence[Message], stage: Stage, start: int = 0) -> None:
    """After one more process has run to the end: each offset once, exact; every object planned, every plan whole."""
    feed(ArchiveSink(objects), bus, [len(bus)], start)
    found = list(ArchiveEvidence(objects).scan(SHARD, Offset(0), Offset(1 << 40)))
    assert [(item.offset, item.record) for item in found] == [
        (message.offset, message.value) for message in bus if message.offset >= found[0].offset
    ], stage.trace
    assert found[0].offset <= start, stage.trace
    verify_listing(objects)
    plans = list(plans_from(objects, SHARD, Offset(0)))
    assert all(one.end == other.first for one, other in pairwise(plans)), stage.trace


@pytest.mark.parametrize(
    ("mine", "others"),
    [((3, 6), (2, 6)), ((6,), (2, 4)), ((2, 4, 6), (6,)), ((4, 6), (4, 8)), ((3, 6), (3, 6)), ((1, 2), (5, 8))],
)
def test_every_order_of_two_writers(mine: Sequence[int], others: Sequence[int]) -> None:
    orders = 0
    for stage in every_order():
        objects = MemoryObjects()
        stage.run(writer(objects, BUS, mine), writer(objects, BUS, others))
        verify(objects, BUS, stage)
        orders += 1
    assert orders > 50


@pytest.mark.parametrize(("mine", "others"), [((3, 6), (2, 6)), ((6,), (4, 8)), ((2, 4), (3, 8))])
def test_every_order_in_which_the_ghost_dies(mine: Sequence[int], others: Sequence[int]) -> None:
    for stage in every_order(deaths=True):
        objects = MemoryObjects()
        stage.run(writer(objects, BUS, mine), writer(objects, BUS, others))
        verify(objects, BUS, stage)


@pytest.mark.parametrize(("back", "mine"), [(1, (5, 8)), (3, (2, 3, 6)), (5, (1, 8))])
def test_a_ghost_whose_batches_lie_across_those_of_its_successor(back: int, mine: Sequence[int]) -> None:
    """Both begin before the end of what is there, as lanes do, with edges that are nobody's plan."""
    for stage in every_order(deaths=True):
        objects = MemoryObjects()
        feed(ArchiveSink(objects), BUS, [4])
        stage.run(writer(objects, BUS, mine, back=back), writer(objects, BUS, (6, 8), back=2))
        verify(objects, BUS, stage)


def test_writers_to_whom_the_bus_began_elsewhere() -> None:
    """Retention moved the start of the bus between the looks of the two; the archive begins at one place only."""
    begins = set()
    for stage in every_order():
        objects = MemoryObjects()
        stage.run(writer(objects, BUS, (3, 6)), _patient(objects, (5, 8), 2))
        verify(objects, BUS, stage, start=2)
        begins.add(next(plans_from(objects, SHARD, Offset(0))).first)
    assert begins == {0, 2}


def _patient(objects: Objects, edges: Sequence[int], start: int) -> Writer:
    """A writer that has not what came before ``start``, and waits for whoever planned it."""

    def write(step: Step) -> None:
        store: Any = Stepped(objects, step)
        sink = ArchiveSink(store)
        position = sink.resume(SHARD, Offset(start))
        if position < start:
            return  # the lane reports EvidenceIncomplete, and the process starts again
        for edge in edges:
            end = edge
            while position < end:
                outcome = sink.deliver(SHARD, BUS[position:end])
                if isinstance(outcome, Pause):
                    assert "let the other writer finish" in outcome.reason
                    step()
                    return
                position = Offset(end) if isinstance(outcome, Delivered) else position
                end = outcome.until if isinstance(outcome, More) else end

    return write


def test_an_archive_that_begins_late_is_found_by_its_first_offset() -> None:
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    sink.resume(SHARD, Offset(3))
    assert sink.deliver(SHARD, BUS[3:5]) == Delivered()
    assert sink.deliver(SHARD, BUS[5:8]) == Delivered()
    assert objects.head(plan_key(SHARD, FIRST_PLAN)) is not None
    assert [(plan.first, plan.end) for plan in plans_from(objects, SHARD, Offset(0))] == [(3, 5), (5, 8)]
    assert [(plan.first, plan.end) for plan in plans_from(objects, SHARD, Offset(4))] == [(3, 5), (5, 8)]
    assert [item.offset for item in ArchiveEvidence(objects).scan(SHARD, Offset(4), Offset(6))] == [4, 5]
    assert [sink.last(SHARD, Offset(offset)) for offset in (2, 3, 7, 8)] == [
        None,
        BUS[3].commitments,
        BUS[7].commitments,
        None,
    ]
    verify_listing(objects)


@pytest.mark.parametrize("deaths", [True, False])
def test_any_order_of_reads_and_writes(deaths: bool) -> None:
    """Looks are steps too here: too many orders for all of them, so some of them."""
    for stage in some_orders(range(150), deaths=deaths):
        objects = MemoryObjects()
        stage.run(
            writer(objects, TWO_TENANTS, (3, 6), reads=True),
            writer(objects, TWO_TENANTS, (2, 5, 8), reads=True, back=1),
        )
        verify(objects, TWO_TENANTS, stage)


def test_three_writers() -> None:
    for stage in some_orders(range(150)):
        objects = MemoryObjects()
        stage.run(*(writer(objects, BUS, edges, reads=True) for edges in ((2, 4, 8), (3, 6), (1, 7))))
        verify(objects, BUS, stage)


def test_writers_that_would_lock_otherwise_agree_on_one_plan() -> None:
    """A hold came into force between the two: whoever plans first decides, and the other writes just that."""
    for stage in every_order():
        objects = MemoryObjects()

        def held(step: Step, objects: MemoryObjects = objects) -> None:
            store: Any = Stepped(objects, step)
            feed(ArchiveSink(store, locks=Locks(hold=lambda scope: True)), BUS, (4, 8))

        stage.run(writer(objects, BUS, (4, 8)), held)
        verify(objects, BUS, stage)
        for plan in plans_from(objects, SHARD, Offset(0)):
            for item in plan.objects:
                info = objects.head(item.key)
                assert info is not None
                assert info.hold == item.hold


def test_what_is_no_plan_is_not_fallen_in_with() -> None:
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    sink.resume(SHARD, Offset(0))
    objects.put(plan_key(SHARD, FIRST_PLAN), b"planted")
    outcome = sink.deliver(SHARD, BUS)
    assert isinstance(outcome, Pause)
    assert "planted" not in outcome.reason
    assert "bytes that are not a plan" in outcome.reason


def test_the_last_record_is_told_from_an_altered_object() -> None:
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    sink.deliver(SHARD, BUS)
    assert sink.last(SHARD, Offset(7)) == BUS[7].commitments
    (key,) = [info.key for info in objects.list("segments/acme")]
    data = objects.get(key)
    objects.put(key, data[:-20] + bytes(20))
    with pytest.raises(VerificationError, match="got other bytes than planned"):
        sink.last(SHARD, Offset(7))
    objects.delete([key])
    assert sink.last(SHARD, Offset(7)) is None


def test_a_stage_knows_every_order() -> None:
    """Three steps and two, with the one before the first: as many orders as there are ways to choose."""
    seen = set()
    for stage in every_order():
        stage.run(lambda step: [step() for _ in range(2)] and None, lambda step: step())  # type: ignore[func-returns-value]
        seen.add("".join(stage.trace))
    assert len(seen) == 10
    died = sum("†" in "".join(stage.trace) for stage in _deaths())
    assert died > 0
    assert threading.active_count() < 20


def _deaths() -> list[Stage]:
    stages = []
    for stage in every_order(deaths=True):
        stage.run(lambda step: step(), lambda step: step())
        stages.append(stage)
    return stages


def test_a_writer_that_fails_fails_the_stage() -> None:
    def broken(step: Step) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        next(every_order()).run(broken)

    def dead(step: Step) -> None:
        raise Crash("gone")

    next(every_order()).run(dead)
