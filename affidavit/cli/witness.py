"""``witness``: a witness of one's own, on a machine that the log's operator cannot touch."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from affidavit.layout import Layout

witness = typer.Typer(help="A witness of one's own, for whoever trusts no operator.", no_args_is_help=True)


@witness.command("init")
def init(
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Under which it signs, as a URL without its scheme.")
    ],
    logs: Annotated[
        list[str],
        typer.Option(
            "--log", metavar="VKEY", help="A log to witness; a deployment's key stands for all of its logs. Repeat."
        ),
    ],
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Make a witness: its own key, and the list of logs that it cosigns. Prints the key that goes into policies.

    Run again with other logs to change the list; the key and what it has seen stay.

    Example:

    \b
      affidavit witness init --data /srv/witness --name witness.example.org --log "$(cat signer.vkey)"
    """
    from affidavit.settings import data_directory
    from affidavit.witness.folder import make_witness

    made = make_witness(data_directory(data).root, name, logs)
    if as_json:
        output.emit_json("affidavit.witness/1", {"name": made.name, "verifier_key": made.vkey, "logs": list(logs)})
        return
    output.emit(made.vkey)
    output.say(
        f"Next: affidavit run witness --data {data_directory(data).root}\n"
        "Give the line above to whoever writes the policy; the operator needs it too, and the URL, for the "
        'settings: [anchors.NAME], kind = "witness".'
    )


@witness.command("show")
def show(data: options.Data = None, as_json: options.Json = False) -> None:
    """Show the witness's key, and what it has cosigned last of each log.

    Example:

    \b
      affidavit witness show --data /srv/witness
    """
    from affidavit.settings import data_directory
    from affidavit.witness.folder import open_witness

    with open_witness(data_directory(data).root) as opened:
        seen = opened.state.seen()
    if as_json:
        rows = [{"origin": one.origin, "size": one.size, "root": one.root.hex()} for one in seen]
        output.emit_json("affidavit.witness-show/1", {"verifier_key": opened.vkey, "seen": rows})
        return
    output.emit(opened.vkey)
    output.table(("log", "leaves", "root"), [(one.origin, f"{one.size:,}", one.root.hex()) for one in seen], right=(1,))


def run_witness(layout: Layout, *, as_json: bool) -> int:
    """Serve until told to stop."""
    from affidavit.settings import load
    from affidavit.witness.folder import open_witness
    from collector.server import serve

    own = load(layout).witness
    with open_witness(layout.root) as opened:

        async def run() -> None:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)

            def started(port: int) -> None:
                url = f"http://{own.host}:{port}"
                if as_json:
                    fields = {"pid": os.getpid(), "url": url, "verifier_key": opened.vkey}
                    output.emit_json("affidavit.witness-up/1", fields)
                    sys.stdout.flush()
                else:
                    output.say(f"witness {opened.name} at {url}: POST /add-checkpoint. Ctrl-C stops.")

            await serve(opened.server.app(), own.host, own.port, stop, started=started)

        asyncio.run(run())
    output.say("stopped; everything that was cosigned is remembered")
    return exits.DONE
