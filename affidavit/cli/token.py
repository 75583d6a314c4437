"""``token``: who may send, and who may read."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import exits, options, output
from affidavit.holds.scopes import PERSON_SCOPES

if TYPE_CHECKING:
    from stores.control import Token

tokens = typer.Typer(help="Bearer tokens: who may send, and who may read.", no_args_is_help=True)

SCOPES = ("ingest", "query", "content", *PERSON_SCOPES)


@tokens.command("create")
def create(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose records it sends or reads; * reads all.")],
    gateway: Annotated[str, typer.Option("--gateway", help="Name of the sender, e.g. litellm-eu-1.")] = "",
    person: Annotated[
        str, typer.Option("--person", help="Who uses it, e.g. ada@example.com; for matters and holds.")
    ] = "",
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="ingest, query (metadata) or content; of a person: hold, approve, early, sealed, policy. Repeat for "
            "several. Default: ingest.",
        ),
    ] = [],  # noqa: B006  typer copies it
    expires: Annotated[str, typer.Option("--expires", help="never, 90d, 12h, 8w, or a date.")] = "never",
    note: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Make a token and print it, once: only its hash is kept.

    A sender can write records of its own tenant only, whatever its bodies say. The creation is itself on the log.

    A person's token says who places a hold and who approves its release: hold places holds and asks for their
    release, approve approves what somebody else asked for, early ends the delay of a release before its time, sealed
    shows sealed matters of others, policy applies retention policies. Give each person one of their own.

    Example:

    \b
      affidavit token create --tenant acme --gateway litellm-eu-1 --expires 90d
      affidavit token create --tenant acme --person ada@example.com --scope hold --expires 365d
    """
    from affidavit.admin import Operator
    from affidavit.expiry import parse_expiry
    from collector.auth import mint_token
    from schemas.errors import MalformedInput

    scope = scope or ["ingest"]
    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise MalformedInput(f"got scope {', '.join(unknown)}, expected {', '.join(SCOPES)}")
    if bool(person.strip()) != any(one in PERSON_SCOPES for one in scope):
        raise MalformedInput(
            f"--person goes with a scope of {', '.join(PERSON_SCOPES)}, and such a scope with --person"
        )
    if person and set(scope) - set(PERSON_SCOPES):
        raise MalformedInput("a person's token is for matters and holds alone: make another one for sending or reading")
    if "ingest" in scope and (not gateway or tenant == "*"):
        raise MalformedInput("a token that sends needs --gateway, and one --tenant that is not *")
    if not tenant.strip():
        raise MalformedInput("got an empty tenant, expected a name")
    until = parse_expiry(expires, datetime.now(UTC))
    minted = mint_token(
        tenant,
        gateway,
        tuple(name for name in SCOPES if name in scope),
        now_ms=time.time_ns() // 1_000_000,
        expires_ms=int(until.timestamp() * 1000) if until else None,
        note=note,
        person=person.strip(),
    )
    with Operator.at(data) as operator:
        operator.add_token(minted.row)
    if as_json:
        output.emit_json("affidavit.token/1", {"token": minted.text, **_described(minted.row)})
        return
    output.emit(minted.text)
    output.say(
        f"token {minted.row.token_id} of {person or f'tenant {tenant}'}: {', '.join(minted.row.scopes)}, "
        f"expires {until.isoformat(timespec='minutes') if until else 'never'}; it is not shown again"
    )


@tokens.command("list")
def show(data: options.Data = None, as_json: options.Json = False) -> None:
    """List the tokens: ids, tenants, gateways, scopes, and whether they still work. Never a secret.

    Example:

    \b
      affidavit token list
    """
    from affidavit.admin import Operator

    with Operator.at(data) as operator:
        found = [_described(token) for token in operator.tokens()]
    if as_json:
        output.emit_json("affidavit.tokens/1", {"tokens": found})
        return
    output.table(
        ("token", "tenant", "of", "scopes", "state", "created", "expires", "note"),
        [
            (
                one["token_id"],
                one["tenant"],
                one["gateway"] or one["person"],
                ", ".join(one["scopes"]),
                one["state"],
                _date(one["created_ms"]),
                _date(one["expires_ms"]) if one["expires_ms"] else "never",
                one["note"],
            )
            for one in found
        ],
    )


@tokens.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, as token list shows it.")],
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Revoke a token. Collectors notice within five seconds. The revocation is itself on the log.

    Example:

    \b
      affidavit token revoke 3f9a1c2b7d10
    """
    from affidavit.admin import Operator

    with Operator.at(data) as operator:
        known = operator.revoke_token(token_id)
    if as_json:
        output.emit_json("affidavit.token-revoked/1", {"token_id": token_id, "revoked": known})
    else:
        output.say(
            f"token {token_id} is revoked" if known else f"there is no token {token_id}: see affidavit token list"
        )
    return exits.DONE if known else exits.USAGE


def _described(token: Token) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    expired = token.expires_ms is not None and token.expires_ms <= now_ms
    return {
        "token_id": token.token_id,
        "tenant": token.tenant,
        "gateway": token.gateway,
        "person": token.person,
        "scopes": list(token.scopes),
        "state": "revoked" if token.revoked_ms is not None else "expired" if expired else "valid",
        "created_ms": token.created_ms,
        "expires_ms": token.expires_ms,
        "revoked_ms": token.revoked_ms,
        "note": token.note,
    }


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")
