"""A verification as a page: one file without scripts, for the screen and for paper. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from affidavit.verdict import (
    CANNOT,
    CANNOT_INSIDE,
    CANNOT_LEDGER_ONLY,
    CANNOT_SINCE,
    CANNOT_UNPINNED,
    HEADLINES,
    PROVES,
    PROVES_OUTSIDE,
    PROVES_RECORDS,
    moment,
)
from signer.report import Finding, LogReport, Report

STYLE = """
:root{color-scheme:light;--ink:#1d2430;--soft:#5b6472;--line:#d8dce2}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);margin:0 auto;padding:2rem 1.5rem 4rem;max-width:62rem}
h1{font-size:1.7rem;margin:0 0 .3rem;border-left:.45rem solid;padding-left:.8rem}
.c0{color:#17633c}.c1{color:#a01818}.c2{color:#8a5a00}
h2{font-size:1.05rem;margin:1.8rem 0 .4rem}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .7rem .3rem 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:500}td.n{text-align:right;font-variant-numeric:tabular-nums}
code{font:.85em ui-monospace,monospace;overflow-wrap:anywhere}ul{margin:.3rem 0;padding-left:1.2rem}
@media print{body{padding:0;max-width:none;font-size:10pt}tr,li{break-inside:avoid}h2{break-after:avoid}}
"""


def report_page(report: Report, *, pinned: bool) -> str:
    """The page.

    Args:
        report: what was found.
        pinned: whether the policy came from elsewhere.
    """
    code = report.exit_code
    body = [
        f'<h1 class="c{code}">{HEADLINES[code].capitalize()}</h1>',
        f"<p>The audit log of <strong>{escape(report.deployment)}</strong>, as of {moment(report.checked_ms)}"
        + (f", compared with {escape(report.source)}" if report.source else "")
        + "</p>",
        *_findings(report),
        *_logs(report.logs),
        *_outside(report),
        *_ranges(report.logs),
        *_list("What this proves", _proves(report) if code == 0 else ()),
        *_list("What this cannot prove", _cannot(report, pinned=pinned)),
    ]
    title = f"{HEADLINES[code].capitalize()}: {escape(report.deployment)}"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )


def _findings(report: Report) -> Iterator[str]:
    found: list[Finding] = [*report.findings, *report.anchors.findings]
    for log in report.logs:
        found += log.findings
    if not found:
        return
    yield f"<h2>What is wrong</h2><p>{report.failures:,} findings; the first {min(len(found), 200)} of them:</p><ul>"
    for one in found[:200]:
        place = f" at offset {one.offset}" if one.offset is not None else ""
        yield f'<li class="c{one.exit_code}">step {escape(one.step)}{place}: {escape(one.message)}</li>'
    yield "</ul>"


def _logs(logs: Iterable[LogReport]) -> Iterator[str]:
    yield "<h2>What was checked</h2>"
    rows = []
    for log in logs:
        parts = ", ".join(f"{count:,} {status.value}" for status, count in log.statuses.items() if count)
        span = f"{moment(log.first_ms)} to {moment(log.last_ms)}" if log.records else "nothing yet"
        rows.append(
            f"<tr><td><code>{escape(log.origin)}</code></td><td class=n>{log.records:,}</td><td>{span}</td>"
            f"<td>{parts or 'not compared'}</td><td><code>{log.root.hex()}</code></td></tr>"
        )
    yield "<table><tr><th>Log<th>Records<th>Received<th>Parts<th>Root</tr>" + "".join(rows) + "</table>"


def _outside(report: Report) -> Iterator[str]:
    outside = report.outside
    if outside is None:
        return
    yield f"<h2>Who vouches for it</h2><p>The policy demands {escape(outside.demands)}. SHA-256 of the policy:"
    yield f"<code>{report.policy.hex() or 'none was given'}</code></p>"
    rows = [
        f"<tr><td>{escape(one.kind)}</td><td>{escape(one.name)}</td><td class=n>{one.attestations:,}</td>"
        f"<td class=n>{one.failed:,}</td><td>{moment(one.first_ms) if one.first_ms else ''}</td>"
        f"<td>{moment(one.last_ms) if one.last_ms else ''}</td></tr>"
        for one in outside.anchors
    ]
    rows += [
        f'<tr class="soft"><td>{escape(kind)}</td><td>{escape(name)}</td><td class=n>{count:,}</td><td></td>'
        "<td colspan=2>the policy does not list it: proves nothing</td></tr>"
        for kind, name, count in outside.unlisted
    ]
    if rows:
        head = "<tr><th>Kind<th>Name<th>Attestations<th>Not verified<th>First<th>Last</tr>"
        yield f"<table>{head}{''.join(rows)}</table>"
    else:
        yield "<p>Nobody does.</p>"


def _ranges(logs: Iterable[LogReport]) -> Iterator[str]:
    rows = [
        f"<tr><td><code>{escape(log.origin)}</code></td><td class=n>{first:,} to {last:,}</td>"
        f"<td>{moment(time)}</td><td>{escape(by)}</td></tr>"
        for log in logs
        for first, last, time, by in log.vouched
    ]
    if rows:
        yield "<h2>Since when each stretch existed, at the latest</h2>"
        yield f"<table><tr><th>Log<th>Leaves<th>Since<th>Say</tr>{''.join(rows)}</table>"


def _list(title: str, items: Iterable[str]) -> Iterator[str]:
    lines = [f"<li>{escape(item)}</li>" for item in items]
    if lines:
        yield f"<h2>{title}</h2><ul>{''.join(lines)}</ul>"


def _proves(report: Report) -> Iterator[str]:
    yield from PROVES
    if report.outside is not None and report.outside.covered:
        yield from (text.format(demands=report.outside.demands) for text in PROVES_OUTSIDE)
    if report.source:
        yield PROVES_RECORDS.format(source=report.source)


def _cannot(report: Report, *, pinned: bool) -> Iterator[str]:
    yield CANNOT
    if report.outside is None or not report.outside.covered:
        yield CANNOT_INSIDE
    else:
        yield CANNOT_SINCE.format(since=moment(report.outside.last_ms))
    if not report.source:
        yield CANNOT_LEDGER_ONLY
    if not pinned:
        yield CANNOT_UNPINNED
