"""Retention policies: data that says how long a part of a record must be kept, and how long it may be. Pure.

::

    format: affidavit.retention-policy/1
    name: acme
    version: 3
    owner: records@acme.com
    effective: 2026-01-01
    rules:
      - rule: house
        citation: Records Manual 4.2
        keep: {content: 90 days, source: 90 days, metadata: 7 years}
      - rule: sec-17a-4
        citation: 17 CFR 240.17a-4(b)(4)
        tenants: [brokerage]
        at_least: 3 years

Every rule whose conditions all agree applies; a condition that is left away agrees with anything. Of several minimums
the longest counts, of several maximums the shortest; where a minimum is longer than a maximum the record is kept for
the minimum, for what the law asks to keep is not destroyed because of what another rule allows to keep. Where no rule
has a maximum, nothing expires. ``keep`` is minimum and maximum in one.

Periods begin on the day of receipt, UTC. Months and years are those of the calendar; a day that a month has not is
the first of the next. Subject keys are made for a month, so a part is destroyed when the youngest of its month is due.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from typing import Any, NamedTuple

from schemas.errors import MalformedInput
from schemas.metadata import KIND_CODES

FORMAT = "affidavit.retention-policy/1"

PARTS = ("metadata", "content", "source")

CONDITIONS = ("tenants", "kinds", "classes", "classifications", "parts")
"""What a rule may ask of a record: its tenant, kind, retention class, classification, and which part of it."""

OTHER = "(any other)"
"""Stands for all values that no rule names."""

MAX_CELLS = 1_000_000

_PERIOD = re.compile(r"([1-9][0-9]{0,4}) (day|month|year)s?")
_HEAD = {"format", "name", "version", "owner", "effective", "note", "rules"}
_RULE = {"rule", "citation", "note", "keep", "at_least", "at_most", *CONDITIONS}


class Period(NamedTuple):
    """A stretch of the calendar, such as ``90 days`` or ``7 years``."""

    length: int
    unit: str

    def after(self, day: date) -> date:
        """The day on which it has passed."""
        if self.unit == "day":
            return day + timedelta(days=self.length)
        months = day.year * 12 + day.month - 1 + self.length * (12 if self.unit == "year" else 1)
        year, month = divmod(months, 12)
        try:
            return date(year, month + 1, day.day)
        except ValueError:
            return date(year + (month == 11), 1 if month == 11 else month + 2, 1)

    def __str__(self) -> str:
        return f"{self.length} {self.unit}{'' if self.length == 1 else 's'}"


class Subject(NamedTuple):
    """What rules look at: one part of one record."""

    tenant: str
    kind: str
    retention_class: str
    classification: str
    part: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``conditions`` are by name of :data:`CONDITIONS`."""

    rule: str
    citation: str
    conditions: Mapping[str, tuple[str, ...]]
    at_least: Period | None
    at_most: Period | None
    note: str = ""

    def applies(self, subject: Subject) -> bool:
        """Whether it is about this part of a record."""
        return all(
            value in self.conditions.get(name, (value,)) for name, value in zip(CONDITIONS, subject, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of one deployment."""

    name: str
    version: int
    owner: str
    effective: date
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """How long a part is kept.

    Attributes:
        until: the day before which it must not be destroyed; ``None`` when no rule asks for it.
        expires: the day from which it is to be destroyed, never before ``until``; ``None``: it does not expire.
        by: the rules that settle ``until`` and ``expires``; ``also`` are others that apply.
        conflict: whether a minimum is longer than a maximum.
    """

    until: date | None
    expires: date | None
    by: tuple[Rule, ...]
    also: tuple[Rule, ...]
    conflict: bool


def decide(policy: Policy, subject: Subject, received: date) -> Decision:
    """What a policy says of a part that was received on a day."""
    found = [rule for rule in policy.rules if rule.applies(subject)]
    least = [(rule.at_least.after(received), rule) for rule in found if rule.at_least is not None]
    most = [(rule.at_most.after(received), rule) for rule in found if rule.at_most is not None]
    until = max((day for day, _ in least), default=None)
    ends = min((day for day, _ in most), default=None)
    conflict = until is not None and ends is not None and until > ends
    by = [rule for day, rule in least if day == until] + [rule for day, rule in most if day == ends]
    expires = until if conflict else ends
    settled = tuple(rule for rule in found if rule in by)
    return Decision(until, expires, settled, tuple(rule for rule in found if rule not in by), conflict)


def month_end(day: date) -> date:
    """The first day of the next month: when the youngest record of a month's key was received, at the latest."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


class Change(NamedTuple):
    """Where two policies differ. ``shorter``: something may be destroyed earlier by the new one."""

    subject: Subject
    before: Decision
    after: Decision
    shorter: bool


def changes(old: Policy, new: Policy, received: date) -> list[Change]:
    """Every kind of part for which a new policy says otherwise, as of a day of receipt.

    Raises:
        MalformedInput: they distinguish too many kinds of parts to compare them all.
    """
    found = []
    for subject in subjects(old, new):
        before, after = decide(old, subject, received), decide(new, subject, received)
        if (before.until, before.expires) != (after.until, after.expires):
            found.append(Change(subject, before, after, _is_shorter(before, after)))
    return found


def shortens(old: Policy | None, new: Policy) -> bool:
    """Whether anything could be destroyed earlier by a new policy, whenever it was received: the first and the last day
    of each month of a leap year and of the year before, since months differ. Without an old one nothing expires.

    Raises:
        MalformedInput: they distinguish too many kinds of parts to compare them all.
    """
    before = old or Policy("", 0, "", new.effective, ())
    firsts = [date(year, month, 1) for year in (2027, 2028) for month in range(1, 13)]
    days = [day for first in firsts for day in (first, date.fromordinal(month_end(first).toordinal() - 1))]
    return any(change.shorter for day in days for change in changes(before, new, day))


def conflicts(policy: Policy, received: date) -> list[tuple[Subject, Decision]]:
    """Every kind of part for which a minimum of the policy is longer than a maximum."""
    told = ((subject, decide(policy, subject, received)) for subject in subjects(policy))
    return [(subject, decision) for subject, decision in told if decision.conflict]


def subjects(*policies: Policy) -> Iterator[Subject]:
    """Every kind of part that the rules tell apart.

    Raises:
        MalformedInput: more than :data:`MAX_CELLS`.
    """
    values: dict[str, dict[str, None]] = {name: {} for name in CONDITIONS}
    for policy in policies:
        for rule in policy.rules:
            for name, named in rule.conditions.items():
                values[name].update(dict.fromkeys(named))
    values["parts"] = dict.fromkeys(PARTS)
    columns = [[*values[name], *([] if name == "parts" else [OTHER])] for name in CONDITIONS]
    count = 1
    for column in columns:
        count *= len(column)
    if count > MAX_CELLS:
        raise MalformedInput(f"the rules tell {count:,} kinds of parts apart, expected at most {MAX_CELLS:,}")
    return (Subject(*row) for row in product(*columns))


def parse_policy(document: object) -> Policy:
    """A policy from what its YAML holds. What this has accepted once it must accept for ever: the register holds it.

    Raises:
        MalformedInput: with the rule and the field at fault.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise MalformedInput(f"got no retention policy, expected a mapping with format: {FORMAT}")
    _only(document, _HEAD, "policy")
    effective, version = _day(document.get("effective")), document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise MalformedInput(f"version: got {version!r}, expected a number from 1")
    rules = document.get("rules")
    if not isinstance(rules, Sequence) or isinstance(rules, str) or not rules:
        raise MalformedInput("rules: expected a list with at least one rule")
    made = [rule for at, given in enumerate(rules, 1) for rule in _rules(given, f"rule {at}")]
    names = [str(given.get("rule")) for given in rules]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedInput(f"got rule {twice!r} twice: a decision names its rules")
    return Policy(
        _text(document, "name", "policy"), version, _text(document, "owner", "policy"), effective, tuple(made)
    )


def parse_period(text: object, place: str) -> Period:
    """A period.

    Raises:
        MalformedInput: something else.
    """
    match = _PERIOD.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise MalformedInput(f"{place}: got {text!r}, expected days, months or years such as 90 days or 7 years")
    return Period(int(match[1]), match[2])


def _rules(given: object, place: str) -> Iterator[Rule]:
    if not isinstance(given, Mapping):
        raise MalformedInput(f"{place}: expected a mapping with rule, citation and periods")
    place = f"{place} ({given.get('rule')!r})"
    _only(given, _RULE, place)
    name, citation = _text(given, "rule", place), _text(given, "citation", place)
    conditions = {key: _values(given[key], key, place) for key in CONDITIONS if key in given}
    note, keep = str(given.get("note", "")), given.get("keep")
    if keep is not None:
        if not isinstance(keep, Mapping) or not keep or {"parts", "at_least", "at_most"} & given.keys():
            raise MalformedInput(f"{place}: keep is a mapping of parts to periods, without parts, at_least or at_most")
        for part, text in keep.items():
            own = {**conditions, "parts": _values([part], "parts", place)}
            period = parse_period(text, f"{place}, keep {part}")
            yield Rule(name, citation, own, period, period, note)
        return
    least, most = (
        parse_period(given[key], f"{place}, {key}") if key in given else None for key in ("at_least", "at_most")
    )
    if least is None and most is None:
        raise MalformedInput(f"{place}: expected at_least, at_most or keep")
    yield Rule(name, citation, conditions, least, most, note)


def _values(given: object, key: str, place: str) -> tuple[str, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise MalformedInput(f"{place}: {key}: got {given!r}, expected a list; leave it away to mean any")
    known: Sequence[str] | None = {"parts": PARTS, "kinds": tuple(KIND_CODES)}.get(key)
    for value in given:
        if not isinstance(value, str) or not value.strip():
            raise MalformedInput(f"{place}: {key}: got {value!r}, expected text")
        if known is not None and value not in known:
            raise MalformedInput(f"{place}: {key}: got {value!r}, expected one of {', '.join(known)}")
    return tuple(dict.fromkeys(given))


def _text(given: Mapping[str, Any], key: str, place: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value.strip():
        raise MalformedInput(f"{place}: {key}: got {value!r}, expected text")
    return value.strip()


def _day(value: object) -> date:
    """A date as YAML has it, or as JSON does."""
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise MalformedInput(f"effective: got {value!r}, expected a date such as 2026-01-01") from None


def _only(given: Mapping[Any, Any], known: set[str], place: str) -> None:
    unknown = sorted(str(key) for key in given if key not in known)
    if unknown:
        raise MalformedInput(f"{place}: got {', '.join(unknown)}, expected some of {', '.join(sorted(known))}")


def _is_shorter(before: Decision, after: Decision) -> bool:
    floor = before.until is not None and (after.until is None or after.until < before.until)
    ceiling = after.expires is not None and (before.expires is None or after.expires < before.expires)
    return floor or ceiling
