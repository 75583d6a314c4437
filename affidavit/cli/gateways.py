"""``gateways``: which are supported, how to set one up, and what one of its payloads becomes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from affidavit.dry_run import DryEvent, DryRun
    from collector.catalogue import Gateway

gateways = typer.Typer(help="The gateways that can send here: set one up, try a payload.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As gateways list shows it, such as litellm.")]

MAX_BYTES = 64 << 20
"""Of a payload, after decompression: what the collector takes by default."""

CELL = 96
"""Characters of a value that are shown; ``--json`` shows all."""


@gateways.command("list")
def show_all(as_json: options.Json = False) -> None:
    """List the supported gateways, how their records get here, and where they send them.

    Example:

    \b
      affidavit gateways list
    """
    from collector.catalogue import GATEWAYS

    rows = [(one.name, one.title, ", ".join(one.receivers), _where(one)) for one in GATEWAYS]
    if as_json:
        named = [
            {"name": one.name, "title": one.title, "receivers": one.receivers, "paths": _paths(one)} for one in GATEWAYS
        ]
        output.emit_json("affidavit.gateways/1", {"gateways": named})
        return
    output.table(("name", "gateway", "by", "to"), rows)


@gateways.command("show")
def show(
    name: Name,
    url: Annotated[str, typer.Option("--url", help="Address of the collector (or proxy), for the configuration.")] = "",
    token: Annotated[str, typer.Option("--token", help="Token to put into the configuration.")] = "",
    snippet: Annotated[bool, typer.Option("--snippet", help="Print only what to paste into the gateway.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show how to set a gateway up, what comes of its records, and what it withholds.

    Example:

    \b
      affidavit gateways show litellm
      affidavit gateways show kong --snippet --url https://audit.example.com
    """
    from affidavit import pages

    found = _find(name)
    text = pages.page(found.name, url=url, token=token or pages.TOKEN)
    configuration = pages.snippet(text)
    if as_json:
        shown = {"name": found.name, "title": found.title, "receivers": found.receivers, "paths": _paths(found)}
        output.emit_json("affidavit.gateway/1", {**shown, "configuration": configuration, "page": text})
    else:
        output.emit((configuration if snippet else text).removesuffix("\n"))


@gateways.command("test")
def try_payload(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A payload as the gateway sends it; - is stdin.")],
    media_type: Annotated[
        str, typer.Option("--content-type", help="As it would be sent; guessed from the bytes when left out.")
    ] = "",
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME:VALUE", help="A request header; may be repeated.")
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant, for the event ids.")] = "default",
    as_json: options.Json = False,
) -> int:
    """Show what a payload becomes: each event, field by field, with what has no field here and what is withheld.

    Nothing is stored and nothing is running. gzip is undone. The exit code is 3 when something in it cannot be read;
    the collector would record that as unparsed, bytes and all.

    Example:

    \b
      affidavit gateways test litellm payload.json
    """
    import time

    from affidavit.dry_run import credentials_left_out, dry_run
    from collector.gateways import Received

    found = _find(name)
    received = Received(
        tenant=tenant,
        gateway=found.name,
        token_id="",
        receiver=found.receivers[0],
        peer_ip="",
        media_type=media_type,
        content_encoding="",
        received_at=time.time_ns() // 1000,
        headers=credentials_left_out(dict(map(_header, header or []))),
    )
    run = dry_run(found, _payload(file), received, MAX_BYTES)
    if as_json:
        output.emit_json("affidavit.gateway-test/1", {"gateway": found.name, **_document(run)})
    else:
        _show(found, run)
    return exits.USAGE if run.error or run.unread or not run.records else exits.DONE


def _find(name: str) -> Gateway:
    import difflib

    from collector.catalogue import GATEWAYS, gateway
    from schemas.errors import MalformedInput

    found = gateway(name)
    if found is None:
        known = [one.name for one in GATEWAYS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
        raise MalformedInput(f"got gateway {name!r}: {hint}")
    return found


def _payload(file: Path) -> bytes:
    from schemas.errors import MalformedInput

    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1) if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise MalformedInput(f"cannot read {file}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise MalformedInput(f"got {len(data)} bytes or more, expected at most {MAX_BYTES}")
    return data


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"got header {text!r}, expected NAME:VALUE")
    return name.strip(), value.strip()


def _paths(gateway: Gateway) -> list[str]:
    own = [f"{route.methods[0]} {route.paths[0]}" for route in gateway.routes]
    return own or (["POST /v1/traces", "POST /v1/logs"] if "otlp-http" in gateway.receivers else [])


def _where(gateway: Gateway) -> str:
    places = _paths(gateway)
    if {"poll", "objects"}.intersection(gateway.receivers):
        places.append("[feeds] of the settings")
    if "file" in gateway.receivers:
        places.append("[files] of the settings")
    if "proxy" in gateway.receivers:
        places.append("affidavit run proxy")
    return ", ".join(places)


def _document(run: DryRun) -> dict[str, Any]:
    from dataclasses import asdict

    document = asdict(run)
    return {**document, "unread": run.unread, "events": sum(len(record.events) for record in run.records)}


def _show(gateway: Gateway, run: DryRun) -> None:
    events = sum(len(record.events) for record in run.records)
    if run.error:
        output.say(f"this is not a payload of {gateway.title}: {run.error}")
    for at, record in enumerate(run.records):
        output.emit(f"record {at}: {output.size(record.size)}, key {_cut(record.key)}")
        if record.error:
            output.emit(f"  cannot be read, would be recorded as unparsed: {record.error}")
            continue
        for event in record.events:
            _show_event(event)
    verdict = f"{run.unread} would be unparsed" if run.unread else "all of it was understood"
    output.say(
        f"{_counted(len(run.records), 'record')}, {_counted(events, 'event')}; {verdict}; nothing was stored"
        if run.records
        else "there is no record in it"
    )


def _show_event(event: DryEvent) -> None:
    import json

    output.emit(f"  {event.kind}  {event.event_id}")
    width = max((len(name) for name in event.fields), default=0)
    for name, value in event.fields.items():
        if name.endswith("_at"):
            value = _moment(value)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        output.emit(f"    {name:<{width}}  {_cut(text)}")
    if event.content is not None:
        text = json.dumps(event.content, ensure_ascii=False)
        output.emit(f"    content ({output.size(len(text.encode('utf-8', 'replace')))})  {_cut(text)}")
    for name, value in event.not_mapped.items():
        output.emit(f"    not mapped, kept in extras: {name} = {_cut(value)}")
    for gap in event.withheld:
        told = ", ".join(f"{key} {value}" for key, value in gap.items() if key not in ("pointer", "state"))
        output.emit(f"    not in full: {gap['pointer']} is {gap['state']}{f' ({told})' if told else ''}")


def _moment(micros: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CELL else f"{line[: CELL - 1]}…"
