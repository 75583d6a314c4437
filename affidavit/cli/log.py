"""``log``: the logs of the ledger, and what a person decides about one that has halted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from signer.repair import Diagnosis

log = typer.Typer(help="The logs of the ledger.", no_args_is_help=True)

TheShard = Annotated[str, typer.Argument(metavar="SHARD", help="Whose log, e.g. events/0.", show_default=False)]


@log.command("list")
def list_logs(data: options.Data = None, as_json: options.Json = False) -> None:
    """Show every log, closed ones too: its shard, how many leaves are signed, and where the next one belongs.

    Example:

    \b
      affidavit log list
    """
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring
    from signer.status import log_statuses

    layout = data_directory(data)
    with Wiring(layout, load(layout)) as wiring:
        found = log_statuses(wiring.control, wiring.objects)
    if as_json:
        rows = [
            {
                "origin": one.origin,
                "shard": str(one.shard),
                "size": one.size,
                "published": one.published,
                "next_offset": one.next_offset,
                "opened_ms": one.opened_ms,
                "closed": one.closed,
            }
            for one in found
        ]
        output.emit_json("affidavit.logs/1", {"logs": rows})
        return
    output.table(
        ("log", "shard", "leaves", "published", "next offset", "state"),
        [
            (
                one.origin,
                str(one.shard),
                f"{one.size:,}",
                f"{one.published:,}",
                f"{one.next_offset:,}",
                "closed" if one.closed else "open",
            )
            for one in found
        ],
        right=(2, 3, 4),
    )


@log.command("checkpoint")
def checkpoint(
    which: Annotated[str, typer.Argument(metavar="LOG", help="A log, or a shard for its newest: events/0, anchor.")],
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Print the published checkpoint of a log: origin, size, root, an empty line, signatures. Compares nothing.

    Example:

    \b
      affidavit log checkpoint events/0
      affidavit log checkpoint anchor
    """
    from affidavit.exhibits import Exhibits
    from affidavit.settings import data_directory
    from schemas.errors import EvidenceIncomplete
    from schemas.ids import ANCHOR
    from signer.ledger import Ledger
    from signer.origin import ANCHOR_SHARD, term_order

    with Exhibits(data_directory(data), None) as exhibits:
        ledger = Ledger(exhibits.objects)
        origins = sorted(ledger.origins(exhibits.trust.deployment), key=lambda origin: term_order(origin.term))
        wanted = str(ANCHOR_SHARD) if which == ANCHOR else which
        found = [str(origin) for origin in origins if wanted in (str(origin), str(origin.shard))]
        if not found:
            logs = ", ".join(str(origin) for origin in origins) or "none"
            raise EvidenceIncomplete(f"got log {which!r}, expected one of the ledger, or its shard: {logs}")
        note = ledger.checkpoint(found[-1])
    if as_json:
        origin, size, root = note.decode().splitlines()[:3]
        output.emit_json(
            "affidavit.log-checkpoint/1", {"origin": origin, "size": int(size), "root": root, "note": note.decode()}
        )
        return exits.DONE
    output.emit(note.decode().removesuffix("\n"))
    return exits.DONE


@log.command("succeed")
def succeed(
    shard: TheShard,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record; 'key rotation' needs nothing else.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only show what would be done.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Close the log of a shard whose signer has halted, and open the next, which says why.

    For what cannot be mended: the topic was created again, the bus lost what was signed, there is a gap in its offsets,
    its clock was set back, or the signing key is another. What was signed stays as it is; whatever the new log leaves
    out is a finding of every verification from then on. Stop the signers of the shard first. A log with which nothing
    is wrong is not closed.

    Example:

    \b
      affidavit log succeed events/0 --reason "topic deleted by mistake, ticket 4711"
      affidavit log succeed events/0 --reason "topic deleted by mistake, ticket 4711" --yes
    """
    from affidavit.acts import log_succeeded, logs_changed
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring
    from collector.internal import operator
    from schemas.ids import parse_shard
    from signer.clock import wall_clock
    from signer.loop import schema_fingerprints
    from signer.repair import KEY_ROTATION, close_and_open_next, diagnose
    from signer.startup import Stores

    layout, which = data_directory(data), parse_shard(shard)
    with Wiring(layout, load(layout)) as wiring:
        name = wiring.settings.deployment.name
        stores = Stores(wiring.control, wiring.objects, wiring.signing_key)

        async def work() -> tuple[Diagnosis, str]:
            bus = wiring.existing_bus
            found = await diagnose(bus, stores, name, which, wall_clock())
            if not yes or (not found.wrong and reason != KEY_ROTATION):
                return found, ""
            audit = wiring.audit()
            await audit.record(log_succeeded(shard, found.origin, reason, found.wrong, operator()))
            change = await close_and_open_next(
                bus, stores, name, which, reason, wall_clock(), schemas=schema_fingerprints()
            )
            await audit.record(*logs_changed(change))
            return found, change.opened

        found, opened = asyncio.run(work())
    if as_json:
        output.emit_json(
            "affidavit.log-succeed/1",
            {
                "origin": found.origin,
                "wrong": found.wrong,
                "next_offset": found.next_offset,
                "start_offset": found.start_offset,
                "opened": opened or None,
            },
        )
        return exits.DONE
    output.emit(f"{found.origin} ends at offset {found.next_offset:,}")
    output.emit(f"  {found.wrong or 'nothing is wrong with it'}")
    if opened:
        output.emit(f"closed; {opened} begins at offset {found.start_offset:,}")
    elif found.wrong or reason == KEY_ROTATION:
        output.say(f"the next log would begin at offset {found.start_offset:,}; with --yes it does")
    else:
        output.say("it stays as it is")
    return exits.DONE
