"""Reading messages of any shape that a span or log record may hold: what was called, what came back, how it ended.

Messages are kept as the source wrote them; these functions only look into them. The shapes: OpenTelemetry
(``parts``), OpenAI chat (``tool_calls``, role ``tool``) and Anthropic (content blocks ``tool_use``, ``tool_result``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collector.json_units import parse_json


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a model asked for. ``arguments`` as the source has them: text, or any JSON value."""

    call_id: str
    name: str
    arguments: Any
    pointer: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave back to a model."""

    call_id: str
    name: str
    result: Any
    is_error: bool | None
    pointer: str


def parsed(value: Any) -> Any:
    """What a text says if it is a JSON object or array; anything else as it is."""
    if not isinstance(value, str) or value[:1].strip() not in ("", "{", "["):
        return value
    stripped = value.lstrip()
    if stripped[:1] not in ("{", "["):
        return value
    unit = parse_json(value.encode("utf-8", "surrogatepass"))
    return value if unit.error else unit.value


def messages_of(value: Any, role: str) -> list[Any]:
    """A list of messages from whatever stands for one: JSON text, a list, one message, or bare text of ``role``."""
    value = parsed(value)
    if isinstance(value, dict):
        for name in ("messages", "input", "choices"):
            if isinstance(value.get(name), list):
                return list(value[name])
        return [value]
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and "type" in item and "role" not in item for item in value):
            return [{"role": role, "parts": value}]
        return value
    return [] if value is None else [{"role": role, "content": value}]


def argument_content(arguments: Any) -> dict[str, Any]:
    """Arguments as the content of a call; where the source had text, the exact text is kept beside its value."""
    if isinstance(arguments, str):
        value = parsed(arguments)
        return {"arguments": value, "arguments_text": arguments} if value is not arguments else {"arguments": arguments}
    return {"arguments": arguments}


def calls_in(messages: list[Any]) -> list[Call]:
    """The tool calls of output messages, in order."""
    return [call for at, message in enumerate(messages) for call in _calls(_unwrap(message), f"/messages/{at}")]


def results_in(messages: list[Any]) -> list[Result]:
    """The tool results that are new in a prompt: those behind the last message of the assistant, for each turn
    repeats all that came before."""
    found: list[list[Result]] = []
    for at in range(len(messages) - 1, -1, -1):
        message = _unwrap(messages[at])
        if not isinstance(message, dict) or message.get("role") in ("assistant", "model", "ai"):
            break
        found.append(list(_results(message, f"/messages/{at}")))
    return [result for results in reversed(found) for result in results]


def finish_reason(messages: list[Any]) -> str:
    """Why the first output message ended, ``""`` where it does not say."""
    for message in messages[:1]:
        if isinstance(message, dict):
            for name in ("finish_reason", "stop_reason"):
                if isinstance(message.get(name), str):
                    return str(message[name])
    return ""


def _unwrap(message: Any) -> Any:
    """The message of an OpenAI choice (``{"index", "message", "finish_reason"}``)."""
    inner = message.get("message") if isinstance(message, dict) else None
    return inner if isinstance(inner, dict) else message


def _calls(message: Any, at: str) -> Iterator[Call]:
    if not isinstance(message, dict):
        return
    for name in ("parts", "content"):
        for index, part in _dicts(message.get(name)):
            yield from _call_of_part(part, f"{at}/{name}/{index}")
    for index, call in _dicts(message.get("tool_calls")):
        function = call.get("function", call.get("custom"))
        inner = function if isinstance(function, dict) else call
        arguments = next((inner[name] for name in ("arguments", "input", "args") if name in inner), None)
        yield Call(_string(call.get("id")), _string(inner.get("name")), arguments, f"{at}/tool_calls/{index}")
    old = message.get("function_call")
    if isinstance(old, dict):
        yield Call("", _string(old.get("name")), old.get("arguments"), f"{at}/function_call")


def _call_of_part(part: dict[str, Any], at: str) -> Iterator[Call]:
    match part.get("type"):
        case "tool_call" | "function_call":
            call_id = _string(part.get("call_id") or part.get("id"))
            yield Call(call_id, _string(part.get("name")), part.get("arguments", part.get("args")), at)
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            yield Call(_string(part.get("id")), _string(part.get("name")), part.get("input"), at)
        case "server_tool_call":
            yield Call(_string(part.get("id")), _string(part.get("name")), part.get("server_tool_call"), at)


def _results(message: dict[str, Any], at: str) -> Iterator[Result]:
    if message.get("role") in ("tool", "function") and "parts" not in message:
        call_id = _string(message.get("tool_call_id") or message.get("id"))
        yield Result(call_id, _string(message.get("name")), message.get("content"), None, at)
        return
    for name in ("parts", "content"):
        for index, part in _dicts(message.get(name)):
            kind = part.get("type")
            if kind in ("tool_call_response", "tool_result", "function_call_output", "server_tool_call_response"):
                call_id = _string(part.get("tool_use_id") or part.get("call_id") or part.get("id"))
                names = ("response", "result", "content", "output", "server_tool_call_response")
                result = next((part[key] for key in names if key in part), None)
                failed = part.get("is_error")
                is_error = failed if isinstance(failed, bool) else None
                yield Result(call_id, _string(part.get("name")), result, is_error, f"{at}/{name}/{index}")


def _dicts(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield index, item


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, dict | list) else json.dumps(value)
