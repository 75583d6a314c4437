"""Claude Code's spans (beta): turns, requests, tools, and the waits in between.

They repeat what its log events say, seen as a tree; each stays evidence of its own. ``gen_ai.response.id`` holds the
*request* id here (collector/pages/claude-code.md), and ``gen_ai.usage.input_tokens`` the total that ``input_tokens`` is
not.
"""

from __future__ import annotations

from collector.gateways import Draft
from collector.gateways.claude_code import NAME, PREFIX, REDACTED, identify, take_usage
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_attributes import flag, set_stop_reason
from collector.gateways.genai_attributes import take_usage as take_genai_usage
from collector.gateways.otlp_drafts import correlate, ending, outcome_of, starting, take_failure
from collector.gateways.otlp_telemetry import Group, Telemetry
from schemas.metadata import Metadata


def is_claude_code_span(telemetry: Telemetry, group: Group) -> bool:
    """Whether the span is one of Claude Code's own."""
    return telemetry.signal == "traces" and telemetry.name.startswith(PREFIX) and (
        group.scope_name.startswith("com.anthropic.") or "span.type" in telemetry.attributes
    )  # fmt: skip


def claude_code_span_drafts(telemetry: Telemetry, base: Metadata) -> list[Draft]:
    """The events of one span; at least one."""
    attributes = telemetry.attributes
    base["format"] = NAME
    identify(attributes, base)
    if base.get("request_id_response") == base.get("request_id_provider"):
        base.pop("request_id_response", None)
    if base.get("request_id_provider"):
        base["exchange_id"] = base["request_id_provider"]
    correlate(base, telemetry)
    failed = take_failure(telemetry, base) or flag(attributes.get("success")) is False
    match telemetry.name.removeprefix(PREFIX):
        case "interaction":
            return [_interaction(telemetry, base)]
        case "llm_request":
            return [_request(telemetry, base, failed)]
        case "tool":
            return _tool(telemetry, base, failed)
        case "tool.execution":
            return [_execution(telemetry, base, failed)]
        case name:
            return [_waiting(telemetry, base, name, failed)]


def _interaction(telemetry: Telemetry, base: Metadata) -> Draft:
    metadata = starting(base, telemetry)
    words = telemetry.attributes.pop("user_prompt", None)
    if words is None:
        state_gaps(metadata, [Gap("/content", "not_captured")])
        return Draft("prompt", metadata)
    hidden = [Gap("/content/messages/0/content", "redacted", note="switched off at the client")]
    state_gaps(metadata, hidden if words == REDACTED else [])
    return Draft("prompt", metadata, {"messages": [{"role": "user", "content": words}]})


def _request(telemetry: Telemetry, base: Metadata, failed: bool) -> Draft:
    """The client's own counts decide; the ``gen_ai`` ones, which are the same in another sum, stay as extras."""
    metadata, attributes = ending(base, telemetry), telemetry.attributes
    stop = attributes.get("stop_reason")
    if isinstance(stop, str):
        set_stop_reason(metadata, stop)
        del attributes["stop_reason"]
    if "input_tokens" in attributes:
        duration, latency = attributes.pop("duration_ms", None), metadata.get("latency_ms")
        take_usage(attributes, metadata)
        if duration is not None:
            attributes["duration_ms"] = duration
        if latency is not None:
            metadata["latency_ms"] = latency
    else:
        take_genai_usage(attributes, metadata)
    metadata["outcome"] = outcome_of(failed, metadata)
    state_gaps(metadata, [])
    return Draft("response", metadata)


def _tool(telemetry: Telemetry, base: Metadata, failed: bool) -> list[Draft]:
    attributes = telemetry.attributes
    command = attributes.pop("full_command", None)
    call = starting(base, telemetry)
    content = None if command is None else {"arguments": {"full_command": command}}
    state_gaps(call, [Gap("/content", "not_captured")] if content is None else [])
    drafts = [Draft("tool_call", call, content)]
    outputs = [event for event in telemetry.events if event.name == "tool.output"]
    if outputs:
        result = ending(base, telemetry)
        result["tool_is_error"] = failed
        result["outcome"] = "error" if failed else "ok"
        found = outputs[0].attributes if len(outputs) == 1 else [event.attributes for event in outputs]
        for event in outputs:
            event.attributes = {}
        state_gaps(result, [])
        drafts.append(Draft("tool_result", result, {"result": found}))
    return drafts


def _execution(telemetry: Telemetry, base: Metadata, failed: bool) -> Draft:
    metadata = ending(base, telemetry)
    metadata.setdefault("operation", "execute_tool")
    metadata["tool_is_error"] = failed
    metadata["outcome"] = "error" if failed else "ok"
    if "latency_ms" in metadata:
        metadata["tool_duration_ms"] = metadata["latency_ms"]
    state_gaps(metadata, [Gap("/content", "not_captured")])
    return Draft("tool_result", metadata)


def _waiting(telemetry: Telemetry, base: Metadata, name: str, failed: bool) -> Draft:
    """A wait for the user, a hook, anything new."""
    metadata = ending(base, telemetry)
    for key, field in (("decision", "tool_decision"), ("source", "tool_decision_by")):
        value = telemetry.attributes.get(key)
        if name == "tool.blocked_on_user" and isinstance(value, str):
            metadata[field] = telemetry.attributes.pop(key)  # type: ignore[literal-required]
    metadata.setdefault("operation", name)
    metadata["outcome"] = "blocked" if metadata.get("tool_decision") == "reject" else "error" if failed else "ok"
    return Draft("session", metadata)
