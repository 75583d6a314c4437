"""What the last prompts of a session said, so that the next one's content tells what is new. State, no I/O.

Every turn of an agent sends its whole conversation again. The source part keeps each request whole; the content part is
a view for people and for search, and says what is new, and of which earlier prompt the rest is::

    {"history": {"of": "<event id>", "messages": 149, "sha256": "…", "unchanged": {"/tools": "<sha256>"}},
     "messages": [<the new ones>], "model": "…"}

``messages`` counts the leading elements that are left out of the list of messages, and ``sha256`` is that of their JSON
array as the content would have it. ``unchanged`` names other values that are left out, each with its SHA-256, by JSON
pointers into the content. Whoever wants the whole prompt finds it in the source of the same unit.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from collector.gateways.gaps import Gap
from collector.json_units import encode_content
from collector.retold import DIGEST, Result, Retold, digest, long_texts, pointing

LISTS = ("messages", "contents", "input")
"""Where a prompt has its messages: OpenAI and Anthropic, Google, OpenAI's Responses."""

SHORTEST_UNIT = 4096
"""Bytes of a unit below which its prompt is told whole."""

SHORTEST_VALUE = 512
LEAST_LEFT_OUT = 1024
"""Bytes of a value, and of all that is left out, below which it is not worth a reader's while."""

PROMPTS_PER_SESSION = 4
"""An agent and those that it sends out share a session, and take turns."""

MEMORY = 16 << 20
"""Bytes that one process remembers, over all sessions: a digest for each message."""

ANSWERS = 24
"""Texts of a session that are remembered: those of some turns, of several agents."""

_CACHE_MARK = b'"cache_control"'


class Scope(NamedTuple):
    """Whose prompts may refer to each other: what chooses the key of the content part, the day, and the session."""

    tenant: str
    subject: str
    retention_class: str
    day: int
    session: str


class _Prompt(NamedTuple):
    """A prompt that was told: its event, a digest of each of its messages, and the SHA-256 of its other values."""

    event_id: str
    messages: bytes
    values: Mapping[str, str]

    @property
    def weight(self) -> int:
        return 400 + len(self.messages) + 200 * len(self.values)


class _Session(NamedTuple):
    """The last prompts of a session, the latest first, and digests of the texts that models said since, with their
    events."""

    prompts: tuple[_Prompt, ...] = ()
    answers: tuple[tuple[bytes, str], ...] = ()

    @property
    def weight(self) -> int:
        return sum(one.weight for one in self.prompts) + 150 * len(self.answers)


class Recall:
    """What the last prompts of recent sessions said, the least recently used forgotten first. Safe to use from any
    number of threads."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._sessions: OrderedDict[Scope, _Session] = OrderedDict()
        self._held = 0

    def __contains__(self, scope: Scope) -> bool:
        return scope in self._sessions

    def told(self, scope: Scope) -> _Session:
        """What is known of a session."""
        with self._lock:
            return self._sessions.get(scope, _Session())

    def learn(self, prompts: Prompts) -> None:
        """Remember what a batch told that is durable."""
        with self._lock:
            for scope, said in prompts.pending:
                known = self._sessions.pop(scope, _Session())
                session = _after(known, said)
                if session.prompts:
                    self._sessions[scope] = session
                self._held += session.weight - known.weight
            while self._held > self._memory:
                _, forgotten = self._sessions.popitem(last=False)
                self._held -= forgotten.weight


class Prompts:
    """The prompts and responses of one batch, until it is durable. Those before in the batch count as told."""

    def __init__(self, recall: Recall) -> None:
        self._recall = recall
        self.pending: list[tuple[Scope, _Prompt | tuple[tuple[bytes, str], ...]]] = []

    def hear(self, content: object, scope: Scope, event_id: str) -> None:
        """Take note of what a model said, in a session that has prompts to remember: the next prompt repeats it."""
        if scope in self._recall or any(other == scope for other, _ in self.pending):
            answers = tuple((digest(text), event_id) for text in itertools.islice(long_texts(content), ANSWERS))
            if answers:
                self.pending.append((scope, answers))

    def _known(self, scope: Scope) -> _Session:
        session = self._recall.told(scope)
        for other, said in self.pending:
            if other == scope:
                session = _after(session, said)
        return session

    def tell(
        self, content: object, scope: Scope, event_id: str, unit_bytes: int, results: Sequence[Result] = ()
    ) -> tuple[bytes, Sequence[Gap]]:
        """The content of a prompt as JSON, and what was left out of it.

        Args:
            content: as the format has it.
            scope: of the prompt.
            event_id: of the prompt.
            unit_bytes: length of the source that the whole prompt stands in.
            results: of tools, that are events of the same unit.
        """
        name = _list_name(content) if unit_bytes >= SHORTEST_UNIT and scope.session else ""
        if not name or not isinstance(content, dict):
            return encode_content(content), ()
        messages = [encode_content(message) for message in content[name]]
        values = dict(_values(content, name))
        digests = {place: hashlib.sha256(value).hexdigest() for place, value in values.items()}
        marks = b"".join([_mark(message, text) for message, text in zip(content[name], messages, strict=True)])
        known = self._known(scope)
        self.pending.append((scope, _Prompt(event_id, marks, digests)))
        told = [(_common(marks, one.messages), one) for one in known.prompts if one.event_id != event_id]
        if not told:
            return _encoded(content, name, messages), ()
        count, before = max(told, key=lambda pair: pair[0])
        count = min(count, len(messages) - 1)  # a reader is shown one message at least
        unchanged = {place: digest for place, digest in digests.items() if before.values.get(place) == digest}
        left_out = sum(map(len, messages[:count])) + sum(len(values[place]) for place in unchanged)
        if not LEAST_LEFT_OUT <= left_out <= unit_bytes:
            return _encoded(content, name, messages), ()
        history: dict[str, Any] = {"of": before.event_id, "messages": count}
        if count:
            history["sha256"] = hashlib.sha256(b"[" + b",".join(messages[:count]) + b"]").hexdigest()
        if unchanged:
            history["unchanged"] = unchanged
        elsewhere = Retold({id(one.value): one.event_id for one in results}, dict(known.answers))
        new, gaps = pointing(content[name][count:], ("content", name), elsewhere)
        told_now = [
            text if message is before else encode_content(message)
            for message, before, text in zip(new, content[name][count:], messages[count:], strict=True)
        ]
        shown = {"history": history, **_without(content, unchanged), name: new}
        return _encoded(shown, name, told_now), [Gap("/content/history", "by_ref", ref="source"), *gaps]


def _mark(message: object, text: bytes) -> bytes:
    """A digest of a message. Anthropic's marks for the cache move on with every turn, and make it no other message."""
    if _CACHE_MARK in text and isinstance(message, dict) and isinstance(message.get("content"), list):
        blocks = [
            {key: value for key, value in block.items() if key != "cache_control"} if isinstance(block, dict) else block
            for block in message["content"]
        ]
        text = encode_content({**message, "content": blocks})
    return hashlib.sha256(text).digest()[:DIGEST]


def _list_name(content: object) -> str:
    """The key of the list of messages; ``""`` where there is none, or our own key is taken."""
    if not isinstance(content, dict) or "history" in content:
        return ""
    found = [name for name in LISTS if isinstance(content.get(name), list) and content[name]]
    return found[0] if found else ""


def _values(content: Mapping[str, Any], name: str) -> Iterator[tuple[str, bytes]]:
    """Long values beside the messages, as pointers and JSON: members, and members of members."""
    for key, value in content.items():
        if key == name or "/" in key or "~" in key:
            continue
        members = {f"/{key}/{below}": item for below, item in value.items()} if isinstance(value, dict) else None
        for place, item in ({f"/{key}": value} if members is None else members).items():
            if isinstance(item, str | list | dict) and place.count("/") <= 2 and "~" not in place:
                encoded = encode_content(item)
                if len(encoded) >= SHORTEST_VALUE:
                    yield place, encoded


def _without(content: Mapping[str, Any], unchanged: Mapping[str, str]) -> dict[str, Any]:
    left = dict(content)
    for place in unchanged:
        _, key, *below = place.split("/")
        if below:
            left[key] = {name: value for name, value in left[key].items() if name != below[0]}
        else:
            del left[key]
    return left


def _encoded(content: Mapping[str, Any], name: str, messages: Sequence[bytes]) -> bytes:
    """The JSON of content whose messages are encoded already."""
    try:
        return orjson.dumps({**content, name: [orjson.Fragment(message) for message in messages]})
    except TypeError:  # what orjson refuses
        return encode_content(content)


def _after(session: _Session, said: _Prompt | tuple[tuple[bytes, str], ...]) -> _Session:
    """A session when a prompt was told, or a model has answered."""
    if isinstance(said, _Prompt):
        others = (one for one in session.prompts if not _continues(said, one))
        return session._replace(prompts=(said, *others)[:PROMPTS_PER_SESSION])
    return session._replace(answers=(*session.answers, *said)[-ANSWERS:])


def _common(one: bytes, other: bytes) -> int:
    """How many leading messages are equal."""
    most = min(len(one), len(other)) // DIGEST
    if one[: most * DIGEST] == other[: most * DIGEST]:
        return most
    low = 0
    while low < most:
        middle = (low + most) // 2
        if one[: (middle + 1) * DIGEST] == other[: (middle + 1) * DIGEST]:
            low = middle + 1
        else:
            most = middle
    return low


def _continues(prompt: _Prompt, before: _Prompt) -> bool:
    """Whether a prompt has most of an earlier one's messages in front."""
    return 2 * _common(prompt.messages, before.messages) * DIGEST >= len(before.messages)
