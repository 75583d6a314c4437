"""``init``, ``keys``: what a deployment is made of."""

from __future__ import annotations

from typing import Annotated

import typer

from affidavit.cli import options, output

keys = typer.Typer(help="The keys of the deployment.", no_args_is_help=True)


def init(
    data: options.Data = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="DEPLOYMENT", help="Origin of the ledger, e.g. audit.example.com.")
    ] = None,
    shards: Annotated[int | None, typer.Option("--shards", help="Shards of the events topic, 1 to 256.")] = None,
    as_json: options.Json = False,
) -> None:
    """Make a data directory: configuration, control database, keys, and a token for this command line.

    The name and the number of shards are fixed for good: the ledger's origins hold them. A second run changes nothing.

    Example:

    \b
      affidavit init --data /srv/affidavit --name audit.example.com
    """
    from affidavit import deployment
    from affidavit.settings import data_directory, load

    layout = data_directory(data)
    settings = load(layout)
    wanted = deployment.configured_name(layout, name, shards, settings.deployment)
    made = deployment.initialise(layout, wanted, settings)
    if as_json:
        output.emit_json(
            "affidavit.init/1",
            {"data": layout.root, "name": wanted.name, "shards": wanted.shards, "made": made, "changed": bool(made)},
        )
        return
    if not made:
        output.say(f"{layout.root} is complete already; nothing was changed.")
        return
    for line in made:
        output.say(f"made {line}")
    output.say(
        f"\nNext:\n  affidavit up --data {layout.root}\n"
        f"  affidavit token create --data {layout.root} --tenant TENANT --gateway GATEWAY\n"
        f"Back up {layout.kek.parent} now, apart from the rest: without the key-encryption key nothing can be read.\n"
        f"Give auditors {layout.verifier_key}, by a way that this machine's administrators do not control."
    )


@keys.command("init")
def keys_init(data: options.Data = None, as_json: options.Json = False) -> None:
    """Make the keys that are missing: the key-encryption key and the signing key. Never overwrites one.

    Example:

    \b
      affidavit keys init --data /srv/affidavit
    """
    init(data, None, None, as_json)


@keys.command("show")
def keys_show(data: options.Data = None, as_json: options.Json = False) -> None:
    """Show the public half of the signing key: what an auditor pins, and its fingerprint to compare by telephone.

    Example:

    \b
      affidavit keys show --data /srv/affidavit
    """
    from affidavit.custody import signing_key
    from affidavit.deployment import require_initialised
    from affidavit.settings import data_directory, load
    from signer.keyfile import show_key
    from stores.keys.kek import FileKek

    layout = require_initialised(data_directory(data))
    settings = load(layout)
    shown = show_key(signing_key(layout, settings), settings.deployment.name)
    kek = FileKek(layout.kek).kek_id
    if as_json:
        output.emit_json(
            "affidavit.keys/1", {"verifier_key": shown.vkey, "fingerprint": shown.fingerprint, "kek_id": kek}
        )
        return
    output.emit(shown.vkey)
    output.say(f"fingerprint         {shown.fingerprint}\nkey-encryption key  {kek}")
