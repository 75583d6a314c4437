"""What the commands of ``hold`` print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from affidavit.cli import exits, output

if TYPE_CHECKING:
    from affidavit.holds.desk import Placed
    from affidavit.holds.preview import Preview
    from retention.register import Clause, Hold, Register
    from retention.scope import Scope

SHOWN = 12
"""Rows of a breakdown that are printed; ``--json`` has all."""


def print_preview(scope: Scope, seen: Preview) -> None:
    """What a hold would hold."""
    from affidavit.holds.opening import moment
    from retention.scope import describe

    output.emit(f"scope      {describe(scope, moment)}")
    for one in scope.custodians:
        output.emit(f"custodian  {one.identity or '(in no directory)'}: {', '.join(one.names)}")
    events = output.count(seen.events, "event")
    output.emit(f"records    {output.count(seen.records, 'record')} of {events}, {output.size(seen.bytes)} sealed")
    if seen.first_ms is not None and seen.last_ms is not None:
        output.emit(f"received   {moment(seen.first_ms)} to {moment(seen.last_ms)}")
    if seen.unreadable:
        output.emit(f"in doubt   {seen.unreadable:,} of them cannot be read in part, and are held for that")
    if seen.objects is None:
        output.emit("archive    too many days to look at each object")
    else:
        others = (
            output.count(seen.collateral, "record") + " outside this hold" if seen.collateral else "no other records"
        )
        output.emit(f"archive    some of them are in {output.count(len(seen.objects), 'object')}, with {others}")
    late = ", ".join(f"{shard} {count:,}" for shard, count in seen.unindexed.items() if count)
    output.emit(
        f"not seen   {late + ' records are not in ClickHouse yet' if late else 'nothing: ClickHouse is up to date'}"
    )
    output.emit("destroyed  nothing was ever destroyed here")
    for name, rows in seen.by.items():
        if rows:
            output.emit("")
            output.table(
                (name, "records"), [(one or "(none)", f"{count:,}") for one, count in rows[:SHOWN]], right=(1,)
            )
            if len(rows) > SHOWN:
                output.emit(f"and {len(rows) - SHOWN:,} more")
    if seen.samples:
        output.emit("")
        output.table(("sample", "event"), seen.samples)


def say_placed(placed: Placed, scope: Scope, counted: int | None, as_json: bool) -> int:
    """That a hold is in force; returns the exit code."""
    from affidavit.holds.opening import moment
    from retention.scope import describe, encode_scope

    flagged = len(placed.flags.missing) - len(placed.flags.failed)
    code = exits.DONE if placed.status == "effective" else exits.UNAVAILABLE
    if as_json:
        output.emit_json(
            "affidavit.hold-placed/1",
            {"hold": placed.hold, "status": placed.status, "effective_ms": placed.entry.at_ms, "by": placed.entry.by,
             "entry": placed.entry.number, "records": counted, "objects_flagged": flagged,
             "failed": placed.flags.failed, "problem": placed.problem, "scope": encode_scope(scope)},
        )  # fmt: skip
        return code
    output.emit(placed.hold)
    records = "" if counted is None else f"{output.count(counted, 'record')} now; "
    output.say(
        f"{placed.status} since {moment(placed.entry.at_ms)}, by {placed.entry.by}: {records}{describe(scope, moment)}"
    )
    if placed.status == "degraded":
        why = placed.problem or "; ".join(placed.flags.failed.values())
        output.say(
            f"it is in force; legal-hold flags of the archive could not be set: {why}; later: affidavit hold sync"
        )
    elif flagged:
        output.say(f"{output.count(flagged, 'object')} of the archive got the legal-hold flag, for as long as it holds")
    return code


def say_entry(name: str, clauses: Iterable[int], by: str, as_json: bool, text: str) -> None:
    """What has happened to a hold."""
    if as_json:
        output.emit_json("affidavit.hold-changed/1", {"hold": name, "scopes": list(clauses), "by": by, "said": text})
    else:
        output.say(f"hold {name}: {text}")


def clause_dict(clause: Clause, at_ms: int) -> dict[str, Any]:
    """A scope of a hold for ``--json``."""
    from retention.scope import encode_scope

    return {
        "number": clause.number,
        "state": clause.state(at_ms),
        "placed_ms": clause.placed_ms,
        "by": clause.placed_by,
        "reason": clause.reason,
        "lapses_ms": clause.lapses_ms,
        "ends_ms": clause.ends_ms,
        "scope": encode_scope(clause.scope),
    }


def print_holds(register: Register, holds: Iterable[Hold], at_ms: int, everything: bool) -> None:
    """A row for each scope."""
    from affidavit.holds.opening import moment
    from retention.scope import describe

    rows = []
    for one in holds:
        state = one.state(at_ms)
        for clause in one.clauses:
            own = clause.state(at_ms)
            if own == "released" and not everything:
                continue
            asked = f", {one.request.kind} asked" if one.request and clause.number in one.request.clauses else ""
            said = own + asked if own == state else f"{own} (scope {clause.number})"
            placed = moment(clause.placed_ms), clause.placed_by
            rows.append((one.hold, one.matter, one.kind, said, *placed, describe(clause.scope, moment)))
    if rows:
        output.table(("hold", "matter", "kind", "state", "placed", "by", "holds"), rows)


def print_why(row: dict[str, Any]) -> None:
    """What keeps one record."""
    doubt = "; part of it cannot be read, so it is held wherever it might belong" if row["doubt"] else ""
    output.emit(f"{row['record']} {row['event_id']}: {'held' if row['held'] else 'not held'}{doubt}")
    for item in row["by"]:
        if not item["hold"]:
            output.emit(f"  {item['kind']} of a sealed matter")
            continue
        place = f"{item['kind']} {item['hold']} of matter {item['matter']}, scope {item['scope']}"
        output.emit(f"  {place}, {item['state']}: {item['reason']}")
    stored = row["object"]
    if stored is None:
        output.emit("  not in the archive yet")
        return
    until = f"locked until {stored['retain_until']:%Y-%m-%d}" if stored["retain_until"] else "no lock"
    output.emit(f"  {stored['key']}: {until}, legal-hold flag {'on' if stored['hold'] else 'off'}")
