"""One model call as events: from the body that went to a provider and the body that came back. Pure.

Shared by every gateway that logs the bodies of both sides. The format says who, when and which ids; this module finds
in the bodies what they say themselves, and puts the events into causal order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from collector.gateways import Draft
from collector.gateways.bodies import Body
from collector.gateways.documents import Document, new_documents
from collector.gateways.gaps import state_gaps
from collector.gateways.messages import (
    ToolCall,
    ToolResult,
    argument_content,
    body_calls,
    body_results,
    new_results,
    stop_word,
)
from collector.gateways.usage import body_error, body_usage, status_outcome
from collector.gateways.vocabulary import model_path, provider_name, stop_reason
from schemas.metadata import Metadata


@dataclass(slots=True)
class Exchange:
    """What a format knows of a call.

    Attributes:
        request, response: the bodies.
        request_at, response_at: JSON pointers to them.
        shared: who, which ids and which model; on every event.
        times: when the call ended, and began (``started_at``): on the response, and its moment on what follows it.
        measured: usage, cost, latency and outcome as the gateway states them: on the response alone.
        surroundings: verdicts and retrieved documents, between prompt and response.
    """

    request: Body
    response: Body
    request_at: str = "/request"
    response_at: str = "/response"
    shared: Metadata = field(default_factory=lambda: Metadata())
    times: Metadata = field(default_factory=lambda: Metadata())
    measured: Metadata = field(default_factory=lambda: Metadata())
    surroundings: list[Draft] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        """Whether anything is known of an answer."""
        return bool(self.response.value is not None or self.response.gaps or self.measured)


def exchange_drafts(exchange: Exchange) -> list[Draft]:
    """The events, in causal order: prompt, tool results and documents that are new in it, surroundings, response, calls
    and results in it."""
    _name_model(exchange)
    asked = exchange.request.fields
    starting = at_start(exchange.shared, exchange.times)
    drafts = [_body_draft("prompt", exchange.request, starting, exchange.request_at)]
    for name in ("messages", "input"):
        results = new_results(asked.get(name), f"{exchange.request_at}/{name}")
        drafts += [result_draft(result, starting) for result in results]
    drafts += [document_draft(document, starting) for document in new_documents(asked, exchange.request_at)]
    for draft in exchange.surroundings:
        draft.metadata = {**starting, **_stated(draft.metadata)}
    drafts += exchange.surroundings
    if not exchange.answered:
        return drafts
    drafts.append(_response_draft(exchange))
    ending: Metadata = {**exchange.shared, **at_moment(exchange.times)}
    body = exchange.response.value
    drafts += [call_draft(call, ending) for call in body_calls(body, exchange.response_at)]
    drafts += [result_draft(result, ending) for result in body_results(body, exchange.response_at)]
    return drafts


def _name_model(exchange: Exchange) -> None:
    """What the bodies say of model, ids and user, where the gateway did not say it itself."""
    shared, asked, answered = exchange.shared, exchange.request.fields, exchange.response.fields
    _prefer(shared, "model_requested", asked.get("model"))
    _prefer(shared, "model_served", answered.get("model", answered.get("modelVersion")))
    _prefer(shared, "request_id_response", answered.get("id", answered.get("responseId")))
    _prefer(shared, "previous_response_id", asked.get("previous_response_id"))
    conversation = asked.get("conversation")
    _prefer(shared, "conversation_id", conversation.get("id") if isinstance(conversation, dict) else conversation)
    about = asked.get("metadata")
    named = about.get("user_id") if isinstance(about, dict) else None
    for user in (asked.get("user"), asked.get("safety_identifier"), named):
        _prefer(shared, "end_user_id", user)
    if shared.get("assurance", "") in ("", "unknown"):
        shared["assurance"] = "client_asserted" if shared.get("end_user_id") else "unknown"
    if shared.get("stream") is None:
        shared["stream"] = asked["stream"] if isinstance(asked.get("stream"), bool) else None
    if exchange.response.streamed:
        shared["stream"] = True
    if not shared.get("operation"):
        shared["operation"] = operation_of(shared.get("endpoint", ""), asked)


def _response_draft(exchange: Exchange) -> Draft:
    response, body = exchange.response, exchange.response.fields
    metadata: Metadata = {**exchange.shared, **exchange.times, **body_usage(body)}
    metadata.update(_stated(exchange.measured))
    error = body_error(response.error or body)
    for name, text in error.items():
        if text and not metadata.get(name):
            metadata[name] = text  # type: ignore[literal-required]
    if not metadata.get("outcome"):
        metadata["outcome"] = status_outcome(metadata.get("http_status"), bool(error))
    if response.broken and metadata["outcome"] in ("", "ok"):
        metadata["outcome"] = "error" if response.error else "partial"
    if metadata["outcome"] == "error" and not metadata.get("error_stage"):
        metadata["error_stage"] = "provider" if error else "gateway"
    raw = stop_word(response.value)
    if raw:
        metadata["stop_reason_raw"], metadata["stop_reason"] = raw, stop_reason(raw)
    return _body_draft("response", response, metadata, exchange.response_at)


def _body_draft(kind: Any, body: Body, metadata: Metadata, at: str) -> Draft:
    own: Metadata = {**metadata}
    state_gaps(own, body.gaps)
    return Draft(kind, own, body.value, at)


def call_draft(call: ToolCall, ending: Metadata) -> Draft:
    """A call that the model asked for."""
    metadata: Metadata = {
        **ending,
        "call_id": call.call_id,
        "tool_name": call.name,
        "tool_kind": call.kind,
        "tool_server": call.server,
    }
    return Draft("tool_call", metadata, argument_content(call.arguments), call.pointer)


def result_draft(result: ToolResult, shared: Metadata) -> Draft:
    """What a tool gave back."""
    metadata: Metadata = {
        **shared,
        "call_id": result.call_id,
        "tool_name": result.name,
        "tool_kind": result.kind,
        "tool_server": result.server,
        "tool_is_error": result.is_error,
    }
    return Draft("tool_result", metadata, {"result": result.result}, result.pointer)


def document_draft(document: Document, starting: Metadata) -> Draft:
    """A document that the request put before the model."""
    metadata: Metadata = {
        **starting,
        "document_id": document.document_id,
        "document_source": document.source,
        "document_label": document.label,
        "document_sha256": document.sha256,
    }
    state_gaps(metadata, document.gaps)
    return Draft("context", metadata, {"document": document.block}, document.pointer)


def at_start(shared: Metadata, times: Metadata) -> Metadata:
    """``shared`` at the start of the call."""
    asked: Metadata = {**shared, **at_moment(times)}
    if times.get("started_at") is not None:
        asked["occurred_at"] = times["started_at"]  # type: ignore[typeddict-item]
        asked["time_precision"], asked["time_role"] = times.get("time_precision", ""), "start"
    return asked


def at_moment(times: Metadata) -> Metadata:
    """Only the moment of ``times``, for events that have no duration of their own."""
    moment: Metadata = {}
    for name in ("occurred_at", "time_precision", "time_role"):
        if name in times:
            moment[name] = times[name]
    return moment


def name_provider(shared: Metadata, raw: str) -> None:
    """The provider, in the source's word and in ours, and how it was reached."""
    shared["provider_raw"], shared["provider"] = raw, provider_name(raw)
    shared["model_path"] = model_path(shared["provider"])


_OPERATIONS = (
    ("/chat/completions", "chat"),
    ("/messages", "chat"),
    ("/responses", "chat"),
    ("/completions", "text_completion"),
    ("/embeddings", "embeddings"),
    ("/rerank", "rerank"),
    ("/images/generations", "image_generation"),
    ("/audio/speech", "speech"),
    ("/audio/transcriptions", "transcription"),
    ("generatecontent", "generate_content"),
)
"""How a path ends → OpenTelemetry's operation name; the first that fits."""


def operation_of(endpoint: str, request: dict[str, Any]) -> str:
    """The operation, by the path that was asked, else by the shape of the request; ``""`` when neither tells."""
    path = "/" + endpoint_path(endpoint).strip("/").lower()
    for end, name in _OPERATIONS:
        if path.endswith(end):
            return name
    if isinstance(request.get("messages"), list):
        return "chat"
    return "text_completion" if isinstance(request.get("prompt"), str) else ""


def endpoint_path(endpoint: str) -> str:
    """The path of a URL, or of what is a path already."""
    try:
        return urlsplit(endpoint).path
    except ValueError:
        return endpoint


def _stated(metadata: Metadata) -> Metadata:
    """Without the fields that say nothing."""
    return {name: value for name, value in metadata.items() if value not in (None, "", [])}  # type: ignore[return-value]


def _prefer(shared: Metadata, name: str, value: object) -> None:
    if isinstance(value, str) and value and not shared.get(name):
        shared[name] = value  # type: ignore[literal-required]
