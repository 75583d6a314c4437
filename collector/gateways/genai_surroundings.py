"""What surrounds model calls: documents retrieved, verdicts of guardrails and evaluations, agents and sessions."""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.flattened import take_flattened
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_attributes import prefer, take_usage
from collector.gateways.genai_content import Inference
from collector.gateways.json_texts import parsed
from collector.gateways.otlp_drafts import ending, outcome_of
from collector.gateways.otlp_telemetry import Telemetry
from schemas.metadata import Metadata

_DOCUMENTS = ("retrieval.documents.", "reranker.output_documents.", "reranker.input_documents.")
_QUERIES = ("gen_ai.retrieval.query.text", "reranker.query")
_VERDICTS = {
    "litellm.guardrail.name": "guardrail_name",
    "litellm.guardrail.provider": "guardrail_provider",
    "litellm.guardrail.mode": "guardrail_mode",
    "litellm.guardrail.status": "guardrail_verdict",
    "litellm.guardrail.action": "guardrail_action",
    "gen_ai.evaluation.name": "guardrail_name",
    "gen_ai.evaluation.score.label": "guardrail_verdict",
}


def context_drafts(telemetry: Telemetry, base: Metadata, inference: Inference, failed: bool) -> list[Draft]:
    """One context event per document; a retrieval that names none is one event with what was asked."""
    metadata = ending(base, telemetry)
    metadata["outcome"] = outcome_of(failed, metadata)
    asked = dict(inference.prompt)
    for key in _QUERIES:
        if telemetry.attributes.get(key) is not None:
            asked["query"] = telemetry.attributes.pop(key)
    documents, others = _take_documents(telemetry.attributes)
    content = {**asked, **inference.response, **others}
    if not documents:
        draft = Draft("context", metadata, content or None)
        state_gaps(draft.metadata, [] if content else [Gap("/content", "not_captured")])
        return [draft]
    drafts: list[Draft] = []
    for document in documents:
        fields: Metadata = {**metadata}
        if isinstance(document, dict):
            for key, name in (("id", "document_id"), ("source", "document_source")):
                if isinstance(document.get(key), str | int):
                    prefer(fields, name, str(document[key]), telemetry.attributes)
        drafts.append(Draft("context", fields, {**(content if not drafts else {}), "document": document}))
    return drafts


def guardrail_drafts(telemetry: Telemetry, base: Metadata, inference: Inference, failed: bool) -> list[Draft]:
    """One verdict: of a guardrail, or of an evaluation."""
    metadata = ending(base, telemetry)
    fields: dict[str, Any] = metadata  # type: ignore[assignment]
    attributes = telemetry.attributes
    for key, name in _VERDICTS.items():
        value = attributes.get(key)
        if isinstance(value, str) and value and fields.setdefault(name, value) == value:
            del attributes[key]
    fields.setdefault("guardrail_name", telemetry.name if telemetry.signal == "traces" else "")
    content = inference.prompt | {f"response_{name}" if name in inference.prompt else name: value
                                  for name, value in inference.response.items()}  # fmt: skip
    explanation = attributes.get("gen_ai.evaluation.explanation")
    if explanation is not None:
        content["explanation"] = attributes.pop("gen_ai.evaluation.explanation")
    metadata["outcome"] = _verdict_outcome(failed, metadata)
    state_gaps(metadata, inference.prompt_gaps + inference.response_gaps)
    return [Draft("guardrail", metadata, content or None)]


def session_drafts(telemetry: Telemetry, base: Metadata, inference: Inference, failed: bool) -> list[Draft]:
    """An agent, a workflow, an MCP handshake: what frames the calls. Input and output are kept where given."""
    metadata = ending(base, telemetry)
    take_usage(telemetry.attributes, metadata)
    metadata["outcome"] = outcome_of(failed, metadata)
    metadata.setdefault("operation", telemetry.name)
    content = inference.prompt | {f"response_{name}" if name in inference.prompt else name: value
                                  for name, value in inference.response.items()}  # fmt: skip
    state_gaps(metadata, inference.prompt_gaps + inference.response_gaps)
    return [Draft("session", metadata, content or None)]


def plain_drafts(telemetry: Telemetry, base: Metadata, failed: bool) -> list[Draft]:
    """A span or log record that says nothing of GenAI. It was sent to us, so it is evidence of what went on around."""
    return session_drafts(telemetry, base, Inference(), failed)


def _take_documents(attributes: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The documents found, unwrapped, and other lists of documents beside them."""
    documents: list[Any] = []
    others: dict[str, Any] = {}
    for prefix in _DOCUMENTS:
        value = take_flattened(attributes, prefix)
        if value is None:
            continue
        listed = [_document(item) for item in value] if isinstance(value, list) else [value]
        if documents:
            others[prefix.rstrip(".")] = listed
        else:
            documents = listed
    found = parsed(attributes.get("gen_ai.retrieval.documents"))
    if isinstance(found, list) and found and not documents:
        del attributes["gen_ai.retrieval.documents"]
        documents = found
    return documents, others


def _document(item: Any) -> Any:
    inner = item["document"] if isinstance(item, dict) and item.keys() == {"document"} else item
    if not isinstance(inner, dict):
        return inner
    named = {key.removeprefix("document."): value for key, value in inner.items()}
    return {key: parsed(value) if key == "metadata" else value for key, value in named.items()}


def _verdict_outcome(failed: bool, metadata: Metadata) -> str:
    verdict = f"{metadata.get('guardrail_verdict', '')} {metadata.get('guardrail_action', '')}".lower()
    if "block" in verdict or "intervened" in verdict or "deny" in verdict:
        return "blocked"
    return outcome_of(failed, metadata)
