"""CloudEvents over HTTP: the route, and the handshake that a sender of webhooks may begin with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.answers import answer_counts
from collector.gateways.cloudevents import CloudEventsFormat
from collector.openapi import operation
from collector.routes import Answer, Greeting, Route

PATH = "/v1/cloudevents"


def cloudevents_routes() -> tuple[Route, ...]:
    """``POST /v1/cloudevents``."""
    return (Route((PATH,), CloudEventsFormat(), answer_counts, operation=_operation()),)


def shake_hands(headers: Mapping[str, str]) -> Answer:
    """``OPTIONS``: whether this is a place that wants events (HTTP 1.1 Web Hooks for Event Delivery §4). It is, for
    any origin and at any rate: who may send is decided by the token, with each delivery."""
    told = {"allow": "POST, OPTIONS"}
    origin = headers.get("webhook-request-origin", "")
    if origin:
        told["webhook-allowed-origin"] = origin
        if headers.get("webhook-request-rate"):
            told["webhook-allowed-rate"] = "*"
    return Answer(200, told, b"")


HANDSHAKE = Greeting(PATH, "OPTIONS", shake_hands)


def _operation() -> dict[str, Any]:
    return operation(
        "Send CloudEvents",
        "CloudEvents 1.0 in binary, structured or batch mode. Data with a `kind` is read as an event of `/v1/events`, "
        "data with `request` and `response` as a model call, any other is kept whole. `OPTIONS` answers the handshake "
        "of webhooks.",
        ["application/cloudevents+json", "application/cloudevents-batch+json", "application/json"],
        {"type": "object"},
        {"type": "object", "properties": {name: {"type": "integer"} for name in ("accepted", "unparsed", "events")}},
    )
