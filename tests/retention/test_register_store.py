"""The register in its two places: every write lost, done but reported as failed, or followed by death; races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faults import Crash, Fault, Faults, FaultyControl, FaultyObjects
from memory_control import MemoryControl
from memory_objects import MemoryObjects

from retention.entries import Entry, decode_entry
from retention.register_store import RegisterStore, entry_key
from retention.scope import Scope, encode_scope
from schemas.errors import Declined, LedgerContradiction, RetentionLocked, Unavailable

NOW = 1_780_000_000_000
MATTER = {"matter": "m", "name": "Smith v. Acme", "tenant": "acme"}
PLACE = {
    "hold": "h-1",
    "matter": "m",
    "kind": "hold",
    "scope": encode_scope(Scope("acme", sessions=("s",))),
    "reason": "complaint",
    "plan": "",
}


class Place:
    """The two stores, and what was announced."""

    def __init__(self) -> None:
        self.control, self.objects = MemoryControl(), MemoryObjects()
        self.announced: list[Entry] = []
        self.faults = Faults()

    def store(self, plan: dict[int, Fault] | None = None) -> RegisterStore:
        self.faults = Faults(plan)
        control: Any = FaultyControl(self.control, self.faults)
        objects: Any = FaultyObjects(self.objects, self.faults)
        return RegisterStore(control, objects, self.announced.append, lambda: NOW)


@pytest.fixture
def place() -> Place:
    made = Place()
    made.store().add("matter.create", MATTER, "ada", "t")
    return made


def test_an_entry_lies_in_both_places_and_was_announced_first(place: Place) -> None:
    entry = place.store().add("hold.place", PLACE, "ada", "t")
    assert entry.number == 2
    assert decode_entry(place.objects.get(entry_key(2))) == entry
    assert place.announced[-1] == entry
    assert place.store().check() == 2
    assert place.store().read().holds["h-1"].placed_by == "ada"
    with pytest.raises(RetentionLocked):
        place.objects.delete([entry_key(2)])


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_goes_wrong_it_happened_or_it_did_not(place: Place, number: int, fault: Fault) -> None:
    with pytest.raises((Unavailable, Crash), match="write"):
        place.store({number: fault}).add("hold.place", PLACE, "ada", "t")
    again = place.store()
    there = "h-1" in again.read().holds
    assert there is (number == 2 or fault.writes), "what is in the object store has happened"
    if there:
        with pytest.raises(Declined, match=r"there is a hold h-1|is the same, and in force"):
            again.add("hold.place", PLACE, "ada", "t")
    else:
        again.add("hold.place", PLACE, "ada", "t")
    assert again.check() == 2


def test_a_database_from_a_backup_brings_no_hold_out_of_force(place: Place) -> None:
    place.store().add("hold.place", PLACE, "ada", "t")
    backup = MemoryControl()
    backup.append_register(1, place.control.register_entries()[0])
    place.control = backup
    with pytest.raises(LedgerContradiction, match="entry 2 is in the object store alone"):
        place.store().check()
    assert "h-1" in place.store().read().holds
    assert place.store().check() == 2


def test_an_older_object_store_is_not_believed(place: Place) -> None:
    place.store().add("hold.place", PLACE, "ada", "t")
    place.objects = MemoryObjects()
    with pytest.raises(LedgerContradiction, match="nothing may be destroyed until it is restored"):
        place.store().read()
    with pytest.raises(LedgerContradiction, match="entry 1 is not the same in the object store"):
        place.store().check()


def test_of_many_at_once_each_gets_a_number(place: Place) -> None:
    def put(number: int) -> int:
        store = RegisterStore(place.control, place.objects, lambda _: None, lambda: NOW)
        return store.add("matter.create", MATTER | {"matter": f"m-{number}"}, "ada", "t").number

    with ThreadPoolExecutor(6) as threads:
        numbers = list(threads.map(put, range(6)))
    assert sorted(numbers) == list(range(2, 8))
    assert place.store().check() == 7


def test_of_two_who_place_the_same_one_is_declined(place: Place) -> None:
    """The second decides anew after it lost the race."""
    late: list[str] = []

    def announce(entry: Entry) -> None:
        if entry.details["hold"] == "h-1" and not late:
            late.append("once")
            RegisterStore(place.control, place.objects, lambda _: None, lambda: NOW).add(
                "hold.place", PLACE | {"hold": "h-2"}, "bob", "t"
            )

    with pytest.raises(Declined, match="hold h-2 of matter m is the same, and in force"):
        RegisterStore(place.control, place.objects, announce, lambda: NOW).add("hold.place", PLACE, "ada", "t")
    assert list(place.store().read().holds) == ["h-2"]
