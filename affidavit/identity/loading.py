"""Bringing a directory into force, and reading the one that is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from affidavit.identity.form import format_directory, parse_directory
from affidavit.identity.people import Directory
from affidavit.identity.resolving import Resolver
from schemas.errors import EvidenceIncomplete
from stores.control import Control, DirectoryLoad
from stores.objects import NewObject, Objects

if TYPE_CHECKING:
    from affidavit.wiring import Wiring

PREFIX = "directory/"

EVERYBODY = "*"
"""Tenant of the directory for all tenants that have none of their own."""


def object_key(sha256: str) -> str:
    """Where a directory lies in the object store."""
    return f"{PREFIX}{sha256}.json"


def in_force(loads: Iterable[DirectoryLoad]) -> dict[str, DirectoryLoad]:
    """The newest load of each tenant."""
    return {load.tenant: load for load in sorted(loads, key=lambda load: load.number)}


def read_load(objects: Objects, load: DirectoryLoad) -> Directory:
    """A directory that was loaded.

    Raises:
        EvidenceIncomplete: its object is not there, or has other bytes.
        Unavailable: the object store does not answer.
    """
    try:
        data = objects.get(object_key(load.sha256))
    except KeyError:
        raise EvidenceIncomplete(f"there is no {object_key(load.sha256)}, which load {load.number} names") from None
    if hashlib.sha256(data).hexdigest() != load.sha256:
        raise EvidenceIncomplete(f"{object_key(load.sha256)} has other bytes than its name says: load it again")
    return parse_directory(data)


def current(control: Control, objects: Objects, tenant: str) -> Directory:
    """The directory of a tenant that is in force; an empty one before the first."""
    load = in_force(control.directories()).get(tenant)
    return Directory() if load is None else read_load(objects, load)


def load_directory(wiring: Wiring, directory: Directory, tenant: str, operator: str) -> DirectoryLoad:
    """Bring a directory into force for the events of a tenant; old events resolve by it from now on, too.

    Raises:
        Unavailable: a store does not answer; nothing changed, or repeat it to be sure.
    """
    from affidavit.acts import directory_loaded

    data = format_directory(directory)
    sha256 = hashlib.sha256(data).hexdigest()
    wiring.objects.create([NewObject(object_key(sha256), data)])
    # Dying here leaves an object that nobody names. The same bytes have the same name: a repeat finds it there.
    conflicts = sum(1 for _ in Resolver(directory).conflicts())
    act = directory_loaded(sha256, tenant, _counts(directory) | {"conflicts": conflicts}, operator)
    wiring.audit().record_blocking(act)
    # Dying here leaves an act for a load that did not happen, and never a load without an act.
    return wiring.control.add_directory(tenant, sha256, time.time_ns() // 1_000_000, operator)


def _counts(directory: Directory) -> dict[str, int]:
    people: Sequence[object] = directory.people
    active = sum(person.active for person in directory.people)
    return {"people": len(people), "active": active, "aliases": directory.aliases}
