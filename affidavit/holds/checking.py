"""Whether what was held is still there."""

from __future__ import annotations

from collections.abc import Sequence

from affidavit.query import QueryClient
from retention.entries import Entry
from retention.register import Register
from retention.scope import Scope
from retention.selection import any_of


def count_records(client: QueryClient, scope: Scope, placed_ms: int) -> int:
    """How many records a scope that was placed then has now."""
    return int(client.ask(f"SELECT count() FROM events WHERE {any_of([(scope, placed_ms)])}").rows[0][0])  # noqa: S608


def records_gone(
    register: Register, entries: Sequence[Entry], client: QueryClient, at_ms: int
) -> dict[str, tuple[int, int]]:
    """Scopes in force that have fewer records now than when they were placed: how many then, and now."""
    counted: dict[str, list[int]] = {}
    for entry in entries:
        if entry.what in ("hold.place", "hold.extend"):
            counted.setdefault(str(entry.details["hold"]), []).append(int(entry.details.get("counted", 0)))
    found = {}
    for hold, clause in register.in_force(at_ms):
        before = counted[hold.hold][clause.number - 1]
        now = count_records(client, clause.scope, clause.placed_ms)
        if now < before:
            found[f"{hold.hold}, scope {clause.number}"] = (before, now)
    return found
