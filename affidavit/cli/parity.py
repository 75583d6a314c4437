"""``parity``: whether ledger and destinations hold the same records, day by day, signed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from datetime import date

    from affidavit.exhibits import Exhibits


def parity(
    day: Annotated[
        str, typer.Option("--day", metavar="DAY", help="UTC day, such as 2026-11-24; yesterday or today.")
    ] = "yesterday",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare now, and neither sign nor keep what is found.")
    ] = False,
    pinned: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Whose signatures count: a policy, or keys.")
    ] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Show the parity statement of a day: that ledger, ClickHouse, archive and what records are forwarded to hold the
    same records, or which differ. Makes it, signs and keeps it when there is none yet; the signer does so each night.

    ClickHouse and archive are compared leaf by leaf as they state them, Splunk by offset where a search is set, others
    by how far they confirmed. It is a comparison of what is stated: affidavit verify records proves each record.

    A kept statement is checked against the deployment's key and shown as it is. The day of today is compared and never
    kept. Exits 2 where something differs.

    Example:

    \b
      affidavit parity
      affidavit parity --day 2026-11-24 --json
      affidavit parity --day today --dry-run
    """
    from affidavit.exhibits import Exhibits
    from affidavit.parity import parse_day
    from affidavit.parity_job import today
    from affidavit.settings import data_directory
    from schemas.errors import EvidenceIncomplete

    wanted = parse_day(day, today())
    with Exhibits(data_directory(data), pinned) as exhibits, output.progress() as progress:
        if exhibits.wiring is None:
            raise EvidenceIncomplete(f"{exhibits.layout.root} holds only a ledger, and nothing to compare with it")
        said, signed = _statement(exhibits, wanted, progress, keeps=not dry_run and wanted < today())
    if as_json:
        output.emit_json("affidavit.parity/1", {"signed": signed, "statement": said})
    else:
        _print(said, signed=signed)
    return exits.DONE if said["agrees"] else exits.INCOMPLETE


def _statement(exhibits: Exhibits, day: date, progress: output.Progress, *, keeps: bool) -> tuple[dict[str, Any], bool]:
    import json

    from affidavit.parity_job import check_statement, keep_statement, make_statement, read_statement

    wiring = exhibits.wiring
    assert wiring is not None
    name = wiring.settings.deployment.name
    kept = read_statement(exhibits.objects, day) if keeps else None
    if kept is not None:
        check_statement(name, day, *kept, list(exhibits.trust.public_keys))
        return json.loads(kept[0]), True
    data = make_statement(exhibits, day, datetime.now(UTC), progress)
    if keeps:
        keep_statement(exhibits.objects, name, day, data, wiring.signing_key)
    return json.loads(data), keeps


def _print(said: dict[str, Any], *, signed: bool) -> None:
    rows = []
    for log in said["logs"]:
        rows.append((log["shard"], "ledger", "", f"{log['records']:,}", "", "", "", log["digest"][:16]))
        for name, one in log["destinations"].items():
            rows.append(
                (
                    log["shard"],
                    name,
                    one["compared_by"],
                    f"{one['records']:,}",
                    f"{one['missing']:,}",
                    f"{one['altered']:,}",
                    f"{one['repeated']:,}",
                    one["digest"][:16] or ("agrees" if one["agrees"] else "differs"),
                )
            )
    output.table(
        ("shard", "where", "compared by", "records", "missing", "altered", "repeats", "digest"),
        rows,
        right=(3, 4, 5, 6),
    )
    for log in said["logs"]:
        for name, one in log["destinations"].items():
            if one["reason"]:
                output.emit(f"{name}, {log['shard']}: not compared: {one['reason']}")
            for word in ("missing", "altered"):
                shown = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in one[f"{word}_ranges"][:20])
                if shown:
                    output.emit(f"{name}, {log['shard']}: {word}: offset {shown}")
    made = f"made {said['made_at']}, " + ("signed and kept" if signed else "not signed")
    if not said["logs"]:
        output.say(f"{said['day']}: no records ({made})")
    elif said["agrees"]:
        output.say(f"{said['day']}: {said['records']:,} records are the same everywhere ({made})")
    else:
        output.say(f"{said['day']}: the places differ ({made})")
