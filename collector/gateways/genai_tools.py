"""Tool executions and MCP calls: one span, a call and its result."""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_content import Inference
from collector.gateways.json_texts import argument_content, parsed
from collector.gateways.otlp_drafts import ending, outcome_of, starting
from collector.gateways.otlp_telemetry import Telemetry
from schemas.metadata import Metadata

_ARGUMENTS = ("gen_ai.tool.call.arguments", "tool_call.function.arguments", "mcp.tool.arguments")
_RESULTS = ("gen_ai.tool.call.result", "mcp.tool.result")


def tool_drafts(telemetry: Telemetry, base: Metadata, inference: Inference, failed: bool) -> list[Draft]:
    """The call at the span's start, the result at its end."""
    attributes = telemetry.attributes
    if "mcp.method.name" in attributes or "mcp.tool.name" in attributes or base.get("jsonrpc_id"):
        base.setdefault("tool_kind", "mcp")
    arguments = _first(attributes, _ARGUMENTS)
    asked: dict[str, Any] = {} if arguments is None else argument_content(arguments)
    asked |= {name: value for name, value in inference.prompt.items() if name not in asked}
    result = _first(attributes, _RESULTS)
    gave: dict[str, Any] = {} if result is None else {"result": result}
    gave |= {name: value for name, value in inference.response.items() if name not in gave}
    call = Draft("tool_call", starting(base, telemetry), asked or None)
    state_gaps(call.metadata, [] if asked else [Gap("/content", "not_captured"), *inference.prompt_gaps])
    answered = ending(base, telemetry)
    if "latency_ms" in answered:
        answered["tool_duration_ms"] = answered["latency_ms"]
    failed = failed or _says_error(result)
    answered["tool_is_error"] = True if failed else False if gave else None  # what nobody saw is no success
    answered["outcome"] = outcome_of(failed, answered)
    draft = Draft("tool_result", answered, gave or None)
    lacking = [] if gave or failed else [Gap("/content", "not_captured")]
    state_gaps(draft.metadata, [*lacking, *inference.response_gaps])
    return [call, draft]


def _first(attributes: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if attributes.get(key) is not None:
            return attributes.pop(key)
    return None


def _says_error(result: Any) -> bool:
    """A tool that failed is a successful MCP call whose result has ``isError``."""
    value = parsed(result)
    return isinstance(value, dict) and value.get("isError") is True
