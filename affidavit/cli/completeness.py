"""``completeness``: whether everything is there that should be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import options, output

if TYPE_CHECKING:
    from affidavit.completeness import Finding, Report

SHOWN = 20
"""Findings of a section that are listed; ``--json`` has all."""


def completeness(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Begin: a time (UTC), or a span back such as 24h, 7d.")
    ] = "24h",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="End: a time (UTC); now when left out.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant's gateways.")] = "",
    gateway: Annotated[str, typer.Option("--gateway", help="Only this gateway.")] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the findings as CSV with a header line.")] = False,
    url: Annotated[str | None, typer.Option("--url", help="Interface to ask, instead of the directory's own.")] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Report what is missing: numbers of collectors, counts of gateways, silence, routes around the gateways.

    Collectors number every event and say every minute how far they are, so a number that is missing in the middle or at
    the end shows. Gateways are held against their own counters, where they have any, and against their usual rhythm.
    Where a provider's own record is read (Bedrock, Vertex), exchanges that no gateway sent are named.

    Exits 2 when something is missing, or when there is nothing at all. docs/completeness.md says what each section
    proves and cannot prove.

    Example:

    \b
      affidavit completeness
      affidavit completeness --since 2026-11-01 --until 2026-12-01 --json
    """
    from affidavit.completeness_read import check
    from affidavit.engine import query_client
    from affidavit.moments import parse_time
    from affidavit.settings import data_directory

    now = datetime.now(UTC)
    begin, end = parse_time(since, now), parse_time(until, now) if until else int(now.timestamp() * 1000)
    if begin >= end:
        raise typer.BadParameter(f"the window ends before it begins: --since {since} --until {until or 'now'}")
    with query_client(data_directory(data), url) as client, output.progress() as progress:
        report = check(client, begin, end, tenant=tenant, gateway=gateway, told=progress)
    if as_json:
        output.emit_json("affidavit.completeness/1", report.as_dict())
    elif as_csv:
        _print_csv(report)
    else:
        _print(report)
    return report.exit_code


def _print(report: Report) -> None:
    output.emit(f"from {_moment(report.since_ms)} to {_moment(report.until_ms)}: {report.records:,} records")
    for section, checked in report.checked.items():
        found = [one for one in report.findings if one.section == section]
        output.emit(f"\n{section}")
        for line in checked:
            output.emit(f"  {line}")
        for one in found[:SHOWN]:
            output.emit(f"  {'MISSING' if one.missing else 'note'}: {_line(one)}")
        if len(found) > SHOWN:
            output.emit(f"  and {len(found) - SHOWN:,} more; --json has all")
    missing = sum(one.missing for one in report.findings)
    if not report.records:
        verdict = "nothing was recorded in this time, which proves nothing"
    elif missing:
        verdict = f"incomplete: {missing:,} findings"
    else:
        verdict = "nothing is missing that could be noticed"
    output.emit(f"\n{verdict}")


def _line(one: Finding) -> str:
    when = ""
    if one.from_ms:
        when = f" [{_moment(one.from_ms)}" + (f" to {_moment(one.to_ms)}]" if one.to_ms > one.from_ms else "]")
    return f"{one.subject}: {one.detail}{when}"


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _print_csv(report: Report) -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("section", "subject", "missing", "from", "to", "detail"))
    for one in report.findings:
        times = [_moment(at) if at else "" for at in (one.from_ms, one.to_ms)]
        writer.writerow((one.section, one.subject, int(one.missing), *times, one.detail))
