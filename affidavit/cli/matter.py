"""``matter``: why things are held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import options, output
from affidavit.cli.hold_options import Reason, at, declining

if TYPE_CHECKING:
    from retention.register import Matter, Register

matter = typer.Typer(help="Matters: cases, investigations, subpoenas; why things are held.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The number of the matter.")]


@matter.command("create")
def create(
    number: Number,
    name: Annotated[str, typer.Option("--name", help="What it is called, e.g. Smith v. Acme.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose records it is about; * for several.")],
    court: Annotated[str, typer.Option("--court", help="Court or authority.")] = "",
    docket: Annotated[str, typer.Option("--docket", help="Its number there.")] = "",
    counsel: Annotated[str, typer.Option("--counsel", help="Whom to ask.")] = "",
    privileged: Annotated[bool, typer.Option("--privileged", help="What is written about it is privileged.")] = False,
    sealed: Annotated[bool, typer.Option("--sealed", help="Only you, and who may see sealed matters, see it.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Open a matter. Needs a person's token with the scope hold in $AFFIDAVIT_PERSON_TOKEN; it is on the log.

    Of a sealed matter the log says that there is one, and nothing about it.

    Example:

    \b
      affidavit matter create 2026-0417 --name "Smith v. Acme" --tenant acme --court "N.D. Cal." --docket 4:26-cv-117
    """
    from affidavit.holds.desk import Desk

    facts: dict[str, Any] = {
        "court": court, "docket": docket, "counsel": counsel, "privileged": privileged, "sealed": sealed,
    }  # fmt: skip
    with declining(), at(data) as wiring:
        entry = Desk(wiring).create_matter(number, name, tenant, facts)
    if as_json:
        output.emit_json("affidavit.matter-created/1", {"matter": number, "entry": entry.number, "by": entry.by})
        return
    output.emit(number)
    output.say(f"matter {number} is open, by {entry.by}; to see what a hold would hold: affidavit hold preview")


@matter.command("list")
def show_all(data: options.Data = None, as_json: options.Json = False) -> None:
    """List the matters, with how many of their holds are in force. Sealed ones show their number only.

    Example:

    \b
      affidavit matter list
    """
    from affidavit.holds.desk import Desk, may_see
    from affidavit.holds.persons import recognise

    with declining(), at(data) as wiring:
        register, person = Desk(wiring).store.read(), recognise(wiring.control)
    shown = [_described(register, one, hidden=not may_see(one, person)) for one in register.matters.values()]
    if as_json:
        output.emit_json("affidavit.matters/1", {"matters": shown})
        return
    if not shown:
        output.say("no matters")
        return
    output.table(
        ("matter", "name", "tenant", "state", "holds in force", "opened", "by"),
        [
            (
                one["matter"],
                one["name"],
                one["tenant"],
                one["state"],
                one["in_force"],
                _said(one["opened_ms"]),
                one["by"],
            )
            for one in shown
        ],
        right=(4,),
    )


@matter.command("show")
def show(number: Number, data: options.Data = None, as_json: options.Json = False) -> None:
    """Show a matter, its holds, and what has happened to them.

    Example:

    \b
      affidavit matter show 2026-0417
    """
    from affidavit.holds.desk import Desk
    from affidavit.holds.opening import matter_of, now_ms

    with declining(), at(data) as wiring:
        desk = Desk(wiring)
        found, register = desk.seen_matter(number), desk.store.read()
        history = [entry for entry in desk.store.entries() if matter_of(entry, register) == number]
    facts = _described(register, found, hidden=False)
    holds = [(one.hold, one.kind, one.state(now_ms()), len(one.clauses)) for one in register.holds_of(number)]
    if as_json:
        listed = [{"hold": name, "kind": kind, "state": state, "scopes": count} for name, kind, state, count in holds]
        entries = [{"number": one.number, "at_ms": one.at_ms, "by": one.by, "what": one.what} for one in history]
        output.emit_json("affidavit.matter/1", {**facts, "holds": listed, "history": entries})
        return
    for name in ("matter", "name", "tenant", "state", "court", "docket", "counsel", "privileged", "sealed", "by"):
        if facts[name]:
            output.emit(f"{name:10} {'yes' if facts[name] is True else facts[name]}")
    if holds:
        output.emit("")
        output.table(("hold", "kind", "state", "scopes"), holds, right=(3,))
    output.emit("")
    output.table(
        ("when", "who", "what", "hold", "reason"),
        [
            (_said(one.at_ms), one.by, one.what, one.details.get("hold", ""), one.details.get("reason", ""))
            for one in history
        ],
    )


@matter.command("close")
def close(number: Number, reason: Reason, data: options.Data = None, as_json: options.Json = False) -> None:
    """Close a matter. Declined while one of its holds is not released.

    Example:

    \b
      affidavit matter close 2026-0417 --reason "settled, all appeals exhausted"
    """
    from affidavit.holds.desk import Desk

    with declining(), at(data) as wiring:
        entry = Desk(wiring).close_matter(number, reason)
    if as_json:
        output.emit_json("affidavit.matter-closed/1", {"matter": number, "entry": entry.number, "by": entry.by})
    else:
        output.say(f"matter {number} is closed, by {entry.by}")


def _described(register: Register, one: Matter, *, hidden: bool) -> dict[str, Any]:
    from affidavit.holds.opening import now_ms

    in_force = sum(hold.state(now_ms()) != "released" for hold in register.holds_of(one.matter))
    state = "open" if one.closed_ms is None else "closed"
    if hidden:
        blank = dict.fromkeys(("tenant", "court", "docket", "counsel", "by"), "")
        unknown = dict.fromkeys(("in_force", "privileged", "opened_ms"), None)
        return {"matter": one.matter, "name": "(sealed)", "state": state, "sealed": True, **blank, **unknown}
    return {
        "matter": one.matter,
        "name": one.name,
        "tenant": one.tenant,
        "state": state,
        "in_force": in_force,
        "court": one.court,
        "docket": one.docket,
        "counsel": one.counsel,
        "privileged": one.privileged,
        "sealed": one.sealed,
        "opened_ms": one.opened_ms,
        "by": one.opened_by,
    }


def _said(ms: int | None) -> str:
    from affidavit.holds.opening import moment

    return "" if ms is None else moment(ms)
