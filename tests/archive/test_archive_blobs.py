"""Blobs under the archive's locks: as long as the segment, before it, and no other object's."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from faults import Crash, Fault, Faults, FaultyObjects
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import messages, sealed

from schemas.errors import VerificationError
from schemas.ids import EVENTS, Shard
from schemas.part_streams import blob_address
from schemas.parts import SOURCE
from schemas.record import decode_record, encode_record
from sinks.archive import ArchiveSink, Locks
from sinks.archive.addressed import addresses
from sinks.contract import Delivered, Pause, Retry
from stores.bus import Message
from stores.objects import Objects

SHARD = Shard(EVENTS, 0)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LOCKS = Locks(floor_days=lambda scope: 30)


def moved(message: Message, address: str) -> Message:
    """The message with its source part at an address."""
    record = decode_record(message.value)
    parts = [part._replace(ciphertext=b"", address=address) if part.type == SOURCE else part for part in record.parts]
    return message._replace(value=encode_record(replace(record, parts=tuple(parts))))


def blob(objects: Objects, number: int) -> str:
    address = blob_address(f"{number:064x}")
    objects.create_file(address, io.BytesIO(b"ciphertext %d" % number))
    return address


@pytest.fixture
def bus() -> list[Message]:
    return messages(sealed(MemoryKeys(), 12), SHARD, time_ms=int(NOON.timestamp() * 1000))


def sink_of(objects: Objects, locks: Locks = LOCKS) -> ArchiveSink:
    return ArchiveSink(objects, locks=locks, now=lambda: NOON)


def test_blobs_get_the_date_of_their_segment(bus: list[Message]) -> None:
    objects = MemoryObjects()
    first, second, other = blob(objects, 1), blob(objects, 2), blob(objects, 3)
    objects.extend_retention(second, NOON + timedelta(days=400))
    bus[3], bus[5] = moved(bus[3], first), moved(bus[5], second)
    assert sink_of(objects).deliver(SHARD, bus) == Delivered()
    dates = {info.retain_until for info in objects.list("segments/") if info.key.endswith(".avro")}
    locks = {address: objects.head(address) for address in (first, second, other)}
    assert {locks[first].retain_until} == dates  # type: ignore[union-attr]
    assert locks[second].retain_until == NOON + timedelta(days=400)  # type: ignore[union-attr]
    assert locks[other].retain_until is None  # type: ignore[union-attr]


def test_blobs_are_held_with_their_segment(bus: list[Message]) -> None:
    objects = MemoryObjects()
    address = blob(objects, 1)
    bus[3] = moved(bus[3], address)
    assert sink_of(objects, Locks(hold=lambda scope: True)).deliver(SHARD, bus) == Delivered()
    info = objects.head(address)
    assert info is not None
    assert (info.hold, info.retain_until) == (True, None)


def test_a_segment_is_not_there_before_the_locks_of_its_blobs(bus: list[Message]) -> None:
    objects = MemoryObjects()
    address = blob(objects, 1)
    bus[3] = moved(bus[3], address)
    faulty = FaultyObjects(objects, Faults({2: Fault.CRASHED_BEFORE}))  # the first segment
    with pytest.raises(Crash, match="segments/"):
        sink_of(faulty).deliver(SHARD, bus)  # type: ignore[arg-type]
    info = objects.head(address)
    assert info is not None
    assert info.retain_until is not None
    assert sink_of(objects).deliver(SHARD, bus) == Delivered()


def test_a_flush_that_a_crash_cut_short_locks_them_too(bus: list[Message]) -> None:
    objects = MemoryObjects()
    address = blob(objects, 1)
    bus[3] = moved(bus[3], address)
    with pytest.raises(Crash, match="_plans"):
        sink_of(FaultyObjects(objects, Faults({1: Fault.CRASHED_AFTER}))).deliver(SHARD, bus)  # type: ignore[arg-type]
    assert objects.head(address).retain_until is None  # type: ignore[union-attr]
    assert sink_of(objects).deliver(SHARD, bus) == Delivered()
    assert objects.head(address).retain_until is not None  # type: ignore[union-attr]


def test_a_blob_that_is_gone_is_said_and_stops_nothing(bus: list[Message], caplog: pytest.LogCaptureFixture) -> None:
    objects = MemoryObjects()
    bus[3] = moved(bus[3], blob_address("0" * 64))
    with caplog.at_level(logging.ERROR):
        assert sink_of(objects).deliver(SHARD, bus) == Delivered()
    assert "names it, and it is not there" in caplog.text


@pytest.mark.parametrize("address", ["ledger/x/checkpoint", "blobs/x", "blobs/" + "A" * 64, "blobs/" + "a" * 64 + "/b"])
def test_no_record_gets_another_object_locked(bus: list[Message], address: str) -> None:
    objects = MemoryObjects()
    objects.put(address, b"ours")
    bus[3] = moved(bus[3], address)
    assert addresses(bus[3]) == ()
    assert sink_of(objects).deliver(SHARD, bus) == Delivered()
    assert objects.head(address).retain_until is None  # type: ignore[union-attr]


class Forgetful(MemoryObjects):
    """A store that takes a date and does not keep it."""

    def extend_retention(self, key: str, until: datetime) -> None:
        pass


def test_a_store_that_does_not_keep_a_lock_is_found(bus: list[Message]) -> None:
    objects = Forgetful()
    bus[3] = moved(bus[3], blob(objects, 1))
    outcome = sink_of(objects).deliver(SHARD, bus)
    assert isinstance(outcome, Pause)
    assert "after it was locked, expected lock" in outcome.reason
    assert not isinstance(outcome, Retry | VerificationError)
