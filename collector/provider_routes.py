"""The routes of what providers log themselves, for who has it already and hands it over: activities, entries, rows."""

from __future__ import annotations

from typing import Any

from collector.answers import answer_counts, answer_delivered
from collector.gateways.anthropic_compliance import AnthropicComplianceFormat
from collector.gateways.openai_audit import OpenAIAuditFormat
from collector.gateways.vertex import VertexFormat
from collector.openapi import operation
from collector.routes import Route

_COUNTS = {"type": "object", "properties": {name: {"type": "integer"} for name in ("accepted", "unparsed", "events")}}
_RECORDS = {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
_TYPES = ["application/json", "application/x-ndjson"]


def compliance_routes() -> tuple[Route, ...]:
    """Activities that somebody exported; the feed asks for them by itself."""
    described = _operation(
        "Send activities of Anthropic's Compliance API", "Pages as the API gives them, an array, or one a line."
    )
    return (Route(("/v1/anthropic-compliance",), AnthropicComplianceFormat(), answer_counts, operation=described),)


def audit_routes() -> tuple[Route, ...]:
    """Entries that somebody exported; the feed asks for them by itself."""
    described = _operation(
        "Send entries of OpenAI's audit log", "Pages as the API gives them, an array, or one a line."
    )
    return (Route(("/v1/openai-audit",), OpenAIAuditFormat(), answer_counts, operation=described),)


def vertex_routes() -> tuple[Route, ...]:
    """Pub/Sub sends again what does not get a 2xx, for days: so what cannot be read gets one too."""
    described = _operation(
        "Send rows and audit entries of Vertex AI",
        "Rows of request-response logging as BigQuery exports them, and entries of Cloud Audit Logs, an array or one a "
        "line, or in the wrapper of a Pub/Sub push.",
    )
    return (Route(("/v1/vertex",), VertexFormat(), answer_delivered, operation=described),)


def _operation(summary: str, what: str) -> dict[str, Any]:
    return operation(summary, what, _TYPES, _RECORDS, _COUNTS)
