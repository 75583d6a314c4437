"""What may happen to matters and holds, and what may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from retention.entries import Entry, decode_entry, encode_entry
from retention.register import DAY_MS, Register, replay
from retention.scope import Scope, encode_scope
from schemas.errors import Declined, LedgerContradiction, MalformedInput

NOW = 1_780_000_000_000
SCOPE = Scope("acme", sessions=("s-1",))
OTHER = Scope("acme", sessions=("s-2",))


class Story:
    """A register to which things happen, a second apart unless told otherwise."""

    def __init__(self) -> None:
        self.register = Register()
        self.entries: list[Entry] = []
        self.now = NOW

    def do(self, what: str, by: str = "ada", **details: Any) -> Entry:
        self.now += 1000
        if isinstance(details.get("scope"), Scope):
            details["scope"] = encode_scope(details["scope"])
        entry = self.register.next(what, details, by, "t-1", self.now)
        self.register.apply(entry)
        self.entries.append(entry)
        return entry

    def matter(self, name: str = "2026-001", tenant: str = "acme") -> None:
        self.do("matter.create", matter=name, name="Smith v. Acme", tenant=tenant)

    def place(self, hold: str = "h-1", scope: Scope = SCOPE, kind: str = "hold", **more: Any) -> None:
        details = {"matter": "2026-001", "reason": "complaint", "plan": ""} | more
        self.do("hold.place", hold=hold, kind=kind, scope=scope, **details)

    def state(self, hold: str = "h-1") -> str:
        return self.register.holds[hold].state(self.now)

    def later(self, days: float) -> None:
        self.now += round(days * DAY_MS)


@pytest.fixture
def story() -> Story:
    made = Story()
    made.matter()
    made.place()
    return made


def release(story: Story, hold: str = "h-1", clauses: tuple[int, ...] = (1,), days: int = 30) -> None:
    story.do("release.request", hold=hold, clauses=list(clauses), reason="settled")
    story.do("release.approve", "bob", hold=hold, delay_days=days)


def test_a_hold_ends_by_two_people_and_a_delay(story: Story) -> None:
    story.do("release.request", hold="h-1", clauses=[1], reason="settled")
    assert story.state() == "effective"
    with pytest.raises(Declined, match="ada has asked for this, and cannot approve it"):
        story.do("release.approve", "ada", hold="h-1", delay_days=30)
    story.do("release.approve", "bob", hold="h-1", delay_days=30)
    assert story.state() == "releasing"
    story.later(29.99)
    assert list(story.register.in_force(story.now))
    story.later(0.02)
    assert story.state() == "released"
    assert not list(story.register.in_force(story.now))


def test_a_release_is_taken_back_before_and_during_its_delay(story: Story) -> None:
    story.do("release.request", hold="h-1", clauses=[1], reason="settled")
    story.do("release.cancel", "bob", hold="h-1", reason="appeal")
    with pytest.raises(Declined, match="nobody has asked for this"):
        story.do("release.approve", "bob", hold="h-1", delay_days=30)
    release(story)
    story.do("release.cancel", hold="h-1", reason="appeal")
    story.later(1000)
    assert story.state() == "effective"
    with pytest.raises(Declined, match="nothing to cancel"):
        story.do("release.cancel", hold="h-1", reason="appeal")


def test_a_delay_is_ended_early_by_two_people(story: Story) -> None:
    with pytest.raises(Declined, match="scope 1 is effective, expected one that is releasing"):
        story.do("early.request", hold="h-1", clauses=[1], reason="court order")
    release(story)
    story.do("early.request", hold="h-1", clauses=[1], reason="court order")
    with pytest.raises(Declined, match="cannot approve it"):
        story.do("early.approve", hold="h-1")
    assert story.state() == "releasing"
    story.do("early.approve", "bob", hold="h-1")
    assert story.state() == "released"


def test_two_matters_that_hold_the_same(story: Story) -> None:
    story.matter("2026-002")
    story.place("h-2", matter="2026-002")
    release(story, days=0)
    assert (story.state("h-1"), story.state("h-2")) == ("released", "effective")
    assert [hold.hold for hold, _ in story.register.in_force(story.now)] == ["h-2"]


def test_a_hold_is_extended_and_narrowed(story: Story) -> None:
    story.do("hold.extend", hold="h-1", scope=OTHER, reason="amended complaint", plan="")
    release(story, clauses=(1,), days=7)
    assert [clause.state(story.now) for clause in story.register.holds["h-1"].clauses] == ["releasing", "effective"]
    story.later(8)
    assert [clause.scope for _, clause in story.register.in_force(story.now)] == [OTHER]
    with pytest.raises(Declined, match="scope 1 is released, expected one that is effective"):
        story.do("release.request", hold="h-1", clauses=[1], reason="again")
    with pytest.raises(Declined, match="has no scope 3, expected one of 1 to 2"):
        story.do("release.request", hold="h-1", clauses=[3], reason="again")


def test_a_matter_is_closed_after_its_last_delay(story: Story) -> None:
    release(story, days=1)
    with pytest.raises(Declined, match="matter 2026-001 has holds that are not released: h-1"):
        story.do("matter.close", matter="2026-001", reason="settled")
    story.later(1)
    story.do("matter.close", matter="2026-001", reason="settled")
    with pytest.raises(Declined, match="matter 2026-001 was closed by ada"):
        story.place("h-2")
    with pytest.raises(Declined, match="there is a matter 2026-001"):
        story.matter()


def test_the_same_again_is_declined(story: Story) -> None:
    with pytest.raises(Declined, match="hold h-1 of matter 2026-001 is the same, and in force: nothing to do"):
        story.place("h-2")
    with pytest.raises(Declined, match="hold h-1 has this scope: nothing to do"):
        story.do("hold.extend", hold="h-1", scope=SCOPE, reason="again", plan="")
    story.do("release.request", hold="h-1", clauses=[1], reason="settled")
    with pytest.raises(Declined, match="ada has asked for this already"):
        story.do("release.request", "eve", hold="h-1", clauses=[1], reason="settled")


def test_a_freeze_may_end_by_itself_and_a_hold_may_not(story: Story) -> None:
    with pytest.raises(Declined, match="only an investigation freeze has one"):
        story.place("h-2", OTHER, lapses_ms=story.now + DAY_MS)
    with pytest.raises(Declined, match="a freeze that has ended already"):
        story.place("f-1", OTHER, kind="freeze", lapses_ms=story.now)
    story.place("f-1", OTHER, kind="freeze", lapses_ms=story.now + DAY_MS)
    release(story, "f-1", days=30)
    story.do("release.cancel", hold="f-1", reason="not yet")
    assert story.state("f-1") == "effective"
    story.later(1)
    assert story.state("f-1") == "released"


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (Scope("acme"), "an empty scope, which would hold all records of acme"),
        (Scope("", sessions=("s",)), "got no tenant"),
        (Scope("globex", sessions=("s",)), "matter 2026-001 is of tenant acme, the scope of globex"),
        (replace(SCOPE, from_ms=2, until_ms=2), "not after the time from which it begins"),
        (replace(SCOPE, everything=True), "leave one of them away"),
        (Scope("acme", tools=("*",)), "a \\* alone, among the tools"),
        (Scope("acme", sessions=(" ",)), "an empty value"),
    ],
)
def test_a_scope_that_may_not_be(story: Story, scope: Scope, message: str) -> None:
    before = story.register.number
    with pytest.raises((Declined, MalformedInput), match=message):
        story.place("h-9", scope)
    assert (story.register.number, "h-9" in story.register.holds) == (before, False)


@pytest.mark.parametrize(
    ("what", "details", "message"),
    [
        (
            "hold.place",
            {"matter": "9", "hold": "h", "kind": "hold", "scope": {}, "reason": "r"},
            "there is no matter 9",
        ),
        ("hold.extend", {"hold": "h-9", "scope": {}, "reason": "r"}, "there is no hold h-9"),
        ("release.request", {"hold": "h-1", "clauses": [1], "reason": " "}, "got no reason"),
        ("release.request", {"hold": "h-1", "clauses": [], "reason": "r"}, "has no scope that is effective"),
        ("release.approve", {"hold": "h-1", "delay_days": 30}, "nobody has asked for this"),
        ("hold.destroy", {}, "got 'hold.destroy', expected one of"),
    ],
)
def test_what_may_not_be_leaves_no_trace(story: Story, what: str, details: dict[str, Any], message: str) -> None:
    before = (dict(story.register.holds), dict(story.register.matters), story.register.number)
    with pytest.raises(Declined, match=message):
        story.do(what, **details)
    assert (story.register.holds, story.register.matters, story.register.number) == before


def test_nobody_is_nobody(story: Story) -> None:
    with pytest.raises(Declined, match="who does this must be known"):
        story.do("release.request", "", hold="h-1", clauses=[1], reason="r")


def test_the_register_as_of_a_time(story: Story) -> None:
    before = story.now
    release(story, days=0)
    assert replay(story.entries).holds["h-1"].state(story.now) == "released"
    assert replay(story.entries, before).holds["h-1"].state(before) == "effective"
    assert replay(story.entries, NOW).holds == {}


def test_a_clock_that_steps_back_does_not_turn_the_register(story: Story) -> None:
    last = story.now
    story.now -= 10 * DAY_MS
    entry = story.do("release.request", hold="h-1", clauses=[1], reason="settled")
    assert entry.at_ms == last


def test_entries_survive_their_bytes(story: Story) -> None:
    release(story)
    assert [decode_entry(encode_entry(entry)) for entry in story.entries] == story.entries
    for data in (b"", b"[]", b"{}", b'{"format":"affidavit.register/1"}', encode_entry(story.entries[0]) + b" "):
        with pytest.raises(MalformedInput, match="register of holds"):
            decode_entry(data)


@pytest.mark.parametrize("change", ["drop", "swap", "edit", "forge"])
def test_a_register_that_was_changed_is_not_believed(story: Story, change: str) -> None:
    release(story)
    entries = list(story.entries)
    if change == "drop":
        del entries[1]
    elif change == "swap":
        entries[1], entries[2] = entries[2], entries[1]
    elif change == "edit":
        entries[1] = replace(entries[1], details=dict(entries[1].details) | {"reason": "other"})
    else:
        entries[3] = replace(entries[3], by="ada")
    with pytest.raises(LedgerContradiction, match="register of holds: entry"):
        replay(entries)


def policy_document(version: int, **keep: str) -> dict[str, Any]:
    rule = {"rule": "house", "citation": "manual", "keep": keep}
    return {
        "format": "affidavit.retention-policy/1",
        "name": "house",
        "version": version,
        "owner": "records",
        "effective": "2026-01-01",
        "rules": [rule],
    }


def test_a_policy_that_shortens_takes_two_people(story: Story) -> None:
    story.do("policy.apply", document=policy_document(1, content="90 days"), reason="committee")
    assert story.register.policy is None, "without one nothing expires, so the first shortens"
    with pytest.raises(Declined, match="ada has asked for this policy, and cannot approve it"):
        story.do("policy.approve", version=1)
    with pytest.raises(Declined, match="no version 2 of the policy waits"):
        story.do("policy.approve", "bob", version=2)
    with pytest.raises(Declined, match="version 1 of the policy, asked for by ada, waits for approval"):
        story.do("policy.apply", document=policy_document(2, content="1 year"), reason="r")
    story.do("policy.approve", "bob", version=1)
    assert story.register.policy is not None
    assert story.register.policy.policy.version == 1
    story.do("policy.apply", document=policy_document(2, content="1 year"), reason="longer")
    assert story.register.policy.policy.version == 2, "what is longer takes one"
    with pytest.raises(Declined, match="got version 2, and version 2 is in force"):
        story.do("policy.apply", document=policy_document(2, content="2 years"), reason="r")
    story.do("policy.apply", document=policy_document(3, content="12 months"), reason="the same")
    assert story.register.policy.policy.version == 3
    story.do("policy.apply", document=policy_document(4, content="364 days"), reason="shorter")
    story.do("policy.cancel", "bob", version=4, reason="no")
    assert (story.register.policy.policy.version, story.register.policy_asked) == (3, None)
    assert replay(story.entries).policy == story.register.policy


def test_a_policy_that_is_none_is_not_applied(story: Story) -> None:
    with pytest.raises(MalformedInput, match="got '3 weeks'"):
        story.do("policy.apply", document=policy_document(1, content="3 weeks"), reason="r")
    with pytest.raises(Declined, match="got no reason"):
        story.do("policy.apply", document=policy_document(1, content="3 days"), reason="")
