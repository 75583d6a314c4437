"""Looking into the bodies of providers: OpenAI chat and Responses, Anthropic Messages. Shared by the formats.

Bodies are kept as the source wrote them; these functions find what was called, what came back and how it ended, each
with a JSON pointer to the place. The shapes are those of the providers' API references.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collector.gateways.gaps import pointer
from collector.gateways.json_texts import argument_content

__all__ = [
    "ToolCall",
    "ToolResult",
    "argument_content",
    "body_calls",
    "body_results",
    "first_new",
    "new_results",
    "stop_word",
]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asked for.

    ``kind`` is ``function``, ``custom``, ``server`` (the provider runs it) or ``mcp`` (the provider calls an MCP
    server). ``arguments`` as the source has them: text, or any JSON value.
    """

    call_id: str
    name: str
    kind: str
    server: str
    arguments: Any
    pointer: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back."""

    call_id: str
    name: str
    kind: str
    server: str
    result: Any
    is_error: bool | None
    pointer: str


def body_calls(body: object, at: str) -> list[ToolCall]:
    """The tool calls in a provider's response, in order. ``at`` is the pointer to it."""
    return [call for message, place in _answers(body, at) for call in _calls(message, place)]


def body_results(body: object, at: str) -> list[ToolResult]:
    """The results of tools that the provider ran itself and put into its response."""
    return [result for message, place in _answers(body, at) for result in _results(message, place)]


def new_results(messages: object, at: str) -> list[ToolResult]:
    """The tool results that are new in a request: those after the last message of the assistant, for each turn repeats
    all that came before."""
    if not isinstance(messages, list):
        return []
    first = first_new(messages)
    return [
        result for index, message in enumerate(messages[first:], first) for result in _results(message, f"{at}/{index}")
    ]


def first_new(messages: list[Any]) -> int:
    """The place of the first message that follows the last one of the assistant."""
    first = 0
    for index, message in enumerate(messages):
        if isinstance(message, dict) and (message.get("role") == "assistant" or _is_call(message)):
            first = index + 1
    return first


def stop_word(body: object) -> str:
    """Why the response ended, in the provider's word: of the first choice."""
    if not isinstance(body, dict):
        return ""
    choices = body.get("choices")
    places = choices if isinstance(choices, list) and choices else [body]
    first = places[0] if isinstance(places[0], dict) else {}
    for name in ("finish_reason", "stop_reason"):
        if isinstance(first.get(name), str) and first[name]:
            return str(first[name])
    incomplete = body.get("incomplete_details")
    if isinstance(incomplete, dict) and isinstance(incomplete.get("reason"), str):
        return str(incomplete["reason"])
    if body.get("object") == "response" and isinstance(body.get("status"), str):
        has_call = any(_is_call(item) for item in _dicts(body.get("output")))
        return "function_call" if has_call and body["status"] == "completed" else str(body["status"])
    return ""


def _answers(body: object, at: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The messages of a response: choices (chat), output items (Responses), or the body itself (Anthropic)."""
    if not isinstance(body, dict):
        return
    choices = body.get("choices")
    if isinstance(choices, list):
        for index, choice in enumerate(choices):
            if isinstance(choice, dict) and isinstance(choice.get("message"), dict):
                yield choice["message"], at + pointer("choices", index, "message")
    output = body.get("output")
    if isinstance(output, list):
        for index, item in enumerate(output):
            if isinstance(item, dict):
                yield item, at + pointer("output", index)
    if "content" in body or "tool_calls" in body:
        yield body, at


def _calls(message: dict[str, Any], at: str) -> Iterator[ToolCall]:
    if _is_call(message):
        yield from _block_call(message, at)
    for index, block in _numbered(message.get("content")):
        yield from _block_call(block, at + pointer("content", index))
    for index, call in _numbered(message.get("tool_calls")):
        function = call.get("function", call.get("custom"))
        inner = function if isinstance(function, dict) else call
        kind = "custom" if call.get("type") == "custom" else "function"
        arguments = next((inner[name] for name in ("arguments", "input") if name in inner), None)
        yield ToolCall(
            _text(call.get("id")), _text(inner.get("name")), kind, "", arguments, at + pointer("tool_calls", index)
        )
    old = message.get("function_call")
    if isinstance(old, dict) and old.get("name"):
        yield ToolCall("", _text(old["name"]), "function", "", old.get("arguments"), at + "/function_call")


_CALL_BLOCKS = {
    "tool_use": "function",
    "server_tool_use": "server",
    "mcp_tool_use": "mcp",
    "function_call": "function",
    "custom_tool_call": "custom",
    "mcp_call": "mcp",
    **dict.fromkeys(
        (
            *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
            *("computer_call", "local_shell_call", "shell_call", "apply_patch_call"),
        ),
        "server",
    ),
}
"""``type`` of an Anthropic block or a Responses item → kind of the call."""

_RESULT_BLOCKS = {
    "tool_result": "function",
    "function_call_output": "function",
    "custom_tool_call_output": "custom",
    "mcp_tool_result": "mcp",
    **dict.fromkeys(("computer_call_output", "local_shell_call_output", "shell_call_output"), "server"),
}


def _is_call(message: dict[str, Any]) -> bool:
    kind = message.get("type")
    return isinstance(kind, str) and kind in _CALL_BLOCKS


def _block_call(block: dict[str, Any], at: str) -> Iterator[ToolCall]:
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in _CALL_BLOCKS:
        return
    arguments = next((block[name] for name in ("input", "arguments", "action", "queries") if name in block), None)
    yield ToolCall(
        _text(block.get("call_id") or block.get("id")),
        _text(block.get("name") or block.get("tool_name")) or kind,
        _CALL_BLOCKS[kind],
        _text(block.get("server_name") or block.get("server_label")),
        arguments,
        at,
    )


def _results(message: object, at: str) -> Iterator[ToolResult]:
    if not isinstance(message, dict):
        return
    if message.get("role") in ("tool", "function"):
        call_id = _text(message.get("tool_call_id"))
        yield ToolResult(call_id, _text(message.get("name")), "function", "", message.get("content"), None, at)
        return
    yield from _block_result(message, at)
    for index, block in _numbered(message.get("content")):
        yield from _block_result(block, at + pointer("content", index))


def _block_result(block: dict[str, Any], at: str) -> Iterator[ToolResult]:
    kind = block.get("type")
    if not isinstance(kind, str):
        return
    if kind == "mcp_call" and (block.get("output") is not None or block.get("error") is not None):
        failed = block.get("error") is not None
        result = block["error"] if failed else block["output"]
        server = _text(block.get("server_label"))
        yield ToolResult(_text(block.get("id")), _text(block.get("name")), "mcp", server, result, failed, at)
        return
    known = _RESULT_BLOCKS.get(kind) or ("server" if kind.endswith("_tool_result") else "")
    if not known:
        return
    flag = block.get("is_error")
    yield ToolResult(
        _text(block.get("tool_use_id") or block.get("call_id") or block.get("id")),
        _text(block.get("name") or block.get("tool_name"))
        or ("" if kind in _RESULT_BLOCKS else kind.removesuffix("_tool_result")),
        known,
        _text(block.get("server_name")),
        next((block[name] for name in ("content", "output") if name in block), None),
        flag if isinstance(flag, bool) else None,
        at,
    )


def _numbered(value: object) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield index, item


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    for _, item in _numbered(value):
        yield item


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
