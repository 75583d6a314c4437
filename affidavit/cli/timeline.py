"""``timeline``: what happened in one session, as one causal tree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from affidavit.layout import Layout
    from affidavit.timeline import Row, Timeline
    from affidavit.timeline_text import Line

COLOURS = {"OK": "green", "ERASED": "yellow", "SEALED": "yellow", "UNSIGNED": "yellow"}


def timeline(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Id of a session, exchange or trace.")],
    content: Annotated[bool, typer.Option("--content/--no-content", help="Show short excerpts of the content.")] = True,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Verify each record against the ledger.")] = True,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose, where several tenants have such a session.")] = "",
    pinned: Annotated[
        Path | None,
        typer.Option("--policy", "--trust", metavar="FILE", help="Whom to believe; else the directory's own keys."),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Interface to ask, instead of the directory's own.")] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Show a session: prompt, context, guardrail, response, tool call, tool result, across all its exchanges.

    Each line has the address of its record and its status: OK, UNSIGNED (no checkpoint covers it yet), SEALED, ERASED,
    or a failure: MISSING, MISMATCH. Repeats of an event are one line with their number; gaps (a call without a result,
    an unanswered prompt, numbers that a sender counted and that never came) are listed at the end. Exits 1 when a
    record does not verify, 2 when there is no such session.

    Example:

    \b
      affidavit timeline sess-42
      affidavit timeline sess-42 --no-content --json | jq '.gaps'
    """
    from affidavit.engine import query_client
    from affidavit.session import read_rows
    from affidavit.settings import data_directory
    from affidavit.timeline import build

    layout = data_directory(data)
    with query_client(layout, url) as client:
        rows = read_rows(client, session, content=content, tenant=tenant)
    if not rows:
        output.say(f"nothing is recorded of {session!r}: the view sessions lists what there is, see affidavit query")
        return exits.INCOMPLETE
    if verify:
        rows = _verified(layout, rows, pinned)
    built = build(session, rows)
    if as_json:
        from affidavit.timeline_text import as_dict

        output.emit_json("affidavit.timeline/1", as_dict(built))
    else:
        _print(built)
    failed = any(row.status in ("MISSING", "MISMATCH", "RESURRECTED") for row in rows)
    return exits.INTEGRITY_FAILURE if failed else exits.DONE


def _verified(layout: Layout, rows: list[Row], pinned: Path | None) -> list[Row]:
    from affidavit.exhibits import Exhibits
    from affidavit.session import verify_rows
    from schemas.errors import EvidenceIncomplete

    with Exhibits(layout, pinned) as exhibits:
        comparison = exhibits.scope("clickhouse").comparison()
        if comparison is None:
            raise EvidenceIncomplete("there is nothing to compare")
        return verify_rows(rows, exhibits.objects, exhibits.trust, comparison)


def _print(built: Timeline) -> None:
    from affidavit.timeline_text import lines

    shown = list(lines(built))
    first = shown[0].time[:10]
    output.emit(f"session {built.session}, {first}, {built.events} events in {built.records} records")
    _table(shown, first)
    for gap in built.gaps:
        output.emit(f"gap: {gap}")
    if not built.gaps:
        output.emit("no gaps")


def _table(shown: Iterable[Line], first: str) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name in ("time", "event", "who and what", "text", "address", "status"):
        grid.add_column(name, no_wrap=name not in ("text", "who and what"), overflow="fold")
    for line in shown:
        time = line.time.removeprefix(first).strip()
        words = Text(line.text)
        if line.notes:
            words.append(f"{'  ' if line.text else ''}({line.notes})", style="yellow")
        who = " → ".join(part for part in (line.who, line.what) if part)
        status = Text(line.status, style=COLOURS.get(line.status, "bold red"))
        grid.add_row(time, line.tree + line.kind, who, words, line.address, status)
    output.console().print(grid)
