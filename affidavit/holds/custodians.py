"""From names on a command line, and groups, to custodians with all the aliases that the directory of people has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from affidavit.identity.loading import EVERYBODY, current, in_force, read_load
from affidavit.identity.people import Directory, Person
from affidavit.query import QueryClient
from retention.scope import ACTORS, Custodian, Scope, comparable
from schemas.errors import Declined, EvidenceIncomplete
from sinks.clickhouse.quoting import quote
from stores.control import Control
from stores.objects import Objects


def directory_for(control: Control, objects: Objects, tenant: str, until_ms: int | None = None) -> Directory:
    """The directory that people of a tenant are looked for in, now or as it was at a time."""
    if until_ms is None:
        loads = in_force(control.directories())
        return current(control, objects, tenant if tenant in loads else EVERYBODY)
    then = in_force(load for load in control.directories() if load.loaded_ms <= until_ms)
    load = then.get(tenant) or then.get(EVERYBODY)
    return Directory() if load is None else read_load(objects, load)


def find_custodians(
    directory: Directory, names: Sequence[str], client: QueryClient | None, tenant: str
) -> list[Custodian]:
    """A custodian for each name: an identity of the directory, an alias that somebody there has, or a raw value that
    records of the tenant have.

    Raises:
        Declined: a name is nobody's.
        EvidenceIncomplete: a name is in no directory, and the records cannot be asked.
    """
    found = []
    for name in names:
        people = [one for one in directory.people if name == one.identity] or _called(directory, name)
        if people:
            found += [custodian_of(one) for one in people]
        elif _is_in_records(client, tenant, name):
            found.append(Custodian("", (comparable(name),)))
        else:
            raise Declined(
                f"got custodian {name!r}, whom neither the directory of people nor any record of {tenant} names: "
                "affidavit identity lookup shows who is known, and as whom"
            )
    return list(dict.fromkeys(found))


def find_members(directory: Directory, groups: Iterable[str]) -> list[Custodian]:
    """The people of groups, teams and business units.

    Raises:
        Declined: a group has nobody in it.
    """
    found = []
    for group in groups:
        members = _members(directory, group)
        if not members:
            raise Declined(f"got group {group!r}, in which the directory of people has nobody")
        found += [custodian_of(one) for one in members]
    return list(dict.fromkeys(found))


def widened(scope: Scope, directory: Directory) -> Scope:
    """A scope as the directory that is in force now makes it: who joined its groups, and new aliases of its custodians.
    What it had it keeps, so it never becomes narrower."""
    if not scope.custodians:
        return scope
    by_identity = {one.identity: one for one in directory.people}
    names: dict[str, dict[str, None]] = {}
    raw = [one for one in scope.custodians if not one.identity]
    for one in scope.custodians:
        if one.identity:
            names.setdefault(one.identity, {}).update(dict.fromkeys(one.names))
            if (person := by_identity.get(one.identity)) is not None:
                names[one.identity].update(dict.fromkeys(custodian_of(person).names))
    for group in scope.groups:
        for person in _members(directory, group):
            names.setdefault(person.identity, {}).update(dict.fromkeys(custodian_of(person).names))
    made = [Custodian(identity, tuple(said)) for identity, said in names.items()]
    return replace(scope, custodians=(*made, *raw))


def custodian_of(person: Person) -> Custodian:
    """A person with every alias that they ever had; which of them counted when is not asked: in doubt it is held."""
    names = {comparable(value) for alias in person.aliases for _, value in alias.names()}
    names |= {comparable(alias.value) for alias in person.aliases}
    return Custodian(person.identity, tuple(sorted(names)) or (comparable(person.identity),))


def _called(directory: Directory, name: str) -> list[Person]:
    """People who have this alias, or had it."""
    wanted = comparable(name)
    return [one for one in directory.people if wanted in custodian_of(one).names and "*" not in wanted]


def _members(directory: Directory, group: str) -> list[Person]:
    wanted = comparable(group)
    return [
        person
        for person in directory.people
        if wanted in {comparable(one) for one in (*person.groups, person.team, person.business_unit) if one}
    ]


def _is_in_records(client: QueryClient | None, tenant: str, name: str) -> bool:
    if client is None:
        raise EvidenceIncomplete(f"custodian {name!r} is in no directory, and ClickHouse cannot be asked for it")
    said = ", ".join(f"lowerUTF8(trimBoth({field}))" for field in ACTORS)
    query = f"SELECT 1 FROM events WHERE tenant = {quote(tenant)} AND has([{said}], {quote(comparable(name))}) LIMIT 1"  # noqa: S608
    return bool(client.ask(query).rows)
