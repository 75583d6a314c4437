"""Tool calls that arrive in fragments, in a chat completion's stream. Pure.

OpenAI gives each call an index, its id and name in the first fragment only, and its arguments piece by piece, with
other deltas in between. Other vendors leave the index out, send a call whole, or give several calls the same index.

Notes: ``no_tool_index``, ``shared_tool_index``, ``unparsable_arguments`` (they stay text in any case) and
``unknown_delta``.
"""

from __future__ import annotations

from typing import Any

from collector.gateways.gaps import pointer
from collector.gateways.streams import Note, as_index
from collector.json_units import parse_json

_INNER = {"function": "arguments", "custom": "input"}
"""Where the name and the arguments of a call are, by its type."""


class ToolFragments:
    """The calls of one message, in the order they began."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._function: _Grown | None = None

    def take(self, fragment: object, notes: list[Note]) -> None:
        """The next fragment of some call."""
        if not isinstance(fragment, dict):
            notes.append(Note("unknown_delta", {"tool_calls": fragment}))
            return
        self._call(fragment, notes).take(fragment, notes)

    def take_function(self, fragment: dict[str, Any]) -> None:
        """The next fragment of ``function_call``, the single call of older models."""
        self._function = self._function or _Grown("arguments")
        self._function.take(fragment)

    def finish(self, at: str, notes: list[Note]) -> dict[str, Any]:
        """``tool_calls`` and ``function_call`` of the message, if it has any."""
        found: dict[str, Any] = {}
        if self._calls:
            place = at + "/tool_calls"
            found["tool_calls"] = [call.finish(place + pointer(index), notes) for index, call in enumerate(self._calls)]
        if self._function is not None:
            found["function_call"] = self._function.finish(at + "/function_call", notes)
        return found

    def _call(self, fragment: dict[str, Any], notes: list[Note]) -> _Call:
        """The call that a fragment belongs to: by its index; without one by its id, or else the last that began."""
        index, call_id = as_index(fragment.get("index")), fragment.get("id")
        call_id = call_id if isinstance(call_id, str) else ""
        if index is not None:
            known = self._by_index.get(index)
            if known is not None and call_id and known.call_id not in ("", call_id) and _has_name(fragment):
                notes.append(Note("shared_tool_index", {"index": index, "id": call_id}))
                known = None
        elif call_id:
            known = self._by_id.get(call_id)
        else:
            known = self._calls[-1] if self._calls and not _has_name(fragment) else None
        if known is None:
            known = _Call()
            self._calls.append(known)
            if index is None:
                notes.append(Note("no_tool_index", call_id))
        if index is not None:
            self._by_index[index] = known
        if call_id:
            self._by_id[call_id] = known
        return known


class _Call:
    def __init__(self) -> None:
        self.call_id = ""
        self._fields: dict[str, Any] = {}
        self._inner: dict[str, _Grown] = {}

    def take(self, fragment: dict[str, Any], notes: list[Note]) -> None:
        for name, value in fragment.items():
            if name in _INNER and isinstance(value, dict):
                self._inner.setdefault(name, _Grown(_INNER[name])).take(value)
            elif name == "index" and as_index(value) is not None:
                continue
            elif value is None or self._fields.get(name) in (None, "", value):
                self._fields[name] = value if value is not None else self._fields.get(name)
            else:
                notes.append(Note("unknown_delta", {name: value}))
        stated = self._fields.get("id")
        self.call_id = stated if isinstance(stated, str) else ""

    def finish(self, at: str, notes: list[Note]) -> dict[str, Any]:
        grown = {name: inner.finish(at + pointer(name), notes) for name, inner in self._inner.items()}
        return {**self._fields, **grown}


class _Grown:
    """A name, and text that grows."""

    def __init__(self, text_field: str) -> None:
        self._text_field = text_field
        self._fields: dict[str, Any] = {}
        self._pieces: list[str] = []

    def take(self, fragment: dict[str, Any]) -> None:
        for name, value in fragment.items():
            if name == self._text_field and isinstance(value, str):
                self._pieces.append(value)
            elif name == "name" and isinstance(value, str) and isinstance(self._fields.get("name"), str):
                if value not in ("", self._fields["name"]):
                    self._fields["name"] += value
            elif value is not None or name not in self._fields:
                self._fields[name] = value

    def finish(self, at: str, notes: list[Note]) -> dict[str, Any]:
        if not self._pieces:
            return self._fields
        text = "".join(self._pieces)
        if text and self._text_field == "arguments":
            error = parse_json(text.encode("utf-8", "surrogatepass")).error
            if error:
                notes.append(Note("unparsable_arguments", {"pointer": at + "/arguments", "error": error}))
        # Arguments that a vendor sent as an object stay beside the text, if there is text too.
        stated = self._fields.get(self._text_field)
        kept = {} if stated is None else {f"{self._text_field}_object": stated}
        return {**self._fields, **kept, self._text_field: text}


def _has_name(fragment: dict[str, Any]) -> bool:
    """Whether a fragment is the first of a call."""
    inner: dict[str, Any] = next((fragment[name] for name in _INNER if isinstance(fragment.get(name), dict)), {})
    return bool(inner.get("name"))
