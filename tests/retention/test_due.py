"""What is past its time: the longest of what a month holds, on the last day of the month, and never what is held."""

from __future__ import annotations

from datetime import date

import pytest

from retention.due import Cell, Group, State, Verdict, verdicts
from retention.policy import Policy, parse_policy

MARCH = date(2026, 3, 1)
CONTENT = Group("acme", "", MARCH, "content")
POLICY = parse_policy(
    {
        "format": "affidavit.retention-policy/1",
        "name": "p",
        "version": 1,
        "owner": "o",
        "effective": "2026-01-01",
        "rules": [
            {"rule": "house", "citation": "1", "keep": {"content": "90 days", "metadata": "1 year"}},
            {"rule": "tools", "citation": "2", "kinds": ["tool_call"], "parts": ["content"], "at_least": "1 year"},
        ],
    }
)


def cell(kind: str = "prompt", *, received: date = MARCH, held: int = 0, unreadable: int = 0, content: int = 5) -> Cell:
    return Cell("acme", "", received, kind, "", 10, held, unreadable, {"metadata": 10, "content": content, "source": 0})


def content_of(cells: list[Cell], as_of: date, keys: int = 3, policy: Policy = POLICY) -> Verdict:
    group = CONTENT._replace(month=cells[0].received)
    return next(one for one in verdicts(policy, cells, {group: keys}, as_of) if one.group == group)


@pytest.mark.parametrize(
    ("received", "first_day"),
    [
        (MARCH, date(2026, 6, 29)),  # 31 March and 90 days
        (date(2026, 2, 1), date(2026, 5, 29)),
        (date(2028, 2, 1), date(2028, 5, 29)),  # 29 February and 90 days
        (date(2026, 12, 1), date(2027, 3, 31)),
    ],
)
def test_a_month_is_due_when_its_last_day_is(received: date, first_day: date) -> None:
    before = date.fromordinal(first_day.toordinal() - 1)
    assert content_of([cell(received=received)], before).state == State.KEPT
    due = content_of([cell(received=received)], first_day)
    assert (due.state, due.expires, due.records, due.keys) == (State.DUE, first_day, 5, 3)
    assert [rule.rule for rule in due.by] == ["house"]


def test_the_longest_of_a_month_counts() -> None:
    as_of = date(2026, 12, 1)
    both = content_of([cell(), cell("tool_call")], as_of)
    assert (both.state, both.expires, both.records) == (State.KEPT, date(2027, 3, 31), 10)
    assert [rule.rule for rule in both.by] == ["house", "tools"]
    assert content_of([cell(), cell("tool_call", content=0)], as_of).state == State.DUE


@pytest.mark.parametrize("what", ["held", "unreadable"])
def test_one_that_is_held_or_cannot_be_read_keeps_all(what: str) -> None:
    found = content_of([cell(), cell("response", **{what: 1})], date(2027, 1, 1))
    assert (found.state, getattr(found, what)) == (State.HELD, 1)
    assert content_of([cell(**{what: 1})], date(2026, 5, 1)).state == State.KEPT


def test_what_no_rule_limits_does_not_expire() -> None:
    policy = Policy("p", 1, "o", POLICY.effective, (POLICY.rules[0],))
    only_metadata = Policy("p", 1, "o", POLICY.effective, (POLICY.rules[1],))
    assert content_of([cell("response")], date(2099, 1, 1), policy=policy).state == State.DUE
    found = content_of([cell("response")], date(2099, 1, 1), policy=only_metadata)
    assert (found.state, found.expires) == (State.UNLIMITED, None)


def test_keys_without_a_record_are_shown_and_never_due() -> None:
    (found,) = verdicts(POLICY, [], {CONTENT: 2}, date(2099, 1, 1))
    assert (found.state, found.expires, found.keys, found.by) == (State.UNKNOWN, None, 2, ())


def test_groups_are_in_order_and_those_without_the_part_are_not_there() -> None:
    cells = [cell(), cell(received=date(2026, 2, 1), content=0)]
    found = [one.group for one in verdicts(POLICY, cells, {}, MARCH)]
    assert found == [
        CONTENT._replace(month=date(2026, 2, 1), part="metadata"),
        CONTENT._replace(part="metadata"),
        CONTENT,
    ]
