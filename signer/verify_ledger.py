"""Verifying a whole deployment: the anchor log first, then every log against it, with a destination if asked.

Findings are collected; the report's exit code is theirs. A ledger without a single record is never a success.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from schemas.errors import EvidenceIncomplete, InputError, ServerError, VerificationError
from schemas.evidence import EvidenceSource
from schemas.ids import Shard
from signer.attested import (
    Attested,
    CopyStores,
    archived_heads,
    check_revoked,
    copied_heads,
    verify_attested,
    vouched_ranges,
)
from signer.clock import SYSTEM_CLOCK, Clock
from signer.genesis import Genesis
from signer.ledger import Ledger, shard_logs
from signer.note import parse_vkey
from signer.origin import ANCHOR_SHARD, Origin
from signer.policy import Policy, policy_of
from signer.report import INCOMPLETE, Findings, LogReport, OnProgress, Report, worst
from signer.trust import Trust
from signer.verified import VerifiedUpTo
from signer.verify import LogVerification, lock_head, read_genesis
from signer.verify_anchors import FRESHNESS_MS, Anchors, verify_anchors, verify_freshness, verify_origins
from signer.verify_job import LogJob, Opener, run_jobs
from signer.verify_links import Links, check_end, link
from signer.verify_parts import Erasures, Fetch, NoErasures
from signer.verify_records import DELAY_MS, SIGNING_MS, WHOLE_SHARD, Comparison, log_report, verify_records
from signer.verify_tree import KnownHead, read_checkpoint
from stores.control import Control, Lock
from stores.keys import Keys
from stores.objects import Objects

SETTLE_MS = 2_000
"""How long a published checkpoint may stay behind its lock row: a signer that lives needs a tenth of that."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What to verify, and by which bounds.

    Attributes:
        shards: only these; empty for all.
        control: compares the signer's lock rows (step 12); leave it out to trust nothing of the operator.
        source, keys, fetch, erasures, delay_ms, signing_ms: see :class:`signer.verify_records.Comparison`; without a
            source, only the ledger itself is verified.
        freshness_ms: how old the newest checkpoint set may be.
        policy: whom to believe of those that vouch from outside; nobody is asked for when left out.
        since: of each log, what was verified before; only of the ledger itself, not with a source.
        jobs: processes that verify logs side by side; only of the ledger itself, and with an ``opener``.
        opener: opens the object store in another process; it travels there (pickle).
        copies: stores with locked copies of the anchor log's checkpoints, by what they are called.
        clock: for all bounds.
    """

    shards: tuple[Shard, ...] = ()
    control: Control | None = None
    source: EvidenceSource | None = None
    keys: Keys | None = None
    fetch: Fetch | None = None
    erasures: Erasures = field(default_factory=NoErasures)
    delay_ms: int = DELAY_MS
    signing_ms: int = SIGNING_MS
    freshness_ms: int = FRESHNESS_MS
    policy: Policy | None = None
    copies: CopyStores = field(default_factory=dict)
    since: Mapping[str, VerifiedUpTo] = field(default_factory=dict)
    jobs: int = 1
    opener: Opener | None = None
    clock: Clock = SYSTEM_CLOCK

    def comparison(self) -> Comparison | None:
        if self.source is None:
            return None
        return Comparison(self.source, self.keys, self.fetch, self.erasures, self.delay_ms, self.signing_ms, self.clock)


def verify_ledger(
    objects: Objects, trust: Trust, scope: Scope | None = None, progress: OnProgress = lambda progress: None
) -> Report:
    """Verify the ledger of a deployment. Blocking; reads only.

    Args:
        objects: where the ledger lies.
        trust: whose signatures count; names the deployment.
        scope: what to verify; everything in the ledger when left out.
        progress: told now and then.
    """
    return _LedgerVerification(objects, trust, scope or Scope(), progress).run()


class _LedgerVerification:
    def __init__(self, objects: Objects, trust: Trust, scope: Scope, progress: OnProgress) -> None:
        self._objects, self._ledger = objects, Ledger(objects)
        self._trust, self._scope, self._progress = trust, scope, progress
        self._findings = Findings()
        self._attested: Attested | None = None

    def run(self) -> Report:
        # Lock rows and sets are read before the logs that they speak of, so that a log that grows meanwhile is only
        # ever further on than they say.
        locks = self._locks()
        origins = self._ledger.origins(self._trust.deployment)
        anchors, anchor_report = self._anchors(origins, locks)
        origins = self._ledger.origins(self._trust.deployment)  # with those that a set lists since
        shard_origins = [origin for origin in origins if origin.shard != ANCHOR_SHARD]
        if anchors is not None:
            self._check_anchors(anchors, shard_origins)
        self._check_listed(locks, origins)
        links = self._links(shard_origins)
        logs = list(self._logs(self._selected(shard_origins), links, anchors, locks))
        report = Report(
            self._trust.deployment,
            self._scope.clock.now(),
            self._scope.source.name if self._scope.source else "",
            anchor_report,
            tuple(sorted(logs, key=lambda log: log.origin)),
            (),
            self._scope.policy.digest if self._scope.policy else b"",
            self._attested.report if self._attested else None,
        )
        if not report.records and report.exit_code == 0:
            self._findings.add("2", "got no record at all, expected at least one", code=INCOMPLETE)
        return replace(report, findings=tuple(self._findings.kept))

    def _locks(self) -> dict[str, Lock]:
        control = self._scope.control
        if control is None:
            return {}
        locks = [control.lock(log.origin) for log in control.logs()]
        return {lock.origin: lock for lock in locks if lock is not None}

    def _await_lock(self, lock: Lock | None) -> None:
        """Between the swap of a lock row and the publishing of its checkpoint lie some milliseconds: let them pass."""
        clock = self._scope.clock
        deadline = clock.now() + SETTLE_MS
        while lock is not None and clock.now() < deadline:
            if read_checkpoint(self._ledger, lock.origin, self._trust).size >= lock.size:
                return
            clock.wait(0.05)

    def _anchors(self, origins: Sequence[Origin], locks: dict[str, Lock]) -> tuple[Anchors | None, LogReport]:
        names = [str(origin) for origin in shard_logs(list(origins), ANCHOR_SHARD)]
        findings = Findings(names[-1] if names else "")
        if not names:
            findings.add("A1", f"{self._trust.deployment} has no anchor log: nothing bounds its age", code=INCOMPLETE)
            return None, log_report("", None, findings)
        try:
            self._await_lock(locks.get(names[-1]))
            known = {name: self._known_heads(name) for name in names}
            anchors = verify_anchors(
                self._ledger, names, self._trust, lock=locks.get(names[-1]), known=known, progress=self._progress
            )
            policy = self._scope.policy or policy_of(self._trust)
            self._attested, findings = verify_attested(self._objects, anchors, known, policy, self._scope.clock.now())
        except VerificationError as error:
            findings.add_error(error)
            return None, log_report(names[-1], None, findings)
        report = LogReport(
            anchors.origin,
            size=anchors.size,
            root=anchors.root,
            first_ms=anchors.first_ms,
            last_ms=anchors.last_ms,
            anchored_size=anchors.size,
            anchored_ms=anchors.last_ms,
            findings=tuple(findings.kept),
            failures=findings.count,
            exit_code=findings.exit_code,
        )
        return anchors, self._revoked(report, anchors, names[-1])

    def _revoked(self, report: LogReport, anchors: Anchors, origin: str) -> LogReport:
        """Step A12, where the policy revokes a key."""
        policy = self._scope.policy
        if policy is None or not policy.revoked or not report.size or self._attested is None:
            return report
        findings = Findings(origin)
        try:
            key = parse_vkey(read_genesis(self._ledger, origin, self._trust)[0].vkey).public_key
            check_revoked(anchors, self._attested.covered, policy, origin, key, report.size)
        except VerificationError as error:
            findings.add_error(error)
        return replace(
            report,
            findings=(*report.findings, *findings.kept),
            failures=report.failures + findings.count,
            exit_code=worst([report.exit_code, findings.exit_code]),
        )

    def _known_heads(self, origin: str) -> list[KnownHead]:
        """What is known of an anchor log beside its tree: archived checkpoints (A6) and locked copies (A11)."""
        heads = archived_heads(self._objects, origin, self._trust)
        for place, copies in self._scope.copies.items():
            try:
                heads += copied_heads(copies(origin), place, origin, self._trust)
            except (ServerError, InputError) as error:
                self._findings.add("A11", f"the locked copies in {place} cannot be read: {error}", code=INCOMPLETE)
        return heads

    def _check_anchors(self, anchors: Anchors, present: Sequence[Origin]) -> None:
        """Steps A4 and A5."""
        now = self._scope.clock.now()
        try:
            verify_freshness(anchors, now, self._scope.freshness_ms)
        except EvidenceIncomplete as error:
            self._findings.add_error(error)
        unlisted = [str(origin) for origin in present if str(origin) not in anchors.history]
        try:
            young = [
                origin
                for origin in unlisted
                if now - read_genesis(self._ledger, origin, self._trust)[0].opened_ms <= self._scope.freshness_ms
            ]
            verify_origins(anchors, [str(origin) for origin in present], young)
        except VerificationError as error:
            self._findings.add_error(error)

    def _check_listed(self, locks: dict[str, Lock], present: Sequence[Origin]) -> None:
        """A log that was signed, by its lock row, and is not in the ledger; a shard that was asked for and has none."""
        here = {str(origin) for origin in present}
        for origin in sorted(locks.keys() - here):
            self._findings.add("12", f"{origin}: was signed, and is not in the ledger", code=INCOMPLETE)
        for shard in self._scope.shards:
            if not any(origin.shard == shard for origin in present):
                self._findings.add("1", f"shard {shard} has no log in the ledger", code=INCOMPLETE)

    def _selected(self, origins: Sequence[Origin]) -> list[Origin]:
        wanted = self._scope.shards
        return [origin for origin in origins if not wanted or origin.shard in wanted]

    def _links(self, origins: Sequence[Origin]) -> Links:
        """Steps 15 and 16. What cannot be read is found by the steps over the log itself."""
        geneses: dict[Origin, Genesis] = {}
        sizes: dict[str, int] = {}
        for origin in origins:
            with suppress(VerificationError):
                geneses[origin] = read_genesis(self._ledger, str(origin), self._trust)[0]
                sizes[str(origin)] = read_checkpoint(self._ledger, str(origin), self._trust).size
        return link(geneses, sizes)

    def _logs(
        self, origins: Sequence[Origin], links: Links, anchors: Anchors | None, locks: dict[str, Lock]
    ) -> Iterator[LogReport]:
        """Every log: its structure, or with a source its records too; then what the anchor log says of it."""
        jobs = [self._job(str(origin), links, anchors, locks) for origin in origins]
        comparison = self._scope.comparison()
        if comparison is None:
            reports = run_jobs(jobs, self._objects, self._scope.jobs, self._scope.opener, self._progress)
        else:
            reports = (self._compared(job, links, comparison) for job in jobs)
        for report in reports:
            yield self._anchored(report, anchors) if anchors is not None else report

    def _job(self, name: str, links: Links, anchors: Anchors | None, locks: dict[str, Lock]) -> LogJob:
        heads: list[KnownHead] = anchors.heads(name) if anchors else []
        if name in links.heads:
            heads.append(links.heads[name])
        if name in locks:
            heads.append(lock_head(locks[name]))
        with suppress(VerificationError):  # found again by the steps over the log itself
            self._await_lock(locks.get(name))
        since = self._scope.since.get(name)
        return LogJob(name, self._trust, tuple(heads), links.heads.get(name), since, tuple(links.errors.get(name, ())))

    def _compared(self, job: LogJob, links: Links, comparison: Comparison) -> LogReport:
        findings = Findings(job.origin)
        for error in job.errors:
            findings.add_error(error)
        try:
            log = LogVerification(self._ledger, job.origin, self._trust, job.heads, self._progress)
            check_end(job.origin, job.end, log.size)
            place = links.places.get(job.origin, WHOLE_SHARD)
            return verify_records(log, self._ledger, self._trust, comparison, place, findings)
        except VerificationError as error:
            findings.add_error(error)
            return log_report(job.origin, None, findings)

    def _anchored(self, report: LogReport, anchors: Anchors) -> LogReport:
        name = report.origin
        covered = self._attested.covered if self._attested else ()
        vouched = tuple(vouched_ranges(anchors, covered, name))
        report = self._revoked(report, anchors, name)
        return replace(report, anchored_size=anchors.last_size(name), anchored_ms=anchors.last_ms, vouched=vouched)
