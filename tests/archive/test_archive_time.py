"""The bus's time may step back along a shard, because brokers have a clock each: days lie apart all the same."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from faults import Crash, Faults, FaultyObjects, matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import messages, sealed

from schemas.ids import EVENTS, Offset, Shard
from schemas.segment import parse_segment
from sinks.archive import ArchiveEvidence, ArchiveSink, Locks, verify_listing
from sinks.archive.catalog import plans_from
from sinks.archive.names import parse_segment_key
from sinks.contract import Delivered
from stores.bus import Message

SHARD = Shard(EVENTS, 0)
MIDNIGHT = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp() * 1000)
BEFORE, AFTER = date(2026, 11, 24), date(2026, 11, 25)
RECORDS = messages(sealed(MemoryKeys(), 24), SHARD)


def at(times: list[int]) -> list[Message]:
    """Records whose bus times are so many milliseconds from midnight."""
    return [message._replace(time_ms=MIDNIGHT + time) for message, time in zip(RECORDS, times, strict=False)]


def check(objects: MemoryObjects, bus: list[Message]) -> None:
    """Each record once, in offset order, in an object of its own day; nothing of another day beside it."""
    found = list(ArchiveEvidence(objects).scan(SHARD, Offset(0), Offset(1 << 40)))
    assert [(item.offset, item.record) for item in found] == [(message.offset, message.value) for message in bus]
    verify_listing(objects)
    for plan in plans_from(objects, SHARD, Offset(0)):
        for item in plan.objects:
            records = list(parse_segment(item.key, objects.get(item.key)))
            day = parse_segment_key(item.key).scope.day
            assert {datetime.fromtimestamp(record.time_ms / 1000, UTC).date() for record in records} == {day}
            assert [record.time_ms for record in records] == [bus[record.offset].time_ms for record in records]
            assert (item.first, item.last, item.records) == (records[0].offset, records[-1].offset, len(records))


@given(st.lists(st.integers(-1500, 1500), min_size=1, max_size=24), st.integers(1, 24))
@settings(deadline=None)
def test_each_record_lies_in_its_own_day(times: list[int], size: int) -> None:
    objects, bus = MemoryObjects(), at(times)
    sink = ArchiveSink(objects)
    for start in range(0, len(bus), size):
        assert sink.deliver(SHARD, bus[start : start + size]) == Delivered()
    check(objects, bus)


def test_midnight_that_is_crossed_back_and_forth_makes_two_objects_of_a_tenant_and_no_more() -> None:
    objects, bus = MemoryObjects(), at([-3, -2, 2, 1, -1, -1, 0, 3] * 3)
    assert any(one.time_ms > other.time_ms for one, other in pairwise(bus))
    assert ArchiveSink(objects).deliver(SHARD, bus) == Delivered()
    check(objects, bus)
    (plan,) = plans_from(objects, SHARD, Offset(0))
    scopes = Counter(parse_segment_key(item.key).scope for item in plan.objects)
    assert set(scopes.values()) == {1}
    assert {(scope.tenant, scope.day) for scope in scopes} == {
        (tenant, day) for tenant in ("acme", "globex") for day in (BEFORE, AFTER)
    }


def test_a_record_that_steps_back_over_midnight_has_the_lock_of_its_own_day() -> None:
    now = datetime(2026, 11, 25, 1, tzinfo=UTC)
    objects, bus = MemoryObjects(lambda: now), at([5, 5, -5, -5, 6, 6])
    sink = ArchiveSink(objects, locks=Locks(floor_days=lambda scope: 10), now=lambda: now)
    assert sink.deliver(SHARD, bus) == Delivered()
    check(objects, bus)
    (plan,) = plans_from(objects, SHARD, Offset(0))
    for item in plan.objects:
        day = parse_segment_key(item.key).scope.day
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        assert item.retain_until == midnight + timedelta(days=11)


def test_a_crash_across_midnight_is_mended_with_the_same_bytes() -> None:
    bus = at([-2, 4, -1, 3, 0, -3, 2, -4, 5, 1])
    counted = Faults()
    counting: MemoryObjects = FaultyObjects(MemoryObjects(), counted)  # type: ignore[assignment]
    ArchiveSink(counting).deliver(SHARD, bus)
    for number, fault in matrix(counted.writes):
        objects = MemoryObjects()
        faulty: MemoryObjects = FaultyObjects(objects, Faults({number: fault}))  # type: ignore[assignment]
        with suppress(Crash):
            ArchiveSink(faulty).deliver(SHARD, bus)
        assert ArchiveSink(objects).deliver(SHARD, bus) == Delivered()
        check(objects, bus)


@pytest.mark.parametrize("time", [0, 1, 86_400_000 - 1, 86_400_000])
def test_a_clock_near_1970_has_a_day_too(time: int) -> None:
    objects, bus = MemoryObjects(), [RECORDS[0]._replace(time_ms=time)]
    assert ArchiveSink(objects).deliver(SHARD, bus) == Delivered()
    check(objects, bus)
