"""``disposition``: what is past its time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import options, output

if TYPE_CHECKING:
    from retention.due import Verdict
    from retention.policy import Policy
    from retention.register import Register

disposition = typer.Typer(help="What is past its time under the retention policy.", no_args_is_help=True)


@disposition.callback()
def _group() -> None: ...


@disposition.command("preview")
def preview(
    as_of: Annotated[str, typer.Option("--as-of", metavar="DATE", help="As of this day, UTC, instead of today.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant's.")] = "",
    file: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Another policy than the one in force, in YAML.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is not past its time too.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Show what is past its time, by tenant, class, month and part, by which rule, and what of it is held. Nothing is
    destroyed.

    A subject key is for a month, so a month is past its time when the longest of what the rules say of its kinds and
    classifications has passed for whatever was received on its last day. In doubt it is held: what cannot be read, too.

    Example:

    \b
      affidavit disposition preview
      affidavit disposition preview --policy deploy/policies/gdpr.yaml --as-of 2027-01-01 --all
    """
    import asyncio

    from affidavit.cli.hold_options import asking, at, declining
    from affidavit.due import find_due
    from affidavit.holds.opening import now_ms, open_register, scopes_in_force
    from affidavit.holds.unindexed import unindexed
    from retention.due import State
    from schemas.errors import EvidenceIncomplete

    with declining(), at(data) as wiring, asking(wiring) as client:
        day = _day(as_of)
        register = open_register(wiring).read()
        policy = _policy(register, file, day)
        if client is None:
            raise EvidenceIncomplete("what is due can be counted only when ClickHouse can be asked")
        held = [(scope, clause.placed_ms) for _, clause, scope in scopes_in_force(wiring, register, now_ms())]
        waiting = asyncio.run(unindexed(wiring))  # first: what comes in between is counted, or told of
        found = find_due(client, wiring.control, policy, held, day, tenant)
    missing = {shard: count for shard, count in waiting.items() if count}
    shown = [one for one in found if everything or one.state in (State.DUE, State.HELD)]
    if as_json:
        facts = {"name": policy.name, "version": policy.version, "effective": policy.effective}
        rows = [_facts(one) for one in shown]
        fields: dict[str, object] = {"policy": facts, "as_of": day, "groups": rows, "unindexed": missing}
        output.emit_json("affidavit.disposition-preview/1", fields)
        return
    output.emit(f"policy     {policy.name}, version {policy.version}, as of {day} UTC")
    output.table(
        ("tenant", "class", "month", "part", "state", "from", "records", "held", "unreadable", "keys", "by"),
        [
            (
                one.group.tenant or "(none)",
                one.group.retention_class or "(none)",
                f"{one.group.month:%Y-%m}",
                one.group.part,
                one.state,
                one.expires or "",
                one.records,
                one.held,
                one.unreadable,
                one.keys,
                ", ".join(rule.rule for rule in one.by),
            )
            for one in shown
        ],
        right=(6, 7, 8, 9),
    )
    due = sum(one.keys for one in found if one.state is State.DUE)
    kept = sum(one.keys for one in found if one.state is State.HELD)
    output.emit(f"keys past their time: {due:,} due, {kept:,} which holds keep")
    if missing:
        shards = ", ".join(f"{shard} {count:,}" for shard, count in sorted(missing.items()))
        output.say(f"ClickHouse does not have all of it yet, so nobody has looked at: {shards}")


def _policy(register: Register, file: Path | None, day: date) -> Policy:
    """The policy in force, or that of a file.

    Raises:
        Declined: there is none, or it does not count yet on that day.
    """
    from affidavit.policies import read_policy
    from schemas.errors import Declined

    if file is not None:
        found = read_policy(file)
    else:
        if register.policy is None:
            raise Declined("no policy is in force, so nothing expires: name one with --policy, or apply one")
        found = register.policy.policy
    if day < found.effective:
        raise Declined(
            f"policy {found.name}, version {found.version}, is effective from {found.effective}, after {day}: nothing "
            "expires by it before; look ahead with --as-of"
        )
    return found


def _day(text: str) -> date:
    from schemas.errors import Declined

    if not text:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Declined(f"--as-of: got {text!r}, expected a date such as 2027-01-01") from None


def _facts(one: Verdict) -> dict[str, Any]:
    return {
        "tenant": one.group.tenant,
        "class": one.group.retention_class,
        "month": f"{one.group.month:%Y-%m}",
        "part": one.group.part,
        "state": one.state,
        "expires": one.expires,
        "by": [{"rule": rule.rule, "citation": rule.citation} for rule in one.by],
        "records": one.records,
        "held": one.held,
        "unreadable": one.unreadable,
        "keys": one.keys,
    }
