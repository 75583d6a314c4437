"""Langfuse's attributes on OpenTelemetry spans: the input and output of an observation, its details as JSON text.

Source: langfuse SDK 5, ``LangfuseOtelSpanAttributes`` (collector/pages/opentelemetry.md).
"""

from __future__ import annotations

from typing import Any

from collector.gateways.genai_attributes import count
from collector.gateways.genai_content import Inference
from collector.gateways.genai_messages import messages_of
from collector.gateways.json_texts import parsed
from collector.gateways.times import from_text
from collector.json_units import encode_content
from schemas.metadata import Metadata

NAME = "langfuse"
_OBSERVATION = "langfuse.observation."


def take_content(attributes: dict[str, Any], inference: Inference) -> None:
    """Input, output and parameters of an observation."""
    if _OBSERVATION + "input" in attributes:
        key = _OBSERVATION + "input"
        inference.ask_body(attributes.pop(key), NAME, key)
    if _OBSERVATION + "output" in attributes:
        key = _OBSERVATION + "output"
        inference.answer("messages", messages_of(attributes.pop(key), "assistant"), NAME, key)
    key = _OBSERVATION + "model.parameters"
    if key in attributes:
        inference.ask("parameters", parsed(attributes.pop(key)), NAME, key)


def take_usage(attributes: dict[str, Any], metadata: Metadata) -> None:
    """Tokens, cost and first token; what a key of ``usage_details`` counts is the integration's own choice.

    Standard attributes beside them go first; Langfuse's then stay as extras.
    """
    usage = parsed(attributes.get(_OBSERVATION + "usage_details"))
    if isinstance(usage, dict) and "usage_raw" not in metadata:
        del attributes[_OBSERVATION + "usage_details"]
        metadata["usage_raw"] = encode_content(usage).decode()
        metadata["usage_semantics"] = "unknown"
        metadata.setdefault("input_tokens", count(usage.get("input", usage.get("prompt_tokens"))))
        metadata.setdefault("output_tokens", count(usage.get("output", usage.get("completion_tokens"))))
        metadata.setdefault("total_tokens", count(usage.get("total", usage.get("total_tokens"))))
    costs = parsed(attributes.get(_OBSERVATION + "cost_details"))
    if isinstance(costs, dict) and "cost_raw" not in metadata:
        del attributes[_OBSERVATION + "cost_details"]
        metadata["cost_raw"] = encode_content(costs).decode()
        total = costs.get("total")
        if isinstance(total, int | float) and not isinstance(total, bool):
            metadata["cost_amount"] = float(total)
            metadata["cost_currency"] = "USD"
            metadata["cost_computed_by"] = "source"
    started = attributes.get(_OBSERVATION + "completion_start_time")
    moment = from_text(started.strip('"')) if isinstance(started, str) else None
    if moment is not None:
        metadata["first_token_at"] = moment.micros
