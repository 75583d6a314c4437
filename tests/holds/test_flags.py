"""Flags of the archive against the register, and what a new object is written with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from memory_control import MemoryControl
from memory_objects import MemoryObjects

from affidavit.holds.checking import records_gone
from affidavit.holds.flags import Drift, Standing, find_drift, is_wanted, mend
from retention.entries import Entry, encode_entry
from retention.register import DAY_MS, Register
from retention.scope import Scope, encode_scope
from schemas.errors import Unavailable
from schemas.ids import EVENTS, Offset, Shard
from sinks.archive import names
from stores.objects import NewObject

NOW = 1_780_000_000_000  # 2026-05-28
SHARD = Shard(EVENTS, 0)


class Story:
    """A register, and its entries in a control database."""

    def __init__(self) -> None:
        self.register, self.control = Register(), MemoryControl()
        self.entries: list[Entry] = []
        self.do("matter.create", matter="m", name="n", tenant="*")

    def do(self, what: str, at_ms: int = NOW, by: str = "ada", **details: Any) -> None:
        entry = self.register.next(what, details, by, "t", at_ms)
        self.register.apply(entry)
        self.entries.append(entry)
        self.control.append_register(entry.number, encode_entry(entry))

    def place(self, scope: Scope, hold: str = "h", **more: Any) -> None:
        details: Mapping[str, Any] = {"matter": "m", "kind": "hold", "reason": "r", "plan": ""} | more
        self.do("hold.place", hold=hold, scope=encode_scope(scope), **details)


@pytest.fixture
def story() -> Story:
    return Story()


def segment(tenant: str, day: date, first: int = 0, *, stray: bool = False) -> str:
    scope = names.Scope(tenant, "default", day, stray)
    return names.segment_key(scope, SHARD, Offset(first), Offset(first + 10))


def test_an_object_is_wanted_when_a_hold_may_be_about_it(story: Story) -> None:
    story.place(Scope("acme", sessions=("s",), from_ms=NOW - 2 * DAY_MS))
    for tenant, day, stray, wanted in (
        ("acme", date(2026, 5, 28), False, True),
        ("acme", date(2026, 5, 26), False, True),
        ("acme", date(2026, 5, 25), False, False),
        ("acme", date(2026, 5, 29), False, False),  # it does not look ahead
        ("globex", date(2026, 5, 28), False, False),
        ("", date(2026, 5, 28), True, True),  # nobody knows whose they are
    ):
        assert is_wanted(story.register, names.Scope(tenant, "default", day, stray), NOW) is wanted, (tenant, day)
    story.place(Scope("acme", sessions=("s",), prospective=True), hold="h-2")
    assert is_wanted(story.register, names.Scope("acme", "default", date(2027, 1, 1)), NOW)


def test_drift_is_found_and_mended(story: Story) -> None:
    objects = MemoryObjects()
    day = date(2026, 5, 28)
    held, free, other = segment("acme", day), segment("globex", day), segment("globex", day, 10)
    objects.create([NewObject(held, b"1"), NewObject(free, b"2"), NewObject(other, b"3", hold=True)])
    objects.create([NewObject("segments/_plans/events-0/00000000000000/00000000000000000000.json", b"{}")])
    story.place(Scope("acme", everything=True))
    drift = find_drift(objects, story.register, NOW)
    assert (drift.objects, drift.missing, drift.extra) == (3, [held], [other])
    assert find_drift(objects, story.register, NOW, ["acme"]).objects == 1
    mend(objects, drift)
    flags = {info.key: info.hold for info in objects.list("segments/") if info.key in (held, free, other)}
    assert flags == {held: True, free: False, other: True}
    mend(objects, find_drift(objects, story.register, NOW), clear=True)
    assert find_drift(objects, story.register, NOW) == Drift(3)


def test_what_cannot_be_flagged_is_said(story: Story) -> None:
    drift = Drift(1, [segment("acme", date(2026, 5, 28))])
    mend(MemoryObjects(), drift)
    assert list(drift.failed) == drift.missing


def test_a_new_object_is_flagged_for_holds_that_were_placed_meanwhile(story: Story) -> None:
    standing = Standing(story.control)
    scope = names.Scope("acme", "default", date(2026, 5, 28))
    assert not standing.may_hold(scope, NOW)
    story.place(Scope("acme", everything=True, prospective=True))
    assert standing.may_hold(scope, NOW)
    assert not standing.may_hold(scope._replace(tenant="globex"), NOW)
    story.do("release.request", hold="h", clauses=[1], reason="r")
    story.do("release.approve", by="bob", hold="h", delay_days=1)
    assert standing.may_hold(scope, NOW + DAY_MS - 1)
    assert not standing.may_hold(scope, NOW + DAY_MS)


def test_without_the_database_everything_is_flagged(story: Story) -> None:
    class Away(MemoryControl):
        def register_entries(self, after: int = 0) -> list[bytes]:
            raise Unavailable("away")

    assert Standing(Away()).may_hold(names.Scope("acme", "default", date(2026, 5, 28)), NOW)


def test_records_of_a_hold_that_are_gone_are_missed(story: Story) -> None:
    class Asked:
        def ask(self, _: str) -> Any:
            return type("Answer", (), {"rows": ((3,),)})

    client: Any = Asked()
    story.place(Scope("acme", sessions=("s",)), counted=3)
    story.do("hold.extend", hold="h", scope=encode_scope(Scope("acme", sessions=("t",))), reason="r", counted=4)
    assert records_gone(story.register, story.entries, client, NOW) == {"h, scope 2": (4, 3)}
