"""The calls and results found in messages, as events of their own."""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.genai_messages import calls_in, results_in
from collector.gateways.json_texts import argument_content
from schemas.metadata import Metadata


def call_drafts(messages: Any, metadata: Metadata) -> list[Draft]:
    """One ``tool_call`` event per call that output messages ask for; ``metadata`` is what they share."""
    drafts = []
    for call in calls_in(messages) if isinstance(messages, list) else ():
        fields: Metadata = {**metadata, "call_id": call.call_id, "tool_name": call.name, "tool_kind": call.kind}
        if call.server:
            fields["tool_server"] = call.server
        drafts.append(Draft("tool_call", fields, argument_content(call.arguments)))
    return drafts


def result_drafts(messages: Any, metadata: Metadata) -> list[Draft]:
    """One ``tool_result`` event per result that is new in input messages."""
    drafts = []
    for result in results_in(messages) if isinstance(messages, list) else ():
        fields: Metadata = {**metadata, "call_id": result.call_id, "tool_name": result.name, "tool_kind": result.kind}
        if result.server:
            fields["tool_server"] = result.server
        if result.is_error is not None:
            fields |= {"tool_is_error": result.is_error, "outcome": "error" if result.is_error else "ok"}
        drafts.append(Draft("tool_result", fields, {"result": result.result}))
    return drafts
