"""Helicone's log objects, as its SDKs send them when nothing stands between an application and its provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.bodies import Body, read_body
from collector.gateways.exchange import Exchange, at_start, exchange_drafts, name_provider
from collector.gateways.gaps import state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.times import from_millis
from collector.json_units import split_json
from schemas.metadata import Metadata

_CANCELLED = -3
"""What the SDKs write for the status of a stream that the client gave up."""

_NO_PATH = "custom-model-nopath"
_PROPERTY = "helicone-property-"


class HeliconeLogFormat:
    """``POST /v1/helicone-async`` and the paths that the SDKs put behind an endpoint."""

    name = "helicone-log"
    light = per_value = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per log object. It has no id; who and which session are in headers beside it."""
        units = []
        for unit in split_json(body):
            if unit.error:
                units.append(Unit(unit.source, error=unit.error))
            elif not isinstance(unit.value, dict) or "providerRequest" not in unit.value:
                units.append(Unit(unit.source, error="got something else than an object with providerRequest"))
            else:
                units.append(Unit(unit.source, drafts=_drafts(unit.value, received.headers)))
        return Reading(units)


def _drafts(record: dict[str, Any], headers: Mapping[str, str]) -> list[Draft]:
    fields = Fields(record)
    asked, answered = fields.part("providerRequest"), fields.part("providerResponse")
    request = read_body(asked.take("json"))
    response, response_at = _response(answered)
    exchange = Exchange(request, response, "/providerRequest/json", response_at)
    _take_headers(exchange.shared, headers)
    url = asked.take_text("url")
    exchange.shared["endpoint"] = "" if url == _NO_PATH else url
    _take_times(fields.part("timing"), exchange.times)
    _take_status(answered, exchange.measured)
    drafts = _special_drafts(exchange) or exchange_drafts(exchange)
    extras = fields.leftovers() | {
        name: json.dumps(value) for name, value in headers.items() if name.startswith(_PROPERTY)
    }
    drafts[0].metadata["extras"] = extras
    return drafts


def _response(answered: Fields) -> tuple[Body, str]:
    text = answered.peek("textBody")
    if isinstance(text, str) and text:
        return read_body(answered.take("textBody")), "/providerResponse/textBody"
    return read_body(answered.take("json")), "/providerResponse/json"


def _take_headers(shared: Metadata, headers: Mapping[str, str]) -> None:
    shared["end_user_id"] = headers.get("helicone-user-id", "")
    shared["session_id"] = headers.get("helicone-session-id", "")
    shared["request_id_gateway"] = shared["exchange_id"] = headers.get("helicone-request-id", "")
    shared["user_agent"] = headers.get("user-agent", "")
    name_provider(shared, headers.get("helicone-provider", ""))


def _take_times(timing: Fields, times: Metadata) -> None:
    started, ended = _moment(timing, "startTime"), _moment(timing, "endTime")
    if started is not None:
        times["started_at"] = times["occurred_at"] = started
        times["time_precision"], times["time_role"] = "ms", "start"
    if ended is not None:
        times["ended_at"] = times["occurred_at"] = ended
        times["time_precision"], times["time_role"] = "ms", "end"
        if started is not None:
            times["latency_ms"] = (ended - started) / 1000
    first = timing.take_number("timeToFirstToken")
    if first is not None:
        times["time_to_first_token_ms"] = first


def _moment(timing: Fields, name: str) -> int | None:
    stated = timing.peek(name)
    if not isinstance(stated, dict) or set(stated) - {"seconds", "milliseconds"}:
        return None
    seconds, millis = stated.get("seconds"), stated.get("milliseconds", 0)
    if not isinstance(seconds, int) or not isinstance(millis, int):
        return None
    moment = from_millis(seconds * 1000 + millis)
    if moment is not None:
        timing.take(name)
    return moment.micros if moment else None


def _take_status(answered: Fields, measured: Metadata) -> None:
    if answered.peek("status") == _CANCELLED:
        answered.take("status")
        measured["outcome"] = "cancelled"
        return
    measured["http_status"] = answered.take_count("status")


def _special_drafts(exchange: Exchange) -> list[Draft]:
    """Objects of ``_type`` ``tool`` and ``vector_db``: a tool that ran, documents that were looked up."""
    asked, answered = exchange.request.fields, exchange.response.fields
    kind = asked.get("_type")
    if kind not in ("tool", "vector_db"):
        return []
    starting = at_start(exchange.shared, exchange.times)
    ending: Metadata = {**exchange.shared, **exchange.times, **exchange.measured}
    status = ending.get("http_status")
    ending["outcome"] = ending.get("outcome") or ("error" if status is not None and status >= 400 else "ok")
    for metadata in (starting, ending):
        metadata["assurance"] = "client_asserted" if metadata.get("end_user_id") else "unknown"
    result = answered or exchange.response.value
    if kind == "vector_db":
        found: Metadata = {**ending, "operation": "retrieval"}
        found["document_source"] = Fields(asked).take_text("databaseName")
        return [_stated(Draft("context", found, {"request": asked, "response": result}, exchange.request_at))]
    tool: Metadata = {"operation": "execute_tool", "tool_kind": "function"}
    tool["tool_name"] = Fields(asked).take_text("toolName")
    call = Draft(
        "tool_call", {**starting, **tool}, {"arguments": asked.get("input"), "request": asked}, exchange.request_at
    )
    gave = Draft("tool_result", {**ending, **tool}, {"result": result}, exchange.response_at)
    gave.metadata["tool_duration_ms"] = exchange.times.get("latency_ms")
    gave.metadata["tool_is_error"] = ending["outcome"] == "error"
    return [_stated(call), _stated(gave)]


def _stated(draft: Draft) -> Draft:
    state_gaps(draft.metadata, [])
    return draft
