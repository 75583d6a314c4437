"""The events of one envelope, by the kind of its observation. An envelope gives the events of what it states: a
creation without an output has no response yet, an update with nothing but an output has no prompt."""

from __future__ import annotations

from collector.gateways import Draft
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_content import Inference
from collector.gateways.genai_messages import calls_in, finish_reason, messages_of, results_in
from collector.gateways.json_texts import argument_content
from collector.gateways.langfuse_fields import ENDING, at_end, beginning
from collector.gateways.leftovers import Fields
from collector.gateways.messages import ToolCall, ToolResult
from collector.gateways.vocabulary import stop_reason
from schemas.metadata import Metadata

_NOTHING: tuple[object, ...] = (None, "", [], {})


def model_drafts(what: str, fields: Fields, base: Metadata) -> list[Draft]:
    """A generation or an embedding: prompt, new tool results, response, tool calls."""
    base["operation"] = "embeddings" if what == "embedding" else "chat"
    inference = Inference()
    asked, answered = fields.take("input"), fields.take("output")
    inference.ask_body(asked, "langfuse", "input")
    inference.ask("parameters", fields.take("modelParameters"), "langfuse", "modelParameters")
    if answered not in _NOTHING:
        inference.answer("messages", messages_of(answered, "assistant"), "langfuse", "output")
    begun, ended = beginning(base), at_end(base)
    drafts = []
    if inference.prompt:
        drafts.append(Draft("prompt", begun, inference.prompt, "/input" if asked not in _NOTHING else ""))
        asking = inference.prompt.get("messages")
        drafts += [_result(one, begun) for one in results_in(asking if isinstance(asking, list) else [])]
    if inference.response or any(name in base for name in ENDING):
        drafts.append(_response(inference, ended))
        drafts += [_call(one, _moment(ended)) for one in calls_in(inference.response.get("messages", []))]
    return _with_extras(drafts or [Draft("session", begun)], base)


def tool_drafts(what: str, fields: Fields, base: Metadata) -> list[Draft]:
    """A tool: the call with its input, the result with its output."""
    base["operation"], base["tool_name"] = "execute_tool", fields.take_text("name")
    base["call_id"] = base.get("span_id", "")
    asked, gave = fields.take("input"), fields.take("output")
    drafts = []
    if asked not in _NOTHING:
        drafts.append(Draft("tool_call", beginning(base), argument_content(asked), "/input"))
    if gave not in _NOTHING or any(name in base for name in ENDING):
        result = at_end(base)
        result["tool_duration_ms"] = base.get("latency_ms")
        result["tool_is_error"] = True if base.get("outcome") == "error" else None
        drafts.append(Draft("tool_result", result, None if gave in _NOTHING else {"result": gave}, "/output"))
    return _with_extras(drafts or [Draft("session", beginning(base))], base)


def retrieval_drafts(what: str, fields: Fields, base: Metadata) -> list[Draft]:
    """A retriever: one context event per document of its output; the first tells what was asked."""
    base["operation"] = "retrieval"
    query, found = fields.take("input"), fields.take("output")
    documents = found if isinstance(found, list) else [] if found in _NOTHING else [found]
    asked = {} if query in _NOTHING else {"query": query}
    drafts = []
    for at, document in enumerate(documents):
        own = Fields(document)
        metadata: Metadata = {
            **at_end(base),
            "document_id": own.take_text("id", "document_id"),
            "document_source": own.take_text("source", "url"),
            "document_label": own.take_text("title", "name"),
        }
        place = f"/output/{at}" if isinstance(found, list) else "/output"
        drafts.append(Draft("context", metadata, {**(asked if not at else {}), "document": document}, place))
    if not drafts:
        drafts = [Draft("context", at_end(base), asked or None, "/input" if asked else "")]
        state_gaps(drafts[0].metadata, [] if asked else [Gap("/content", "not_captured")])
    return _with_extras(drafts, base)


def score_drafts(what: str, fields: Fields, base: Metadata) -> list[Draft]:
    """A score: the verdict of an evaluation or a person on a trace or an observation."""
    value = fields.take("value")
    base["guardrail_name"] = fields.take_text("name")
    base["guardrail_mode"] = "score"
    base["guardrail_verdict"] = str(value) if isinstance(value, str | int | float) else ""
    content = {"value": value, "comment": fields.take("comment")}
    kept = {name: item for name, item in content.items() if item is not None}
    return _with_extras([Draft("guardrail", at_end(base), kept or None)], base)


def span_drafts(what: str, fields: Fields, base: Metadata) -> list[Draft]:
    """A trace, span, event, agent, chain, a line of the SDK's log, or what is not known yet: what frames the calls."""
    kind = "guardrail" if what in ("guardrail", "evaluator") else "session"
    base["operation"] = what
    if kind == "guardrail":
        base["guardrail_name"] = fields.take_text("name")
    content = {name: fields.take(name) for name in ("input", "output", "log")}
    kept = {name: item for name, item in content.items() if item not in _NOTHING}
    return _with_extras([Draft(kind, at_end(base), kept or None)], base)  # type: ignore[arg-type]


def _response(inference: Inference, ended: Metadata) -> Draft:
    messages = inference.response.get("messages", [])
    raw = finish_reason(messages)
    if raw:
        ended["stop_reason_raw"], ended["stop_reason"] = raw, stop_reason(raw)
    draft = Draft("response", ended, inference.response or None, "/output" if inference.response else "")
    if not inference.response and ended.get("outcome") != "error":
        state_gaps(
            ended, [Gap("/content", "not_captured", note="not in this event; another of the same id may have it")]
        )
    return draft


def _call(call: ToolCall, ended: Metadata) -> Draft:
    metadata: Metadata = {**ended, "call_id": call.call_id, "tool_name": call.name, "tool_kind": call.kind}
    return Draft("tool_call", metadata, argument_content(call.arguments), "/output")


def _result(result: ToolResult, begun: Metadata) -> Draft:
    metadata: Metadata = {
        **begun,
        "call_id": result.call_id,
        "tool_name": result.name,
        "tool_kind": result.kind,
        "tool_is_error": result.is_error,
    }
    return Draft("tool_result", metadata, {"result": result.result}, "/input")


def _moment(ended: Metadata) -> Metadata:
    """``ended`` without what belongs to the answer alone."""
    return {name: value for name, value in ended.items() if name not in (*ENDING, "stop_reason", "stop_reason_raw")}  # type: ignore[return-value]


def _with_extras(drafts: list[Draft], base: Metadata) -> list[Draft]:
    if base.get("extras"):
        drafts[0].metadata["extras"] = base["extras"]
    return drafts
