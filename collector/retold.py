"""What a prompt repeats that other events tell: results of tools, and what the model said. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from collector.gateways.gaps import Gap, pointer

SHORTEST_RESULT = 256
SHORTEST_ANSWER = 128
"""Characters of a tool's result, and of a model's text, below which a prompt repeats them."""

DIGEST = 16
"""Bytes that stand for a text or a message."""

_DEEPEST = 8


class Result(NamedTuple):
    """What came back from a tool, the very object that stands in the messages, and the event that tells it."""

    value: object
    event_id: str


class Retold(NamedTuple):
    """What other events tell: results of tools, by the identity of the object, and answers, by their digests."""

    results: Mapping[int, str]
    answers: Mapping[bytes, str]

    def event_of(self, value: object) -> str:
        """The event that tells a value; ``""`` where none does."""
        event_id = self.results.get(id(value), "")
        if not event_id and self.answers and isinstance(value, str) and len(value) >= SHORTEST_ANSWER:
            event_id = self.answers.get(digest(value), "")
        return event_id


def pointing(value: Any, at: tuple[str | int, ...], elsewhere: Retold) -> tuple[Any, list[Gap]]:
    """The same with event ids in the place of what they tell, and the places; what holds none is the object itself."""
    if event_id := elsewhere.event_of(value):
        return f"urn:uuid:{event_id}", [Gap(pointer(*at), "by_ref", ref=event_id)]
    if len(at) > _DEEPEST or not isinstance(value, list | dict):
        return value, []
    gaps: list[Gap] = []
    changed: Any = value
    for key, item in list(enumerate(value) if isinstance(value, list) else value.items()):
        other, found = pointing(item, (*at, key), elsewhere)
        if found:
            changed = changed.copy() if changed is value else changed
            changed[key] = other
            gaps += found
    return changed, gaps


def long_texts(value: object, depth: int = 0) -> Iterator[str]:
    """The long texts in a response."""
    if isinstance(value, str):
        if len(value) >= SHORTEST_ANSWER:
            yield value
    elif isinstance(value, list | dict) and depth < _DEEPEST:
        for item in value.values() if isinstance(value, dict) else value:
            yield from long_texts(item, depth + 1)


def digest(text: str) -> bytes:
    """Stands for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:DIGEST]
