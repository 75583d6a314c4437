"""Chunks of an OpenAI chat completion, merged into the completion, with what other vendors make of them. Pure.

Notes: ``index_gap``, ``no_choice_index``, ``content_parts`` (content that is no text, kept piece by piece),
``unfinished_choice``, ``other_id`` (a chunk of another completion; the first id counts), ``unknown_delta`` and
``unknown_event`` (kept as they came), ``no_done`` (the choices ended, but the stream never said so), and those of
:mod:`collector.gateways.openai_tool_fragments`.
"""

from __future__ import annotations

from typing import Any

from collector.gateways.gaps import pointer
from collector.gateways.openai_tool_fragments import ToolFragments
from collector.gateways.streams import Assembled, Note, as_index, index_gaps

_OBJECTS = {"chat.completion.chunk": "chat.completion"}
_OF_A_CHUNK = {"id", "object", "model", "usage", "choices"}
_FIRST_COUNTS = ("id", "model", "created", "object")


class ChatAssembly:
    """One completion that grows. Pieces of text are joined once, at the end."""

    def __init__(self) -> None:
        self._result = Assembled()
        self._choices: dict[int, _Choice] = {}
        self._ids: set[str] = set()

    def take(self, chunk: dict[str, Any]) -> None:
        """The next chunk."""
        if chunk.get("error") is not None:
            self._result.error = self._result.error or chunk
            return
        choices = chunk.get("choices")
        if not _OF_A_CHUNK & chunk.keys() or not isinstance(choices, list | None):
            self._note("unknown_event", chunk)
            return
        self._take_head(chunk)
        for choice in choices or ():
            self._take_choice(choice)

    def finish(self) -> Assembled:
        """The completion, as far as it came."""
        result = self._result
        if not result.message and not self._choices:
            return result
        if gaps := index_gaps(self._choices):
            self._note("index_gap", gaps)
        unfinished = sorted(index for index, choice in self._choices.items() if not choice.finished)
        if unfinished:
            self._note("unfinished_choice", unfinished)
        result.complete = bool(self._choices) and not unfinished
        result.message["choices"] = [
            self._choices[index].finish(index, pointer("choices", at), result.notes)
            for at, index in enumerate(sorted(self._choices))
        ]
        return result

    def _note(self, what: str, detail: Any = None) -> None:
        self._result.notes.append(Note(what, detail))

    def _take_head(self, chunk: dict[str, Any]) -> None:
        """``id``, ``model`` and ``created`` of the first chunk that has them (Azure's first one has not), of the rest
        the last that is not null: usage and the service tier come late, and usage is cumulative."""
        message = self._result.message
        for name, value in chunk.items():
            if name == "choices" or (value is None and name in message):
                continue
            if name == "id" and message.get("id") and value and value != message["id"]:
                self._note_other_id(value)
            if name in _FIRST_COUNTS and message.get(name):
                continue
            message[name] = _OBJECTS.get(value, value) if name == "object" and isinstance(value, str) else value

    def _note_other_id(self, value: object) -> None:
        if str(value) not in self._ids:
            self._ids.add(str(value))
            self._note("other_id", value)

    def _take_choice(self, choice: object) -> None:
        if not isinstance(choice, dict):
            self._note("unknown_delta", choice)
            return
        index = as_index(choice.get("index"))
        if index is None:
            self._note("no_choice_index", choice.get("index"))
            index = 0
        if index not in self._choices:
            self._choices[index] = _Choice()
        self._choices[index].take(choice, self._result.notes)


class _Choice:
    """One choice: a message out of deltas, or, of the older completions, a text."""

    def __init__(self) -> None:
        self._rest: dict[str, Any] = {}
        self._text: list[str] = []
        self._logprobs: dict[str, list[Any]] = {}
        self._message = _Message()

    @property
    def finished(self) -> bool:
        return bool(self._rest.get("finish_reason"))

    def take(self, choice: dict[str, Any], notes: list[Note]) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._message.take(delta, notes)
        elif delta is not None:
            notes.append(Note("unknown_delta", choice))
        for name, value in choice.items():
            if name == "text" and isinstance(value, str):
                self._text.append(value)
            elif name == "logprobs" and isinstance(value, dict):
                for kind, items in value.items():
                    self._logprobs.setdefault(kind, []).extend(items if isinstance(items, list) else ())
            elif name not in ("delta", "index") and (value is not None or name not in self._rest):
                self._rest[name] = value

    def finish(self, index: int, at: str, notes: list[Note]) -> dict[str, Any]:
        message = self._message.finish(at + "/message", notes)
        # Some vendors send the whole message once more with the last chunk.
        whole = self._rest.get("message")
        if self._text:
            self._rest["text"] = "".join(self._text)
        if message or not self._text:
            self._rest["message"] = {**(whole if isinstance(whole, dict) else {}), **message}
        if self._logprobs:
            self._rest["logprobs"] = self._logprobs
        return {"index": index, **self._rest}


class _Message:
    """A message out of deltas: text and lists grow, of everything else the first value counts."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._parts: list[Any] = []
        self._audio: dict[str, list[str]] = {}
        self._tools = ToolFragments()

    def take(self, delta: dict[str, Any], notes: list[Note]) -> None:
        for name, value in delta.items():
            if value is None:
                self._fields.setdefault(name, None)
            elif name == "tool_calls" and isinstance(value, list):
                for fragment in value:
                    self._tools.take(fragment, notes)
            elif name == "function_call" and isinstance(value, dict):
                self._tools.take_function(value)
            elif name == "content" and (self._parts or not isinstance(value, str)):
                self._take_part(value)
            elif name == "audio" and isinstance(value, dict):
                self._take_audio(value)
            elif name != "role" and isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
            elif isinstance(value, list):
                self._lists.setdefault(name, []).extend(value)
            elif self._fields.get(name) is None:
                self._fields[name] = value
            elif self._fields[name] != value:
                notes.append(Note("unknown_delta", {name: value}))

    def finish(self, at: str, notes: list[Note]) -> dict[str, Any]:
        found = dict(self._fields)
        found |= {name: "".join(pieces) for name, pieces in self._texts.items()}
        found |= self._lists
        if self._parts:
            notes.append(Note("content_parts", at + "/content"))
            found["content"] = self._parts
        if self._audio:
            stated = found.get("audio")
            grown = {name: "".join(pieces) for name, pieces in self._audio.items()}
            found["audio"] = {**(stated if isinstance(stated, dict) else {}), **grown}
        return found | self._tools.finish(at, notes)

    def _take_part(self, value: Any) -> None:
        """Content that is a list of parts, as some vendors stream reasoning: each piece as it came."""
        if not self._parts and "content" in self._texts:
            self._parts.append("".join(self._texts.pop("content")))
        self._parts.extend(value if isinstance(value, list) else [value])

    def _take_audio(self, value: dict[str, Any]) -> None:
        rest = {}
        for name, piece in value.items():
            if name in ("data", "transcript") and isinstance(piece, str):
                self._audio.setdefault(name, []).append(piece)
            else:
                rest[name] = piece
        stated = self._fields.get("audio")
        self._fields["audio"] = {**(stated if isinstance(stated, dict) else {}), **rest}
