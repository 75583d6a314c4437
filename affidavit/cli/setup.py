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


@keys.command("rotate")
def keys_rotate(
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only show what would be done.")] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Change the signing key: close every open log where it ends, and open the next under the new key.

    Stop the signers first. What the old key signed stays verifiable with the old verifier key, which stays in the
    list; give auditors the new list. Cut short at any point, it goes on when it is run again. If the old key may be in
    other hands, revoke it in the policy as well (docs/key-custody.md): what it signed counts then only where an anchor
    vouched for it before.

    Example:

    \b
      affidavit keys rotate
      affidavit keys rotate --reason "yearly, ticket 4711" --yes
    """
    import asyncio

    from affidavit.acts import key_rotated, logs_changed
    from affidavit.anchoring import deployment_keys
    from affidavit.cli import exits
    from affidavit.lock import SIGNER, running
    from affidavit.rotation import plan_rotation, replace_key, write_verifier_keys
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring
    from collector.internal import operator
    from schemas.errors import ConfigurationError
    from signer.clock import wall_clock
    from signer.keyfile import fingerprint
    from signer.loop import schema_fingerprints
    from signer.repair import KEY_ROTATION, close_and_open_next
    from signer.startup import Stores

    layout = data_directory(data)
    settings = load(layout)
    with Wiring(layout, settings) as wiring:
        plan = plan_rotation(wiring.control, wiring.signing_key, settings)
        if not yes:
            words = "a new key is made, and " if plan.makes_key else ""
            shards = ", ".join(map(str, plan.succeeds)) or "no shard"
            if as_json:
                fields = {"makes_key": plan.makes_key, "shards": [str(one) for one in plan.succeeds], "done": False}
                output.emit_json("affidavit.keys-rotate/1", fields)
            else:
                output.say(f"{words}the logs of {shards} are closed and followed; with --yes it is done")
            return exits.DONE
        other = running(layout, SIGNER)
        if other is not None:
            raise ConfigurationError(f"process {other.pid} (affidavit {other.command}) signs: stop it first")
        old = wiring.signing_key
        former = str(replace_key(layout, settings, old)) if plan.makes_key else ""
    with Wiring(layout, settings) as wiring:
        new, name = wiring.signing_key, settings.deployment.name
        stores = Stores(wiring.control, wiring.objects, new)

        async def work() -> list[str]:
            audit = wiring.audit()
            await audit.record(
                key_rotated(fingerprint(old.public_key), fingerprint(new.public_key), reason, operator())
            )
            opened = []
            for shard in plan.succeeds:
                change = await close_and_open_next(
                    wiring.existing_bus,
                    stores,
                    name,
                    shard,
                    KEY_ROTATION,
                    wall_clock(),
                    schemas=schema_fingerprints(),
                )
                await audit.record(*logs_changed(change))
                opened.append(change.opened)
            return opened

        opened = asyncio.run(work())
        keys_now = deployment_keys(wiring.control, new.public_key)
        lines = write_verifier_keys(layout, name, new, keys_now[1:])
    if as_json:
        fields = {"opened": opened, "former_key": former or None, "verifier_keys": lines, "done": True}
        output.emit_json("affidavit.keys-rotate/1", fields)
        return exits.DONE
    for origin in opened:
        output.say(f"opened {origin}")
    output.emit("\n".join(lines))
    output.say(f"fingerprint of the new key  {fingerprint(new.public_key)}")
    if former:
        output.say(f"The old key lies in {former}: nothing needs it any more. Destroy it, and its backups.")
    return exits.DONE
