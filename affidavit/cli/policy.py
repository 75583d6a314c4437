"""``policy``: how long what is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from datetime import date

    from retention.policy import Decision, Subject

policy = typer.Typer(help="Retention policies: how long what must be kept, and may be.", no_args_is_help=True)

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
    file: Annotated[Path, typer.Option("--policy", metavar="FILE", help="The policy, in YAML.")],
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Say what keeps a record, until when, and by which rule: for each of its parts, and every hold that is in force.

    A subject key is for a month, so a part is destroyed when the youngest of its month is due.

    Example:

    \b
      affidavit policy explain events/0@17 --policy deploy/policies/gdpr.yaml
    """
    from affidavit.cli.hold_options import asking, at, declining
    from affidavit.holds.opening import now_ms, open_register, scopes_in_force
    from affidavit.holds.why import why
    from affidavit.policies import explain as find
    from affidavit.policies import read_policy
    from schemas.errors import EvidenceIncomplete

    with declining(), at(data) as wiring, asking(wiring) as client:
        found = read_policy(file)
        if client is None:
            raise EvidenceIncomplete("a record can be explained only when ClickHouse can be asked")
        explained = find(client, found, record)
        register = open_register(wiring).read()
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
