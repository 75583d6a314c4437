"""The routes of gateways that write logs: a shipper such as Vector or Fluent Bit posts their lines.

A shipper sends again what does not get a 2xx, and everything behind it waits; ContextForge's export does so ten times.
So a line that cannot be read is kept and counted, and gets one too.
"""

from __future__ import annotations

from typing import Any

from collector.answers import answer_delivered
from collector.gateways import Format
from collector.gateways.agentgateway import AgentgatewayFormat
from collector.gateways.contextforge import ContextForgeFormat
from collector.gateways.docker_mcp import DockerMcpFormat
from collector.gateways.envoy import EnvoyFormat
from collector.openapi import operation
from collector.routes import Route

_MEDIA_TYPES = ("application/x-ndjson", "application/json", "text/plain")
_ANSWER = {"type": "object", "properties": {"accepted": {"type": "integer"}, "unparsed": {"type": "integer"}}}


def envoy_routes() -> tuple[Route, ...]:
    """``/v1/envoy``."""
    return (_route("/v1/envoy", EnvoyFormat(), "Envoy AI Gateway's access log", "JSON with keys of your choice"),)


def agentgateway_routes() -> tuple[Route, ...]:
    """``/v1/agentgateway``."""
    return (_route("/v1/agentgateway", AgentgatewayFormat(), "agentgateway's access log", "JSON, or its text"),)


def contextforge_routes() -> tuple[Route, ...]:
    """``/v1/contextforge``."""
    what = "events of the SIEM export, rows of the audit trail, lines of the JSON log"
    return (_route("/v1/contextforge", ContextForgeFormat(), "ContextForge's records", what),)


def docker_mcp_routes() -> tuple[Route, ...]:
    """``/v1/docker-mcp``."""
    return (_route("/v1/docker-mcp", DockerMcpFormat(), "Docker MCP Gateway's standard error", "text"),)


def _route(path: str, source: Format, what: str, how: str) -> Route:
    described: dict[str, Any] = operation(
        f"Send {what}",
        f"One record per line, or an array: {how}. A line that cannot be read is kept as `unparsed`, and counted.",
        _MEDIA_TYPES,
        {"type": "string"},
        _ANSWER,
    )
    return Route((path,), source, answer_delivered, operation=described)
