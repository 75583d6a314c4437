"""The command tree, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from affidavit import version as installed_version
from affidavit.cli import (
    anchors,
    archive,
    clickhouse,
    completeness,
    deadletter,
    disposition,
    doctor,
    exits,
    export,
    gateways,
    grant,
    hold,
    hold_show,
    identity,
    log,
    matter,
    parity,
    policy,
    query,
    schemas,
    serve,
    setup,
    splunk,
    status,
    timeline,
    token,
    verify,
    witness,
)
from affidavit.cli.output import say
from schemas.errors import AffidavitError

app = typer.Typer(
    name="affidavit",
    help="Tamper-evident audit log for AI traffic: record, prove, search, hold.",
    epilog="Start with: affidavit up",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command("init")(setup.init)
app.command("up")(serve.up)
app.command("run")(serve.run)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("query")(query.query)
app.command("timeline")(timeline.timeline)
app.command("completeness")(completeness.completeness)
app.command("parity")(parity.parity)
app.add_typer(verify.verify, name="verify")
app.add_typer(log.log, name="log")
app.add_typer(anchors.anchors, name="anchors")
app.add_typer(archive.archive, name="archive")
app.add_typer(clickhouse.clickhouse, name="clickhouse")
app.add_typer(deadletter.deadletter, name="deadletter")
app.add_typer(splunk.splunk, name="splunk")
app.add_typer(matter.matter, name="matter")
hold_show.register(hold.hold)
app.add_typer(hold.hold, name="hold")
app.add_typer(policy.policy, name="policy")
app.add_typer(disposition.disposition, name="disposition")
app.add_typer(export.export, name="export")
app.add_typer(witness.witness, name="witness")
app.add_typer(token.tokens, name="token")
setup.keys.command("export")(grant.export)
app.add_typer(setup.keys, name="keys")
app.add_typer(schemas.schemas, name="schemas")
app.add_typer(gateways.gateways, name="gateways")
app.add_typer(identity.identity, name="identity")


class Debug:
    """Whether tracebacks are shown."""

    on = False


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"affidavit {installed_version()}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    Debug.on = debug


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of :data:`affidavit.cli.exits.MEANING`."""
    Debug.on = False
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        code = app(args=arguments, prog_name="affidavit", standalone_mode=False)
    except KeyboardInterrupt:
        say("affidavit: interrupted")
        return exits.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return exits.DONE
    except Exception as error:
        if Debug.on:
            raise
        return _explain(error)
    return code if isinstance(code, int) else exits.DONE


def _explain(error: Exception) -> int:
    match error:
        case AffidavitError():
            say(f"affidavit: {error}")
            return exits.exit_code(error)
        case TyperException():
            context = getattr(error, "ctx", None)
            text = error.format_message()
            say(text if text.startswith("Usage:") else f"affidavit: {text}")
            if context is not None:
                say(f"Try '{context.command_path} --help'.")
            return exits.USAGE
        case _:
            say(f"affidavit: bug: {type(error).__name__}: {error}; run again with --debug for the traceback")
            return exits.BUG
