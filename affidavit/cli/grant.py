"""``keys export``: subject keys for a consumer that may open what it reads from the bus."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from affidavit.cli import exits, options, output

MONTH = r"\d{4}-(0[1-9]|1[0-2])"


class PartName(StrEnum):
    """The parts that a key may open."""

    metadata = "metadata"
    content = "content"
    source = "source"


def export(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose records the keys open.")],
    subject: Annotated[
        str | None, typer.Option("--subject", help='Keys of one data subject; "" is the tenant itself.')
    ] = None,
    month: Annotated[str | None, typer.Option("--month", metavar="YYYY-MM", help="Keys of one month, UTC.")] = None,
    part: Annotated[
        list[PartName] | None, typer.Option("--part", help="Keys of one kind of part; repeat for several.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All keys of the tenant, nothing narrowed.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="New file for the keys, mode 0600.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Only say how many keys there are; export nothing.")] = False,
    note: Annotated[str, typer.Option("--note", help="For whom, and why; it goes on the log.")] = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Hand out subject keys: whoever has the file can open these parts on the bus, in the archive and in backups.

    The export is on the log before the file holds a key. It covers the keys that exist now: a new month, or a new data
    subject, needs another export. A key that was handed out cannot be called back, and outlives its destruction here:
    ask for the file's destruction too. docs/consuming.md has the format, and a program that uses it.

    Example:

    \b
      affidavit keys export --tenant acme --month 2026-11 --part metadata --count
      affidavit keys export --tenant acme --month 2026-11 --out acme.keys --note "fraud team, case 42"
    """
    import re

    from affidavit.admin import Operator
    from affidavit.grants import export_keys
    from schemas.errors import MalformedInput
    from schemas.parts import PART_NAMES
    from stores.keys.grant import Grant, count_granted

    types = {name: number for number, name in PART_NAMES.items()}
    if month is not None and not re.fullmatch(MONTH, month):
        raise MalformedInput(f"got month {month!r}, expected YYYY-MM such as 2026-11")
    grant = Grant(tenant, subject, month, tuple(sorted({types[name.value] for name in part or ()})))
    if grant.is_whole_tenant != everything:
        raise MalformedInput(
            "got --all and something that narrows it, expected one of them"
            if everything
            else f"got every key of tenant {tenant!r}: narrow it by --subject, --month or --part, or say --all"
        )
    if count == (out is not None):
        raise MalformedInput("got both or neither of --count and --out, expected one of them")
    with Operator.at(data) as operator:
        if out is None:
            found = count_granted(operator.wiring.control, grant)
            _show_count(found, as_json=as_json)
            return exits.DONE if found else exits.INCOMPLETE
        written = export_keys(operator.wiring, grant, out.absolute(), note)
    if as_json:
        output.emit_json("affidavit.keys-exported/1", {"file": out.absolute(), "keys": written})
    else:
        output.say(f"{written} keys in {out}: whoever has it can read; the export is on the log")
    return exits.DONE


def _show_count(found: dict[tuple[str, int], int], *, as_json: bool) -> None:
    from schemas.parts import PART_NAMES

    rows = [(month, PART_NAMES.get(part, str(part)), keys) for (month, part), keys in found.items()]
    if as_json:
        listed = [{"month": month, "part_type": part, "keys": keys} for month, part, keys in rows]
        output.emit_json("affidavit.keys-counted/1", {"keys": sum(found.values()), "groups": listed})
        return
    output.table(("month", "part", "keys"), rows, right=(2,))
    output.say(f"{sum(found.values())} keys; nothing was exported")
