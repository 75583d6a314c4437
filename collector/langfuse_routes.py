"""Langfuse's public API as far as its SDKs need it to deliver: the ingestion API, and the health check. Pure.

A batch is answered 207 with each event's fate. An event that cannot be read is an error 400 there, so that its SDK says
so and does not send it again; its bytes are on record. 503 makes an SDK send the whole batch again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from collector.answers import JSON, answer_failure
from collector.gateways import Unit
from collector.gateways.langfuse import LangfuseFormat
from collector.openapi import operation
from collector.routes import Accepted, Answer, Failed, Greeting, Outcome, Route

INGESTION = "/api/public/ingestion"

HEALTH = Greeting(
    "/api/public/health",
    "GET",
    lambda headers: Answer(200, {"content-type": JSON}, b'{"status":"OK","version":"affidavit"}'),
)
"""Langfuse tells its version here; clients only look at the status."""

_NAMES: Mapping[int, str] = {401: "UnauthorizedError", 403: "ForbiddenError", 413: "PayloadTooLargeError"}


def langfuse_routes() -> tuple[Route, ...]:
    """``POST /api/public/ingestion``. Spans of newer SDKs go to a path of OTLP (``collector.otlp_routes``)."""
    return (Route((INGESTION,), LangfuseFormat(), answer_langfuse, operation=_operation()),)


def answer_langfuse(outcome: Outcome, media_type: str) -> Answer:
    """The fate of each event, in Langfuse's own shape."""
    if isinstance(outcome, Failed):
        return _failure(outcome)
    if outcome.reading.error:
        told = {"message": outcome.reading.error, "error": "InvalidRequestError"}
        return Answer(400, {"content-type": JSON}, orjson.dumps(told))
    successes: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for unit, accepted in zip(outcome.reading.units, outcome.accepted, strict=True):
        if accepted.error:
            errors.append(_error(unit, accepted))
        else:
            successes.append({"id": unit.source_id, "status": 201})
    return Answer(207, {"content-type": JSON}, orjson.dumps({"successes": successes, "errors": errors}))


def _error(unit: Unit, accepted: Accepted) -> dict[str, Any]:
    message = f"{accepted.error}; the bytes are recorded as unparsed"
    return {"id": unit.source_id or "unknown", "status": 400, "message": "Invalid request data", "error": message}


def _failure(failed: Failed) -> Answer:
    answer = answer_failure(failed)
    told = {"message": orjson.loads(answer.body)["error"], "error": _NAMES.get(failed.status, "InternalServerError")}
    headers = {**answer.headers}
    if failed.status == 401:
        headers["www-authenticate"] = 'Basic realm="affidavit"'
    return Answer(answer.status, headers, orjson.dumps(told))


def _operation() -> dict[str, Any]:
    described = operation(
        "Langfuse ingestion API",
        "A batch of events as Langfuse's SDKs up to version 2 send it. HTTP Basic: any user, and a token as password. "
        "Each event stands for itself; a creation and its updates are kept as they come.",
        [JSON],
        {
            "type": "object",
            "required": ["batch"],
            "properties": {"batch": {"type": "array", "items": {"type": "object"}}},
        },
        {"type": "object"},
    )
    responses: dict[str, Any] = described["responses"]
    responses["207"] = {
        "description": "the fate of each event; all of them are durable",
        "content": {JSON: {"schema": _fate()}},
    }
    del responses["200"]
    return described


def _fate() -> dict[str, Any]:
    item: dict[str, Any] = {"type": "object", "properties": {"id": {"type": "string"}, "status": {"type": "integer"}}}
    names: Sequence[str] = ("successes", "errors")
    return {"type": "object", "properties": {name: {"type": "array", "items": item} for name in names}}
