"""The register of matters and holds of a deployment, and what of it concerns a record."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from affidavit.acts import register_entered
from affidavit.holds.custodians import directory_for, widened
from affidavit.identity.people import Directory
from retention.entries import Entry
from retention.register import Clause, Hold, Register
from retention.register_store import RegisterStore
from retention.scope import Scope

if TYPE_CHECKING:
    from affidavit.wiring import Wiring


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def open_register(wiring: Wiring) -> RegisterStore:
    """The register; what is entered into it goes on the log first."""

    def announce(entry: Entry) -> None:
        register = store.read()
        matter = register.matters.get(matter_of(entry, register))
        sealed = matter.sealed if matter is not None else bool(entry.details.get("sealed"))
        tenant = matter.tenant if matter is not None else str(entry.details.get("tenant", ""))
        wiring.audit().record_blocking(register_entered(entry, tenant, sealed))

    store = RegisterStore(wiring.control, wiring.objects, announce, now_ms)
    return store


def matter_of(entry: Entry, register: Register) -> str:
    """The matter that an entry is about."""
    if "matter" in entry.details:
        return str(entry.details["matter"])
    hold = register.holds.get(str(entry.details.get("hold", "")))
    return hold.matter if hold is not None else ""


def scopes_in_force(wiring: Wiring, register: Register, at_ms: int) -> list[tuple[Hold, Clause, Scope]]:
    """Everything that holds something, with its scope as the directory of people makes it now."""
    directories: dict[str, Directory] = {}
    found = []
    for hold, clause in register.in_force(at_ms):
        scope = clause.scope
        if scope.custodians:
            if scope.tenant not in directories:
                directories[scope.tenant] = directory_for(wiring.control, wiring.objects, scope.tenant)
            scope = widened(scope, directories[scope.tenant])
        found.append((hold, clause, scope))
    return found


def new_hold_id(kind: str) -> str:
    """``h-`` or ``f-`` and eight characters that nobody has to guess at."""
    return f"{kind[0]}-{secrets.token_hex(4)}"


def moment(ms: int) -> str:
    """A time for a person: UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
