"""The faults that other tests rely on do what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bus_messages import message
from faults import Crash, Fault, Faults, FaultyBus, FaultyControl, FaultyObjects, matrix
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_objects import MemoryObjects

from schemas.errors import Unavailable
from schemas.ids import Shard
from stores.control import Lock, Log
from stores.objects import NewObject

LOG = Log("example/events/0/1", Shard("events", 0), "1", 0, b"{}", 0)
LOCK = Lock(LOG.origin, 0, bytes(32), bytes(32), b"note")
RAISES = {Fault.LOST: Unavailable, Fault.REPORTED: Unavailable, Fault.CRASHED_BEFORE: Crash, Fault.CRASHED_AFTER: Crash}


async def test_without_a_plan_writes_are_counted_and_done() -> None:
    faults = Faults()
    bus, objects = FaultyBus(MemoryBus({"events": 1}), faults), FaultyObjects(MemoryObjects(), faults)
    await bus.append([message(0), message(1)])
    objects.create([NewObject("a", b""), NewObject("b", b"")])
    objects.put("c", b"")
    objects.delete(["a", "b"])
    assert faults.trace == [
        "bus.append",
        "objects.create a",
        "objects.create b",
        "objects.put c",
        "objects.delete a",
        "objects.delete b",
    ]
    assert (await bus.bounds(Shard("events", 0))).end == 2
    assert [info.key for info in objects.list("")] == ["c"]


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_of_the_bus(fault: Fault) -> None:
    bus = FaultyBus(MemoryBus({"events": 1}), Faults({2: fault}))
    await bus.append([message(0)])
    with pytest.raises(RAISES[fault], match=r"at write 2, bus\.append"):
        await bus.append([message(1)])
    await bus.append([message(2)])
    assert (await bus.bounds(Shard("events", 0))).end == 2 + fault.writes


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_of_one_object_among_many(fault: Fault) -> None:
    objects = FaultyObjects(MemoryObjects(), Faults({2: fault}))
    with pytest.raises(RAISES[fault], match=r"at write 2, objects\.create b"):
        objects.create([NewObject(key, b"") for key in "abc"])
    assert [info.key for info in objects.list("")] == (["a", "b"] if fault.writes else ["a"])


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_of_the_control_database(fault: Fault) -> None:
    control = FaultyControl(MemoryControl(), Faults({1: fault}))
    with pytest.raises(RAISES[fault], match=r"at write 1, control\.open_log"):
        control.open_log(LOG, LOCK)
    assert (control.lock(LOG.origin) == LOCK) == fault.writes


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_at_the_end_of_a_log(fault: Fault) -> None:
    control = FaultyControl(MemoryControl(), Faults({2: fault, 3: fault}))
    control.open_log(LOG, LOCK)
    with pytest.raises(RAISES[fault], match=r"at write 2, control\.close_log"):
        control.close_log(LOG.origin, LOCK)
    assert control.logs() == [replace(LOG, closed=fault.writes)]
    following = replace(LOG, origin="example/events/0/2", term="2")
    with pytest.raises(RAISES[fault], match=r"at write 3, control\.succeed_log"):
        control.succeed_log(LOCK, following, replace(LOCK, origin=following.origin))
    assert control.logs() == ([replace(LOG, closed=True), following] if fault.writes else [LOG])


def test_the_matrix_has_every_write_with_every_fault() -> None:
    assert list(matrix(2, [Fault.LOST, Fault.REPORTED])) == [
        (1, Fault.LOST),
        (1, Fault.REPORTED),
        (2, Fault.LOST),
        (2, Fault.REPORTED),
    ]
    assert len(list(matrix(3))) == 12
