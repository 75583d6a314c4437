"""The OpenAPI document of the receiver, made from its routes, so that it cannot say anything else than they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collector.gateways.native import ADAPTER
from collector.routes import Route
from schemas.metadata import schema

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}

_ITEM = {
    "type": "object",
    "required": ["index", "event_id", "status", "position"],
    "properties": {
        "index": {"type": "integer", "description": "position in the body, from 0"},
        "event_id": {"type": "string", "format": "uuid", "description": "the same each time the same event is sent"},
        "status": {"type": "string", "enum": ["accepted", "unparsed"]},
        "position": {
            "type": ["object", "null"],
            "description": "where it lies on the bus; offset + 1 is its leaf in the shard's first log; null if spooled",
            "properties": {"shard": {"type": "string"}, "offset": {"type": "integer"}},
        },
        "spooled": {
            "type": "boolean",
            "description": "true when the bus is away: it is durable in the collector's spool and gets its place later",
        },
        "error": {"type": "string", "description": "why it could not be normalised, and the remedy"},
    },
}

_ANSWER = {
    "type": "object",
    "required": ["accepted", "unparsed", "items"],
    "properties": {
        "accepted": {"type": "integer"},
        "unparsed": {"type": "integer"},
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
    },
}

_EXAMPLE = {
    "id": "chat-81/2",
    "kind": "prompt",
    "session_id": "chat-81",
    "exchange_id": "chat-81/2",
    "occurred_at": "2026-08-21T09:00:00.125Z",
    "user_email": "dana@example.com",
    "model_requested": "claude-sonnet-5",
    "provider": "anthropic",
    "content": {"messages": [{"role": "user", "content": "Weather in Paris?"}]},
    "extras": {"ticket": "INC-7"},
}

FAILURES: dict[str, Any] = {
    "400": "nothing could be normalised, or the body could not be read; what came is recorded as `unparsed`",
    "401": "no token, or one that is unknown, revoked or expired",
    "403": "the token was not made for sending",
    "413": "the body is larger than the limit, before or after decompression; nothing is recorded",
    "415": "an unknown Content-Encoding; gzip, deflate, zstd are known",
    "503": "not now: send the same again after `Retry-After` seconds; repeats have the same event ids",
}
"""Status → what it means, on every route."""


def operation(
    summary: str, description: str, media_types: Sequence[str], body: object, answer: object
) -> dict[str, Any]:
    """An OpenAPI operation with the failures that all routes share. ``body`` and ``answer`` are schemas."""
    return {
        "summary": summary,
        "description": description,
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {name: {"schema": body} for name in media_types}},
        "responses": {
            "200": {
                "description": "everything is durable, if need be in the spool",
                "content": {"application/json": {"schema": answer}},
            },
            **{
                status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
                for status, text in FAILURES.items()
            },
        },
    }


def events_operation() -> dict[str, Any]:
    """``POST /v1/events``."""
    event = {"$ref": "#/components/schemas/Event"}
    described = operation(
        "Send events",
        "One event, an array of events, or NDJSON. Each event stands for itself: one that cannot be normalised is "
        "recorded as `unparsed` with its exact bytes and an error in its item, and the others are accepted. "
        "Give each event an `id` of your own: sent again, it gets the same `event_id`, and the repeat is seen as one.",
        ["application/json", "application/x-ndjson"],
        {"oneOf": [event, {"type": "array", "items": event}]},
        {"$ref": "#/components/schemas/Answer"},
    )
    for content in described["requestBody"]["content"].values():
        content["example"] = _EXAMPLE
    return described


def litellm_operation() -> dict[str, Any]:
    """``POST /v1/litellm``."""
    return operation(
        "Send LiteLLM records",
        "The endpoint of LiteLLM's `generic_api` callback. Takes StandardLoggingPayload and StandardAuditLogPayload "
        "records as `json_array`, `ndjson` or `single`. Set `max_retries` in LiteLLM: it drops what it cannot deliver.",
        ["application/json"],
        {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
        {"type": "object", "properties": {name: {"type": "integer"} for name in ("accepted", "unparsed", "events")}},
    )


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of all routes."""
    paths: dict[str, Any] = {
        route.paths[0]: {"post": {"operationId": _operation_id(route.paths[0]), **route.operation}} for route in routes
    }
    for path, summary in (("/healthz", "Whether the process runs"), ("/readyz", "Whether events can be taken now")):
        paths[path] = {"get": {"operationId": _operation_id(path), "summary": summary, "responses": _PROBES[path]}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Affidavit collector",
            "version": "1",
            "description": "Takes records of AI traffic from any gateway. A 2xx answer means: durable, on the bus or, "
            "while that is away, on the disk of the collector, which moves it there.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "aff_<id>_<secret>"}},
            "schemas": {"Event": _event_schema(), "Item": _ITEM, "Answer": _ANSWER},
        },
    }


_PROBES: dict[str, Any] = {
    "/healthz": {"200": {"description": "it runs"}},
    "/readyz": {"200": {"description": "ready"}, "503": {"description": "neither the bus nor the spool takes events"}},
}


def _event_schema() -> dict[str, Any]:
    """The JSON schema of a native event, each field with the words of the Avro schema."""
    described = ADAPTER.json_schema()
    docs = {field["name"]: field.get("doc", "") for field in schema("metadata.v1")["fields"]}
    docs |= {
        "kind": "what happened",
        "id": "the sender's own key of the event; the hash of its bytes stands in",
        "content": "messages, arguments, results: any JSON; kept as a part of its own, under its own lifetime",
        "extras": "anything that has no field here",
    }
    for name, field in described["properties"].items():
        field.pop("title", None)
        if docs.get(name):
            field["description"] = docs[name]
    return described


def _operation_id(path: str) -> str:
    return path.strip("/").replace("/", "_")
