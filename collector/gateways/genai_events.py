"""Log records of the conventions v1.28 to v1.36: one message each, with the content in the record's body.

They are joined by trace and span, which together are the exchange; each record is a unit of its own.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_attributes import prefer, set_stop_reason, take_usage
from collector.gateways.genai_calls import call_drafts
from collector.gateways.genai_content import CURRENT
from collector.gateways.genai_messages import finish_reason
from collector.gateways.otlp_drafts import correlate, outcome_of, starting, take_failure
from collector.gateways.otlp_telemetry import Telemetry
from schemas.metadata import Metadata

MESSAGES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "choice",
}
"""Event name → whose message it is."""


def message_drafts(telemetry: Telemetry, base: Metadata) -> list[Draft]:
    """The events of one such record, in causal order."""
    role = MESSAGES[telemetry.name]
    body = telemetry.body if isinstance(telemetry.body, dict) else {"content": telemetry.body}
    telemetry.body = None
    base["format"], base["format_version"] = CURRENT, base.get("format_version") or "1.36.0"
    base.setdefault("operation", "chat")
    correlate(base, telemetry)
    failed = take_failure(telemetry, base)
    metadata = starting(base, telemetry)
    if role == "choice":
        return _choice_drafts(telemetry, metadata, body, failed)
    if role == "tool":
        others = {name: value for name, value in body.items() if name != "content"}
        if isinstance(others.get("id"), str):
            prefer(metadata, "call_id", others.pop("id"), telemetry.attributes)
        content = {"result": body.get("content"), **others}
        return [_captured(Draft("tool_result", metadata, content), body)]
    return [_captured(Draft("prompt", metadata, {"messages": [{"role": role, **body}]}), body)]


def _choice_drafts(telemetry: Telemetry, metadata: Metadata, body: dict[str, Any], failed: bool) -> list[Draft]:
    choices = [body]
    answered: Metadata = {**metadata}
    take_usage(telemetry.attributes, answered)
    set_stop_reason(answered, finish_reason(choices))
    answered["outcome"] = outcome_of(failed, answered)
    message = body.get("message")
    response = _captured(Draft("response", answered, {"messages": choices}), message if message else body)
    return [response, *call_drafts(choices, metadata)]


def _captured(draft: Draft, body: Any) -> Draft:
    """Content capture is opt-in: a message without content or calls says only that there was one."""
    has_content = isinstance(body, dict) and (body.get("content") is not None or body.get("tool_calls"))
    state_gaps(draft.metadata, [] if has_content else [Gap("/content", "not_captured")])
    return draft
