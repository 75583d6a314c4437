"""Portkey: objects of its log store, of its insert API, and what the ``log`` check of its gateway posts.

The check (``default.log``) is what the open source gateway has to tell others of a call: the bodies of both sides as
Portkey understood them, the client's headers and metadata, without an id and without times.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.bodies import Body, absent, read_body
from collector.gateways.exchange import Exchange, at_start, exchange_drafts, name_provider
from collector.gateways.gaps import pointer, state_gaps
from collector.gateways.json_texts import parsed
from collector.gateways.leftovers import Fields
from collector.gateways.source_ids import joined_id
from collector.gateways.times import from_instant
from collector.json_units import split_json
from collector.scrub import scrub_url
from schemas.metadata import Metadata

_STREAMED = "the check of the gateway does not see a streamed answer"
_DENIED = 446
"""The status with which Portkey answers a call that a guardrail denied."""

_OPERATIONS = {"chatComplete": "chat", "messages": "chat", "complete": "text_completion", "embed": "embeddings"}


class PortkeyFormat:
    """See the module. ``POST /v1/portkey``."""

    name = "portkey"
    light = per_value = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per log object."""
        return Reading([_unit(unit.source, unit.value, unit.error) for unit in split_json(body)])


def _unit(source: bytes, record: Any, error: str) -> Unit:
    if error:
        return Unit(source, error=error)
    if not isinstance(record, dict) or not isinstance(record.get("request"), dict):
        return Unit(source, error="got no object with request and response, expected a log of Portkey")
    return Unit(source, _key(record), _drafts(record))


def _key(record: dict[str, Any]) -> str:
    """``_id``, or trace and span; a call without either is known by its bytes."""
    if record.get("_id"):
        return joined_id(record["_id"])
    about = record.get("metadata")
    own = about if isinstance(about, dict) else {}
    trace, span = own.get("traceId", own.get("trace_id")), own.get("spanId", own.get("span_id"))
    return joined_id(trace, span) if trace and span else ""


def _drafts(record: dict[str, Any]) -> list[Draft]:
    fields = Fields(record)
    asked, answered = fields.part("request"), fields.part("response")
    request, request_at = _body(asked, "/request")
    response, response_at = _body(answered, "/response")
    if response.value is None and asked.peek("isStreamingRequest") is True and answered.peek("statusCode") is not None:
        response = absent(_STREAMED)
    exchange = Exchange(request, response, request_at, response_at)
    _take_shared(fields, asked, exchange.shared)
    _take_metadata(fields, exchange.shared)
    _take_answer(fields, answered, exchange)
    exchange.surroundings = _hook_drafts(response, exchange)
    drafts = exchange_drafts(exchange)
    drafts[0].metadata["extras"] = fields.leftovers()
    return drafts


def _body(side: Fields, at: str) -> tuple[Body, str]:
    """``body`` of a log; ``json`` of a check, whose ``text`` repeats some of it."""
    if side.peek("body") not in (None, "", {}, []):
        return read_body(side.take("body")), at + "/body"
    if side.peek("json") not in (None, "", {}, []):
        side.take("text")
        return read_body(side.take("json")), at + "/json"
    return read_body(side.take("text")), at + "/text"


def _take_shared(fields: Fields, asked: Fields, shared: Metadata) -> None:
    headers, own = asked.part("headers"), asked.part("portkeyHeaders")
    shared["request_id_gateway"] = shared["exchange_id"] = fields.take_text("_id")
    shared["org_id"] = fields.take_text("organisation_id")
    shared["endpoint"] = scrub_url(asked.take_text("url"))
    shared["user_agent"] = headers.take_text("user-agent")
    shared["trace_id"] = _of(own, headers, "x-portkey-trace-id")
    shared["span_id"] = _of(own, headers, "x-portkey-span-id")
    shared["parent_span_id"] = _of(own, headers, "x-portkey-parent-span-id")
    name_provider(shared, fields.take_text("provider") or asked.take_text("provider") or _of(own, headers, _PROVIDER))
    key = own.peek("x-portkey-api-key")
    if isinstance(key, str) and "***" in key:
        shared["api_key_alias"] = own.take_text("x-portkey-api-key")
        shared["assurance"] = "gateway_authenticated"
    shared["api"] = fields.take_text("requestType")
    shared["operation"] = _OPERATIONS.get(shared["api"], "")
    stream = asked.take_flag("isStreamingRequest")
    if stream is not None:
        shared["stream"] = stream
    for holder in (own, headers):
        labels = parsed(holder.peek("x-portkey-metadata"))
        if isinstance(labels, dict):
            shared["end_user_id"] = shared.get("end_user_id") or Fields(labels).take_text("_user")


def _of(own: Fields, headers: Fields, name: str) -> str:
    """A header of Portkey's: the log store keeps them apart, a check among the others."""
    return own.take_text(name) or headers.take_text(name)


_PROVIDER = "x-portkey-provider"


def _take_metadata(fields: Fields, shared: Metadata) -> None:
    """``metadata`` of a check holds what the client said; of the insert API, also the places in a trace."""
    about = fields.part("metadata")
    shared["end_user_id"] = shared.get("end_user_id") or about.take_text("_user", "user")
    about.drop_same("_user", shared["end_user_id"])
    shared["org_id"] = shared["org_id"] or about.take_text("organization")
    for name, spellings in _TRACE.items():
        shared[name] = shared.get(name) or about.take_text(*spellings)  # type: ignore[literal-required]


_TRACE = {
    "trace_id": ("traceId", "trace_id"),
    "span_id": ("spanId", "span_id"),
    "parent_span_id": ("parentSpanId", "parent_span_id"),
}


def _take_answer(fields: Fields, answered: Fields, exchange: Exchange) -> None:
    headers, shared, times = answered.part("headers"), exchange.shared, exchange.times
    shared["request_id_provider"] = headers.take_text("x-request-id", "request-id", "x-amzn-requestid")
    retries = headers.take_count("x-portkey-retry-attempt-count")
    if retries is not None and 0 <= retries < 1 << 31:
        shared["attempt"] = retries + 1
    if str(headers.peek("x-portkey-cache-status")).upper().endswith("HIT"):
        shared["model_path"] = "gateway"
    for name in ("responseTime", "response_time", "time"):
        if times.get("latency_ms") is None:
            times["latency_ms"] = answered.take_number(name)
    moment = from_instant(fields.peek("created_at"))
    if moment is not None:
        fields.take("created_at")
        times["occurred_at"], times["time_precision"] = moment
        times["time_role"] = "log"
    status = answered.take_count("status")
    status = answered.take_count("statusCode") if status is None else status
    if status is not None:
        exchange.measured["http_status"] = status
        if status == _DENIED:
            exchange.measured["outcome"], exchange.measured["error_stage"] = "blocked", "guardrail"


def _hook_drafts(response: Body, exchange: Exchange) -> list[Draft]:
    """``hook_results`` in an answer of the gateway: one verdict per guardrail that looked at the call."""
    results = Fields(response.fields.get("hook_results"))
    drafts = []
    for side in ("before_request_hooks", "after_request_hooks"):
        for index, hook in enumerate(results.take_objects(side)):
            at = exchange.response_at + pointer("hook_results", side, index)
            drafts.append(_hook_draft(hook, side, at_start(exchange.shared, exchange.times), at))
    return drafts


def _hook_draft(hook: dict[str, Any], side: str, starting: Metadata, at: str) -> Draft:
    own = Fields(hook)
    verdict, deny = own.take_flag("verdict"), own.take_flag("deny")
    checks = own.take_objects("checks")
    metadata: Metadata = {
        **starting,
        "guardrail_name": own.take_text("id"),
        "guardrail_provider": "portkey",
        "guardrail_mode": "input" if side.startswith("before") else "output",
        "guardrail_verdict": "" if verdict is None else "passed" if verdict else "failed",
        "guardrail_action": "deny" if deny else "",
        "dlp_rules": [str(check.get("id") or "") for check in checks if check.get("verdict") is False],
        "outcome": "" if verdict is None else "ok" if verdict else "blocked" if deny else "error",
    }
    metadata["latency_ms"] = own.take_number("execution_time")
    state_gaps(metadata, [])
    return Draft("guardrail", metadata, hook, at)
