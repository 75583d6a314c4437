"""Model calls in Cloudflare's words: lines of the AI Gateway dataset, and logs of its REST API."""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.bodies import Body, absent, body_text, read_body
from collector.gateways.cloudflare_fields import Decrypt, field_gap, open_body, open_field
from collector.gateways.exchange import Exchange, at_start, exchange_drafts, name_provider
from collector.gateways.gaps import Gap, note_gaps
from collector.gateways.json_texts import parsed
from collector.gateways.leftovers import Fields
from collector.gateways.times import from_instant
from schemas.metadata import Metadata

_WITHHELD = "not logged: cf-aig-collect-log-payload, which the client may set, or the settings of the gateway"
_BLOCKS = {"2016": "guardrails", "2017": "guardrails", "2029": "dlp", "2030": "dlp"}
"""Error codes of answers that Cloudflare gave in the place of the provider's → what stopped the call."""

_DLP_STATUS = 424


def read_line(record: dict[str, Any], decrypt: Decrypt | None) -> list[Draft]:
    """A Logpush line."""
    fields = Fields(record)
    request = open_body(fields.take("RequestBody"), decrypt, _WITHHELD)
    response = open_body(fields.take("ResponseBody"), decrypt, _WITHHELD)
    exchange = Exchange(request, response, "/RequestBody", "/ResponseBody")
    about = open_field(fields.take("Metadata"), decrypt)
    shared = exchange.shared
    shared["workspace_id"] = fields.take_text("Gateway")
    _take_model(fields, shared, "Provider", "Model", "Endpoint")
    shared["request_id_gateway"] = fields.take_text("LogID", "LogId", "ID")
    _take_time(fields, exchange.times, ("Datetime", "Timestamp", "CreatedAt"))
    _take_measures(fields, exchange, "StatusCode", "Duration", ("TokensIn", "TokensOut", "Tokens"), "Cost")
    if fields.peek("Cached") is True:
        shared["model_path"] = "gateway"
    drafts = _finish(exchange, about.value, fields)
    if about.state == "encrypted":
        note_gaps(drafts[0].metadata, [field_gap("/extras/Metadata", about)])
    return drafts


def read_log(record: dict[str, Any]) -> list[Draft]:
    """A log of ``/ai-gateway/gateways/{id}/logs``; whole bodies may stand in it as ``request`` and ``response``."""
    fields = Fields(record)
    exchange = Exchange(_head(fields, "request"), _head(fields, "response"), "/request_head", "/response_head")
    shared = exchange.shared
    shared["request_id_gateway"] = shared["exchange_id"] = fields.take_text("id")
    _take_model(fields, shared, "provider", "model", "path")
    _take_time(fields, exchange.times, ("created_at",))
    _take_measures(fields, exchange, "status_code", "duration", ("tokens_in", "tokens_out", "tokens"), "cost")
    if fields.peek("success") is False:
        exchange.measured["outcome"] = exchange.measured.get("outcome") or "error"
    attempt = fields.peek("step")
    if isinstance(attempt, int) and not isinstance(attempt, bool) and 0 <= attempt < 1 << 31:
        fields.take("step")
        shared["attempt"] = attempt + 1
    if fields.peek("cached") is True:
        shared["model_path"] = "gateway"
    return _finish(exchange, fields.take("metadata"), fields)


def _head(fields: Fields, name: str) -> Body:
    """The body, or as much of it as the log has."""
    whole = fields.peek(name)
    if whole not in (None, "", {}, []):
        fields.take(name)
        return read_body(whole)
    head = fields.take_text(f"{name}_head")
    if not head:
        return absent("a log of the list has no bodies; /request and /response of the log have them")
    body = read_body(head)
    if fields.peek(f"{name}_head_complete") is False:
        size = fields.peek(f"{name}_size")
        known = size if isinstance(size, int) and not isinstance(size, bool) else None
        body = Body({"text": head}) if not body.streamed else body
        body.gaps.append(Gap("/content", "truncated", limit=len(head), original_size=known, note="the head of a body"))
    return body


def _take_model(fields: Fields, shared: Metadata, provider: str, model: str, path: str) -> None:
    name_provider(shared, fields.take_text(provider))
    shared["model_routed"] = fields.take_text(model)
    shared["endpoint"] = fields.take_text(path)


def _take_time(fields: Fields, times: Metadata, names: tuple[str, ...]) -> None:
    for name in names:
        moment = from_instant(fields.peek(name))
        if moment is not None:
            fields.take(name)
            times["occurred_at"], times["time_precision"] = moment
            times["time_role"] = "log"
            return


def _take_measures(
    fields: Fields, exchange: Exchange, status: str, duration: str, tokens: tuple[str, str, str], cost: str
) -> None:
    measured = exchange.measured
    measured["http_status"] = fields.take_count(status)
    latency = fields.take_number(duration)
    if latency is not None:
        exchange.times["latency_ms"] = latency
    stated = {name: fields.peek(name) for name in tokens if fields.peek(name) is not None}
    if stated and not any(exchange.response.fields.get(name) for name in ("usage", "usageMetadata")):
        for name, field in zip(tokens, ("input_tokens", "output_tokens", "total_tokens"), strict=True):
            measured[field] = fields.take_count(name)  # type: ignore[literal-required]
        measured["usage_semantics"] = "total" if exchange.shared.get("provider") == "openai" else "unknown"
        measured["usage_raw"] = body_text(stated)
    amount = fields.take_number(cost)
    if amount is not None:
        measured["cost_amount"], measured["cost_computed_by"] = amount, "cloudflare"


def _finish(exchange: Exchange, about: Any, fields: Fields) -> list[Draft]:
    """The events; who is in the metadata that the client sent; what stopped the call, if something did."""
    extras: dict[str, str] = {}
    labels = parsed(about)
    if isinstance(labels, dict):
        own = Fields(labels)
        exchange.shared["end_user_id"] = own.take_text("user_id", "userId", "user")
        extras = {f"Metadata.{name}": text for name, text in own.leftovers().items()}
    elif about not in (None, ""):
        extras = {"Metadata": body_text(about)}
    stopped = _stopped(exchange)
    if stopped:
        exchange.measured["outcome"], exchange.measured["error_stage"] = "blocked", "guardrail"
        metadata: Metadata = {
            **at_start(exchange.shared, exchange.times),
            "guardrail_name": stopped,
            "guardrail_provider": "cloudflare",
            "guardrail_verdict": "blocked",
            "outcome": "blocked",
        }
        exchange.surroundings.append(Draft("guardrail", metadata, None, exchange.response_at))
    drafts = exchange_drafts(exchange)
    drafts[0].metadata["extras"] = {**fields.leftovers(), **extras}
    return drafts


def _stopped(exchange: Exchange) -> str:
    errors = exchange.response.fields.get("error")
    for error in errors if isinstance(errors, list) else [errors]:
        name = _BLOCKS.get(Fields(error).take_text("code"))
        if name:
            return name
    return "dlp" if exchange.measured.get("http_status") == _DLP_STATUS else ""
