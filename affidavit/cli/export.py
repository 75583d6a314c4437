"""``export``: what leaves the house as evidence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import exits, options, output
from affidavit.cli.verify import Pinned, Source

if TYPE_CHECKING:
    from affidavit.bundle.records import BundledRecord

export = typer.Typer(help="Evidence that leaves the house.", no_args_is_help=True)


@export.command("bundle")
def bundle(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The ZIP file to write; must not exist.")],
    events: Annotated[
        list[str], typer.Argument(metavar="[EVENT]...", help="Event ids, or addresses such as events/0@17.")
    ] = [],  # noqa: B006  typer copies it
    session: Annotated[str, typer.Option("--session", help="Id of a session, exchange or trace.")] = "",
    where: Annotated[
        str, typer.Option("--where", metavar="SQL", help="A condition on the columns of ClickHouse's events.")
    ] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Only records of this tenant.")] = "",
    source: Annotated[Source, typer.Option("--source", help="Whose copy to take.")] = Source.clickhouse,
    note: Annotated[str, typer.Option("--note", help="What for, e.g. a matter's number; goes onto the record.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go into it.")] = False,
    pinned: Pinned = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Write an evidence bundle: records, their proofs, who vouches for them, and verifiers, in one ZIP file.

    Each record is verified as it is read; one that does not verify stops the export. Whoever gets the file needs
    neither Affidavit nor a network: verify.html in it opens in a browser, verify.py runs with Python. It holds content
    in the clear, and the export itself goes onto the log.

    Example:

    \b
      affidavit export bundle --session sess-42 --out sess-42.zip
      affidavit export bundle --where "tenant = 'acme' AND kind = 'tool_call'" --out tools.zip --note "matter 4711"
    """
    from affidavit.acts import bundle_exported
    from affidavit.bundle.records import bundled_records
    from affidavit.bundle.selection import select
    from affidavit.bundle.writer import write_bundle
    from affidavit.engine import query_client
    from affidavit.exhibits import Exhibits
    from affidavit.settings import data_directory
    from collector.internal import operator
    from schemas.errors import EvidenceIncomplete

    layout = data_directory(data)
    with query_client(layout) as client:
        selection = select(client, events=events, session=session, where=where, tenant=tenant)
    if dry_run:
        if as_json:
            addresses = [f"{shard}@{offset}" for shard, offset in selection.places]
            output.emit_json("affidavit.export-plan/1", {"selection": selection.words, "records": addresses})
        else:
            output.say(f"{selection.words}: {len(selection.places):,} records would go into {out}")
        return exits.DONE
    with Exhibits(layout, pinned) as exhibits:
        comparison = exhibits.scope(source.value).comparison()
        if comparison is None or exhibits.wiring is None:
            raise EvidenceIncomplete("there is no destination to take records from")
        about = {
            "selection": selection.words,
            "note": note,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "operator": operator(),
            "source": source.value,
            "file": out.name,
        }
        exhibits.wiring.audit().record_blocking(
            bundle_exported(selection.words, len(selection.places), note, tenant, operator())
        )
        total, records = (
            len(selection.places),
            bundled_records(exhibits.objects, exhibits.policy, comparison, selection.places),
        )
        with output.progress() as told:

            def counted() -> Iterator[BundledRecord]:
                for done, record in enumerate(records, 1):
                    told(done, total, "records")
                    yield record

            summary = write_bundle(out, counted(), exhibits.policy, about)
    if as_json:
        fields = {"path": summary.path, "size": summary.size, "sha256": summary.sha256, "records": summary.records}
        fields |= {"unvouched": summary.unvouched, "parts": dict(summary.parts), "selection": selection.words}
        output.emit_json("affidavit.bundle-written/1", fields)
        return exits.DONE
    parts = ", ".join(f"{count:,} {status}" for status, count in sorted(summary.parts.items()))
    output.say(
        f"{summary.path}: {summary.records:,} records, {summary.size:,} bytes; parts {parts}\nSHA-256 {summary.sha256}"
    )
    if summary.unvouched:
        output.say(f"nobody outside vouches for {summary.unvouched:,} of them yet (docs/anchors.md)")
    return exits.DONE
