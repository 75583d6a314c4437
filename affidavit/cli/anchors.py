"""``anchors``: what vouches for the ledger from outside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from affidavit.cli import exits, options, output

anchors = typer.Typer(help="What vouches for the ledger from outside.", no_args_is_help=True)


@anchors.command("list")
def list_anchors(data: options.Data = None, as_json: options.Json = False) -> None:
    """Show each anchor of the settings, and the largest head of the anchor log that it has vouched for.

    Example:

    \b
      affidavit anchors list
    """
    from affidavit.anchored import newest_evidence
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring

    layout = data_directory(data)
    settings = load(layout)
    with Wiring(layout, settings) as wiring:
        rows = newest_evidence(wiring.control, wiring.objects, settings)
    if as_json:
        output.emit_json("affidavit.anchors/1", {"anchors": [row._asdict() for row in rows]})
        return
    output.table(
        ("anchor", "kind", "vouched for", "of leaves", "as of", "where"),
        [
            (
                row.name,
                row.kind,
                f"{row.size:,}" if row.size else "nothing yet",
                f"{row.log_size:,}",
                datetime.fromtimestamp(row.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if row.time_ms else "",
                row.where,
            )
            for row in rows
        ],
        right=(2, 3),
    )
    if not rows:
        output.say(
            "No anchor is configured: nobody outside vouches for this ledger. Add a section [anchors.NAME] to "
            "affidavit.toml (docs/anchors.md)."
        )


@anchors.command("test")
def attest(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which section [anchors.NAME].", show_default=False)],
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Have one anchor vouch for the newest head now, verify what it gives, and keep it.

    Example:

    \b
      affidavit anchors test digicert
    """
    from affidavit.anchored import attest_now
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring

    layout = data_directory(data)
    settings = load(layout)
    with Wiring(layout, settings) as wiring:
        done = attest_now(wiring.control, wiring.objects, settings, wiring.signing_key.public_key, name)
    if as_json:
        output.emit_json("affidavit.anchor-test/1", done._asdict())
        return exits.DONE
    moment = datetime.fromtimestamp(done.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    output.say(f"{done.kind} {done.name} vouches for {done.origin} at size {done.size:,}, seen at {moment}: verified")
    return exits.DONE


@anchors.command("policy")
def policy(data: options.Data = None, as_json: options.Json = False) -> None:
    """Print the policy (tlog-policy) that asks for every witness of the settings and one of its authorities.

    Read it, change what you see otherwise, and give it to verifiers by a way that this machine's administrators do not
    control; what an auditor uses is the auditor's own. In the data directory, as the file policy, it is the default.

    Example:

    \b
      affidavit anchors policy > /srv/affidavit/policy
    """
    from affidavit.anchoring import deployment_keys, make_policy
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring
    from signer.policy import format_policy
    from signer.trust import Trust

    layout = data_directory(data)
    settings = load(layout)
    with Wiring(layout, settings) as wiring:
        keys = deployment_keys(wiring.control, wiring.signing_key.public_key)
        made = make_policy(settings, Trust(settings.deployment.name, tuple(keys)))
    text = format_policy(made).decode()
    if as_json:
        output.emit_json("affidavit.policy/1", {"policy": text, "demands": made.demands()})
        return
    output.emit(text.rstrip("\n"))
    output.say(f"it demands {made.demands()}")
