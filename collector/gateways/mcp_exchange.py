"""JSON-RPC of the Model Context Protocol between two recorded HTTP messages, as events. Pure.

``tools/call`` is a call and its result; of everything else (``initialize``, lists, resources, prompts, what a server
asks of its client) the request is the prompt and the answer the response, under operation ``mcp.<method>``.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.exchange import Exchange, at_start
from collector.gateways.gaps import state_gaps
from collector.gateways.jsonrpc import call_parts, rpc_id, says_error
from collector.gateways.leftovers import Fields
from collector.gateways.messages import argument_content
from collector.gateways.proxy_heads import TRACE
from schemas.metadata import Metadata


def is_rpc(value: object) -> bool:
    """Whether a body is a JSON-RPC 2.0 message, or a batch of them."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and first.get("jsonrpc") == "2.0"


def rpc_drafts(exchange: Exchange) -> list[Draft]:
    """The events of an HTTP request with its answer. What answers no request of this exchange (a notification, a
    request of the server's) is part of the response."""
    asked, answered = _messages(exchange.request.value), _messages(exchange.response.value)
    answers = {rpc_id(one.get("id")): one for one in answered if "method" not in one and one.get("id") is not None}
    drafts: list[Draft] = []
    results: list[Draft] = []
    told = set()
    for index, message in enumerate(asked):
        at = f"/request/{index}" if isinstance(exchange.request.value, list) else "/request"
        shared = _shared(exchange, message)
        answer = answers.get(rpc_id(message.get("id"))) if message.get("id") is not None else None
        if message.get("method") != "tools/call":
            drafts.append(Draft("prompt", at_start(shared, exchange.times), message, at))
            continue
        drafts.append(_call(message, at_start(shared, exchange.times), at))
        if answer is not None or exchange.answered:
            told.add(id(answer))
            results.append(_result(answer, exchange, shared))
    rest = [one for one in answered if id(one) not in told]
    if not asked:
        drafts.append(
            Draft("prompt", at_start(_shared(exchange, {}), exchange.times), exchange.request.value, "/request")
        )
    if exchange.answered and (rest or not results):
        results.append(_response(rest, exchange, asked))
    return drafts + results


def _messages(value: object) -> list[dict[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _shared(exchange: Exchange, message: dict[str, Any]) -> Metadata:
    method = message.get("method")
    shared: Metadata = {**exchange.shared, "jsonrpc_id": rpc_id(message.get("id")), "tool_kind": "mcp"}
    shared["operation"] = f"mcp.{method}" if isinstance(method, str) else "mcp"
    shared["tool_server_url"] = shared.get("endpoint", "")
    if not shared.get("assurance"):
        shared["assurance"] = "client_asserted" if shared.get("end_user_id") else "unknown"
    if not shared.get("session_id") and shared.get("tool_session_id"):
        shared["session_id"] = shared["tool_session_id"]
    return shared


def _call(message: dict[str, Any], starting: Metadata, at: str) -> Draft:
    named = call_parts(message)
    metadata: Metadata = {**starting, "operation": "execute_tool", "tool_name": named.name}
    metadata["call_id"] = metadata["jsonrpc_id"]
    trace = TRACE.fullmatch(_traceparent(message))
    if trace and not metadata.get("trace_id"):
        metadata["trace_id"], metadata["parent_span_id"] = trace[1], trace[2]
    return Draft("tool_call", metadata, {**argument_content(named.arguments), "message": _without(message)}, at)


def _traceparent(message: dict[str, Any]) -> str:
    return Fields(message).part("params").part("_meta").take_text("traceparent")


def _without(message: dict[str, Any]) -> dict[str, Any]:
    """The message but for the arguments, which stand beside it."""
    params = message.get("params")
    if not isinstance(params, dict):
        return message
    return {**message, "params": {name: value for name, value in params.items() if name != "arguments"}}


def _result(answer: dict[str, Any] | None, exchange: Exchange, shared: Metadata) -> Draft:
    metadata: Metadata = {**shared, **exchange.times, **_measured(exchange)}
    metadata["operation"], metadata["call_id"] = "execute_tool", shared["jsonrpc_id"]
    _tell_outcome(metadata, answer)
    if answer is None:
        if metadata.get("outcome") == "ok":
            metadata["outcome"] = "partial"
        state_gaps(metadata, exchange.response.gaps)
        return Draft("tool_result", metadata, None, "/response")
    content = {"result": answer.get("result", answer.get("error"))}
    rest = {name: value for name, value in answer.items() if name not in ("result", "error")}
    return Draft("tool_result", metadata, {**content, "message": rest}, "/response")


def _tell_outcome(metadata: Metadata, answer: dict[str, Any] | None) -> None:
    """A tool that failed is a success of the protocol, with ``isError``; a failure of the protocol is ``error``."""
    if answer is None:
        return
    failed = says_error(answer)
    metadata["tool_is_error"] = failed
    error = Fields(answer).part("error")
    metadata["error_code"], metadata["error_message"] = error.take_text("code"), error.take_text("message")
    if failed and metadata.get("outcome") in (None, "", "ok"):
        metadata["outcome"] = "error"
        metadata["error_stage"] = "tool"


def _response(rest: list[dict[str, Any]], exchange: Exchange, asked: list[dict[str, Any]]) -> Draft:
    shared = _shared(exchange, asked[0] if asked else {})
    metadata: Metadata = {**shared, **exchange.times, **_measured(exchange)}
    for one in rest:
        if one.get("error") is not None:
            error = Fields(one).part("error")
            metadata["error_code"], metadata["error_message"] = error.take_text("code"), error.take_text("message")
            metadata["outcome"], metadata["error_stage"] = "error", "tool"
    state_gaps(metadata, exchange.response.gaps)
    whole = exchange.response.value
    content = whole if not isinstance(whole, list) or len(rest) == len(whole) else rest
    return Draft("response", metadata, content, "/response")


def _measured(exchange: Exchange) -> Metadata:
    measured: Metadata = {**exchange.measured}
    status = measured.get("http_status")
    if not measured.get("outcome"):
        failed = status is not None and status >= 400
        measured["outcome"] = "error" if failed else "partial" if exchange.response.broken else "ok"
    if measured["outcome"] == "error" and not measured.get("error_stage"):
        measured["error_stage"] = "provider"
    return measured
