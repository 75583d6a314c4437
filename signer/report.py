"""What a verification found, for people and for programs. Pure.

A report never says "true". It says what was looked at, what each part's status was, and what is wrong, and from that
follows the exit code: 0 verified, 1 an integrity failure, 2 evidence incomplete or stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.errors import VerificationError
from schemas.evidence import Status
from signer.verified import VerifiedUpTo

VERIFIED = 0
FAILED = 1
INCOMPLETE = 2

MAX_FINDINGS = 100
"""A log keeps so many findings, the first ones; the rest are counted."""


class Progress(NamedTuple):
    """How far a verification is: ``done`` of ``total`` entries of one log."""

    origin: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        step: the step that found it, as numbered in ``docs/log-format.md``.
        message: got what, expected what.
        exit_code: 1 or 2.
        origin: the log, ``""`` where it concerns the deployment.
        offset: bus offset of the record, ``None`` where it concerns none.
        part: name of the part, ``""`` where it concerns none.
        where: the place that holds what is wrong, e.g. an object key.
    """

    step: str
    message: str
    exit_code: int
    origin: str = ""
    offset: int | None = None
    part: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class LogReport:
    """One log.

    Attributes:
        origin: its name; ``size`` its leaves, genesis included; ``root`` 32 bytes. Size 0: its structure did not hold.
        records: entries that stand for messages of the bus; ``invalid`` of them for messages that are no records.
        first_ms, last_ms: earliest and latest time of them, milliseconds since 1970 UTC; 0 when there are none.
        steps_back: records whose time lay below the latest before them, at most by ``largest_step_ms``.
        anchored_size, anchored_ms: what the last checkpoint set says of it, and when that was.
        vouched: first and last leaf, earliest time that an anchor from outside vouches for, and which: by range.
        statuses: count of parts per status; empty where no destination was compared.
        unsigned: records in the destination behind the signed ones, young enough to be on their way.
        undelivered: signed records that the destination does not hold yet, young enough to be on their way.
        findings: the first :data:`MAX_FINDINGS`; ``failures`` counts all.
        exit_code: the worst of all findings.
        since: leaves that an earlier verification had verified; this one looked at those behind them.
        up_to: what the next one may go on behind; ``None`` where something is wrong.
    """

    origin: str
    size: int = 0
    root: bytes = b""
    records: int = 0
    invalid: int = 0
    first_ms: int = 0
    last_ms: int = 0
    steps_back: int = 0
    largest_step_ms: int = 0
    anchored_size: int = 0
    anchored_ms: int = 0
    vouched: tuple[tuple[int, int, int, str], ...] = ()
    statuses: Mapping[Status, int] = field(default_factory=dict)
    unsigned: int = 0
    undelivered: int = 0
    findings: tuple[Finding, ...] = ()
    failures: int = 0
    exit_code: int = VERIFIED
    since: int = 0
    up_to: VerifiedUpTo | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know and what is no fault of the evidence, in words."""
        if not self.steps_back:
            return ()
        return (
            f"the bus's time stepped back in {self.steps_back} of {self.records} records, by at most "
            f"{self.largest_step_ms / 1000:.3f} s: the brokers' clocks differ",
        )


class AnchorCount(NamedTuple):
    """One anchor that the policy lists: its attestations that verify, those that do not, the leaves of the largest head
    that it vouches for, and the times that it states (milliseconds since 1970 UTC, 0: none)."""

    kind: str
    name: str
    attestations: int
    failed: int
    size: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class OutsideReport:
    """What vouches for the anchor log from outside.

    Attributes:
        demands: what the policy asks for, in words.
        heads: archived checkpoints.
        anchors: by anchor.
        unlisted: kind, name and count of attestations by anchors that the policy does not list.
        covered: heads for which the policy is satisfied; the first and last time of them, the leaves of the last, and
            the longest time between two of them.
    """

    demands: str
    heads: int
    anchors: tuple[AnchorCount, ...]
    unlisted: tuple[tuple[str, str, int], ...]
    covered: int
    first_ms: int
    last_ms: int
    last_size: int
    longest_gap_ms: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "demands": self.demands,
            "heads": self.heads,
            "anchors": [one._asdict() for one in self.anchors],
            "unlisted": [{"kind": kind, "name": name, "count": count} for kind, name, count in self.unlisted],
            "covered": self.covered,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "last_size": self.last_size,
            "longest_gap_ms": self.longest_gap_ms,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A deployment's ledger, and what a destination holds of it.

    Attributes:
        deployment: its name.
        checked_ms: when it was verified, milliseconds since 1970 UTC.
        source: the destination that was compared, ``""`` for the ledger alone.
        anchors: the anchor log; its head's age is in ``logs[…].anchored_ms``.
        logs: sorted by origin.
        findings: what concerns no single log.
        policy: SHA-256 of the policy file that was used, ``b""`` where none was.
        outside: what vouches for the anchor log; ``None`` where it could not be looked at.
    """

    deployment: str
    checked_ms: int
    source: str
    anchors: LogReport
    logs: tuple[LogReport, ...]
    findings: tuple[Finding, ...]
    policy: bytes = b""
    outside: OutsideReport | None = None

    @property
    def records(self) -> int:
        return sum(log.records for log in self.logs)

    @property
    def statuses(self) -> dict[Status, int]:
        """Count of parts per status, over all logs."""
        return {status: sum(log.statuses.get(status, 0) for log in self.logs) for status in Status}

    @property
    def failures(self) -> int:
        return len(self.findings) + self.anchors.failures + sum(log.failures for log in self.logs)

    @property
    def exit_code(self) -> int:
        """1 when anything contradicts, else 2 when anything is absent or stale, else 0."""
        return worst(
            [*(log.exit_code for log in (self.anchors, *self.logs)), *(item.exit_code for item in self.findings)]
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON types; names and meaning of the fields do not change within a major version."""
        return {
            "deployment": self.deployment,
            "checked_ms": self.checked_ms,
            "source": self.source,
            "policy": self.policy.hex(),
            "exit_code": self.exit_code,
            "records": self.records,
            "failures": self.failures,
            "statuses": {status.value: count for status, count in self.statuses.items()},
            "anchors": _log_as_dict(self.anchors),
            "outside": self.outside.as_dict() if self.outside else None,
            "logs": [_log_as_dict(log) for log in self.logs],
            "findings": [_finding_as_dict(finding) for finding in self.findings],
        }


class Findings:
    """Collects findings of one log: keeps the first, counts all, remembers the worst."""

    def __init__(self, origin: str = "") -> None:
        self._origin = origin
        self.kept: list[Finding] = []
        self.count = 0
        self.exit_code = VERIFIED

    def add(
        self, step: str, message: str, *, code: int = FAILED, offset: int | None = None, part: str = "", where: str = ""
    ) -> None:
        """Note one finding."""
        self.count += 1
        self.exit_code = worst([self.exit_code, code])
        if len(self.kept) < MAX_FINDINGS:
            self.kept.append(Finding(step, message, code, self._origin, offset, part, where))

    def add_error(self, error: VerificationError) -> None:
        """Note a step that raised."""
        self.add(error.step, str(error), code=error.exit_code)


def worst(codes: list[int]) -> int:
    """A contradiction outweighs a gap: 1 before 2 before 0."""
    return next((code for code in (FAILED, INCOMPLETE) if code in codes), VERIFIED)


def _log_as_dict(log: LogReport) -> dict[str, Any]:
    return {
        "origin": log.origin,
        "size": log.size,
        "root": log.root.hex(),
        "records": log.records,
        "invalid": log.invalid,
        "first_ms": log.first_ms,
        "last_ms": log.last_ms,
        "steps_back": log.steps_back,
        "largest_step_ms": log.largest_step_ms,
        "notes": list(log.notes),
        "anchored_size": log.anchored_size,
        "anchored_ms": log.anchored_ms,
        "vouched": [{"first": first, "last": last, "time_ms": time, "by": by} for first, last, time, by in log.vouched],
        "statuses": {status.value: count for status, count in log.statuses.items()},
        "unsigned": log.unsigned,
        "undelivered": log.undelivered,
        "failures": log.failures,
        "exit_code": log.exit_code,
        "since": log.since,
        "findings": [_finding_as_dict(finding) for finding in log.findings],
    }


def _finding_as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "step": finding.step,
        "message": finding.message,
        "exit_code": finding.exit_code,
        "origin": finding.origin,
        "offset": finding.offset,
        "part": finding.part,
        "where": finding.where,
    }
