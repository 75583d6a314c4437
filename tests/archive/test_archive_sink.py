"""The archive sink: one flush at a time, under every fault, with locks, holds, strays and a second writer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from faults import Crash, Fault, Faults, FaultyObjects, matrix
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import messages, sealed, strays

from schemas.errors import InvariantError, RetentionLocked, Unavailable, VerificationError
from schemas.evidence import Evidence
from schemas.ids import EVENTS, Offset, Shard
from sinks.archive import ArchiveEvidence, ArchiveSink, Locks, inventory, verify_listing
from sinks.archive.build import build_segments
from sinks.archive.catalog import last_plan, plans_from, shards_with_plans
from sinks.archive.names import Scope, parse_segment_key, plan_key
from sinks.archive.plan import format_plan
from sinks.contract import Delivered, More, Outcome, Pause, Retry
from stores.bus import Message
from stores.objects import NewObject, Objects

SHARD = Shard(EVENTS, 0)
WRITES = 13
"""Three plans and ten objects: what three flushes write of the fixture's records."""

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)


@pytest.fixture(scope="module")
def bus() -> list[Message]:
    """Forty records of two tenants and five strays, across midnight."""
    outgoing: list[Any] = sealed(MemoryKeys(), 40)
    outgoing[10:10] = strays()
    late = milliseconds(datetime(2026, 11, 24, 23, 59, 59, 980_000, tzinfo=UTC))
    return messages(outgoing, SHARD, time_ms=late)


def verify(objects: Objects, bus: Sequence[Message], start: int = 0) -> list[Evidence]:
    """The full re-check: every offset once, in order, with the exact bytes of the bus; every object as planned."""
    found = list(ArchiveEvidence(objects).scan(SHARD, Offset(0), Offset(1 << 40)))
    assert [(item.offset, item.event_id, item.record) for item in found] == [
        (message.offset, message.event_id, message.value) for message in bus[start:]
    ]
    foreign = {message.offset: message for message in bus if message.headers or not message.commitments}
    for item in found:
        message = foreign.get(item.offset)
        assert (item.key, item.headers) == ((message.key, message.headers) if message else (b"", ()))
    verify_listing(objects)
    ends = [plan.end for plan in plans_from(objects, SHARD, Offset(0))]
    assert [plan.first for plan in plans_from(objects, SHARD, Offset(0))] == [start, *ends[:-1]]
    assert ArchiveEvidence(objects).end(SHARD) == start + len(found)
    return found


def segments(objects: Objects) -> list[str]:
    return [info.key for info in objects.list("segments/") if info.key.endswith(".avro")]


def test_one_object_per_tenant_class_day_and_flush(bus: list[Message]) -> None:
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    assert sink.deliver(SHARD, bus[:30]) == Delivered()
    assert sink.deliver(SHARD, bus[30:]) == Delivered()
    verify(objects, bus)
    scopes = [(key.scope.tenant, str(key.scope.day), key.first) for key in map(parse_segment_key, segments(objects))]
    assert scopes == [
        ("_stray", "2026-11-24", 0),
        ("acme", "2026-11-24", 0),
        ("acme", "2026-11-25", 0),
        ("acme", "2026-11-25", 30),
        ("globex", "2026-11-24", 0),
        ("globex", "2026-11-25", 0),
        ("globex", "2026-11-25", 30),
    ]


def test_the_same_records_give_the_same_bytes(bus: list[Message]) -> None:
    first, second = MemoryObjects(), MemoryObjects()
    for objects, now in ((first, NOON), (second, NOON + timedelta(days=99))):
        ArchiveSink(objects, now=lambda now=now: now).deliver(SHARD, bus)
    assert [(key, first.get(key)) for key in segments(first)] == [(key, second.get(key)) for key in segments(second)]


def test_repeats_are_harmless(bus: list[Message]) -> None:
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    reached = 0
    for start, end in ((0, 10), (0, 10), (0, 5), (5, 20), (10, 15), (20, 45), (0, 45)):
        assert sink.deliver(SHARD, bus[start:end]) == Delivered()
        reached = max(reached, end)
        verify(objects, bus[:reached])
    assert ArchiveSink(objects).deliver(SHARD, bus[30:]) == Delivered()
    verify(objects, bus)


def test_a_gap_between_batches_is_our_bug(bus: list[Message]) -> None:
    sink = ArchiveSink(MemoryObjects())
    sink.deliver(SHARD, bus[:10])
    with pytest.raises(InvariantError, match=r"from offset 11 to 20, expected .* back to offset 10"):
        sink.deliver(SHARD, bus[11:20])
    with pytest.raises(InvariantError, match="got 9 messages from offset 10 to 20"):
        sink.deliver(SHARD, [*bus[10:13], *bus[14:20]])


def test_the_archive_may_begin_anywhere(bus: list[Message]) -> None:
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    assert sink.resume(SHARD, Offset(7)) == 7
    assert sink.deliver(SHARD, bus[7:]) == Delivered()
    verify(objects, bus, start=7)
    assert ArchiveSink(objects).resume(SHARD, Offset(0)) == 45


def feed(objects: Objects, bus: Sequence[Message], edges: Sequence[int]) -> None:
    """What the runner does, for one process: resume, then batches that end at ``edges``, each until delivered."""
    sink = ArchiveSink(objects)
    for _ in range(100):
        try:
            position = sink.resume(SHARD, Offset(0))
            break
        except Unavailable:
            continue
    for edge in edges:
        end = edge
        while position < end:
            outcome: Outcome = sink.deliver(SHARD, bus[position:end])
            match outcome:
                case Delivered():
                    position = Offset(end)
                case More(until):
                    end = until
                case Retry() | Pause():
                    continue


@pytest.mark.parametrize("edges_after", [(12, 30, 45), (3, 5, 45), (45,), (1, 2, 4, 8, 16, 32, 45)])
def test_every_write_may_fail_or_crash(bus: list[Message], edges_after: tuple[int, ...]) -> None:
    """After any fault at any write, and a restart that gathers other batches, each offset is there exactly once."""
    edges = (12, 30, 45)
    faults = Faults()
    feed(FaultyObjects(MemoryObjects(), faults), bus, edges)  # type: ignore[arg-type]
    assert faults.writes == WRITES
    for number, fault in matrix(faults.writes):
        objects = MemoryObjects()
        try:
            feed(FaultyObjects(objects, Faults({number: fault})), bus, edges)  # type: ignore[arg-type]
        except Crash:
            feed(objects, bus, edges_after)
        verify(objects, bus)


def test_two_faults_in_a_row(bus: list[Message]) -> None:
    for first in range(1, WRITES + 1):
        for second in range(first + 1, first + 8):
            objects = MemoryObjects()
            faults = Faults({first: Fault.REPORTED, second: Fault.CRASHED_AFTER})
            try:
                feed(FaultyObjects(objects, faults), bus, (12, 30, 45))  # type: ignore[arg-type]
            except Crash:
                feed(objects, bus, (2, 45))
            verify(objects, bus)


def test_an_unfinished_flush_asks_for_its_edges(bus: list[Message]) -> None:
    objects = MemoryObjects()
    with pytest.raises(Crash, match="at write 3"):
        ArchiveSink(FaultyObjects(objects, Faults({3: Fault.CRASHED_BEFORE}))).deliver(SHARD, bus[:20])  # type: ignore[arg-type]
    sink = ArchiveSink(objects)
    assert sink.resume(SHARD, Offset(0)) == 0
    assert sink.deliver(SHARD, bus[:8]) == More(Offset(20))
    assert sink.deliver(SHARD, bus[:25]) == Delivered()
    assert [(plan.first, plan.end) for plan in plans_from(objects, SHARD, Offset(0))] == [(0, 20), (20, 25)]
    verify(objects, bus[:25])


def test_a_bus_that_changed_its_mind_is_not_archived_over(bus: list[Message]) -> None:
    objects = MemoryObjects()
    with pytest.raises(Crash, match="at write 2"):
        ArchiveSink(FaultyObjects(objects, Faults({2: Fault.CRASHED_BEFORE}))).deliver(SHARD, bus[:20])  # type: ignore[arg-type]
    other = [*bus[:4], bus[4]._replace(value=bus[5].value), *bus[5:20]]
    with pytest.raises(InvariantError, match="offsets 0 to 20 no longer give the bytes planned"):
        ArchiveSink(objects).deliver(SHARD, other)


def test_two_writers_of_one_shard_write_each_offset_once(bus: list[Message]) -> None:
    """A zombie and its successor meet at the plan's key; whoever comes second goes on behind the other's flush."""
    objects = MemoryObjects()
    zombie, successor = ArchiveSink(objects), ArchiveSink(objects)
    assert zombie.resume(SHARD, Offset(0)) == successor.resume(SHARD, Offset(0)) == 0
    assert successor.deliver(SHARD, bus[:20]) == Delivered()
    assert isinstance(zombie.deliver(SHARD, bus[:12]), Retry)
    assert zombie.deliver(SHARD, bus[:12]) == Delivered()
    assert zombie.deliver(SHARD, bus[12:30]) == Delivered()
    assert isinstance(successor.deliver(SHARD, bus[20:45]), Retry)
    assert successor.deliver(SHARD, bus[20:45]) == Delivered()
    verify(objects, bus)


def locks(floor: int, *, hold: str = "") -> Locks:
    return Locks(floor_days=lambda scope: floor, hold=lambda scope: scope.tenant == hold)


def test_every_object_has_its_explicit_date(bus: list[Message]) -> None:
    objects = MemoryObjects(lambda: NOON)
    ArchiveSink(objects, locks=locks(180), now=lambda: NOON).deliver(SHARD, bus)
    dates = {parse_segment_key(key).scope.day: objects.head(key) for key in segments(objects)}
    assert {day: info.retain_until for day, info in dates.items() if info} == {
        date(2026, 11, 24): datetime(2027, 5, 24, tzinfo=UTC),
        date(2026, 11, 25): datetime(2027, 5, 25, tzinfo=UTC),
    }
    plan = objects.head(plan_key(SHARD, Offset(0)))
    assert plan is not None
    assert plan.retain_until == datetime(2027, 5, 25, tzinfo=UTC)
    for key in segments(objects):
        with pytest.raises(RetentionLocked, match="is locked until 2027-05"):
            objects.delete([key])


def test_a_hold_in_force_is_set_from_the_start(bus: list[Message]) -> None:
    objects = MemoryObjects()
    ArchiveSink(objects, locks=locks(0, hold="globex")).deliver(SHARD, bus)
    held = {key for key in segments(objects) if (info := objects.head(key)) and info.hold}
    assert held == {key for key in segments(objects) if "/globex/" in key}
    assert held
    with pytest.raises(RetentionLocked, match="is held"):
        objects.delete(sorted(held))


def test_classes_have_their_own_floor(bus: list[Message]) -> None:
    asked: list[Scope] = []

    def floor(scope: Scope) -> int:
        asked.append(scope)
        return 0 if scope.stray else 30

    objects = MemoryObjects(lambda: NOON)
    ArchiveSink(objects, locks=Locks(floor_days=floor), now=lambda: NOON).deliver(SHARD, bus)
    dated = {key for key in segments(objects) if (info := objects.head(key)) and info.retain_until}
    assert dated == {key for key in segments(objects) if "/_stray/" not in key}
    assert {scope.retention_class for scope in asked} == {"standard", "_stray"}


def test_a_backlog_older_than_its_floor_is_not_locked(bus: list[Message]) -> None:
    """Stores refuse a date that has passed, and the minimum is over."""
    later = NOON + timedelta(days=400)
    objects = MemoryObjects(lambda: later)
    assert ArchiveSink(objects, locks=locks(180), now=lambda: later).deliver(SHARD, bus) == Delivered()
    assert [info.retain_until for info in objects.list("segments/") if info.retain_until] == []


def test_a_flush_that_is_finished_later_has_the_locks_that_were_planned(bus: list[Message]) -> None:
    objects = MemoryObjects(lambda: NOON)
    faulty: Any = FaultyObjects(objects, Faults({3: Fault.CRASHED_BEFORE}))
    with pytest.raises(Crash, match="at write 3"):
        ArchiveSink(faulty, locks=locks(180, hold="acme"), now=lambda: NOON).deliver(SHARD, bus)
    assert ArchiveSink(objects, locks=locks(1), now=lambda: NOON).deliver(SHARD, bus) == Delivered()
    plan = last_plan(objects, SHARD)
    assert plan is not None
    there = [objects.head(item.key) for item in plan.objects]
    assert [(info.retain_until, info.hold) for info in there if info] == [
        (item.retain_until, item.hold) for item in plan.objects
    ]
    assert any(item.hold for item in plan.objects)


class ForgetfulObjects(MemoryObjects):
    """Says that it wrote, and did not do all of it."""

    def __init__(self, forget: str) -> None:
        super().__init__(lambda: NOON)
        self.forget = forget

    def create(self, objects: Sequence[NewObject]) -> None:
        for new in objects:
            if new.key.endswith(".avro") and self.forget == "object":
                continue
            if new.key.endswith(".avro") and self.forget == "tail":
                new = new._replace(data=new.data[:-1])
            if self.forget == "lock":
                new = new._replace(retain_until=None)
            if self.forget == "hold":
                new = new._replace(hold=False)
            super().create([new])


@pytest.mark.parametrize("forget", ["object", "tail", "lock", "hold"])
def test_what_the_store_did_not_keep_is_found_at_once(bus: list[Message], forget: str) -> None:
    sink = ArchiveSink(ForgetfulObjects(forget), locks=locks(30, hold="acme"), now=lambda: NOON)
    outcome = sink.deliver(SHARD, bus)
    assert isinstance(outcome, Pause)
    assert "after the write" in outcome.reason


def test_a_store_that_is_away_is_tried_again(bus: list[Message]) -> None:
    class Away(MemoryObjects):
        def create(self, objects: Sequence[NewObject]) -> None:
            raise Unavailable("no route to the store", retry_after=3.0)

    assert ArchiveSink(Away()).deliver(SHARD, bus) == Retry("no route to the store", 3.0)


def test_an_object_in_the_way_pauses(bus: list[Message]) -> None:
    objects = MemoryObjects()
    (segment, *_) = build_segments(SHARD, bus)
    objects.create([NewObject(segment.key, b"planted")])
    sink = ArchiveSink(objects)
    for _ in range(3):
        outcome = sink.deliver(SHARD, bus)
        assert isinstance(outcome, Pause)
    assert objects.get(segment.key) == b"planted"


def test_a_broken_plan_stops_the_resume() -> None:
    objects = MemoryObjects()
    objects.create([NewObject(plan_key(SHARD, Offset(0)), b"{}")])
    with pytest.raises(VerificationError, match=r"step archive: segments/_plans/events-0/.*: got 2 bytes"):
        ArchiveSink(objects).resume(SHARD, Offset(0))


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_plans_are_found_without_listing_them_all(bus: list[Message], count: int) -> None:
    listed: list[str] = []

    class CountingObjects(MemoryObjects):
        def list(self, prefix: str, *, start_after: str = "") -> Any:
            for info in super().list(prefix, start_after=start_after):
                listed.append(info.key)
                yield info

    objects = CountingObjects()
    sink = ArchiveSink(objects)
    sizes = [1 + at % 3 for at in range(count)]
    edges = [sum(sizes[:at]) for at in range(count + 1)]
    records = messages(sealed(MemoryKeys(), edges[-1], tenants=["acme"]), SHARD)
    for first, end in pairwise(edges):
        assert sink.deliver(SHARD, records[first:end]) == Delivered()
    sink.deliver(Shard(EVENTS, 1), [message._replace(shard=Shard(EVENTS, 1)) for message in records])
    listed.clear()
    last = last_plan(objects, SHARD)
    assert last is not None
    assert (last.first, last.end) == (edges[-2], edges[-1])
    assert len(listed) <= 3 * max(count, 1).bit_length() + 8
    for offset in range(edges[-1]):
        plan = next(plans_from(objects, SHARD, Offset(offset)))
        assert plan.first <= offset < plan.end
    assert shards_with_plans(objects) == [SHARD, Shard(EVENTS, 1)]


def test_the_inventory_counts(bus: list[Message]) -> None:
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    sink.deliver(SHARD, bus[:30])
    sink.deliver(SHARD, bus[30:])
    (line,) = inventory(objects)
    assert (line.shard, line.first, line.end, line.flushes, line.objects, line.records) == (SHARD, 0, 45, 2, 7, 45)
    assert line.size == sum(len(objects.get(key)) for key in segments(objects))
    assert inventory(MemoryObjects()) == []


def test_plans_are_written_down_in_a_form_that_people_can_read(bus: list[Message]) -> None:
    objects = MemoryObjects()
    ArchiveSink(objects).deliver(SHARD, bus)
    plan = last_plan(objects, SHARD)
    assert plan is not None
    data = objects.get(plan_key(SHARD, Offset(0)))
    assert data == format_plan(plan)
    assert data.count(b"\n") == len(plan.objects) + 2
