"""What the application puts on its own log, in the words of :class:`collector.internal.Act`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from affidavit import version
from collector.internal import SYSTEM, Act
from schemas.parts import PART_NAMES
from signer.succession import LogChange
from stores.control import Token

if TYPE_CHECKING:
    from retention.entries import Entry
    from sinks.clickhouse.interface import Access
    from stores.keys.grant import Grant

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


def logs_changed(change: LogChange) -> list[Act]:
    """A log was opened, and the one before it closed."""
    shard = str(change.shard)
    opened = {"origin": change.opened, "shard": shard, "start_offset": change.start_offset, "reason": change.reason}
    acts = [Act("log.open", "admin", "signer", "system", details=opened | {"previous": change.closed})]
    if change.closed:
        closed = {"origin": change.closed, "shard": shard, "size": change.closed_size, "reason": change.reason}
        acts.insert(0, Act("log.close", "admin", "signer", "system", details=closed | {"next": change.opened}))
    return acts


def log_succeeded(shard: str, origin: str, reason: str, wrong: str, operator: str) -> Act:
    """A person is about to close a log and open the next."""
    details = {"shard": shard, "origin": origin, "reason": reason, "found": wrong}
    return Act("log.succeed", "admin", operator, details=details)


def token_created(token: Token, operator: str) -> Act:
    """A token is about to become valid."""
    return Act("token.create", "admin", operator, tenant=_tenant(token), details=_described(token))


def token_revoked(token: Token, operator: str) -> Act:
    """A token is about to be revoked."""
    return Act("token.revoke", "admin", operator, tenant=_tenant(token), details=_described(token))


def directory_loaded(sha256: str, tenant: str, counts: dict[str, int], operator: str) -> Act:
    """A directory of people is about to come into force. ``tenant`` ``*``: for all without one of their own."""
    facts = {"sha256": sha256, "directory_tenant": tenant, **counts}
    whose = SYSTEM if tenant == "*" else tenant
    return Act("directory.load", "admin", operator, tenant=whose, details=facts, extras=facts)


def key_rotated(before: str, after: str, reason: str, operator: str) -> Act:
    """The signing key is another from now on; both by their fingerprints."""
    return Act("keys.rotate", "admin", operator, details={"from": before, "to": after, "reason": reason})


def bundle_exported(selection: str, records: int, note: str, tenant: str, operator: str) -> Act:
    """Records are about to leave in the clear, as an evidence bundle."""
    details = {"selection": selection, "records": records, "note": note, "export_tenant": tenant}
    return Act("export.bundle", "access", operator, tenant=tenant or SYSTEM, details=details)


def register_entered(entry: Entry, tenant: str, sealed: bool) -> Act:
    """Something is about to happen to a matter or a hold. Of a sealed matter only that it does, and to which."""
    names = {name: entry.details[name] for name in ("matter", "hold") if name in entry.details}
    facts = {"number": entry.number, "token_id": entry.token_id, **names}
    details = dict(facts) if sealed else {**facts, **entry.details}
    whose = SYSTEM if tenant in ("", "*") else tenant
    return Act(entry.what, "admin", entry.by, tenant=whose, details=details, extras=facts)


def declined(what: str, names: Mapping[str, str], actor: str, token_id: str, reason: str, tenant: str) -> Act:
    """Somebody asked for a change of matters or holds, and it was declined. ``reason`` is ``""`` of sealed matters."""
    facts = {"token_id": token_id, **names}
    details = {**facts, "reason": reason}
    return Act(what, "admin", actor, tenant=tenant or SYSTEM, outcome="blocked", details=details, extras=facts)


def letters_retried(sink: str, places: Sequence[str], operator: str) -> Act:
    """Records that a sink had rejected are about to be delivered to it again."""
    return Act("deadletter.retry", "admin", operator, details={"sink": sink, "records": list(places)})


def records_resent(sink: str, shard: str, count: int, operator: str) -> Act:
    """Records that a destination lacks are about to be delivered to it again."""
    return Act("sink.resend", "admin", operator, details={"sink": sink, "shard": shard, "records": count})


def keys_exported(grant: Grant, operator: str, count: int, digest: str, note: str) -> Act:
    """Subject keys are about to be handed out. ``digest`` names them: see :func:`affidavit.grants.key_ids_digest`."""
    details = {
        "tenant": grant.tenant,
        "subject": grant.subject,
        "month": grant.month,
        "part_types": [PART_NAMES.get(one, str(one)) for one in grant.part_types] or None,
        "keys": count,
        "key_ids_sha256": digest,
        "note": note,
    }
    return Act("keys.export", "access", operator, tenant=grant.tenant, details=details)


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
        "person": token.person,
        "scopes": list(token.scopes),
        "expires_ms": token.expires_ms,
        "note": token.note,
    }
