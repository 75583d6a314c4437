"""``policy``: how long what is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from datetime import date

    from retention.policy import Decision, Rule, Subject

policy = typer.Typer(help="Retention policies: how long what must be kept, and may be.", no_args_is_help=True)

Version = Annotated[int, typer.Argument(metavar="VERSION", help="The version of the policy that waits for approval.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A policy in YAML; deploy/policies has examples.")]


@policy.command("check")
def check(file: File, as_json: options.Json = False) -> int:
    """Check a policy: that it reads, and where a minimum of one rule is longer than a maximum of another.

    Where they contradict each other the minimum counts, and the exit code is 2.

    Example:

    \b
      affidavit policy check deploy/policies/gdpr.yaml
    """
    from affidavit.policies import read_policy
    from retention.policy import conflicts

    found = read_policy(file)
    wrong = conflicts(found, _today())
    if as_json:
        facts = {"name": found.name, "version": found.version, "owner": found.owner, "effective": found.effective,
                 "rules": len(found.rules)}  # fmt: skip
        contradictions = [{**subject._asdict(), **_decided(decision)} for subject, decision in wrong]
        output.emit_json("affidavit.policy-check/1", {**facts, "contradictions": contradictions})
        return exits.INCOMPLETE if wrong else exits.DONE
    output.emit(f"policy     {found.name}, version {found.version}, of {found.owner}, from {found.effective}")
    output.table(
        ("rule", "at least", "at most", "of", "citation"),
        [
            (
                rule.rule,
                rule.at_least or "",
                rule.at_most or "",
                "; ".join(f"{key} {' or '.join(values)}" for key, values in rule.conditions.items()) or "everything",
                rule.citation,
            )
            for rule in found.rules
        ],
    )
    for subject, decision in wrong:
        rules = " and ".join(rule.rule for rule in decision.by)
        output.emit(f"CONTRADICTION: {_named(subject)}: {rules} do not agree; it is kept for the minimum")
    return exits.INCOMPLETE if wrong else exits.DONE


@policy.command("explain")
def explain(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="An event id, or an address such as events/0@17.")],
    file: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Another policy than the one in force, in YAML.")
    ] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Say what keeps a record, until when, and by which rule: for each of its parts, and every hold that is in force.

    A subject key is for a month, so a part is destroyed when the youngest of its month is due.

    Example:

    \b
      affidavit policy explain events/0@17
      affidavit policy explain events/0@17 --policy deploy/policies/gdpr.yaml
    """
    from affidavit.cli.hold_options import asking, at, declining
    from affidavit.holds.opening import now_ms, open_register, scopes_in_force
    from affidavit.holds.why import why
    from affidavit.policies import explain as find
    from affidavit.policies import read_policy
    from schemas.errors import Declined, EvidenceIncomplete

    with declining(), at(data) as wiring, asking(wiring) as client:
        register = open_register(wiring).read()
        if file is None and register.policy is None:
            raise Declined("no policy is in force: name one with --policy, or apply one (policy apply)")
        found = register.policy.policy if file is None and register.policy is not None else read_policy(file or Path())
        if client is None:
            raise EvidenceIncomplete("a record can be explained only when ClickHouse can be asked")
        explained = find(client, found, record)
        held = {one.address: one.by for one in
                why(client, wiring.objects, record, scopes_in_force(wiring, register, now_ms()))}  # fmt: skip
    holds = {one.address: len(held.get(one.address, [])) for one in explained}
    if as_json:
        rows = [
            {"record": one.address, "event_id": one.event_id, **one.facts, "received": one.received,
             "holds": holds[one.address],
             "parts": {part: {**_decided(told), "destroyed_from": day} for part, (told, day) in one.parts.items()}}
            for one in explained
        ]  # fmt: skip
        output.emit_json(
            "affidavit.policy-explain/1", {"policy": found.name, "version": found.version, "records": rows}
        )
        return
    for one in explained:
        facts = ", ".join(f"{name.replace('_', ' ')} {value or '(none)'}" for name, value in one.facts.items())
        output.emit(f"{one.address} {one.event_id}: received {one.received}; {facts}")
        if holds[one.address]:
            output.emit(
                f"  held: {output.count(holds[one.address], 'hold')} in force, see affidavit hold why {one.address}"
            )
        for part, (decision, day) in one.parts.items():
            output.emit(f"  {part}: {_words(decision, day)}")


@policy.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The policy as it is.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policy as it shall be.")],
    as_json: options.Json = False,
) -> int:
    """Show for which records another policy says otherwise, and what it would shorten; exits 2 if it shortens anything.

    All kinds of parts that a rule of either tells apart are compared, as received today.

    Example:

    \b
      affidavit policy diff deploy/policies/gdpr.yaml deploy/policies/hipaa.yaml
    """
    from affidavit.policies import read_policy
    from retention.policy import changes

    found = changes(read_policy(old), read_policy(new), _today())
    shorter = [one for one in found if one.shorter]
    if as_json:
        rows = [{**one.subject._asdict(), "before": _decided(one.before), "after": _decided(one.after),
                 "shorter": one.shorter} for one in found]  # fmt: skip
        output.emit_json("affidavit.policy-diff/1", {"changes": rows, "shorter": len(shorter)})
        return exits.INCOMPLETE if shorter else exits.DONE
    if not found:
        output.say("no record is kept longer or shorter")
        return exits.DONE
    output.table(
        ("part", "kept at least until", "expires", "becomes", "expires", ""),
        [
            (
                _named(one.subject),
                one.before.until or "",
                one.before.expires or "never",
                one.after.until or "",
                one.after.expires or "never",
                "SHORTER" if one.shorter else "",
            )
            for one in found
        ],
    )
    output.say(f"{output.count(len(found), 'change')}, {len(shorter)} of them shorter")
    return exits.INCOMPLETE if shorter else exits.DONE


@policy.command("show")
def show(data: options.Data = None, as_json: options.Json = False) -> None:
    """Show the policy that is in force, who applied it, and one that waits for approval.

    Example:

    \b
      affidavit policy show
    """
    from affidavit.cli.hold_options import at, declining
    from affidavit.holds.opening import moment, open_register

    with declining(), at(data) as wiring:
        register = open_register(wiring).read()
    both = {"in_force": register.policy, "asked": register.policy_asked}
    if as_json:
        facts: dict[str, object] = {
            name: one and {"document": one.document, "by": one.by, "at_ms": one.at_ms, "reason": one.reason}
            for name, one in both.items()
        }
        output.emit_json("affidavit.policy/1", facts)
        return
    if register.policy is None:
        output.emit("no policy is in force: nothing expires")
    for one, what in ((register.policy, "in force"), (register.policy_asked, "waits for approval")):
        if one is not None:
            made = one.policy
            output.emit(
                f"{made.name}, version {made.version}, of {made.owner}: {what}; by {one.by}, {moment(one.at_ms)}"
            )
            for rule in made.rules:
                output.emit(f"  {rule.rule}: {_periods(rule)}; {rule.citation}")


@policy.command("apply")
def apply(
    file: File,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with it.")],
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Apply a policy. One that lets anything be destroyed earlier than now waits until somebody else approves it, and
    so does the first, for without one nothing expires. Needs a person's token for all tenants with the scope policy.

    Example:

    \b
      affidavit policy apply acme.yaml --reason "records committee, 2026-11-20"
    """
    from affidavit.cli.hold_options import at, declining
    from affidavit.holds.desk import Desk
    from affidavit.policies import read_document

    with declining(), at(data) as wiring:
        desk = Desk(wiring)
        entry = desk.apply_policy(read_document(file), reason)
        waits = desk.store.read().policy_asked is not None
    version = entry.details["document"]["version"]
    said = f"waits for approval: affidavit policy approve {version}" if waits else "in force"
    _say(version, entry.by, "asked" if waits else "in force", said, as_json)


@policy.command("approve")
def approve(version: Version, data: options.Data = None, as_json: options.Json = False) -> None:
    """Approve a policy that somebody else has applied. Needs a token for all tenants with the scope approve.

    Example:

    \b
      affidavit policy approve 3
    """
    from affidavit.cli.hold_options import at, declining
    from affidavit.holds.desk import Desk

    with declining(), at(data) as wiring:
        entry = Desk(wiring).approve_policy(version)
    _say(version, entry.by, "in force", "in force", as_json)


@policy.command("cancel")
def cancel(
    version: Version,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with it.")],
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Take back a policy that waits for approval; the one in force stays.

    Example:

    \b
      affidavit policy cancel 3 --reason "counsel objects"
    """
    from affidavit.cli.hold_options import at, declining
    from affidavit.holds.desk import Desk

    with declining(), at(data) as wiring:
        entry = Desk(wiring).cancel_policy(version, reason)
    _say(version, entry.by, "cancelled", "taken back", as_json)


def _say(version: int, by: str, state: str, text: str, as_json: bool) -> None:
    if as_json:
        output.emit_json("affidavit.policy-changed/1", {"version": version, "by": by, "state": state})
    else:
        output.say(f"policy version {version}, by {by}: {text}")


def _periods(rule: Rule) -> str:
    said = [f"at least {rule.at_least}"] if rule.at_least is not None else []
    said += [f"at most {rule.at_most}"] if rule.at_most is not None else []
    asks = "; ".join(f"{key} {' or '.join(values)}" for key, values in rule.conditions.items()) or "everything"
    return f"{asks}: {', '.join(said)}"


def _today() -> date:
    return datetime.now(UTC).date()


def _named(subject: Subject) -> str:
    from retention.policy import OTHER

    said = [value for value in subject[:-1] if value != OTHER]
    return f"{subject.part} of {', '.join(said)}" if said else f"{subject.part} of all others"


def _decided(decision: Decision) -> dict[str, Any]:
    return {
        "kept_until": decision.until,
        "expires": decision.expires,
        "by": [{"rule": rule.rule, "citation": rule.citation} for rule in decision.by],
        "contradiction": decision.conflict,
    }


def _words(decision: Decision, day: date | None) -> str:
    if decision.until is None and decision.expires is None:
        return "no rule is about it, so it does not expire"
    rules = "; ".join(f"{rule.rule} ({rule.citation})" for rule in decision.by)
    kept = f"must be kept until {decision.until}, " if decision.until is not None else ""
    ends = "does not expire" if day is None else f"expires {decision.expires}, its key from {day}"
    return f"{kept}{ends}: {rules}" + ("; the minimum beats the maximum" if decision.conflict else "")
