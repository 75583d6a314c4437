"""The activity feed of Anthropic's Compliance API: pages of activities, or activities one after another.

Each activity is one ``admin`` event, whatever its type: the types are several hundred, and new ones appear. The fields
of a type are kept under the source's own names. The feed has no prompts and no answers.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.lists import read_list
from collector.gateways.times import from_any
from collector.json_units import JsonUnit, encode_content
from schemas.metadata import Metadata


class AnthropicComplianceFormat:
    """See the module."""

    name = "anthropic-compliance"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per activity; its key is the activity's ``id``."""
        return read_list(body, _unit)


def _unit(found: JsonUnit) -> Unit:
    if found.error:
        return Unit(found.source, error=found.error)
    activity = found.value
    if not isinstance(activity, dict) or not all(_is_text(activity.get(name)) for name in ("id", "type")):
        return Unit(found.source, error="got no id and type, expected an activity of the Compliance API")
    return Unit(found.source, activity["id"], [_draft(activity)])


def _draft(activity: dict[str, Any]) -> Draft:
    fields = Fields(activity)
    metadata: Metadata = {
        "exchange_id": fields.take_text("id"),
        "operation": fields.take_text("type"),
        "provider": "anthropic",
        "provider_raw": "anthropic",
        "org_id": fields.take_text("organization_id"),
    }
    chat = fields.take_text("claude_chat_id")
    metadata["session_id"] = metadata["conversation_id"] = chat
    moment = from_any(fields.peek("created_at"))
    if moment is not None:
        stated = fields.take("created_at")
        metadata["occurred_at"], metadata["time_precision"] = moment
        metadata["time_role"] = "emit"
        if moment.precision == "ns":
            metadata["extras"] = {"created_at": encode_content(stated).decode()}
    _take_actor(fields.part("actor"), metadata)
    metadata["extras"] = {**fields.leftovers(), **metadata.get("extras", {})}
    state_gaps(metadata, [])
    return Draft("admin", metadata)


def _take_actor(actor: Fields, metadata: Metadata) -> None:
    """Who did it. ``actor.type`` says which fields there are; an unknown one keeps its fields in extras."""
    kind = actor.peek("type")
    metadata["client_ip"] = actor.take_text("ip_address")
    metadata["user_agent"] = actor.take_text("user_agent")
    metadata["user_id"] = actor.take_text("user_id")
    metadata["user_email"] = actor.take_text("email_address")
    metadata["api_key_id"] = actor.take_text("api_key_id", "admin_api_key_id")
    if metadata["user_id"]:
        metadata["user_id_kind"] = "anthropic_user"
    unchecked = actor.take_text("unauthenticated_email_address")
    if unchecked:
        metadata["user_email"], metadata["assurance"] = unchecked, "client_asserted"
    else:
        metadata["assurance"] = "provider_authenticated" if isinstance(kind, str) and kind in _TYPES else "unknown"
    metadata["actor_type"] = _TYPES.get(kind, "") if isinstance(kind, str) else ""


_TYPES = {
    "user_actor": "user",
    "unauthenticated_user_actor": "user",
    "api_actor": "service",
    "admin_api_key_actor": "service",
    "anthropic_actor": "system",
    "scim_directory_sync_actor": "system",
}
"""``actor.type``, which stays in extras, → the kind of actor."""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
