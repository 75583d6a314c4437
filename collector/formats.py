"""The receiver's table: every HTTP format is one line here."""

from __future__ import annotations

from collector.answers import answer_events, answer_litellm
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.native import NativeFormat
from collector.openapi import events_operation, litellm_operation
from collector.otlp_routes import otlp_routes
from collector.routes import Route


def http_routes() -> list[Route]:
    """All routes that the collector serves, in the order of the documentation."""
    return [
        Route(("/v1/events",), NativeFormat(), answer_events, operation=events_operation()),
        Route(("/v1/litellm", "/ingest/litellm"), LiteLLMFormat(), answer_litellm, operation=litellm_operation()),
        *otlp_routes(),
    ]
