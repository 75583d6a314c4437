"""Envoy AI Gateway: JSON lines of its access log, whose keys the operator chose; and what its spans say in events.

Source: envoyproxy/ai-gateway c217da8a, ``internal/tracing`` and ``site/docs/capabilities/observability``. Traps that
shape this file:

- Every key is the operator's choice, so nothing is required but that the line is an object. Keys that the
  documentation uses are mapped; all others are extras under their own name.
- ``gen_ai.provider.name`` of a line names a route and a backend, not a provider. In spans it is one.
- Prompt and response are never in a line, and counts only where ``llmRequestCosts`` is configured.
- A stream that breaks after its first byte has status 200: only the response flags tell.
- ``x-forwarded-for`` may hold what a client wrote; a list of addresses is therefore nobody's address.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Reading, Received, Unit
from collector.gateways.access_log import ABSENT, Line, host_of, line_drafts
from collector.gateways.genai import Role
from collector.gateways.genai_attributes import count, number, text
from collector.gateways.otlp_telemetry import SpanEvent
from collector.gateways.text_lines import TextLine, split_lines
from collector.gateways.times import Time, from_text
from collector.json_units import encode_content
from schemas.metadata import Metadata

_RENAMED = {
    "user-agent": "user_agent.original",
    "user_agent": "user_agent.original",
    "x-user-id": "user.id",
    "user_id": "user.id",
    "x-session-id": "session.id",
    "session_id": "session.id",
    "mcp.provider.name": "mcp.backend.name",
    "mcp.backend": "mcp.backend.name",
}
"""Keys of the documented access logs, in the names that the mappings of spans know."""

_STATUS = "http.response.status_code"
_STATUSES = ("response_code", "status")
_TIMES = ("start_time", "timestamp", "@timestamp", "time")
_PATHS = ("x-envoy-origin-path", "x-envoy-original-path", "path", "x-original-path")
_REQUEST_IDS = ("x-request-id", "request_id", "x_request_id")
_OPERATIONS = {
    "/chat/completions": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/messages": "chat",
    "/responses": "chat",
    "/rerank": "rerank",
    "/images/generations": "image_generation",
    "/audio/speech": "speech",
    "/tokenize": "tokenize",
}
"""End of a path → operation, where a line has no counts to tell by."""

_BLOCKING = ("RL", "UAEX", "RLSE")
"""Response flags of a request that a filter refused: rate limit, external authorisation."""

_CANCELLED = ("DC", "DR")
"""Response flags of a client that hung up."""


class EnvoyFormat:
    """See the module. ``POST /v1/envoy``, or the lines of a file."""

    name = "envoy"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per line, or per element of an array."""
        return Reading([_unit(line) for line in split_lines(body)])


def _unit(line: TextLine) -> Unit:
    if line.error:
        return Unit(line.source, error=line.error)
    if not isinstance(line.value, dict):
        return Unit(line.source, error="got a line that is no JSON object, expected Envoy's access log as JSON")
    if all(value in ABSENT for value in line.value.values()):
        return Unit(line.source, error="got a line without a single value, expected Envoy's access log as JSON")
    return Unit(line.source, _source_id(line.value), line_drafts(_line(dict(line.value))))


def _source_id(record: dict[str, Any]) -> str:
    """``x-request-id`` and ``start_time``; ``""``, for the hash of the line, without either."""
    request, start = _first(record, _REQUEST_IDS), _first(record, _TIMES)
    if not isinstance(request, str) or not isinstance(start, str):
        return ""
    return encode_content([request, start]).decode()


def _first(record: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if record.get(name) not in ABSENT), None)


def _line(record: dict[str, Any]) -> Line:
    known: Metadata = {}
    for own, name in _RENAMED.items():
        if record.get(own) not in ABSENT and record.get(name) in ABSENT:
            record[name] = record.pop(own)
    for name in _STATUSES:
        if count(record.get(name)) is not None and record.get(_STATUS) in ABSENT:
            record[_STATUS] = record.pop(name)
    _take(record, known, "gen_ai.provider.name", "deployment_id")
    _take(record, known, "gen_ai.request.model_override", "model_routed")
    for name in _REQUEST_IDS:
        _take(record, known, name, "request_id_gateway")
    if known.get("request_id_gateway"):
        known["exchange_id"] = known["request_id_gateway"]
    _take_address(record, known)
    _take_path(record, known)
    started, ended = _take_times(record, known)
    failed, outcome = _take_end(record, known)
    return Line(record, known, started, ended, failed=failed, outcome=outcome, role=_role(record, known))


def _take(record: dict[str, Any], known: Metadata, name: str, field: str) -> None:
    value = text(record.get(name))
    if value not in ABSENT and not known.get(field):
        known[field] = value  # type: ignore[literal-required]
        del record[name]


def _take_address(record: dict[str, Any], known: Metadata) -> None:
    forwarded = record.get("x-forwarded-for")
    if isinstance(forwarded, str) and forwarded not in ABSENT and "," not in forwarded:
        known["client_ip"] = record.pop("x-forwarded-for")
    else:
        known["client_ip"] = host_of(record.get("downstream_remote_address"))


def _take_path(record: dict[str, Any], known: Metadata) -> None:
    """The API by its path. A query may hold anything, so a path with one stays an extra as a whole."""
    for name in _PATHS:
        path = record.get(name)
        if not isinstance(path, str) or path in ABSENT:
            continue
        bare = path.partition("?")[0]
        known["api"] = bare
        if bare == path:
            del record[name]
        operation = next((word for end, word in _OPERATIONS.items() if bare.endswith(end)), "")
        if operation and record.get("mcp.method.name") in ABSENT:
            known["operation"] = operation
        return


def _take_times(record: dict[str, Any], known: Metadata) -> tuple[Time | None, int]:
    for name in _TIMES:
        value = record.get(name)
        started = from_text(value) if isinstance(value, str) else None
        if started is None:
            continue
        del record[name]
        duration = number(record.get("duration"))
        if duration is None or duration < 0:
            return started, 0
        del record["duration"]
        upstream = number(record.get("x-envoy-upstream-service-time"))
        if upstream is not None:
            known["provider_ms"] = upstream
            del record["x-envoy-upstream-service-time"]
        return started, started.micros + round(duration * 1000)
    return None, 0


def _take_end(record: dict[str, Any], known: Metadata) -> tuple[bool, str]:
    """Whether it failed in a way that the status does not show, and the outcome where flags tell a better word."""
    flags = record.get("response_flags")
    if not isinstance(flags, str) or flags in ABSENT:
        return False, ""
    known["error_code"] = flags
    del record["response_flags"]
    details = record.get("response_code_details")
    if isinstance(details, str) and details not in ABSENT:
        known["error_message"] = record.pop("response_code_details")
    words = {word.strip() for word in flags.split(",")}
    if words.intersection(_CANCELLED):
        return True, "cancelled"
    if words.intersection(_BLOCKING):
        return True, "blocked"
    return True, "partial" if 200 <= (count(record.get(_STATUS)) or 0) < 400 else ""


def _role(record: dict[str, Any], known: Metadata) -> Role | None:
    if known.get("operation") and record.get("mcp.method.name") in ABSENT:
        return "inference"
    return None


def envoy_backend(events: list[SpanEvent]) -> str:
    """The MCP server that a call went to, of a span's events ``route to backend``; ``""`` where it went to several, as
    a list does. The session in the event is the gateway's own with that server."""
    backends = {event.attributes.get("mcp.backend.name") for event in events if event.name == "route to backend"}
    (backend,) = backends if len(backends) == 1 else ("",)
    return backend if isinstance(backend, str) else ""
