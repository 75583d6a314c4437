"""IBM ContextForge's spans. Source: IBM/mcp-context-forge ecba50e4, ``observability.py``, ``services/tool_service.py``.

Traps that shape this file:

- One call of a tool is a tree of spans that all name it: ``tool.invoke``, and below it ``tool.lookup``,
  ``tool.gateway_call``, ``mcp.client.call``, ``tool.post_process`` … The first is the call, the others say how it went.
- ``tool.id`` is the tool's row in the database. Elsewhere that name is the id of a call.
- ``user.email`` is ``anonymous`` where nobody is known.
- A tool that fails is a span without an error: ``success`` says so.
- Arguments and results are there only for spans on an allow-list, as Langfuse's observation, with ``***`` in the place
  of what it takes for secrets, and cut at 32 KB.
"""

from __future__ import annotations

from typing import Any

from collector.gateways.genai import Role
from collector.gateways.genai_attributes import flag, text
from collector.gateways.otlp_drafts import base_metadata
from collector.gateways.otlp_telemetry import Group, Telemetry
from schemas.metadata import Metadata

SCOPE = "mcp-gateway"

_ROLES: dict[str, Role] = {
    "tool.invoke": "tool",
    "resource.read": "context",
    "prompt.render": "context",
    "llm.proxy": "inference",
    "llm.chat": "inference",
}
"""Names of spans that are something in themselves; all others frame or detail them."""

_OPERATIONS = {
    "tool.invoke": "execute_tool",
    "resource.read": "mcp.resources/read",
    "prompt.render": "mcp.prompts/get",
    "llm.proxy": "chat",
    "llm.chat": "chat",
}
_FIELDS = {
    "tool.gateway_id": "tool_server",
    "contextforge.gateway_id": "tool_server",
    "team.name": "team_name",
    "resource.uri": "document_source",
    "prompt.id": "document_id",
    "error.message": "error_message",
    "correlation_id": "request_id_gateway",
}
_PAYLOADS = {
    "langfuse.observation.input": "gen_ai.tool.call.arguments",
    "langfuse.observation.output": "gen_ai.tool.call.result",
}
_NOBODY = "anonymous"
_PEOPLE = ("user.email", "langfuse.user.id")


def speaks_contextforge(telemetry: Telemetry, group: Group) -> bool:
    """Whether a span comes from it: by its scope, or by an attribute of its own."""
    return group.scope_name == SCOPE or any(name.startswith("contextforge.") for name in telemetry.attributes)


def contextforge_base(telemetry: Telemetry, shared: Metadata) -> tuple[Metadata, Role]:
    """The metadata of a span, and what it reports."""
    attributes = telemetry.attributes
    if telemetry.name == "tool.invoke":
        for own, name in _PAYLOADS.items():
            if own in attributes:
                attributes[name] = attributes.pop(own)
    held = {name: attributes.pop(name) for name in _held(attributes)}
    base = base_metadata(telemetry, shared)
    for own, name in _FIELDS.items():
        value = text(attributes.get(own))
        if value is not None and base.setdefault(name, value) == value:  # type: ignore[misc]
            del attributes[own]
    attributes |= held
    base["operation"] = _OPERATIONS.get(telemetry.name, telemetry.name)
    if base.get("user_email"):
        base["assurance"] = "gateway_authenticated"
    if telemetry.name == "tool.invoke" and attributes.get("tool.integration_type") == "MCP":
        base["tool_kind"] = "mcp"
    if flag(attributes.get("success")) is False:
        base.setdefault("error_type", "tool_error" if telemetry.name == "tool.invoke" else "error")
    return base, _ROLES.get(telemetry.name, "session")


def _held(attributes: dict[str, Any]) -> list[str]:
    """Attributes that the conventions would take for something else."""
    people = [name for name in _PEOPLE if attributes.get(name) == _NOBODY]
    return [*people, *(["tool.id"] if "tool.id" in attributes else [])]
