"""What agentgateway calls things: the attributes that its spans, its OTLP log records and its access log share.

Source: agentgateway 75b4e6ce, ``crates/agentgateway/src/telemetry/log.rs``. It verifies the token whose subject it
names; it counts retries, not attempts; it names the MCP server that it chose a *target*.
"""

from __future__ import annotations

from typing import Any

from collector.gateways.access_log import host_of
from collector.gateways.genai_attributes import count, prefer
from collector.gateways.otlp_telemetry import Group, Telemetry
from schemas.metadata import Metadata

SCOPES = ("agentgateway", "agentgateway.access")
"""Of its spans, and of its access log over OTLP."""

_SUBJECT = "jwt.sub"
_FLATTENED = ("llm.prompt.", "llm.completion.")
_RENAMED = {
    "http.status": "http.response.status_code",
    "mcp.target": "mcp.server.name",
    "mcp.error.code": "error.code",
    "mcp.error.message": "exception.message",
    "error": "exception.message",
    "gen_ai.usage.input_audio_tokens": "gen_ai.usage.audio.input_tokens",
    "gen_ai.usage.output_audio_tokens": "gen_ai.usage.audio.output_tokens",
    "agw.ai.time_to_first_token": "gen_ai.response.time_to_first_chunk",
    "agw.ai.usage.cost.total": "gen_ai.usage.cost",
    "llm.prompt": "gen_ai.prompt",
    "llm.completion": "gen_ai.completion",
}
"""Its own names, and those of the expressions that operators copy from its documentation, in the conventions'."""


def speaks_agentgateway(telemetry: Telemetry, group: Group) -> bool:
    """Whether a span or log record comes from it: by its scope, or by an attribute of its own."""
    return group.scope_name in SCOPES or any(name.startswith("agw.") for name in telemetry.attributes)


def adopt(attributes: dict[str, Any]) -> Metadata:
    """Give attributes the conventions' names; return the fields that have none there. The gateway verified the token
    whose subject it names."""
    known: Metadata = {}
    for own, name in _RENAMED.items():
        if own in attributes and name not in attributes:
            attributes[name] = attributes.pop(own)
    for own in [name for name in attributes if name.startswith(_FLATTENED)]:
        attributes["gen_ai." + own.removeprefix("llm.")] = attributes.pop(own)
    if isinstance(attributes.get(_SUBJECT), str) and attributes[_SUBJECT] not in ("", "-"):
        known |= {"user_id": attributes.pop(_SUBJECT), "user_id_kind": "jwt_subject"}
        known["assurance"] = "gateway_authenticated"
    address = host_of(attributes.get("src.addr"))
    if address:
        known["client_ip"] = address
    retries = count(attributes.get("retry.attempt"))
    if retries is not None:
        known["attempt"] = retries + 1
    return known


def settle_known(telemetry: Telemetry, base: Metadata, known: Metadata) -> None:
    """Put what :func:`adopt` found into the metadata of a span or log record."""
    for name, value in known.items():
        prefer(base, name, value, telemetry.attributes)
