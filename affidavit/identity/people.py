"""People and their aliases, as a directory lists them. Pure; :mod:`.form` and :mod:`.scim` read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from affidavit.identity.aliases import KINDS, PATTERN, normalised, parse_pattern
from schemas.errors import MalformedInput

LATEST_MS = 253_370_764_800_000
"""The year 9999: times behind it are typing errors."""


@dataclass(frozen=True, slots=True)
class Alias:
    """How a source may call somebody.

    Attributes:
        kind: of :data:`affidavit.identity.aliases.KINDS`.
        value: as the directory has it. A ``cloud_principal`` with a ``*`` is a pattern.
        from_ms, until_ms: when it was theirs, in milliseconds since 1970; ``until_ms`` no more. ``None``: always.
    """

    kind: str
    value: str
    from_ms: int | None = None
    until_ms: int | None = None

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for many cloud principals."""
        return self.kind == "cloud_principal" and "*" in self.value

    def names(self) -> Iterator[tuple[str, str]]:
        """What it is looked up under: name and value, normalised."""
        if self.is_pattern:
            yield PATTERN, self.value.strip()
            return
        yield from dict.fromkeys(normalised(name, self.value) for name in KINDS[self.kind])


@dataclass(frozen=True, slots=True)
class Person:
    """One identity: a person, or a service that somebody answers for.

    Attributes:
        identity: stays the same from load to load; what reports and holds name.
        active: false for who left. Old events stay theirs.
    """

    identity: str
    name: str = ""
    team: str = ""
    business_unit: str = ""
    groups: tuple[str, ...] = ()
    active: bool = True
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """People by identity, in ascending order of it, each with aliases in one order: equal ones are equal."""

    people: tuple[Person, ...] = field(default=())

    @property
    def aliases(self) -> int:
        """How many there are."""
        return sum(len(person.aliases) for person in self.people)


def make_directory(people: Iterator[tuple[str, Person]]) -> Directory:
    """A directory of people, each with the place in the file where they stand.

    Raises:
        MalformedInput: an identity is empty or there twice, an alias is none; with the place.
    """
    found: dict[str, tuple[str, Person]] = {}
    for place, person in people:
        if not person.identity.strip() or person.identity != person.identity.strip():
            raise MalformedInput(f"{place}: got id {person.identity!r}, expected text without white space around it")
        if person.identity in found:
            raise MalformedInput(f"{place}: got id {person.identity!r} again, after {found[person.identity][0]}")
        for alias in person.aliases:
            _check(place, alias)
        aliases = tuple(sorted(set(person.aliases), key=_order))
        found[person.identity] = place, _with_aliases(person, aliases)
    return Directory(tuple(found[identity][1] for identity in sorted(found)))


def moment(milliseconds: int) -> str:
    """A time as a directory writes it: ``2026-11-26T00:00:00Z``, with milliseconds where there are any."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z").replace(".000Z", "Z")


def _with_aliases(person: Person, aliases: tuple[Alias, ...]) -> Person:
    return Person(
        person.identity, person.name, person.team, person.business_unit, person.groups, person.active, aliases
    )


def _check(place: str, alias: Alias) -> None:
    if alias.kind not in KINDS:
        raise MalformedInput(f"{place}: got alias of kind {alias.kind!r}, expected one of {', '.join(KINDS)}")
    if any(not value for _, value in alias.names()):
        raise MalformedInput(f"{place}: got an empty alias of kind {alias.kind}: leave it out")
    if alias.kind == "email" and "@" not in alias.value:
        raise MalformedInput(f"{place}: got e-mail address {alias.value!r}, expected one with an @")
    if "*" in alias.value and alias.kind != "cloud_principal":
        raise MalformedInput(f"{place}: got {alias.value!r}, expected no *: only a cloud_principal may be a pattern")
    if alias.is_pattern:
        try:
            parse_pattern(alias.value.strip())
        except MalformedInput as error:
            raise MalformedInput(f"{place}: {error}") from None
    if alias.from_ms is not None and alias.until_ms is not None and alias.from_ms >= alias.until_ms:
        raise MalformedInput(f"{place}: alias {alias.value!r} ends before it begins")


def _order(alias: Alias) -> tuple[str, str, int, int]:
    return alias.kind, alias.value, alias.from_ms or 0, LATEST_MS if alias.until_ms is None else alias.until_ms
