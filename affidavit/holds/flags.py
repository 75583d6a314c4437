"""Legal-hold flags of the object store: the backstop behind the register, against our own mistakes.

The register decides what is held, record by record; an object is flagged when any hold in force may be about one of its
records. That needs no key and no index: tenant and day of an object are in its name. It flags more than is held, which
keeps ciphertext only: keys are destroyed record by record.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from affidavit.progress import Told, silent
from retention.entries import decode_entry
from retention.register import Register
from retention.scope import may_match_day
from schemas.errors import AffidavitError, MalformedInput
from sinks.archive.names import DAY_MS, PLANS, ROOT, Scope, encode_name, parse_segment_key
from stores.control import Control
from stores.objects import ObjectInfo, Objects


@dataclass(slots=True)
class Drift:
    """Where flags and register differ: keys of objects. ``failed`` says why one could not be set or cleared."""

    objects: int = 0
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def is_wanted(register: Register, scope: Scope, at_ms: int) -> bool:
    """Whether a hold in force may be about a record of an object."""
    first_ms = int(datetime(scope.day.year, scope.day.month, scope.day.day, tzinfo=UTC).timestamp() * 1000)
    tenant = "" if scope.stray else scope.tenant
    return any(
        may_match_day(clause.scope, tenant, first_ms, first_ms + DAY_MS, clause.placed_ms)
        for _, clause in register.in_force(at_ms)
    )


def find_drift(
    objects: Objects, register: Register, at_ms: int, tenants: Sequence[str] = (), told: Told = silent
) -> Drift:
    """Compare all flags of the archive with the register, or those of some tenants."""
    drift = Drift()
    for info, scope in _segments(objects, tenants):
        drift.objects += 1
        told(drift.objects, None, "objects")
        wanted = is_wanted(register, scope, at_ms)
        if wanted and not info.hold:
            drift.missing.append(info.key)
        elif info.hold and not wanted:
            drift.extra.append(info.key)
    return drift


def mend(objects: Objects, drift: Drift, *, clear: bool = False, told: Told = silent) -> None:
    """Set the flags that are missing; clear those that no hold wants, if asked to."""
    work = [(key, True) for key in drift.missing] + [(key, False) for key in drift.extra if clear]
    for number, (key, hold) in enumerate(work):
        told(number, len(work), "flags")
        try:
            objects.set_hold(key, hold)
        except (AffidavitError, KeyError) as error:
            drift.failed[key] = f"{type(error).__name__}: {error}"


class Standing:
    """Whether a new object is to be written with its flag set. Any thread may ask.

    Args:
        control: holds the register; when it does not answer, the answer is yes.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._mutex = threading.Lock()
        self._register = Register()

    def may_hold(self, scope: Scope, at_ms: int) -> bool:
        """Whether a hold that is in force now may be about a record of this object."""
        try:
            with self._mutex:
                for entry in self._control.register_entries(self._register.number):
                    self._register.apply(decode_entry(entry))
                return is_wanted(self._register, scope, at_ms)
        except AffidavitError:
            return True


def _segments(objects: Objects, tenants: Sequence[str]) -> Iterator[tuple[ObjectInfo, Scope]]:
    prefixes = [f"{ROOT}{encode_name(tenant)}/" for tenant in tenants] or [ROOT]
    for prefix in prefixes:
        for info in objects.list(prefix):
            if info.key.startswith(PLANS):
                continue
            try:
                yield info, parse_segment_key(info.key).scope
            except MalformedInput:
                continue
