"""Reading the messages of spans and log records: OpenTelemetry's own shape, and those of providers inside of it.

Messages are kept as the source wrote them; these functions only look into them. A message with ``parts`` is of the
GenAI conventions' JSON schema; any other is read as a provider's (:mod:`collector.gateways.messages`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collector.gateways.gaps import Gap, pointer
from collector.gateways.json_texts import parsed
from collector.gateways.messages import ToolCall, ToolResult, body_calls, new_results


def messages_of(value: Any, role: str) -> list[Any]:
    """A list of messages from whatever stands for one: JSON text, a list, one message, or bare text of ``role``."""
    value = parsed(value)
    if isinstance(value, dict):
        for name in ("messages", "input", "choices"):
            if isinstance(value.get(name), list) and len(value) == 1:
                return list(value[name])
        return [value]
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and "type" in item and "role" not in item for item in value):
            return [{"role": role, "parts": value}]
        return value
    return [] if value is None else [{"role": role, "content": value}]


def calls_in(messages: list[Any]) -> list[ToolCall]:
    """The tool calls of output messages, in order."""
    return [call for message in messages for call in _calls(message)]


def results_in(messages: list[Any]) -> list[ToolResult]:
    """The tool results that are new in a prompt: those behind the last message of the assistant, for each turn
    repeats all that came before."""
    found: list[list[ToolResult]] = []
    for message in reversed(messages):
        inner = _unwrap(message)
        if not isinstance(inner, dict) or inner.get("role") in ("assistant", "model", "ai"):
            break
        found.append(list(_results(inner)))
    return [result for results in reversed(found) for result in results]


def empty_parts(messages: Any) -> list[Gap]:
    """Parts that say of what type they are and nothing else: images, audio and reasoning, as Envoy writes them."""
    return [
        Gap(pointer("content", "messages", at, "parts", index), "omitted", note=str(part["type"])[:64])
        for at, message in enumerate(messages if isinstance(messages, list) else ())
        if isinstance(message, dict) and isinstance(message.get("parts"), list)
        for index, part in enumerate(message["parts"])
        if isinstance(part, dict) and part.keys() == {"type"}
    ]


def finish_reason(messages: list[Any]) -> str:
    """Why the first output message ended, ``""`` where it does not say."""
    for message in _choices(messages[:1]):
        if isinstance(message, dict):
            for name in ("finish_reason", "stop_reason"):
                if isinstance(message.get(name), str):
                    return str(message[name])
    return ""


def _choices(messages: list[Any]) -> list[Any]:
    """The choices of a whole OpenAI response that stands in the place of its messages."""
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    choices = first.get("choices")
    return choices if isinstance(choices, list) and choices else messages


def _unwrap(message: Any) -> Any:
    """The message of an OpenAI choice (``{"index", "message", "finish_reason"}``)."""
    inner = message.get("message") if isinstance(message, dict) else None
    return inner if isinstance(inner, dict) else message


def _calls(message: Any) -> Iterator[ToolCall]:
    inner = _unwrap(message)
    parts = inner.get("parts") if isinstance(inner, dict) else None
    if not isinstance(parts, list):
        yield from body_calls(inner, "")
        return
    for part in parts:
        match part:
            case {"type": "tool_call" | "function_call"}:
                yield _call(part, "function", part.get("arguments", part.get("args")))
            case {"type": "server_tool_call"}:
                yield _call(part, "server", part.get("server_tool_call"))
            case {"type": "tool_use" | "server_tool_use" | "mcp_tool_use"}:
                yield from body_calls({"content": [part]}, "")


def _call(part: dict[str, Any], kind: str, arguments: Any) -> ToolCall:
    return ToolCall(_text(part.get("call_id") or part.get("id")), _text(part.get("name")), kind, "", arguments, "")


_ANSWERS = ("response", "result", "content", "output", "server_tool_call_response")
"""Where a result lies: the schema says ``response``, the specification's example ``result``, Envoy ``content``."""


def _results(message: dict[str, Any]) -> Iterator[ToolResult]:
    parts = message.get("parts")
    if isinstance(parts, list):
        for part in parts:
            match part:
                case {"type": "tool_call_response" | "function_call_output" | "server_tool_call_response"}:
                    yield _result(part, next((part[name] for name in _ANSWERS if name in part), None))
                case {"type": "tool_result"}:
                    yield from new_results([{"content": [part]}], "")
    elif message.get("role") in ("tool", "function") and "tool_call_id" not in message:
        yield _result(message, message.get("content"))
    else:
        yield from new_results([message], "")


def _result(part: dict[str, Any], result: Any) -> ToolResult:
    failed = part.get("is_error")
    is_error = failed if isinstance(failed, bool) else None
    kind = "server" if part.get("type") == "server_tool_call_response" else "function"
    return ToolResult(
        _text(part.get("call_id") or part.get("id")), _text(part.get("name")), kind, "", result, is_error, ""
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
