"""OpenAI's audit log of an organisation: pages of entries, or entries one after another.

Each entry is one ``admin`` event. Its details lie under a key that is the entry's type, with the dot
(``"api_key.created": {…}``); some feeds of other products write it with an underscore, and are read as well. They are
kept under the source's own names. The log has acts of administration only: no prompts and no answers.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.lists import read_list
from collector.gateways.times import from_any
from collector.json_units import JsonUnit
from schemas.metadata import Metadata


class OpenAIAuditFormat:
    """See the module."""

    name = "openai-audit"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per entry; its key is the entry's ``id``."""
        return read_list(body, _unit)


def _unit(found: JsonUnit) -> Unit:
    if found.error:
        return Unit(found.source, error=found.error)
    entry = found.value
    if not isinstance(entry, dict) or not all(_is_text(entry.get(name)) for name in ("id", "type")):
        return Unit(found.source, error="got no id and type, expected an entry of OpenAI's audit log")
    return Unit(found.source, entry["id"], [_draft(entry)])


def _draft(entry: dict[str, Any]) -> Draft:
    fields = Fields(entry)
    kind = fields.take_text("type")
    metadata: Metadata = {
        "exchange_id": fields.take_text("id"),
        "operation": kind,
        "provider": "openai",
        "provider_raw": "openai",
        "project_id": fields.part("project").take_text("id"),
    }
    moment = from_any(fields.peek("effective_at"))
    if moment is not None:
        fields.take("effective_at")
        metadata["occurred_at"], metadata["time_precision"] = moment
        metadata["time_role"] = "emit"
    _take_actor(fields.part("actor"), metadata)
    if kind.endswith((".failed", "_failed")):
        details = fields.part(kind if kind in fields else kind.replace(".", "_"))
        metadata["outcome"] = "error"
        metadata["error_code"] = details.take_text("error_code")
        metadata["error_message"] = details.take_text("error_message")
    else:
        for name in (kind, kind.replace(".", "_")):
            fields.part(name)
    metadata["extras"] = fields.leftovers()
    state_gaps(metadata, [])
    return Draft("admin", metadata)


def _take_actor(actor: Fields, metadata: Metadata) -> None:
    """Who did it: somebody in a session, or a key, which belongs to a user or a service account. It may be missing."""
    session, key = actor.part("session"), actor.part("api_key")
    metadata["client_ip"] = session.take_text("ip_address")
    metadata["user_agent"] = session.take_text("user_agent")
    metadata["api_key_id"] = key.take_text("id")
    for holder in (session, key):
        user = holder.part("user")
        metadata["user_id"] = metadata.get("user_id") or user.take_text("id")
        metadata["user_email"] = metadata.get("user_email") or user.take_text("email")
    metadata["service_account"] = key.part("service_account").take_text("id")
    known = metadata["user_id"] or metadata["user_email"] or metadata["api_key_id"] or metadata["service_account"]
    metadata["assurance"] = "provider_authenticated" if known else "unknown"
    if metadata["user_id"]:
        metadata["user_id_kind"] = "openai_user"
    if metadata["service_account"]:
        metadata["actor_type"] = "service"
    elif metadata["user_id"] or metadata["user_email"]:
        metadata["actor_type"] = "user"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
