"""Events of an OpenAI Responses stream, put together into the response object. Pure.

The terminal event carries the whole object, so deltas count only where there is none: a stream that broke off, or a
server that leaves ``output`` empty at the end.

Notes: ``output_filled`` (the terminal event had no output, its items are those that the stream completed),
``unfinished_item`` (an item put together from deltas), ``index_gap``, ``sequence_gap``, ``no_item`` (a delta
without its item), ``other_output`` (the terminal event has another number of items) and ``unknown_event`` (kept as it
came).
"""

from __future__ import annotations

from typing import Any

from collector.gateways.openai_items import GrowingItem
from collector.gateways.streams import Assembled, Note, as_index, index_gaps

_BEGINNING = ("response.created", "response.queued", "response.in_progress")
_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_PROGRESS = (".in_progress", ".searching", ".completed", ".failed", ".generating", ".interpreting", ".compacting")
"""Ends of event types that tell how far a tool of the provider is, and nothing that its item does not tell."""


class ResponsesAssembly:
    """One response that grows."""

    def __init__(self) -> None:
        self._result = Assembled()
        self._items: dict[int, GrowingItem] = {}
        self._numbers: set[int] = set()

    def take(self, event: dict[str, Any]) -> None:
        """The next event."""
        kind = event.get("type")
        number = as_index(event.get("sequence_number"))
        if number is not None:
            self._numbers.add(number)
        if not isinstance(kind, str):
            self._note("unknown_event", event)
        elif kind == "error":
            self._result.error = self._result.error or _error_body(event)
        elif kind in _BEGINNING or kind in _TERMINAL:
            self._take_response(kind, event)
        elif kind == "keepalive":
            return
        elif not self._take_of_item(kind, event):
            self._note("unknown_event", event)

    def finish(self) -> Assembled:
        """The response, as far as it came."""
        result = self._result
        first = min(self._numbers, default=0)
        if gaps := index_gaps(number - first for number in self._numbers):
            self._note("sequence_gap", [[first + start, first + end] for start, end in gaps])
        output = result.message.get("output")
        stated = output if isinstance(output, list) else []
        if result.complete and stated:
            if self._items and len(stated) != len(self._items):
                self._note("other_output", [item.finish() for _, item in sorted(self._items.items())])
            return result
        if not self._items:
            return result
        if gaps := index_gaps(self._items):
            self._note("index_gap", gaps)
        if result.complete:
            self._note("output_filled")
        if unfinished := sorted(index for index, item in self._items.items() if not item.done):
            self._note("unfinished_item", unfinished)
        result.message["output"] = [item.finish() for _, item in sorted(self._items.items())]
        return result

    def _note(self, what: str, detail: Any = None) -> None:
        self._result.notes.append(Note(what, detail))

    def _take_response(self, kind: str, event: dict[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            self._note("unknown_event", event)
            return
        result = self._result
        if kind in _TERMINAL or not result.complete:
            result.message = dict(response)
        if kind in _TERMINAL:
            result.complete = True
        if kind == "response.failed" and isinstance(response.get("error"), dict):
            result.error = result.error or {"error": response["error"]}

    def _take_of_item(self, kind: str, event: dict[str, Any]) -> bool:
        index = as_index(event.get("output_index"))
        if index is None:
            return False
        if kind in ("response.output_item.added", "response.output_item.done"):
            item = event.get("item")
            if not isinstance(item, dict):
                return False
            self._items.setdefault(index, GrowingItem()).state(item, done=kind.endswith(".done"))
            return True
        if kind.endswith(_PROGRESS):
            return True
        if index not in self._items:
            self._note("no_item", {"output_index": index})
            self._items[index] = GrowingItem()
        return self._items[index].take(kind, event)


def _error_body(event: dict[str, Any]) -> dict[str, Any]:
    """The body that the same error has without streaming: its fields lie in the event itself, or in ``error``."""
    if isinstance(event.get("error"), dict):
        return {name: value for name, value in event.items() if name not in ("type", "sequence_number")}
    return {"error": {name: value for name, value in event.items() if name not in ("type", "sequence_number")}}
