"""A verification for people: what was checked, what was found, what it proves and what it cannot. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from schemas.evidence import Status
from signer.report import INCOMPLETE, Finding, LogReport, Report
from signer.verify_event import EventReport

HEADLINES = {
    0: "VERIFIED",
    1: "INTEGRITY FAILURE",
    2: "INCOMPLETE OR STALE",
}

SHOWN_FINDINGS = 20
"""Per log; ``--json`` has them all, as far as they were kept."""

PROVES = (
    "every checkpoint carries a valid signature of the trusted key, and every entry is in it, in order, without a gap",
    "the checkpoint sets of the anchor log agree with every log, so none was shortened or replaced since the last set",
)
PROVES_RECORDS = "every record that {source} holds is, byte for byte, what was committed to when it was received"
PROVES_OUTSIDE = (
    "what each log held at the times above existed then, and has not changed since: so say {demands}, whom the "
    "operator does not control",
)
CANNOT = "that senders sent everything: what never reached the collector is not on the log"
CANNOT_INSIDE = (
    "that the operator, who holds the signing key, did not build another ledger from the start: nobody outside vouches "
    "for this one (docs/anchors.md), so compare with checkpoints that were kept elsewhere"
)
CANNOT_SINCE = "when what came after {since} was written: nobody outside has vouched for it yet"
CANNOT_UNPINNED = (
    "who signed: the verifier key came from the same directory; give one that you got another way with --policy"
)
CANNOT_LEDGER_ONLY = "that the records themselves are unchanged: that is affidavit verify records"


def never_hollow(report: Report) -> Report:
    """The report, with a finding when nothing was compared although a destination was named: a destination that holds
    nothing of a log proves nothing, however young the log is."""
    if not report.source or report.exit_code or any(report.statuses.values()):
        return report
    message = f"got no part to compare in {report.source}: it holds none of the {report.records:,} signed records yet"
    return replace(report, findings=(*report.findings, Finding("R1", message, INCOMPLETE)))


def verdict(report: Report, *, pinned: bool) -> list[str]:
    """The lines of a report on a ledger."""
    lines = [f"{HEADLINES[report.exit_code]}: {report.deployment}, as of {moment(report.checked_ms)}", ""]
    lines += ["checked"]
    for log in report.logs:
        notes = [f"    {note}" for note in log.notes]
        lines += [f"  {_log_line(log)}", *notes, *_findings(log.findings, log.failures)]
    anchors = report.anchors
    if anchors.size:
        lines.append(f"  {anchors.origin}: {anchors.size:,} leaves, last set {moment(anchors.last_ms)}")
    lines += _outside(report)
    lines += _findings(anchors.findings, anchors.failures)
    lines += _findings(report.findings, len(report.findings))
    if report.source:
        lines.append(f"  {report.source}: {_counts(report.statuses)}")
        lines += list(_on_their_way(report))
    if report.exit_code == 0:
        lines += ["", "proves", *(f"  {text}" for text in PROVES)]
        if report.outside is not None and report.outside.covered:
            lines += ["  " + text.format(demands=report.outside.demands) for text in PROVES_OUTSIDE]
        if report.source:
            lines.append("  " + PROVES_RECORDS.format(source=report.source))
    lines += ["", "cannot prove", f"  {CANNOT}"]
    if report.outside is None or not report.outside.covered:
        lines.append(f"  {CANNOT_INSIDE}")
    else:
        lines.append("  " + CANNOT_SINCE.format(since=moment(report.outside.last_ms)))
    if not report.source:
        lines.append("  " + CANNOT_LEDGER_ONLY)
    if not pinned:
        lines.append("  " + CANNOT_UNPINNED)
    return lines


def event_verdict(report: EventReport, *, source: str, pinned: bool) -> list[str]:
    """The lines of a report on one record."""
    parts = ", ".join(f"{name} {status.value}" for name, status in report.statuses.items())
    lines = [
        f"{HEADLINES[report.exit_code]}: event {report.event_id or 'of unknown id'} at {report.shard}@{report.offset}",
        "",
        f"  received       {moment(report.time_ms)} by the bus's clock, entry of kind {report.kind}",
        f"  in the ledger  leaf {report.index:,} of {report.size:,} in {report.origin}",
        f"  proof          {len(report.proof)} hashes from the leaf to the signed root {report.root.hex()[:16]}…",
        f"  vouched for    {_since(report)}",
        f"  parts          {parts or 'not compared'}, as {source} holds them",
        *_findings(report.findings, len(report.findings)),
    ]
    if not pinned:
        lines += ["", "cannot prove", "  " + CANNOT_UNPINNED]
    return lines


def _since(report: EventReport) -> str:
    if not report.vouched_ms:
        return "by nobody outside"
    return f"since {moment(report.vouched_ms)} at the latest, by {report.vouched_by}"


def _outside(report: Report) -> Iterator[str]:
    """Who vouches for the anchor log, and for what since when."""
    outside = report.outside
    if report.policy:
        demands = f", which demands {outside.demands}" if outside else ""
        yield f"  policy SHA-256 {report.policy.hex()}{demands}"
    if outside is None:
        return
    for one in outside.anchors:
        failed = f", {one.failed:,} that do not verify" if one.failed else ""
        span = f", {moment(one.first_ms)} to {moment(one.last_ms)}" if one.last_ms else ""
        yield f"  {one.kind} {one.name}: {one.attestations:,} attestations{failed}, up to leaf {one.size - 1:,}{span}"
    for kind, name, count in outside.unlisted:
        why = "receipts, which prove nothing by themselves" if kind == "lock" else "the policy does not list it"
        yield f"  {kind} {name}: {count:,} attestations ({why})"
    for log in report.logs:
        if log.vouched:
            first, last = log.vouched[0], log.vouched[-1]
            rest = log.size - 1 - last[1]
            young = f"; {rest:,} newer not yet" if rest else ""
            yield (
                f"  {log.origin}: leaves {first[0]:,} to {last[1]:,} vouched for, the first since "
                f"{moment(first[2])}, the last since {moment(last[2])}{young}"
            )


def _log_line(log: LogReport) -> str:
    if not log.size:
        return f"{log.origin}: its structure does not hold"
    span = f", {moment(log.first_ms)} to {moment(log.last_ms)}" if log.records else ""
    invalid = f", {log.invalid:,} of them no records of ours" if log.invalid else ""
    since = f"; the first {log.since:,} leaves were verified before" if log.since else ""
    return f"{log.origin}: {log.records:,} records{invalid}, root {log.root.hex()[:16]}…{span}{since}"


def _findings(findings: tuple[Finding, ...], count: int) -> Iterator[str]:
    for finding in findings[:SHOWN_FINDINGS]:
        place = f" ({finding.where})" if finding.where and finding.where not in finding.message else ""
        record = f"offset {finding.offset}" if finding.offset is not None else ""
        part = f" {finding.part}" if finding.part else ""
        step = f"step {finding.step}: " if finding.step and not finding.message.startswith("step ") else ""
        yield f"    ✗ {step}{record}{part}{': ' if record else ''}{finding.message}{place}"
    if count > SHOWN_FINDINGS:
        yield f"    ✗ and {count - SHOWN_FINDINGS:,} more"


def _on_their_way(report: Report) -> Iterator[str]:
    undelivered = sum(log.undelivered for log in report.logs)
    unsigned = sum(log.unsigned for log in report.logs)
    if undelivered:
        yield f"  {undelivered:,} signed records are not in {report.source} yet; they are young enough to be under way"
    if unsigned:
        yield f"  {unsigned:,} records in {report.source} are not signed yet; they are young enough"


def _counts(statuses: dict[Status, int]) -> str:
    return ", ".join(f"{count:,} parts {status.value}" for status, count in statuses.items() if count) or "no parts"


def moment(milliseconds: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
