"""What another directory changes, and how a list without dates follows one that was loaded. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from affidavit.identity.people import Alias, Directory, Person, make_directory


@dataclass(frozen=True, slots=True)
class Changes:
    """From one directory to the next: identities, and ``(identity, alias)`` of people who are in both."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    left: tuple[str, ...]
    changed: tuple[str, ...]
    aliases_added: tuple[tuple[str, Alias], ...]
    aliases_removed: tuple[tuple[str, Alias], ...]

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        return any((self.added, self.removed, self.left, self.changed, self.aliases_added, self.aliases_removed))


def changes(old: Directory, new: Directory) -> Changes:
    """What ``new`` says otherwise than ``old``."""
    before, after = _by_identity(old), _by_identity(new)
    both = [(before[one], after[one]) for one in sorted(before.keys() & after.keys())]
    return Changes(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple(now.identity for was, now in both if was.active and not now.active),
        tuple(now.identity for was, now in both if replace(was, aliases=()) != replace(now, aliases=())),
        tuple((now.identity, alias) for was, now in both for alias in now.aliases if alias not in was.aliases),
        tuple((now.identity, alias) for was, now in both for alias in was.aliases if alias not in now.aliases),
    )


def continued(old: Directory, new: Directory, now_ms: int) -> Directory:
    """``new``, a list of how things are now, with what ``old`` knew of the time before.

    Who is not in the list any more is kept as inactive. An alias that somebody has no more was theirs until now. One
    that is new to somebody, and was another's until now, is theirs from now on.
    """
    before, after = _by_identity(old), _by_identity(new)
    held = {name for person in old.people for alias in person.aliases for name in alias.names()}
    people = [_followed(before.get(one), after.get(one), held, now_ms) for one in before.keys() | after.keys()]
    return make_directory((person.identity, person) for person in people)


def _followed(was: Person | None, now: Person | None, held: set[tuple[str, str]], now_ms: int) -> Person:
    own = () if now is None else now.aliases
    values = {name for alias in own for name in alias.names()}
    before = () if was is None else was.aliases
    theirs = {name: alias for alias in before for name in alias.names() if _open(alias, now_ms)}
    past = [_ended(one, now_ms) for one in before if not _open(one, now_ms) or values.isdisjoint(one.names())]
    aliases = [*(_carried(alias, theirs, held, now_ms) for alias in own), *(one for one in past if one is not None)]
    person = now or replace(was, active=False) if was is not None else now
    assert person is not None
    return replace(person, aliases=tuple(aliases))


def _by_identity(directory: Directory) -> dict[str, Person]:
    return {person.identity: person for person in directory.people}


def _open(alias: Alias, now_ms: int) -> bool:
    return alias.until_ms is None or alias.until_ms > now_ms


def _ended(alias: Alias, now_ms: int) -> Alias | None:
    """The alias as one of the past; ``None`` for one that had not begun."""
    if alias.from_ms is not None and alias.from_ms >= now_ms:
        return None
    return replace(alias, until_ms=now_ms) if _open(alias, now_ms) else alias


def _carried(alias: Alias, theirs: dict[tuple[str, str], Alias], held: set[tuple[str, str]], now_ms: int) -> Alias:
    """An alias of the list: with the dates it had; from now on, if it was another's, or theirs at another time."""
    if alias.from_ms is not None or alias.until_ms is not None:
        return alias
    same = next((theirs[name] for name in alias.names() if name in theirs), None)
    if same is not None:
        return replace(alias, from_ms=same.from_ms, until_ms=same.until_ms)
    return alias if held.isdisjoint(alias.names()) else replace(alias, from_ms=now_ms)
