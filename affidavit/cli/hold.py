"""``hold``: what may not be destroyed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from affidavit.cli import hold_options as own
from affidavit.cli import options, output
from affidavit.cli.hold_options import asking, at, declining, wanted
from affidavit.cli.hold_output import print_preview, say_entry, say_placed

if TYPE_CHECKING:
    from affidavit.holds.preview import Preview
    from affidavit.query import QueryClient
    from affidavit.wiring import Wiring
    from retention.scope import Scope

hold = typer.Typer(help="Litigation holds and investigation freezes: what may not be destroyed.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="HOLD", help="The hold, as hold list shows it.")]
Freeze = Annotated[bool, typer.Option("--freeze", help="An investigation freeze: it may end by itself, see --lapses.")]
Lapses = Annotated[str, typer.Option("--lapses", metavar="TIME", help="When a freeze ends by itself.")]


@hold.command("preview")
def preview(
    matter: own.Matter,
    custodian: own.Custodian = [],  # noqa: B006  typer copies it
    group: own.Group = [],  # noqa: B006
    session: own.Session = [],  # noqa: B006
    agent: own.Agent = [],  # noqa: B006
    tool: own.Tool = [],  # noqa: B006
    model: own.Model = [],  # noqa: B006
    gateway: own.Gateway = [],  # noqa: B006
    query: own.Query = "",
    begin: own.From = "",
    end: own.To = "",
    prospective: own.Prospective = False,
    everything: own.Everything = False,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose records; the matter's when left out.")] = "",
    freeze: Freeze = False,
    lapses: Lapses = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Count what a hold would hold, without placing it: by custodian, day, class and kind, with samples, the objects of
    the archive that it touches, and what nobody can see yet. Prints a plan hash for hold place.

    Values of one option are alternatives, different options must all agree. In doubt a record is held: what cannot be
    read, and what happened or arrived in the time. Nothing of the content is shown.

    Example:

    \b
      affidavit hold preview --matter 2026-0417 --custodian ada@example.com --from 2026-01-01 --to 2026-07-01
      affidavit hold preview --matter 2026-0417 --group traders --query '"project falcon"' --prospective
    """
    from affidavit.holds.desk import Desk
    from affidavit.holds.preview import plan_hash
    from retention.scope import encode_scope
    from schemas.errors import EvidenceIncomplete

    given = wanted(custodian, group, session, agent, tool, model, gateway, query, begin, end, prospective, everything)
    with declining(), at(data) as wiring, asking(wiring) as client:
        desk = Desk(wiring)
        found = desk.seen_matter(matter)
        scope = given.scope(wiring, tenant or found.tenant, client)
        if client is None:
            raise EvidenceIncomplete("nothing can be counted; hold place does not wait for ClickHouse")
        seen = _seen(wiring, client, scope)
    plan = plan_hash(matter, _kind(freeze), scope, _lapses(lapses))
    if as_json:
        output.emit_json("affidavit.hold-preview/1", {"plan": plan, "scope": encode_scope(scope), **seen.as_dict()})
        return
    print_preview(scope, seen)
    output.emit("")
    output.emit(f"plan       {plan}")
    output.say("to place it: the same options with hold place, --reason and --plan " + plan)


@hold.command("place")
def place(
    matter: own.Matter,
    reason: own.Reason,
    custodian: own.Custodian = [],  # noqa: B006  typer copies it
    group: own.Group = [],  # noqa: B006
    session: own.Session = [],  # noqa: B006
    agent: own.Agent = [],  # noqa: B006
    tool: own.Tool = [],  # noqa: B006
    model: own.Model = [],  # noqa: B006
    gateway: own.Gateway = [],  # noqa: B006
    query: own.Query = "",
    begin: own.From = "",
    end: own.To = "",
    prospective: own.Prospective = False,
    everything: own.Everything = False,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose records; the matter's when left out.")] = "",
    freeze: Freeze = False,
    lapses: Lapses = "",
    plan: own.Plan = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Place a hold. When this returns, it is in force: nothing in its scope can be destroyed any more.

    It is on the log, in the object store and in the control database. Then the legal-hold flags of the archive are set,
    the backstop behind the register; where that fails the hold is in force, and the exit code is 4: hold verify shows
    what is missing, hold sync sets it. Needs a person's token with the scope hold.

    Example:

    \b
      affidavit hold place --matter 2026-0417 --custodian ada@example.com --prospective --reason "served 2026-07-14"
      affidavit hold place --matter 2026-0417 --freeze --session s-17 --lapses 2026-12-24 --reason INC-81
    """
    from affidavit.holds.checking import count_records
    from affidavit.holds.desk import Desk
    from affidavit.holds.opening import now_ms
    from affidavit.holds.preview import check_plan, plan_hash

    given = wanted(custodian, group, session, agent, tool, model, gateway, query, begin, end, prospective, everything)
    kind, ends_ms = _kind(freeze), _lapses(lapses)
    with declining(), at(data) as wiring, asking(wiring) as client:
        desk = Desk(wiring)
        scope = given.scope(wiring, tenant or desk.seen_matter(matter).tenant, client)
        real = plan_hash(matter, kind, scope, ends_ms)
        check_plan(plan, real)
        counted = None if client is None else count_records(client, scope, now_ms())
        with output.progress() as progress:
            placed = desk.place(
                matter, kind, scope, reason, plan=real, lapses_ms=ends_ms, counted=counted, told=progress
            )
    return say_placed(placed, scope, counted, as_json)


@hold.command("extend")
def extend(
    name: Name,
    reason: own.Reason,
    custodian: own.Custodian = [],  # noqa: B006  typer copies it
    group: own.Group = [],  # noqa: B006
    session: own.Session = [],  # noqa: B006
    agent: own.Agent = [],  # noqa: B006
    tool: own.Tool = [],  # noqa: B006
    model: own.Model = [],  # noqa: B006
    gateway: own.Gateway = [],  # noqa: B006
    query: own.Query = "",
    begin: own.From = "",
    end: own.To = "",
    prospective: own.Prospective = False,
    everything: own.Everything = False,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose records; those of the hold when left out.")] = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Add a scope to a hold, beside those that it has; each record of any of them is held.

    Example:

    \b
      affidavit hold extend h-3fa01c77 --custodian bob@example.com --prospective --reason "amended complaint"
    """
    from affidavit.holds.checking import count_records
    from affidavit.holds.desk import Desk
    from affidavit.holds.opening import now_ms
    from affidavit.holds.preview import plan_hash

    given = wanted(custodian, group, session, agent, tool, model, gateway, query, begin, end, prospective, everything)
    with declining(), at(data) as wiring, asking(wiring) as client:
        desk = Desk(wiring)
        found = desk.seen_hold(name)
        scope = given.scope(wiring, tenant or found.clauses[0].scope.tenant, client)
        counted = None if client is None else count_records(client, scope, now_ms())
        plan = plan_hash(found.matter, found.kind, scope, None)
        with output.progress() as progress:
            placed = desk.extend(name, scope, reason, plan=plan, counted=counted, told=progress)
    return say_placed(placed, scope, counted, as_json)


@hold.command("release")
def release(
    name: Name,
    matter: own.Matter,
    reason: own.Reason,
    scopes: Annotated[
        list[int], typer.Option("--scope", metavar="NUMBER", help="Only this scope of the hold; repeatable.")
    ] = [],  # noqa: B006  typer copies it
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Ask that a hold be released, or narrowed by some of its scopes. Nothing is released yet: somebody else has to
    approve it, and then a delay begins.

    Example:

    \b
      affidavit hold release h-3fa01c77 --matter 2026-0417 --reason "settled, all appeals exhausted"
      affidavit hold release h-3fa01c77 --matter 2026-0417 --scope 2 --reason "custodian dismissed from the case"
    """
    from affidavit.holds.desk import Desk

    with declining(), at(data) as wiring:
        entry = Desk(wiring).request_release(name, matter, scopes, reason)
    say_entry(
        name, entry.details["clauses"], entry.by, as_json,
        f"asked by {entry.by}; still held. Another person approves it: affidavit hold approve {name} --matter {matter}",
    )  # fmt: skip


@hold.command("approve")
def approve(name: Name, matter: own.Matter, data: options.Data = None, as_json: options.Json = False) -> None:
    """Approve what somebody else has asked for: a release, or the early end of its delay.

    After the approval of a release the delay begins ([retention] release_delay_days), in which it is still held and can
    be taken back. Needs a token with the scope approve; for an early end, early.

    Example:

    \b
      affidavit hold approve h-3fa01c77 --matter 2026-0417
    """
    from affidavit.holds.desk import Desk
    from affidavit.holds.opening import moment, now_ms

    with declining(), at(data) as wiring:
        desk = Desk(wiring)
        numbers = [one.number for one in desk.seen_hold(name).clauses]
        entry = desk.approve(name, matter)
        found = desk.seen_hold(name)
    state = found.state(now_ms())
    ends = [one.ends_ms for one in found.clauses if one.state(now_ms()) == "releasing" and one.ends_ms is not None]
    text = f"approved by {entry.by}; {'held until ' + moment(max(ends)) if ends else state}"
    say_entry(name, numbers, entry.by, as_json, text)


@hold.command("cancel")
def cancel(name: Name, reason: own.Reason, data: options.Data = None, as_json: options.Json = False) -> None:
    """Take back what was asked for; or, if nothing is asked for, a release whose delay is running. It holds as before.

    Example:

    \b
      affidavit hold cancel h-3fa01c77 --reason "notice of appeal filed"
    """
    from affidavit.holds.desk import Desk

    with declining(), at(data) as wiring:
        entry = Desk(wiring).cancel(name, reason)
    say_entry(name, [], entry.by, as_json, f"taken back by {entry.by}; it holds as before")


@hold.command("end-delay")
def end_delay(
    name: Name, matter: own.Matter, reason: own.Reason, data: options.Data = None, as_json: options.Json = False
) -> None:
    """Ask that the delay of a release end now. Somebody else has to approve it; both need the scope early.

    Example:

    \b
      affidavit hold end-delay h-3fa01c77 --matter 2026-0417 --reason "order of 2026-11-20 to destroy"
    """
    from affidavit.holds.desk import Desk

    with declining(), at(data) as wiring:
        entry = Desk(wiring).request_early_end(name, matter, reason)
    say_entry(
        name, entry.details["clauses"], entry.by, as_json,
        f"asked by {entry.by}; still held. Another person approves it: affidavit hold approve {name} --matter {matter}",
    )  # fmt: skip


def _kind(freeze: bool) -> Literal["hold", "freeze"]:
    return "freeze" if freeze else "hold"


def _lapses(text: str) -> int | None:
    from affidavit.moments import parse_time

    return parse_time(text, datetime.now(UTC)) if text else None


def _seen(wiring: Wiring, client: QueryClient, scope: Scope) -> Preview:
    import asyncio

    from affidavit.holds.opening import now_ms
    from affidavit.holds.preview import preview as look
    from affidavit.holds.unindexed import unindexed

    with output.progress() as progress:
        late = asyncio.run(unindexed(wiring))
        return look(client, wiring.objects, scope, now_ms(), late, progress)
