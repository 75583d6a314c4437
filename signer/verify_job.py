"""One log's structure as a piece of work that can go to another process: steps 1 to 14, and where it ends (15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

from schemas.errors import VerificationError
from signer.ledger import Ledger
from signer.report import Findings, LogReport, OnProgress, Progress
from signer.trust import Trust
from signer.verified import VerifiedUpTo
from signer.verify import LogVerification
from signer.verify_links import check_end
from signer.verify_records import log_report
from signer.verify_tree import KnownHead
from stores.objects import Objects

Opener = Callable[[], Objects]
"""Opens the object store where the work is done. It travels there, so it is a plain function or a frozen dataclass."""


@dataclass(frozen=True, slots=True)
class LogJob:
    """One log.

    Attributes:
        origin: its name.
        trust: whose signatures count.
        heads: what others say of it.
        end: what its successor says of where it ended, if it has one.
        since: what was verified before.
        errors: what is wrong with how it follows the log before it.
    """

    origin: str
    trust: Trust
    heads: tuple[KnownHead, ...]
    end: KnownHead | None = None
    since: VerifiedUpTo | None = None
    errors: tuple[VerificationError, ...] = ()


def run_job(objects: Objects, job: LogJob, progress: OnProgress = lambda progress: None) -> LogReport:
    """Verify the log; what is wrong is in the report."""
    findings = Findings(job.origin)
    for error in job.errors:
        findings.add_error(error)
    up_to = None
    try:
        log = LogVerification(Ledger(objects), job.origin, job.trust, job.heads, progress, job.since)
        check_end(job.origin, job.end, log.size)
        for _ in log.blocks():
            pass
        report = log_report(job.origin, log.result, findings)
        up_to = log.up_to if not report.failures else None
    except VerificationError as error:
        findings.add_error(error)
        report = log_report(job.origin, None, findings)
    return replace(report, since=job.since.size if job.since else 0, up_to=up_to)


def run_jobs(
    jobs: Sequence[LogJob], objects: Objects, processes: int, opener: Opener | None, progress: OnProgress
) -> Iterator[LogReport]:
    """Verify logs, in ``processes`` side by side where there is an ``opener``; reports in the order of the jobs."""
    if processes < 2 or opener is None or len(jobs) < 2:
        for job in jobs:
            yield run_job(objects, job, progress)
        return
    with ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn"), _open, (opener,)) as pool:
        for job, report in zip(jobs, pool.map(_run, jobs), strict=True):
            progress(Progress(job.origin, report.size, report.size))
            yield report


class _Here:
    """The store that this process has opened."""

    objects: Objects


def _open(opener: Opener) -> None:
    _Here.objects = opener()


def _run(job: LogJob) -> LogReport:
    return run_job(_Here.objects, job)
