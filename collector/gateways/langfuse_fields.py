"""What all kinds of Langfuse's observations have: ids, names, times, usage, and whether something went wrong."""

from __future__ import annotations

from typing import Any

from collector.gateways.genai_attributes import count
from collector.gateways.leftovers import Fields
from collector.gateways.times import Time, from_text
from collector.json_units import encode_content
from schemas.metadata import Metadata

USAGE = ("usage_raw", "usage_semantics", "input_tokens", "output_tokens", "total_tokens", "cache_read_tokens",
         "reasoning_tokens", "cost_raw", "cost_amount", "cost_currency", "cost_computed_by")  # fmt: skip
"""Fields of metadata that belong to an answer alone."""

ENDING = ("ended_at", "first_token_at", "latency_ms", "time_to_first_token_ms", "outcome", "error_message", *USAGE)
"""Fields that are known at the end."""


def take_ids(fields: Fields, shared: Metadata, what: str) -> None:
    """The exchange is the observation, so that its creation and its updates share it; the session is what the trace
    calls so, else the trace. Who is acting is what the instrumented program says."""
    own = fields.take_text("id")
    shared["exchange_id"] = own
    if what == "trace":
        shared["trace_id"] = own
    else:
        shared["trace_id"] = fields.take_text("traceId")
        if what == "score":
            shared["parent_span_id"] = fields.take_text("observationId")
        else:
            shared["span_id"] = own
            shared["parent_span_id"] = fields.take_text("parentObservationId")
    shared["session_id"] = fields.take_text("sessionId") or shared["trace_id"]
    shared["user_id"] = fields.take_text("userId")
    shared["assurance"] = "client_asserted" if shared["user_id"] else "unknown"
    shared["model_requested"] = fields.take_text("model")
    shared["tags"] = fields.take_texts("tags")


def take_times(fields: Fields, stamp: str, base: Metadata) -> None:
    """When it began and ended; failing both, when the SDK wrote the envelope (which is kept where it is not used)."""
    started, ended = _take_time(fields, "startTime"), _take_time(fields, "endTime")
    first = _take_time(fields, "completionStartTime")
    if started is None:
        started = _take_time(fields, "timestamp")  # of a trace
    written = from_text(stamp)
    if started is not None:
        base["started_at"] = started.micros
        base["occurred_at"], base["time_precision"], base["time_role"] = started.micros, started.precision, "start"
    if ended is not None:
        base["ended_at"] = ended.micros
    if first is not None:
        base["first_token_at"] = first.micros
    if started is not None and ended is not None:
        base["latency_ms"] = (ended.micros - started.micros) / 1000
    if started is not None and first is not None:
        base["time_to_first_token_ms"] = (first.micros - started.micros) / 1000
    if started is None and written is not None:
        base["occurred_at"], base["time_precision"], base["time_role"] = written.micros, written.precision, "emit"
    if stamp and not (started is None and ended is None and written is not None):
        base["extras"] = {"timestamp": encode_content(stamp).decode()}


def take_usage(fields: Fields, base: Metadata) -> None:
    """Tokens and cost. What a key counts is the integration's own choice, so the semantics are unknown; both
    generations of the field are kept."""
    details, usage = _object(fields, "usageDetails"), _object(fields, "usage")
    if details or usage:
        stated = details or usage
        base["usage_raw"] = encode_content(
            {"usageDetails": details, "usage": usage} if details and usage else stated
        ).decode()
        base["usage_semantics"] = "unknown"
        base["input_tokens"] = _first(stated, "input", "promptTokens", "prompt_tokens", "input_tokens")
        base["output_tokens"] = _first(stated, "output", "completionTokens", "completion_tokens", "output_tokens")
        base["total_tokens"] = _first(stated, "total", "totalTokens", "total_tokens")
        base["cache_read_tokens"] = _first(stated, "cache_read_input_tokens", "input_cached_tokens")
        base["reasoning_tokens"] = _first(stated, "output_reasoning_tokens")
    costs = _object(fields, "costDetails")
    if costs:
        base["cost_raw"] = encode_content(costs).decode()
    for amount in (costs.get("total"), usage.get("totalCost")):
        if isinstance(amount, int | float) and not isinstance(amount, bool) and "cost_amount" not in base:
            _set_cost(amount, base)


def take_failure(fields: Fields, base: Metadata) -> None:
    """``ERROR`` is the level of what failed; other levels say nothing of the outcome, and stay."""
    if fields.peek("level") == "ERROR":
        fields.take("level")
        base["outcome"] = "error"
        base["error_message"] = fields.take_text("statusMessage")
    elif base.get("ended_at") is not None:
        base["outcome"] = "ok"


def beginning(base: Metadata) -> Metadata:
    """``base`` as it was when it began."""
    return {name: value for name, value in base.items() if name not in ENDING and name != "extras"}  # type: ignore[return-value]


def at_end(base: Metadata) -> Metadata:
    """``base`` at its end, if that is known."""
    ended: Metadata = {name: value for name, value in base.items() if name != "extras"}  # type: ignore[assignment]
    if base.get("ended_at") is not None:
        ended["occurred_at"], ended["time_role"] = base["ended_at"], "end"  # type: ignore[typeddict-item]
    return ended


def _take_time(fields: Fields, name: str) -> Time | None:
    value = fields.peek(name)
    moment = from_text(value) if isinstance(value, str) else None
    if moment is not None:
        fields.take(name)
    return moment


def _object(fields: Fields, name: str) -> dict[str, Any]:
    value = fields.peek(name)
    if not isinstance(value, dict):
        return {}
    fields.take(name)
    return value


def _first(stated: dict[str, Any], *names: str) -> int | None:
    return next((found for name in names if (found := count(stated.get(name))) is not None), None)


def _set_cost(amount: float, base: Metadata) -> None:
    try:
        base["cost_amount"] = float(amount)
    except OverflowError:
        return
    base["cost_currency"], base["cost_computed_by"] = "USD", "source"
