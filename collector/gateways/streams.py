"""What the reassembly of a provider's stream gives: the body that the same call would have had without streaming."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collector.gateways.sse import parse_sse
from collector.json_units import parse_json

DONE = "[DONE]"
"""The data line that ends a stream of OpenAI's."""


class Note(NamedTuple):
    """Something in a stream that could not be put together, or not without a guess.

    Attributes:
        what: a short name of it, as the modules that reassemble list them.
        detail: the event as it came, or what of it has no other place; any JSON value.
    """

    what: str
    detail: Any = None


@dataclass(slots=True)
class Assembled:
    """A stream, put together.

    Attributes:
        message: in the shape of the provider's body without streaming; ``{}`` if nothing of it arrived.
        complete: whether the provider said that this was all. Also true of an answer that failed, if it says so.
        error: the provider's error body, when the stream carried one. What came before it is in ``message``.
        notes: what could not be put together, in order.
    """

    message: dict[str, Any] = field(default_factory=dict)
    complete: bool = False
    error: dict[str, Any] | None = None
    notes: list[Note] = field(default_factory=list)


class StreamEvents(NamedTuple):
    """The JSON objects of a stream, in order, whether ``[DONE]`` came, and what was no JSON object."""

    objects: list[dict[str, Any]]
    done: bool
    notes: list[Note]


def read_events(body: bytes, *, named: bool) -> StreamEvents:
    """The objects that a stream of server-sent events carries. Pure, total.

    ``named``: an object without a ``type`` takes the name of its event for one. Notes: ``not_json`` with the text of
    the event, ``unfinished_event`` where the stream broke off within one (its object counts if its JSON is whole).
    """
    objects: list[dict[str, Any]] = []
    notes: list[Note] = []
    done = False
    for event in parse_sse(body):
        if event.data.strip() == DONE:
            done = True
            continue
        value = parse_json(event.data.encode()).value
        if not event.finished:
            notes.append(Note("unfinished_event", None if isinstance(value, dict) else event.data))
        if not isinstance(value, dict):
            if event.finished:
                notes.append(Note("not_json", {"event": event.name, "data": event.data}))
            continue
        objects.append({"type": event.name, **value} if named and event.name and "type" not in value else value)
    return StreamEvents(objects, done, notes)


def index_gaps(indices: Iterable[int]) -> list[list[int]]:
    """Ranges ``[first, last]`` missing between 0 and the greatest of ``indices``."""
    gaps, expected = [], 0
    for index in sorted(indices):
        if index > expected:
            gaps.append([expected, index - 1])
        expected = max(expected, index + 1)
    return gaps


def as_index(value: object) -> int | None:
    """A place in a list: a whole number that is not negative."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
