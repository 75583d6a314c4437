"""The archive as evidence: whatever is done to its objects shows, and names the record."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import messages, sealed

from schemas.errors import VerificationError
from schemas.ids import EVENTS, Offset, Shard
from schemas.segment import encode_segment, pack_item, parse_segment
from sinks.archive import ArchiveEvidence, ArchiveSink, verify_listing
from sinks.archive.catalog import FIRST_PLAN, last_plan, read_plan
from sinks.archive.names import plan_key
from sinks.archive.plan import format_plan
from sinks.contract import Delivered
from stores.bus import Message
from stores.objects import NewObject

SHARD = Shard(EVENTS, 0)
EVERYTHING = (Offset(0), Offset(1 << 40))


@pytest.fixture(scope="module")
def bus() -> list[Message]:
    return messages(sealed(MemoryKeys(), 60), SHARD)


@pytest.fixture
def objects(bus: list[Message]) -> MemoryObjects:
    """Three flushes of twenty records, each in two objects."""
    objects = MemoryObjects()
    sink = ArchiveSink(objects)
    for start in (0, 20, 40):
        assert sink.deliver(SHARD, bus[start : start + 20]) == Delivered()
    return objects


def acme(objects: MemoryObjects, first: int) -> str:
    """The object of one tenant from the flush at ``first``; it holds every second record."""
    return next(
        item.key for item in read_plan(objects, SHARD, Offset(first)).objects if item.key.startswith("segments/acme/")
    )


def without(objects: MemoryObjects, key: str, offset: int) -> bytes:
    """The object again, in good order, without one record."""
    return encode_segment(
        key, [pack_item(*record) for record in parse_segment(key, objects.get(key)) if record.offset != offset]
    )


def scanned(objects: MemoryObjects, start: int = 0, end: int = 1 << 40) -> list[int]:
    return [item.offset for item in ArchiveEvidence(objects).scan(SHARD, Offset(start), Offset(end))]


@pytest.mark.parametrize(
    ("start", "end"), [(0, 60), (0, 0), (5, 5), (7, 33), (19, 21), (20, 40), (59, 60), (60, 99), (39, 1000)]
)
def test_any_range_comes_in_order(objects: MemoryObjects, start: int, end: int) -> None:
    assert scanned(objects, start, end) == list(range(start, min(end, 60)))


def test_an_archive_of_nothing_has_no_end() -> None:
    assert scanned(MemoryObjects()) == []
    assert ArchiveEvidence(MemoryObjects()).end(SHARD) == 0


def test_a_removed_record_is_named(objects: MemoryObjects) -> None:
    key = acme(objects, 20)
    objects.put(key, without(objects, key, 26))
    with pytest.raises(VerificationError, match=r"segments/acme/.*missing: events/0 offset 26$") as caught:
        scanned(objects)
    assert caught.value.exit_code == 1
    assert caught.value.step == "archive"


def test_a_record_removed_from_object_and_plan_is_left_out(objects: MemoryObjects) -> None:
    """Whoever can write everything can make the archive agree with itself; the ledger then says what is missing."""
    key = acme(objects, 20)
    data = without(objects, key, 26)
    objects.put(key, data)
    plan = read_plan(objects, SHARD, Offset(20))
    items = tuple(
        replace(item, size=len(data), sha256=sha256(data).hexdigest()) if item.key == key else item
        for item in plan.objects
    )
    objects.put(plan_key(SHARD, Offset(20)), format_plan(replace(plan, objects=items)))
    assert scanned(objects) == [offset for offset in range(60) if offset != 26]


def test_a_changed_byte_is_found_wherever_it_is(objects: MemoryObjects) -> None:
    key = acme(objects, 20)
    whole = objects.get(key)
    for at in range(0, len(whole), max(1, len(whole) // 200)):
        objects.put(key, whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        with pytest.raises(VerificationError, match=r"got bytes that are not those archived of events/0 offsets 20 to"):
            scanned(objects)
    objects.put(key, whole)
    assert scanned(objects) == list(range(60))


@pytest.mark.parametrize("keep", [0, 1, 100, 3000, -1])
def test_a_cut_object_names_what_can_no_longer_be_read(objects: MemoryObjects, keep: int) -> None:
    key = acme(objects, 20)
    objects.put(key, objects.get(key)[:keep])
    with pytest.raises(VerificationError, match=r"missing: events/0 offset 20, 22, 24, 26, 28, 30, 32, 34, 36, 38$"):
        scanned(objects)


def test_a_changed_value_says_that_no_record_is_gone(objects: MemoryObjects) -> None:
    key = acme(objects, 20)
    data = bytearray(objects.get(key))
    data[-40] ^= 1
    objects.put(key, bytes(data))
    with pytest.raises(VerificationError, match="every record has its place, at least one was changed"):
        scanned(objects)


def test_records_before_the_fault_still_come(objects: MemoryObjects) -> None:
    objects.put(acme(objects, 20), b"")
    scan = ArchiveEvidence(objects).scan(SHARD, *EVERYTHING)
    assert [next(scan).offset for _ in range(20)] == list(range(20))
    with pytest.raises(VerificationError, match="got bytes that are not those archived"):
        next(scan)


def test_an_object_that_is_gone_leaves_its_records_out(objects: MemoryObjects) -> None:
    key = acme(objects, 20)
    objects.delete([key])
    assert scanned(objects) == [offset for offset in range(60) if offset not in range(20, 40, 2)]
    with pytest.raises(VerificationError, match=r"not there; it held 10 records of events/0 from offset 20 to 38"):
        verify_listing(objects)


def test_a_plan_that_is_gone_leaves_its_records_out(objects: MemoryObjects) -> None:
    objects.delete([plan_key(SHARD, Offset(20))])
    assert scanned(objects) == [*range(20), *range(40, 60)]
    assert scanned(objects, 25, 30) == []
    with pytest.raises(VerificationError, match="the plan is not there"):
        verify_listing(objects)


def test_a_lost_tail_shows_in_the_end(objects: MemoryObjects) -> None:
    assert ArchiveEvidence(objects).end(SHARD) == 60
    plan = last_plan(objects, SHARD)
    assert plan is not None
    objects.delete([plan_key(SHARD, plan.first), *(item.key for item in plan.objects)])
    assert ArchiveEvidence(objects).end(SHARD) == 40


def test_plans_that_overlap_are_refused(objects: MemoryObjects, bus: list[Message]) -> None:
    other = MemoryObjects()
    ArchiveSink(other).deliver(SHARD, bus[30:50])
    own = {plan_key(SHARD, FIRST_PLAN): plan_key(SHARD, Offset(30))}
    objects.create([NewObject(own.get(info.key, info.key), other.get(info.key)) for info in other.list("")])
    with pytest.raises(VerificationError, match="got a plan from offset 30, expected at least 40"):
        scanned(objects)


@pytest.mark.parametrize("key", ["segments/stranger.bin", "segments/acme/standard/2026-11-24/events-0/x.avro"])
def test_an_object_of_a_strange_name_is_found(objects: MemoryObjects, key: str) -> None:
    objects.create([NewObject(key, b"?")])
    with pytest.raises(VerificationError, match="an object that is no segment lies in the archive"):
        verify_listing(objects)


def test_a_planted_object_is_found_and_is_no_evidence(objects: MemoryObjects) -> None:
    verify_listing(objects)
    key = acme(objects, 20).replace("/acme/", "/initech/")
    objects.create([NewObject(key, encode_segment(key, [pack_item(25, 1, 1, bytes(16), b"", b"forged")]))])
    assert scanned(objects) == list(range(60))
    with pytest.raises(VerificationError, match=r"initech/.*expected no such object by its plan"):
        verify_listing(objects)


def test_a_strange_object_among_the_plans_is_refused(objects: MemoryObjects) -> None:
    objects.create([NewObject("segments/_plans/events-0/00000000000000/notes.txt", b"?")])
    with pytest.raises(VerificationError, match="an object that is no plan lies among the plans"):
        scanned(objects)
