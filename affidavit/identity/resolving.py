"""Who held an alias at what time, and who an event's actor was. Pure.

The same is said in SQL by the view ``events_by_identity``, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from affidavit.identity.aliases import FIELDS, PATTERN, Pattern, looked_up, parse_pattern
from affidavit.identity.people import Directory, Person

FOREVER_MS = 9_224_318_015_000
"""2262-04-11: the last time that ClickHouse's DateTime64 holds in every precision."""

State = Literal["resolved", "ambiguous", "unresolved", "absent"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which the same people hold an alias: from ``from_ms`` on, and until ``until_ms`` no more.

    The stretches of an alias follow each other from 0 to :data:`FOREVER_MS`. ``holders``: nobody, one, or several who
    are in conflict.
    """

    name: str
    value: str
    from_ms: int
    until_ms: int
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatternStretch:
    """A time in which somebody has a pattern."""

    text: str
    pattern: Pattern
    from_ms: int
    until_ms: int
    holder: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """Who an actor was.

    Attributes:
        identity: ``""`` where nobody is known.
        by: the field that names them.
        state: ``absent`` says that no field names anybody, ``ambiguous`` that several people hold an alias.
        also: others whom other fields name.
    """

    identity: str
    by: str
    state: State
    also: tuple[str, ...] = ()


class Resolver:
    """Looks aliases up in one directory."""

    def __init__(self, directory: Directory) -> None:
        self.people: Mapping[str, Person] = {person.identity: person for person in directory.people}
        held: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        self._patterns: list[PatternStretch] = []
        for person in directory.people:
            for alias in person.aliases:
                begin = min(alias.from_ms or 0, FOREVER_MS)
                end = FOREVER_MS if alias.until_ms is None else min(alias.until_ms, FOREVER_MS)
                for name, value in alias.names():
                    if name == PATTERN:
                        self._patterns.append(PatternStretch(value, parse_pattern(value), begin, end, person.identity))
                    else:
                        held.setdefault((name, value), []).append((begin, end, person.identity))
        self._stretches = {key: tuple(_stretches(*key, spans)) for key, spans in held.items()}

    def stretches(self) -> Iterator[Stretch]:
        """All of them, in order."""
        for key in sorted(self._stretches):
            yield from self._stretches[key]

    def patterns(self) -> Iterator[PatternStretch]:
        """All of them, in the order of people."""
        yield from self._patterns

    def conflicts(self) -> Iterator[Stretch]:
        """Times in which several people hold an alias; of patterns that overlap nothing is known before an event."""
        yield from (one for one in self.stretches() if len(one.holders) > 1)
        by_text: dict[str, list[tuple[int, int, str]]] = {}
        for one in self._patterns:
            by_text.setdefault(one.text, []).append((one.from_ms, one.until_ms, one.holder))
        for text, spans in sorted(by_text.items()):
            yield from (one for one in _stretches(PATTERN, text, spans) if len(one.holders) > 1)

    def holders(self, name: str, value: str, at_ms: int) -> tuple[str, ...]:
        """Who held a normalised alias at a time."""
        for one in self._stretches.get((name, value), ()):
            if one.from_ms <= at_ms < one.until_ms and one.holders:
                return one.holders
        if name != "cloud_principal":
            return ()
        fitting = [one for one in self._patterns if one.from_ms <= at_ms < one.until_ms and one.pattern.matches(value)]
        longest = max((one.pattern.literal for one in fitting), default=0)
        return tuple(sorted({one.holder for one in fitting if one.pattern.literal == longest}))

    def resolve(self, actor: Mapping[str, str], at_ms: int) -> Resolution:
        """Who the actor of an event was: ``actor`` holds its fields as in ``schemas/metadata.py``."""
        given = [(field, looked_up(field, actor.get(field, ""), actor.get("user_id_kind", ""))) for field in FIELDS]
        named = [(field, self.holders(*key, at_ms)) for field, key in given if key[1]]
        single = [(field, holders[0]) for field, holders in named if len(holders) == 1]
        if single:
            by, identity = single[0]
            also = tuple(dict.fromkeys(one for _, one in single if one != identity))
            return Resolution(identity, by, "resolved", also)
        if any(len(holders) > 1 for _, holders in named):
            return Resolution("", "", "ambiguous")
        return Resolution("", "", "unresolved" if any(actor.get(field) for field in FIELDS) else "absent")


def _stretches(name: str, value: str, spans: list[tuple[int, int, str]]) -> Iterator[Stretch]:
    """The whole of time, cut where holders change."""
    edges = sorted({0, FOREVER_MS, *(edge for begin, end, _ in spans for edge in (begin, end))})
    last: Stretch | None = None
    for begin, end in pairwise(edges):
        holders = tuple(sorted({who for start, stop, who in spans if start <= begin < stop}))
        if last is not None and last.holders == holders:
            last = Stretch(name, value, last.from_ms, end, holders)
            continue
        if last is not None:
            yield last
        last = Stretch(name, value, begin, end, holders)
    if last is not None:
        yield last
