"""A stream of the Anthropic Messages API, put together into the message that it carries (docs/gateways.md §7). Pure.

Notes: ``no_message_start``, ``repeated_message_start``, ``repeated_block`` (the first one counts), ``no_block_start``,
``interleaved_blocks`` (one began before another ended), ``index_gap``, ``unparsable_arguments`` (kept as text),
``unknown_delta`` and ``unknown_event`` (kept as they came), ``after_the_end``, and those of
:mod:`collector.gateways.streams`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from collector.gateways.gaps import pointer
from collector.gateways.streams import Assembled, Note, as_index, index_gaps, read_events
from collector.json_units import parse_json

_APPENDED = {"text_delta": "text", "thinking_delta": "thinking"}
_BLOCK_OF_DELTA = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
    "compaction_delta": "compaction",
}
"""The block that a delta belongs to, for one whose start did not arrive."""


def assemble(events: Iterable[dict[str, Any]]) -> Assembled:
    """The message of a stream's events, their JSON in order."""
    assembly = _Assembly()
    for event in events:
        assembly.take(event)
    return assembly.finish()


def assemble_text(body: bytes) -> Assembled:
    """The message of a stream, from its bytes, decompressed, as far as they came."""
    read = read_events(body, named=True)
    assembled = assemble(read.objects)
    assembled.notes += read.notes
    return assembled


class _Block:
    """A content block that grows. Pieces of text are joined once, at the end."""

    __slots__ = ("citations", "json", "start", "stopped", "texts")

    def __init__(self, start: dict[str, Any]) -> None:
        self.start = dict(start)
        self.texts: dict[str, list[str]] = {}
        self.json: list[str] = []
        self.citations: list[Any] = []
        self.stopped = False

    def add(self, delta: dict[str, Any]) -> bool:
        """Take a delta; ``False`` if there is no place for it."""
        kind = delta.get("type")
        if kind in _APPENDED and isinstance(delta.get(_APPENDED[kind]), str):
            self.texts.setdefault(_APPENDED[kind], []).append(delta[_APPENDED[kind]])
        elif kind == "input_json_delta" and isinstance(delta.get("partial_json"), str):
            self.json.append(delta["partial_json"])
        elif kind == "signature_delta" and "signature" in delta:
            self.start["signature"] = delta["signature"]
        elif kind == "citations_delta" and "citation" in delta:
            self.citations.append(delta["citation"])
        elif kind == "compaction_delta":
            self.start |= {name: value for name, value in delta.items() if name != "type"}
        else:
            return False
        return True

    def finish(self, at: str, notes: list[Note]) -> dict[str, Any]:
        for name, pieces in self.texts.items():
            begun = self.start.get(name)
            self.start[name] = "".join([begun if isinstance(begun, str) else "", *pieces])
        if self.citations:
            begun = self.start.get("citations")
            self.start["citations"] = [*(begun if isinstance(begun, list) else ()), *self.citations]
        if text := "".join(self.json):
            unit = parse_json(text.encode("utf-8", "surrogatepass"))
            self.start["input"] = text if unit.error else unit.value
            if unit.error:
                notes.append(Note("unparsable_arguments", {"pointer": at + "/input", "error": unit.error}))
        return self.start


class _Assembly:
    def __init__(self) -> None:
        self._result = Assembled()
        self._blocks: dict[int, _Block] = {}
        self._started = False
        self._open: int | None = None
        self._interleaved = False

    def take(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "ping":
            return
        if kind == "error":
            self._result.error = self._result.error or event
            return
        if self._result.complete:
            self._note("after_the_end", event)
        elif kind == "message_start":
            self._start(event)
        elif kind == "content_block_start":
            self._start_block(event)
        elif kind == "content_block_delta":
            self._add(event)
        elif kind == "content_block_stop":
            self._stop_block(event)
        elif kind == "message_delta":
            self._change(event)
        elif kind == "message_stop":
            self._result.complete = True
        else:
            self._note("unknown_event", event)

    def finish(self) -> Assembled:
        result = self._result
        if not self._started and (result.message or self._blocks):
            self._note("no_message_start")
        if gaps := index_gaps(self._blocks):
            self._note("index_gap", gaps)
        if self._interleaved:
            self._note("interleaved_blocks")
        if result.message or self._blocks:
            result.message["content"] = [
                self._blocks[index].finish(pointer("content", at), result.notes)
                for at, index in enumerate(sorted(self._blocks))
            ]
        return result

    def _note(self, what: str, detail: Any = None) -> None:
        self._result.notes.append(Note(what, detail))

    def _start(self, event: dict[str, Any]) -> None:
        message = event.get("message")
        if not isinstance(message, dict) or self._started:
            self._note("repeated_message_start" if self._started else "unknown_event", event)
            return
        self._started = True
        self._result.message = {**message, **self._result.message}
        begun = message.get("content")
        for index, block in enumerate(begun if isinstance(begun, list) else ()):
            if isinstance(block, dict):
                self._blocks[index] = _Block(block)

    def _start_block(self, event: dict[str, Any]) -> None:
        index, block = as_index(event.get("index")), event.get("content_block")
        if index is None or not isinstance(block, dict):
            self._note("unknown_event", event)
            return
        if index in self._blocks:
            self._note("repeated_block", event)
            return
        self._blocks[index] = _Block(block)
        self._look_for_interleaving(index)
        serving = block.get("to") if block.get("type") == "fallback" else None
        if isinstance(serving, dict) and isinstance(serving.get("model"), str):
            # As the body without streaming has it: the model that served, while ``from`` in the block keeps the other.
            self._result.message["model"] = serving["model"]

    def _add(self, event: dict[str, Any]) -> None:
        index, delta = as_index(event.get("index")), event.get("delta")
        if index is None or not isinstance(delta, dict):
            self._note("unknown_event", event)
            return
        block = self._blocks.get(index)
        if block is None:
            kind = delta.get("type")
            if not isinstance(kind, str) or kind not in _BLOCK_OF_DELTA:
                self._note("unknown_delta", event)
                return
            self._note("no_block_start", {"index": index})
            block = self._blocks[index] = _Block({"type": _BLOCK_OF_DELTA[kind]})
        self._look_for_interleaving(index)
        if not block.add(delta):
            self._note("unknown_delta", event)

    def _stop_block(self, event: dict[str, Any]) -> None:
        index = as_index(event.get("index"))
        if index is None or index not in self._blocks:
            self._note("unknown_event", event)
            return
        self._blocks[index].stopped = True
        if self._open == index:
            self._open = None

    def _look_for_interleaving(self, index: int) -> None:
        if self._open is not None and self._open != index and not self._blocks[self._open].stopped:
            self._interleaved = True
        self._open = index

    def _change(self, event: dict[str, Any]) -> None:
        """Usage is cumulative: what is stated counts, what is null leaves the earlier count."""
        message, delta, usage = self._result.message, event.get("delta"), event.get("usage")
        if isinstance(delta, dict):
            message |= {name: value for name, value in delta.items() if value is not None or name not in message}
        if isinstance(usage, dict):
            begun = message.get("usage")
            stated = {name: value for name, value in usage.items() if value is not None}
            message["usage"] = {**(begun if isinstance(begun, dict) else {}), **stated}
        message |= {
            name: value for name, value in event.items() if name not in ("type", "delta", "usage") and value is not None
        }
