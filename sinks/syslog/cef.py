"""A record in ArcSight's Common Event Format (CEF), version 0. Pure.

Keys and lengths are those of "Implementing ArcSight Common Event Format" (Micro Focus, version 25): in the header ``|``
and ``\\`` are escaped, in the extension ``=``, ``\\`` and line ends; custom strings and numbers come with their labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sinks.description import Description

VENDOR = PRODUCT = "Affidavit"
NAME_LENGTH = 512
TEXT_LENGTH = 1023
CUSTOM_LENGTH = 4000
LOW, MEDIUM, HIGH = 2, 5, 8

_NAMES = {
    "prompt": "Prompt to a model",
    "response": "Response of a model",
    "tool_call": "Tool call",
    "tool_result": "Tool result",
    "context": "Document in context",
    "guardrail": "Verdict of a guardrail",
    "session": "Session",
    "admin": "Change of the audit log",
    "access": "Access to the audit log",
    "unparsed": "Something that could not be read",
}


def encode(description: Description, version: str, *, content: bool) -> str:
    """One line of CEF.

    Args:
        description: of the record.
        version: of Affidavit.
        content: whether the beginning of the content goes along, as ``msg``.
    """
    metadata = description.metadata
    kind = metadata["kind"] or "unknown"
    signature = f"{kind}:{metadata['operation']}" if metadata["operation"] else kind
    head = (VENDOR, PRODUCT, version, signature, _NAMES.get(kind, kind)[:NAME_LENGTH], str(severity(description)))
    return "CEF:0|" + "|".join(map(_header, head)) + "|" + " ".join(_extension(description, content))


def severity(description: Description) -> int:
    """0 to 10."""
    if description.metadata["outcome"] == "blocked":
        return HIGH
    if (
        description.metadata["dlp_verdict"]
        or description.metadata["outcome"] == "error"
        or description.metadata["kind"] == "unparsed"
    ):
        return MEDIUM
    return LOW


def _extension(description: Description, content: bool) -> Iterator[str]:
    metadata = description.metadata
    user = metadata["user_email"] or metadata["user_id"] or metadata["end_user_id"] or metadata["service_account"]
    plain: Mapping[str, Any] = {
        "rt": description.message.time_ms,
        "start": description.time_us // 1000,
        "externalId": description.event_id,
        "deviceExternalId": f"{description.message.shard}@{description.message.offset}",
        "dvchost": metadata["gateway"],
        "suser": user,
        "suid": metadata["user_id"],
        "src": metadata["client_ip"],
        "shost": metadata["device_id"],
        "requestClientApplication": metadata["user_agent"],
        "request": metadata["endpoint"],
        "dhost": metadata["tool_server"] or metadata["provider"],
        "act": metadata["guardrail_action"] or metadata["tool_decision"],
        "outcome": metadata["outcome"],
        "reason": metadata["error_message"] or metadata["stop_reason"],
        "in": metadata["input_tokens"],
        "out": metadata["output_tokens"],
    }
    for key, value in plain.items():
        if value not in ("", None):
            yield f"{key}={_value(str(value)[:TEXT_LENGTH])}"
    model = metadata["model_served"] or metadata["model_routed"] or metadata["model_requested"]
    custom = (
        ("cs1", "tenant", metadata["tenant"]),
        ("cs2", "session", metadata["session_id"]),
        ("cs3", "model", model),
        ("cs4", "tool", metadata["tool_name"]),
        ("cs5", "policy", metadata["guardrail_name"] or metadata["policy_id"]),
        ("cs6", "leaf", description.fields["leaf"]),
        ("cn1", "HTTP status", metadata["http_status"]),
        ("cn2", "total tokens", metadata["total_tokens"]),
    )
    for key, label, value in custom:
        if value not in ("", None):
            yield f"{key}={_value(str(value)[:CUSTOM_LENGTH])} {key}Label={label}"
    if content and description.content:
        text = description.content.decode("utf-8", "replace")
        whole = len(text) <= TEXT_LENGTH
        yield f"msg={_value(text if whole else text[: TEXT_LENGTH - 1] + '…')}"
        if not whole:
            yield f"cn3={len(description.content)} cn3Label=content bytes, shortened here"


def _header(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").splitlines())


def _value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("=", "\\=")
    return escaped.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\r").replace("\x00", "")
