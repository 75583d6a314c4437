"""Anthropic inference hooks: what a user of Claude Enterprise is about to send, before the model sees it.

A frame is one JSON object. ``prompt`` holds the whole conversation so far, ``tool_call`` the conversation and the
answer whose tools are about to run. Types that are not known yet are kept whole. Source: platform.claude.com, Inference
hooks (collector/pages/anthropic-hooks.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import Gap, pointer, state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.messages import argument_content, body_calls, first_new, new_results
from collector.gateways.times import from_seconds
from collector.json_units import parse_json
from schemas.metadata import Metadata

_UNSEEN = Gap("/content/system", "omitted", note="system prompts, tool definitions and reasoning are never sent")
_NO_BYTES = "extracted text only; the bytes of a file are never sent"


class AnthropicHooksFormat:
    """See the module. ``POST /v1/anthropic-hooks/{webhook}``."""

    name = "anthropic-hooks"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit: the frame."""
        unit = parse_json(body)
        frame, error = unit.value, unit.error
        if not error and not (isinstance(frame, dict) and isinstance(frame.get("type"), str)):
            error = f"got {type(frame).__name__}, expected an object with a type: a frame of an inference hook"
        if error:
            return Reading([Unit(body, received.headers.get("webhook-id", ""), error=error)], error)
        fields = Fields(frame)
        kind = fields.take_text("type")
        shared, request_id = _take_shared(fields, received)
        drafts = _drafts(kind, fields, shared)
        first = drafts[0].metadata
        first["extras"] = fields.leftovers()
        # Leave for a prompt and for the tools of its answer may be asked under one id.
        source_id = request_id if kind == "prompt" or not request_id else f"{kind}:{request_id}"
        return Reading([Unit(body, source_id, drafts)])


def _take_shared(fields: Fields, received: Received) -> tuple[Metadata, str]:
    """Who, which ids, which model, when it was signed."""
    actor = fields.part("actor")
    header = received.headers.get("webhook-id", "")
    request_id = fields.take_text("request_id") or header
    shared: Metadata = {
        "exchange_id": request_id,
        "request_id_provider": request_id,
        "session_id": fields.take_text("session_id"),
        "org_id": fields.take_text("tenant_id"),
        "actor_type": actor.take_text("type"),
        "user_id": actor.take_text("id"),
        "user_email": actor.take_text("email_address"),
        "model_requested": fields.take_text("model"),
        "provider": "anthropic",
        "model_path": "direct",
        "operation": "chat",
        "assurance": "provider_authenticated",
    }
    if shared["user_id"]:
        shared["user_id_kind"] = "anthropic_account"
    stamp = received.headers.get("webhook-timestamp", "")
    moment = from_seconds(int(stamp)) if len(stamp) <= 12 and stamp.isascii() and stamp.isdigit() else None
    if moment is not None:
        shared["occurred_at"], shared["time_precision"], shared["time_role"] = *moment, "emit"
    return shared, request_id


def _drafts(kind: str, fields: Fields, shared: Metadata) -> list[Draft]:
    messages = fields.take("messages")
    if kind == "prompt":
        return _prompt_drafts(messages, shared)
    if kind == "tool_call" and isinstance(messages, list) and messages:
        return _tool_drafts(messages, shared)
    content = {} if messages is None else {"messages": messages}
    return [Draft("session", {**shared, "operation": kind, "content_state": "full"}, content or None)]


def _prompt_drafts(messages: Any, shared: Metadata) -> list[Draft]:
    """The conversation, and of it what is new: tool results and documents behind the last answer."""
    prompt = Draft("prompt", {**shared}, {"messages": messages} if messages else None, "/messages" if messages else "")
    state_gaps(prompt.metadata, [_UNSEEN])
    drafts = [prompt]
    for result in new_results(messages, "/messages"):
        metadata: Metadata = {
            **shared,
            "call_id": result.call_id,
            "tool_name": result.name,
            "tool_is_error": result.is_error,
        }
        drafts.append(Draft("tool_result", metadata, {"result": result.result}, result.pointer))
    drafts += [_document_draft(block, at, shared) for block, at in _attachments(messages)]
    return drafts


def _tool_drafts(messages: list[Any], shared: Metadata) -> list[Draft]:
    """The last message is the answer that calls tools; what stands before it was recorded with its prompt, and is
    repeated in the content, so that the frame is kept whole."""
    answer, before = messages[-1], messages[:-1]
    at = pointer("messages", len(before))
    content = {"message": answer, **({"messages": before} if before else {})}
    response = Draft("response", {**shared, "stop_reason": "tool_call"}, content, at)
    state_gaps(response.metadata, [Gap("/content/message", "omitted", note=_UNSEEN.note)])
    drafts = [response]
    for call in body_calls(answer, at):
        metadata: Metadata = {**shared, "call_id": call.call_id, "tool_name": call.name, "tool_kind": call.kind}
        drafts.append(Draft("tool_call", metadata, argument_content(call.arguments), call.pointer))
    return drafts


def _attachments(messages: Any) -> Iterator[tuple[dict[str, Any], str]]:
    if not isinstance(messages, list):
        return
    first = first_new(messages)
    for index, message in enumerate(messages[first:], first):
        blocks = message.get("content") if isinstance(message, dict) else None
        for place, block in enumerate(blocks if isinstance(blocks, list) else []):
            if isinstance(block, dict) and block.get("type") == "attachment":
                yield block, pointer("messages", index, "content", place)


def _document_draft(block: dict[str, Any], at: str, shared: Metadata) -> Draft:
    fields, text = Fields(block), block.get("text")
    metadata: Metadata = {**shared, "document_label": fields.take_text("file_name")}
    size = fields.take_count("size_bytes")
    if isinstance(text, str) and text:
        metadata["document_sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        gap = Gap("/content/document", "omitted", original_size=size, note=_NO_BYTES)
    else:
        gap = Gap("/content/document", "not_captured", original_size=size, note=_NO_BYTES)
    state_gaps(metadata, [gap])
    return Draft("context", metadata, {"document": block}, at)
