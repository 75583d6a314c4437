"""Reports for people: the headline, what is wrong, what is proven and what is not."""

from __future__ import annotations

from dataclasses import replace

from affidavit.verdict import SHOWN_FINDINGS, event_verdict, never_hollow, verdict
from schemas.evidence import Status
from schemas.ids import Shard
from signer.report import Finding, LogReport, Report
from signer.verify_event import EventReport

LOG = LogReport("audit.example.com/events/0/2026q4", size=11, root=bytes(32), records=10, first_ms=1, last_ms=2)
ANCHORS = LogReport("audit.example.com/anchor/2026q4", size=3, last_ms=2)
REPORT = Report("audit.example.com", 1_795_000_000_000, "", ANCHORS, (LOG,), ())


def failed(count: int, code: int = 1) -> LogReport:
    findings = tuple(Finding("R2", "MISMATCH", code, LOG.origin, at, "content", "somewhere") for at in range(count))
    return replace(LOG, findings=findings, failures=count, exit_code=code)


def test_verified() -> None:
    lines = verdict(REPORT, pinned=True)
    assert lines[0] == "VERIFIED: audit.example.com, as of 2026-11-18 11:06:40 UTC"
    assert "proves" in lines
    assert "cannot prove" in lines
    assert any("10 records" in line for line in lines)
    assert not any("who signed" in line for line in lines)


def test_an_unpinned_key_is_said() -> None:
    assert any("who signed" in line for line in verdict(REPORT, pinned=False))


def test_a_failure_is_named_and_nothing_is_proven() -> None:
    lines = verdict(replace(REPORT, logs=(failed(2),)), pinned=True)
    assert lines[0].startswith("INTEGRITY FAILURE")
    assert "    ✗ step R2: offset 0 content: MISMATCH (somewhere)" in lines
    assert "proves" not in lines


def test_many_failures_are_counted() -> None:
    lines = verdict(replace(REPORT, logs=(failed(SHOWN_FINDINGS + 5),)), pinned=True)
    assert "    ✗ and 5 more" in lines


def test_incomplete() -> None:
    assert verdict(replace(REPORT, logs=(failed(1, 2),)), pinned=True)[0].startswith("INCOMPLETE OR STALE")


def test_a_comparison_with_nothing_is_no_success() -> None:
    hollow = never_hollow(replace(REPORT, source="archive"))
    assert hollow.exit_code == 2
    assert "holds none of the 10 signed records" in hollow.findings[0].message


def test_a_comparison_with_something_stays_as_it_is() -> None:
    log = replace(LOG, statuses={Status.OK: 30}, undelivered=2, unsigned=1)
    report = replace(REPORT, source="archive", logs=(log,))
    assert never_hollow(report) is report
    lines = verdict(report, pinned=True)
    assert "  archive: 30 parts OK" in lines
    assert any(line.startswith("  2 signed records are not in archive yet") for line in lines)
    assert any(line.startswith("  1 records in archive are not signed yet") for line in lines)


def test_event() -> None:
    report = EventReport(
        shard=Shard("events", 0),
        offset=17,
        origin=LOG.origin,
        index=18,
        kind="event",
        time_ms=1_795_000_000_000,
        event_id="id",
        size=48,
        root=bytes(32),
        leaf=bytes(32),
        proof=(bytes(32),) * 6,
        statuses={"metadata": Status.OK, "content": Status.ERASED},
        findings=(),
    )
    lines = event_verdict(report, source="archive", pinned=True)
    assert lines[0] == "VERIFIED: event id at events/0@17"
    assert any("leaf 18 of 48" in line for line in lines)
    assert any("metadata OK, content ERASED, as archive holds them" in line for line in lines)
