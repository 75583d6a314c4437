"""A short excerpt of an event's content, for a line of a timeline. Pure, and total: any text gives some text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

WIDTH = 100

_FIRST = {
    "prompt": ("messages", "prompt", "input", "content", "text"),
    "response": ("choices", "messages", "output", "message", "content", "text"),
    "tool_call": ("arguments", "arguments_text", "input", "parameters"),
    "tool_result": ("result", "structured", "output", "content", "response", "error", "parameters"),
    "context": ("text", "content", "documents", "chunks"),
    "guardrail": ("message", "reason", "guardrail_response"),
}
"""Where the words of a kind are, best first. A kind or key that is not here is searched from the top."""

_WORDS = ("content", "text", "refusal", "result", "response", "arguments", "input", "reasoning", "thinking", "name")
"""Keys below those, in the same sense."""

_DATA = ("result", "response", "arguments", "input")
"""Where what is found may be data and no message: it is shown as JSON."""

_DEPTH = 12

_TOLD_ELSEWHERE = "urn:uuid:"
"""Stands in a prompt for the result of a tool, which is an event of its own and told there."""


def excerpt(kind: str, content: str, width: int = WIDTH) -> str:
    """One line of at most ``width`` characters that says what the content says.

    Args:
        kind: of the event.
        content: JSON; text that is not (a document cut short) is shown as it is.
    """
    if not content:
        return ""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _cut(content, width)
    return _cut(_words(kind, value), width)


def _words(kind: str, value: Any) -> str:
    if kind in ("tool_call", "tool_result", "guardrail") and isinstance(value, dict):
        for key in _FIRST[kind]:
            if value.get(key) not in (None, "", [], {}):
                return _compact(value[key])
        return ""
    if kind == "prompt" and isinstance(value, dict) and isinstance(value.get("messages"), list):
        asked = [item for item in value["messages"] if isinstance(item, dict) and item.get("role") in ("user", "tool")]
        value = asked[-1:] or value["messages"][-1:]
    keys = (*_FIRST.get(kind, ()), *_WORDS)
    return next((text for text in _texts(value, keys, _DEPTH) if text.strip()), "")


def _texts(value: Any, keys: tuple[str, ...], depth: int) -> Iterator[str]:
    """Texts in the order in which a reader would want them."""
    if depth == 0:
        return
    if isinstance(value, str):
        if not value.startswith(_TOLD_ELSEWHERE):
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, keys, depth - 1)
    elif isinstance(value, dict):
        if value.get("type") in ("tool_call", "tool_use") and isinstance(value.get("name"), str):
            yield f"calls {value['name']}"
        for key in keys:
            if key in _DATA and isinstance(value.get(key), dict):
                yield _compact(value[key])
            elif key in value:
                yield from _texts(value[key], keys, depth - 1)
        if "tool_calls" in value or "parts" in value:
            yield from _texts(value.get("parts") or _calls(value.get("tool_calls")), keys, depth - 1)


def _calls(calls: Any) -> list[str]:
    if not isinstance(calls, list):
        return []
    names = [call["function"]["name"] for call in calls if isinstance(call, dict) and _named(call)]
    return [f"calls {', '.join(names)}"] if names else []


def _named(call: dict[str, Any]) -> bool:
    function = call.get("function")
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str, width: int) -> str:
    """One line without control characters: what a model wrote must not steer the reader's terminal."""
    line = re.sub(r"\s+", " ", text[: 8 * width]).strip()
    line = "".join(c if c.isprintable() else "\ufffd" for c in line)
    return line if len(line) <= width else line[: width - 1] + "…"
