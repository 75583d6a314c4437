"""GenAI spans and log records as events: model calls, tool executions, retrievals, guardrails, agents.

One record is one or more events. A model call gives a prompt, the tool results that are new in it, a response, and the
calls that the response asks for; a tool span gives a call and its result; everything else gives one event. Which of
these a record is follows from :func:`role_of`, the same way for all spellings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from collector.gateways import Draft, langfuse_otel, openinference, openllmetry
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_attributes import set_stop_reason, take_usage
from collector.gateways.genai_calls import call_drafts, result_drafts
from collector.gateways.genai_content import CURRENT, Inference, take_current, take_deprecated, take_span_events
from collector.gateways.genai_messages import empty_parts, finish_reason
from collector.gateways.genai_surroundings import context_drafts, guardrail_drafts, session_drafts
from collector.gateways.genai_tools import tool_drafts
from collector.gateways.otlp_drafts import correlate, ending, outcome_of, starting, take_failure
from collector.gateways.otlp_telemetry import Telemetry
from schemas.metadata import Metadata

Role = Literal["inference", "agent", "tool", "context", "guardrail", "session"]

_ROLES: dict[str, Role] = {
    # gen_ai.operation.name
    **dict.fromkeys(("chat", "generate_content", "text_completion", "embeddings", "rerank", "image_generation"),
                    "inference"),
    **dict.fromkeys(("speech", "tokenize", "responses", "messages"), "inference"),
    **dict.fromkeys(("invoke_agent", "create_agent", "invoke_workflow", "plan"), "agent"),
    "execute_tool": "tool",
    "retrieval": "context",
    # openinference.span.kind
    **dict.fromkeys(("LLM", "EMBEDDING"), "inference"),
    **dict.fromkeys(("AGENT", "CHAIN", "PROMPT"), "agent"),
    **dict.fromkeys(("RETRIEVER", "RERANKER"), "context"),
    **dict.fromkeys(("GUARDRAIL", "EVALUATOR"), "guardrail"),
    "TOOL": "tool",
    # traceloop.span.kind, langfuse.observation.type
    **dict.fromkeys(("generation", "embedding"), "inference"),
    **dict.fromkeys(("workflow", "task", "agent", "chain", "span", "event"), "agent"),
    **dict.fromkeys(("guardrail", "evaluator"), "guardrail"),
    "tool": "tool",
    "retriever": "context",
}  # fmt: skip

_ROLE_KEYS = ("operation", "openinference.span.kind", "traceloop.span.kind", "langfuse.observation.type")
_MCP_ROLES: dict[str, Role] = {"tools/call": "tool", "resources/read": "context", "prompts/get": "context"}
SIGNS_OF_INFERENCE = (
    *("gen_ai.prompt", "gen_ai.completion", "gen_ai.prompt_json", "gen_ai.completion_json", "llm.request.type"),
    *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt.0.content", "gen_ai.completion.0.content"),
)
_PREFIXES = ("gen_ai.", "llm.", "openinference.", "traceloop.", "langfuse.", "mcp.", "litellm.", "tool.", "retrieval.")

_DETAILS = "gen_ai.client.inference.operation.details"
_EXCEPTION = "gen_ai.client.operation.exception"
_EVALUATION = "gen_ai.evaluation.result"


def speaks_genai(telemetry: Telemetry) -> bool:
    """Whether a record uses any of the conventions at all. To be asked before any attribute is taken out."""
    if telemetry.name.startswith("gen_ai.") or any(key.startswith(_PREFIXES) for key in telemetry.attributes):
        return True
    return any(event.name.startswith("gen_ai.") for event in telemetry.events)


def role_of(telemetry: Telemetry, base: Metadata) -> Role:
    """What a record reports. The most exact statement wins: a name for it, an MCP method, then signs."""
    attributes = telemetry.attributes
    if telemetry.name == _EVALUATION or any(key.startswith("litellm.guardrail.") for key in attributes):
        return "guardrail"
    if telemetry.name in (_DETAILS, _EXCEPTION):
        return "inference"
    for key in _ROLE_KEYS:
        word = base.get("operation") if key == "operation" else attributes.get(key)
        if isinstance(word, str) and word in _ROLES:
            return _ROLES[word]
    method = attributes.get("mcp.method.name")
    if method is not None:
        return _MCP_ROLES.get(str(method), "session")
    if any(key in attributes for key in SIGNS_OF_INFERENCE) or base.get("model_requested") or base.get("model_served"):
        return "inference"
    return "tool" if base.get("tool_name") else "session"


def genai_drafts(telemetry: Telemetry, base: Metadata, role: Role | None = None) -> list[Draft]:
    """The events of a record that speaks GenAI, in causal order; at least one. ``role`` is for a reader that knows
    what its source reports better than the attributes tell."""
    role = role or role_of(telemetry, base)
    inference = gather(telemetry)
    _name_operation(telemetry, base, role)
    correlate(base, telemetry)
    failed = take_failure(telemetry, base)
    if role == "agent" and "messages" not in inference.prompt and "messages" not in inference.response:
        role = "session"
    match role:
        case "inference" | "agent":
            drafts = inference_drafts(telemetry, base, inference, failed)
        case "tool":
            drafts = tool_drafts(telemetry, base, inference, failed)
        case "context":
            drafts = context_drafts(telemetry, base, inference, failed)
        case "guardrail":
            drafts = guardrail_drafts(telemetry, base, inference, failed)
        case "session":
            drafts = session_drafts(telemetry, base, inference, failed)
    return drafts


def gather(telemetry: Telemetry) -> Inference:
    """Content from every spelling, newest first."""
    attributes, inference = telemetry.attributes, Inference()
    if isinstance(telemetry.body, dict) and telemetry.name == _DETAILS:
        for key in list(telemetry.body):
            if attributes.setdefault(key, telemetry.body[key]) == telemetry.body[key]:
                del telemetry.body[key]
        telemetry.body = telemetry.body or None
    take_span_events(telemetry.events, attributes, inference)
    takers: tuple[Callable[[dict[str, Any], Inference], None], ...] = (
        take_current,
        openinference.take_content,
        openllmetry.take_content,
        take_deprecated,
        langfuse_otel.take_content,
    )
    for take in takers:
        take(attributes, inference)
    return inference


def inference_drafts(telemetry: Telemetry, base: Metadata, inference: Inference, failed: bool) -> list[Draft]:
    """Prompt, new tool results, response, tool calls."""
    base["format"] = _FORMATS.get(inference.spelling, CURRENT)
    parameters = inference.prompt.get("parameters")
    if isinstance(parameters, dict) and isinstance(parameters.get("model"), str):
        base.setdefault("model_requested", parameters["model"])
    messages = inference.prompt.get("messages")
    asked = starting(base, telemetry)
    lacking = inference.prompt_gaps + empty_parts(messages)
    drafts = [_with_state(Draft("prompt", asked, inference.prompt or None), lacking)]
    drafts += result_drafts(messages, asked)
    answered = ending(base, telemetry)
    take_usage(telemetry.attributes, answered)
    langfuse_otel.take_usage(telemetry.attributes, answered)
    output = inference.response.get("messages", [])
    output = output if isinstance(output, list) else []
    set_stop_reason(answered, finish_reason(output))
    answered["outcome"] = outcome_of(failed, answered)
    response = Draft("response", answered, inference.response or None)
    lacking = inference.response_gaps + empty_parts(output)
    drafts.append(_with_state(response, lacking, missing=not failed))
    return drafts + call_drafts(output, ending(base, telemetry))


_FORMATS = {name: name for name in (openinference.NAME, openllmetry.NAME, langfuse_otel.NAME)}


def _with_state(draft: Draft, gaps: list[Gap], *, missing: bool = True) -> Draft:
    """State the gaps of a draft; one without any content was not captured (a failed call has none to capture)."""
    if draft.content is None and not gaps and missing:
        gaps = [Gap("/content", "not_captured")]
    state_gaps(draft.metadata, gaps)
    return draft


def _name_operation(telemetry: Telemetry, base: Metadata, role: Role) -> None:
    if base.get("operation"):
        return
    attributes = telemetry.attributes
    kind, request = attributes.get("openinference.span.kind"), attributes.get("llm.request.type")
    method = attributes.get("mcp.method.name")
    name = openinference.OPERATIONS.get(kind, "") if isinstance(kind, str) else ""
    if not name and isinstance(request, str):
        name = openllmetry.OPERATIONS.get(request, request)
    if not name and isinstance(method, str):
        name = f"mcp.{method}"
    if not name:
        name = {"inference": "chat", "tool": "execute_tool", "context": "retrieval"}.get(role, "")
    if name:
        base["operation"] = name
