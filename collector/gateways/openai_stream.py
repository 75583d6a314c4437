"""A stream of an OpenAI API, put together into the body that it carries: chat completions or Responses. Pure.

Which of the two it is, the first event says. The notes are those of :mod:`collector.gateways.openai_chat_stream`,
:mod:`collector.gateways.openai_responses_stream` and :mod:`collector.gateways.streams`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from collector.gateways.openai_chat_stream import ChatAssembly
from collector.gateways.openai_responses_stream import ResponsesAssembly
from collector.gateways.streams import Assembled, Note, read_events


def assemble(events: Iterable[dict[str, Any]]) -> Assembled:
    """The completion or response of a stream's events, their JSON in order.

    Without the bytes nobody can see ``[DONE]``: a chat completion is then complete when each of its choices ended.
    """
    assembly, rest = _assembly(iter(events))
    for event in rest:
        assembly.take(event)
    return assembly.finish()


def assemble_text(body: bytes) -> Assembled:
    """The completion or response of a stream, from its bytes, decompressed, as far as they came."""
    read = read_events(body, named=False)
    assembly, rest = _assembly(iter(read.objects))
    for event in rest:
        assembly.take(event)
    assembled = assembly.finish()
    if isinstance(assembly, ChatAssembly):
        if assembled.complete and not read.done:
            assembled.notes.append(Note("no_done"))
        assembled.complete = assembled.complete or read.done
    assembled.notes += read.notes
    return assembled


def _assembly(events: Iterator[dict[str, Any]]) -> tuple[ChatAssembly | ResponsesAssembly, Iterator[dict[str, Any]]]:
    """A Responses stream names the type of every event; a chunk of a chat has none."""
    first = next(events, None)
    if first is None:
        return ChatAssembly(), iter(())
    kind = first.get("type")
    named = isinstance(kind, str) and (kind.startswith("response.") or kind == "error") and "choices" not in first
    return (ResponsesAssembly() if named else ChatAssembly()), chain((first,), events)
