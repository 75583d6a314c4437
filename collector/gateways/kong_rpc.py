"""``ai.mcp`` and ``ai.a2a`` of a Kong record: the JSON-RPC calls that a request carried, and what access control said.

Payloads are JSON text, and there only if Kong was told to log them.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.bodies import absent, read_body
from collector.gateways.exchange import at_start
from collector.gateways.gaps import state_gaps
from collector.gateways.json_texts import argument_content
from collector.gateways.jsonrpc import call_parts, rpc_id, says_error
from collector.gateways.leftovers import Fields
from schemas.metadata import Metadata

_WITHHELD = "Kong logs payloads only with config.logging.log_payloads"


def rpc_drafts(protocol: str, own: Fields, shared: Metadata, times: Metadata, status: int | None) -> list[Draft]:
    """The events of one of the two objects, in order: decisions, then calls."""
    session = own.take_text("mcp_session_id", "session_id")
    known: Metadata = {**shared, "tool_session_id": session, "http_status": status}
    starting = at_start(known, times)
    starting.pop("http_status", None)
    drafts = [
        _decision_draft(stated, starting, f"/ai/{protocol}/audit/{index}")
        for index, stated in enumerate(own.take_objects("audit"))
    ]
    for index, call in enumerate(own.take_objects("rpc")):
        drafts += _call_drafts(protocol, Fields(call), (known, times), f"/ai/{protocol}/rpc/{index}")
    if not drafts and own.names():
        drafts.append(Draft("session", {**known, **times, "operation": protocol}, None, f"/ai/{protocol}"))
    for draft in drafts:
        state_gaps(draft.metadata, [])
    return drafts


def _decision_draft(stated: dict[str, Any], starting: Metadata, at: str) -> Draft:
    """An entry of ``audit``: whether access to a tool, resource or prompt was allowed. Without a name: to the list."""
    fields = Fields(stated)
    action = fields.take_text("action")
    denied = action.lower() == "deny"
    metadata: Metadata = {
        **starting,
        "guardrail_name": "acl",
        "guardrail_provider": "kong",
        "guardrail_verdict": action,
        "guardrail_action": action,
        "tool_name": fields.take_text("primitive_name"),
        "tool_kind": "mcp",
        "tool_decision": action,
        "tool_decision_by": "kong",
        "tool_decision_rule": fields.part("consumer").take_text("name"),
        "outcome": "blocked" if denied else "ok",
    }
    return Draft("guardrail", metadata, stated, at)


def _call_drafts(protocol: str, call: Fields, frame: tuple[Metadata, Metadata], at: str) -> list[Draft]:
    known, times = frame
    method, payload = call.take_text("method"), call.part("payload")
    asked = read_body(payload.take("request")) if payload.peek("request") else absent(_WITHHELD)
    answered = read_body(payload.take("response")) if payload.peek("response") else absent(_WITHHELD)
    parts = call_parts(asked.value)
    latency, error = call.take_number("latency"), call.take_text("error")
    own: Metadata = {
        **known,
        "operation": "execute_tool" if method == "tools/call" else f"{protocol}.{method}" if method else protocol,
        "jsonrpc_id": rpc_id(call.take("id")),
        "tool_name": call.take_text("tool_name") or parts.name,
        "tool_kind": protocol,
    }
    own["call_id"] = own["jsonrpc_id"]
    starting = at_start(own, times)
    starting.pop("http_status", None)
    starting["extras"] = call.leftovers()
    failed = bool(error) or says_error(answered.value)
    ending: Metadata = {**own, **times, "outcome": "error" if failed else "ok", "error_message": error}
    ending["tool_duration_ms"] = latency
    if method == "tools/call":
        ending["tool_is_error"] = failed if error or answered.value is not None else None
        ending["outcome"] = ending["outcome"] if failed or answered.value is not None else ""
        kinds = ("tool_call", "tool_result")
        content = {"request": asked.value, **argument_content(parts.arguments)} if asked.value is not None else None
    else:
        kinds = _MESSAGES.get(method, ("session", "session"))
        content = asked.value
    state_gaps(starting, asked.gaps)
    state_gaps(ending, answered.gaps)
    if kinds == ("session", "session"):
        both = {"request": asked.value, "response": answered.value}
        said = {name: value for name, value in both.items() if value is not None}
        return [Draft("session", {**ending, "extras": starting["extras"]}, said or None, at)]
    return [
        Draft(kinds[0], starting, content, f"{at}/payload/request"),  # type: ignore[arg-type]
        Draft(kinds[1], ending, _result(answered.value), f"{at}/payload/response"),  # type: ignore[arg-type]
    ]


def _result(value: Any) -> Any:
    return None if value is None else {"result": value}


_MESSAGES = dict.fromkeys(("message/send", "message/stream", "SendMessage"), ("prompt", "response"))
"""Methods of A2A that put something before an agent and get its answer."""
