"""An output item of an OpenAI Responses stream that grows: its parts, its texts, its arguments. Pure."""

from __future__ import annotations

from typing import Any

from collector.gateways.streams import as_index

_PART_TEXTS = {
    "response.output_text": ("content", "text", "output_text"),
    "response.refusal": ("content", "refusal", "refusal"),
    "response.reasoning_text": ("content", "text", "reasoning_text"),
    "response.reasoning_summary_text": ("summary", "text", "summary_text"),
}
"""Event type without its end → the list of parts, the field that grows, and the type of such a part."""

_ITEM_TEXTS = {
    "response.function_call_arguments": ("arguments", "function_call"),
    "response.mcp_call_arguments": ("arguments", "mcp_call"),
    "response.custom_tool_call_input": ("input", "custom_tool_call"),
    "response.code_interpreter_call_code": ("code", "code_interpreter_call"),
}
"""Event type without its end → the field of the item that grows, and the type of such an item."""

_PARTS = {"response.content_part": "content", "response.reasoning_summary_part": "summary"}
_INDEX = {"content": "content_index", "summary": "summary_index"}


class GrowingItem:
    """One item, from its first event to its last. Pieces of text are joined once, at the end."""

    def __init__(self) -> None:
        self.done = False
        self._item: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._parts: dict[tuple[str, int], _Part] = {}

    def state(self, item: dict[str, Any], *, done: bool) -> None:
        """The item as the provider states it: when it begins, and whole when it is done."""
        if done or not self.done:
            self._item = dict(item)
        self.done = self.done or done

    def take(self, kind: str, event: dict[str, Any]) -> bool:
        """An event about the item; ``False`` if there is no place for it."""
        stem, _, end = kind.rpartition(".")
        if kind == "response.output_text.annotation.added":
            return self._annotate(event)
        if kind == "response.image_generation_call.partial_image":
            return True  # a preview; the item has the image
        if stem in _PART_TEXTS:
            return self._take_part_text(stem, end, event)
        if stem in _ITEM_TEXTS:
            return self._take_item_text(stem, end, event)
        if stem in _PARTS and isinstance(event.get("part"), dict):
            part = self._part(_PARTS[stem], event, "")
            if part is not None:
                part.fields = {**part.fields, **event["part"]}
                if end == "done":
                    part.texts.clear()
            return part is not None
        return False

    def finish(self) -> dict[str, Any]:
        """The item, as far as it came."""
        if self.done:
            return self._item
        item = dict(self._item)
        item |= {name: "".join(pieces) for name, pieces in self._texts.items()}
        for name in ("content", "summary"):
            indices = sorted(index for place, index in self._parts if place == name)
            if indices:
                item[name] = [self._parts[name, index].finish() for index in indices]
        return item

    def _take_item_text(self, stem: str, end: str, event: dict[str, Any]) -> bool:
        name, item_type = _ITEM_TEXTS[stem]
        self._item.setdefault("type", item_type)
        if end == "delta" and isinstance(event.get("delta"), str):
            self._texts.setdefault(name, []).append(event["delta"])
            return True
        if end == "done" and isinstance(event.get(name), str):
            self._texts[name] = [event[name]]
            return True
        return False

    def _take_part_text(self, stem: str, end: str, event: dict[str, Any]) -> bool:
        place, name, part_type = _PART_TEXTS[stem]
        part = self._part(place, event, part_type)
        if part is None:
            return False
        if end == "delta" and isinstance(event.get("delta"), str):
            part.texts.setdefault(name, []).append(event["delta"])
            if isinstance(event.get("logprobs"), list) and event["logprobs"]:
                part.logprobs += event["logprobs"]
            return True
        if end == "done" and isinstance(event.get(name), str):
            part.texts.pop(name, None)
            part.fields[name] = event[name]
            return True
        return False

    def _annotate(self, event: dict[str, Any]) -> bool:
        part = self._part("content", event, "output_text")
        if part is None or "annotation" not in event:
            return False
        part.annotations.append(event["annotation"])
        return True

    def _part(self, place: str, event: dict[str, Any], part_type: str) -> _Part | None:
        index = as_index(event.get(_INDEX[place]))
        if index is None:
            return None
        self._item.setdefault("type", "reasoning" if place == "summary" or "reasoning" in part_type else "message")
        part = self._parts.get((place, index))
        if part is None:
            part = self._parts[place, index] = _Part({"type": part_type} if part_type else {})
        return part


class _Part:
    """A part of a message, a reasoning or its summary."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.texts: dict[str, list[str]] = {}
        self.annotations: list[Any] = []
        self.logprobs: list[Any] = []

    def finish(self) -> dict[str, Any]:
        found = dict(self.fields)
        for name, pieces in self.texts.items():
            begun = found.get(name)
            found[name] = "".join([begun if isinstance(begun, str) else "", *pieces])
        for name, grown in (("annotations", self.annotations), ("logprobs", self.logprobs)):
            if grown and not found.get(name):
                found[name] = grown
        return found
