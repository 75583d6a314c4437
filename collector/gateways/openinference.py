"""OpenInference (Arize Phoenix, Envoy AI Gateway): messages flattened under ``llm.``, whole bodies under ``input.``.

Source: openinference spec/semantic_conventions.md (collector/pages/opentelemetry.md).
"""

from __future__ import annotations

from typing import Any

from collector.gateways.flattened import take_flattened
from collector.gateways.gaps import Gap
from collector.gateways.genai_content import Inference
from collector.gateways.genai_messages import messages_of
from collector.gateways.json_texts import parsed

NAME = "openinference"

REDACTED = "__REDACTED__"
"""What ``OPENINFERENCE_HIDE_…`` leaves in place of a value."""

OPERATIONS = {"LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank", "TOOL": "execute_tool",
              "AGENT": "invoke_agent", "RETRIEVER": "retrieval"}  # fmt: skip
"""``openinference.span.kind`` → OpenTelemetry's operation name."""


def take_content(attributes: dict[str, Any], inference: Inference) -> None:
    """Messages, tools, parameters, and the bodies that they were taken from."""
    if any(key.startswith("llm.") for key in attributes):
        inference.ask("messages", _messages(attributes, "llm.input_messages."), NAME, "llm.input_messages")
        inference.answer("messages", _messages(attributes, "llm.output_messages."), NAME, "llm.output_messages")
        inference.ask("tools", _tools(attributes), NAME, "llm.tools")
        for name, key in (("parameters", "llm.invocation_parameters"), ("prompts", "llm.prompts")):
            if key in attributes:
                inference.ask(name, parsed(attributes.pop(key)), NAME, key)
    take_bodies(attributes, inference)


def take_bodies(attributes: dict[str, Any], inference: Inference) -> None:
    """``input.value`` and ``output.value``; they stand in for messages that were not flattened."""
    for key, add, content, gaps, role in (
        ("input.value", inference.ask, inference.prompt, inference.prompt_gaps, "user"),
        ("output.value", inference.answer, inference.response, inference.response_gaps, "assistant"),
    ):
        if key not in attributes:
            continue
        name = key.partition(".")[0]
        value = attributes.pop(key)
        if value == REDACTED:
            gaps.append(Gap(f"/content/{name}", "redacted", note=REDACTED))
        body = parsed(value)
        add(name, body, NAME, key)
        if "messages" not in content and isinstance(body, dict):
            listed = body.get("messages" if role == "user" else "choices")
            add("messages", messages_of(listed, role) if isinstance(listed, list) else None, NAME, key)


def _messages(attributes: dict[str, Any], prefix: str) -> list[Any] | None:
    value = take_flattened(attributes, prefix)
    if not isinstance(value, list):
        if value is not None:
            attributes[prefix.rstrip(".")] = value
        return None
    return [_message(item) for item in value]


def _message(item: Any) -> Any:
    """``{"message": {…, "contents": […], "tool_calls": […]}}`` without the wrappers that flattening needed."""
    if not isinstance(item, dict) or not isinstance(item.get("message"), dict) or len(item) != 1:
        return item
    message = dict(item["message"])
    for plural, singular in (("contents", "message_content"), ("tool_calls", "tool_call")):
        if isinstance(message.get(plural), list):
            message[plural] = [_unwrap(inner, singular) for inner in message[plural]]
    if isinstance(message.get("contents"), list) and "content" not in message:
        message["content"] = message.pop("contents")
    return message


def _unwrap(item: Any, name: str) -> Any:
    return item[name] if isinstance(item, dict) and item.keys() == {name} else item


def _tools(attributes: dict[str, Any]) -> list[Any] | None:
    value = take_flattened(attributes, "llm.tools.")
    if not isinstance(value, list):
        return None if value is None else [value]
    return [parsed(_unwrap(_unwrap(item, "tool"), "json_schema")) for item in value]
