"""What is past its time under a retention policy, and what keeps it all the same. Pure.

A subject key seals the parts of one type, of one data subject, tenant and retention class, received in one month. It
goes when the last part under it may: the longest of what the rules say of the kinds and classifications in that month,
for whatever was received on its last day. So a :class:`Group` is what is decided about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from retention.policy import PARTS, Decision, Policy, Rule, Subject, decide, month_end


class Group(NamedTuple):
    """What keys are made for, but for the data subject. ``month``: its first day."""

    tenant: str
    retention_class: str
    month: date
    part: str


class Cell(NamedTuple):
    """Records that rules do not tell apart.

    ``received`` is the first day of the month. ``parts``: how many have each part. ``held``: how many a hold in force
    is about, or may be about. ``unreadable``: how many have metadata that cannot be read, so that nobody knows what
    rules say of them.
    """

    tenant: str
    retention_class: str
    received: date
    kind: str
    classification: str
    records: int
    held: int
    unreadable: int
    parts: Mapping[str, int]


class State(StrEnum):
    """What may become of a group, as of a day."""

    DUE = "due"
    """Past its time; nothing is known that keeps it."""
    HELD = "held"
    """Past its time, and some of it is held, or may be."""
    KEPT = "kept"
    """Not past its time."""
    UNLIMITED = "unlimited"
    """Some of it never expires."""
    UNKNOWN = "unknown"
    """There are keys, and no record that was sealed under them is known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a group.

    Attributes:
        expires: the day from which its keys are to be destroyed; ``None``: never, or not known.
        by: the rules that settle it.
        records: with this part.
        held, unreadable: of its month's records, see :class:`Cell`.
        keys: that are there.
    """

    group: Group
    state: State
    expires: date | None
    by: tuple[Rule, ...]
    records: int
    held: int
    unreadable: int
    keys: int


def verdicts(policy: Policy, cells: Iterable[Cell], keys: Mapping[Group, int], as_of: date) -> list[Verdict]:
    """What is to become of each group of which there are records or keys; by tenant, class, month and part."""
    inside: dict[Group, list[Cell]] = defaultdict(list)
    for cell in cells:
        for part in PARTS:
            if cell.parts.get(part, 0):
                inside[Group(cell.tenant, cell.retention_class, cell.received, part)].append(cell)
    return [
        _verdict(policy, group, inside.get(group, []), keys.get(group, 0), as_of)
        for group in sorted(inside.keys() | keys.keys(), key=lambda one: (*one[:3], PARTS.index(one.part)))
    ]


def _verdict(policy: Policy, group: Group, cells: list[Cell], keys: int, as_of: date) -> Verdict:
    last = date.fromordinal(month_end(group.month).toordinal() - 1)
    decisions = [
        decide(policy, Subject(group.tenant, cell.kind, group.retention_class, cell.classification, group.part), last)
        for cell in cells
    ]
    records = sum(cell.parts[group.part] for cell in cells)
    held, unreadable = sum(cell.held for cell in cells), sum(cell.unreadable for cell in cells)
    latest = max((one.expires or date.max for one in decisions), default=None)
    expires = None if latest == date.max else latest
    by = _settling([one for one in decisions if one.expires == expires])
    return Verdict(group, _state(latest, held + unreadable, as_of), expires, by, records, held, unreadable, keys)


def _state(latest: date | None, kept: int, as_of: date) -> State:
    if latest is None:
        return State.UNKNOWN
    if latest == date.max:
        return State.UNLIMITED
    if latest > as_of:
        return State.KEPT
    return State.HELD if kept else State.DUE


def _settling(decisions: Iterable[Decision]) -> tuple[Rule, ...]:
    """The rules of several decisions, each once."""
    found: dict[str, Rule] = {rule.rule: rule for one in decisions for rule in one.by}
    return tuple(found.values())
