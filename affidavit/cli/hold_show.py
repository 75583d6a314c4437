"""``hold list``, ``status``, ``why``, ``verify``, ``sync``: what is held, why, and whether it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from affidavit.cli import exits, options, output
from affidavit.cli.hold import Name
from affidavit.cli.hold_options import asking, at, declining
from affidavit.cli.hold_output import SHOWN, clause_dict, print_holds, print_why


def show_all(
    matter: Annotated[str, typer.Option("--matter", metavar="NUMBER", help="Only those of this matter.")] = "",
    as_of: Annotated[
        str, typer.Option("--as-of", metavar="TIME", help="As it was then (UTC); now when left out.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also those that are released.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List holds, now or as it was at a time. Holds of sealed matters are counted, and not shown.

    Example:

    \b
      affidavit hold list
      affidavit hold list --as-of 2026-09-01 --all
    """
    from affidavit.holds.desk import Desk, may_see
    from affidavit.holds.opening import now_ms
    from affidavit.holds.persons import recognise
    from affidavit.moments import parse_time
    from retention.register import replay

    with declining(), at(data) as wiring:
        at_ms = parse_time(as_of, datetime.now(UTC)) if as_of else now_ms()
        desk, person = Desk(wiring), recognise(wiring.control)
        register = replay(desk.store.entries(), at_ms if as_of else None)
        if matter:
            register.matter(matter)
    chosen = [one for one in register.holds.values() if matter in ("", one.matter)]
    chosen = [one for one in chosen if everything or one.state(at_ms) != "released"]
    shown = [one for one in chosen if may_see(register.matters[one.matter], person)]
    rows = [
        {
            "hold": one.hold,
            "matter": one.matter,
            "kind": one.kind,
            "state": one.state(at_ms),
            "asked": one.request.kind if one.request else "",
            "placed_ms": one.placed_ms,
            "by": one.placed_by,
            "scopes": [clause_dict(clause, at_ms) for clause in one.clauses],
        }
        for one in shown
    ]
    if as_json:
        output.emit_json("affidavit.holds/1", {"at_ms": at_ms, "holds": rows, "sealed": len(chosen) - len(shown)})
        return
    print_holds(register, shown, at_ms, everything)
    if len(chosen) > len(shown):
        output.say(f"{len(chosen) - len(shown)} holds of sealed matters are not shown")
    if not chosen:
        output.say("no holds" + (" at that time" if as_of else ""))


def status(name: Name, data: options.Data = None, as_json: options.Json = False) -> None:
    """Show a hold: its scopes and what each is, what is asked for, and what has happened to it.

    Example:

    \b
      affidavit hold status h-3fa01c77
    """
    from affidavit.holds.desk import Desk
    from affidavit.holds.opening import moment, now_ms
    from retention.scope import describe

    with declining(), at(data) as wiring:
        desk = Desk(wiring)
        found = desk.seen_hold(name)
        history = [entry for entry in desk.store.entries() if entry.details.get("hold") == name]
    at_ms = now_ms()
    request = found.request
    if as_json:
        asked = request and {
            "kind": request.kind,
            "scopes": request.clauses,
            "by": request.by,
            "reason": request.reason,
        }
        output.emit_json(
            "affidavit.hold/1",
            {
                "hold": found.hold, "matter": found.matter, "kind": found.kind, "state": found.state(at_ms),
                "scopes": [clause_dict(one, at_ms) for one in found.clauses], "asked": asked,
                "history": [
                    {"number": one.number, "at_ms": one.at_ms, "by": one.by, "what": one.what} for one in history
                ],
            },
        )  # fmt: skip
        return
    output.emit(f"hold {found.hold} of matter {found.matter}, {found.kind}: {found.state(at_ms)}")
    for clause in found.clauses:
        state = clause.state(at_ms)
        until = f" until {moment(clause.ends_ms)}" if state == "releasing" and clause.ends_ms is not None else ""
        lapses = f", lapses {moment(clause.lapses_ms)}" if clause.lapses_ms is not None else ""
        output.emit(f"  scope {clause.number}: {state}{until}{lapses}; {describe(clause.scope, moment)}")
        for one in clause.scope.custodians:
            output.emit(f"    custodian {one.identity or '(in no directory)'}: {', '.join(one.names)}")
    if request is not None:
        what = "release" if request.kind == "release" else "early end of the delay"
        output.emit(
            f"  asked for: {what} of scope {', '.join(map(str, request.clauses))}, by {request.by}: {request.reason}"
        )
    output.emit("")
    output.table(
        ("when", "who", "what", "reason"),
        [(moment(one.at_ms), one.by, one.what, one.details.get("reason", "")) for one in history],
    )


def why(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="An event id, or an address such as events/0@17.")],
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Explain what keeps a record: every hold in force that it belongs or may belong to, and the lock of its object.

    Example:

    \b
      affidavit hold why events/0@17
    """
    from affidavit.holds.desk import Desk, may_see
    from affidavit.holds.opening import now_ms, scopes_in_force
    from affidavit.holds.persons import recognise
    from affidavit.holds.why import why as find
    from schemas.errors import EvidenceIncomplete

    with declining(), at(data) as wiring, asking(wiring) as client:
        if client is None:
            raise EvidenceIncomplete("a record can be explained only when ClickHouse can be asked")
        register, person = Desk(wiring).store.read(), recognise(wiring.control)
        kept = find(client, wiring.objects, record, scopes_in_force(wiring, register, now_ms()))
    rows: list[dict[str, Any]] = []
    for one in kept:
        by = [
            {"hold": found.hold, "matter": found.matter, "kind": found.kind, "scope": clause.number,
             "state": clause.state(now_ms()), "reason": clause.reason}
            if may_see(register.matters[found.matter], person)
            else {"hold": "", "matter": "(sealed)", "kind": found.kind, "scope": None, "state": "", "reason": ""}
            for found, clause in one.by
        ]  # fmt: skip
        rows.append({"record": one.address, "event_id": one.event_id, "held": bool(by), "doubt": one.doubt, "by": by,
                     "object": one.object})  # fmt: skip
    if as_json:
        output.emit_json("affidavit.hold-why/1", {"records": rows})
        return
    for row in rows:
        print_why(row)


def verify(data: options.Data = None, as_json: options.Json = False) -> int:
    """Compare the register of holds with what follows from it: its copy in the control database, the legal-hold flags
    of the archive, and the records that each hold had when it was placed.

    Exits 1 where the register contradicts itself or records of a hold are gone, 2 where flags are missing.

    Example:

    \b
      affidavit hold verify
    """
    from affidavit.holds.checking import records_gone
    from affidavit.holds.desk import Desk
    from affidavit.holds.flags import find_drift
    from affidavit.holds.opening import now_ms, open_register

    with declining(), at(data) as wiring, asking(wiring) as client, output.progress() as progress:
        entries = open_register(wiring).check()
        desk = Desk(wiring)
        register = desk.store.read()
        drift = find_drift(wiring.objects, register, now_ms(), told=progress)
        gone = {} if client is None else records_gone(register, desk.store.entries(), client, now_ms())
    in_force = sum(1 for _ in register.in_force(now_ms()))
    code = exits.INTEGRITY_FAILURE if gone else exits.INCOMPLETE if drift.missing or client is None else exits.DONE
    if as_json:
        output.emit_json(
            "affidavit.hold-verify/1",
            {"entries": entries, "scopes_in_force": in_force, "objects": drift.objects, "flags_missing": drift.missing,
             "flags_extra": drift.extra, "records_gone": gone, "counted": client is not None},
        )  # fmt: skip
        return code
    output.emit(
        f"register: {entries} entries, the same in the control database and the object store; {in_force} scopes hold"
    )
    output.emit(f"archive: {drift.objects} objects, {len(drift.missing)} lack a flag that a hold wants, "
                f"{len(drift.extra)} have one that none wants")  # fmt: skip
    for key in drift.missing[:SHOWN]:
        output.emit(f"  no flag: {key}")
    for place, (before, now) in gone.items():
        output.emit(f"RECORDS GONE: {place} had {before:,} records when it was placed, and has {now:,} now")
    if drift.missing or drift.extra:
        output.say("to set and clear flags: affidavit hold sync")
    return code


def sync(
    clear: Annotated[bool, typer.Option("--clear", help="Also clear flags that no hold in force wants.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be set and cleared.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Set the legal-hold flags of the archive that holds in force want; clear those that none wants, if asked to.

    Example:

    \b
      affidavit hold sync --dry-run
      affidavit hold sync --clear
    """
    from affidavit.holds.desk import Desk
    from affidavit.holds.flags import find_drift, mend
    from affidavit.holds.opening import now_ms

    with declining(), at(data) as wiring, output.progress() as progress:
        drift = find_drift(wiring.objects, Desk(wiring).store.read(), now_ms(), told=progress)
        if not dry_run:
            mend(wiring.objects, drift, clear=clear, told=progress)
    cleared = drift.extra if clear else []
    if as_json:
        output.emit_json(
            "affidavit.hold-sync/1",
            {"dry_run": dry_run, "objects": drift.objects, "set": drift.missing, "cleared": cleared,
             "failed": drift.failed},
        )  # fmt: skip
    else:
        would = "would be " if dry_run else ""
        output.emit(f"{drift.objects} objects: {len(drift.missing)} {would}flagged, {len(cleared)} {would}cleared")
        for key, why in drift.failed.items():
            output.emit(f"  {key}: {why}")
    return exits.UNAVAILABLE if drift.failed else exits.DONE


def register(hold: typer.Typer) -> None:
    """Put the commands into the group."""
    hold.command("list")(show_all)
    hold.command("status")(status)
    hold.command("why")(why)
    hold.command("verify")(verify)
    hold.command("sync")(sync)
