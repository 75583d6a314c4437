"""LiteLLM's ``generic_api`` callback: StandardLoggingPayload, StandardAuditLogPayload, and the old opaque form.

The three framings (``json_array``, ``ndjson``, ``single``) all come as ``application/json``, so the body says which it
is. A record without a payload arrives as JSON ``null``: LiteLLM could not build it, and that is on record too.
"""

from __future__ import annotations

import hashlib
from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.litellm_exchange import read_exchange
from collector.gateways.litellm_gaps import find_gaps
from collector.gateways.times import from_any
from collector.json_units import encode_content, split_json
from schemas.metadata import Metadata

_EXCHANGE_FIELDS = ("call_type", "litellm_call_id", "custom_llm_provider", "model_parameters", "hidden_params")
_AUDIT_FIELDS = ("action", "table_name", "object_id")
_OPAQUE_FIELDS = ("modelParameters", "call_type")


class LiteLLMFormat:
    """See the module. ``POST /v1/litellm``."""

    name = "litellm"
    light = per_value = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per record."""
        units = split_json(body)
        numbered = enumerate(units, received.first_unit)
        return Reading([_unit(unit.source, unit.value, unit.error, at, received) for at, unit in numbered])


def _unit(source: bytes, record: Any, error: str, index: int, received: Received) -> Unit:
    if error:
        return Unit(source, error=error)
    if record is None:
        where = f"null:{received.body_sha256}:{index}"
        return Unit(
            source, where, error="got null: LiteLLM failed to build the payload of a call; its own log says why"
        )
    if not isinstance(record, dict):
        return Unit(source, error=f"got {type(record).__name__}, expected an object: a StandardLoggingPayload")
    if all(name in record for name in _AUDIT_FIELDS):
        drafts = _read_audit(record)
    elif all(name in record for name in _OPAQUE_FIELDS):
        drafts = _read_opaque(record)
    elif any(name in record for name in _EXCHANGE_FIELDS):
        drafts = read_exchange(record)
    else:
        names = ", ".join(sorted(str(name)[:32] for name in record)[:8])
        return Unit(source, error=f"got an object with {names or 'no fields'}, expected a StandardLoggingPayload")
    for draft in drafts:
        state_gaps(draft.metadata, find_gaps(draft.content, source))
    return Unit(source, _source_id(record), drafts)


def _source_id(record: dict[str, Any]) -> str:
    """``id | litellm_call_id | status | startTime`` (a cache hit has an id of its own); ``""`` where there is no id.

    Retries and fallbacks of one call share its id, so status and start time tell them apart. A record whose parts are
    no scalars has no key; the hash of its bytes stands in.
    """
    if not record.get("id"):
        return ""
    parts = [record.get(name) for name in ("id", "litellm_call_id", "status", "startTime")]
    if not all(part is None or isinstance(part, str | int | float) for part in parts):
        return ""
    key = encode_content(parts)
    return key.decode() if len(key) <= 256 else "sha256:" + hashlib.sha256(key).hexdigest()


def _read_audit(record: dict[str, Any]) -> list[Draft]:
    """A change of a key, team, user …: one ``admin`` event with what it was and what it became."""
    fields = Fields(record)
    metadata: Metadata = {
        "operation": fields.take_text("action"),
        "user_id": fields.take_text("changed_by"),
        "api_key_id": fields.take_text("changed_by_api_key"),
        "request_id_gateway": fields.take_text("id"),
        "outcome": "ok",
        "actor_type": "user",
        "assurance": "gateway_authenticated",
    }
    content = {
        name: fields.take(name)
        for name in ("table_name", "object_id", "before_value", "updated_values")
        if name in fields
    }
    _take_time(fields, "updated_at", metadata)
    metadata["extras"] = fields.leftovers()
    return [Draft("admin", metadata, content)]


def _read_opaque(record: dict[str, Any]) -> list[Draft]:
    """``litellm.generic_api_use_v1``: every value is the ``str()`` of a Python object, so they are kept as text."""
    fields = Fields(record)
    shared: Metadata = {
        "exchange_id": fields.take_text("id"),
        "end_user_id": fields.take_text("user"),
        "model_requested": fields.take_text("model"),
        "api": fields.take_text("call_type"),
        "format_version": "v1",
        "assurance": "client_asserted",
    }
    prompt: Metadata = {**shared}
    _take_time(fields, "startTime", prompt)
    response: Metadata = {**shared, "usage_semantics": "unknown", "usage_raw": _text(fields, "usage")}
    response["cost_raw"] = _text(fields, "cost")
    _take_time(fields, "endTime", response)
    asked = {name: fields.take(name) for name in ("messages", "modelParameters") if name in fields}
    answered = {"response": fields.take("response")} if "response" in fields else None
    prompt["extras"] = fields.leftovers()
    return [Draft("prompt", prompt, asked or None), Draft("response", response, answered)]


def _text(fields: Fields, name: str) -> str:
    value = fields.take(name)
    return "" if value is None else encode_content(value).decode()


def _take_time(fields: Fields, name: str, metadata: Metadata) -> None:
    moment = from_any(fields.peek(name))
    if moment is not None:
        fields.take(name)
        metadata["occurred_at"], metadata["time_precision"] = moment
        metadata["time_role"] = "end" if name == "endTime" else "start"
