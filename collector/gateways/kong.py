"""Kong: the records of its log plugins (http-log, file-log, …), with what the AI plugins add below ``ai``.

One request through Kong is one record. ``ai`` holds one object per AI plugin, under a name that depends on plugin and
version: ``proxy``, ``ai-proxy``, ``ai-proxy-advanced`` …, so every name is taken that looks like one. A request without
AI fields is kept as ``session``: that somebody came this way, and what Kong answered.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.exchange import Exchange, at_start, exchange_drafts
from collector.gateways.gaps import Gap, note_gaps, pointer, state_gaps
from collector.gateways.kong_ai import NAMESPACE_FIELDS, model_exchange, plugin_drafts
from collector.gateways.kong_rpc import rpc_drafts
from collector.gateways.leftovers import Fields
from collector.gateways.source_ids import joined_id
from collector.gateways.times import from_millis
from collector.json_units import split_json
from collector.scrub import MARKER, is_secret_parameter, scrub_url
from schemas.metadata import Metadata

_RECORD_FIELDS = ("request", "response", "latencies", "started_at", "ai", "service", "route")
_RPC = ("mcp", "a2a")


class KongFormat:
    """See the module. ``POST /v1/kong``: an object, an array (``queue.max_batch_size`` above 1), or lines."""

    name = "kong"
    light = per_value = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per record."""
        return Reading([_unit(unit.source, unit.value, unit.error) for unit in split_json(body)])


def _unit(source: bytes, record: Any, error: str) -> Unit:
    if error:
        return Unit(source, error=error)
    if not isinstance(record, dict):
        return Unit(source, error=f"got {type(record).__name__}, expected an object: a record of a Kong log plugin")
    if sum(name in record for name in _RECORD_FIELDS) < 2:
        names = ", ".join(sorted(str(name)[:32] for name in record)[:8])
        return Unit(source, error=f"got an object with {names or 'no fields'}, expected a record of a Kong log plugin")
    request = Fields(record.get("request"))
    return Unit(source, joined_id(request.peek("id"), record.get("started_at")), _drafts(record))


def _drafts(record: dict[str, Any]) -> list[Draft]:
    fields = Fields(record)
    times = _take_times(fields)
    shared = _take_shared(fields)
    status = fields.part("response").take_count("status")
    ai = fields.part("ai")
    drafts: list[Draft] = []
    beside = plugin_drafts(ai, at_start(shared, times))
    for exchange in _exchanges(ai, shared, times, status):
        exchange.surroundings += beside
        drafts += exchange_drafts(exchange)
        beside = []
    drafts += beside
    for name in _RPC:
        drafts += rpc_drafts(name, ai.part(name), shared, times, status)
    if not drafts:
        drafts = [_session(shared, times, status)]
    _settle(drafts[0].metadata, fields)
    return drafts


def _exchanges(ai: Fields, shared: Metadata, times: Metadata, status: int | None) -> list[Exchange]:
    """The model calls of the request, one per plugin that made one."""
    root = ai.part("payload")
    found = []
    for name in ai.names():
        part = ai.peek(name)
        if name in _RPC or not isinstance(part, dict) or not any(part.get(key) for key in NAMESPACE_FIELDS):
            continue
        found.append(model_exchange(ai.part(name), root, pointer("ai", name), (shared, times, status)))
    if not found and (root.peek("request") or root.peek("response")):
        found.append(model_exchange(Fields(None), root, "/ai", (shared, times, status)))
    return found


def _session(shared: Metadata, times: Metadata, status: int | None) -> Draft:
    metadata: Metadata = {**shared, **times, "operation": shared.get("operation") or "http_request"}
    metadata["http_status"] = status
    metadata["outcome"] = "" if status is None else "error" if status >= 400 else "ok"
    return Draft("session", metadata)


def _take_times(fields: Fields) -> Metadata:
    """``started_at`` and ``latencies`` are milliseconds. -1 is Kong's word for *did not happen*, and is left over."""
    times: Metadata = {}
    latencies = fields.part("latencies")
    started = from_millis(fields.peek("started_at"))
    total = latencies.peek("request")
    if started is not None:
        fields.take("started_at")
        times["started_at"] = times["occurred_at"] = started.micros
        times["time_precision"], times["time_role"] = "ms", "start"
    if isinstance(total, int | float) and not isinstance(total, bool) and total >= 0:
        latency = times["latency_ms"] = latencies.take_number("request")
        if started is not None and latency is not None and latency < 1e12:
            times["ended_at"] = times["occurred_at"] = started.micros + round(latency * 1000)
            times["time_role"] = "end"
    if latencies.peek("kong") != -1:
        times["gateway_ms"] = latencies.take_number("kong")
    return times


def _take_shared(fields: Fields) -> Metadata:
    request = fields.part("request")
    headers = request.part("headers")
    request.part("querystring")
    shared: Metadata = {
        "request_id_gateway": request.take_text("id"),
        "endpoint": scrub_url(request.take_text("url", "uri")),
        "api": fields.part("route").take_text("name"),
        "deployment_id": fields.part("service").take_text("name"),
        "workspace_id": fields.take_text("workspace_name", "workspace"),
        "client_ip": fields.take_text("client_ip"),
        "user_agent": headers.take_text("user-agent"),
        "request_id_client": headers.take_text("x-request-id", "x-client-request-id"),
    }
    shared["exchange_id"] = shared["request_id_gateway"]
    shared["request_id_provider"] = _provider_id(fields.part("response").part("headers"))
    trace = headers.peek("traceparent")
    if isinstance(trace, str) and trace.count("-") == 3:
        _, shared["trace_id"], shared["parent_span_id"], _ = headers.take("traceparent").split("-")
    _take_actor(fields, shared)
    return shared


def _provider_id(headers: Fields) -> str:
    return headers.take_text("request-id", "x-request-id", "x-amzn-requestid", "apim-request-id")


def _take_actor(fields: Fields, shared: Metadata) -> None:
    """Kong vouches for consumer and credential."""
    consumer, entity = fields.part("consumer"), fields.part("authenticated_entity")
    custom = consumer.take_text("custom_id")
    shared["user_id"] = custom or consumer.take_text("id")
    shared["user_id_kind"] = "kong_custom_id" if custom else "kong_consumer" if shared["user_id"] else ""
    shared["user_name"] = consumer.take_text("username")
    shared["api_key_id"] = entity.take_text("id")
    if shared["user_id"] or shared["user_name"] or shared["api_key_id"]:
        shared["assurance"] = "gateway_authenticated"
    else:
        shared["assurance"] = "unknown"
    groups = fields.peek("authenticated_groups")
    if isinstance(groups, list):
        shared["groups"] = [name for group in groups if (name := Fields(group).take_text("name"))]


def _settle(first: Metadata, fields: Fields) -> None:
    """What is left over, on the first event; parameters of the query that open something are cut."""
    extras = {**fields.leftovers(), **first.get("extras", {})}
    cut = [
        name
        for name in extras
        if name.startswith("request.querystring.") and is_secret_parameter(name.removeprefix("request.querystring."))
    ]
    for name in cut:
        extras[name] = f'"{MARKER}"'
    first["extras"] = extras
    state_gaps(first, [])
    if cut:
        note_gaps(first, [Gap(pointer("extras", name), "redacted", note="secret") for name in cut])
