"""Comparing a destination with one log, record by record (``docs/log-format.md`` §10).

::

    R1  every signed offset is there, exactly once; nothing is there that was not signed
    R2  every part is as its commitment says, or its absence is accounted for
    R3  leaf and chain, where the destination keeps them, are those of the ledger
    R4  what the destination does not hold yet is younger than its delay bound
    R5  what the destination holds beyond the checkpoint gets signed within the signing bound

Findings are collected, not raised: one altered record must not hide the next. A structural failure of the log itself
ends the walk, and is a finding too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from schemas.entry import COMMITMENT_BYTES, INVALID
from schemas.errors import VerificationError
from schemas.evidence import Evidence, EvidenceSource, Status
from schemas.ids import Offset
from signer.checkpoint import open_checkpoint
from signer.clock import SYSTEM_CLOCK, Clock
from signer.ledger import Ledger
from signer.report import INCOMPLETE, Findings, LogReport
from signer.trust import Trust
from signer.verify import LogVerification, VerifiedLog
from signer.verify_links import Place
from signer.verify_parts import (
    FAILURES,
    Erasures,
    Fetch,
    Held,
    NoErasures,
    PartFinding,
    PartVerifier,
    intact,
    part_name,
)
from signer.verify_tree import Block
from stores.keys import Keys

DELAY_MS = 60_000
"""How old a signed record may be that a destination does not hold yet. Archives gather for minutes: give them more."""

SIGNING_MS = 5_000
"""How soon what a destination holds must be signed. The verifier waits so long for a signer that runs: it promises a
second."""

WHOLE_SHARD = Place()
"""The place of a log that is the only one of its shard."""

_ENTRY_HEAD = struct.Struct(">BBQQB")
_SETTLE_SECONDS = 0.1
_STRUCTURE = ("size", "root", "records", "invalid", "first_ms", "last_ms", "steps_back", "largest_step_ms")
"""What a report takes from a verified log."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to compare a log with.

    Attributes:
        source: the destination.
        keys: opens sealed parts; ``None`` leaves them ``SEALED``.
        fetch: reads parts that lie outside their record.
        erasures: what was destroyed on the record.
        delay_ms: bound of R4.
        signing_ms: bound of R5.
        clock: for both.
    """

    source: EvidenceSource
    keys: Keys | None = None
    fetch: Fetch | None = None
    erasures: Erasures = field(default_factory=NoErasures)
    delay_ms: int = DELAY_MS
    signing_ms: int = SIGNING_MS
    clock: Clock = SYSTEM_CLOCK


def verify_records(
    log: LogVerification,
    ledger: Ledger,
    trust: Trust,
    comparison: Comparison,
    place: Place = WHOLE_SHARD,
    findings: Findings | None = None,
) -> LogReport:
    """Verify a log and, in the same walk, what a destination holds of it.

    Args:
        log: not yet walked.
        ledger, trust: where it lies, and whose signatures count.
        comparison: with what, and by which bounds.
        place: where it lies among the logs of its shard: nothing may lie before the first or behind the last.
        findings: what was found of this log already.
    """
    return _RecordWalk(log, ledger, trust, comparison, place, findings).run()


class _RecordWalk:
    def __init__(
        self,
        log: LogVerification,
        ledger: Ledger,
        trust: Trust,
        comparison: Comparison,
        place: Place,
        findings: Findings | None,
    ) -> None:
        self._log, self._ledger, self._trust, self._comparison = log, ledger, trust, comparison
        self._place = place
        self._origin = str(log.origin)
        self._shard = log.origin.shard
        self._start = log.genesis.start_offset
        self._signed_end = self._start + log.size - 1
        self._verifier = PartVerifier(comparison.keys, comparison.fetch, comparison.erasures, comparison.source)
        self._findings = findings or Findings(self._origin)
        self._statuses: dict[Status, int] = {}
        self._intact = 0
        self._undelivered = 0
        self._first_undelivered_ms = 0
        self._unsigned = 0
        self._result: VerifiedLog | None = None

    def run(self) -> LogReport:
        began_ms = self._comparison.clock.now()
        try:
            held_end = self._comparison.source.end(self._shard)
            self._walk(held_end)
            self._result = self._log.result
            self._check_tails(held_end, began_ms)
        except VerificationError as error:
            self._findings.add_error(error)
        if self._intact:
            self._statuses[Status.OK] = self._statuses.get(Status.OK, 0) + self._intact
        return log_report(
            self._origin,
            self._result,
            self._findings,
            statuses=self._statuses,
            unsigned=self._unsigned,
            undelivered=self._undelivered,
        )

    def _walk(self, held_end: int) -> None:
        """All blocks of the log, each with the evidence of its offsets."""
        source = self._comparison.source
        first = self._place.since
        for shared in self._place.shared:
            self._findings.add(
                "R1",
                f"offsets {shared.start} to {shared.stop - 1} are signed in another log too, and "
                f"{source.name} cannot tell which of the two it holds: not compared",
                code=INCOMPLETE,
            )
        evidence: Iterator[Evidence] = iter(source.scan(self._shard, Offset(first), Offset(self._signed_end)))
        ahead: list[Evidence] = []
        broken = False
        for block in self._log.blocks():
            end = self._start + block.first + len(block.entries) - 1
            if broken:
                continue  # the structure is still worth verifying
            try:
                found, ahead = _take(evidence, end, ahead)
            except VerificationError as error:
                self._findings.add("R1", f"{error}; nothing behind it was compared", code=error.exit_code)
                broken = True
                continue
            self._compare(block, found, held_end)

    def _compare(self, block: Block, found: list[Evidence], held_end: int) -> None:
        first = self._start + block.first - 1
        held: dict[int, Held] = {}
        for evidence in found:
            index = evidence.offset - first
            if self._is_shared(evidence.offset):
                continue
            if evidence.offset < self._start and not self._place.is_first:
                message = "was never signed: it lies between two logs"
                self._findings.add("R1", message, code=INCOMPLETE, offset=evidence.offset, where=evidence.where)
            elif not 0 <= index < len(block.entries) or evidence.offset < self._start:
                self._findings.add("R1", "not of this log", offset=evidence.offset, where=evidence.where)
            elif index in held:
                self._findings.add("R1", "is there more than once", offset=evidence.offset, where=evidence.where)
            else:
                held[index] = self._verifier.decode(evidence, block.entries[index][1] != INVALID)
        keys = self._verifier.part_keys(held.values())
        for at in range(0 if block.first else 1, len(block.entries)):
            if self._is_shared(first + at):
                continue
            entry = block.entries[at]
            commitments = entry[_ENTRY_HEAD.size :]
            item = held.get(at)
            if item is None:
                self._absent(first + at, block.first + at, entry, held_end)
                continue
            if entry[1] == INVALID:
                findings: Sequence[PartFinding] = [self._verifier.invalid(commitments, item.evidence)]
            else:
                findings = self._verifier.parts(self._origin, block.first + at, commitments, item, keys)
            if findings is intact(commitments[::COMMITMENT_BYTES]):
                self._intact += len(findings)
            else:
                self._note(findings, item.evidence)
            if item.evidence.leaf or item.evidence.chain:
                self._compare_columns(item.evidence, block, at)

    def _is_shared(self, offset: int) -> bool:
        return any(offset in shared for shared in self._place.shared)

    def _absent(self, offset: int, index: int, entry: bytes, held_end: int) -> None:
        if offset >= held_end:
            self._undelivered += 1
            self._first_undelivered_ms = self._first_undelivered_ms or _ENTRY_HEAD.unpack_from(entry)[3]
            return
        findings = self._verifier.absent(self._origin, index, entry[_ENTRY_HEAD.size :])
        missing = [part_name(finding.part_type) for finding in findings if finding.status is Status.MISSING]
        self._count(findings)
        if missing:
            self._findings.add("R1", f"is signed and is not there ({', '.join(missing)})", offset=offset)

    def _note(self, findings: Sequence[PartFinding], evidence: Evidence) -> None:
        self._count(findings)
        for finding in findings:
            if finding.status in FAILURES:
                message = finding.message or "is committed to and is not there"
                self._findings.add(
                    "R2",
                    f"{finding.status.value}: {message}",
                    offset=evidence.offset,
                    part=part_name(finding.part_type),
                    where=evidence.where,
                )

    def _count(self, findings: Sequence[PartFinding]) -> None:
        for finding in findings:
            self._statuses[finding.status] = self._statuses.get(finding.status, 0) + 1

    def _compare_columns(self, evidence: Evidence, block: Block, at: int) -> None:
        for name, stated, real in (
            ("leaf", evidence.leaf, block.leaves[at]),
            ("chain", evidence.chain, block.chains[at]),
        ):
            if stated and stated != real:
                self._findings.add(
                    "R3",
                    f"got {name} {stated.hex()}, expected {real.hex()}",
                    offset=evidence.offset,
                    where=evidence.where,
                )

    def _check_tails(self, held_end: int, began_ms: int) -> None:
        """R4 and R5."""
        comparison = self._comparison
        oldest_ms = comparison.clock.now() - self._first_undelivered_ms if self._undelivered else 0
        if oldest_ms > comparison.delay_ms:
            self._findings.add(
                "R4",
                f"{comparison.source.name} ends at offset {held_end}, the log is signed up to {self._signed_end}: "
                f"{self._undelivered} records are not there, the oldest of them {oldest_ms / 1000:.0f} s old",
                code=INCOMPLETE,
            )
        if not self._place.is_last or held_end <= max(self._signed_end, self._place.others_end):
            return
        self._unsigned = held_end - self._signed_end
        if not self._is_signed_by(held_end, began_ms + comparison.signing_ms):
            self._findings.add(
                "R5",
                f"{comparison.source.name} holds offsets up to {held_end - 1}, and the log is signed up to "
                f"{self._signed_end - 1}: its tail is not here, or the signer is down",
                code=INCOMPLETE,
            )

    def _is_signed_by(self, end: int, deadline_ms: int) -> bool:
        """Wait until the published checkpoint covers ``end``; false when the deadline has passed."""
        clock, keys = self._comparison.clock, self._trust.keys(self._origin)
        while True:
            checkpoint = open_checkpoint(self._ledger.checkpoint(self._origin), self._origin, keys)
            if self._start + checkpoint.size - 1 >= end:
                return True
            if clock.now() >= deadline_ms:
                return False
            clock.wait(_SETTLE_SECONDS)


def log_report(
    origin: str,
    result: VerifiedLog | None,
    findings: Findings,
    *,
    statuses: Mapping[Status, int] = MappingProxyType({}),
    unsigned: int = 0,
    undelivered: int = 0,
) -> LogReport:
    """The report of one log; ``result`` is ``None`` where its structure did not hold."""
    structure = {} if result is None else {name: getattr(result, name) for name in _STRUCTURE}
    return LogReport(
        origin,
        statuses=dict(statuses),
        unsigned=unsigned,
        undelivered=undelivered,
        findings=tuple(findings.kept),
        failures=findings.count,
        exit_code=findings.exit_code,
        **structure,
    )


def _take(evidence: Iterator[Evidence], end: int, ahead: list[Evidence]) -> tuple[list[Evidence], list[Evidence]]:
    """The evidence with offsets before ``end``, and the one item that was read too far."""
    found = [item for item in ahead if item.offset < end]
    if len(found) < len(ahead):
        return found, ahead
    for item in evidence:
        if item.offset >= end:
            return found, [item]
        found.append(item)
    return found, []
