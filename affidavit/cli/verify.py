"""``verify``: whether the evidence holds."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from affidavit.exhibits import Exhibits
    from affidavit.layout import Layout
    from schemas.ids import Shard
    from signer.report import OnProgress, Report
    from signer.verify_ledger import Scope

verify = typer.Typer(
    help="Whether the evidence holds. Exit codes: 0 verified, 1 integrity failure, 2 incomplete or stale, 3 usage.",
    no_args_is_help=True,
)

Pinned = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        "--trust",
        metavar="FILE",
        help="Whom to believe: a policy (tlog-policy), or verifier keys, from elsewhere; default: the directory's own.",
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="TIME", help="Judge ages as of this time, for a directory that was stopped or copied then."
    ),
]
Shards = Annotated[list[str], typer.Option("--shard", metavar="SHARD", help="Only this one, e.g. events/0; repeat.")]


class Source(StrEnum):
    """Destinations that hold records."""

    archive = "archive"
    clickhouse = "clickhouse"
    bus = "bus"


Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page, too, which prints well.")
]


@verify.command("log")
def log(
    data: options.Data = None,
    pinned: Pinned = None,
    as_of: AsOf = None,
    shards: Shards = [],  # noqa: B006  typer copies it
    since: Annotated[
        Path | None, typer.Option("--since", metavar="FILE", help="Go on behind what an earlier run has saved.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Save what is verified now, for --since.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Verify so many logs side by side.")] = 1,
    html: Html = None,
    as_json: options.Json = False,
) -> int:
    """Verify the ledger: signatures, entries, tree, chain, genesis, anchor log. Needs no record and no key.

    Works on a running deployment, on a stopped one, and on a copy of the directory. A newest checkpoint set older than
    a minute exits 2, because a shortened log looks just like one that stopped: for a directory that was stopped or
    copied, say when with --as-of.

    Example:

    \b
      affidavit verify log --data /srv/affidavit
      affidavit verify log --data /mnt/copy --policy auditor.policy --as-of 2026-11-24T18:00
      affidavit verify log --since verified.json --save verified.json --jobs 4
    """
    from affidavit.exhibits import Exhibits
    from affidavit.verified import load_verified, save_verified

    with Exhibits(_layout(data), pinned) as exhibits:
        scope = exhibits.scope()
        known = load_verified(since, exhibits.trust.deployment) if since is not None else {}
        scope = dataclasses.replace(scope, since=known, jobs=jobs, opener=exhibits.opener if jobs > 1 else None)
        report = _verify(exhibits, scope, as_of, shards)
    if save is not None:
        save_verified(save, report, known)
    return _print(report, pinned, html, as_json=as_json)


@verify.command("records")
def records(
    source: Annotated[Source, typer.Option("--source", help="Which destination.")] = Source.archive,
    data: options.Data = None,
    pinned: Pinned = None,
    as_of: AsOf = None,
    shards: Shards = [],  # noqa: B006  typer copies it
    html: Html = None,
    as_json: options.Json = False,
) -> int:
    """Verify the ledger, and every record that a destination holds against it.

    Finds what was changed, what is missing, what is there twice, and what was never signed. Parts are OK, ERASED,
    SEALED (no key at hand), MISSING, MISMATCH or RESURRECTED; the last three are failures.

    Example:

    \b
      affidavit verify records --source clickhouse
    """
    from affidavit.exhibits import Exhibits

    with Exhibits(_layout(data), pinned) as exhibits:
        report = _verify(exhibits, exhibits.scope(source.value), as_of, shards)
    return _print(report, pinned, html, as_json=as_json)


def _layout(data: Path | None) -> Layout:
    from affidavit.settings import data_directory

    return data_directory(data)


def _verify(exhibits: Exhibits, scope: Scope, as_of: str | None, shards: list[str]) -> Report:
    from affidavit.verdict import never_hollow
    from schemas.ids import parse_shard
    from signer.clock import wall_clock
    from signer.verify_ledger import verify_ledger

    scope = dataclasses.replace(scope, shards=tuple(parse_shard(shard) for shard in shards))
    if as_of is not None:
        offset = _parse_time(as_of) - scope.clock.now()  # time goes on from there: the verifier waits for things
        scope = dataclasses.replace(scope, clock=dataclasses.replace(scope.clock, now=lambda: wall_clock() + offset))
    with _progress() as progress:
        return never_hollow(verify_ledger(exhibits.objects, exhibits.trust, scope, progress))


def _print(report: Report, pinned: Path | None, html: Path | None, *, as_json: bool) -> int:
    from affidavit.verdict import verdict

    if html is not None:
        from affidavit.report_page import report_page

        html.write_text(report_page(report, pinned=pinned is not None), encoding="utf-8")

    if as_json:
        output.emit_json("affidavit.verify/1", {"trust": str(pinned or ""), **report.as_dict()})
    else:
        for line in verdict(report, pinned=pinned is not None):
            output.emit(line)
    return report.exit_code


def _parse_time(text: str) -> int:
    """Milliseconds since 1970; UTC unless the text says otherwise."""
    from schemas.errors import MalformedInput

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedInput(f"got time {text!r}, expected one such as 2026-11-24T18:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@contextmanager
def _progress() -> Iterator[OnProgress]:
    from signer.report import Progress

    with output.progress() as report:

        def told(progress: Progress) -> None:
            report(progress.done, progress.total, progress.origin)

        yield told


@verify.command("event")
def event(
    which: Annotated[str, typer.Argument(metavar="EVENT", help="An event id, or an address such as events/0@17.")],
    source: Annotated[Source, typer.Option("--source", help="Whose copy to compare.")] = Source.clickhouse,
    data: options.Data = None,
    pinned: Pinned = None,
    as_json: options.Json = False,
) -> int:
    """Prove one event: its entry, its place in the signed tree, and each of its parts, in O(log n).

    An event that its gateway sent several times has several records; all are proven.

    Example:

    \b
      affidavit verify event events/0@17
      affidavit verify event 7b1c2d3e-4f50-5a61-8b72-9c83ad94be05 --source archive
    """
    from affidavit.exhibits import Exhibits
    from affidavit.verdict import event_verdict
    from schemas.errors import EvidenceIncomplete
    from signer.report import worst
    from signer.verify_event import verify_event

    layout = _layout(data)
    places = _places(layout, which)
    if not places:
        raise EvidenceIncomplete(f"ClickHouse has no record of event {which}: give its address, e.g. events/0@17")
    with Exhibits(layout, pinned) as exhibits:
        comparison = exhibits.scope(source.value).comparison()
        objects, policy = exhibits.objects, exhibits.policy
        reports = [verify_event(objects, policy, shard, offset, comparison) for shard, offset in places]
    code = worst([report.exit_code for report in reports])
    if as_json:
        records = [report.as_dict() for report in reports]
        fields = {"trust": str(pinned or ""), "exit_code": code, "records": records}
        output.emit_json("affidavit.verify-event/1", fields)
        return code
    for report in reports:
        for line in event_verdict(report, source=source.value, pinned=pinned is not None):
            output.emit(line)
    return code


@verify.command("bundle")
def bundle(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The ZIP file, or where it was unpacked.")],
    pinned: Pinned = None,
    as_json: options.Json = False,
) -> int:
    """Verify an evidence bundle, with the verifier that every bundle holds (verify.py). Needs no data directory.

    Example:

    \b
      affidavit verify bundle sess-42.zip --policy auditor.policy
    """
    import zipfile

    from affidavit.bundle import standalone
    from schemas.errors import MalformedInput

    try:
        given = pinned.read_bytes() if pinned is not None else None
        verification = standalone.Verification(standalone.Bundle(path), given)
    except (OSError, zipfile.BadZipFile) as error:
        raise MalformedInput(f"cannot read {path}: {error}") from None
    code = verification.run()
    if as_json:
        problems = [{"step": step, "message": text, "exit_code": one} for step, text, one in verification.problems]
        fields = {"exit_code": code, "policy": verification.policy_sha256, "records": verification.records}
        output.emit_json("affidavit.verify-bundle/1", {**fields, "problems": problems})
        return code
    for line in standalone.report(verification, code, given is not None):
        output.emit(line)
    return code


@verify.command("sql")
def sql(
    names: Annotated[
        list[str], typer.Argument(metavar="[QUERY]...", help="With --print: which of the queries for auditors.")
    ] = [],  # noqa: B006  typer copies it
    show: Annotated[bool, typer.Option("--print", help="Print the statements, for an analyst; run nothing.")] = False,
    url: Annotated[str | None, typer.Option("--url", help="Interface to ask, instead of the directory's own.")] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Verify ClickHouse in plain SQL, with the views that it ships: leaves, chain, parts, offsets, statuses.

    The last chain value of each log, and its root, are compared with what the signer has. What SQL cannot see, the log
    itself and whether the columns say what the signed bytes say, is seen by affidavit verify records --source
    clickhouse. An auditor with nothing but a login runs the queries chain, commitments, inclusion, leaves, parts and
    root: docs/auditor-sql.md.

    Example:

    \b
      affidavit verify sql
      affidavit verify sql --print
      affidavit verify sql --print root
    """
    from affidavit.engine import query_client
    from affidavit.settings import load
    from affidavit.sql_check import FAILURES, SHARDS, check_sql
    from affidavit.wiring import Wiring
    from schemas.errors import MalformedInput
    from sinks.clickhouse.queries import query_text

    if names and not show:
        raise MalformedInput("got names of queries, and they need parameters: print them with --print")
    if show:
        for statement in [query_text(name).rstrip() for name in names] or [FAILURES, SHARDS]:
            output.emit(statement + ";")
        return exits.DONE
    layout = _layout(data)
    with Wiring(layout, load(layout)) as wiring:
        shards = set(asyncio.run(wiring.shards()))
        origins = [log.origin for log in wiring.control.logs() if log.shard in shards]
        locks = {origin: lock for origin in origins if (lock := wiring.control.lock(origin)) is not None}
    with query_client(layout, url, audited=False) as client:
        report = check_sql(client, locks)
    if as_json:
        output.emit_json("affidavit.verify-sql/1", report.as_dict())
        return report.exit_code
    for finding in report.findings:
        output.emit(f"✗ {finding.check}: {finding.place}: {finding.detail}")
    for origin, count, size in report.logs:
        output.emit(f"  {origin}: {count:,} records, {size:,} leaves")
    output.say(f"{len(report.findings):,} findings in {report.seconds:.2f} s")
    return report.exit_code


def _places(layout: Layout, which: str) -> list[tuple[Shard, int]]:
    """The records that an event id or an address names."""
    from affidavit.engine import query_client
    from affidavit.sql_check import find_event
    from schemas.errors import MalformedInput
    from schemas.ids import Shard, parse_event_id, parse_shard

    shard, at, offset = which.partition("@")
    if at:
        if not offset.isascii() or not offset.isdigit():
            raise MalformedInput(f"got address {which!r}, expected one such as events/0@17")
        return [(parse_shard(shard), int(offset))]
    event_id = parse_event_id(which)
    with query_client(layout) as client:
        return [(Shard(topic, partition), found) for topic, partition, found in find_event(client, event_id)]
