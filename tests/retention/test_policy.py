"""Retention policies: what they say, what they may not say, and how two of them differ."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from retention.policy import (
    FORMAT,
    OTHER,
    Period,
    Policy,
    Subject,
    changes,
    conflicts,
    decide,
    month_end,
    parse_period,
    parse_policy,
    shortens,
    subjects,
)
from schemas.errors import MalformedInput

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "policies"
DAY = date(2026, 1, 31)
HOUSE = {
    "rule": "house",
    "citation": "manual",
    "keep": {"content": "90 days", "source": "90 days", "metadata": "7 years"},
}
BROKER = {"rule": "broker", "citation": "17a-4", "tenants": ["broker"], "at_least": "3 years"}


def policy(*rules: dict[str, Any], **head: Any) -> Policy:
    document = {"format": FORMAT, "name": "p", "version": 1, "owner": "o", "effective": date(2026, 1, 1)}
    return parse_policy(document | head | {"rules": list(rules)})


def part(name: str = "content", tenant: str = "acme") -> Subject:
    return Subject(tenant, "prompt", "default", "", name)


def test_content_90_days_and_metadata_7_years_is_one_line() -> None:
    made = policy(HOUSE)
    assert decide(made, part("content"), DAY).expires == date(2026, 5, 1)
    assert decide(made, part("metadata"), DAY).expires == date(2033, 1, 31)
    assert [rule.rule for rule in decide(made, part("content"), DAY).by] == ["house"]


def test_the_longest_minimum_beats_the_shortest_maximum() -> None:
    made = policy(HOUSE, BROKER)
    told = decide(made, part("content", "broker"), DAY)
    assert (told.until, told.expires, told.conflict) == (date(2029, 1, 31), date(2029, 1, 31), True)
    assert [rule.rule for rule in told.by] == ["house", "broker"]
    assert not decide(made, part("content"), DAY).conflict
    assert {subject.tenant for subject, _ in conflicts(made, DAY)} == {"broker"}


def test_without_a_maximum_nothing_expires() -> None:
    told = decide(policy(BROKER), part("content", "broker"), DAY)
    assert (told.until, told.expires) == (date(2029, 1, 31), None)
    nothing = decide(policy(BROKER), part("content"), DAY)
    assert (nothing.until, nothing.expires, nothing.by) == (None, None, ())


@pytest.mark.parametrize(
    ("text", "day", "after"),
    [
        ("1 month", date(2026, 1, 31), date(2026, 3, 1)),
        ("1 year", date(2024, 2, 29), date(2025, 3, 1)),
        ("4 years", date(2024, 2, 29), date(2028, 2, 29)),
        ("12 months", date(2026, 12, 31), date(2027, 12, 31)),
        ("11 months", date(2026, 12, 31), date(2027, 12, 1)),
        ("2 months", date(2026, 12, 31), date(2027, 3, 1)),
        ("1 day", date(2026, 12, 31), date(2027, 1, 1)),
        ("90 days", date(2024, 2, 1), date(2024, 5, 1)),
    ],
)
def test_periods_of_the_calendar(text: str, day: date, after: date) -> None:
    period = parse_period(text, "x")
    assert period.after(day) == after
    assert parse_period(str(period), "x") == period


@given(st.dates(date(1990, 1, 1), date(2200, 1, 1)), st.integers(1, 400), st.sampled_from(("day", "month", "year")))
def test_a_later_day_is_never_due_earlier(day: date, count: int, unit: str) -> None:
    period = Period(count, unit)
    assert period.after(day) <= period.after(date.fromordinal(day.toordinal() + 1))
    assert period.after(day) > day
    assert month_end(day) > day
    assert month_end(day).day == 1


@pytest.mark.parametrize(
    ("rules", "head", "message"),
    [
        ([HOUSE], {"format": "x"}, "got no retention policy"),
        ([HOUSE], {"version": 0}, "version: got 0"),
        ([HOUSE], {"effective": "soon"}, "effective: got 'soon'"),
        ([HOUSE], {"owner": " "}, "policy: owner: got ' '"),
        ([HOUSE], {"color": 1}, "policy: got color"),
        ([], {}, "at least one rule"),
        ([HOUSE, HOUSE], {}, "got rule 'house' twice"),
        ([BROKER | {"kinds": ["prompts"]}], {}, "kinds: got 'prompts', expected one of"),
        ([BROKER | {"parts": ["body"]}], {}, "parts: got 'body', expected one of metadata, content, source"),
        ([BROKER | {"tenants": "broker"}], {}, "expected a list"),
        ([BROKER | {"at_least": "3 weeks"}], {}, "rule 1 .'broker'., at_least: got '3 weeks'"),
        ([BROKER | {"at_least": 3}], {}, "got 3, expected days"),
        ([{"rule": "r", "citation": "c"}], {}, "expected at_least, at_most or keep"),
        ([HOUSE | {"at_most": "1 day"}], {}, "keep is a mapping of parts to periods"),
        ([{"rule": "r", "keep": {"content": "1 day"}}], {}, "citation: got None"),
        (["house"], {}, "expected a mapping with rule"),
    ],
)
def test_what_a_policy_may_not_say(rules: list[Any], head: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedInput, match=message):
        policy(*rules, **head)


def test_what_changes_and_whether_it_shortens() -> None:
    old, new = policy(HOUSE), policy(HOUSE, BROKER)
    longer = changes(old, new, DAY)
    assert {(one.subject.tenant, one.subject.part) for one in longer} == {
        ("broker", "content"),
        ("broker", "source"),
    }
    assert not any(one.shorter for one in longer)
    assert all(one.shorter for one in changes(new, old, DAY))
    cut = changes(old, policy({**HOUSE, "keep": {"content": "30 days"}}), DAY)
    assert {(one.subject.part, one.shorter) for one in cut} == {("content", True), ("source", True), ("metadata", True)}
    assert changes(old, old, DAY) == []


def test_what_no_rule_names_is_compared_too() -> None:
    assert {one.tenant for one in subjects(policy(BROKER))} == {"broker", OTHER}
    wide = {key: [f"v{at}" for at in range(100)] for key in ("tenants", "classes", "classifications")}
    with pytest.raises(MalformedInput, match="kinds of parts apart"):
        list(subjects(policy(BROKER | wide)))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_parse_and_do_not_contradict_themselves(path: Path) -> None:
    made = parse_policy(yaml.safe_load(path.read_text()))
    assert conflicts(made, DAY) == []
    assert all(rule.citation for rule in made.rules)


def test_there_is_an_example_for_each_law() -> None:
    there = {path.stem for path in EXAMPLES.glob("*.yaml")}
    assert {"sox", "hipaa", "sec-17a-4", "finra-4511", "gdpr", "pci-dss", "nydfs-500", "eu-ai-act"} <= there


def test_months_are_not_of_one_length() -> None:
    """Three months are 89 to 92 days: neither is the longer one on every day."""
    days, months = (policy({**HOUSE, "keep": {"content": text}}) for text in ("90 days", "3 months"))
    assert shortens(days, months)
    assert shortens(months, days)
    assert not shortens(policy({**HOUSE, "keep": {"content": "89 days"}}), months)
    assert not shortens(days, days)
    assert shortens(None, days)
    assert not shortens(None, policy(BROKER))
