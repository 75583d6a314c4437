"""``clickhouse``: the tables that the sink writes to."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import Annotated

import typer

from affidavit.cli import exits, options, output

clickhouse = typer.Typer(help="The tables in ClickHouse.", no_args_is_help=True)


@clickhouse.command("migrate")
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be applied.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Print the statements that would be applied, as SQL.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Create the tables and views that are missing, or say which are.

    The sink does so itself when it starts, unless clickhouse.migrate is off because its user may not. Numbered files
    are applied once each, in order, and written down in the table migrations with their SHA-256; a file that was
    changed after it had been applied is refused. Running it again changes nothing.

    With --dry-run or --print it exits 2 while something is missing.

    Example:

    \b
      affidavit clickhouse migrate --dry-run
      affidavit clickhouse migrate
    """
    from affidavit.lock import CLICKHOUSE, hold
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring
    from sinks.clickhouse import ddl
    from sinks.clickhouse.classify import said_of

    layout = data_directory(data)
    settings = load(layout)
    held = nullcontext() if settings.clickhouse.url else hold(layout, [CLICKHOUSE], "clickhouse migrate")
    with held, Wiring(layout, settings) as wiring, said_of("the tables"):
        engine = wiring.engine
        with closing(engine.client(database="system")) as client:
            missing = ddl.pending(client, engine.database)
        if missing and not (dry_run or show):
            engine.prepare()
            with closing(engine.client()) as client:
                ddl.migrate(client)
    names = [file.name for file in missing]
    if show:
        output.emit("\n".join(file.read_text("utf-8") for file in missing).rstrip("\n"))
    elif as_json:
        output.emit_json("affidavit.clickhouse-migrate/1", {"dry_run": dry_run, "files": names})
    else:
        for name in names:
            output.emit(f"{'missing' if dry_run else 'applied'}: {name}")
        if not names:
            output.say("all tables are there")
    return exits.INCOMPLETE if names and (dry_run or show) else exits.DONE


@clickhouse.command("access")
def access(
    tenants: Annotated[
        list[str],
        typer.Option("--tenant", metavar="TENANT", help="A role that sees this tenant's rows alone; repeat it."),
    ] = [],  # noqa: B006  typer copies it
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Print roles for ClickHouse's own users, as SQL for an administrator: soc_metadata, soc_content, auditor, legal,
    affidavit_writer; with --tenant row policies, too. Runs nothing.

    On a server of your own ClickHouse decides who reads, and content that is read there is not on our log: turn the
    server's query_log on and keep it, or let people read through affidavit query and the interface of affidavit up.

    Example:

    \b
      affidavit clickhouse access --tenant acme --tenant globex > access.sql
    """
    from affidavit.settings import data_directory, load
    from sinks.clickhouse.access import access_sql

    text = access_sql(load(data_directory(data)).clickhouse.database, tenants)
    if as_json:
        output.emit_json("affidavit.clickhouse-access/1", {"sql": text})
    else:
        output.emit(text.rstrip("\n"))
