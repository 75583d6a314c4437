"""``splunk``: whether Splunk can be reached, and whether it has what was delivered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from affidavit.reconciliation import ShardReconciled
    from affidavit.wiring import Wiring
    from sinks.splunk.search import SplunkSearch

splunk = typer.Typer(help="The sink into Splunk.", no_args_is_help=True)


@splunk.command("check")
def check(data: options.Data = None, as_json: options.Json = False) -> int:
    """Ask the HTTP Event Collector for its health, with our token, and the search for an answer. Sends no event.

    Example:

    \b
      affidavit splunk check
    """
    from affidavit.forwarders import hec_config, splunk_search
    from affidavit.settings import data_directory, load
    from schemas.errors import AffidavitError, ConfigurationError
    from schemas.ids import EVENTS, Shard
    from sinks.splunk.health import ask_health

    settings = load(data_directory(data))
    if not settings.splunk.url:
        raise ConfigurationError("splunk.url is not set: there is no sink into Splunk (docs/splunk.md)")
    config = hec_config(settings)
    findings = {"collector": ask_health(config)}
    search = splunk_search(settings)
    if search is not None:
        try:
            search.blocks(Shard(EVENTS, 0))
            findings["search"] = ""
        except AffidavitError as error:
            findings["search"] = str(error)
        finally:
            search.close()
    if as_json:
        output.emit_json("affidavit.splunk-check/1", {"url": config.url, "ack": config.ack, "problems": findings})
    else:
        for name, problem in findings.items():
            output.emit(f"{name}: {problem or 'ok'}")
        if search is None:
            output.say("no search is set (splunk.search_url): affidavit splunk reconcile needs one")
    return exits.UNAVAILABLE if any(findings.values()) else exits.DONE


@splunk.command("reconcile")
def reconcile(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Begin: a time (UTC), or a span back such as 24h, 7d.")
    ] = "",
    resend: Annotated[bool, typer.Option("--resend", help="Deliver again what is missing.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Compare Splunk's index with what was delivered to it, by offset, and name what is missing.

    Everything before the sink's position is compared, but for dead letters. Counting costs a search over indexed fields
    for each shard; only blocks of a thousand offsets that differ are looked into. What Splunk itself has aged out of
    its indexes is missing too: say --since then.

    Exits 2 when something is missing; with --resend, when something is missing still.

    Example:

    \b
      affidavit splunk reconcile --since 24h
      affidavit splunk reconcile --since 24h --resend
    """
    from affidavit.forwarders import splunk_search
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring
    from schemas.errors import ConfigurationError

    layout = data_directory(data)
    settings = load(layout)
    search = splunk_search(settings)
    if search is None:
        raise ConfigurationError("splunk.search_url is not set: HEC cannot be read, a search can (docs/splunk.md)")
    with Wiring(layout, settings) as wiring, output.progress() as progress:
        compared = _compare(wiring, search, since, progress)
        if resend and any(one.missing for one in compared):
            _resend(wiring, compared, progress)
            compared = _compare(wiring, search, since, progress)
    search.close()
    missing = sum(len(one.missing) for one in compared)
    if as_json:
        output.emit_json("affidavit.splunk-reconcile/1", {"shards": [one.as_dict() for one in compared]})
    else:
        _print(compared, missing)
    return exits.INCOMPLETE if missing else exits.DONE


def _compare(wiring: Wiring, search: SplunkSearch, since: str, progress: output.Progress) -> list[ShardReconciled]:
    from affidavit.deadletters import choose, offsets_of, read_letters
    from affidavit.positions import offset_at
    from affidavit.reconciliation import reconcile as compare
    from sinks.kept import KeptPosition

    waiting = choose(asyncio.run(read_letters(wiring)))
    compared = []
    for shard in asyncio.run(wiring.shards()):
        first = asyncio.run(offset_at(wiring.existing_bus, shard, since))
        mark = KeptPosition(wiring.control, "splunk", shard).read()
        rejected = offsets_of(waiting, "splunk", shard)
        end = mark.offset if mark is not None else first
        compared.append(compare(search, shard, min(first, end), end, rejected, progress))
    return compared


def _resend(wiring: Wiring, compared: list[ShardReconciled], progress: output.Progress) -> None:
    from affidavit.acts import records_resent
    from affidavit.positions import read_offsets
    from affidavit.redelivery import redeliver
    from collector.internal import operator

    for one in compared:
        if not one.missing:
            continue
        act = records_resent("splunk", str(one.shard), len(one.missing), operator())
        wiring.audit().record_blocking(act)
        messages = asyncio.run(read_offsets(wiring.existing_bus, one.shard, one.missing))
        redeliver(wiring, "splunk", messages, lambda done, total: progress(done, total, "sent again"))


def _print(compared: list[ShardReconciled], missing: int) -> None:
    output.table(
        ("shard", "offsets", "delivered", "in Splunk", "missing", "repeats", "dead letters"),
        [
            (
                one.shard,
                f"{one.first:,} to {one.end:,}",
                f"{one.delivered:,}",
                f"{one.found:,}",
                f"{len(one.missing):,}",
                f"{one.repeats:,}",
                f"{one.rejected:,}",
            )
            for one in compared
        ],
        right=(2, 3, 4, 5, 6),
    )
    for one in compared:
        ranges = one.as_dict()["missing_ranges"]
        for first, last in ranges[:20]:
            output.emit(f"missing: {one.shard} offset {first}" + (f" to {last}" if last > first else ""))
        if len(ranges) > 20:
            output.emit(f"and {len(ranges) - 20:,} more ranges of {one.shard}; --json has all")
    output.say(f"{missing:,} records are missing in Splunk" if missing else "Splunk has everything that was delivered")
