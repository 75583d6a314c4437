"""``deadletter``: what sinks could not deliver."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from affidavit.deadletters import Found

deadletter = typer.Typer(help="What sinks could not deliver, and why.", no_args_is_help=True)

SHOWN = 50
"""Letters that are listed unless --all is given."""

Sink = Annotated[str, typer.Option("--sink", metavar="SINK", help="Only those of this sink.")]


@deadletter.command("list")
def list_letters(
    sink: Sink = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Show all, those that a retry has delivered included.")
    ] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """List records that a sink rejected, each with its address and the reason. Their content stays sealed.

    Exits 2 while there are some that nobody has delivered since.

    Example:

    \b
      affidavit deadletter list --sink splunk
    """
    from affidavit.deadletters import choose

    found = choose(_read(data), sink=sink, delivered=everything)
    waiting = sum(not one.delivered_ms for one in found)
    if as_json:
        output.emit_json("affidavit.deadletters/1", {"letters": [one.as_dict() for one in found], "waiting": waiting})
        return exits.INCOMPLETE if waiting else exits.DONE
    shown = found if everything else found[-SHOWN:]
    if shown:
        output.table(
            ("letter", "rejected", "kind", "event", "state", "reason"),
            [
                (
                    one.name,
                    _moment(one.letter.rejected_ms),
                    one.as_dict()["kind"],
                    one.as_dict()["event_id"],
                    "delivered" if one.delivered_ms else "waiting",
                    one.letter.reason,
                )
                for one in shown
            ],
        )
    if len(shown) < len(found):
        output.say(f"the newest {len(shown)} of {len(found):,}; --all shows the rest")
    if not found:
        output.say("no dead letters" + (f" of the sink {sink}" if sink else ""))
    return exits.INCOMPLETE if waiting else exits.DONE


@deadletter.command("show")
def show(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="As the list has it, e.g. splunk/events/0/123.")],
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Show one dead letter: the record's address, when, and why. To read the record itself, ask ClickHouse.

    Example:

    \b
      affidavit deadletter show splunk/events/0/123
    """
    from affidavit.deadletters import choose

    (found,) = choose(_read(data), [letter])
    facts = found.as_dict()
    if as_json:
        output.emit_json("affidavit.deadletter/1", facts)
        return
    facts["rejected_ms"] = f"{_moment(found.letter.rejected_ms)} UTC"
    facts["received_ms"] = f"{_moment(found.letter.message.time_ms)} UTC"
    facts["delivered_ms"] = f"{_moment(found.delivered_ms)} UTC" if found.delivered_ms else "not yet"
    for name, value in facts.items():
        output.emit(f"{name.removesuffix('_ms').replace('_', ' '):10} {value}")
    event = facts["event_id"]
    if event:
        output.say(f"the record, proven: affidavit verify event {event}")
    if not found.delivered_ms:
        output.say(f"to deliver it again: affidavit deadletter retry {letter}")


@deadletter.command("retry")
def retry(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[LETTER]...", help="Which; with --sink alone, all of that sink.")
    ] = None,
    sink: Sink = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be delivered.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Deliver rejected records again, to the sinks that rejected them, and wait until each is confirmed.

    Processes that run are not disturbed, and no position moves. The retry is itself on the log. Exits 2 when a record
    is rejected again.

    Example:

    \b
      affidavit deadletter retry splunk/events/0/123
      affidavit deadletter retry --sink splunk --dry-run
    """
    from affidavit.deadletters import choose, message_of, read_letters
    from affidavit.deadletters import retry as deliver
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring
    from collector.internal import operator

    if not letters and not sink:
        raise typer.BadParameter("name letters, or all of a sink with --sink")
    layout = data_directory(data)
    with Wiring(layout, load(layout)) as wiring, output.progress() as progress:
        chosen = choose(asyncio.run(read_letters(wiring, progress)), letters or (), sink)
        if dry_run:
            results = dict.fromkeys((one.name for one in chosen), "")
        else:
            records = [(one, asyncio.run(message_of(wiring.existing_bus, one.letter))) for one in chosen]
            results = deliver(wiring, records, operator(), progress)
    again = {name: reason for name, reason in results.items() if reason}
    if as_json:
        fields = {"dry_run": dry_run, "delivered": [] if dry_run else [name for name in results if name not in again]}
        output.emit_json("affidavit.deadletter-retry/1", {**fields, "letters": list(results), "rejected": again})
    else:
        for name, reason in results.items():
            output.emit(f"{name}: {reason or ('would be delivered' if dry_run else 'delivered')}")
        if not results:
            output.say("no dead letters to deliver")
    return exits.INCOMPLETE if again else exits.DONE


def _read(data: options.Data) -> list[Found]:
    from affidavit.deadletters import read_letters
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring

    layout = data_directory(data)
    with Wiring(layout, load(layout)) as wiring, output.progress() as progress:
        return asyncio.run(read_letters(wiring, progress))


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
