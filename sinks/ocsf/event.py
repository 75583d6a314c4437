"""A record as an event of OCSF 1.8.0: class API Activity (6003) with the profiles ``ai_operation`` and
``security_control``. Pure.

Attributes and numbers are those of https://schema.ocsf.io/1.8.0/classes/api_activity. What OCSF has no place for is in
``unmapped``; so is the profile ``record_integrity`` of OCSF 1.9, as it is defined there: SHA-256 over the event in
canonical JSON (RFC 8785) without the fingerprint itself. There is no floating-point number in an event, and the keys
are ASCII, so that sorted compact JSON *is* its canonical form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from schemas.metadata import Metadata
from sinks.description import Description

VERSION = "1.8.0"
CLASS, CATEGORY = 6003, 6
PROFILES = ("ai_operation", "security_control")

CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
_NAMES = {CREATE: "Create", READ: "Read", UPDATE: "Update", DELETE: "Delete", OTHER: "Other"}
USER, ASSISTANT, TOOL, AGENT, RETRIEVER, OTHER_ROLE = 1, 2, 3, 4, 6, 99
_ROLES = {
    "prompt": (USER, "User"),
    "response": (ASSISTANT, "Assistant"),
    "tool_call": (TOOL, "Tool"),
    "tool_result": (TOOL, "Tool"),
    "context": (RETRIEVER, "Retriever"),
}
ALLOWED, DENIED = 1, 2
BLOCKED = 2
"""``disposition_id``."""
INFORMATIONAL, MEDIUM, HIGH = 1, 3, 4
_SEVERITIES = {INFORMATIONAL: "Informational", MEDIUM: "Medium", HIGH: "High"}
SUCCESS, FAILURE = 1, 2
SHA_256 = 3
HEX, JCS = 1, 2


def encode(description: Description, deployment: str, version: str, *, content: bool) -> bytes:
    """The event as canonical JSON.

    Args:
        description: of the record.
        deployment: name of the deployment: whose ledger it is.
        version: of Affidavit.
        content: whether the content goes along, as ``raw_data``.
    """
    event = _event(description, deployment, version)
    if content and description.content:
        text = description.content.decode("utf-8", "replace")
        event["raw_data"] = text
        event["raw_data_size"] = len(description.content)
        digest = hashlib.sha256(description.content).hexdigest()
        event["raw_data_hash"] = {"algorithm_id": SHA_256, "algorithm": "SHA-256", "value": digest}
    message = description.message
    attestation: dict[str, Any] = {
        "uid": f"{message.shard}@{message.offset}",
        "authority_uid": deployment,
        "chain_uid": str(message.shard),
    }
    event["unmapped"]["attestation_list"] = [attestation]
    fingerprint = hashlib.sha256(canonical(event)).hexdigest()
    attestation["fingerprint"] = {
        "algorithm_id": SHA_256,
        "algorithm": "SHA-256",
        "encoding_id": HEX,
        "serialization_id": JCS,
        "value": fingerprint,
    }
    return canonical(event)


def canonical(event: Mapping[str, Any]) -> bytes:
    """RFC 8785, for events as they are made here."""
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def _event(description: Description, deployment: str, version: str) -> dict[str, Any]:
    metadata, kind = description.metadata, description.metadata["kind"]
    activity = _activity(metadata)
    severity = HIGH if metadata["outcome"] == "blocked" else MEDIUM if metadata["dlp_verdict"] else INFORMATIONAL
    event: dict[str, Any] = {
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": _NAMES[activity],
        "type_uid": CLASS * 100 + activity,
        "type_name": f"API Activity: {_NAMES[activity]}",
        "time": description.time_us // 1000,
        "severity_id": severity,
        "severity": _SEVERITIES[severity],
        "metadata": _metadata(description, deployment, version),
        "actor": _actor(metadata),
        "api": _api(metadata),
        "src_endpoint": _endpoint(metadata),
        "unmapped": {"affidavit": _unmapped(description)},
    }
    event |= _model(metadata, kind)
    event |= _control(metadata)
    event |= _status(metadata)
    if metadata["http_status"] is not None:
        event["http_response"] = {"code": metadata["http_status"]}
    if metadata["user_agent"]:
        event["http_request"] = {"user_agent": metadata["user_agent"]}
    if metadata["started_at"] is not None:
        event["start_time"] = metadata["started_at"] // 1000
    if metadata["ended_at"] is not None:
        event["end_time"] = metadata["ended_at"] // 1000
    return event


def _metadata(description: Description, deployment: str, version: str) -> dict[str, Any]:
    metadata = description.metadata
    return _without_nothing(
        {
            "version": VERSION,
            "profiles": list(PROFILES),
            "product": {"name": "Affidavit", "vendor_name": "Affidavit", "version": version, "uid": deployment},
            "uid": description.event_id,
            "sequence": description.message.offset,
            "logged_time": description.message.time_ms,
            "original_time": description.fields.get("occurred_at", ""),
            "tenant_uid": metadata["tenant"],
            "correlation_uid": metadata["exchange_id"] or metadata["session_id"] or metadata["trace_id"],
            "event_code": metadata["kind"],
            "log_name": str(description.message.shard),
            "log_provider": metadata["gateway"],
            "log_version": metadata["gateway_version"],
            "labels": list(metadata["tags"]),
        }
    )


def _actor(metadata: Metadata) -> dict[str, Any]:
    user = _without_nothing(
        {
            "uid": metadata["user_id"] or metadata["end_user_id"] or metadata["service_account"],
            "name": metadata["user_name"] or metadata["user_email"] or metadata["user_id"] or metadata["end_user_id"],
            "email_addr": metadata["user_email"],
            "credential_uid": metadata["api_key_id"],
            "groups": [{"name": name} for name in metadata["groups"]],
            "org": {"uid": metadata["org_id"]} if metadata["org_id"] else None,
        }
    )
    actor: dict[str, Any] = {}
    if "uid" in user or "name" in user:
        actor["user"] = user
    if metadata["session_id"]:
        actor["session"] = {"uid": metadata["session_id"]}
    if metadata["agent_name"]:
        actor["app_name"] = metadata["agent_name"]
    return actor or {"app_name": metadata["gateway"] or "unknown"}


def _api(metadata: Metadata) -> dict[str, Any]:
    tool = metadata["tool_name"] if metadata["kind"] in ("tool_call", "tool_result") else ""
    service = metadata["tool_server"] or metadata["provider"] if tool else metadata["provider"] or metadata["endpoint"]
    api: dict[str, Any] = {"operation": tool or metadata["operation"] or metadata["kind"] or "unknown"}
    if service:
        api["service"] = {"name": service}
    request = metadata["call_id"] if tool else metadata["request_id_provider"] or metadata["request_id_gateway"]
    if request:
        api["request"] = {"uid": request}
    error = _without_nothing({"error": metadata["error_code"], "error_message": metadata["error_message"]})
    if metadata["http_status"] is not None or error:
        api["response"] = error | ({"code": metadata["http_status"]} if metadata["http_status"] is not None else {})
    return api


def _endpoint(metadata: Metadata) -> dict[str, Any]:
    found = _without_nothing({"ip": metadata["client_ip"], "uid": metadata["device_id"]})
    return found or {"name": "unknown"}


def _model(metadata: Metadata, kind: str) -> dict[str, Any]:
    """The profile ``ai_operation``."""
    name = metadata["model_served"] or metadata["model_routed"] or metadata["model_requested"]
    role, caption = _ROLES.get(kind, (OTHER_ROLE, "Other"))
    context: dict[str, Any] = _without_nothing(
        {"uid": metadata["session_id"] or metadata["conversation_id"], "name": metadata["conversation_id"]}
    )
    context |= {"ai_role_id": role, "ai_role": caption}
    context["application"] = {"name": metadata["agent_name"] or metadata["gateway"] or "unknown"}
    for ours, theirs in (
        ("input_tokens", "prompt_tokens"),
        ("output_tokens", "completion_tokens"),
        ("total_tokens", "total_tokens"),
    ):
        if metadata[ours] is not None:  # type: ignore[literal-required]
            context[theirs] = metadata[ours]  # type: ignore[literal-required]
    made: dict[str, Any] = {"message_context": context}
    if name:
        made["ai_model"] = {"name": name, "ai_provider": metadata["provider"] or "unknown"}
    return made


def _control(metadata: Metadata) -> dict[str, Any]:
    """The profile ``security_control``: whether something let it pass."""
    if not (metadata["outcome"] == "blocked" or metadata["guardrail_name"] or metadata["policy_id"]):
        return {}
    blocked = metadata["outcome"] == "blocked"
    policy = _without_nothing(
        {
            "name": metadata["guardrail_name"],
            "uid": metadata["policy_id"],
            "version": metadata["policy_version"],
            "type": metadata["guardrail_mode"],
        }
    )
    return {
        "action_id": DENIED if blocked else ALLOWED,
        "action": "Denied" if blocked else "Allowed",
        "disposition_id": BLOCKED if blocked else ALLOWED,
        "disposition": "Blocked" if blocked else "Allowed",
    } | ({"policy": policy} if policy.keys() & {"name", "uid", "type"} else {})


def _status(metadata: Metadata) -> dict[str, Any]:
    outcome = metadata["outcome"]
    if not outcome:
        return {}
    good = outcome in ("ok", "partial")
    return _without_nothing(
        {
            "status_id": SUCCESS if good else FAILURE,
            "status": "Success" if good else "Failure",
            "status_code": outcome,
            "status_detail": metadata["error_message"] or metadata["stop_reason"],
        }
    )


def _activity(metadata: Metadata) -> int:
    if metadata["kind"] == "context":
        return READ
    if metadata["kind"] in ("prompt", "response", "tool_call"):
        return CREATE
    return OTHER


def _unmapped(description: Description) -> dict[str, Any]:
    """All that there is, under its own name; numbers that are not whole as text."""
    return {name: str(value) if isinstance(value, float) else value for name, value in description.fields.items()}


def _without_nothing(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", None, [], {})}
