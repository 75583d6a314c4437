"""The receiver's table: every HTTP format is one line here."""

from __future__ import annotations

from collector.answers import answer_events
from collector.gateways.native import NativeFormat
from collector.openapi import events_operation
from collector.otlp_routes import otlp_routes
from collector.routes import Route


def http_routes() -> list[Route]:
    """All routes that the collector serves, in the order of the documentation."""
    return [
        Route(("/v1/events",), NativeFormat(), answer_events, operation=events_operation()),
        *otlp_routes(),
    ]
