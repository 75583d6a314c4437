"""Docker MCP Gateway's spans. Source: docker/mcp-gateway 2bd20fe8, ``pkg/telemetry`` and ``pkg/gateway/handlers.go``.

They name tool, prompt or resource, and the server behind it; never arguments, results, or a person. A span's status is
OK also when the tool itself failed (``isError``), so a result that nobody saw is not called a success.
"""

from __future__ import annotations

from collector.gateways.genai import Role
from collector.gateways.otlp_drafts import base_metadata
from collector.gateways.otlp_telemetry import Group, Telemetry
from schemas.metadata import Metadata

SCOPE = "github.com/docker/mcp-gateway"

_SPANS: dict[str, tuple[str, Role]] = {
    "mcp.tool.call": ("execute_tool", "tool"),
    "mcp.prompt.get": ("mcp.prompts/get", "context"),
    "mcp.resource.read": ("mcp.resources/read", "context"),
    "mcp.resource_template.read": ("mcp.resources/read", "context"),
}
_FIELDS = {
    "mcp.server.origin": "tool_server",
    "mcp.server.endpoint": "tool_server_url",
    "mcp.server.remote_url": "tool_server_url",
    "mcp.prompt.name": "document_id",
    "mcp.resource_template.uri": "document_source",
}


def speaks_docker_mcp(telemetry: Telemetry, group: Group) -> bool:
    """Whether a span comes from it, by its scope."""
    return group.scope_name == SCOPE


def docker_mcp_base(telemetry: Telemetry, shared: Metadata) -> tuple[Metadata, Role]:
    """The metadata of a span, and what it reports."""
    base = base_metadata(telemetry, shared)
    for own, name in _FIELDS.items():
        value = telemetry.attributes.get(own)
        if isinstance(value, str) and value and base.setdefault(name, value) == value:  # type: ignore[misc]
            del telemetry.attributes[own]
    operation, role = _SPANS.get(telemetry.name, (telemetry.name, "session"))
    base["operation"] = operation
    return base, role
