"""The receiver's table: the routes of every gateway that pushes over HTTP, and what their protocols ask first."""

from __future__ import annotations

from collector.catalogue import GATEWAYS, Options
from collector.otlp_routes import otlp_routes
from collector.routes import Greeting, Route


def http_routes(options: Options | None = None) -> list[Route]:
    """All routes that the collector serves, in the order of the documentation."""
    options = options or Options()
    return [
        *(route for gateway in GATEWAYS for route in gateway.routes_with(options)),
        *otlp_routes(),
    ]


def greetings() -> list[Greeting]:
    """All handshakes and health checks that the protocols of those gateways know."""
    return [greeting for gateway in GATEWAYS for greeting in gateway.greetings]
