"""``verify``: whether the evidence holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import options, output

if TYPE_CHECKING:
    from affidavit.exhibits import Exhibits
    from affidavit.layout import Layout
    from signer.report import OnProgress, Report
    from signer.verify_ledger import Scope

verify = typer.Typer(
    help="Whether the evidence holds. Exit codes: 0 verified, 1 integrity failure, 2 incomplete or stale, 3 usage.",
    no_args_is_help=True,
)

Pinned = Annotated[
    Path | None,
    typer.Option(
        "--trust", metavar="FILE", help="Verifier keys to trust, from elsewhere; default: the directory's own."
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


@verify.command("log")
def log(
    data: options.Data = None,
    pinned: Pinned = None,
    as_of: AsOf = None,
    shards: Shards = [],  # noqa: B006  typer copies it
    as_json: options.Json = False,
) -> int:
    """Verify the ledger: signatures, entries, tree, chain, genesis, anchor log. Needs no record and no key.

    Works on a running deployment, on a stopped one, and on a copy of the directory. A newest checkpoint set older than
    a minute exits 2, because a shortened log looks just like one that stopped: for a directory that was stopped or
    copied, say when with --as-of.

    Example:

    \b
      affidavit verify log --data /srv/affidavit
      affidavit verify log --data /mnt/copy --trust auditor.vkey --as-of 2026-11-24T18:00
    """
    from affidavit.exhibits import Exhibits

    with Exhibits(_layout(data), pinned) as exhibits:
        report = _verify(exhibits, exhibits.scope(), as_of, shards)
    return _print(report, pinned, as_json=as_json)


@verify.command("records")
def records(
    source: Annotated[Source, typer.Option("--source", help="Which destination.")] = Source.archive,
    data: options.Data = None,
    pinned: Pinned = None,
    as_of: AsOf = None,
    shards: Shards = [],  # noqa: B006  typer copies it
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
    return _print(report, pinned, as_json=as_json)


def _layout(data: Path | None) -> Layout:
    from affidavit.settings import data_directory

    return data_directory(data)


def _verify(exhibits: Exhibits, scope: Scope, as_of: str | None, shards: list[str]) -> Report:
    from schemas.ids import parse_shard
    from signer.verify_ledger import verify_ledger

    scope = dataclasses.replace(scope, shards=tuple(parse_shard(shard) for shard in shards))
    if as_of is not None:
        moment = _parse_time(as_of)
        scope = dataclasses.replace(scope, clock=dataclasses.replace(scope.clock, now=lambda: moment))
    with _progress() as progress:
        return verify_ledger(exhibits.objects, exhibits.trust, scope, progress)


def _print(report: Report, pinned: Path | None, *, as_json: bool) -> int:
    from affidavit.verdict import verdict

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
