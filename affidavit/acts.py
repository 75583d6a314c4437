"""What the application puts on its own log, in the words of :class:`collector.internal.Act`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from affidavit import version
from collector.internal import SYSTEM, Act
from stores.control import Token

if TYPE_CHECKING:
    from sinks.clickhouse.interface import Access

OUTCOMES: dict[str, Literal["ok", "error", "blocked"]] = {
    "ok": "ok",
    "denied": "blocked",
    "malformed": "error",
    "error": "error",
}


def process_started(roles: Sequence[str], command: str) -> Act:
    """A process began to run roles."""
    details = {"roles": list(roles), "command": command, "version": version()}
    return Act("component.start", "session", SYSTEM, "system", details=details)


def process_stopped(roles: Sequence[str], reason: str) -> Act:
    """A process is about to stop them. A start without a stop before it is a crash."""
    return Act("component.stop", "session", SYSTEM, "system", details={"roles": list(roles), "reason": reason})


def token_created(token: Token, operator: str) -> Act:
    """A token is about to become valid."""
    return Act("token.create", "admin", operator, tenant=_tenant(token), details=_described(token))


def token_revoked(token: Token, operator: str) -> Act:
    """A token is about to be revoked."""
    return Act("token.revoke", "admin", operator, tenant=_tenant(token), details=_described(token))


def recorded_access(access: Access) -> Act | None:
    """The act of a query, if it is one that the log must hold: it read content, or was refused.

    Queries of metadata alone are not recorded: a dashboard asks them every few seconds for ever.
    """
    if access.outcome == "denied":
        operation = "query.refused"
    elif access.content:
        operation = "content.read"
    else:
        return None
    return Act(
        operation,
        "access",
        access.token.token_id,
        "service",
        tenant=_tenant(access.token),
        outcome=OUTCOMES[access.outcome],
        details={
            "query": access.query,
            "tables": list(access.tables),
            "milliseconds": round(access.milliseconds, 3),
            "token_note": access.token.note,
        },
    )


def _tenant(token: Token) -> str:
    """A token for all tenants concerns the deployment."""
    return SYSTEM if token.tenant == "*" else token.tenant


def _described(token: Token) -> dict[str, object]:
    return {
        "token_id": token.token_id,
        "tenant": token.tenant,
        "gateway": token.gateway,
        "scopes": list(token.scopes),
        "expires_ms": token.expires_ms,
        "note": token.note,
    }
