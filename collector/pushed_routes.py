"""The routes of gateways that push their logs over HTTP: Kong, Portkey, Cloudflare, Helicone."""

from __future__ import annotations

from typing import Any

from collector.answers import answer_counts, answer_delivered
from collector.gateways.cloudflare import CloudflareFormat
from collector.gateways.cloudflare_fields import Decrypt
from collector.gateways.helicone import HeliconeFormat
from collector.gateways.helicone_log import HeliconeLogFormat
from collector.gateways.kong import KongFormat
from collector.gateways.portkey import PortkeyFormat
from collector.helicone_signature import verify_helicone
from collector.openapi import operation
from collector.routes import Route

_COUNTS = {"type": "object", "properties": {name: {"type": "integer"} for name in ("accepted", "unparsed", "events")}}
_RECORDS = {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}


def kong_routes() -> tuple[Route, ...]:
    """Kong sends again what does not get a 2xx, and everything behind it waits: so what cannot be read gets one too."""
    described = _operation(
        "Send Kong log records",
        "The endpoint of Kong's `http-log` plugin: one record, or an array when its queue batches. Records of AI "
        "plugins become prompts, responses, tool calls and verdicts, every other request a `session` event.",
    )
    return (
        Route(
            ("/v1/kong", "/ingest/kong"),
            KongFormat(),
            answer_delivered,
            operation=described,
            methods=("POST", "PUT", "PATCH"),
        ),
    )


def portkey_routes() -> tuple[Route, ...]:
    """One place for whatever Portkey calls a log."""
    described = _operation(
        "Send Portkey logs",
        "What the `default.log` check of Portkey's gateway posts, objects of its log store, bodies of its insert API.",
    )
    paths = ("/v1/portkey", "/v1/portkey/logs", "/ingest/portkey")
    return (Route(paths, PortkeyFormat(), answer_counts, operation=described),)


def cloudflare_routes(decrypt: Decrypt | None = None) -> tuple[Route, ...]:
    """Logpush sends a batch again that does not get a 2xx, and gives a job up that never does."""
    described = _operation(
        "Send Cloudflare logs",
        "An HTTP destination of Logpush for the AI Gateway and MCP portal datasets: NDJSON, gzip with or without a "
        "Content-Encoding, encrypted fields opened when a private key is configured. Takes logs of the REST API, too.",
    )
    return (
        Route(
            ("/v1/cloudflare", "/ingest/cloudflare"),
            CloudflareFormat(decrypt),
            answer_delivered,
            operation=described,
            methods=("POST", "PUT"),
        ),
    )


def helicone_routes() -> tuple[Route, ...]:
    """The webhook, which signs; and the log of the SDKs, which put a path of their own behind the endpoint."""
    hook = _operation(
        "Receive Helicone's webhook",
        "Signed with the HMAC key of the webhook in the settings, not with a token. What it refers to is fetched.",
    )
    logs = _operation(
        "Send Helicone log objects",
        "The endpoint of Helicone's manual loggers: `providerRequest`, `providerResponse` and `timing`.",
    )
    own = "/v1/helicone-async"
    paths = (own, *(f"{own}/{provider}/v1/log" for provider in ("custom", "oai", "anthropic")))
    return (
        Route(("/v1/helicone/{webhook}",), HeliconeFormat(), answer_counts, operation=hook, verify=verify_helicone),
        Route(paths, HeliconeLogFormat(), answer_counts, operation=logs),
    )


def _operation(summary: str, what: str) -> dict[str, Any]:
    return operation(summary, what, ["application/json"], _RECORDS, _COUNTS)
